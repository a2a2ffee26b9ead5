//! The outcomes of several events: their deliveries, waiting plans, and dead letters.

use super::stored_json::read_raw;
use crate::model::delivery::DeliveryStatus;
use crate::model::id::{EndpointId, EventId, FlowId};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::error::database_error::corrupt_value;
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The deliveries of one event to one endpoint that have the same status.
#[derive(Debug, Clone)]
pub struct DeliveryGroup {
    pub event_id: EventId,
    pub endpoint_id: EndpointId,
    pub status: DeliveryStatus,
    pub deliveries: u64,
    /// Largest number of attempts among them.
    pub attempts: u32,
    /// Earliest due time among them.
    pub due_at: Option<Timestamp>,
    /// Latest end time among them.
    pub settled_at: Option<Timestamp>,
}

/// A flow that has not planned an event yet.
#[derive(Debug, Clone)]
pub struct WaitingEvent {
    pub event_id: EventId,
    pub flow_id: FlowId,
}

/// A dead letter of an event.
#[derive(Debug, Clone)]
pub struct EventDeath {
    pub event_id: EventId,
    /// Whether a delivery died. Otherwise the modules of a flow failed.
    pub is_delivery: bool,
    pub detail: String,
    /// Whether it is being replayed.
    pub is_replayed: bool,
}

/// The steps of a flow's modules for an event.
#[derive(Debug, Clone)]
pub struct EventSteps {
    pub event_id: EventId,
    /// The flow. `None` if the entry is about an endpoint's own `events`.
    pub flow_id: Option<FlowId>,
    pub steps: Box<RawValue>,
}

impl FromStoredRow for DeliveryGroup {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let code: i16 = row.get("status")?;
        let status = DeliveryStatus::from_code(code)
            .ok_or_else(|| corrupt_value("delivery", "status", &format!("unknown code {code}")))?;
        let (deliveries, attempts): (i64, i32) = (row.get("deliveries")?, row.get("attempts")?);
        Ok(Self {
            event_id: row.get("event_id")?,
            endpoint_id: row.get("endpoint_id")?,
            status,
            deliveries: deliveries.unsigned_abs(),
            attempts: attempts.unsigned_abs(),
            due_at: row.get("due_at")?,
            settled_at: row.get("settled_at")?,
        })
    }
}

impl FromStoredRow for WaitingEvent {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { event_id: row.get("event_id")?, flow_id: row.get("flow_id")? })
    }
}

impl FromStoredRow for EventDeath {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.get("event_id")?,
            is_delivery: row.get("is_delivery")?,
            detail: row.get("detail")?,
            is_replayed: row.get("is_replayed")?,
        })
    }
}

impl FromStoredRow for EventSteps {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let flow: FlowId = row.get("flow_id")?;
        Ok(Self {
            event_id: row.get("event_id")?,
            flow_id: (!flow.uuid().is_nil()).then_some(flow),
            steps: read_raw(row, "plan", "steps")?,
        })
    }
}

/// Returns ids of events as a JSON list, which both databases can read.
pub fn list_ids(events: &[EventId]) -> String {
    list_uuids(events.iter().map(|event| event.uuid()))
}

/// Returns ids as a JSON list.
pub fn list_uuids(ids: impl Iterator<Item = Uuid>) -> String {
    let ids = ids.map(|id| id.simple().to_string());
    serde_json::Value::from(ids.collect::<Vec<_>>()).to_string()
}

impl EventStore {
    /// Groups the deliveries of a page of events by event, endpoint and status.
    pub async fn list_delivery_groups(
        &self,
        events: &[EventId],
    ) -> Result<Vec<DeliveryGroup>, StoreError> {
        let text = self.pool().choose_statement(
            statements::DELIVERY_GROUPS_SQLITE,
            statements::DELIVERY_GROUPS_POSTGRES,
        );
        self.pool().fetch_all(SqlQuery::new(text).bind(&list_ids(events))).await
    }

    /// Returns which of a page of events still wait for modules.
    pub async fn list_waiting_events(
        &self,
        events: &[EventId],
    ) -> Result<Vec<WaitingEvent>, StoreError> {
        let text = self.pool().choose_statement(
            statements::WAITING_EVENTS_SQLITE,
            statements::WAITING_EVENTS_POSTGRES,
        );
        self.pool().fetch_all(SqlQuery::new(text).bind(&list_ids(events))).await
    }

    /// Returns the dead letters of a page of events.
    pub async fn list_event_deaths(
        &self,
        events: &[EventId],
    ) -> Result<Vec<EventDeath>, StoreError> {
        let text = self
            .pool()
            .choose_statement(statements::EVENT_DEATHS_SQLITE, statements::EVENT_DEATHS_POSTGRES);
        self.pool().fetch_all(SqlQuery::new(text).bind(&list_ids(events))).await
    }

    /// Returns the steps of modules for a page of events, at most `limit` runs.
    pub async fn list_event_steps(
        &self,
        events: &[EventId],
        limit: u32,
    ) -> Result<Vec<EventSteps>, StoreError> {
        let text = self
            .pool()
            .choose_statement(statements::EVENT_STEPS_SQLITE, statements::EVENT_STEPS_POSTGRES);
        let ids = list_ids(events);
        self.pool().fetch_all(SqlQuery::new(text).bind(&ids).bind(i64::from(limit))).await
    }
}
