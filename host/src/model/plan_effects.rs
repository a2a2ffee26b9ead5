//! Effects of a flow's modules besides their deliveries. They are collected while the modules run
//! and committed with the plan, so they happen once or not at all.

use super::id::EventId;
use crate::time::timestamp::Timestamp;
use std::collections::BTreeMap;

/// The effects of a flow's modules on one event.
#[derive(Debug, Default)]
pub struct PlanEffects {
    /// Values that the modules read and wrote in the flow's state.
    pub state: BTreeMap<StateAddress, StateCell>,
    /// Events that the modules emitted, in order.
    pub facts: Vec<EmittedFact>,
    /// Cancel keys. Deliveries that wait under them are cancelled.
    pub cancelled: Vec<String>,
    /// Increments of counters, by module and counter.
    pub counts: BTreeMap<(String, String), u64>,
}

/// The place of a value in the state of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateAddress {
    /// Key of the record. Empty for values of the flow itself.
    pub scope: String,
    pub key: String,
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateValue {
    /// The value as JSON text.
    pub text: String,
    pub expires_at: Option<Timestamp>,
}

/// The value that was read from a place in the state, and its new value.
#[derive(Debug, Clone)]
pub struct StateCell {
    /// The value that was read. The plan holds only if the store still has it when the plan is
    /// recorded.
    pub before: Option<StateValue>,
    pub now: Option<StateValue>,
}

impl StateCell {
    /// Whether the value has to be written.
    pub fn is_changed(&self) -> bool {
        self.before != self.now
    }
}

/// An event that a module emitted.
#[derive(Debug, Clone)]
pub struct EmittedFact {
    pub id: EventId,
    pub fact: ModuleFact,
}

/// An event as a module makes it.
#[derive(Debug, Clone)]
pub struct ModuleFact {
    pub kind: String,
    pub resource: Option<String>,
    pub subject: Option<String>,
    pub time: Option<Timestamp>,
    /// Key by which a repeat is recognised, if the module sets one.
    pub key: Option<String>,
    /// Changed fields, as the JSON of event changes.
    pub changes: Option<String>,
    pub attributes: Vec<(String, String)>,
    /// Data as JSON text.
    pub data: String,
}

impl ModuleFact {
    /// Returns the size in bytes.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.len() + self.changes.as_ref().map_or(0, String::len) + attributes.sum::<usize>()
    }
}
