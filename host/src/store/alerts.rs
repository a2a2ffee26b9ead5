//! Reads and changes stored alerts, and reads the figures that the rules need.

use super::commit::alerts::{ALERT_DUTY, AlertChanges};
use super::commit::capture::{CaptureReceipt, EventCapture};
use super::commit::operation::WriteOperation;
use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::error::database_error::corrupt_value;
use super::query::stored_json::read_json;
use super::{EventStore, StoreError, statements};
use crate::model::alert::{AlertReaction, StoredAlert, SubjectKind};
use crate::model::id::{AlertId, EndpointId, EventId, FlowId};
use crate::model::subject_health::KeptHealth;
use crate::time::timestamp::Timestamp;
use std::time::Duration;
use tokio::sync::oneshot;

/// Time for which a node holds the duty. A node that stops gives the duty back at once.
const DUTY_HOLD: Duration = Duration::from_secs(30);
/// Largest number of alerts that one query reads.
pub const MOST_ALERTS: u32 = 1_000;

impl FromStoredRow for StoredAlert {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            finding: read_json(row, "alert", "finding")?,
            reaction: AlertReaction {
                acknowledged_at: row.get("acknowledged_at")?,
                acknowledged_by: row.get("acknowledged_by")?,
                silenced_until: row.get("silenced_until")?,
            },
            unsent: row.get("unsent")?,
        })
    }
}

impl FromStoredRow for KeptHealth {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let kind: String = row.get("kind")?;
        let kinds = [SubjectKind::Endpoint, SubjectKind::Flow, SubjectKind::Source];
        let kind = kinds.into_iter().find(|known| known.as_str() == kind);
        Ok(Self {
            kind: kind.ok_or_else(|| corrupt_value("health", "kind", &"unknown"))?,
            subject: row.get("subject")?,
            memory: read_json(row, "health", "memory")?,
        })
    }
}

/// A source that sent events recently.
#[derive(Debug, Clone)]
pub struct RecentSender {
    pub source: String,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

impl FromStoredRow for RecentSender {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            source: row.get("source")?,
            first_at: row.get("first_at")?,
            last_at: row.get("last_at")?,
        })
    }
}

/// The events that wait for the modules of one flow.
#[derive(Debug, Clone)]
pub struct FlowQueue {
    pub flow_id: FlowId,
    /// Number of waiting events. The count stops at the bound of the query.
    pub waiting: u64,
    /// Number of waiting events whose modules have failed before.
    pub retrying: u64,
    /// Capture time of the oldest waiting event.
    pub oldest_at: Option<Timestamp>,
    /// Time at which the next waiting event is due.
    pub due_at: Option<Timestamp>,
}

impl FromStoredRow for FlowQueue {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let (waiting, retrying): (i64, i64) = (row.get("waiting")?, row.get("retrying")?);
        Ok(Self {
            flow_id: row.get("flow_id")?,
            waiting: waiting.unsigned_abs(),
            retrying: retrying.unsigned_abs(),
            oldest_at: row.get("oldest_at")?,
            due_at: row.get("due_at")?,
        })
    }
}

/// The recent dead letters of the modules of one flow.
#[derive(Debug, Clone)]
pub struct ModuleDeaths {
    pub flow_id: FlowId,
    pub letters: u64,
    /// The detail text of one of these dead letters.
    pub detail: String,
}

impl FromStoredRow for ModuleDeaths {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let letters: i64 = row.get("letters")?;
        Ok(Self {
            flow_id: row.get("flow_id")?,
            letters: letters.unsigned_abs(),
            detail: row.get("detail")?,
        })
    }
}

/// The last plan of a flow.
#[derive(Debug, Clone, Copy)]
pub struct LastPlan {
    pub flow_id: FlowId,
    pub at: Timestamp,
}

impl FromStoredRow for LastPlan {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { flow_id: row.get("flow_id")?, at: row.get("at")? })
    }
}

impl EventStore {
    /// Takes or extends the duty to evaluate the alert rules. Returns `false` if another node has
    /// it.
    pub async fn take_alert_duty(&self) -> Result<bool, StoreError> {
        let now = self.clock().now();
        let take = SqlQuery::new(statements::TAKE_DUTY)
            .bind(ALERT_DUTY)
            .bind(self.inner.node)
            .bind(now)
            .bind(now.after(DUTY_HOLD));
        Ok(self.pool().execute(take.promptly()).await? == 1)
    }

    /// Stores the findings of the rules and captures the notices about them in one commit. Returns
    /// `None` and writes nothing if this node has lost the duty.
    pub async fn record_alerts(
        &self,
        captures: Vec<EventCapture>,
        changes: AlertChanges,
    ) -> Result<Option<Vec<CaptureReceipt>>, StoreError> {
        if captures.is_empty() && changes.rows() == 0 {
            return Ok(Some(Vec::new()));
        }
        let (reply, answer) = oneshot::channel();
        let (changes, node) = (Box::new(changes), self.inner.node);
        self.submit_operation(WriteOperation::Alert { captures, changes, node, reply }).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Returns the alerts: the open ones first, then the newest.
    pub async fn list_alerts(&self) -> Result<Vec<StoredAlert>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_ALERTS).bind(i64::from(MOST_ALERTS));
        self.pool().fetch_all(query).await
    }

    /// Returns the alerts that are pending or firing.
    pub async fn list_open_alerts(&self) -> Result<Vec<StoredAlert>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_OPEN_ALERTS).bind(i64::from(MOST_ALERTS));
        self.pool().fetch_all(query).await
    }

    pub async fn find_alert(&self, id: AlertId) -> Result<Option<StoredAlert>, StoreError> {
        self.pool().fetch_optional(SqlQuery::new(statements::SELECT_ALERT).bind(id)).await
    }

    /// Records who acknowledged an alert. Returns `false` if the alert is not open.
    pub async fn acknowledge_alert(&self, id: AlertId, by: &str) -> Result<bool, StoreError> {
        let query =
            SqlQuery::new(statements::ACKNOWLEDGE_ALERT).bind(id).bind(self.clock().now()).bind(by);
        Ok(self.pool().execute(query).await? == 1)
    }

    /// Withholds the notices of an alert until the given time. Returns `false` if the alert is not
    /// open.
    pub async fn silence_alert(
        &self,
        id: AlertId,
        until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let query = SqlQuery::new(statements::SILENCE_ALERT).bind(id).bind(until);
        Ok(self.pool().execute(query).await? == 1)
    }

    /// Records that the last-resort webhook received a notice.
    pub async fn note_alert_sent(&self, id: AlertId, notice: &str) -> Result<(), StoreError> {
        let query = SqlQuery::new(statements::NOTE_ALERT_SENT).bind(id).bind(notice);
        self.pool().execute(query).await.map(drop)
    }

    /// Deletes alerts that were resolved before the given time.
    pub async fn forget_alerts(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.pool().execute(SqlQuery::new(statements::FORGET_OLD_ALERTS).bind(before)).await
    }

    /// Returns the stored state of health.
    pub async fn list_health(&self) -> Result<Vec<KeptHealth>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_HEALTH)).await
    }

    /// Returns when an endpoint first failed after the given time. Only deliveries that are tried
    /// next are considered.
    pub async fn find_first_failure(
        &self,
        endpoint: EndpointId,
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let query = SqlQuery::new(statements::FIRST_FAILURE).bind(endpoint).bind(after);
        let found = self.pool().find_value::<Option<Timestamp>>(query).await?;
        Ok(found.flatten())
    }

    /// Returns the sources that sent something since the given time, among the newest `rows`
    /// events.
    pub async fn list_recent_senders(
        &self,
        since: Timestamp,
        rows: u32,
    ) -> Result<Vec<RecentSender>, StoreError> {
        let query = SqlQuery::new(statements::RECENT_SENDERS)
            .bind(EventId::first_at(since).uuid())
            .bind(i64::from(rows));
        self.pool().fetch_all(query).await
    }

    /// Returns the queue of each flow's modules. Each count stops at `most`.
    pub async fn list_flow_queues(&self, most: u32) -> Result<Vec<FlowQueue>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::FLOW_QUEUES).bind(i64::from(most))).await
    }

    /// Returns the flows whose modules failed since the given time, among the newest `rows` dead
    /// letters.
    pub async fn list_module_deaths(
        &self,
        since: Timestamp,
        rows: u32,
    ) -> Result<Vec<ModuleDeaths>, StoreError> {
        let query =
            SqlQuery::new(statements::RECENT_MODULE_DEATHS).bind(i64::from(rows)).bind(since);
        self.pool().fetch_all(query).await
    }

    /// Returns when each flow last planned an event that was captured since the given time, among
    /// the newest `rows` plans.
    pub async fn list_last_plans(
        &self,
        since: Timestamp,
        rows: u32,
    ) -> Result<Vec<LastPlan>, StoreError> {
        let query = SqlQuery::new(statements::RECENT_PLANS)
            .bind(EventId::first_at(since).uuid())
            .bind(i64::from(rows));
        self.pool().fetch_all(query).await
    }
}
