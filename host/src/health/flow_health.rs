//! The health of flows with modules.

use crate::health::endpoint_health::{MOST_LETTERS, MOST_WAITING, SPAN, are_letters_cut};
use crate::model::id::FlowId;
use crate::store::alerts::{FlowQueue, LastPlan, ModuleDeaths};
use crate::store::{DeathCause, EventStore, StoreError};
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Most plans that are read, newest first. Their rows are wide.
const MOST_PLANS: u32 = 2_000;
/// Age up to which failed events count as recent failures of the modules.
pub const FAILURE_SPAN: Duration = Duration::from_mins(15);

/// The health of one flow.
#[derive(Debug, Clone, Default)]
pub struct FlowHealth {
    /// Events that wait for the flow's modules, counted up to [`MOST_WAITING`].
    pub waiting: u64,
    /// The events among them on which the modules have failed before.
    pub retrying: u64,
    /// Capture time of the oldest waiting event.
    pub oldest_at: Option<Timestamp>,
    /// Time at which the modules run on the next waiting event.
    pub due_at: Option<Timestamp>,
    /// Time at which the flow last planned an event, within a day.
    pub last_plan_at: Option<Timestamp>,
    /// Events on which the modules failed for good within [`FAILURE_SPAN`].
    pub deaths: u64,
    /// The error message of one of those failures.
    pub detail: Option<String>,
}

impl FlowHealth {
    /// Returns the number of events on which the modules failed lately, with and without a retry to
    /// come.
    pub const fn failures(&self) -> u64 {
        self.retrying + self.deaths
    }

    fn note_queue(&mut self, queue: &FlowQueue) {
        self.waiting = queue.waiting;
        self.retrying = queue.retrying;
        self.oldest_at = queue.oldest_at;
        self.due_at = queue.due_at;
    }

    fn note_deaths(&mut self, deaths: ModuleDeaths) {
        self.deaths = deaths.letters;
        self.detail = Some(deaths.detail);
    }
}

/// Whether the newest [`MOST_LETTERS`] dead letters, of which these are the causes, reach back less
/// than [`FAILURE_SPAN`], so that failures of modules may be missing.
pub fn are_deaths_cut(causes: &[DeathCause], now: Timestamp) -> bool {
    let start = now.before(FAILURE_SPAN);
    are_letters_cut(causes) && causes.iter().all(|cause| cause.first_at > start)
}

/// Loads the health of all flows.
pub async fn load_flow_healths(
    journal: &EventStore,
    now: Timestamp,
) -> Result<HashMap<FlowId, FlowHealth>, StoreError> {
    let mut flows: HashMap<FlowId, FlowHealth> = HashMap::new();
    for queue in journal.list_flow_queues(MOST_WAITING).await? {
        flows.entry(queue.flow_id).or_default().note_queue(&queue);
    }
    for deaths in journal.list_module_deaths(now.before(FAILURE_SPAN), MOST_LETTERS).await? {
        flows.entry(deaths.flow_id).or_default().note_deaths(deaths);
    }
    for LastPlan { flow_id, at } in journal.list_last_plans(now.before(SPAN), MOST_PLANS).await? {
        flows.entry(flow_id).or_default().last_plan_at = Some(at);
    }
    Ok(flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_cut_when_the_letters_that_were_read_are_all_new() {
        let at = |minute| Timestamp::from_micros(0).after(Duration::from_mins(minute));
        let cause = |letters, first_at| DeathCause {
            endpoint_id: None,
            flow_id: Some(FlowId::generate()),
            source_id: None,
            reason: "module_failure".to_owned(),
            letters,
            replaying: 0,
            first_at,
            last_at: first_at,
            detail: String::new(),
        };
        let causes = [cause(9_999, at(55)), cause(1, at(50))];
        assert!(are_letters_cut(&causes) && are_deaths_cut(&causes, at(60)));
        assert!(!are_deaths_cut(&causes, at(66)), "one is older than the span");
        assert!(!are_letters_cut(&causes[..1]) && !are_deaths_cut(&causes[..1], at(60)));
    }
}
