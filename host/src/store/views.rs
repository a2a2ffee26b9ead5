//! Reading back: lists, newest first, and everything about one event or delivery.

use super::pool::reading;
use super::row::{self, EventRow};
use super::window::{ListPage, ListWindow, since_id, until_id};
use super::{EventStore, StoreError, statements};
use crate::model::delivery::DeliveryStatus;
use crate::model::event::Event;
use crate::model::id::{DeliveryId, EndpointId, EventId, FlowId};
use crate::time::timestamp::Timestamp;
use futures_util::{Stream, TryStreamExt as _};
use serde_json::value::RawValue;
use sqlx::types::Uuid;

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only this event type.
    pub event_type: Option<String>,
    /// Only from this source.
    pub source: Option<String>,
    /// Only about this kind of resource.
    pub resource: Option<String>,
    /// Only about this resource.
    pub resource_id: Option<String>,
    /// Captured then or later.
    pub since: Option<Timestamp>,
    /// Captured earlier.
    pub until: Option<Timestamp>,
}

/// Which deliveries, or dead letters, to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only to this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only in this status; deliveries only.
    pub status: Option<DeliveryStatus>,
    /// Only of this event type.
    pub event_type: Option<String>,
    /// Only for this reason; dead letters only.
    pub reason: Option<String>,
    /// Made then or later.
    pub since: Option<Timestamp>,
    /// Made earlier.
    pub until: Option<Timestamp>,
}

/// An event and how many flows and endpoints took it when it was captured.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    pub event: Event,
    /// How many took it.
    pub matched: u16,
    /// When its payload was pruned; then its data is null.
    pub pruned: Option<PrunedPayload>,
}

/// That and when an event lost its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunedPayload {
    /// When the event was captured.
    pub received_at: Timestamp,
    /// When the payload was pruned.
    pub pruned_at: Timestamp,
}

impl std::fmt::Display for PrunedPayload {
    /// `after 30 days`, or in a shorter time the seconds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        let seconds = self.pruned_at.since(self.received_at).as_secs();
        match seconds / DAY {
            0 => write!(f, "after {seconds} seconds"),
            1 => f.write_str("after 1 day"),
            days => write!(f, "after {days} days"),
        }
    }
}

impl StoredEvent {
    /// The event; an error if its payload is gone.
    pub fn with_payload(self) -> Result<Event, StoreError> {
        match self.pruned {
            Some(pruned) => Err(StoreError::PayloadPruned(pruned)),
            None => Ok(self.event),
        }
    }
}

/// A delivery as it stands.
#[derive(Debug, Clone)]
pub struct StoredDelivery {
    pub id: DeliveryId,
    pub event_id: EventId,
    /// Where it goes.
    pub endpoint_id: EndpointId,
    /// The flow that planned it.
    pub flow_id: Option<FlowId>,
    /// The event type as it is sent.
    pub event_type: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Pending: when it will be sent. Leased: when the lease runs out.
    pub due_at: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// When it was planned, to the millisecond.
    pub created_at: Timestamp,
    /// When it ended.
    pub settled_at: Option<Timestamp>,
    /// Deliveries collapsed into it.
    pub collapsed: u32,
}

/// An attempt as it was recorded.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct RecordedAttempt {
    /// 1, 2, …
    pub number: i32,
    /// When it began, in microseconds.
    pub at: i64,
    /// How long it took, in microseconds.
    pub duration_us: i64,
    /// The status of the answer.
    pub response_status: Option<i16>,
    /// The class of the failure.
    pub error_class: Option<String>,
    /// The failure in words.
    pub error: Option<String>,
    /// What was sent, as a JSON object.
    pub request_headers: String,
    /// What came back, as a JSON object.
    pub response_headers: Option<String>,
    /// The first 16 KiB of the answer's body.
    pub response_body: Option<Vec<u8>>,
}

/// One run of a flow's modules on an event.
#[derive(Debug, Clone)]
pub struct PlanRun {
    /// The flow; `None` where it is about an endpoint's own `events`.
    pub flow_id: Option<FlowId>,
    /// When.
    pub at: Timestamp,
    /// What the modules said, as a JSON list.
    pub steps: Box<RawValue>,
}

/// A flow that has yet to deal with an event.
#[derive(Debug, Clone)]
pub struct WaitingPlan {
    pub flow_id: FlowId,
    /// When its modules run, or the lease on that runs out.
    pub due_at: Timestamp,
    /// Whether they are running.
    pub running: bool,
    /// Failed tries so far.
    pub attempts: u32,
    /// How often the process died, or may have, while they ran.
    pub deaths: u32,
}

/// Flow, due time, whether it is leased, failed tries and deaths of the process.
type WaitingRow = (Uuid, i64, bool, i32, i32);

#[derive(Debug, sqlx::FromRow)]
struct StoredEventRow {
    #[sqlx(flatten)]
    event: EventRow,
    matched: i16,
    pruned_at: Option<i64>,
}

type DeliveryRow =
    (Uuid, Uuid, Uuid, Option<Uuid>, String, i16, Option<i64>, i32, i64, Option<i64>, i32);

impl TryFrom<StoredEventRow> for StoredEvent {
    type Error = StoreError;

    fn try_from(row: StoredEventRow) -> Result<Self, StoreError> {
        let event: Event = row.event.try_into()?;
        let received_at = event.received_at;
        let pruned = |at| PrunedPayload { received_at, pruned_at: Timestamp::from_micros(at) };
        let pruned = row.pruned_at.map(pruned);
        Ok(Self { event, matched: row.matched.unsigned_abs(), pruned })
    }
}

fn delivery(row: DeliveryRow) -> Result<StoredDelivery, StoreError> {
    let status = DeliveryStatus::from_code(row.5).ok_or_else(|| {
        row::corrupt_value("delivery", "status", &format!("unknown code {}", row.5))
    })?;
    Ok(StoredDelivery {
        id: DeliveryId::from_uuid(row.0),
        event_id: EventId::from_uuid(row.1),
        endpoint_id: EndpointId::from_uuid(row.2),
        flow_id: row.3.map(FlowId::from_uuid),
        event_type: row.4,
        status,
        due_at: row.6.map(Timestamp::from_micros),
        attempts: row.7.unsigned_abs(),
        created_at: Timestamp::from_micros(row.8),
        settled_at: row.9.map(Timestamp::from_micros),
        collapsed: row.10.unsigned_abs(),
    })
}

impl EventFilter {
    /// Whether rows are left out for another reason than their time.
    const fn is_narrow(&self) -> bool {
        self.event_type.is_some()
            || self.source.is_some()
            || self.resource.is_some()
            || self.resource_id.is_some()
    }
}

impl DeliveryFilter {
    /// Whether rows are left out for another reason than their time.
    const fn is_narrow(&self) -> bool {
        self.endpoint.is_some()
            || self.status.is_some()
            || self.event_type.is_some()
            || self.reason.is_some()
    }
}

/// Most bytes of payload on one page of events, unless a single one has more.
const PAGE_BYTES: usize = 4 << 20;

/// Reads a page of events; how many rows it has where their payloads end it.
async fn read_page(
    mut rows: impl Stream<Item = Result<StoredEventRow, sqlx::Error>> + Unpin,
    limit: u32,
) -> Result<(Vec<StoredEventRow>, u32), sqlx::Error> {
    let (mut read, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row.event.size();
        let is_over = bytes > PAGE_BYTES && !read.is_empty();
        read.push(row);
        if is_over {
            // The last one only says that there is more.
            let fitting = u32::try_from(read.len() - 1).unwrap_or(limit);
            return Ok((read, fitting.min(limit)));
        }
    }
    Ok((read, limit))
}

/// What a nullable id condition binds: whether it applies, and the id.
pub fn condition(id: Option<Uuid>) -> (Option<&'static str>, Uuid) {
    (id.map(|_| "x"), id.unwrap_or_default())
}

impl EventStore {
    /// A page of events, newest first, older than `before`. It is shorter where their payloads are
    /// large.
    pub async fn events(
        &self,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<ListPage<StoredEvent, EventId>, StoreError> {
        let first_at = |at| EventId::first_at(at).uuid();
        let until = until_id(filter.until, first_at);
        let bounds = before.map(EventId::uuid).into_iter().chain(until);
        let mut window = ListWindow::between(since_id(filter.since, first_at), bounds);
        if filter.is_narrow() {
            window = self.cut(window, statements::EVENT_FLOOR).await?;
        }
        let (rows, limit) = reading!(self.pool(), |db| {
            let rows = sqlx::query_as(statements::SELECT_EVENTS)
                .bind(window.before)
                .bind(window.from)
                .bind(filter.event_type.as_deref())
                .bind(filter.source.as_deref())
                .bind(filter.resource.as_deref())
                .bind(filter.resource_id.as_deref())
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.until.map(Timestamp::micros))
                .bind(i64::from(limit) + 1)
                .fetch(db);
            read_page(rows, limit).await?
        });
        let page = window.page(rows, limit, |row: &StoredEventRow| row.event.id());
        let rows: Result<Vec<StoredEvent>, StoreError> =
            page.rows.into_iter().map(StoredEvent::try_from).collect();
        Ok(ListPage { rows: rows?, next: page.next.map(EventId::from_uuid) })
    }

    /// One event.
    pub async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        let row: Option<StoredEventRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_EVENT)
                .bind(id.uuid())
                .fetch_optional(db)
                .await?);
        row.map(StoredEvent::try_from).transpose()
    }

    /// What the modules said of an event, run by run.
    pub async fn plan_runs(&self, id: EventId) -> Result<Vec<PlanRun>, StoreError> {
        let rows: Vec<(Uuid, i64, String)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_PLANS)
                .bind(id.uuid())
                .fetch_all(db)
                .await?);
        rows.into_iter()
            .map(|(flow, at, steps)| {
                Ok(PlanRun {
                    flow_id: (!flow.is_nil()).then(|| FlowId::from_uuid(flow)),
                    at: Timestamp::from_micros(at),
                    steps: row::raw(steps, "plan", "steps")?,
                })
            })
            .collect()
    }

    /// The flows that have yet to deal with an event.
    pub async fn waiting_plans(&self, id: EventId) -> Result<Vec<WaitingPlan>, StoreError> {
        let rows: Vec<WaitingRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_EVENT_PLANNING)
                .bind(id.uuid())
                .fetch_all(db)
                .await?);
        let waiting = |(flow, due, running, attempts, deaths): WaitingRow| WaitingPlan {
            flow_id: FlowId::from_uuid(flow),
            due_at: Timestamp::from_micros(due),
            running,
            attempts: attempts.unsigned_abs(),
            deaths: deaths.unsigned_abs(),
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    /// The deliveries of an event, in the order they were planned.
    pub async fn deliveries_of(&self, event: EventId) -> Result<Vec<StoredDelivery>, StoreError> {
        let rows: Vec<DeliveryRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_EVENT_DELIVERIES)
                .bind(event.uuid())
                .fetch_all(db)
                .await?);
        rows.into_iter().map(delivery).collect()
    }

    /// A page of deliveries, newest first, older than `before`.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<ListPage<StoredDelivery, DeliveryId>, StoreError> {
        let first_at = |at| DeliveryId::first_at(at).uuid();
        let until = until_id(filter.until, first_at);
        let bounds = before.map(DeliveryId::uuid).into_iter().chain(until);
        let mut window = ListWindow::between(since_id(filter.since, first_at), bounds);
        if filter.is_narrow() {
            window = self.cut(window, statements::DELIVERY_FLOOR).await?;
        }
        let (to, endpoint) = condition(filter.endpoint.map(EndpointId::uuid));
        let rows: Vec<DeliveryRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_DELIVERIES)
                .bind(window.before)
                .bind(window.from)
                .bind(to)
                .bind(endpoint)
                .bind(filter.status.map(DeliveryStatus::code))
                .bind(filter.event_type.as_deref())
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.until.map(Timestamp::micros))
                .bind(i64::from(limit) + 1)
                .fetch_all(db)
                .await?);
        let rows: Result<Vec<StoredDelivery>, StoreError> =
            rows.into_iter().map(delivery).collect();
        let page = window.page(rows?, limit, |row| row.id.uuid());
        Ok(page.with_ids(DeliveryId::from_uuid))
    }

    /// One delivery.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<StoredDelivery>, StoreError> {
        let row: Option<DeliveryRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_DELIVERY)
                .bind(id.uuid())
                .fetch_optional(db)
                .await?);
        row.map(delivery).transpose()
    }

    /// The attempts of a delivery, in order.
    pub async fn attempts(&self, id: DeliveryId) -> Result<Vec<RecordedAttempt>, StoreError> {
        Ok(reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_ATTEMPTS)
            .bind(id.uuid())
            .fetch_all(db)
            .await?))
    }
}
