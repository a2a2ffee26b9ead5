//! A PostgreSQL database: the connections that write and those that read.

use super::{PATIENCE, migrations};
use crate::store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use std::str::FromStr as _;
use std::time::Duration;

/// Connections for reading.
const READERS: u32 = 4;
/// Writers that commit side by side: three were measured best on two cores.
pub const WRITERS: usize = 3;

/// How long a connection for reading may take to say that it is alive. All of them may have become
/// silent, and their turns fit into [`PATIENCE`].
const PING: Duration = Duration::from_millis(500);

async fn is_alive(db: &mut PgConnection) -> Result<bool, sqlx::Error> {
    Ok(matches!(tokio::time::timeout(PING, db.ping()).await, Ok(Ok(()))))
}

/// Readers and writers are apart: a long read never holds up a commit.
#[derive(Debug, Clone)]
pub struct PostgresPools {
    pub read: PgPool,
    pub write: PgPool,
}

impl PostgresPools {
    /// Connects and brings the schema up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_unreadable| StoreError::Address { given: "postgres:…".to_owned() })?
            .application_name("waybill")
            .statement_cache_capacity(400)
            .disable_statement_logging();
        // The server notices within 25 s that this host is gone, and lets go of its locks.
        let options = options.options([
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ]);
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
        // Lists read a page: starting a worker for one took 7 ms, reading it alone 0.3 ms.
        let small = [
            ("max_parallel_workers_per_gather", "0"),
            ("jit", "off"),
            ("statement_timeout", "15s"),
        ];
        let pool = |most: u32| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
        };
        let write = pool(u32::try_from(WRITERS).unwrap_or(1) + 2)
            .connect_with(options.clone().options(hot))
            .await?;
        let read = pool(READERS).before_acquire(|db, _| Box::pin(is_alive(db)));
        let read = read.connect_lazy_with(options.options(small));
        migrations::migrate_postgres(&write).await?;
        Ok(Self { read, write })
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}
