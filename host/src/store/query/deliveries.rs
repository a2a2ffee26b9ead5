//! Reads deliveries and their attempts.

use super::window::{ListPage, ListWindow, condition, since_id, until_id};
use crate::model::delivery::DeliveryStatus;
use crate::model::event::DeliveryMessage;
use crate::model::id::{DeliveryId, EndpointId, EventId, FlowId};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::error::database_error::corrupt_value;
use crate::store::packed_text::{read_compressed, read_packed, split_heads};
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// Selects deliveries or dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Deliveries to this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Deliveries in this status. Not for dead letters.
    pub status: Option<DeliveryStatus>,
    /// Deliveries of this event type.
    pub event_type: Option<String>,
    /// Dead letters with this reason. Not for deliveries.
    pub reason: Option<String>,
    /// Deliveries made at this time or later.
    pub since: Option<Timestamp>,
    /// Deliveries made before this time.
    pub until: Option<Timestamp>,
}

impl DeliveryFilter {
    /// Returns whether conditions other than the time exclude rows.
    const fn is_narrow(&self) -> bool {
        self.endpoint.is_some()
            || self.status.is_some()
            || self.event_type.is_some()
            || self.reason.is_some()
    }
}

/// A delivery as stored.
#[derive(Debug, Clone)]
pub struct StoredDelivery {
    pub id: DeliveryId,
    pub event_id: EventId,
    pub endpoint_id: EndpointId,
    /// The flow that planned it.
    pub flow_id: Option<FlowId>,
    /// The event type as it is sent.
    pub event_type: String,
    pub status: DeliveryStatus,
    /// For a pending delivery, the time at which it will be sent. For a leased one, the end of the
    /// lease.
    pub due_at: Option<Timestamp>,
    pub attempts: u32,
    /// Time of planning, in milliseconds.
    pub created_at: Timestamp,
    /// Time at which the delivery ended.
    pub settled_at: Option<Timestamp>,
    /// Number of deliveries collapsed into it.
    pub collapsed: u32,
}

/// The progress of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryProgress {
    pub id: DeliveryId,
    pub endpoint_id: EndpointId,
    pub status: DeliveryStatus,
    /// HTTP status of the last attempt's answer.
    pub response_status: Option<u16>,
    /// Duration of the last attempt. `None` before the first one is recorded.
    pub duration: Option<Duration>,
}

/// An attempt as stored.
#[derive(Debug, Clone)]
pub struct RecordedAttempt {
    /// Number of the attempt, from 1.
    pub number: i32,
    /// Start time, in microseconds.
    pub at: i64,
    /// Duration, in microseconds.
    pub duration_us: i64,
    /// HTTP status of the answer.
    pub response_status: Option<i16>,
    /// Class of the failure.
    pub error_class: Option<String>,
    /// Description of the failure.
    pub error: Option<String>,
    /// Headers of the request, as a JSON object.
    pub request_headers: String,
    /// Headers of the answer, as a JSON object.
    pub response_headers: Option<String>,
    /// First 16 KiB of the answer's body.
    pub response_body: Option<Vec<u8>>,
}

/// The contents of a delivery besides its event.
#[derive(Debug, Clone)]
pub struct DeliveryContents {
    /// The message that is sent instead of the event, if there is one.
    pub message: Option<DeliveryMessage>,
    /// Number of deliveries collapsed into it.
    pub collapsed: i32,
}

impl FromStoredRow for DeliveryContents {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let message = read_packed(row, "message", ("message", "packed_message"))?;
        let message = message.map(|text| serde_json::from_str(&text)).transpose();
        let message = message.map_err(|error| corrupt_value("message", "body", &error))?;
        Ok(Self { message, collapsed: row.get("collapsed")? })
    }
}

fn read_status(row: &StoredRow<'_>) -> Result<DeliveryStatus, StoreError> {
    let code: i16 = row.get("status")?;
    DeliveryStatus::from_code(code)
        .ok_or_else(|| corrupt_value("delivery", "status", &format!("unknown code {code}")))
}

impl FromStoredRow for DeliveryProgress {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let response_status: Option<i16> = row.get("response_status")?;
        let duration_us: Option<i64> = row.get("duration_us")?;
        Ok(Self {
            id: row.get("id")?,
            endpoint_id: row.get("endpoint_id")?,
            status: read_status(row)?,
            response_status: response_status.map(i16::cast_unsigned),
            duration: duration_us.map(|duration| Duration::from_micros(duration.unsigned_abs())),
        })
    }
}

impl FromStoredRow for StoredDelivery {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let status = read_status(row)?;
        let (attempts, collapsed): (i32, i32) = (row.get("attempts")?, row.get("collapsed")?);
        Ok(Self {
            id: row.get("id")?,
            event_id: row.get("event_id")?,
            endpoint_id: row.get("endpoint_id")?,
            flow_id: row.get("flow_id")?,
            event_type: row.get("event_type")?,
            status,
            due_at: row.get("due_at")?,
            attempts: attempts.unsigned_abs(),
            created_at: row.get("created_at")?,
            settled_at: row.get("settled_at")?,
            collapsed: collapsed.unsigned_abs(),
        })
    }
}

/// Returns the headers of an attempt's request and answer.
fn read_heads(row: &StoredRow<'_>) -> Result<(String, Option<String>), StoreError> {
    match read_compressed(row, "attempt", "packed")? {
        Some(heads) => Ok(split_heads(heads)),
        None => Ok((row.get("request_headers")?, row.get("response_headers")?)),
    }
}

impl FromStoredRow for RecordedAttempt {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let (request_headers, response_headers) = read_heads(row)?;
        Ok(Self {
            number: row.get("number")?,
            at: row.get("at")?,
            duration_us: row.get("duration_us")?,
            response_status: row.get("response_status")?,
            error_class: row.get("error_class")?,
            error: row.get("error")?,
            request_headers,
            response_headers,
            response_body: row.get("response_body")?,
        })
    }
}

impl EventStore {
    /// Returns the deliveries of an event, in the order of their planning.
    pub async fn list_deliveries_of_event(
        &self,
        event: EventId,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_EVENT_DELIVERIES).bind(event)).await
    }

    /// Returns the progress of an event's deliveries, in any order.
    pub async fn list_progress_of_event(
        &self,
        event: EventId,
    ) -> Result<Vec<DeliveryProgress>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_PROGRESS).bind(event)).await
    }

    /// Returns a page of deliveries, newest first, that are older than `before`.
    pub async fn list_deliveries(
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
            window = self.cut_window(window, statements::DELIVERY_FLOOR).await?;
        }
        let (to, endpoint) = condition(filter.endpoint.map(EndpointId::uuid));
        let query = SqlQuery::new(statements::SELECT_DELIVERIES)
            .bind(window.before)
            .bind(window.from)
            .bind(to)
            .bind(endpoint)
            .bind(filter.status.map(DeliveryStatus::code))
            .bind(filter.event_type.as_deref())
            .bind(filter.since)
            .bind(filter.until)
            .bind(i64::from(limit) + 1);
        let rows = self.pool().fetch_all(query).await?;
        let page = window.page(rows, limit, |row: &StoredDelivery| row.id.uuid());
        Ok(page.with_ids(DeliveryId::from_uuid))
    }

    pub async fn find_delivery(
        &self,
        id: DeliveryId,
    ) -> Result<Option<StoredDelivery>, StoreError> {
        self.pool().fetch_optional(SqlQuery::new(statements::SELECT_DELIVERY).bind(id)).await
    }

    /// Returns the contents of a delivery.
    pub async fn find_delivery_contents(
        &self,
        id: DeliveryId,
    ) -> Result<Option<DeliveryContents>, StoreError> {
        self.pool().fetch_optional(SqlQuery::new(statements::DELIVERY_CONTENTS).bind(id)).await
    }

    /// Returns the attempts of a delivery, in order.
    pub async fn list_attempts(&self, id: DeliveryId) -> Result<Vec<RecordedAttempt>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_ATTEMPTS).bind(id)).await
    }
}
