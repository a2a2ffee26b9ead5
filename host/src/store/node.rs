//! Running processes, and taking over what a lost one held.
//!
//! Every process has a random id, says every two seconds that it is there, and its lease tokens
//! begin with its id. What a process held that has not been seen for ten seconds, by the database's
//! clock and by whoever watches it, is due again at once, so nothing waits for the end of a lease. A process that merely stalled that long can
//! change nothing with its old leases; what it was sending may be sent twice.

use super::db::{ClusterLock, DatabaseDialect, FromStoredRow, SqlQuery, StoredRow};
use super::event_store::StoreInner;
use super::node_id::first_token;
use super::node_notice::{NODE_CHANNEL, NodeNotice};
use super::{EventStore, StoreError, database_time, statements};
use crate::crypto::digest::ShortDigest;
use crate::model::delivery::WorkLease;
use crate::model::node_description::NodeDescription;
use crate::net::http_client::permit::{PermitKeeper, SendPermit};
use crate::time::clock::Clock;
use crate::time::followed_time::ClockSample;
use crate::time::timestamp::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a process says that it is there.
pub const BEAT: Duration = Duration::from_secs(2);
/// After how long without a sign a process is lost.
const LOST: Duration = Duration::from_secs(10);
/// A clock that is wrong by more microseconds than this is worth a word.
pub const NOTABLE_SKEW: i64 = 1_000_000;
/// The lock of nodes that start.
const START_LOCK: i64 = 0x7761_7962_696c_6c02;
/// How long a start waits for others: six that each take ten seconds to find out whether a node
/// with another key is alive.
const LONGEST_START: Duration = Duration::from_mins(1);

/// A process that is there, or was until lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningNode {
    pub id: i64,
    /// When it last said that it is there.
    pub seen_at: Timestamp,
    /// Empty of one that has not said yet what it is.
    pub address: Option<String>,
    pub version: Option<String>,
    pub started_at: Option<Timestamp>,
    /// By how many microseconds its clock is ahead of the database's; `None` of one that has not
    /// said, and 0 on SQLite.
    pub skew_us: Option<i64>,
}

impl FromStoredRow for RunningNode {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            seen_at: row.get("seen_at")?,
            address: row.get("address")?,
            version: row.get("version")?,
            started_at: row.get("started_at")?,
            skew_us: row.get("skew_us")?,
        })
    }
}

impl PermitKeeper for StoreInner {
    fn holds(&self, number: i64) -> bool {
        self.presence.holds_lease(number)
    }
}

/// Another process, and when it last said that it is there.
struct OtherNode {
    id: i64,
    seen_at: Timestamp,
}

impl FromStoredRow for OtherNode {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { id: row.get("id")?, seen_at: row.get("seen_at")? })
    }
}

fn signs_of(others: &[OtherNode]) -> Vec<(i64, Timestamp)> {
    others.iter().map(|other| (other.id, other.seen_at)).collect()
}

impl EventStore {
    /// Waits until no other node makes its first entries, and keeps others from it until the lock
    /// is dropped.
    pub async fn lock_start(&self) -> Result<Option<ClusterLock>, StoreError> {
        self.pool().take_cluster_lock(START_LOCK, LONGEST_START).await
    }

    /// Says from now on what this process is. Returns a running process that reads stored secrets
    /// with another key, if there is one: it would not be able to send what this one stores, nor
    /// this one what that one stores.
    pub async fn describe_node(
        &self,
        description: NodeDescription,
    ) -> Result<Option<RunningNode>, StoreError> {
        let marks = (description.key_mark, description.next_key_mark);
        // Described once, at the start.
        drop(self.inner.description.set(description));
        self.write_heartbeat().await?;
        let others = self.find_other_keys(marks).await?;
        // One that died a moment ago seems to be there still, and one that runs says so again.
        let until = Instant::now() + LOST;
        while !others.is_empty() && Instant::now() < until {
            sleep(BEAT / 4).await;
            let now = self.find_other_keys(marks).await?;
            let lives = |node: &RunningNode| !others.contains(node);
            if let Some(other) = now.into_iter().find(lives) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Running processes that do not take this one's key, nor have one that it takes.
    async fn find_other_keys(
        &self,
        (own, next): (ShortDigest, Option<ShortDigest>),
    ) -> Result<Vec<RunningNode>, StoreError> {
        let query = SqlQuery::new(statements::NODES_WITH_OTHER_KEY)
            .bind(self.inner.node)
            .bind(own.bytes().as_slice())
            .bind(self.clock().now().before(LOST))
            .bind(next.as_ref().map(|next| next.bytes().as_slice()));
        self.pool().fetch_all(query).await
    }

    /// Running processes that could not read what is encrypted with a key.
    pub async fn list_nodes_without_key(
        &self,
        key: ShortDigest,
    ) -> Result<Vec<RunningNode>, StoreError> {
        let query = SqlQuery::new(statements::NODES_WITHOUT_KEY)
            .bind(key.bytes().as_slice())
            .bind(self.clock().now().before(LOST));
        self.pool().fetch_all(query).await
    }

    /// The processes that share the database, and whether each is this one.
    pub async fn list_nodes(&self) -> Result<Vec<(RunningNode, bool)>, StoreError> {
        let nodes: Vec<RunningNode> =
            self.pool().fetch_all(SqlQuery::new(statements::SELECT_NODES)).await?;
        let is_own = |node: &RunningNode| node.id == self.inner.node;
        Ok(nodes.into_iter().map(|node| (node.clone(), is_own(&node))).collect())
    }

    /// Enters this process. SQLite has one process at a time, so whatever is leased there was held
    /// by one that is gone, also if the clock is behind the last sign of that one.
    pub async fn enter_process(&self) -> Result<(), StoreError> {
        self.write_heartbeat().await?;
        let silent_since = match self.pool().dialect() {
            DatabaseDialect::Sqlite => Timestamp::from_micros(i64::MAX),
            DatabaseDialect::Postgres => self.clock().now().before(LOST),
        };
        let others = self.list_others().await?;
        let lost = others.iter().filter(|other| other.seen_at < silent_since);
        self.take_over(lost.map(|other| other.id).collect(), silent_since).await?;
        let signs = self.inner.followers.others.note_signs(&signs_of(&others), Instant::now());
        drop(signs);
        Ok(())
    }

    /// Says that this process is there, and takes over from those that are not.
    pub async fn watch_processes(&self) -> Result<(), StoreError> {
        self.renew_presence().await?;
        let others = self.list_others().await?;
        let silent = self.inner.followers.others.note_signs(&signs_of(&others), Instant::now());
        let since = self.clock().now().before(LOST);
        let is_lost = |other: &&OtherNode| other.seen_at < since && silent.contains(&other.id);
        let lost = others.iter().filter(is_lost).map(|other| other.id).collect();
        self.take_over(lost, since).await
    }

    async fn list_others(&self) -> Result<Vec<OtherNode>, StoreError> {
        let query = SqlQuery::new(statements::OTHER_NODES).bind(self.inner.node);
        let others: Vec<OtherNode> = self.pool().fetch_all(query).await?;
        let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
        self.metrics().store.nodes.set(count.saturating_add(1));
        Ok(others)
    }

    /// Says that this process is there, and asks what time it is.
    async fn write_sign(&self) -> Result<u64, StoreError> {
        let (node, now, skew) = (self.inner.node, self.clock().now(), self.clock().skew());
        let written = self.pool().write(move |tx| {
            Box::pin(async move {
                let sample = database_time::sample_time(tx).await?;
                let seen_at = sample.map_or(now, |sample| sample.told);
                let again = SqlQuery::new(statements::SEEN_AGAIN);
                let again = again.bind(node).bind(seen_at).bind(skew);
                Ok((tx.execute(again).await?, sample))
            })
        });
        let (rows, sample) = written.await?;
        if let Some(sample) = sample {
            self.note_database_time(sample);
        }
        Ok(rows)
    }

    /// Takes what the database said of the time into account. Says once that this machine's clock
    /// is wrong, and once that it is right again.
    fn note_database_time(&self, sample: ClockSample) {
        let Clock::Database(followed) = self.clock() else { return };
        followed.note_sample(sample);
        let skew = self.clock().skew();
        let is_wrong = skew.abs() > NOTABLE_SKEW;
        let was_wrong = self.inner.is_clock_wrong.swap(is_wrong, Ordering::Relaxed);
        if is_wrong && !was_wrong {
            tracing::warn!(
                skew_ms = skew / 1_000,
                "this machine's clock differs from the database's. Leases and the order of events \
                 follow the database's, but receivers may refuse signatures: have both follow NTP"
            );
        } else if was_wrong && !is_wrong {
            tracing::info!("this machine's clock agrees with the database's again");
        }
    }

    /// Says that this process is there. Where others have forgotten it, what it leased is theirs.
    async fn renew_presence(&self) -> Result<(), StoreError> {
        let sent = Instant::now();
        if self.write_sign().await? == 1 {
            self.inner.presence.note_sign(sent);
            return Ok(());
        }
        // Leases from here on are taken after the others are told that this process is there again.
        let first_valid = self.next_lease_token();
        let is_described = self.inner.description.get().is_some();
        self.write_heartbeat().await?;
        if is_described {
            tracing::warn!("this node was silent for so long that others took over what it held");
            self.inner.presence.note_loss(sent, first_valid);
        } else {
            self.inner.presence.note_sign(sent);
        }
        Ok(())
    }

    /// Waits until it is certain whether a lease is still held; returns whether it is. On SQLite
    /// there is nobody who could take it over.
    pub async fn confirm_lease(&self, lease: WorkLease) -> bool {
        let is_alone = self.pool().dialect() == DatabaseDialect::Sqlite;
        is_alone
            || (self.inner.presence.confirm_lease(lease).await && lease.until > self.clock().now())
    }

    /// The right to send what was leased, which is looked at just before the socket. On SQLite there
    /// is nobody who could take it over.
    pub fn send_permit(&self, lease: WorkLease) -> Option<SendPermit> {
        let keeper = || Arc::clone(&self.inner) as Arc<dyn PermitKeeper>;
        let has_others = self.pool().dialect() == DatabaseDialect::Postgres;
        has_others.then(|| SendPermit { keeper: keeper(), number: lease.token })
    }

    /// Whether it is uncertain at this moment that this process holds what it leased.
    pub fn doubts_leases(&self) -> bool {
        self.pool().dialect() == DatabaseDialect::Postgres && self.inner.presence.is_in_doubt()
    }

    /// Leaves: what this process still holds is due again at once, and an SQLite database stands in
    /// its one file.
    pub async fn leave_process(&self) -> Result<(), StoreError> {
        self.release_node(self.inner.node, statements::RELEASE_NODE_PLANNING, None).await?;
        if let Some(database) = self.pool().as_sqlite()
            && let Err(error) = database.copy_whole_log().await
        {
            tracing::warn!(%error, "part of the database stays in its log; save the file `-wal` too");
        }
        Ok(())
    }

    /// Enters this process, and tells the others: one that was alone tells this one things from then
    /// on.
    async fn write_heartbeat(&self) -> Result<(), StoreError> {
        let described = self.inner.description.get();
        let next_mark = described.and_then(|node| node.next_key_mark);
        let seen = SqlQuery::new(statements::SEEN)
            .bind(self.inner.node)
            .bind(self.clock().now())
            .bind(described.map(|node| node.address.as_str()))
            .bind(described.map(|node| node.version))
            .bind(described.map(|node| node.started_at))
            .bind(described.map(|node| node.key_mark.bytes().as_slice()))
            .bind(self.clock().skew())
            .bind(next_mark.as_ref().map(|mark| mark.bytes().as_slice()))
            .to_owned();
        let told = NodeNotice::pack(&[NodeNotice::Entered { node: self.inner.node }]);
        let written = self.pool().write(move |tx| {
            Box::pin(async move {
                tx.execute(seen.borrow()).await?;
                tx.notify_nodes(NODE_CHANNEL, &told).await
            })
        });
        written.await
    }

    /// Takes over from processes that are lost, unless they have given a sign since that time.
    async fn take_over(&self, lost: Vec<i64>, since: Timestamp) -> Result<(), StoreError> {
        for node in lost {
            tracing::info!(node, "taking over what a lost process held");
            match self.release_node(node, statements::RELEASE_LOST_PLANNING, Some(since)).await {
                // It is there again.
                Err(StoreError::Raced) => {}
                released => released?,
            }
        }
        Ok(())
    }

    /// Makes due what a process holds, its plannings by the statement given. Where it must have been
    /// silent since a time and was not, nothing is changed.
    async fn release_node(
        &self,
        node: i64,
        plannings: &'static str,
        silent_since: Option<Timestamp>,
    ) -> Result<(), StoreError> {
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
                tx.execute(SqlQuery::new(statements::LEAVE_DUTIES).bind(node)).await?;
                for text in [plannings, statements::RELEASE_NODE] {
                    let release = SqlQuery::new(text).bind(first).bind(last).bind(now);
                    tx.execute(release).await?;
                }
                let forget = match silent_since {
                    Some(since) => {
                        SqlQuery::new(statements::FORGET_SILENT_NODE).bind(node).bind(since)
                    }
                    None => SqlQuery::new(statements::FORGET_NODE).bind(node),
                };
                let forgotten = tx.execute(forget).await?;
                if forgotten == 0 && silent_since.is_some() {
                    return Err(StoreError::Raced);
                }
                Ok(())
            })
        });
        released.await
    }
}
