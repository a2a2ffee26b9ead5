//! Reads the events of a day in order, and what is needed to say what became of them.

use super::dead_letters::StoredDeadLetter;
use super::deliveries::StoredDelivery;
use super::outcomes::{list_ids, list_uuids};
use super::stored_event::StoredEvent;
use crate::model::id::{DeliveryId, EndpointId, EventId, FlowId};
use crate::model::record::record_ordinal;
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::ops::ControlFlow;

/// Largest payload that is read at once, in bytes, unless a single event has more.
const PIECE: usize = 8 << 20;

/// An event without its payload.
#[derive(Debug, Clone)]
pub struct DayEvent {
    pub id: EventId,
    pub source: String,
    pub event_type: String,
    pub resource: Option<String>,
    pub resource_id: Option<String>,
    pub received_at: Timestamp,
}

/// Selects events by their ids, which begin with the time of their capture.
#[derive(Debug, Clone, Copy)]
pub struct EventSpan {
    /// Exclusive lower bound.
    pub after: EventId,
    /// Exclusive upper bound.
    pub before: EventId,
}

/// The key of a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordKey {
    pub resource: String,
    pub resource_id: String,
    pub source: String,
}

/// A flow whose modules failed on an event.
#[derive(Debug, Clone)]
pub struct PlanDeath {
    pub event_id: EventId,
    pub flow_id: FlowId,
    /// The reason in a sentence.
    pub detail: String,
    /// Time of the failure.
    pub created_at: Timestamp,
    /// Whether it is being replayed.
    pub is_replayed: bool,
}

/// An event with a cancelled delivery that a module can cancel by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModuleCancel {
    pub event_id: EventId,
    pub endpoint_id: EndpointId,
}

/// The event that holds the latest state of a record.
struct RecordHead {
    key: RecordKey,
    event_id: EventId,
}

/// Why a delivery died.
struct DeliveryDeath {
    delivery_id: DeliveryId,
    detail: String,
}

/// Events that are read together.
#[derive(Default)]
struct EventPiece {
    rows: Vec<StoredEvent>,
    bytes: usize,
}

impl DayEvent {
    /// Returns the record that the event is about. `None` if it does not name one.
    pub fn record(&self) -> Option<RecordKey> {
        Some(RecordKey {
            resource: self.resource.clone()?,
            resource_id: self.resource_id.clone()?,
            source: self.source.clone(),
        })
    }
}

impl FromStoredRow for DayEvent {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            source: row.get("source")?,
            event_type: row.get("event_type")?,
            resource: row.get("resource")?,
            resource_id: row.get("resource_id")?,
            received_at: row.get("received_at")?,
        })
    }
}

impl FromStoredRow for PlanDeath {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.get("event_id")?,
            flow_id: row.get("flow_id")?,
            detail: row.get("detail")?,
            created_at: row.get("created_at")?,
            is_replayed: row.get("is_replayed")?,
        })
    }
}

impl FromStoredRow for ModuleCancel {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { event_id: row.get("event_id")?, endpoint_id: row.get("endpoint_id")? })
    }
}

impl FromStoredRow for DeliveryDeath {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { delivery_id: row.get("delivery_id")?, detail: row.get("detail")? })
    }
}

impl FromStoredRow for RecordHead {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let key = RecordKey {
            resource: row.get("resource")?,
            resource_id: row.get("resource_id")?,
            source: row.get("source")?,
        };
        Ok(Self { key, event_id: row.get("event_id")? })
    }
}

impl EventPiece {
    fn add(&mut self, row: StoredEvent) -> ControlFlow<()> {
        self.bytes += row.event.size();
        if self.bytes > PIECE && !self.rows.is_empty() {
            return ControlFlow::Break(());
        }
        self.rows.push(row);
        ControlFlow::Continue(())
    }
}

/// Returns keys of records as a JSON list.
fn list_keys(records: &[RecordKey]) -> String {
    let key = |record: &RecordKey| {
        let RecordKey { resource, resource_id, source } = record;
        serde_json::json!([resource, record_ordinal(resource_id), resource_id, source])
    };
    records.iter().map(key).collect::<serde_json::Value>().to_string()
}

impl EventStore {
    /// Returns the next events of a span, the oldest first, at most `limit`.
    pub async fn list_day_events(
        &self,
        span: EventSpan,
        limit: u32,
    ) -> Result<Vec<DayEvent>, StoreError> {
        let query = SqlQuery::new(statements::DAY_EVENTS)
            .bind(span.after)
            .bind(span.before)
            .bind(i64::from(limit));
        self.pool().fetch_all(query).await
    }

    /// Returns the dead letters of some events about flows whose modules failed.
    pub async fn list_plan_deaths(&self, events: &[EventId]) -> Result<Vec<PlanDeath>, StoreError> {
        let text = self
            .pool()
            .choose_statement(statements::PLAN_DEATHS_SQLITE, statements::PLAN_DEATHS_POSTGRES);
        self.pool().fetch_all(SqlQuery::new(text).bind(&list_ids(events))).await
    }

    /// Returns which of some events have a cancelled delivery that a module can cancel by name.
    pub async fn list_module_cancels(
        &self,
        events: &[EventId],
    ) -> Result<Vec<ModuleCancel>, StoreError> {
        let text = self.pool().choose_statement(
            statements::MODULE_CANCELS_SQLITE,
            statements::MODULE_CANCELS_POSTGRES,
        );
        self.pool().fetch_all(SqlQuery::new(text).bind(&list_ids(events))).await
    }

    /// Returns which of some events have no payload any more.
    pub async fn list_pruned_events(&self, events: &[EventId]) -> Result<Vec<EventId>, StoreError> {
        let text = self
            .pool()
            .choose_statement(statements::PRUNED_EVENTS_SQLITE, statements::PRUNED_EVENTS_POSTGRES);
        self.pool().fetch_values(SqlQuery::new(text).bind(&list_ids(events))).await
    }

    /// Returns the first of some events with their payloads, in the order of their ids: as many as
    /// fit into a few megabytes, and at least one. Ids of events that do not exist are left out.
    pub async fn list_whole_events(
        &self,
        events: &[EventId],
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let text = self
            .pool()
            .choose_statement(statements::LISTED_EVENTS_SQLITE, statements::LISTED_EVENTS_POSTGRES);
        let ids = list_ids(events);
        let query = SqlQuery::new(text).bind(&ids);
        let read = self.pool().fetch_while(query, EventPiece::default(), EventPiece::add).await?;
        Ok(read.rows)
    }

    /// Returns the deliveries of some events to one endpoint, the oldest first.
    pub async fn list_deliveries_of_events(
        &self,
        events: &[EventId],
        endpoint: EndpointId,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        let text = self.pool().choose_statement(
            statements::DELIVERIES_OF_EVENTS_SQLITE,
            statements::DELIVERIES_OF_EVENTS_POSTGRES,
        );
        let ids = list_ids(events);
        self.pool().fetch_all(SqlQuery::new(text).bind(&ids).bind(endpoint)).await
    }

    /// Returns the events that hold the latest states of records. A record that nothing is known of
    /// is left out.
    pub async fn list_record_heads(
        &self,
        records: &[RecordKey],
    ) -> Result<Vec<(RecordKey, EventId)>, StoreError> {
        let text = self
            .pool()
            .choose_statement(statements::RECORD_HEADS_SQLITE, statements::RECORD_HEADS_POSTGRES);
        let keys = list_keys(records);
        let heads: Vec<RecordHead> = self.pool().fetch_all(SqlQuery::new(text).bind(&keys)).await?;
        Ok(heads.into_iter().map(|head| (head.key, head.event_id)).collect())
    }

    /// Returns why some deliveries died, in words. One whose dead letter was deleted is left out.
    pub async fn list_delivery_deaths(
        &self,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<(DeliveryId, String)>, StoreError> {
        let text = self.pool().choose_statement(
            statements::DELIVERY_DEATHS_SQLITE,
            statements::DELIVERY_DEATHS_POSTGRES,
        );
        let ids = list_uuids(deliveries.iter().map(|id| id.uuid()));
        let deaths: Vec<DeliveryDeath> =
            self.pool().fetch_all(SqlQuery::new(text).bind(&ids)).await?;
        Ok(deaths.into_iter().map(|death| (death.delivery_id, death.detail)).collect())
    }

    /// Returns the dead letter about a flow whose modules failed on an event.
    pub async fn find_plan_letter(
        &self,
        event: EventId,
        flow: FlowId,
    ) -> Result<Option<StoredDeadLetter>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_PLAN_LETTER).bind(event).bind(flow);
        self.pool().fetch_optional(query).await
    }
}
