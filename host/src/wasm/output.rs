//! The input and the result of a run, in the types of the planner and the command line.

use super::{CapabilityRun, LogLine, ModuleRole};
use crate::model::id::EventId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The event that a module is run on.
#[derive(Debug, Clone, Copy)]
pub struct ModuleInput<'a> {
    /// The id of the event, such as `evt_01976f0c-…`. Random numbers and the ids of drafts are
    /// derived from it, among other values.
    pub id: &'a str,
    /// The id of the flow, empty in a trial. The ids of drafts are derived from it too, so that
    /// they differ between flows.
    pub flow: &'a str,
    /// The name of the event's source.
    pub source: &'a str,
    /// The event type.
    pub kind: &'a str,
    /// The kind of record that the event is about.
    pub resource: Option<&'a str>,
    /// The id of the record that the event is about.
    pub subject: Option<&'a str>,
    /// When the event happened, in the format of RFC 3339.
    pub time: &'a str,
    /// The number of this planning of the event, from 1.
    pub attempt: u32,
    /// What the captured event changed, if that is known.
    pub changes: Option<InputChanges<'a>>,
    /// The attributes: names in lower case, and values.
    pub attributes: &'a [(&'a str, &'a str)],
    /// The payload, a JSON text.
    pub data: &'a str,
    /// When the event was captured, since 1970. The module's clocks show this time.
    pub received: Duration,
    /// Longest wait for other runs.
    pub patience: Duration,
    /// Whether the event may run in an instance that handled another event of the flow, if the
    /// module asks for that.
    pub may_reuse: bool,
}

/// The changes of an event.
#[derive(Debug, Clone, Copy)]
pub struct InputChanges<'a> {
    /// The names of the changed fields.
    pub changed: &'a [&'a str],
    /// The old values of these fields, as a JSON object.
    pub previous: &'a str,
}

/// Longest wait of a run for others, unless its input sets another.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The result of one module on one event.
#[derive(Debug)]
pub struct ModuleRun {
    /// One step for each role that was called, including one that failed.
    pub steps: Vec<ModuleStep>,
    pub end: RunEnd,
    /// The linear memory of the instance at the end, in bytes. It never shrinks.
    pub memory: usize,
    /// The module's grants and what it did with them. `None` if nothing was granted.
    pub capabilities: Option<Box<CapabilityRun>>,
    /// Whether the instance had handled another event before.
    pub is_reused: bool,
}

/// The step of one role in the event's trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleStep {
    pub role: ModuleRole,
    pub verdict: RoleVerdict,
    /// The reason, if the module or the host gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The duration in microseconds. The first step includes the start of the instance.
    pub micros: u32,
    /// The log lines that the module wrote in this step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogLine>,
}

/// The decision of a role. In JSON: `kept`, `dropped`, `transformed`, `routed`, `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleVerdict {
    /// The filter lets the event go on.
    Kept,
    /// The event ends here: the filter dropped it, or there is no draft or no dispatch.
    Dropped,
    /// The transform made drafts.
    Transformed,
    /// The route chose endpoints.
    Routed,
    /// The role failed, so there is no decision.
    Failed,
}

impl RoleVerdict {
    /// Returns the name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Transformed => "transformed",
            Self::Routed => "routed",
            Self::Failed => "failed",
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// The event ends here. This is not a failure.
    Dropped {
        reason: String,
    },
    /// At least one event goes on.
    Out(Vec<RoutedEvent>),
    Failed(ModuleFailure),
}

/// One event that goes on, with its destinations.
#[derive(Debug)]
pub struct RoutedEvent {
    /// The draft that replaces the event. `None` if the event goes on unchanged.
    pub draft: Option<EventDraft>,
    /// The deliveries that the module asks for, possibly none. `None` if the module does not route.
    pub dispatches: Option<Vec<ModuleDispatch>>,
}

/// An event that a module made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventDraft {
    /// A version 8 UUID, derived from the ids of the parent and the flow, the module's SHA-256 and
    /// the position of the draft. Another run therefore gives the same id.
    pub id: EventId,
    /// The event type. `None` keeps the parent's.
    pub kind: Option<String>,
    /// The id of the record that the draft is about. `None` keeps the parent's.
    pub subject: Option<String>,
    /// Attributes that are added to the parent's. One with the same name replaces the parent's.
    pub attributes: Vec<(String, String)>,
    /// The payload: a valid JSON text.
    pub data: String,
}

/// One delivery that a module asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleDispatch {
    /// The id of the payload, if the dispatch has one of its own. It is derived like a draft's.
    pub id: Option<EventId>,
    /// The name of an endpoint of the flow. The caller checks that it exists.
    pub destination: String,
    /// The name of the endpoint's operation to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Deliveries with the same key to the same endpoint are made once.
    pub dedupe_key: Option<String>,
    /// Deliveries with the same key keep their order.
    pub ordering_key: Option<String>,
    /// The key by which the delivery can be cancelled while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_key: Option<String>,
    /// Seconds before the first attempt, within the limit.
    pub delay_seconds: u32,
    /// Attributes that are added to the event's. One with the same name replaces the event's.
    pub attributes: Vec<(String, String)>,
    /// A payload for this delivery only: a valid JSON text.
    pub data: Option<String>,
}

impl ModuleDispatch {
    /// Whether the dispatch sends the event unchanged.
    pub const fn is_plain(&self) -> bool {
        self.data.is_none() && self.attributes.is_empty() && self.operation.is_none()
    }

    /// Returns about how many bytes the dispatch holds.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        let key = |key: &Option<String>| key.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + self.destination.len()
            + key(&self.dedupe_key)
            + key(&self.ordering_key)
            + key(&self.operation)
            + key(&self.cancel_key)
            + key(&self.data)
            + attributes.sum::<usize>()
    }
}

/// Merges attributes. Those in `over` replace those with the same name in `under`.
pub fn merged<'a>(
    under: &[(&'a str, &'a str)],
    over: &'a [(String, String)],
) -> Vec<(&'a str, &'a str)> {
    let replaced = |name: &str| over.iter().any(|(own, _)| own == name);
    let kept = under.iter().copied().filter(|(name, _)| !replaced(name));
    // Names are unique, so the last attribute with a name counts.
    let again = |n: usize, name: &str| over.iter().skip(n + 1).any(|(later, _)| later == name);
    let own = over.iter().enumerate().filter(|(n, (name, _))| !again(*n, name));
    kept.chain(own.map(|(_, (name, value))| (name.as_str(), value.as_str()))).collect()
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleFailure {
    /// The guest trapped: by a panic, a stack overflow, or an access outside its memory.
    #[error("the module trapped: {message}")]
    Trap {
        /// The kind of trap, and what the guest last printed on standard error.
        message: String,
    },
    /// A call took too long.
    #[error("the module took longer than {} ms", limit.as_millis())]
    Timeout { limit: Duration },
    /// The guest was refused memory or table elements, and gave up.
    #[error("the module wanted more than {limit} bytes of memory")]
    Memory {
        /// Bytes of memory that the guest may have.
        limit: usize,
    },
    /// The output is unusable: it is not JSON, or exceeds a limit.
    #[error("the module's output is not usable: {message}")]
    Output { message: String },
    /// The module returned a failure.
    #[error("the module failed: {code}: {message}{}", at(pointer.as_deref()))]
    Declared {
        /// Whether the same event may succeed later.
        retryable: bool,
        /// The earliest time for another try, from now.
        after: Option<Duration>,
        /// A short, stable word.
        code: String,
        /// A sentence for the reader of the trace.
        message: String,
        /// The place in the payload, as a JSON Pointer (RFC 6901).
        pointer: Option<String>,
    },
    /// The host failed. The same run may succeed later.
    #[error("the host could not run the module: {message}")]
    Host { message: String },
}

fn at(pointer: Option<&str>) -> String {
    // The empty pointer means the whole payload, which is not worth naming.
    pointer.filter(|p| !p.is_empty()).map(|p| format!(" (at `{p}`)")).unwrap_or_default()
}

impl ModuleFailure {
    /// Creates the failure of a run that found no free slot in time.
    pub fn no_room() -> Self {
        Self::Host { message: "other runs left no room for it in time".to_owned() }
    }

    /// Returns the reason for the dead letter.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "module_trap",
            Self::Timeout { .. } => "module_timeout",
            Self::Memory { .. } => "module_memory",
            Self::Output { .. } => "module_output",
            Self::Declared { .. } | Self::Host { .. } => "module_failure",
        }
    }
}
