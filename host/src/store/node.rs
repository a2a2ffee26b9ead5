//! Running processes, and the takeover of what a lost process held.
//!
//! Every process has a random id and writes a heartbeat every two seconds. Its lease tokens begin
//! with its id. A process is lost after ten seconds without a heartbeat, measured by the database's
//! clock and by the process that watches it. Its work is then due again at once, so nothing waits
//! for a lease to end. A process that merely stalled that long cannot change anything with its old
//! leases, but a delivery that it was sending may be sent twice.

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

/// Interval of the heartbeats.
pub const BEAT: Duration = Duration::from_secs(2);
/// Time without a heartbeat after which a process is lost.
const LOST: Duration = Duration::from_secs(10);
/// Clock error in microseconds above which a warning is logged.
pub const NOTABLE_SKEW: i64 = 1_000_000;
/// Key of the advisory lock for nodes that start.
const START_LOCK: i64 = 0x7761_7962_696c_6c02;
/// Time that a start waits for other starts. Six nodes can each take ten seconds to find out
/// whether a node with another key is alive.
const LONGEST_START: Duration = Duration::from_mins(1);

/// A process that is running, or was until recently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningNode {
    pub id: i64,
    /// Time of its last heartbeat.
    pub seen_at: Timestamp,
    /// Address of the node. Empty until the node describes itself.
    pub address: Option<String>,
    pub version: Option<String>,
    pub started_at: Option<Timestamp>,
    /// Microseconds by which its clock is ahead of the database's. `None` until the node has
    /// reported it; 0 on SQLite.
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

/// Another process, and the time of its last heartbeat.
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
    /// Waits until no other node makes its first entries, and blocks other starts until the lock is
    /// dropped.
    pub async fn lock_start(&self) -> Result<Option<ClusterLock>, StoreError> {
        self.pool().take_cluster_lock(START_LOCK, LONGEST_START).await
    }

    /// Publishes the description of this process. Returns a running process that encrypts stored
    /// secrets with another key, if there is one: neither of the two could send what the other
    /// stores.
    pub async fn describe_node(
        &self,
        description: NodeDescription,
    ) -> Result<Option<RunningNode>, StoreError> {
        let marks = (description.key_mark, description.next_key_mark);
        // Set once, at the start.
        drop(self.inner.description.set(description));
        self.write_heartbeat().await?;
        let others = self.find_other_keys(marks).await?;
        // A process that died a moment ago still seems to be running. One that runs sends another
        // heartbeat.
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

    /// Returns running processes that do not accept this one's key and whose key this one does not
    /// accept.
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

    /// Returns running processes that could not decrypt data encrypted with the given key.
    pub async fn list_nodes_without_key(
        &self,
        key: ShortDigest,
    ) -> Result<Vec<RunningNode>, StoreError> {
        let query = SqlQuery::new(statements::NODES_WITHOUT_KEY)
            .bind(key.bytes().as_slice())
            .bind(self.clock().now().before(LOST));
        self.pool().fetch_all(query).await
    }

    /// Returns the processes that share the database, and whether each is this one.
    pub async fn list_nodes(&self) -> Result<Vec<(RunningNode, bool)>, StoreError> {
        let nodes: Vec<RunningNode> =
            self.pool().fetch_all(SqlQuery::new(statements::SELECT_NODES)).await?;
        let is_own = |node: &RunningNode| node.id == self.inner.node;
        Ok(nodes.into_iter().map(|node| (node.clone(), is_own(&node))).collect())
    }

    /// Returns the id of this process, as [`Self::list_nodes`] shows it.
    pub fn node_name(&self) -> String {
        format!("{:x}", self.inner.node)
    }

    /// Registers this process. SQLite has one process at a time, so every existing lease belongs to
    /// a process that is gone, even if the clock is behind that process's last heartbeat.
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

    /// Writes a heartbeat and takes over from lost processes.
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
        let query = SqlQuery::new(statements::OTHER_NODES).bind(self.inner.node).promptly();
        let others: Vec<OtherNode> = self.pool().fetch_all(query).await?;
        let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
        self.metrics().store.nodes.set(count.saturating_add(1));
        Ok(others)
    }

    /// Writes a heartbeat and asks for the database's time.
    async fn write_sign(&self) -> Result<u64, StoreError> {
        let (node, now, skew) = (self.inner.node, self.clock().now(), self.clock().skew());
        let written = self.pool().write_promptly(move |tx| {
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

    /// Corrects the clock by a sample of the database's time. Logs once that this machine's clock
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

    /// Writes a heartbeat. If other nodes have declared this process lost, its earlier leases are
    /// void.
    async fn renew_presence(&self) -> Result<(), StoreError> {
        let sent = Instant::now();
        if self.write_sign().await? == 1 {
            self.inner.presence.note_sign(sent);
            return Ok(());
        }
        // Leases from here on are taken after the other nodes learn that this process is running
        // again.
        let first_valid = self.next_lease_token();
        let is_described = self.inner.description.get().is_some();
        self.write_heartbeat().await?;
        if is_described {
            tracing::warn!(
                "this node sent no heartbeat for so long that other nodes took over its work"
            );
            self.inner.presence.note_loss(sent, first_valid);
        } else {
            self.inner.presence.note_sign(sent);
        }
        Ok(())
    }

    /// Waits until it is certain whether this process still holds a lease, and returns the result.
    /// On SQLite no other process can take it over.
    pub async fn confirm_lease(&self, lease: WorkLease) -> bool {
        let is_alone = self.pool().dialect() == DatabaseDialect::Sqlite;
        is_alone
            || (self.inner.presence.confirm_lease(lease).await && lease.until > self.clock().now())
    }

    /// Returns the permit to send leased work, which is checked just before the socket is used.
    /// `None` on SQLite, where no other process can take it over.
    pub fn send_permit(&self, lease: WorkLease) -> Option<SendPermit> {
        let keeper = || Arc::clone(&self.inner) as Arc<dyn PermitKeeper>;
        let has_others = self.pool().dialect() == DatabaseDialect::Postgres;
        has_others.then(|| SendPermit { keeper: keeper(), number: lease.token })
    }

    /// Returns whether the database has not answered this process for some seconds.
    pub fn is_away(&self) -> bool {
        !self.is_entered() || self.doubts_leases()
    }

    /// Returns whether it is uncertain now that this process holds its leases.
    pub fn doubts_leases(&self) -> bool {
        self.pool().dialect() == DatabaseDialect::Postgres && self.inner.presence.is_in_doubt()
    }

    /// Unregisters this process. Its remaining work is due again at once, and an SQLite database is
    /// complete in its one file.
    pub async fn leave_process(&self) -> Result<(), StoreError> {
        self.release_node(self.inner.node, statements::RELEASE_NODE_PLANNING, None).await?;
        if let Some(database) = self.pool().as_sqlite()
            && let Err(error) = database.copy_whole_log().await
        {
            tracing::warn!(%error, "part of the database is still in its log; save the `-wal` file too");
        }
        Ok(())
    }

    /// Registers this process and tells the other nodes. A node that was alone sends notices to
    /// this one from then on.
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
        let written = self.pool().write_promptly(move |tx| {
            Box::pin(async move {
                tx.execute(seen.borrow()).await?;
                tx.notify_nodes(NODE_CHANNEL, &told).await
            })
        });
        written.await
    }

    /// Takes over the work of lost processes, unless they have sent a heartbeat since the given
    /// time.
    async fn take_over(&self, lost: Vec<i64>, since: Timestamp) -> Result<(), StoreError> {
        for node in lost {
            tracing::info!(node, "taking over the work of a lost process");
            match self.release_node(node, statements::RELEASE_LOST_PLANNING, Some(since)).await {
                // The process has sent a heartbeat again.
                Err(StoreError::Raced) => {}
                released => released?,
            }
        }
        Ok(())
    }

    /// Makes the work of a process due. `text` is the statement for its plannings. If the process
    /// must have been silent since a time and was not, nothing changes.
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
                // The order of the group commit, so that the two cannot deadlock.
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
