//! The breaker of a module, as answers show it.

use crate::api::AppState;
use crate::model::module_breaker::BreakerState;
use crate::settings::module_breakers::BreakerSight;
use crate::store::modules::ModuleVersion;
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// The breaker of a version on the node that answers, since its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ModuleBreaker)]
pub struct BreakerView {
    /// `closed`: the version runs. `open`: it does not run. `half_open`: the next event is tried,
    /// or one is being tried.
    pub state: &'static str,
    /// Faults since the last answer: traps, and calls that exceeded their time or memory.
    pub faults: u32,
    /// Time since which it has not been closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub open_since: Option<Timestamp>,
    /// Time from which an event is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retry_at: Option<Timestamp>,
    /// The reason of the last fault, such as `module_trap`. The traces of its events have the
    /// words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<&'static str>,
}

impl BreakerView {
    /// Returns the breaker of a version, if flows run it.
    pub fn find(app: &AppState, version: &ModuleVersion) -> Option<Self> {
        let breaker = app.live.breakers().find_breaker(&version.name, version.version)?;
        Some(Self::new(breaker.sight(), app.journal.clock().now()))
    }

    fn new(sight: BreakerSight, now: Timestamp) -> Self {
        let last_fault = sight.last_fault;
        match sight.state {
            BreakerState::Closed { faults } => {
                let (open_since, retry_at) = (None, None);
                Self { state: "closed", faults, open_since, retry_at, last_fault }
            }
            BreakerState::Open { faults, since, retry_at, is_tried } => {
                let is_half_open = is_tried || now >= retry_at;
                let state = if is_half_open { "half_open" } else { "open" };
                let (open_since, retry_at) = (Some(since), Some(retry_at));
                Self { state, faults, open_since, retry_at, last_fault }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_half_open_from_the_next_trial_on() {
        let at = Timestamp::from_micros;
        let state =
            BreakerState::Open { faults: 5, since: at(1), retry_at: at(9), is_tried: false };
        let view = |now| {
            let sight = BreakerSight { state, last_fault: Some("module_trap") };
            BreakerView::new(sight, at(now))
        };
        assert_eq!((view(8).state, view(9).state), ("open", "half_open"));
        assert_eq!(view(8).open_since, Some(at(1)));
    }
}
