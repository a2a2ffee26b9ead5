//! Prepares the events that modules emitted for capture together with the plan of their parent.
//!
//! An emitted event goes to every flow and endpoint that subscribes to its type. It has its
//! parent's time and source. It does not change any record, because only sources do.

use super::PlannerContext;
use crate::json::storable::make_storable;
use crate::model::attributes::{CAUSED_BY, HOPS, MODULE_HOPS, SentWith};
use crate::model::event::Event;
use crate::model::id::FlowId;
use crate::model::plan_effects::EmittedFact;
use crate::settings::SettingsSnapshot;
use crate::store::EventCapture;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use std::sync::Arc;

/// An event whose modules emit others, and the flow that ran them.
#[derive(Debug, Clone, Copy)]
pub struct EmittingEvent<'a> {
    pub event: &'a Event,
    pub flow: FlowId,
}

impl EmittingEvent<'_> {
    /// Returns the captures of the emitted events.
    pub fn capture_facts(
        self,
        context: &PlannerContext,
        settings: &SettingsSnapshot,
        facts: Vec<EmittedFact>,
    ) -> Vec<EventCapture> {
        facts.into_iter().map(|fact| self.capture_fact(context, settings, fact)).collect()
    }

    fn capture_fact(
        self,
        context: &PlannerContext,
        settings: &SettingsSnapshot,
        mut fact: EmittedFact,
    ) -> EventCapture {
        let keys = fact.key.take().map(|key| format!("fact {} {key}", self.flow));
        let event = Arc::new(self.make_event(fact));
        let store = &context.journal;
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

    fn make_event(self, fact: EmittedFact) -> Event {
        let attributes = to_raw_value(&self.attributes(fact.attributes)).ok();
        let raw = |text: String| RawValue::from_string(text).ok();
        Event {
            id: fact.id,
            source: self.event.source.clone(),
            event_type: fact.kind,
            resource: fact.resource,
            resource_id: fact.subject,
            external_id: None,
            occurred_at: Some(fact.time.unwrap_or_else(|| self.event.time())),
            received_at: self.event.received_at,
            attributes,
            changes: fact.changes.and_then(raw),
            // The data was validated when the module emitted the event.
            data: raw(fact.data).unwrap_or_else(|| RawValue::NULL.to_owned()),
        }
    }

    /// Adds the event's origin to its own attributes.
    fn attributes(self, own: Vec<(String, String)>) -> Map<String, Value> {
        let hops = SentWith::read(self.event.attributes.as_deref()).hops.saturating_add(1);
        let mut all: Map<String, Value> =
            own.into_iter().map(|(name, text)| (name, make_storable(text).into())).collect();
        all.insert(CAUSED_BY.to_owned(), self.event.id.to_string().into());
        all.insert(MODULE_HOPS.to_owned(), hops.to_string().into());
        all.insert(HOPS.to_owned(), hops.into());
        all
    }
}
