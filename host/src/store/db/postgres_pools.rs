//! A PostgreSQL database: the connections that write and those that read.

use super::{PATIENCE, migrations};
use crate::store::StoreError;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::str::FromStr as _;

/// Connections for reading.
const READERS: u32 = 4;
/// Writers that commit side by side: three were measured best on two cores.
pub const WRITERS: usize = 3;

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
        let small = [("max_parallel_workers_per_gather", "0"), ("jit", "off")];
        let pool = |most: u32| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
        };
        let write = pool(u32::try_from(WRITERS).unwrap_or(1) + 2)
            .connect_with(options.clone().options(hot))
            .await?;
        let read =
            pool(READERS).test_before_acquire(true).connect_lazy_with(options.options(small));
        migrations::migrate_postgres(&write).await?;
        Ok(Self { read, write })
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}
