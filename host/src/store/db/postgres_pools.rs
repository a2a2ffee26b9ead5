//! A PostgreSQL database: the connections that write and those that read.

use super::{PATIENCE, migrations};
use crate::store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use std::str::FromStr as _;
use std::time::Duration;

/// Most writers that commit side by side. On two cores three were measured best; the more there
/// are, the fewer operations share a commit.
const MOST_WRITERS: usize = 8;
/// Most connections for reading: each may hold a page of 4 MiB in memory.
const MOST_READERS: usize = 16;

/// How the connections of a process are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionShares {
    /// Connections for reading.
    pub reading: usize,
    /// Connections for writing: one for each writer and at least two for other transactions, such
    /// as the sign of life.
    pub writing: usize,
    /// Writers of the group commit.
    pub writers: usize,
}

impl ConnectionShares {
    /// Four ninths of the connections are for reading, a third commits groups.
    pub const fn of(connections: u32) -> Self {
        let connections = if connections < 4 { 4 } else { connections as usize };
        let (reading, writers) = (connections * 4 / 9, connections / 3);
        let reading = if reading > MOST_READERS { MOST_READERS } else { reading };
        let writers = if writers > MOST_WRITERS { MOST_WRITERS } else { writers };
        Self { reading, writing: connections - reading, writers }
    }
}

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
    pub shares: ConnectionShares,
}

impl PostgresPools {
    /// Connects and brings the schema up to date.
    pub async fn open(url: &str, max_connections: u32) -> Result<Self, StoreError> {
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
        let shares = ConnectionShares::of(max_connections);
        let pool = |most: usize| {
            PgPoolOptions::new()
                .max_connections(u32::try_from(most).unwrap_or(1))
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
        };
        let write = pool(shares.writing).connect_with(options.clone().options(hot)).await?;
        let read = pool(shares.reading).before_acquire(|db, _| Box::pin(is_alive(db)));
        let read = read.connect_lazy_with(options.options(small));
        migrations::migrate_postgres(&write).await?;
        Ok(Self { read, write, shares })
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_connections_are_four_for_reading_and_five_for_writing() {
        let shares = ConnectionShares { reading: 4, writing: 5, writers: 3 };
        assert_eq!(ConnectionShares::of(9), shares);
    }

    #[test]
    fn two_connections_for_writing_are_left_beside_the_writers() {
        for connections in 4..=40 {
            let shares = ConnectionShares::of(connections);
            assert_eq!(shares.reading + shares.writing, connections as usize);
            assert!(shares.reading >= 1 && shares.writers >= 1, "{connections}: {shares:?}");
            assert!(shares.writing >= shares.writers + 2, "{connections}: {shares:?}");
        }
    }
}
