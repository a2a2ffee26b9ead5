//! Running processes, and taking over what a lost one held.
//!
//! Every process has a random id, says every two seconds that it is there, and its lease tokens
//! begin with its id. What a process held that has not been seen for ten seconds is due again at
//! once, so nothing waits for the end of a lease. A process that merely stalled that long can
//! change nothing with its old leases; what it was sending may be sent twice.

use super::db::{DatabaseDialect, SqlQuery};
use super::node_id::first_token;
use super::{EventStore, StoreError, statements};
use std::time::Duration;

/// How often a process says that it is there.
pub const BEAT: Duration = Duration::from_secs(2);
/// After how long without a sign a process is lost.
const LOST: Duration = Duration::from_secs(10);

impl EventStore {
    /// Enters this process. SQLite has one process at a time, so whatever is leased there was held
    /// by one that is gone.
    pub async fn enter_process(&self) -> Result<(), StoreError> {
        self.write_heartbeat().await?;
        match self.pool().dialect() {
            DatabaseDialect::Sqlite => self.take_over_lost(Duration::ZERO).await,
            DatabaseDialect::Postgres => self.take_over_lost(LOST).await,
        }
    }

    /// Says that this process is there, and takes over from those that are not.
    pub async fn watch_processes(&self) -> Result<(), StoreError> {
        self.write_heartbeat().await?;
        self.take_over_lost(LOST).await
    }

    /// Leaves: what this process still holds is due again at once, and an SQLite database stands in
    /// its one file.
    pub async fn leave_process(&self) -> Result<(), StoreError> {
        self.release_node(self.inner.node, statements::RELEASE_NODE_PLANNING).await?;
        if let Some(database) = self.pool().as_sqlite()
            && let Err(error) = database.copy_whole_log().await
        {
            tracing::warn!(%error, "part of the database stays in its log; save the file `-wal` too");
        }
        Ok(())
    }

    async fn write_heartbeat(&self) -> Result<(), StoreError> {
        let seen = SqlQuery::new(statements::SEEN).bind(self.inner.node).bind(self.clock().now());
        self.pool().execute(seen).await.map(drop)
    }

    async fn take_over_lost(&self, silent: Duration) -> Result<(), StoreError> {
        let since = self.clock().now().before(silent);
        let query = SqlQuery::new(statements::LOST_NODES).bind(since).bind(self.inner.node);
        let lost: Vec<i64> = self.pool().fetch_values(query).await?;
        for node in lost {
            tracing::info!(node, "taking over what a lost process held");
            self.release_node(node, statements::RELEASE_LOST_PLANNING).await?;
        }
        Ok(())
    }

    /// Makes due what a process holds, its plannings by the statement given.
    async fn release_node(&self, node: i64, plannings: &'static str) -> Result<(), StoreError> {
        let now = self.clock().now();
        let (first, last) = (first_token(node), first_token(node + 1) - 1);
        let sources = self.pool().choose_statement(
            statements::RELEASE_NODE_SOURCES_SQLITE,
            statements::RELEASE_NODE_SOURCES_POSTGRES,
        );
        let released = self.pool().write(move |tx| {
            Box::pin(async move {
                // In the order of the group commit, so that the two cannot wait for each other.
                tx.execute(SqlQuery::new(sources).bind(node)).await?;
                for text in [plannings, statements::RELEASE_NODE] {
                    let release = SqlQuery::new(text).bind(first).bind(last).bind(now);
                    tx.execute(release).await?;
                }
                tx.execute(SqlQuery::new(statements::FORGET_NODE).bind(node)).await.map(drop)
            })
        });
        released.await
    }
}
