//! The span of an attempt, whose context its receiver continues.

use super::attempt::MadeAttempt;
use crate::model::delivery::AttemptOutcome;
use crate::model::private_values::mask_url;
use crate::model::trace_context::{SpanContext, SpanId};
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::prefetch::LeasedDelivery;
use crate::telemetry::span::{FinishedSpan, SpanAttributes, SpanKind};
use crate::telemetry::span_ids::{capture_span, plan_span};
use crate::telemetry::span_recorder::SpanRecorder;

/// Records the span of an attempt that has ended.
pub fn record_attempt_span(
    recorder: &SpanRecorder,
    settings: &SettingsSnapshot,
    target: &EndpointRuntime,
    leased: &LeasedDelivery,
    made: &MadeAttempt,
    outcome: &AttemptOutcome,
) {
    let attempt = &made.attempt;
    let context = recorder.attempt_context(&leased.event, leased.id, attempt.number);
    if !context.is_sampled {
        return;
    }
    recorder.record(FinishedSpan {
        context,
        parent: Some(find_parent(settings, leased)),
        is_parent_remote: false,
        name: "attempt",
        kind: SpanKind::Client,
        began: attempt.at,
        ended: attempt.at.after(attempt.duration),
        attributes: describe_attempt(target, leased, made)
            .with_text("waybill.attempt.outcome", tell_outcome(outcome)),
        failure: attempt.error_class,
    });
}

/// Returns the context of the next attempt at a delivery, if spans are recorded.
pub fn next_attempt_context(
    recorder: Option<&SpanRecorder>,
    leased: &LeasedDelivery,
) -> Option<SpanContext> {
    let recorder = recorder?;
    Some(recorder.attempt_context(&leased.event, leased.id, leased.attempts + 1))
}

/// Returns the span that made the delivery: the plan of a flow with modules, or the capture.
fn find_parent(settings: &SettingsSnapshot, leased: &LeasedDelivery) -> SpanId {
    let event = leased.event.id;
    let planned = leased
        .flow
        .filter(|flow| settings.find_flow(*flow).is_some_and(|route| !route.modules.is_empty()));
    planned.map_or_else(|| capture_span(event), |flow| plan_span(event, flow))
}

/// Returns the attributes of an attempt. Its URL is masked as on the pages; the texts of its errors
/// are left out, because receivers write some of them.
fn describe_attempt(
    target: &EndpointRuntime,
    leased: &LeasedDelivery,
    made: &MadeAttempt,
) -> SpanAttributes {
    let (settings, attempt) = (&target.endpoint.settings, &made.attempt);
    let attributes = SpanAttributes::default()
        .with_text("waybill.event.id", leased.event.id.to_string())
        .with_text("waybill.delivery.id", leased.id.to_string())
        .with_text("waybill.endpoint.name", settings.name.as_str())
        .with_text("waybill.endpoint.kind", settings.kind.as_str())
        .with_number("waybill.attempt.number", attempt.number)
        .with_text("url.full", mask_url(&settings.url));
    let host = target.uri.as_ref().ok().and_then(|uri| uri.host());
    let attributes = attributes.with_optional_text("server.address", host);
    match attempt.response_status {
        Some(status) => attributes.with_number("http.response.status_code", status),
        None => attributes,
    }
}

const fn tell_outcome(outcome: &AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Delivered => "delivered",
        AttemptOutcome::Retry { .. } => "retry",
        AttemptOutcome::HeldBack { .. } => "held_back",
        AttemptOutcome::Dead { reason } => reason,
    }
}
