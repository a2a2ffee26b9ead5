//! The operations on custom tables that both PostgreSQL and MySQL offer.

use super::super::super::RunFailed;
use super::super::super::rows::{RowFields, SourceRow};
use super::super::mysql::MysqlConnection;
use super::super::postgres::PostgresConnection;
use super::table::{DescribedTable, ReadableTable};
use super::{in_mysql, in_postgres};
use crate::json::surrogates::has_lone_surrogate;
use crate::model::custom_table::OwnTable;
use crate::model::database_source::{DatabaseEngine, DatabaseSettings};
use serde_json::value::RawValue;

/// A connection to the database.
#[derive(Debug)]
pub enum CustomConnection {
    Postgres(PostgresConnection),
    Mysql(MysqlConnection),
}

/// Some rows of a table, in the order of their keys.
#[derive(Debug, Default)]
pub struct RowChunk {
    pub rows: Vec<SourceRow>,
    /// The rows that cannot be read.
    pub bad: Vec<UnreadableRow>,
    /// The id of the last row, readable or not.
    pub last_id: Option<String>,
    /// The size of the rows, in bytes.
    pub bytes: usize,
    /// Whether there may be more.
    pub has_more: bool,
}

/// A row that cannot be read.
#[derive(Debug)]
pub struct UnreadableRow {
    /// The row's id, if that can be read.
    pub id: Option<String>,
    /// The row's id, or its position if the id cannot be read.
    pub place: String,
    /// Why the row cannot be read.
    pub why: String,
}

impl RowChunk {
    /// Makes a chunk of these contents. A row that holds a lone surrogate counts as unreadable.
    pub fn of(table: &ReadableTable, contents: Vec<RowFields>) -> Result<Self, RunFailed> {
        let mut chunk = Self::default();
        for data in contents {
            let row = row(table, data)?;
            chunk.last_id = Some(row.id.clone());
            let bad = row.data.iter().find(|(_, value)| has_lone_surrogate(value.get()));
            match bad {
                Some((name, _)) => chunk.bad.push(UnreadableRow {
                    id: Some(row.id.clone()),
                    place: row.id.clone(),
                    why: format!("its column `{name}` holds half a character (a lone surrogate)"),
                }),
                None => chunk.rows.push(row),
            }
        }
        Ok(chunk)
    }

    /// The number of rows, including unreadable ones.
    pub fn len(&self) -> usize {
        self.rows.len() + self.bad.len()
    }
}

/// Which rows to read.
#[derive(Debug, Clone, Copy)]
pub enum RowSelection<'a> {
    /// Rows after the row with this id, or from the first row on: at most this number.
    Next(Option<&'a str>, usize),
    /// The same, but first skips a number of rows: the id, the number to skip, the number to read.
    Past(Option<&'a str>, usize, usize),
    /// The row with the greatest key.
    Last,
    /// The rows with these ids.
    These(&'a [String]),
}

impl CustomConnection {
    pub async fn connect(
        settings: &DatabaseSettings,
        secret: Option<&str>,
    ) -> Result<Self, RunFailed> {
        Ok(match settings.engine() {
            DatabaseEngine::Postgres => {
                Self::Postgres(PostgresConnection::connect(settings, secret).await?)
            }
            DatabaseEngine::Mysql => Self::Mysql(in_mysql::connect_mysql(settings, secret).await?),
        })
    }

    /// Returns the kind of database.
    pub fn engine(&self) -> DatabaseEngine {
        match self {
            Self::Postgres(_) => DatabaseEngine::Postgres,
            Self::Mysql(_) => DatabaseEngine::Mysql,
        }
    }

    /// Reads the columns and indexes of a table, and checks that its rows can be read.
    pub async fn describe_table(&mut self, own: &OwnTable) -> Result<ReadableTable, RunFailed> {
        let found: DescribedTable = match self {
            Self::Postgres(db) => in_postgres::describe_tables(db, own.place()).await?,
            Self::Mysql(db) => in_mysql::describe_tables(db, own.place()).await?,
        };
        let table = ReadableTable::new(own, found)?;
        if let Self::Mysql(_) = self {
            in_mysql::check(&table)?;
        }
        Ok(table)
    }

    /// Begins a transaction in which all reads see the present state of the database.
    pub async fn hold_snapshot(&mut self) -> Result<(), RunFailed> {
        match self {
            Self::Postgres(db) => {
                db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await
            }
            Self::Mysql(db) => {
                db.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await
            }
        }
    }

    /// Ends that transaction.
    pub async fn release_snapshot(&mut self) -> Result<(), RunFailed> {
        match self {
            Self::Postgres(db) => db.execute("COMMIT").await,
            Self::Mysql(db) => db.execute("COMMIT").await,
        }
    }

    /// Rolls back the transaction that failed, if there is one.
    pub async fn give_up(&mut self) -> Result<(), RunFailed> {
        match self {
            Self::Postgres(db) => db.execute("ROLLBACK").await,
            Self::Mysql(db) => db.execute("ROLLBACK").await,
        }
    }

    /// Reads rows: their contents, or only their keys.
    pub async fn read_rows(
        &mut self,
        table: &ReadableTable,
        which: RowSelection<'_>,
        only_key: bool,
    ) -> Result<RowChunk, RunFailed> {
        match self {
            Self::Postgres(db) => in_postgres::read_rows(db, table, which, only_key).await,
            Self::Mysql(db) => in_mysql::read_rows(db, table, which, only_key).await,
        }
    }

    /// Returns the ids, among these, of rows that exist.
    pub async fn find_existing(
        &mut self,
        table: &ReadableTable,
        ids: &[String],
    ) -> Result<Vec<String>, RunFailed> {
        match self {
            Self::Postgres(db) => in_postgres::existing_keys(db, table, ids).await,
            Self::Mysql(db) => in_mysql::existing_keys(db, table, ids).await,
        }
    }
}

/// Makes a row of its content. Fails if the key column cannot tell rows apart.
pub fn row(table: &ReadableTable, data: RowFields) -> Result<SourceRow, RunFailed> {
    let id = data.get(&table.key.name).and_then(|value| id(table, value));
    let id = id.ok_or_else(|| {
        let (name, kind) = (&table.key.name, &table.key.kind);
        RunFailed::new(format!(
            "its key `{name}` is of the type {kind}, by which rows cannot be told apart; name another by `key`"
        ))
    })?;
    Ok(SourceRow::new(id, data))
}

/// Returns a key as text, or `None` if the value cannot be a key.
pub fn id(table: &ReadableTable, value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => {
            let text: String = serde_json::from_str(text).ok()?;
            // PostgreSQL pads `char(n)` with blanks, and ignores them in comparisons.
            let is_padded = table.key.kind == "bpchar";
            Some(if is_padded { text.trim_end_matches(' ').to_owned() } else { text })
        }
        b'{' | b'[' | b'n' => None,
        _ => Some(text.to_owned()),
    }
}
