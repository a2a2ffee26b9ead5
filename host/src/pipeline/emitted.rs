//! Prepares the events that modules emitted for capture together with the plan of their parent.

use super::PlannerContext;
use crate::model::attributes::SentWith;
use crate::model::event::Event;
use crate::model::id::FlowId;
use crate::model::plan_effects::EmittedFact;
use crate::settings::SettingsSnapshot;
use crate::settings::emitted_facts::FactOrigin;
use crate::store::EventCapture;

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
        let hops = SentWith::read(self.event.attributes.as_deref()).hops;
        let origin = FactOrigin {
            source: &self.event.source,
            scope: self.flow.to_string(),
            time: self.event.time(),
            received_at: self.event.received_at,
            caused_by: self.event.id.to_string(),
            hops: hops.saturating_add(1),
        };
        origin.capture_facts(&context.journal, settings, facts)
    }
}
