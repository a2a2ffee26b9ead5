//! Asks the breaker of a module before the module runs, and reports how the call ended.

use super::outcome::{ModulesFailed, TraceStep};
use super::{FlowPlanner, RunCourse};
use crate::model::module_breaker::OpenBreakerAction;
use crate::pipeline::bounds::RunLabel;
use crate::settings::ModuleStage;
use crate::settings::module_breakers::{AdmittedCall, BreakerVerdict};
use crate::time::timestamp::Timestamp;
use crate::wasm::{RoleVerdict, RunEnd};

/// The verdict of a step for an event that goes on without the module.
const PASSED: &str = "passed";
/// The verdict of a step for an event that waits.
pub(super) const PARKED: &str = "parked";
/// The reason of the dead letter of an event that did not reach its module.
const MODULE_OPEN: &str = "module_open";

/// Whether a module runs on an event.
pub(super) enum StageEntry<'s> {
    /// It runs. `None` in a dry run, which does not report to a breaker.
    Run(Option<AdmittedCall<'s>>),
    /// The event goes on without it.
    Pass,
}

impl<'a> FlowPlanner<'a> {
    /// Asks the breaker of a module. In a flow that parks, the event waits for a running trial, so
    /// that the events after a success do not go back to the table first.
    pub(super) async fn enter(
        &self,
        stage: &'a ModuleStage,
        label: RunLabel<'a>,
        course: &mut RunCourse<'a, '_>,
    ) -> Result<StageEntry<'a>, ModulesFailed> {
        let (Some(clock), Some(breaker)) = (self.clock, &stage.breaker) else {
            return Ok(StageEntry::Run(None));
        };
        let action = stage.when_open();
        let verdict = match action {
            OpenBreakerAction::Park => {
                course.wait(breaker.admit_after_trial(|| clock.now())).await?
            }
            OpenBreakerAction::DeadLetter | OpenBreakerAction::Pass => breaker.admit(clock.now()),
        };
        if let BreakerVerdict::Run(call) = verdict {
            return Ok(StageEntry::Run(Some(call)));
        }
        stage.figures.note_kept_back(action);
        let reason = breaker.tell_refusal();
        let verdict = match action {
            OpenBreakerAction::DeadLetter => RoleVerdict::Failed.name(),
            OpenBreakerAction::Pass => PASSED,
            OpenBreakerAction::Park => PARKED,
        };
        let step = TraceStep::of_breaker(label, verdict, reason.clone());
        if action == OpenBreakerAction::Pass {
            course.work.note_host(course.steps, step);
            return Ok(StageEntry::Pass);
        }
        // Never left out, because it says why the event does not go on.
        course.steps.push(step);
        let is_parked = action == OpenBreakerAction::Park;
        Err(ModulesFailed {
            reason: MODULE_OPEN,
            detail: reason,
            most_retries: 0,
            after: None,
            is_parked,
        })
    }
}

/// Tells the breaker how a call ended.
pub(super) fn report_call(call: Option<AdmittedCall<'_>>, end: &RunEnd, now: Timestamp) {
    let Some(call) = call else { return };
    let failure = match end {
        RunEnd::Failed(failure) => Some(failure),
        RunEnd::Dropped { .. } | RunEnd::Out(_) => None,
    };
    call.report_failure(failure, now);
}
