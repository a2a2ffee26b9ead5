//! Statements over many rows.
//!
//! PostgreSQL receives all rows at once, as one array for each column: one round trip and one plan,
//! whatever their number. SQLite, which runs in this process, receives them one by one with one
//! prepared statement.

use super::bound_value::{BoundRow, BoundValue, ColumnKind};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

impl ColumnKind {
    /// Returns PostgreSQL's type of an array of such values.
    const fn array(self) -> &'static str {
        match self {
            Self::Id => "uuid[]",
            Self::Text => "text[]",
            Self::Bytes => "bytea[]",
            Self::Small => "smallint[]",
            Self::Int => "integer[]",
            Self::Big => "bigint[]",
        }
    }
}

#[derive(Debug)]
pub struct BulkStatement {
    /// For SQLite: one row, with parameters `?1`, `?2`, ….
    pub one: String,
    /// For PostgreSQL: all rows, with one parameter for each column.
    pub all: String,
    columns: Vec<ColumnKind>,
}

impl BulkStatement {
    /// Builds a statement from the two texts.
    pub fn of(one: &str, all: &str, columns: &[ColumnKind]) -> Self {
        Self { one: one.to_owned(), all: all.to_owned(), columns: columns.to_vec() }
    }

    /// Builds `INSERT INTO table (columns) … tail`.
    pub fn insert(table: &str, columns: &[(&str, ColumnKind)], tail: &str) -> Self {
        let parameters: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
        let (names, parameters) = (names(columns), parameters.join(", "));
        Self {
            one: format!("INSERT INTO {table} ({names}) VALUES ({parameters}) {tail}"),
            all: unnest(table, columns, 0, tail),
            columns: columns.iter().map(|(_, kind)| *kind).collect(),
        }
    }

    /// Returns PostgreSQL's statement, with the rows transposed into columns.
    pub fn bind_all<'q>(&'static self, rows: &[BoundRow<'q>]) -> Query<'q, Postgres, PgArguments> {
        let columns = self.columns.iter().enumerate();
        columns.fold(sqlx::query(self.all.as_str()), |query, (n, kind)| {
            bind_column(query, *kind, n, rows)
        })
    }
}

fn names(columns: &[(&str, ColumnKind)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Builds an insert of arrays, whose parameters come after `before` others.
fn unnest(table: &str, columns: &[(&str, ColumnKind)], before: usize, tail: &str) -> String {
    let arrays = columns.iter().enumerate();
    let arrays = arrays.map(|(n, (_, kind))| format!("${}::{}", before + n + 1, kind.array()));
    let (names, arrays) = (names(columns), arrays.collect::<Vec<String>>().join(", "));
    format!("INSERT INTO {table} ({names}) SELECT * FROM UNNEST({arrays}) {tail}")
}

/// Inserts into several tables as one statement of PostgreSQL, which is a transaction of its own
/// and needs one round trip.
#[derive(Debug)]
pub struct BulkInserts {
    pub text: String,
    tables: Vec<Vec<ColumnKind>>,
}

/// A table, its columns, and the text after the insert.
pub type InsertPart<'p> = (&'p str, &'p [(&'p str, ColumnKind)], &'p str);

impl BulkInserts {
    /// Builds inserts into the tables, in the given order.
    pub fn of(parts: &[InsertPart<'_>]) -> Self {
        let mut before = 0;
        let mut inserts = Vec::new();
        for (table, columns, tail) in parts {
            inserts.push(unnest(table, columns, before, tail));
            before += columns.len();
        }
        let last = inserts.pop().unwrap_or_default();
        let named = inserts.iter().enumerate();
        let named: Vec<String> = named.map(|(n, insert)| format!("i{n} AS ({insert})")).collect();
        let kinds =
            |(_, columns, _): &InsertPart<'_>| columns.iter().map(|(_, kind)| *kind).collect();
        Self {
            text: format!("WITH {} {last}", named.join(", ")),
            tables: parts.iter().map(kinds).collect(),
        }
    }

    /// Binds the rows of each table.
    pub fn bind<'q>(&'static self, rows: &[&[BoundRow<'q>]]) -> Query<'q, Postgres, PgArguments> {
        let tables = self.tables.iter().zip(rows);
        tables.fold(sqlx::query(self.text.as_str()), |query, (columns, rows)| {
            let columns = columns.iter().enumerate();
            columns.fold(query, |query, (n, kind)| bind_column(query, *kind, n, rows))
        })
    }
}

fn bind_column<'q>(
    query: Query<'q, Postgres, PgArguments>,
    kind: ColumnKind,
    column: usize,
    rows: &[BoundRow<'q>],
) -> Query<'q, Postgres, PgArguments> {
    let values = rows.iter().map(|row| row.get(column));
    match kind {
        ColumnKind::Id => query.bind(values.map(id).collect::<Vec<Option<Uuid>>>()),
        ColumnKind::Text => query.bind(values.map(text).collect::<Vec<Option<&str>>>()),
        ColumnKind::Bytes => query.bind(values.map(bytes).collect::<Vec<Option<&[u8]>>>()),
        ColumnKind::Small => query.bind(values.map(integer).collect::<Vec<Option<i16>>>()),
        ColumnKind::Int => query.bind(values.map(integer).collect::<Vec<Option<i32>>>()),
        ColumnKind::Big => query.bind(values.map(integer).collect::<Vec<Option<i64>>>()),
    }
}

const fn id(value: Option<BoundValue<'_>>) -> Option<Uuid> {
    if let Some(BoundValue::Id(id)) = value { Some(id) } else { None }
}

const fn text(value: Option<BoundValue<'_>>) -> Option<&str> {
    if let Some(BoundValue::Text(text)) = value { Some(text) } else { None }
}

const fn bytes(value: Option<BoundValue<'_>>) -> Option<&[u8]> {
    if let Some(BoundValue::Bytes(bytes)) = value { Some(bytes) } else { None }
}

fn integer<T: TryFrom<i64>>(value: Option<BoundValue<'_>>) -> Option<T> {
    value?.integer().and_then(|number| T::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_are_one_statement() {
        let text = BulkInserts::of(&[
            ("t", &[("a", ColumnKind::Id)], ""),
            ("u", &[("b", ColumnKind::Big)], "X"),
        ])
        .text;
        assert_eq!(
            text,
            "WITH i0 AS (INSERT INTO t (a) SELECT * FROM UNNEST($1::uuid[]) ) \
             INSERT INTO u (b) SELECT * FROM UNNEST($2::bigint[]) X"
        );
    }

    #[test]
    fn an_insert_is_written_for_both_databases() {
        let bulk = BulkStatement::insert(
            "t",
            &[("a", ColumnKind::Id), ("b", ColumnKind::Big)],
            "ON CONFLICT DO NOTHING",
        );
        assert_eq!(bulk.one, "INSERT INTO t (a, b) VALUES (?1, ?2) ON CONFLICT DO NOTHING");
        assert_eq!(
            bulk.all,
            "INSERT INTO t (a, b) SELECT * FROM UNNEST($1::uuid[], $2::bigint[]) ON CONFLICT DO NOTHING"
        );
    }
}
