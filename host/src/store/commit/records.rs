//! Writes the latest state of records.
//!
//! A row names the event that holds the record's state and is written in the commit that captures
//! the event, so a record is never older than an acknowledged event. The state itself is not
//! written twice.

use super::capture::EventCapture;
use crate::model::id::EventId;
use crate::store::db::{BoundRow, WriteTransaction};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::BTreeMap;

/// Writes the record changes of the captures.
pub async fn write_records(
    tx: &mut WriteTransaction<'_>,
    captures: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let captures: Vec<&EventCapture> = captures.iter().map(|capture| &**capture).collect();
    tx.execute_bulk(&statements::PUT_RECORD, record_rows(&captures)).await?;
    tx.execute_bulk(&statements::PUT_RECORD_FIELD, field_rows(&captures)).await.map(drop)
}

/// Returns one row for each indexed field of each record. Every writer uses this order.
fn field_rows<'q>(captures: &[&'q EventCapture]) -> Vec<BoundRow<'q>> {
    let mut fields: BTreeMap<(RecordPlace<'q>, &'q str), (&'q str, bool)> = BTreeMap::new();
    for capture in captures.iter().filter(|capture| !capture.indexed.is_empty()) {
        let Some((place, state)) = record_state(capture) else { continue };
        for (field, value) in &capture.indexed {
            let known = fields.get(&(place, field.as_str()));
            if state.whole || !known.is_some_and(|(_, whole)| *whole) {
                fields.insert((place, field.as_str()), (value.as_str(), state.whole));
            }
        }
    }
    let row = |((place, field), (value, whole))| bind_field(place, field, value, whole);
    fields.into_iter().map(row).collect()
}

fn bind_field<'q>(
    (resource, ordinal, id, source): RecordPlace<'q>,
    field: &'q str,
    value: &'q str,
    whole: bool,
) -> BoundRow<'q> {
    let row = BoundRow::new().bind(resource).bind(field).bind(ordinal).bind(id).bind(source);
    row.bind(value).bind(i16::from(whole))
}

/// Key of a record: resource, ordinal, id and source.
type RecordPlace<'q> = (&'q str, i64, &'q str, &'q str);

/// The combined changes of several captures to one record.
struct RecordState {
    event: EventId,
    whole: bool,
    /// Time of the first event of the record, if it is new.
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted: bool,
}

/// Returns one row for each record. Every writer uses this order, so that two writers cannot
/// deadlock.
pub fn record_rows<'q>(captures: &[&'q EventCapture]) -> Vec<BoundRow<'q>> {
    let mut states: BTreeMap<RecordPlace<'q>, RecordState> = BTreeMap::new();
    for capture in captures {
        let Some((place, mut state)) = record_state(capture) else { continue };
        if let Some(known) = states.remove(&place) {
            state.created_at = known.created_at;
            if known.whole && !state.whole {
                (state.event, state.whole) = (known.event, true);
            }
        }
        states.insert(place, state);
    }
    states.into_iter().map(|(place, state)| bind_record(place, &state)).collect()
}

fn record_state(capture: &EventCapture) -> Option<(RecordPlace<'_>, RecordState)> {
    let (change, event) = (capture.record?, &capture.event);
    let (resource, id) = (event.resource.as_deref()?, event.resource_id.as_deref()?);
    let state = RecordState {
        event: event.id,
        whole: change.whole,
        created_at: event.received_at,
        updated_at: event.received_at,
        deleted: change.deleted,
    };
    Some(((resource, change.ordinal, id, event.source.as_str()), state))
}

fn bind_record<'q>(
    (resource, ordinal, id, source): RecordPlace<'q>,
    state: &RecordState,
) -> BoundRow<'q> {
    let updated_at = state.updated_at;
    BoundRow::new()
        .bind(resource)
        .bind(ordinal)
        .bind(id)
        .bind(source)
        .bind(state.event)
        .bind(i16::from(state.whole))
        .bind(state.created_at)
        .bind(updated_at)
        .bind(state.deleted.then_some(updated_at))
}
