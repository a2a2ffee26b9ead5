//! The spans of a plan: one for the run of the flow, and one below it for each call of a module.

use super::bounds::RunLabel;
use crate::metrics::flow_figures::PlanResult;
use crate::metrics::module_figures::CallOutcome;
use crate::model::trace_context::SpanId;
use crate::settings::FlowRuntime;
use crate::store::{ModuleFailed, RecordedPlan};
use crate::telemetry::span::{FinishedSpan, SpanAttributes, SpanKind};
use crate::telemetry::span_ids::{capture_span, failed_plan_span, module_span, plan_span};
use crate::telemetry::span_recorder::{SpanRecorder, TracedEvent};
use crate::time::timestamp::Timestamp;

/// Most calls of a plan that have spans. A plan may make 1,000 calls for each of its modules.
const MOST_CALLS: usize = 100;

/// The calls that modules got in one plan.
#[derive(Debug, Default)]
pub struct NotedCalls {
    calls: Vec<NotedCall>,
    left_out: u32,
}

#[derive(Debug)]
struct NotedCall {
    module: String,
    version: u32,
    outcome: CallOutcome,
    /// The class of the failure, if the call failed.
    failure: Option<&'static str>,
    began: Timestamp,
    ended: Timestamp,
}

impl NotedCalls {
    /// Notes a call, or counts it if there are many.
    pub fn note_call(
        &mut self,
        label: RunLabel<'_>,
        (outcome, failure): (CallOutcome, Option<&'static str>),
        (began, ended): (Timestamp, Timestamp),
    ) {
        if self.calls.len() >= MOST_CALLS {
            self.left_out += 1;
            return;
        }
        let (module, version) = (label.module.to_owned(), label.version);
        self.calls.push(NotedCall { module, version, outcome, failure, began, ended });
    }
}

/// A plan whose spans will be recorded.
#[derive(Debug)]
pub struct PlanTrace<'a> {
    recorder: &'a SpanRecorder,
    calls: NotedCalls,
    /// Number of the try, from 1.
    attempt: i32,
}

impl<'a> PlanTrace<'a> {
    /// Returns the trace of a plan, if spans are recorded.
    pub fn begin(
        recorder: Option<&'a SpanRecorder>,
        calls: NotedCalls,
        attempt: i32,
    ) -> Option<Self> {
        Some(Self { recorder: recorder?, calls, attempt })
    }

    /// Makes the spans of a plan that is about to be stored.
    pub fn describe(
        self,
        planned: &RecordedPlan,
        route: Option<&FlowRuntime>,
        result: PlanResult,
    ) -> DescribedPlan<'a> {
        let Self { recorder, calls, attempt } = self;
        let (event, flow) = (planned.event.id, planned.flow);
        let traced = recorder.trace_event(&planned.event);
        // The modules of a parked event did not run.
        let is_parked = matches!(planned.failed, Some(ModuleFailed::Parked(_)));
        if !traced.is_sampled || is_parked {
            return DescribedPlan { recorder, plan: None, calls: Vec::new() };
        }
        let span = match planned.failed {
            None => plan_span(event, flow),
            Some(_) => failed_plan_span(event, flow, attempt),
        };
        let name = route.map(|route| route.flow.settings.name.as_str());
        let attributes = SpanAttributes::default()
            .with_text("waybill.event.id", event.to_string())
            .with_text("waybill.flow.id", flow.to_string())
            .with_optional_text("waybill.flow.name", name)
            .with_text("waybill.plan.result", result.name())
            .with_number("waybill.plan.try", attempt)
            .with_number("waybill.plan.deliveries", count(planned.deliveries.len()))
            .with_number("waybill.plan.calls_left_out", calls.left_out);
        let plan = FinishedSpan {
            context: traced.context(span),
            parent: Some(capture_span(event)),
            is_parent_remote: false,
            name: "plan",
            kind: SpanKind::Internal,
            began: planned.at,
            ended: planned.at,
            attributes,
            failure: planned.failed.as_ref().map(tell_failure),
        };
        let calls = calls.calls.into_iter().enumerate();
        let calls = calls.map(|(n, call)| call.describe(traced, span, n)).collect();
        DescribedPlan { recorder, plan: Some(plan), calls }
    }
}

impl NotedCall {
    fn describe(self, traced: TracedEvent, plan: SpanId, number: usize) -> FinishedSpan {
        FinishedSpan {
            context: traced.context(module_span(plan, number)),
            parent: Some(plan),
            is_parent_remote: false,
            name: "module",
            kind: SpanKind::Internal,
            began: self.began,
            ended: self.ended,
            attributes: SpanAttributes::default()
                .with_text("waybill.module.name", self.module)
                .with_number("waybill.module.version", self.version)
                .with_text("waybill.module.outcome", self.outcome.name()),
            failure: self.failure,
        }
    }
}

/// The spans of a plan that is being stored.
#[derive(Debug)]
pub struct DescribedPlan<'a> {
    recorder: &'a SpanRecorder,
    /// `None` if the trace is not recorded.
    plan: Option<FinishedSpan>,
    calls: Vec<FinishedSpan>,
}

impl DescribedPlan<'_> {
    /// Records the spans once the plan is stored. The plan's span ends now.
    pub fn record(self) {
        let Some(plan) = self.plan else { return };
        let ended = self.recorder.now();
        self.recorder.record(FinishedSpan { ended, ..plan });
        self.calls.into_iter().for_each(|call| self.recorder.record(call));
    }
}

const fn tell_failure(failed: &ModuleFailed) -> &'static str {
    match failed {
        ModuleFailed::Retry(_) => "retry",
        ModuleFailed::Parked(_) => "parked",
        ModuleFailed::Dead { reason, .. } => reason,
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
