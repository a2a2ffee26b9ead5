//! Reads from the trace of an event why an endpoint did not get it.

use super::endpoint_routes::EndpointRoutes;
use crate::model::id::{EndpointId, FlowId};
use crate::store::EventSteps;
use serde::Deserialize;
use std::collections::HashSet;

/// Why an endpoint did not get an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceReading {
    /// A rule kept it back.
    Dropped(String),
    /// The endpoint or the flow was disabled.
    Disabled {
        reason: String,
        /// Whether this holds for the event as captured, without a module.
        is_direct: bool,
        /// Flows with modules for which it holds, and whether the whole flow was disabled.
        flows: Vec<(FlowId, bool)>,
    },
    /// The modules of a flow failed, and the dead letter was deleted.
    Failed { reason: String, flow: FlowId },
}

/// The members of a step that matter here.
#[derive(Debug, Deserialize)]
struct StepVerdict {
    #[serde(default)]
    module: Option<String>,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    endpoint_id: Option<EndpointId>,
    #[serde(default)]
    disabled: bool,
}

/// Returns why a step of a trace ends the event's way, if its verdict does.
pub fn tell_end(verdict: &str, module: Option<&str>, reason: Option<&str>) -> Option<String> {
    if !["dropped", "failed", "suppressed", "skipped"].contains(&verdict) {
        return None;
    }
    let reason = reason.unwrap_or("no reason was given");
    Some(match module {
        Some(module) if verdict == "failed" => format!("module `{module}` failed: {reason}"),
        Some(module) => format!("module `{module}` dropped it: {reason}"),
        None => reason.to_owned(),
    })
}

impl StepVerdict {
    fn tell_end(&self) -> Option<String> {
        tell_end(&self.verdict, self.module.as_deref(), self.reason.as_deref())
    }
}

/// What the runs of all routes say.
#[derive(Debug, Default)]
struct TraceSum {
    dropped: Option<String>,
    disabled: Option<String>,
    is_direct_disabled: bool,
    disabled_flows: Vec<(FlowId, bool)>,
    failed: Option<(FlowId, String)>,
}

/// Returns why the event was not sent to the endpoint. `None` if no run of its routes is recorded.
/// `runs` holds the newest run first; of a flow only that one counts.
pub fn read_trace(
    runs: &[EventSteps],
    endpoint: EndpointId,
    routes: &EndpointRoutes,
) -> Option<TraceReading> {
    let mut sum = TraceSum::default();
    let mut seen = HashSet::new();
    for run in runs {
        let is_newest = run.flow_id.is_none_or(|flow| seen.insert(flow));
        let is_route = run.flow_id.is_none_or(|flow| routes.find_flow(flow).is_some());
        if is_newest && is_route {
            sum.note_run(run, endpoint, routes);
        }
    }
    sum.into_reading()
}

impl TraceSum {
    fn note_run(&mut self, run: &EventSteps, endpoint: EndpointId, routes: &EndpointRoutes) {
        let steps: Vec<StepVerdict> = serde_json::from_str(run.steps.get()).unwrap_or_default();
        // Without a flow the entry is about an endpoint's own `events`, and names the endpoint.
        let concerns = |step: &&StepVerdict| match step.endpoint_id {
            Some(id) => id == endpoint,
            None => run.flow_id.is_some(),
        };
        let ends: Vec<(&StepVerdict, String)> = steps
            .iter()
            .filter(concerns)
            .filter_map(|step| Some((step, step.tell_end()?)))
            .collect();
        if let Some((step, reason)) = ends.iter().find(|(step, _)| step.disabled) {
            self.note_disabled(run.flow_id, step, reason, routes);
        } else if let Some((_, reason)) = ends.iter().find(|(step, _)| step.verdict == "failed") {
            self.failed = run.flow_id.map(|flow| (flow, reason.clone()));
        } else if let Some((_, reason)) = ends.first() {
            self.dropped.get_or_insert_with(|| reason.clone());
        } else if let Some(flow) = run.flow_id.and_then(|flow| routes.find_flow(flow)) {
            let name = &flow.flow.settings.name;
            let reason = format!("flow `{name}` did not choose this endpoint");
            self.dropped.get_or_insert(reason);
        }
    }

    fn note_disabled(
        &mut self,
        flow: Option<FlowId>,
        step: &StepVerdict,
        reason: &str,
        routes: &EndpointRoutes,
    ) {
        self.disabled.get_or_insert_with(|| reason.to_owned());
        let module_flow =
            flow.filter(|id| routes.module_flows.iter().any(|flow| flow.flow.id == *id));
        match module_flow {
            Some(flow) => self.disabled_flows.push((flow, step.endpoint_id.is_none())),
            None => self.is_direct_disabled = true,
        }
    }

    /// A gap on one route weighs more than a rule on another.
    fn into_reading(self) -> Option<TraceReading> {
        if let Some((flow, reason)) = self.failed {
            return Some(TraceReading::Failed { reason, flow });
        }
        if let Some(reason) = self.disabled {
            let (is_direct, flows) = (self.is_direct_disabled, self.disabled_flows);
            return Some(TraceReading::Disabled { reason, is_direct, flows });
        }
        self.dropped.map(TraceReading::Dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::EventId;
    use crate::model::skipped_route::SkippedRoute;
    use serde_json::value::RawValue;

    fn run(flow_id: Option<FlowId>, steps: String) -> EventSteps {
        let steps = RawValue::from_string(steps).unwrap();
        EventSteps { event_id: EventId::generate(), flow_id, steps }
    }

    fn read(runs: &[EventSteps], endpoint: EndpointId) -> Option<TraceReading> {
        read_trace(runs, endpoint, &EndpointRoutes { is_own: true, ..EndpointRoutes::default() })
    }

    #[test]
    fn a_disabled_endpoint_is_a_gap_of_that_endpoint_alone() {
        let (erp, tax) = (EndpointId::generate(), EndpointId::generate());
        let runs = [run(None, SkippedRoute::disabled_endpoint(None, erp, "erp").steps())];
        let reason = "endpoint `erp` is disabled".to_owned();
        let gap = TraceReading::Disabled { reason, is_direct: true, flows: Vec::new() };
        assert_eq!(read(&runs, erp), Some(gap));
        assert_eq!(read(&runs, tax), None);
    }

    #[test]
    fn a_condition_is_a_rule() {
        let erp = EndpointId::generate();
        let skip = SkippedRoute {
            flow: None,
            endpoint: Some(erp),
            is_disabled: false,
            reason: "endpoint `erp`: where was false".to_owned(),
        };
        let read = read(&[run(None, skip.steps())], erp);
        assert_eq!(read, Some(TraceReading::Dropped(skip.reason)));
    }

    #[test]
    fn runs_of_flows_that_are_no_route_say_nothing() {
        let flow = FlowId::generate();
        let steps = r#"[{"module":"m","verdict":"dropped","reason":"too small"}]"#;
        let runs = [run(Some(flow), steps.to_owned())];
        assert_eq!(read(&runs, EndpointId::generate()), None);
    }
}
