//! The two databases behind one enum, and the macro that expands one body for both.

use super::database_file::DatabaseFile;
use super::native::SqliteThread;
use super::{StoreError, StoreOpening, checkpoint, space};
use crate::crypto::private_file;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Postgres, Sqlite, SqliteConnection, Transaction};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a statement waits for a connection, or for SQLite's lock.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Connections for reading.
const READERS: u32 = 4;
/// Rows that SQLite's readers read ahead; sqlx's 50 would be 50 MB of large events.
const READ_AHEAD: usize = 4;
/// What the connection that writes to SQLite is told: every commit is synced, and pages are kept in
/// 32 MiB of memory.
pub const SQLITE_PRAGMAS: [(&str, &str); 5] = [
    ("synchronous", "FULL"),
    // What is deleted is overwritten: an erased record is not left in free pages.
    ("secure_delete", "ON"),
    ("foreign_keys", "ON"),
    ("temp_store", "MEMORY"),
    ("cache_size", "-32768"),
];

/// Writers that commit side by side. SQLite has one; on PostgreSQL three were measured best on two
/// cores.
const POSTGRES_WRITERS: usize = 3;

/// Both databases. Readers and writers are apart: a long read never holds up a commit.
#[derive(Debug, Clone)]
pub enum DatabasePool {
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
        /// Takes the group commits.
        native: SqliteThread,
        /// Held by whoever writes, in the order they came.
        turn: Arc<Mutex<()>>,
        file: Arc<DatabaseFile>,
    },
    Postgres {
        read: PgPool,
        write: PgPool,
    },
}

/// A write transaction on either database.
#[derive(Debug)]
pub enum WriteTransaction {
    Sqlite(SqliteTx),
    Postgres(Transaction<'static, Postgres>),
}

/// A transaction on SQLite's only writer. Left without a commit, or with one that failed, it closes
/// the connection: that rolls back whatever state a full disk left it in, and the next transaction
/// begins on a new one.
#[derive(Debug)]
pub struct SqliteTx {
    connection: PoolConnection<Sqlite>,
    done: bool,
    file: Arc<DatabaseFile>,
    _turn: OwnedMutexGuard<()>,
}

impl SqliteTx {
    async fn begin(
        pool: &SqlitePool,
        turn: &Arc<Mutex<()>>,
        file: &Arc<DatabaseFile>,
    ) -> Result<Self, sqlx::Error> {
        let turn = Arc::clone(turn).lock_owned().await;
        file.check_in_place()?;
        let (connection, file) = (pool.acquire().await?, Arc::clone(file));
        let mut tx = Self { connection, done: false, file, _turn: turn };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *tx.connection).await?;
        Ok(tx)
    }

    async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::query("COMMIT").execute(&mut *self.connection).await?;
        self.file.check_in_place()?;
        self.done = true;
        Ok(())
    }

    /// For statements within it.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if !self.done {
            self.connection.close_on_drop();
        }
    }
}

/// Expands `$body` once for each database, with `$db` a pool for reading.
macro_rules! reading {
    ($pool:expr, |$db:ident| $body:expr) => {
        match $pool {
            $crate::store::pool::DatabasePool::Sqlite { read: $db, .. } => $body,
            $crate::store::pool::DatabasePool::Postgres { read: $db, .. } => $body,
        }
    };
}

/// Expands `$body` once for each database, with `$db` the connection of a write transaction.
macro_rules! writing {
    ($tx:expr, |$db:ident| $body:expr) => {
        match $tx {
            $crate::store::pool::WriteTransaction::Sqlite(tx) => {
                let $db: &mut sqlx::SqliteConnection = tx.connection();
                $body
            }
            $crate::store::pool::WriteTransaction::Postgres(tx) => {
                let $db: &mut sqlx::PgConnection = &mut *tx;
                $body
            }
        }
    };
}

pub(crate) use {reading, writing};

impl DatabasePool {
    /// Connects and brings the schema up to date.
    pub async fn open(url: &str, opening: StoreOpening) -> Result<Self, StoreError> {
        let pool = if url.starts_with("sqlite:") {
            Self::open_sqlite(url, opening).await?
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Self::open_postgres(url).await?
        } else {
            let given = url.split(':').next().unwrap_or_default().to_owned();
            return Err(StoreError::Address { given });
        };
        match &pool {
            Self::Sqlite { write, .. } => SQLITE.run(write).await,
            Self::Postgres { write, .. } => POSTGRES.run(write).await,
        }
        .map_err(|error| StoreError::Migration(Box::new(error)))?;
        if let Self::Sqlite { file, .. } = &pool {
            file.watch_log()?;
        }
        Ok(pool)
    }

    async fn open_sqlite(url: &str, opening: StoreOpening) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|_unreadable| StoreError::Address { given: url.to_owned() })?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .pragma("temp_store", "memory")
            .pragma("secure_delete", "on")
            // The group commit sees to it; this is for a server that only writes otherwise.
            .pragma("wal_autocheckpoint", (4 * checkpoint::PAGES).to_string())
            .disable_statement_logging();
        protect(options.get_filename())?;
        // Before SQLite opens it: a second server must not touch the file.
        let file = Arc::new(DatabaseFile::lock(options.get_filename())?);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(PATIENCE)
            // Only a new file, or one that is written anew, becomes one whose free pages can be
            // given back.
            .connect_with(if file.is_new() || opening.rewrites_file {
                options.clone().auto_vacuum(SqliteAutoVacuum::Incremental)
            } else {
                // To say it again would be a write, and a full disk is to be opened for reading.
                options.clone()
            })
            .await?;
        if opening.rewrites_file {
            // Before others connect: to a connection the kind of a file is that at its beginning.
            space::rewrite_file(&write).await;
        }
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            // Rows that are read ahead of who asks for them are in memory too.
            .connect_lazy_with(options.clone().read_only(true).row_buffer_size(READ_AHEAD));
        let native = SqliteThread::start(&file).map_err(sqlx::Error::Io)?;
        Ok(Self::Sqlite { read, write, native, turn: Arc::default(), file })
    }

    async fn open_postgres(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_unreadable| StoreError::Address { given: "postgres:…".to_owned() })?
            .application_name("waybill")
            .statement_cache_capacity(400)
            .disable_statement_logging();
        // On fresh tables the planner believes them empty: it scans them for every update, or walks
        // a whole index for a merge or hash join. The hot statements look each row up in its index
        // without waiting for statistics.
        let hot = [
            ("enable_seqscan", "off"),
            ("enable_mergejoin", "off"),
            ("enable_hashjoin", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("jit", "off"),
            // A process that stalls within a transaction must not hold up who takes over from it.
            ("idle_in_transaction_session_timeout", "5s"),
        ];
        let pool = |most: u32| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
        };
        let write = pool(u32::try_from(POSTGRES_WRITERS).unwrap_or(1) + 2)
            .connect_with(options.clone().options(hot))
            .await?;
        let read = pool(READERS).test_before_acquire(true).connect_lazy_with(options);
        Ok(Self::Postgres { read, write })
    }

    /// How many writers commit side by side.
    pub const fn writers(&self) -> usize {
        match self {
            Self::Sqlite { .. } => 1,
            Self::Postgres { .. } => POSTGRES_WRITERS,
        }
    }

    /// Begins a write transaction.
    pub async fn begin(&self) -> Result<WriteTransaction, sqlx::Error> {
        Ok(match self {
            Self::Sqlite { write, turn, file, .. } => {
                WriteTransaction::Sqlite(SqliteTx::begin(write, turn, file).await?)
            }
            Self::Postgres { write, .. } => WriteTransaction::Postgres(write.begin().await?),
        })
    }

    /// Fails where what is written now would be gone after a restart.
    pub fn check_in_place(&self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite { file, .. } => file.check_in_place(),
            Self::Postgres { .. } => Ok(()),
        }
    }

    /// Copies all of SQLite's log into the database, so that a copy of that one file is a copy of
    /// everything.
    pub async fn empty_log(&self) -> Result<(), sqlx::Error> {
        if let Self::Sqlite { write, turn, .. } = self {
            let _turn = turn.lock().await;
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(write).await?;
        }
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { read, write, .. } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { read, write } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

impl WriteTransaction {
    /// Makes it durable.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }
}

/// Makes the database's file and its logs readable to their owner only.
fn protect(file: &Path) -> Result<(), StoreError> {
    if file.as_os_str() == ":memory:" || file.to_string_lossy().starts_with("file:") {
        return Ok(());
    }
    let failed = |path: &Path, source| StoreError::File { path: path.to_owned(), source };
    private_file::create_file(file).map_err(|error| failed(file, error))?;
    for log in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(log);
        let path = Path::new(&path);
        private_file::protect_file(path).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

/// Whether the database refused the data itself (a constraint, a value it cannot hold), as opposed
/// to being away, full or busy.
pub fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(database) = error.as_database_error() else {
        return matches!(error, sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_));
    };
    // PostgreSQL: class 22 data exception, 23 integrity constraint violation, 54 program limit
    // exceeded, such as a text that is too long for an index (appendix A). SQLite: 19 constraint,
    // 18 too big, 20 mismatch, with extended codes above.
    let code = database.code().unwrap_or_default();
    let sqlite = code.parse::<u32>().ok().filter(|_| code.len() < 5).map(|n| n & 0xff);
    code.len() == 5 && ["22", "23", "54"].iter().any(|class| code.starts_with(class))
        || matches!(sqlite, Some(18..=20))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

    /// A connection to a fresh, migrated PostgreSQL database, if the tests were given a server by
    /// `WAYBILL_TEST_POSTGRES`; `cargo xtask test` sees to that.
    pub async fn postgres() -> Option<sqlx::PgConnection> {
        let url = std::env::var("WAYBILL_TEST_POSTGRES").ok()?;
        let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
        let schema = format!("unit_{}", uuid::Uuid::now_v7().simple());
        db.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}; SET search_path = {schema}")))
            .await
            .unwrap();
        db.execute(include_str!("../../migrations/postgres/0001_journal.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0002_access.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0003_records.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0004_sources.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0005_capture_keys.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0006_deaths.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0007_held_back.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0016_dedupe_keys.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0010_row_dead_letters.sql"))
            .await
            .unwrap();
        db.execute(include_str!("../../migrations/postgres/0013_record_order.sql")).await.unwrap();
        db.execute(include_str!("../../migrations/postgres/0023_retention.sql")).await.unwrap();
        Some(db)
    }

    #[tokio::test]
    async fn an_address_that_is_no_database_is_refused() {
        let error = DatabasePool::open("mysql://x", StoreOpening::default()).await.unwrap_err();
        assert!(error.to_string().contains("use sqlite:FILE or postgres://"), "{error}");
    }
}
