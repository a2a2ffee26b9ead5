//! Opens connections to SQLite and runs statements on them.

use super::PATIENCE;
use super::bound_value::{BoundRow, BoundValue};
use super::query::SqlQuery;
use super::stored_row::{FromStoredRow, StoredRow};
use crate::store::StoreError;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, ToSql};
use std::ops::ControlFlow;
use std::path::Path;

/// Capacity of the statement cache of the writing connection. Larger than the number of statements
/// of the group commit, so none of these is evicted under load.
const WRITE_STATEMENTS: usize = 128;
/// Capacity of the statement cache of a reading connection.
const READ_STATEMENTS: usize = 64;

/// Pragmas of the writing connection: every commit is synced, and 32 MiB of pages are cached.
const WRITE_PRAGMAS: [(&str, &str); 6] = [
    ("journal_mode", "WAL"),
    ("synchronous", "FULL"),
    // Deleted data is overwritten, so that an erased record does not remain in free pages.
    ("secure_delete", "ON"),
    ("foreign_keys", "ON"),
    ("temp_store", "MEMORY"),
    ("cache_size", "-32768"),
];

/// Opens a connection for writing.
pub fn open_writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open(path)?;
    set_up_writer(&db)?;
    Ok(db)
}

/// Opens the first connection of a file whose free pages can be returned to the file system. SQLite
/// accepts this setting only before anything else is written.
pub fn open_shrinking_writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    set_up_writer(&db)?;
    Ok(db)
}

fn set_up_writer(db: &Connection) -> Result<(), rusqlite::Error> {
    db.busy_timeout(PATIENCE)?;
    db.set_prepared_statement_cache_capacity(WRITE_STATEMENTS);
    for (name, value) in WRITE_PRAGMAS {
        db.pragma_update(None, name, value)?;
    }
    Ok(())
}

/// Opens a connection for reading.
pub fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(PATIENCE)?;
    db.set_prepared_statement_cache_capacity(READ_STATEMENTS);
    db.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(db)
}

impl ToSql for BoundValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null(_) => ValueRef::Null,
            Self::Small(number) => ValueRef::Integer((*number).into()),
            Self::Int(number) => ValueRef::Integer((*number).into()),
            Self::Big(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}

/// Runs a statement. Returns how many rows it inserted, changed or deleted.
pub fn execute(db: &Connection, query: &SqlQuery<'_>) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached(query.text())?;
    bind_numbered(&mut statement, query.values())?;
    Ok(statement.raw_execute()? as u64)
}

/// Runs a statement and returns its first row, if there is one.
pub fn fetch_first<T: FromStoredRow>(
    db: &Connection,
    query: &SqlQuery<'_>,
) -> Result<Option<T>, StoreError> {
    let mut first = None;
    fetch_while(db, query, |row| {
        first = Some(row);
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// Runs a statement and passes its rows to `take` until that breaks.
pub fn fetch_while<T: FromStoredRow>(
    db: &Connection,
    query: &SqlQuery<'_>,
    mut take: impl FnMut(T) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(query.text())?;
    bind_numbered(&mut statement, query.values())?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if take(T::from_row(&StoredRow::Sqlite(row))?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Runs a statement once for each row of values `?1`, `?2`, …. Returns how many rows of the table
/// were inserted, changed or deleted.
pub fn execute_each(db: &Connection, text: &str, rows: &[BoundRow<'_>]) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached(text)?;
    let mut changed = 0;
    for row in rows {
        bind_in_order(&mut statement, row)?;
        changed += statement.raw_execute()? as u64;
    }
    Ok(changed)
}

/// Like [`execute_each`], but returns the rows that the statement returns.
pub fn fetch_each<T: FromStoredRow>(
    db: &Connection,
    text: &str,
    rows: &[BoundRow<'_>],
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let mut statement = db.prepare_cached(text)?;
    for row in rows {
        bind_in_order(&mut statement, row)?;
        let mut returned = statement.raw_query();
        while let Some(row) = returned.next()? {
            found.push(T::from_row(&StoredRow::Sqlite(row))?);
        }
    }
    Ok(found)
}

fn bind_in_order(
    statement: &mut CachedStatement<'_>,
    row: &BoundRow<'_>,
) -> Result<(), rusqlite::Error> {
    for (n, value) in row.values().iter().enumerate() {
        statement.raw_bind_parameter(n + 1, value)?;
    }
    Ok(())
}

/// To SQLite `$2` is a name, and its parameters are numbered in the order in which the names first
/// appear in the text. Here `$2` means the second value, as in PostgreSQL.
fn bind_numbered(
    statement: &mut CachedStatement<'_>,
    values: &BoundRow<'_>,
) -> Result<(), rusqlite::Error> {
    for index in 1..=statement.parameter_count() {
        let named = statement.parameter_name(index).and_then(|name| name.get(1..)?.parse().ok());
        let number: usize = named.unwrap_or(index);
        let missing = || rusqlite::Error::InvalidParameterCount(values.values().len(), number);
        let value = values.get(number - 1).ok_or_else(missing)?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}
