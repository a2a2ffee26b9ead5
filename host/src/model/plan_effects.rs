//! What the modules of a flow change besides the deliveries that they make. It is collected while they
//! run and committed with their plan: once, or not at all.

use super::id::EventId;
use crate::time::timestamp::Timestamp;
use std::collections::BTreeMap;

/// What the modules of a flow did with one event.
#[derive(Debug, Default)]
pub struct PlanEffects {
    /// What they read and wrote in the flow's state.
    pub state: BTreeMap<StateAddress, StateCell>,
    /// Events that they handed in, in their order.
    pub facts: Vec<EmittedFact>,
    /// Cancel keys; what waits under them is cancelled.
    pub cancelled: Vec<String>,
    /// What they counted: module, counter, how many.
    pub counts: BTreeMap<(String, String), u64>,
}

/// The place of a value in the state of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateAddress {
    /// The record's key; empty for what belongs to the flow itself.
    pub scope: String,
    pub key: String,
}

/// A value that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateValue {
    /// A JSON text.
    pub text: String,
    pub expires_at: Option<Timestamp>,
}

/// What was read from a place in the state, and what is to stand there.
#[derive(Debug, Clone)]
pub struct StateCell {
    /// What stood there. The plan holds only if it still does when it is recorded.
    pub before: Option<StateValue>,
    pub now: Option<StateValue>,
}

impl StateCell {
    /// Whether something is to be written.
    pub fn is_changed(&self) -> bool {
        self.before != self.now
    }
}

/// An event that a module handed in.
#[derive(Debug, Clone)]
pub struct EmittedFact {
    pub id: EventId,
    pub kind: String,
    pub resource: Option<String>,
    pub subject: Option<String>,
    pub time: Option<Timestamp>,
    /// By what a repeat is recognised, if the module says so.
    pub key: Option<String>,
    /// What it changed, as the JSON of event changes.
    pub changes: Option<String>,
    pub attributes: Vec<(String, String)>,
    /// A JSON text.
    pub data: String,
}

impl EmittedFact {
    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.len() + self.changes.as_ref().map_or(0, String::len) + attributes.sum::<usize>()
    }
}
