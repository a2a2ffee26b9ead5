//! Running processes, and taking over what a lost one held.
//!
//! Every process has a random id, says every two seconds that it is there, and its lease tokens
//! begin with its id. What a process held that has not been seen for ten seconds is due again at
//! once, so nothing waits for the end of a lease. A process that merely stalled that long can
//! change nothing with its old leases; what it was sending may be sent twice.

use super::pool::{DatabasePool, WriteTransaction, reading, writing};
use super::{EventStore, StoreError, statements};
use std::time::Duration;

/// How often a process says that it is there.
pub const BEAT: Duration = Duration::from_secs(2);
/// After how long without a sign a process is lost.
const LOST: Duration = Duration::from_secs(10);
/// Bits of a token that count; the id stands above them.
const COUNTER_BITS: u32 = 32;

/// A new process's id.
pub fn random() -> i64 {
    i64::from(rand::random::<u32>() >> 2) + 1
}

/// Where a process's lease tokens begin.
pub const fn first_token(node: i64) -> i64 {
    node << COUNTER_BITS
}

impl EventStore {
    /// Enters this process. SQLite has one process at a time, so whatever is leased there was held
    /// by one that is gone.
    pub async fn enter(&self) -> Result<(), StoreError> {
        self.beat().await?;
        match self.pool() {
            DatabasePool::Sqlite { .. } => self.take_over(Duration::ZERO).await,
            DatabasePool::Postgres { .. } => self.take_over(LOST).await,
        }
    }

    /// Says that this process is there, and takes over from those that are not.
    pub async fn patrol_nodes(&self) -> Result<(), StoreError> {
        self.beat().await?;
        self.take_over(LOST).await
    }

    /// Leaves: what this process still holds is due again at once, and an SQLite database stands in
    /// its one file.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.release_node(self.inner.node, statements::RELEASE_NODE_PLANNING).await?;
        if let Err(error) = self.pool().empty_log().await {
            tracing::warn!(%error, "part of the database stays in its log; save the file `-wal` too");
        }
        Ok(())
    }

    async fn beat(&self) -> Result<(), StoreError> {
        let mut tx = self.pool().begin().await?;
        writing!(&mut tx, |db| sqlx::query(statements::SEEN)
            .bind(self.inner.node)
            .bind(self.clock().now().micros())
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }

    async fn take_over(&self, silent: Duration) -> Result<(), StoreError> {
        let since = self.clock().now().before(silent);
        let lost: Vec<(i64,)> = reading!(self.pool(), |db| sqlx::query_as(statements::LOST_NODES)
            .bind(since.micros())
            .bind(self.inner.node)
            .fetch_all(db)
            .await?);
        for (node,) in lost {
            tracing::info!(node, "taking over what a lost process held");
            self.release_node(node, statements::RELEASE_LOST_PLANNING).await?;
        }
        Ok(())
    }

    /// Makes due what a process holds, its plannings by the statement given.
    async fn release_node(&self, node: i64, plannings: &'static str) -> Result<(), StoreError> {
        let now = self.clock().now().micros();
        let (first, last) = (first_token(node), first_token(node + 1) - 1);
        let sources = match self.pool() {
            DatabasePool::Sqlite { .. } => statements::RELEASE_NODE_SOURCES_SQLITE,
            DatabasePool::Postgres { .. } => statements::RELEASE_NODE_SOURCES_POSTGRES,
        };
        let mut tx: WriteTransaction = self.pool().begin().await?;
        writing!(&mut tx, |db| {
            // In the order of the group commit, so that the two cannot wait for each other.
            sqlx::query(sources).bind(node).execute(&mut *db).await?;
            for text in [plannings, statements::RELEASE_NODE] {
                sqlx::query(text).bind(first).bind(last).bind(now).execute(&mut *db).await?;
            }
            sqlx::query(statements::FORGET_NODE).bind(node).execute(&mut *db).await?;
        });
        Ok(tx.commit().await?)
    }
}
