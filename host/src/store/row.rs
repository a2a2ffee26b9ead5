//! From rows to the vocabulary. A row that makes no sense is an error that says where.

use super::StoreError;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::EventId;
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use sqlx::types::Uuid;

/// The columns of an event, as every query over events selects them.
#[derive(Debug, sqlx::FromRow)]
pub struct EventRow {
    id: Uuid,
    source: String,
    event_type: String,
    resource: Option<String>,
    resource_id: Option<String>,
    external_id: Option<String>,
    occurred_at: Option<i64>,
    received_at: i64,
    attributes: Option<String>,
    changes: Option<String>,
    data: String,
}

impl EventRow {
    /// The event's id.
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// What its payload takes in memory, in bytes.
    pub fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.data.len() + length(&self.attributes) + length(&self.changes)
    }
}

impl TryFrom<EventRow> for Event {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: EventId::from_uuid(row.id),
            source: row.source,
            event_type: row.event_type,
            resource: row.resource,
            resource_id: row.resource_id,
            external_id: row.external_id,
            occurred_at: row.occurred_at.map(Timestamp::from_micros),
            received_at: Timestamp::from_micros(row.received_at),
            attributes: row.attributes.map(|text| raw(text, "event", "attributes")).transpose()?,
            changes: row.changes.map(|text| raw(text, "event", "changes")).transpose()?,
            data: raw(row.data, "event", "data")?,
        })
    }
}

/// A stored JSON text.
pub fn raw(
    text: String,
    table: &'static str,
    column: &'static str,
) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(text).map_err(|error| corrupt_value(table, column, &error))
}

/// A stored JSON text of a known type.
pub fn json<T: serde::de::DeserializeOwned>(
    text: &str,
    table: &'static str,
    column: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt_value(table, column, &error))
}

/// A stored message.
pub fn parse_message(text: &str) -> Result<DeliveryMessage, StoreError> {
    json(text, "message", "body")
}

/// A value that makes no sense.
pub fn corrupt_value(
    table: &'static str,
    column: &'static str,
    why: &dyn std::fmt::Display,
) -> StoreError {
    StoreError::Corrupt { table, column, why: why.to_string() }
}
