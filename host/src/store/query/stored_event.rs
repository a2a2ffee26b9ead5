//! Events as they are stored.

use super::stored_json::{read_optional_raw, read_packed_raw};
use crate::model::event::Event;
use crate::store::db::{FromStoredRow, StoredRow};
use crate::store::{PrunedPayload, StoreError};

/// An event, and the number of flows and endpoints that matched it when it was captured.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    pub event: Event,
    pub matched: u16,
    /// Time at which its payload was pruned. Its data is then null.
    pub pruned: Option<PrunedPayload>,
}

impl StoredEvent {
    /// Returns the event, or an error if its payload was pruned.
    pub fn with_payload(self) -> Result<Event, StoreError> {
        match self.pruned {
            Some(pruned) => Err(StoreError::PayloadPruned(pruned)),
            None => Ok(self.event),
        }
    }
}

impl FromStoredRow for StoredEvent {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let event = Event::from_row(row)?;
        let received_at = event.received_at;
        let pruned = row.get::<Option<_>>("pruned_at")?;
        let pruned = pruned.map(|pruned_at| PrunedPayload { received_at, pruned_at });
        let matched: i16 = row.get("matched")?;
        Ok(Self { event, matched: matched.unsigned_abs(), pruned })
    }
}

/// Reads the columns that every query over events selects.
impl FromStoredRow for Event {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            source: row.get("source")?,
            event_type: row.get("event_type")?,
            resource: row.get("resource")?,
            resource_id: row.get("resource_id")?,
            external_id: row.get("external_id")?,
            occurred_at: row.get("occurred_at")?,
            received_at: row.get("received_at")?,
            attributes: read_optional_raw(row, "event", "attributes")?,
            changes: read_optional_raw(row, "event", "changes")?,
            data: read_packed_raw(row, "event", "data")?,
        })
    }
}
