//! Statements over many rows, prepared in a few fixed sizes.
//!
//! One statement for each power of two up to 64 rows: few enough to stay in the driver's cache of
//! prepared statements, large enough that a row costs its own work and little else. Both databases
//! take the same text.

use std::sync::LazyLock;

/// Rows of the largest statement.
const MOST: usize = 64;

/// One statement in all its sizes.
#[derive(Debug)]
pub(super) struct Bulk {
    texts: Vec<String>,
}

impl Bulk {
    /// `head VALUES ($1, $2, …), (…), … tail`, with `columns` parameters a row.
    pub(super) fn new(head: &str, columns: usize, tail: &str) -> Self {
        let text = |rows: usize| {
            let row = |n: usize| {
                let parameters: Vec<String> =
                    (1..=columns).map(|c| format!("${}", n * columns + c)).collect();
                format!("({})", parameters.join(", "))
            };
            let rows: Vec<String> = (0..rows).map(row).collect();
            format!("{head} VALUES {}{tail}", rows.join(", "))
        };
        Self { texts: (0..=MOST.ilog2()).map(|power| text(1 << power)).collect() }
    }

    /// Splits off as many rows as the largest fitting size takes, with that size's text.
    pub(super) fn next<'r, R>(
        &'static self,
        rows: &'r [R],
    ) -> Option<(&'static str, &'r [R], &'r [R])> {
        let power = rows.len().min(MOST).checked_ilog2()?;
        let (chunk, rest) = rows.split_at(1 << power);
        let text = self.texts.get(usize::try_from(power).ok()?)?;
        Some((text, chunk, rest))
    }

    /// The text for one row, for the test that prepares every statement.
    #[cfg(test)]
    pub(super) fn single(&'static self) -> &'static str {
        &self.texts[0]
    }
}

/// A [`Bulk`] made at its first use.
pub(super) type LazyBulk = LazyLock<Bulk>;

/// Runs a bulk statement over `$rows`, binding each with `$bind`.
macro_rules! run_bulk {
    ($db:ident, $bulk:expr, $rows:expr, |$query:ident, $row:ident| $bind:expr) => {{
        let mut left = $rows;
        while let Some((text, chunk, rest)) = $bulk.next(left) {
            let mut $query = sqlx::query(text);
            for $row in chunk {
                $query = $bind;
            }
            $query.execute(&mut *$db).await?;
            left = rest;
        }
    }};
}

/// Runs a bulk statement that returns rows, collecting them decoded by `$decode`.
macro_rules! fetch_bulk {
    ($db:ident, $bulk:expr, $rows:expr, $out:expr, $tuple:ty, |$query:ident, $row:ident| $bind:expr) => {{
        let mut left = $rows;
        while let Some((text, chunk, rest)) = $bulk.next(left) {
            let mut $query = sqlx::query_as::<_, $tuple>(text);
            for $row in chunk {
                $query = $bind;
            }
            $out.extend($query.fetch_all(&mut *$db).await?);
            left = rest;
        }
    }};
}

pub(super) use {fetch_bulk, run_bulk};

#[cfg(test)]
mod tests {
    use super::*;

    static BULK: LazyBulk = LazyLock::new(|| Bulk::new("INSERT INTO t (a, b)", 2, " RETURNING a"));

    #[test]
    fn splits_into_powers_of_two() {
        let rows = vec![0; 100];
        let (text, chunk, rest) = BULK.next(&rows).unwrap();
        assert!(text.starts_with("INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4), "));
        assert!(text.ends_with("($127, $128) RETURNING a"));
        assert_eq!((chunk.len(), rest.len()), (64, 36));
        assert_eq!(BULK.next(rest).unwrap().1.len(), 32);
        assert!(BULK.next::<u8>(&[]).is_none());
    }
}
