//! The cells that share a stream: each has nodes and a database of its own.
//!
//! The events of one record belong to one cell, so their order is kept. Events without a record
//! belong to the cell of their source.

use crate::crypto::digest::ShortDigest;
use crate::model::event::Event;
use std::collections::BTreeMap;

/// Returns the cell of an event, from 1 to `cells`.
pub fn cell_of(event: &Event, cells: u16) -> u16 {
    let record = event.resource.as_deref().zip(event.resource_id.as_deref());
    let (resource, id) = record.unwrap_or_default();
    let digest = ShortDigest::of([event.source.as_str(), resource, id]);
    let number = digest
        .bytes()
        .iter()
        .fold(0, |number: u64, byte| (number << 8 | u64::from(*byte)) % u64::from(cells.max(1)));
    u16::try_from(number).unwrap_or_default().saturating_add(1)
}

/// Sorts the events of a request by their cells. Keeps their order within each cell, and their
/// places in the request.
pub fn share_out<E>(
    events: Vec<E>,
    cells: u16,
    event_of: impl Fn(&E) -> &Event,
) -> BTreeMap<u16, Vec<(usize, E)>> {
    let mut shares: BTreeMap<u16, Vec<(usize, E)>> = BTreeMap::new();
    for (place, event) in events.into_iter().enumerate() {
        shares.entry(cell_of(event_of(&event), cells)).or_default().push((place, event));
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::EventId;
    use crate::time::timestamp::Timestamp;
    use serde_json::value::RawValue;

    fn event(source: &str, record: Option<&str>, event_type: &str) -> Event {
        Event {
            id: EventId::generate(),
            source: source.to_owned(),
            event_type: event_type.to_owned(),
            resource: record.map(|_| "invoice".to_owned()),
            resource_id: record.map(str::to_owned),
            external_id: None,
            occurred_at: None,
            received_at: Timestamp::from_micros(1),
            attributes: None,
            changes: None,
            data: RawValue::from_string("{}".to_owned()).unwrap(),
        }
    }

    #[test]
    fn the_events_of_a_record_have_one_cell_and_records_are_spread() {
        let mut counts = [0; 4];
        for n in 0..400 {
            let id = n.to_string();
            let cell = cell_of(&event("crm", Some(&id), "invoice.paid"), 4);
            assert_eq!(cell, cell_of(&event("crm", Some(&id), "invoice.sent"), 4));
            counts[usize::from(cell) - 1] += 1;
        }
        assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
        assert_eq!(cell_of(&event("crm", None, "a"), 4), cell_of(&event("crm", None, "b"), 4));
        assert_eq!(cell_of(&event("crm", Some("17"), "a"), 1), 1);
    }

    #[test]
    fn a_share_keeps_the_order_and_the_places_of_its_events() {
        let events: Vec<Event> =
            (0..20).map(|n| event("crm", Some(&(n % 5).to_string()), "a")).collect();
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let shares = share_out(events, 3, |event| event);
        let placed: Vec<(usize, EventId)> =
            shares.values().flatten().map(|(place, event)| (*place, event.id)).collect();
        assert_eq!(placed.len(), 20);
        assert!(placed.iter().all(|(place, id)| ids[*place] == *id));
        for share in shares.values() {
            assert!(share.is_sorted_by_key(|(place, _)| *place));
        }
    }
}
