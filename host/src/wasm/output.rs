//! What goes into a run and what comes out: the words that the planner and the command line use.

use super::{CapabilityRun, LogLine, ModuleRole};
use crate::model::id::EventId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The event that a module is run on.
#[derive(Debug, Clone, Copy)]
pub struct ModuleInput<'a> {
    /// Its id, such as `evt_01976f0c-…`. Randomness and the ids of drafts come from it, among
    /// others.
    pub id: &'a str,
    /// The id of the flow; the ids of drafts come from it too, so that those of two flows differ.
    /// Empty in a trial.
    pub flow: &'a str,
    /// The name of its source.
    pub source: &'a str,
    /// The event type.
    pub kind: &'a str,
    /// What kind of record it is about.
    pub resource: Option<&'a str>,
    /// The id of the record that it is about.
    pub subject: Option<&'a str>,
    /// When it happened, as RFC 3339 writes it.
    pub time: &'a str,
    /// Which try at planning it this is: 1, 2, …
    pub attempt: u32,
    /// What the captured event changed, where that is known.
    pub changes: Option<InputChanges<'a>>,
    /// Further facts: names in lower case and their values.
    pub attributes: &'a [(&'a str, &'a str)],
    /// The payload, a JSON text.
    pub data: &'a str,
    /// When it was captured, since 1970. The module's clocks stand there.
    pub received: Duration,
    /// How long it waits for other runs at most.
    pub patience: Duration,
}

/// What an event changed.
#[derive(Debug, Clone, Copy)]
pub struct InputChanges<'a> {
    /// The fields with another content.
    pub changed: &'a [&'a str],
    /// Their old values, as a JSON object.
    pub previous: &'a str,
}

/// How long a run waits for others where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What one module made of one event.
#[derive(Debug)]
pub struct ModuleRun {
    /// One for each role that was called, the failing one included.
    pub steps: Vec<ModuleStep>,
    /// What came out.
    pub end: RunEnd,
    /// What was granted to the module, with what it did; `None` where nothing was.
    pub capabilities: Option<Box<CapabilityRun>>,
}

/// What one role did, for the event's trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleStep {
    /// Which role.
    pub role: ModuleRole,
    /// How it decided.
    pub verdict: RoleVerdict,
    /// Why, where the module or the host says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took, in microseconds; the first step includes making the instance.
    pub micros: u32,
    /// What the module wrote meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogLine>,
}

/// How a role decided; in JSON `kept`, `dropped`, `transformed`, `routed`, `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleVerdict {
    /// The filter lets the event go on.
    Kept,
    /// The event ends here: the filter says so, or no draft or dispatch came out.
    Dropped,
    /// The transform made drafts.
    Transformed,
    /// The route chose endpoints.
    Routed,
    /// There is no verdict.
    Failed,
}

impl RoleVerdict {
    /// Its name, as in JSON.
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

/// What comes out of a run.
#[derive(Debug)]
pub enum RunEnd {
    /// The event ends here; not a failure.
    Dropped {
        /// Why.
        reason: String,
    },
    /// What goes on, at least one.
    Out(Vec<RoutedEvent>),
    /// There is no result.
    Failed(ModuleFailure),
}

/// One event that goes on, and where to.
#[derive(Debug)]
pub struct RoutedEvent {
    /// The event in place of the one given; `None` where that goes on unchanged.
    pub draft: Option<EventDraft>,
    /// Where it goes, possibly nowhere; `None` where the module does not route.
    pub dispatches: Option<Vec<ModuleDispatch>>,
}

/// An event that a module made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventDraft {
    /// Made from the parent's id, the flow's, the module's SHA-256 and the draft's position (a
    /// version 8 UUID), so that another run makes the same one.
    pub id: EventId,
    /// The event type; `None` keeps the parent's.
    pub kind: Option<String>,
    /// The id of the record that it is about; `None` keeps the parent's.
    pub subject: Option<String>,
    /// Attributes added to the parent's; the same name replaces.
    pub attributes: Vec<(String, String)>,
    /// The payload: a JSON text, checked.
    pub data: String,
}

/// One delivery that a module asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleDispatch {
    /// The id of what it sends, where that is a payload of its own; made like a draft's.
    pub id: Option<EventId>,
    /// The name of an endpoint of the flow; whether there is one is for the caller to check.
    pub destination: String,
    /// Which of the endpoint's operations to carry out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Deliveries with the same key to the same endpoint are made once.
    pub dedupe_key: Option<String>,
    /// Deliveries with the same key keep their order.
    pub ordering_key: Option<String>,
    /// A name under which it can be cancelled while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_key: Option<String>,
    /// Seconds before the first attempt, within the limit.
    pub delay_seconds: u32,
    /// Attributes added to the event's; the same name replaces.
    pub attributes: Vec<(String, String)>,
    /// A payload for this delivery alone: a JSON text, checked.
    pub data: Option<String>,
}

impl ModuleDispatch {
    /// Whether it sends the event as it is.
    pub const fn is_plain(&self) -> bool {
        self.data.is_none() && self.attributes.is_empty()
    }

    /// Bytes that it holds, roughly.
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

/// Attributes with others put over them: the same name replaces.
pub fn merged<'a>(
    under: &[(&'a str, &'a str)],
    over: &'a [(String, String)],
) -> Vec<(&'a str, &'a str)> {
    let replaced = |name: &str| over.iter().any(|(own, _)| own == name);
    let kept = under.iter().copied().filter(|(name, _)| !replaced(name));
    // Of a name that is there twice, the last one counts: names are unique.
    let again = |n: usize, name: &str| over.iter().skip(n + 1).any(|(later, _)| later == name);
    let own = over.iter().enumerate().filter(|(n, (name, _))| !again(*n, name));
    kept.chain(own.map(|(_, (name, value))| (name.as_str(), value.as_str()))).collect()
}

/// Why a run has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleFailure {
    /// The guest broke off: a panic, a stack overflow, an access outside its memory.
    #[error("the module trapped: {message}")]
    Trap {
        /// The kind of trap, and what the guest last printed on standard error.
        message: String,
    },
    /// A call took too long.
    #[error("the module took longer than {} ms", limit.as_millis())]
    Timeout {
        /// The limit that it hit.
        limit: Duration,
    },
    /// The guest wanted more memory or table elements than it may have, and gave up.
    #[error("the module wanted more than {limit} bytes of memory")]
    Memory {
        /// Bytes of memory that it may have.
        limit: usize,
    },
    /// It returned something that nobody can use: no JSON, too much, too many, too late.
    #[error("the module's output is not usable: {message}")]
    Output {
        /// What is wrong with it, and the limit.
        message: String,
    },
    /// The module says itself that it cannot do its work.
    #[error("the module failed: {code}: {message}{}", at(pointer.as_deref()))]
    Declared {
        /// Whether the same event may succeed later.
        retryable: bool,
        /// The earliest time for another try, from now.
        after: Option<Duration>,
        /// A short, stable word.
        code: String,
        /// For whoever reads the trace.
        message: String,
        /// Where in the payload, as a JSON Pointer (RFC 6901).
        pointer: Option<String>,
    },
    /// The host's fault; the same run may succeed later.
    #[error("the host could not run the module: {message}")]
    Host {
        /// What went wrong.
        message: String,
    },
}

fn at(pointer: Option<&str>) -> String {
    // The empty pointer is the whole payload: no place worth naming.
    pointer.filter(|p| !p.is_empty()).map(|p| format!(" (at `{p}`)")).unwrap_or_default()
}

impl ModuleFailure {
    /// Other runs took too long for this one to begin.
    pub fn no_room() -> Self {
        Self::Host { message: "other runs left no room for it in time".to_owned() }
    }

    /// The dead letter's reason.
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
