//! Prepares the events that modules emitted for capture, together with what they come from: the plan
//! of their parent, or the attempt at a delivery.
//!
//! An emitted event goes to every flow and endpoint that subscribes to its type. It does not change
//! any record, because only sources do.

use super::SettingsSnapshot;
use crate::json::storable::make_storable;
use crate::model::attributes::{CAUSED_BY, HOPS, MODULE_HOPS};
use crate::model::event::Event;
use crate::model::plan_effects::EmittedFact;
use crate::store::{EventCapture, EventStore};
use crate::time::timestamp::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The origin of emitted events.
#[derive(Debug)]
pub struct FactOrigin<'a> {
    /// The source of the events.
    pub source: &'a str,
    /// The scope in which the key of an event is unique.
    pub scope: String,
    /// When the events happened, if the module does not say.
    pub time: Timestamp,
    /// The time with which their ids begin.
    pub received_at: Timestamp,
    /// The id of the event or the delivery that they come from.
    pub caused_by: String,
    /// The number of events that lead to them.
    pub hops: u32,
}

impl FactOrigin<'_> {
    /// Returns the captures of the emitted events.
    pub fn capture_facts(
        &self,
        store: &EventStore,
        settings: &SettingsSnapshot,
        facts: Vec<EmittedFact>,
    ) -> Vec<EventCapture> {
        facts.into_iter().map(|fact| self.capture_fact(store, settings, fact)).collect()
    }

    fn capture_fact(
        &self,
        store: &EventStore,
        settings: &SettingsSnapshot,
        mut fact: EmittedFact,
    ) -> EventCapture {
        let keys = fact.fact.key.take().map(|key| format!("fact {} {key}", self.scope));
        let event = Arc::new(self.make_event(fact));
        let matches = settings.matches(&event.source, &event.event_type).admit(&event);
        EventCapture {
            matched: matches.len(),
            keys: keys.into_iter().collect(),
            earlier_keys: Vec::new(),
            idempotency: None,
            deliveries: matches.drafts(store, &event),
            plannings: matches.plannings(store, &event),
            skipped: matches.skipped.clone(),
            record: None,
            indexed: Vec::new(),
            packed: None,
            event,
        }
    }

    fn make_event(&self, EmittedFact { id, fact }: EmittedFact) -> Event {
        let attributes = to_raw_value(&self.attributes(fact.attributes)).ok();
        let raw = |text: String| RawValue::from_string(text).ok();
        Event {
            id,
            source: self.source.to_owned(),
            event_type: fact.kind,
            resource: fact.resource,
            resource_id: fact.subject,
            external_id: None,
            occurred_at: Some(fact.time.unwrap_or(self.time)),
            received_at: self.received_at,
            attributes,
            changes: fact.changes.and_then(raw),
            // The data was validated when the module emitted the event.
            data: raw(fact.data).unwrap_or_else(|| RawValue::NULL.to_owned()),
        }
    }

    /// Adds the event's origin to its own attributes.
    fn attributes(&self, own: Vec<(String, String)>) -> Map<String, Value> {
        let mut all: Map<String, Value> =
            own.into_iter().map(|(name, text)| (name, make_storable(text).into())).collect();
        all.insert(CAUSED_BY.to_owned(), self.caused_by.clone().into());
        all.insert(MODULE_HOPS.to_owned(), self.hops.to_string().into());
        all.insert(HOPS.to_owned(), self.hops.into());
        all
    }
}
