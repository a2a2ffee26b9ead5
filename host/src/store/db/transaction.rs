//! A writing transaction on either database.

use super::bound_value::BoundRow;
use super::bulk::BulkStatement;
use super::postgres_address::SessionScope;
use super::query::SqlQuery;
use super::sqlite_connection;
use super::stored_row::{FromStoredRow, StoredRow};
use crate::store::StoreError;
use rusqlite::Connection;
use sqlx::postgres::PgConnection;

/// A transaction for a closure. It is committed if the closure succeeds and rolled back if it
/// fails.
#[derive(Debug)]
pub enum WriteTransaction<'c> {
    /// On SQLite nothing waits, because the closure runs on the writing thread.
    Sqlite(&'c mut Connection),
    Postgres {
        db: &'c mut PgConnection,
        scope: SessionScope,
    },
}

impl WriteTransaction<'_> {
    /// Runs a statement. Returns how many rows it inserted, changed or deleted.
    pub async fn execute(&mut self, query: SqlQuery<'_>) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(db) => sqlite_connection::execute(db, &query),
            Self::Postgres { db, scope } => {
                let query = query.for_postgres().persistent(scope.keeps_statements());
                Ok(query.execute(&mut **db).await?.rows_affected())
            }
        }
    }

    /// Runs a statement and returns its first row, if there is one.
    pub async fn fetch_optional<T: FromStoredRow>(
        &mut self,
        query: SqlQuery<'_>,
    ) -> Result<Option<T>, StoreError> {
        match self {
            Self::Sqlite(db) => sqlite_connection::fetch_first(db, &query),
            Self::Postgres { db, scope } => {
                let query = query.for_postgres().persistent(scope.keeps_statements());
                let row = query.fetch_optional(&mut **db).await?;
                row.map(|row| T::from_row(&StoredRow::Postgres(&row))).transpose()
            }
        }
    }

    /// Waits until no other transaction of PostgreSQL holds one of these keys, and holds them until
    /// this one ends. Takes them in the given order. SQLite has no other transaction.
    pub async fn lock_keys(&mut self, keys: &[i64]) -> Result<(), StoreError> {
        match self {
            Self::Postgres { db, scope } if !keys.is_empty() => {
                let lock = "SELECT pg_advisory_xact_lock(key) FROM UNNEST($1::bigint[]) AS v (key)";
                let lock = sqlx::query(lock).bind(keys).persistent(scope.keeps_statements());
                lock.execute(&mut **db).await?;
                Ok(())
            }
            Self::Postgres { .. } | Self::Sqlite(_) => Ok(()),
        }
    }

    /// Sends notices to all nodes that listen on a channel, once this transaction is committed. A
    /// payload must have fewer than 8,000 bytes. Does nothing on SQLite, which has one node.
    pub async fn notify_nodes(
        &mut self,
        channel: &str,
        payloads: &[String],
    ) -> Result<(), StoreError> {
        match self {
            Self::Postgres { db, scope } if !payloads.is_empty() => {
                let notify =
                    "SELECT pg_notify($1, v.payload) FROM UNNEST($2::text[]) AS v (payload)";
                let notify = sqlx::query(notify).bind(channel).bind(payloads);
                notify.persistent(scope.keeps_statements()).execute(&mut **db).await?;
                Ok(())
            }
            Self::Postgres { .. } | Self::Sqlite(_) => Ok(()),
        }
    }

    /// Runs a statement over all rows. Returns how many rows of the table it inserted, changed or
    /// deleted.
    pub async fn execute_bulk(
        &mut self,
        bulk: &'static BulkStatement,
        rows: Vec<BoundRow<'_>>,
    ) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Sqlite(db) => sqlite_connection::execute_each(db, &bulk.one, &rows),
            Self::Postgres { db, scope } => {
                let query = bulk.bind_all(&rows).persistent(scope.keeps_statements());
                Ok(query.execute(&mut **db).await?.rows_affected())
            }
        }
    }

    /// Runs a statement over all rows and returns all rows that it returns.
    pub async fn fetch_bulk<T: FromStoredRow>(
        &mut self,
        bulk: &'static BulkStatement,
        rows: Vec<BoundRow<'_>>,
    ) -> Result<Vec<T>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Sqlite(db) => sqlite_connection::fetch_each(db, &bulk.one, &rows),
            Self::Postgres { db, scope } => {
                let query = bulk.bind_all(&rows).persistent(scope.keeps_statements());
                let found = query.fetch_all(&mut **db).await?;
                found.iter().map(|row| T::from_row(&StoredRow::Postgres(row))).collect()
            }
        }
    }
}
