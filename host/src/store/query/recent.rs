//! Figures over the newest rows. A full list would read the whole table. These queries read a
//! bounded number of rows, newest first, and return how far back they reached.

use crate::model::delivery::DeliveryStatus;
use crate::model::id::{DeliveryId, EndpointId, EventId, FlowId, SourceId};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::error::database_error::corrupt_value;
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;

/// Largest number of causes of dead letters that are listed.
pub const MOST_CAUSES: u32 = 200;

/// The number of recent events with one type and source.
#[derive(Debug, Clone)]
pub struct EventKind {
    pub event_type: String,
    pub source: String,
    pub resource: Option<String>,
    pub events: u64,
}

/// A recent delivery.
#[derive(Debug, Clone, Copy)]
pub struct RecentDelivery {
    pub endpoint_id: EndpointId,
    pub status: DeliveryStatus,
    pub attempts: u32,
    pub created_at: Timestamp,
    pub settled_at: Option<Timestamp>,
}

/// The capture time of a recent event.
#[derive(Debug, Clone, Copy)]
pub struct RecentCapture(pub Timestamp);

/// The waiting deliveries of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointQueue {
    pub endpoint_id: EndpointId,
    /// Number of deliveries that wait or are being sent. The count stops at the bound.
    pub waiting: u64,
    /// Number of those that failed before.
    pub retrying: u64,
    /// Creation time of the oldest.
    pub oldest_at: Option<Timestamp>,
    /// Creation time of the oldest of those that failed before.
    pub oldest_retry_at: Option<Timestamp>,
    /// Time at which the next one is due.
    pub due_at: Option<Timestamp>,
}

/// Dead letters with the same cause.
#[derive(Debug, Clone)]
pub struct DeathCause {
    pub endpoint_id: Option<EndpointId>,
    pub flow_id: Option<FlowId>,
    pub source_id: Option<SourceId>,
    pub reason: String,
    pub letters: u64,
    /// Number of those whose replay is under way.
    pub replaying: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The detail text of one of them.
    pub detail: String,
}

/// A failed attempt at an endpoint.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    pub at: Timestamp,
    pub response_status: Option<i16>,
    pub error: Option<String>,
}

/// The latest failure of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointFailure {
    pub endpoint_id: EndpointId,
    pub attempt: FailedAttempt,
}

impl FromStoredRow for EventKind {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let events: i64 = row.get("events")?;
        Ok(Self {
            event_type: row.get("event_type")?,
            source: row.get("source")?,
            resource: row.get("resource")?,
            events: events.unsigned_abs(),
        })
    }
}

impl FromStoredRow for RecentDelivery {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let code: i16 = row.get("status")?;
        let status = DeliveryStatus::from_code(code)
            .ok_or_else(|| corrupt_value("delivery", "status", &format!("unknown code {code}")))?;
        let attempts: i32 = row.get("attempts")?;
        Ok(Self {
            endpoint_id: row.get("endpoint_id")?,
            status,
            attempts: attempts.unsigned_abs(),
            created_at: row.get("created_at")?,
            settled_at: row.get("settled_at")?,
        })
    }
}

impl FromStoredRow for RecentCapture {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let id: EventId = row.get("id")?;
        Ok(Self(id.created_at()))
    }
}

impl FromStoredRow for EndpointQueue {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let (waiting, retrying): (i64, i64) = (row.get("waiting")?, row.get("retrying")?);
        Ok(Self {
            endpoint_id: row.get("endpoint_id")?,
            waiting: waiting.unsigned_abs(),
            retrying: retrying.unsigned_abs(),
            oldest_at: row.get("oldest_at")?,
            oldest_retry_at: row.get("oldest_retry_at")?,
            due_at: row.get("due_at")?,
        })
    }
}

impl FromStoredRow for DeathCause {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let (letters, replaying): (i64, i64) = (row.get("letters")?, row.get("replaying")?);
        Ok(Self {
            endpoint_id: row.get("endpoint_id")?,
            flow_id: row.get("flow_id")?,
            source_id: row.get("source_id")?,
            reason: row.get("reason")?,
            letters: letters.unsigned_abs(),
            replaying: replaying.unsigned_abs(),
            first_at: row.get("first_at")?,
            last_at: row.get("last_at")?,
            detail: row.get("detail")?,
        })
    }
}

impl FromStoredRow for EndpointFailure {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let attempt = FailedAttempt {
            at: row.get("at")?,
            response_status: row.get("response_status")?,
            error: row.get("error")?,
        };
        Ok(Self { endpoint_id: row.get("endpoint_id")?, attempt })
    }
}

impl EventStore {
    /// Returns the types and sources of the newest `rows` events, the most frequent first.
    pub async fn list_event_kinds(&self, rows: u32) -> Result<Vec<EventKind>, StoreError> {
        let query = SqlQuery::new(statements::RECENT_EVENT_KINDS).bind(i64::from(rows));
        self.pool().fetch_all(query).await
    }

    /// Returns at most `rows` deliveries made since the given time, newest first.
    pub async fn list_recent_deliveries(
        &self,
        since: Timestamp,
        rows: u32,
    ) -> Result<Vec<RecentDelivery>, StoreError> {
        let query = SqlQuery::new(statements::RECENT_DELIVERIES)
            .bind(DeliveryId::first_at(since).uuid())
            .bind(i64::from(rows));
        self.pool().fetch_all(query).await
    }

    /// Returns the capture times of at most `rows` events since the given time, newest first.
    pub async fn list_recent_captures(
        &self,
        since: Timestamp,
        rows: u32,
    ) -> Result<Vec<RecentCapture>, StoreError> {
        let query = SqlQuery::new(statements::RECENT_CAPTURES)
            .bind(EventId::first_at(since).uuid())
            .bind(i64::from(rows));
        self.pool().fetch_all(query).await
    }

    /// Returns the queue of each endpoint. Each count stops at `most`.
    pub async fn list_endpoint_queues(&self, most: u32) -> Result<Vec<EndpointQueue>, StoreError> {
        let query = SqlQuery::new(statements::ENDPOINT_QUEUES).bind(i64::from(most));
        self.pool().fetch_all(query).await
    }

    /// Lists the latest failure of each endpoint that has deliveries which wait for another
    /// attempt, or are among the newest `letters` dead letters.
    pub async fn list_last_failures(
        &self,
        letters: u32,
    ) -> Result<Vec<EndpointFailure>, StoreError> {
        let query = SqlQuery::new(statements::LAST_FAILURES).bind(i64::from(letters));
        self.pool().fetch_all(query).await
    }

    /// Lists the causes of the newest `rows` dead letters, the most frequent first, at most
    /// [`MOST_CAUSES`].
    pub async fn list_death_causes(&self, rows: u32) -> Result<Vec<DeathCause>, StoreError> {
        let query = SqlQuery::new(statements::DEATH_CAUSES)
            .bind(i64::from(rows))
            .bind(i64::from(MOST_CAUSES));
        self.pool().fetch_all(query).await
    }

    /// Counts the dead letters that are not being replayed. The count stops at `most`.
    pub async fn count_open_letters(&self, most: u32) -> Result<u64, StoreError> {
        let query = SqlQuery::new(statements::COUNT_OPEN_LETTERS).bind(i64::from(most));
        let count: i64 = self.pool().fetch_value(query).await?;
        Ok(count.unsigned_abs())
    }
}
