//! What a run of a flow's modules results in: deliveries or a failure, and the trace.

use super::breaker::PARKED;
use crate::model::id::{EndpointId, EventId};
use crate::model::plan_effects::PlanEffects;
use crate::pipeline::bounds::RunLabel;
use crate::pipeline::plan_spans::NotedCalls;
use crate::settings::ModuleUnusable;
use crate::settings::endpoint_runtime::{EndpointDispatch, EndpointRuntime};
use crate::store::DeliveryDraft;
use crate::wasm::{self, LogLine, ModuleFailure, ModuleStep};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The verdict of a step for an event that `where` excludes.
pub(super) const SKIPPED: &str = "skipped";

/// The result of a run.
#[derive(Debug)]
pub struct FlowOutcome<D = DeliveryDraft> {
    /// The deliveries, or the failure of the modules.
    pub result: Result<Vec<D>, ModulesFailed>,
    /// The trace, as a JSON list.
    pub steps: String,
    /// The drafts and dispatches of the modules, as a JSON list.
    pub contents: Option<String>,
    /// Held until the plan is recorded, if the plan is large.
    pub heavy: Option<OwnedSemaphorePermit>,
    /// Other changes that the modules made. They are void if the modules failed.
    pub effects: PlanEffects,
    /// The calls of modules, if they are noted.
    pub calls: NotedCalls,
    /// Whether a dry run lacked the recorded answer to a request.
    pub lacks_answer: bool,
}

/// An endpoint that the flow chose, and how the event goes to it. Nothing is sent to a disabled
/// endpoint.
pub type ChosenDelivery<'a> = (&'a EndpointRuntime, EndpointDispatch);

/// The failure of a flow's modules.
#[derive(Debug)]
pub struct ModulesFailed {
    /// The reason in a word.
    pub reason: &'static str,
    /// The reason in a sentence.
    pub detail: String,
    /// Largest number of further tries.
    pub most_retries: usize,
    /// Wait before the next try, if the module stated one.
    pub after: Option<Duration>,
    /// Whether the event waits until a module's breaker is closed. This does not count as a try.
    pub is_parked: bool,
}

/// One step of the trace.
#[derive(Debug, Serialize)]
pub struct TraceStep<'a> {
    module: Option<&'a str>,
    version: Option<u32>,
    role: &'a str,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    duration_us: u32,
    /// The endpoint, if the step is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<EndpointId>,
    /// Whether nothing was sent because the endpoint is disabled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    /// The draft that the module received. Omitted if it received the event as captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<EventId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogLine>,
}

/// The reason of a plan that fails by the output of its modules.
pub(super) const MODULE_OUTPUT: &str = "module_output";

/// A number of tries that never ends before the schedule does.
const AS_SCHEDULED: usize = usize::MAX;

impl ModulesFailed {
    pub(super) fn of_module(failure: &ModuleFailure, module: &str) -> Self {
        let (most_retries, after) = match failure {
            ModuleFailure::Declared { retryable: true, after, .. } => (AS_SCHEDULED, *after),
            ModuleFailure::Host { .. } => (AS_SCHEDULED, None),
            // The machine may have been busy.
            ModuleFailure::Timeout { .. } => (1, Some(Duration::from_secs(1))),
            // A module is a function of its event, so it would fail the same way again.
            ModuleFailure::Trap { .. }
            | ModuleFailure::Memory { .. }
            | ModuleFailure::Output { .. }
            | ModuleFailure::Declared { retryable: false, .. } => (0, None),
        };
        let detail = format!("module `{module}`: {failure}");
        Self { reason: failure.reason(), detail, most_retries, after, is_parked: false }
    }

    /// Allows one more try after a failure in a reused instance: an earlier event may have caused it,
    /// and the next try gets a fresh instance.
    pub(super) fn or_in_fresh_instance(self, is_reused: bool) -> Self {
        match self.most_retries {
            0 if is_reused => Self { most_retries: 1, after: Some(Duration::ZERO), ..self },
            _ => self,
        }
    }

    /// Describes a failure of the host rather than of a module.
    pub(super) fn of_host(failure: &ModuleFailure) -> Self {
        let (reason, detail) = (failure.reason(), failure.to_string());
        Self { reason, detail, most_retries: AS_SCHEDULED, after: None, is_parked: false }
    }

    pub(super) fn unusable(why: &ModuleUnusable, module: &str) -> Self {
        match why {
            ModuleUnusable::Missing(why) => {
                let detail = format!("{why}; upload or activate it, then replay");
                Self {
                    reason: "module_missing",
                    detail,
                    most_retries: 0,
                    after: None,
                    is_parked: false,
                }
            }
            ModuleUnusable::NotLoaded(_) => {
                let detail = format!("module `{module}`: {why}");
                let most_retries = AS_SCHEDULED;
                Self {
                    reason: "module_failure",
                    detail,
                    most_retries,
                    after: None,
                    is_parked: false,
                }
            }
        }
    }

    pub(super) fn output(module: &str, what: &str) -> Self {
        let detail = format!("module `{module}`: {what}");
        Self { reason: MODULE_OUTPUT, detail, most_retries: 0, after: None, is_parked: false }
    }

    /// Describes an event during which the process died too often.
    pub fn crashed(deaths: i32) -> Self {
        let detail = format!(
            "the process died {deaths} times while the flow's modules ran on this event, so they do not run again by \
             themselves"
        );
        Self { reason: "crashed_the_host", detail, most_retries: 0, after: None, is_parked: false }
    }
}

impl<'a> TraceStep<'a> {
    /// Describes a step of a module.
    pub fn of_module(label: RunLabel<'a>, step: ModuleStep) -> Self {
        Self {
            module: Some(label.module),
            version: Some(label.version),
            role: step.role.name(),
            verdict: step.verdict.name().to_owned(),
            reason: step.reason,
            duration_us: step.micros,
            endpoint_id: None,
            disabled: false,
            draft: label.draft,
            logs: step.logs,
        }
    }

    /// Describes a step of the host.
    pub fn of_host(role: &'a str, verdict: &str, reason: String) -> Self {
        Self {
            module: None,
            version: None,
            role,
            verdict: verdict.to_owned(),
            reason: Some(reason),
            duration_us: 0,
            endpoint_id: None,
            disabled: false,
            draft: None,
            logs: Vec::new(),
        }
    }

    /// Describes a module that did not run because its breaker is open.
    pub fn of_breaker(label: RunLabel<'a>, verdict: &str, reason: String) -> Self {
        let (module, version) = (Some(label.module), Some(label.version));
        let step = Self::of_host("breaker", verdict, reason);
        Self { module, version, draft: label.draft, ..step }
    }

    /// Describes that nothing goes to a disabled endpoint.
    pub(super) fn of_disabled(target: &EndpointRuntime) -> Self {
        let reason = format!("endpoint `{}` is disabled", target.endpoint.settings.name);
        let verdict = wasm::RoleVerdict::Dropped.name();
        Self { disabled: true, ..Self::of_endpoint(target, verdict, reason) }
    }

    /// Describes why nothing goes to one endpoint.
    pub(super) fn of_endpoint(target: &EndpointRuntime, verdict: &str, reason: String) -> Self {
        let endpoint_id = Some(target.endpoint.id);
        Self { endpoint_id, ..Self::of_host("endpoint", verdict, reason) }
    }

    /// Returns whether the step says why the event does not go on.
    pub(super) fn is_end(&self) -> bool {
        self.verdict == wasm::RoleVerdict::Failed.name() || self.verdict == PARKED
    }
}

impl FlowOutcome {
    /// Describes a flow that was deleted while the event waited.
    pub fn gone() -> Self {
        let reason = "the flow was deleted before its modules ran".to_owned();
        let step = TraceStep::of_host("flow", wasm::RoleVerdict::Dropped.name(), reason);
        Self::of_step(Ok(Vec::new()), step)
    }

    /// Describes a failure before any module ran.
    pub fn failed(failed: ModulesFailed) -> Self {
        let failure = wasm::RoleVerdict::Failed.name();
        let step = TraceStep::of_host("flow", failure, failed.detail.clone());
        Self::of_step(Err(failed), step)
    }
}

impl<D> FlowOutcome<D> {
    /// Describes an event that the flow's `where` excludes.
    pub fn kept_back(reason: String) -> Self {
        let step = TraceStep::of_host("flow", SKIPPED, reason);
        Self::of_step(Ok(Vec::new()), step)
    }

    /// Returns the outcome of a flow of which no module ran.
    fn of_step(result: Result<Vec<D>, ModulesFailed>, step: TraceStep<'_>) -> Self {
        let (effects, calls) = (PlanEffects::default(), NotedCalls::default());
        let (steps, lacks_answer) = (steps_json(&[step]), false);
        Self { result, steps, contents: None, heavy: None, effects, calls, lacks_answer }
    }
}

pub(super) fn steps_json(steps: &[TraceStep<'_>]) -> String {
    serde_json::to_string(steps).unwrap_or_else(|_| "[]".to_owned())
}
