//! Statements over many rows, prepared in a few fixed sizes.
//!
//! Any number of rows up to 64 takes two statements at most: few enough to keep all of them prepared,
//! large enough that a row costs its own work and little else. Both databases take the same text, but
//! for the parameters: SQLite looks named ones (`$1`) up one by one, which takes quadratic time, so
//! there they are `?`, in the same order.

use super::pool::Tx;
use std::sync::LazyLock;

/// Rows of the statements: one to eight, then multiples of eight.
const SIZES: [usize; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 32, 40, 48, 56, 64];

/// One statement in all its sizes.
#[derive(Debug)]
pub(super) struct Bulk {
    /// Rows, text for SQLite, text for PostgreSQL; ascending.
    texts: Vec<(usize, String, String)>,
}

impl Bulk {
    /// `head VALUES ($1, $2, …), (…), … tail`, with `columns` parameters a row.
    pub(super) fn new(head: &str, columns: usize, tail: &str) -> Self {
        let text = |rows: usize, parameter: fn(usize) -> String| {
            let row = |n: usize| {
                let parameters: Vec<String> =
                    (1..=columns).map(|c| parameter(n * columns + c)).collect();
                format!("({})", parameters.join(", "))
            };
            let rows: Vec<String> = (0..rows).map(row).collect();
            format!("{head} VALUES {}{tail}", rows.join(", "))
        };
        let sized = |rows| (rows, text(rows, |_| "?".to_owned()), text(rows, |n| format!("${n}")));
        Self { texts: SIZES.into_iter().map(sized).collect() }
    }

    /// Splits off as many rows as the largest fitting size takes, with that size's text.
    pub(super) fn next<'r, R>(
        &'static self,
        database: Parameters,
        rows: &'r [R],
    ) -> Option<(&'static str, &'r [R], &'r [R])> {
        let (size, sqlite, postgres) =
            self.texts.iter().rev().find(|(size, ..)| *size <= rows.len())?;
        let (chunk, rest) = rows.split_at_checked(*size)?;
        let text = match database {
            Parameters::Positional => sqlite,
            Parameters::Numbered => postgres,
        };
        Some((text, chunk, rest))
    }
}

/// How a database's bulk statements write their parameters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parameters {
    /// `?`: SQLite.
    Positional,
    /// `$1`: PostgreSQL.
    Numbered,
}

impl Parameters {
    /// Those of the database of a transaction.
    pub(super) const fn of(tx: &Tx) -> Self {
        match tx {
            Tx::Sqlite(_) => Self::Positional,
            Tx::Postgres(_) => Self::Numbered,
        }
    }
}

/// A [`Bulk`] made at its first use.
pub(super) type LazyBulk = LazyLock<Bulk>;

/// Runs a bulk statement over `$rows`, binding each with `$bind`.
macro_rules! run_bulk {
    ($tx:expr, $bulk:expr, $rows:expr, |$query:ident, $row:ident| $bind:expr) => {{
        let parameters = $crate::journal::bulk::Parameters::of($tx);
        $crate::journal::pool::writing!($tx, |db| {
            let mut left = $rows;
            while let Some((text, chunk, rest)) = $bulk.next(parameters, left) {
                let mut $query = sqlx::query(text);
                for $row in chunk {
                    $query = $bind;
                }
                $query.execute(&mut *db).await?;
                left = rest;
            }
        })
    }};
}

/// Runs a bulk statement that returns rows, collecting them decoded by `$decode`.
macro_rules! fetch_bulk {
    ($tx:expr, $bulk:expr, $rows:expr, $out:expr, $tuple:ty, |$query:ident, $row:ident| $bind:expr) => {{
        let parameters = $crate::journal::bulk::Parameters::of($tx);
        $crate::journal::pool::writing!($tx, |db| {
            let mut left = $rows;
            while let Some((text, chunk, rest)) = $bulk.next(parameters, left) {
                let mut $query = sqlx::query_as::<_, $tuple>(text);
                for $row in chunk {
                    $query = $bind;
                }
                $out.extend($query.fetch_all(&mut *db).await?);
                left = rest;
            }
        })
    }};
}

pub(super) use {fetch_bulk, run_bulk};

#[cfg(test)]
mod tests {
    use super::*;

    static BULK: LazyBulk = LazyLock::new(|| Bulk::new("INSERT INTO t (a, b)", 2, " RETURNING a"));

    #[test]
    fn any_number_of_rows_splits_into_few_statements() {
        let rows = vec![0; 94];
        let (text, chunk, rest) = BULK.next(Parameters::Numbered, &rows).unwrap();
        assert!(text.starts_with("INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4), "));
        assert!(text.ends_with("($127, $128) RETURNING a"));
        assert_eq!((chunk.len(), rest.len()), (64, 30));
        let (text, chunk, rest) = BULK.next(Parameters::Positional, rest).unwrap();
        assert!(text.starts_with("INSERT INTO t (a, b) VALUES (?, ?), (?, ?), "));
        assert_eq!((chunk.len(), rest.len()), (24, 6));
        assert_eq!(BULK.next(Parameters::Positional, rest).unwrap().1.len(), 6);
        assert!(BULK.next::<u8>(Parameters::Positional, &[]).is_none());
    }
}
