//! The connection pools of a PostgreSQL database: one for writing and one for reading.

use super::postgres_address::{PostgresAddress, SessionScope};
use super::postgres_hosts::{PostgresHosts, check_session, no_host};
use super::silence::SilenceMemory;
use super::{PATIENCE, migrations};
use crate::store::StoreError;
use crate::store::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Postgres};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Largest number of writers that commit in parallel. On two cores three were the fastest; with
/// more writers, fewer operations share a commit.
const MOST_WRITERS: usize = 8;
/// Largest number of connections for reading. Each may hold a page of 4 MiB in memory.
const MOST_READERS: usize = 16;

/// Division of a process's connections by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionShares {
    pub reading: usize,
    /// Connections for writing: one for each writer and at least two for other transactions, such
    /// as heartbeats.
    pub writing: usize,
    pub writers: usize,
}

impl ConnectionShares {
    /// Divides the connections: four ninths are for reading, a third commits groups.
    pub const fn of(connections: u32) -> Self {
        let connections = if connections < 4 { 4 } else { connections as usize };
        let (reading, writers) = (connections * 4 / 9, connections / 3);
        let reading = if reading > MOST_READERS { MOST_READERS } else { reading };
        let writers = if writers > MOST_WRITERS { MOST_WRITERS } else { writers };
        Self { reading, writing: connections - reading, writers }
    }
}

/// Time that a connection has to show that it is alive. Even if all of them have gone
/// silent, testing them in turn fits into [`PATIENCE`].
const PING: Duration = Duration::from_millis(500);

/// Time that a pool has to provide a connection before other hosts are tried.
const HEAD_START: Duration = Duration::from_millis(200);

/// Returns whether a connection answers. If it does not, older ones are tested, too.
async fn is_alive(db: &mut PgConnection, silence: &SilenceMemory) -> bool {
    let is_alive = matches!(timeout(PING, db.ping()).await, Ok(Ok(())));
    if !is_alive {
        silence.note_silence();
    }
    is_alive
}

/// Settings of connections for writing. The planner believes that fresh tables are empty: it scans
/// them for every update, or walks a whole index for a merge or hash join. With these settings the
/// hot statements look each row up in its index without waiting for statistics.
const WRITING: [(&str, &str); 6] = [
    ("enable_seqscan", "off"),
    ("enable_mergejoin", "off"),
    ("enable_hashjoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    // A process that stalls within a transaction must not delay the process that takes over its
    // work.
    ("idle_in_transaction_session_timeout", "5s"),
];

/// Settings of connections for reading. Lists read a page: starting a parallel worker for one took
/// 7 ms, reading it without took 0.3 ms.
const READING: [(&str, &str); 3] =
    [("max_parallel_workers_per_gather", "0"), ("jit", "off"), ("statement_timeout", "15s")];

/// With these the server notices within 25 s that this machine is gone, and releases its locks.
const KEEPALIVES: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

fn connect_options(
    host: &PgConnectOptions,
    scope: SessionScope,
    settings: &[(&str, &str)],
) -> PgConnectOptions {
    let options = host.clone().application_name("waybill").disable_statement_logging();
    match scope {
        SessionScope::Connection => options
            .statement_cache_capacity(400)
            .options(KEEPALIVES)
            .options(settings.iter().copied()),
        // PgBouncer refuses a connection with start-up parameters that it does not know, such as
        // `options` and this one (manual, `ignore_startup_parameters`).
        SessionScope::Transaction => {
            options.statement_cache_capacity(0).extra_float_digits(None::<i8>)
        }
    }
}

/// Returns the statement that begins a transaction. Behind a pooler it includes the settings.
fn begin_statement(scope: SessionScope, settings: &[(&str, &str)]) -> Arc<str> {
    match scope {
        SessionScope::Connection => Arc::from("BEGIN"),
        SessionScope::Transaction => {
            let set = |(name, value): &(&str, &str)| format!("; SET LOCAL {name} = '{value}'");
            let settings: Vec<String> = settings.iter().map(set).collect();
            Arc::from(format!("BEGIN{}", settings.concat()))
        }
    }
}

/// Builds a pool whose connections go to suitable servers.
fn pool_options(connections: usize, hosts: &PostgresHosts) -> PgPoolOptions {
    let target = hosts.target();
    PgPoolOptions::new()
        .max_connections(u32::try_from(connections).unwrap_or(1))
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .after_connect(move |db, _| Box::pin(check_session(db, target)))
}

/// Readers and writers have separate pools, so a long read never delays a commit.
#[derive(Debug, Clone)]
pub struct PostgresPools {
    read: PgPool,
    write: PgPool,
    hosts: Arc<PostgresHosts>,
    silence: Arc<SilenceMemory>,
    pub shares: ConnectionShares,
    pub scope: SessionScope,
    /// The statement that begins a reading transaction.
    pub begin_reading: Arc<str>,
    /// The statement that begins a writing transaction.
    pub begin_writing: Arc<str>,
}

impl PostgresPools {
    /// Connects and updates the schema.
    pub async fn open(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let address = PostgresAddress::parse(url)?;
        let scope = address.scope;
        let hosts = Arc::new(PostgresHosts::new(address));
        let host = match hosts.only_host() {
            Some(host) => host,
            None => hosts.find_another().await.ok_or_else(no_host)?,
        };
        let pools = Self::build(&hosts, host, scope, ConnectionShares::of(max_connections));
        pools.update_schema().await?;
        Ok(pools)
    }

    /// Prepares the pools of a database that does not answer at present. They connect when they are
    /// used.
    pub fn open_away(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let address = PostgresAddress::parse(url)?;
        let scope = address.scope;
        let hosts = Arc::new(PostgresHosts::new(address));
        let host = hosts.first_host().ok_or_else(no_host)?;
        Ok(Self::build(&hosts, host, scope, ConnectionShares::of(max_connections)))
    }

    fn build(
        hosts: &Arc<PostgresHosts>,
        host: &PgConnectOptions,
        scope: SessionScope,
        shares: ConnectionShares,
    ) -> Self {
        let silence = Arc::<SilenceMemory>::default();
        let (known, heard) = (Arc::clone(hosts), Arc::clone(&silence));
        // A busy connection is not tested, because a commit should not take one more round trip.
        let write = pool_options(shares.writing, hosts).before_acquire(move |db, found| {
            let is_sound = known.is_sound(found.age);
            let is_doubted = heard.doubts(found.age, found.idle_for);
            let heard = Arc::clone(&heard);
            Box::pin(async move { Ok(is_sound && (!is_doubted || is_alive(db, &heard).await)) })
        });
        let write = write.connect_lazy_with(connect_options(host, scope, &WRITING));
        let (known, heard) = (Arc::clone(hosts), Arc::clone(&silence));
        let read = pool_options(shares.reading, hosts).before_acquire(move |db, found| {
            let is_sound = known.is_sound(found.age);
            let heard = Arc::clone(&heard);
            Box::pin(async move { Ok(is_sound && is_alive(db, &heard).await) })
        });
        let read = read.connect_lazy_with(connect_options(host, scope, &READING));
        Self {
            read,
            write,
            hosts: Arc::clone(hosts),
            silence,
            shares,
            scope,
            begin_reading: begin_statement(scope, &READING),
            begin_writing: begin_statement(scope, &WRITING),
        }
    }

    /// Creates or changes the tables.
    pub async fn update_schema(&self) -> Result<(), StoreError> {
        // Finds the host, and tells a database that is away from one that refuses the change.
        drop(self.acquire_writer().await?);
        match self.scope {
            SessionScope::Connection => migrations::migrate_postgres(&self.write).await,
            SessionScope::Transaction => Box::pin(migrations::migrate_pooled(&self.write)).await,
        }
    }

    /// Returns a connection for reading.
    pub async fn acquire_reader(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.acquire(&self.read).await
    }

    /// Returns how many connections for reading are in use.
    pub fn count_reading(&self) -> usize {
        (self.read.size() as usize).saturating_sub(self.read.num_idle())
    }

    /// Returns the present options of connections for reading.
    pub fn reader_options(&self) -> PgConnectOptions {
        PgConnectOptions::clone(&self.read.connect_options())
    }

    /// Returns a connection for writing.
    pub async fn acquire_writer(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.acquire(&self.write).await
    }

    /// Returns a connection. With several hosts, the others are tried if the present one provides
    /// none.
    async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        if self.hosts.only_host().is_some() {
            return pool.acquire().await;
        }
        let mut acquiring = Box::pin(pool.acquire());
        match timeout(HEAD_START, &mut acquiring).await {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sqlx::Error::PoolClosed)) => return Err(sqlx::Error::PoolClosed),
            // For example a host name that can no longer be resolved.
            Ok(Err(failed)) => {
                let is_moved = self.follow_hosts().await;
                return if is_moved { Box::pin(pool.acquire()).await } else { Err(failed) };
            }
            Err(_elapsed) => {}
        }
        tokio::select! {
            acquired = &mut acquiring => acquired,
            // A silent host would otherwise delay the old attempt until its time-out.
            is_moved = self.follow_hosts() => {
                if is_moved { Box::pin(pool.acquire()).await } else { acquiring.await }
            }
        }
    }

    /// Directs new connections to the first suitable host. Returns whether it is another one than
    /// before.
    async fn follow_hosts(&self) -> bool {
        let Some(host) = self.hosts.find_another().await else { return false };
        self.write.set_connect_options(connect_options(host, self.scope, &WRITING));
        self.read.set_connect_options(connect_options(host, self.scope, &READING));
        true
    }

    /// Records that a server no longer accepts writes, and closes older connections.
    pub fn note_demotion(&self) {
        self.hosts.note_demotion();
    }

    /// Records that a connection did not answer within this time, and returns the error for it.
    pub fn note_silence(&self, longest: Duration) -> StoreError {
        self.silence.note_silence();
        DatabaseError::TooSlow(longest).into()
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
    fn behind_a_pooler_a_transaction_brings_its_settings_along() {
        assert_eq!(&*begin_statement(SessionScope::Connection, &READING), "BEGIN");
        assert_eq!(
            &*begin_statement(SessionScope::Transaction, &READING),
            "BEGIN; SET LOCAL max_parallel_workers_per_gather = '0'; SET LOCAL jit = 'off'; \
             SET LOCAL statement_timeout = '15s'"
        );
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
