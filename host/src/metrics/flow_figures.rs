//! Figures of each flow.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

type ResultLabels = [(&'static str, String); 2];

/// The result of a flow for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanResult {
    /// Deliveries follow.
    Planned,
    /// The modules, or a `where`, dropped the event.
    Dropped,
    /// The modules failed and will run again.
    Postponed,
    /// The event waits until the breaker of a module is closed.
    Parked,
    /// The modules failed and will not run again by themselves.
    Dead,
}

impl PlanResult {
    /// Returns the word for the result.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Dropped => "dropped",
            Self::Postponed => "postponed",
            Self::Parked => "parked",
            Self::Dead => "dead",
        }
    }
}

/// The figures of one flow with modules.
#[derive(Debug)]
pub struct FlowFigures {
    planned: Counter,
    dropped: Counter,
    postponed: Counter,
    parked: Counter,
    dead: Counter,
}

impl FlowFigures {
    /// Counts a recorded plan.
    pub fn note_plan(&self, result: PlanResult) {
        let counter = match result {
            PlanResult::Planned => &self.planned,
            PlanResult::Dropped => &self.dropped,
            PlanResult::Postponed => &self.postponed,
            PlanResult::Parked => &self.parked,
            PlanResult::Dead => &self.dead,
        };
        counter.inc();
    }
}

/// The metric families of all flows.
#[derive(Debug)]
pub struct FlowFamilies(Family<ResultLabels, Counter>);

impl FlowFamilies {
    pub fn register(registry: &mut Registry) -> Self {
        let plans = Family::default();
        let help = "Events that a flow with modules handled, by result: planned, dropped, postponed, parked, dead";
        registry.register("waybill_flow_plans", help, plans.clone());
        Self(plans)
    }

    pub fn make(&self, name: &str) -> FlowFigures {
        let result = |result: PlanResult| {
            let labels = [("flow", name.to_owned()), ("result", result.name().to_owned())];
            self.0.get_or_create_owned(&labels)
        };
        FlowFigures {
            planned: result(PlanResult::Planned),
            dropped: result(PlanResult::Dropped),
            postponed: result(PlanResult::Postponed),
            parked: result(PlanResult::Parked),
            dead: result(PlanResult::Dead),
        }
    }
}
