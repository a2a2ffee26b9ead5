//! What the writers' operations are written with: a transaction of sqlx, or the
//! [`native`] connection to SQLite.

use super::StoreError;
use super::bulk::BulkStatement;
use super::native::{self, DecodeRow};
use super::pool::WriteTransaction;
use super::value::BoundRow;
use rusqlite::Connection;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// A transaction that takes the writers' operations.
#[derive(Debug)]
pub enum WriteBatch<'t> {
    /// Of sqlx.
    Tx(&'t mut WriteTransaction),
    /// Of the thread that writes to SQLite.
    Native(&'t mut Connection),
}

impl WriteBatch<'_> {
    /// Runs a statement over all rows; how many rows of the table it made or changed.
    pub async fn run(
        &mut self,
        bulk: &'static BulkStatement,
        rows: Vec<BoundRow<'_>>,
    ) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Tx(WriteTransaction::Postgres(db)) => {
                Ok(bulk.bind_all(&rows).execute(&mut **db).await?.rows_affected())
            }
            Self::Tx(WriteTransaction::Sqlite(tx)) => {
                let mut changed = 0;
                for row in &rows {
                    changed += bulk.bind_one(row).execute(tx.connection()).await?.rows_affected();
                }
                Ok(changed)
            }
            Self::Native(db) => native::run(db, &bulk.one, &rows),
        }
    }

    /// Runs a statement over all rows and gives what it returns.
    pub async fn fetch<T>(
        &mut self,
        bulk: &'static BulkStatement,
        rows: Vec<BoundRow<'_>>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: DecodeRow + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>,
    {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        match self {
            Self::Tx(WriteTransaction::Postgres(db)) => {
                for row in bulk.bind_all(&rows).fetch_all(&mut **db).await? {
                    found.push(T::from_row(&row)?);
                }
            }
            Self::Tx(WriteTransaction::Sqlite(tx)) => {
                for row in &rows {
                    for row in bulk.bind_one(row).fetch_all(tx.connection()).await? {
                        found.push(T::from_row(&row)?);
                    }
                }
            }
            Self::Native(db) => found = native::fetch(db, &bulk.one, &rows)?,
        }
        Ok(found)
    }
}

/// Expands `$body` once for each kind of transaction; in it `sql` is sqlx or what takes its place,
/// and `$db` the connection.
macro_rules! batching {
    ($batch:expr, |$db:ident| $body:expr) => {
        match $batch {
            $crate::store::batch::WriteBatch::Tx(tx) => {
                use sqlx as sql;
                $crate::store::pool::writing!(tx, |$db| $body)
            }
            $crate::store::batch::WriteBatch::Native(db) => {
                use $crate::store::native as sql;
                let $db: &mut rusqlite::Connection = db;
                $body
            }
        }
    };
}

pub(crate) use batching;
