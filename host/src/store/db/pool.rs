//! The two databases behind one type.

use super::bound_value::BoundRow;
use super::bulk::BulkInserts;
use super::cluster_lock::{ClusterLock, take_cluster_lock};
use super::node_listener::NodeListener;
use super::postgres_address::SessionScope;
use super::postgres_pools::PostgresPools;
use super::postgres_work::{
    LONGEST_COMMIT, LONGEST_WRITE, execute_postgres, read_postgres, transact_postgres,
};
use super::query::{OwnedQuery, PROMPT, SqlQuery};
use super::sqlite_connection;
use super::sqlite_database::SqliteDatabase;
use super::sqlite_readers;
use super::stored_row::{FromStoredColumn, FromStoredRow, StoredRow};
use super::transaction::WriteTransaction;
use crate::store::StoreError;
use crate::store::error::database_error::corrupt_value;
use futures_util::future::BoxFuture;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// Options for opening a database.
#[derive(Debug, Clone, Copy)]
pub struct StoreOpening {
    /// Whether an SQLite file is rewritten, so that it can return disk space and holds no remains
    /// of rows that were deleted or moved. This needs free space of twice the size of the file.
    pub rewrites_file: bool,
    /// Number of connections to PostgreSQL, 4 to 40. SQLite always has five.
    pub max_connections: u32,
}

impl Default for StoreOpening {
    fn default() -> Self {
        Self { rewrites_file: false, max_connections: 9 }
    }
}

/// The kind of database, for statements that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseDialect {
    Sqlite,
    Postgres,
}

/// A database. Clones are cheap.
#[derive(Debug, Clone)]
pub struct DatabasePool {
    backend: DatabaseBackend,
    /// Whether the database ever reported damaged pages.
    is_damaged: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum DatabaseBackend {
    Sqlite(SqliteDatabase),
    Postgres(PostgresPools),
}

/// The reason why it is not known whether rows were leased, or that none were.
#[derive(Debug)]
pub struct LeaseFailure {
    pub error: StoreError,
    /// Whether rows may be leased nevertheless, because the commit was sent.
    pub may_hold: bool,
}

/// The rows that a transaction leases, and a query that finds one of them.
#[derive(Debug, Default)]
struct LeasedRows {
    count: u64,
    proof: Option<OwnedQuery>,
}

/// A single value, read from the first column whatever its name.
struct SingleValue<T>(T);

impl<T: FromStoredColumn> FromStoredRow for SingleValue<T> {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        row.get("value").map(Self)
    }
}

impl DatabasePool {
    /// Connects and updates the schema.
    pub async fn open(url: &str, opening: StoreOpening) -> Result<Self, StoreError> {
        let backend = if url.starts_with("sqlite:") {
            DatabaseBackend::Sqlite(SqliteDatabase::open(url, opening).await?)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            DatabaseBackend::Postgres(PostgresPools::open(url, opening.max_connections).await?)
        } else {
            let given = url.split(':').next().unwrap_or_default().to_owned();
            return Err(StoreError::Address { given });
        };
        Ok(Self { backend, is_damaged: Arc::default() })
    }

    /// Prepares a PostgreSQL database that does not answer at present. Returns `None` for SQLite,
    /// which has no server.
    pub fn open_away(url: &str, opening: StoreOpening) -> Result<Option<Self>, StoreError> {
        if url.starts_with("sqlite:") {
            return Ok(None);
        }
        let pools = PostgresPools::open_away(url, opening.max_connections)?;
        let backend = DatabaseBackend::Postgres(pools);
        Ok(Some(Self { backend, is_damaged: Arc::default() }))
    }

    /// Creates or changes the tables of a database that was away when it was opened.
    pub async fn update_schema(&self) -> Result<(), StoreError> {
        let DatabaseBackend::Postgres(pools) = &self.backend else { return Ok(()) };
        let (pools, runtime) = (pools.clone(), Handle::current());
        // A migration of sqlx does not move between threads, as the task of this call may.
        let updating = spawn_blocking(move || runtime.block_on(pools.update_schema()));
        updating.await.unwrap_or(Err(StoreError::Closed))
    }

    pub const fn dialect(&self) -> DatabaseDialect {
        match self.backend {
            DatabaseBackend::Sqlite(_) => DatabaseDialect::Sqlite,
            DatabaseBackend::Postgres(_) => DatabaseDialect::Postgres,
        }
    }

    /// Chooses one of two statements for this database.
    pub const fn choose_statement(
        &self,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> &'static str {
        match self.backend {
            DatabaseBackend::Sqlite(_) => sqlite,
            DatabaseBackend::Postgres(_) => postgres,
        }
    }

    /// Returns the SQLite database, or `None` for PostgreSQL.
    pub const fn as_sqlite(&self) -> Option<&SqliteDatabase> {
        match &self.backend {
            DatabaseBackend::Sqlite(database) => Some(database),
            DatabaseBackend::Postgres(_) => None,
        }
    }

    /// Returns the number of writers that commit in parallel.
    pub const fn count_writers(&self) -> usize {
        match &self.backend {
            DatabaseBackend::Sqlite(_) => 1,
            DatabaseBackend::Postgres(pools) => pools.shares.writers,
        }
    }

    /// Returns the number of connections for reading.
    pub const fn count_readers(&self) -> usize {
        match &self.backend {
            DatabaseBackend::Sqlite(_) => sqlite_readers::READERS,
            DatabaseBackend::Postgres(pools) => pools.shares.reading,
        }
    }

    /// Returns how many connections for reading are in use.
    pub fn count_reading(&self) -> usize {
        match &self.backend {
            DatabaseBackend::Sqlite(database) => database.count_reading(),
            DatabaseBackend::Postgres(pools) => pools.count_reading(),
        }
    }

    /// Returns whether the database ever reported damaged pages. Only a restart with a sound file
    /// clears this.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Fails if writes would be lost after a restart.
    pub fn check_in_place(&self) -> Result<(), StoreError> {
        self.as_sqlite().map_or(Ok(()), SqliteDatabase::check_in_place)
    }

    /// Runs a closure within a transaction and commits it if the closure succeeds. `state` is
    /// passed to the closure and returned with any result. It is empty only if the database is
    /// closed.
    pub async fn transact<S, T, F>(&self, state: S, body: F) -> (S, Result<T, StoreError>)
    where
        S: Default + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> FnOnce(
                &'t mut WriteTransaction<'_>,
                &'t mut S,
            ) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.transact_within(LONGEST_WRITE, state, body, |_| Vec::new()).await
    }

    /// Like [`Self::transact`], for a group commit. `proofs` are queries that each find a row if
    /// the transaction was committed. They are used if PostgreSQL's answer to the commit is lost.
    pub async fn commit_group<S, T, F>(
        &self,
        state: S,
        body: F,
        proofs: fn(&S) -> Vec<SqlQuery<'_>>,
    ) -> (S, Result<T, StoreError>)
    where
        S: Default + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> FnOnce(
                &'t mut WriteTransaction<'_>,
                &'t mut S,
            ) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.transact_within(LONGEST_COMMIT, state, body, proofs).await
    }

    async fn transact_within<S, T, F>(
        &self,
        longest: Duration,
        state: S,
        body: F,
        proofs: fn(&S) -> Vec<SqlQuery<'_>>,
    ) -> (S, Result<T, StoreError>)
    where
        S: Default + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> FnOnce(
                &'t mut WriteTransaction<'_>,
                &'t mut S,
            ) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let mut state = state;
        let done = match &self.backend {
            DatabaseBackend::Sqlite(database) => match database.writer() {
                Ok(writer) => {
                    let (back, done) = writer.transact(state, body).await;
                    state = back;
                    done
                }
                Err(closed) => Err(closed),
            },
            // Boxed, as below: sqlx's future contains everything that connecting needs, 14 KB.
            // Within the caller's future it made every task that may write that large, including
            // those of deliveries.
            DatabaseBackend::Postgres(pools) => {
                Box::pin(transact_postgres(pools, longest, &mut state, body, proofs)).await
            }
        };
        (state, self.note_damage(done))
    }

    /// Runs a closure within a transaction and commits it if the closure succeeds.
    pub async fn write<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut WriteTransaction<'_>) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.transact((), move |tx, ()| body(tx)).await.1
    }

    /// Like [`Self::write`], for work that is repeated soon anyway. It is given up after [`PROMPT`]
    /// on PostgreSQL.
    pub async fn write_promptly<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut WriteTransaction<'_>) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.transact_within(PROMPT, (), move |tx, ()| body(tx), |()| Vec::new()).await.1
    }

    /// Runs one statement in a transaction of its own. Returns how many rows it inserted, changed
    /// or deleted.
    pub async fn execute(&self, query: SqlQuery<'_>) -> Result<u64, StoreError> {
        let (longest, query) = (query.longest(LONGEST_WRITE), query.to_owned());
        let executing = self.transact_within(
            longest,
            (),
            move |tx, ()| Box::pin(async move { tx.execute(query.borrow()).await }),
            |()| Vec::new(),
        );
        executing.await.1
    }

    /// Runs a statement that leases rows. Returns how many it leased. `proof` finds one of them. It
    /// is used if PostgreSQL's answer to the commit is lost.
    pub async fn lease_rows(
        &self,
        lease: SqlQuery<'_>,
        proof: SqlQuery<'_>,
    ) -> Result<u64, LeaseFailure> {
        let lease = lease.to_owned();
        let leasing = self.transact_within(
            PROMPT,
            LeasedRows { count: 0, proof: Some(proof.to_owned()) },
            move |tx, leased: &mut LeasedRows| {
                Box::pin(async move {
                    leased.count = tx.execute(lease.borrow()).await?;
                    Ok(leased.count)
                })
            },
            |leased| {
                let proof = leased.proof.as_ref().filter(|_| leased.count > 0);
                proof.map(OwnedQuery::borrow).into_iter().collect()
            },
        );
        let (leased, result) = leasing.await;
        result.map_err(|error| LeaseFailure { error, may_hold: leased.count > 0 })
    }

    /// Inserts into several tables with one statement of PostgreSQL, which is a transaction of its
    /// own. Returns `false` on SQLite, where it inserts nothing.
    pub async fn insert_at_once(
        &self,
        inserts: &'static BulkInserts,
        rows: &[&[BoundRow<'_>]],
        proofs: &[SqlQuery<'_>],
    ) -> Result<bool, StoreError> {
        let DatabaseBackend::Postgres(pools) = &self.backend else { return Ok(false) };
        let inserted = Box::pin(execute_postgres(pools, inserts.bind(rows), proofs)).await;
        self.note_damage(inserted)?;
        Ok(true)
    }

    /// Reads all rows.
    pub async fn fetch_all<T: FromStoredRow + Send + 'static>(
        &self,
        query: SqlQuery<'_>,
    ) -> Result<Vec<T>, StoreError> {
        self.fetch_while(query, Vec::new(), |rows, row| {
            rows.push(row);
            ControlFlow::Continue(())
        })
        .await
    }

    /// Reads the first row, if there is one.
    pub async fn fetch_optional<T: FromStoredRow + Send + 'static>(
        &self,
        query: SqlQuery<'_>,
    ) -> Result<Option<T>, StoreError> {
        self.fetch_while(query, None, |first, row| {
            *first = Some(row);
            ControlFlow::Break(())
        })
        .await
    }

    /// Reads the column `value` of the first row, if there is one.
    pub async fn find_value<T: FromStoredColumn + Send + 'static>(
        &self,
        query: SqlQuery<'_>,
    ) -> Result<Option<T>, StoreError> {
        let found: Option<SingleValue<T>> = self.fetch_optional(query).await?;
        Ok(found.map(|SingleValue(value)| value))
    }

    /// Reads the column `value` of the only row, such as a count.
    pub async fn fetch_value<T: FromStoredColumn + Send + 'static>(
        &self,
        query: SqlQuery<'_>,
    ) -> Result<T, StoreError> {
        let found = self.find_value(query).await?;
        found.ok_or_else(|| corrupt_value("query", "value", &"the query returned no row"))
    }

    /// Reads the column `value` of all rows.
    pub async fn fetch_values<T: FromStoredColumn + Send + 'static>(
        &self,
        query: SqlQuery<'_>,
    ) -> Result<Vec<T>, StoreError> {
        self.fetch_while(query, Vec::new(), |values, SingleValue(value)| {
            values.push(value);
            ControlFlow::Continue(())
        })
        .await
    }

    /// Reads rows into `state` until `take` breaks. Holds only these rows in memory.
    pub async fn fetch_while<T, S>(
        &self,
        query: SqlQuery<'_>,
        state: S,
        mut take: impl FnMut(&mut S, T) -> ControlFlow<()> + Send + 'static,
    ) -> Result<S, StoreError>
    where
        T: FromStoredRow + Send + 'static,
        S: Send + 'static,
    {
        let mut state = state;
        let read = match &self.backend {
            DatabaseBackend::Sqlite(database) => {
                let query = query.to_owned();
                let reading = database.readers.read(move |db| {
                    let take = |row| take(&mut state, row);
                    sqlite_connection::fetch_while(db, &query.borrow(), take)?;
                    Ok(state)
                });
                reading.await
            }
            DatabaseBackend::Postgres(pools) => {
                let mut take = |row| take(&mut state, row);
                let read = Box::pin(read_postgres(pools, &query, &mut take)).await;
                read.map(|()| state)
            }
        };
        self.note_damage(read)
    }

    /// Takes an advisory lock of the database. Returns `None` on SQLite, where no other process
    /// uses the database.
    pub async fn take_cluster_lock(
        &self,
        key: i64,
        longest: Duration,
    ) -> Result<Option<ClusterLock>, StoreError> {
        let DatabaseBackend::Postgres(pools) = &self.backend else { return Ok(None) };
        Box::pin(take_cluster_lock(pools, key, longest)).await.map(Some)
    }

    /// Listens to the notices of other nodes on a channel. Returns `None` on SQLite, which has one
    /// node, and behind a pooler in transaction mode, because only a session can listen.
    pub async fn listen_to_nodes(&self, channel: &str) -> Result<Option<NodeListener>, StoreError> {
        let DatabaseBackend::Postgres(pools) = &self.backend else { return Ok(None) };
        match pools.scope {
            SessionScope::Transaction => Ok(None),
            SessionScope::Connection => {
                Box::pin(NodeListener::open(pools, channel)).await.map(Some)
            }
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match &self.backend {
            DatabaseBackend::Sqlite(database) => database.close(),
            DatabaseBackend::Postgres(pools) => pools.close().await,
        }
    }

    /// Returns the result unchanged, and remembers whether it reports damaged pages.
    fn note_damage<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let is_damage = matches!(&result, Err(StoreError::Unavailable(cause)) if cause.is_damage());
        if is_damage && !self.is_damaged.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the database reports damaged pages: stop the server, restore a copy, start again"
            );
        }
        result
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

    /// Returns the URL of a fresh PostgreSQL schema if `WAYBILL_TEST_POSTGRES` names a server.
    /// `cargo xtask test` sets it.
    pub async fn postgres_url() -> Option<String> {
        let url = std::env::var("WAYBILL_TEST_POSTGRES").ok()?;
        let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
        let schema = format!("unit_{}", uuid::Uuid::now_v7().simple());
        db.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
        let separator = if url.contains('?') { '&' } else { '?' };
        Some(format!("{url}{separator}options=-c%20search_path%3D{schema}"))
    }

    #[tokio::test]
    async fn an_address_that_names_no_database_is_refused() {
        let error = DatabasePool::open("mysql://x", StoreOpening::default()).await.unwrap_err();
        assert!(error.to_string().contains("use sqlite:FILE or postgres://"), "{error}");
    }
}
