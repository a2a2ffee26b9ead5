//! What the writers' operations are written with: a transaction of sqlx, or the
//! [`native`] connection to SQLite.

use super::Error;
use super::bulk::Bulk;
use super::native::{self, Decode};
use super::pool::Tx;
use super::value::Row;
use rusqlite::Connection;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// A transaction that takes the writers' operations.
#[derive(Debug)]
pub enum Batch<'t> {
    /// Of sqlx.
    Tx(&'t mut Tx),
    /// Of the thread that writes to SQLite.
    Native(&'t mut Connection),
}

impl Batch<'_> {
    /// Runs a statement over all rows; how many rows of the table it made or changed.
    pub async fn run(&mut self, bulk: &'static Bulk, rows: Vec<Row<'_>>) -> Result<u64, Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Tx(Tx::Postgres(db)) => {
                Ok(bulk.bind_all(&rows).execute(&mut **db).await?.rows_affected())
            }
            Self::Tx(Tx::Sqlite(tx)) => {
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
        bulk: &'static Bulk,
        rows: Vec<Row<'_>>,
    ) -> Result<Vec<T>, Error>
    where
        T: Decode + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>,
    {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        match self {
            Self::Tx(Tx::Postgres(db)) => {
                for row in bulk.bind_all(&rows).fetch_all(&mut **db).await? {
                    found.push(T::from_row(&row)?);
                }
            }
            Self::Tx(Tx::Sqlite(tx)) => {
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

/// Expands `$body` once for each kind of transaction; in it `sql` is sqlx or what takes its place, and
/// `$db` the connection.
macro_rules! batching {
    ($batch:expr, |$db:ident| $body:expr) => {
        match $batch {
            $crate::store::batch::Batch::Tx(tx) => {
                use sqlx as sql;
                $crate::store::pool::writing!(tx, |$db| $body)
            }
            $crate::store::batch::Batch::Native(db) => {
                use $crate::store::native as sql;
                let $db: &mut rusqlite::Connection = db;
                $body
            }
        }
    };
}

pub(crate) use batching;
