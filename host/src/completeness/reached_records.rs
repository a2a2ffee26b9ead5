//! Which records have a newer state that reached an endpoint, or is on its way to it.

use super::outcome_reader::OutcomeReader;
use crate::model::delivery::DeliveryStatus;
use crate::model::id::{EndpointId, EventId};
use crate::store::{DayEvent, EventStore, RecordKey, StoreError};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// Records that are looked up at once.
const CHUNK: usize = 1_000;

/// The newest event of each record that reached an endpoint, among the events that were read.
#[derive(Debug, Default)]
pub struct ReachedRecords {
    hasher: RandomState,
    /// By the place of the endpoint and a hash of the record's key.
    newest: HashMap<(usize, u64), EventId>,
}

/// An event, and the place of an endpoint.
pub type EventPosition = (Arc<DayEvent>, usize);

impl ReachedRecords {
    /// Notes an event that reached an endpoint, or is on its way. Events are noted in their order.
    pub fn note(&mut self, event: &DayEvent, target: usize) {
        if let Some(record) = event.record() {
            self.newest.insert((target, self.hasher.hash_one(record)), event.id);
        }
    }

    fn has_newer(&self, event: &DayEvent, target: usize) -> bool {
        let record = event.record().map(|record| self.hasher.hash_one(record));
        let newest = record.and_then(|record| self.newest.get(&(target, record)));
        newest.is_some_and(|newest| *newest > event.id)
    }

    /// Returns those of some events whose record has a newer state that reached the endpoint or is
    /// on its way: an event that was noted, or the one that holds the record's latest state. Of a
    /// record that the catalogue does not know, only noted events count.
    pub async fn find_newer(
        &self,
        reader: &OutcomeReader<'_>,
        events: &[EventPosition],
    ) -> Result<HashSet<(EventId, usize)>, StoreError> {
        let is_noted = |(event, target): &&EventPosition| self.has_newer(event, *target);
        let (noted, others): (Vec<&EventPosition>, Vec<&EventPosition>) =
            events.iter().partition(is_noted);
        let mut newer: HashSet<(EventId, usize)> =
            noted.into_iter().map(|(event, target)| (event.id, *target)).collect();
        for chunk in others.chunks(CHUNK) {
            let heads = HeadStates::load(reader.journal, chunk).await?;
            let of_head = chunk.iter().filter(|(event, target)| {
                let endpoint = reader.targets.get(*target).map(|target| target.endpoint.id);
                endpoint.is_some_and(|endpoint| heads.have_newer(event, endpoint))
            });
            newer.extend(of_head.map(|(event, target)| (event.id, *target)));
        }
        Ok(newer)
    }
}

/// The events that hold the latest states of records, and the endpoints that they reached.
struct HeadStates {
    heads: HashMap<RecordKey, EventId>,
    reached: HashSet<(EventId, EndpointId)>,
}

impl HeadStates {
    async fn load(journal: &EventStore, events: &[&EventPosition]) -> Result<Self, StoreError> {
        let mut records: Vec<RecordKey> =
            events.iter().filter_map(|(event, _)| event.record()).collect();
        let mut seen = HashSet::new();
        records.retain(|record| seen.insert(record.clone()));
        if records.is_empty() {
            return Ok(Self { heads: HashMap::new(), reached: HashSet::new() });
        }
        let heads: HashMap<RecordKey, EventId> =
            journal.list_record_heads(&records).await?.into_iter().collect();
        let ids: Vec<EventId> = heads.values().copied().collect();
        let groups = journal.list_delivery_groups(&ids).await?;
        let is_reached = |status| {
            matches!(
                status,
                DeliveryStatus::Delivered | DeliveryStatus::Pending | DeliveryStatus::Leased
            )
        };
        let reached = groups.into_iter().filter(|group| is_reached(group.status));
        Ok(Self { heads, reached: reached.map(|one| (one.event_id, one.endpoint_id)).collect() })
    }

    fn have_newer(&self, event: &DayEvent, endpoint: EndpointId) -> bool {
        let head = event.record().and_then(|record| self.heads.get(&record).copied());
        head.is_some_and(|head| head > event.id && self.reached.contains(&(head, endpoint)))
    }
}
