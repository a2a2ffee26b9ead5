//! What happened to an event, in a sentence, and one line for each endpoint that got it or did not.

use super::steps::{EventTimeline, SaidStep, endpoint_of, is_settled, is_success, tell_attempt};
use crate::admin::call::PageCall;
use crate::admin::deliveries::status_sign;
use crate::admin::endpoint_address;
use crate::admin::layout::draw_button;
use crate::admin::signs::StateSign;
use crate::admin::texts::{draw_due, tell_millis, tell_number};
use crate::api::deliveries::AttemptView;
use crate::api::trace::DeliveryTrace;
use crate::model::delivery::DeliveryStatus;
use maud::{Markup, html};

/// Most deliveries, and most reasons, with a line of their own.
const MOST_LINES: usize = 50;
/// Most endpoints that a sentence names.
const MOST_NAMES: usize = 4;

/// Draws the answer to "what happened, and why was this not sent?".
pub fn draw_answer(call: &PageCall, timeline: &EventTimeline<'_>, address: &str) -> Markup {
    let deliveries = &timeline.trace.deliveries;
    let unsent: Vec<(usize, &SaidStep)> =
        timeline.said.iter().enumerate().filter(|(_, step)| keeps_back(step)).collect();
    let hidden = deliveries.len().saturating_sub(MOST_LINES);
    html! {
        section class="panel answer" aria-labelledby="what" {
            h2 id="what" class="vh" { "What happened" }
            p { (tell_answer(timeline)) }
            @if !deliveries.is_empty() || !unsent.is_empty() {
                ul {
                    @for delivery in deliveries.iter().take(MOST_LINES) {
                        (draw_delivery_line(call, delivery))
                    }
                    @for (n, step) in unsent.into_iter().take(MOST_LINES) {
                        (draw_unsent_line(n, step, address))
                    }
                }
            }
            @if hidden > 0 {
                p class="meta s" {
                    (tell_number(hidden as u64, "more delivery", "more deliveries")) " below"
                }
            }
        }
    }
}

/// Whether a step is the reason that something was not sent.
fn keeps_back(step: &SaidStep) -> bool {
    matches!(step.verdict.as_str(), "dropped" | "failed" | "suppressed" | "skipped")
}

/// Joins names of endpoints as in a sentence.
fn join_names(names: &[&str]) -> String {
    let hidden = names.len().saturating_sub(MOST_NAMES);
    let shown: Vec<&str> = names.iter().take(MOST_NAMES).copied().collect();
    match shown.as_slice() {
        _ if hidden > 0 => format!("{} and {hidden} more", shown.join(", ")),
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.concat(),
    }
}

fn tell_answer(timeline: &EventTimeline<'_>) -> Markup {
    let trace = timeline.trace;
    let in_status = |status: DeliveryStatus| -> Vec<&DeliveryTrace> {
        trace.deliveries.iter().filter(|one| one.delivery.status == status).collect()
    };
    let names = |list: &[&DeliveryTrace]| {
        let mut names: Vec<&str> = list.iter().map(|one| endpoint_of(one)).collect();
        names.dedup();
        join_names(&names)
    };
    let sent = in_status(DeliveryStatus::Delivered);
    let open: Vec<&DeliveryTrace> =
        trace.deliveries.iter().filter(|one| !is_settled(one)).collect();
    let dead = in_status(DeliveryStatus::Dead);
    let collapsed = in_status(DeliveryStatus::Superseded);
    let cancelled = in_status(DeliveryStatus::Cancelled);
    html! {
        @if trace.deliveries.is_empty() { (capitalise(&trace.summary)) ". " }
        @if !sent.is_empty() { "Sent to " (names(&sent)) (tell_delay(timeline, &sent)) ". " }
        @if !open.is_empty() {
            span class="warn" { (names(&open)) " " (has(open.len())) " not got it yet" }
            (tell_trouble(open.first().copied())) ". "
        }
        @if !dead.is_empty() {
            span class="bad" { (names(&dead)) " will not get it without you" }
            (tell_trouble(dead.first().copied())) ". "
        }
        @if !collapsed.is_empty() {
            "For " (names(&collapsed)) " a newer state of the record took its place. "
        }
        @if !cancelled.is_empty() { "The delivery to " (names(&cancelled)) " was called off. " }
        @for waiting in &trace.waiting {
            "The modules of " (waiting.flow) " have yet to run"
            @if waiting.failed_tries > 0 {
                ", after " (tell_number(waiting.failed_tries.into(), "failed try", "failed tries"))
            }
            ". "
        }
        @if !trace.deliveries.is_empty() {
            @for step in timeline.said.iter().filter(|step| keeps_back(step)).take(2) {
                (capitalise(&tell_reason(step))) ". "
            }
        }
    }
}

const fn has(count: usize) -> &'static str {
    if count == 1 { "has" } else { "have" }
}

/// Says how long the slowest of these deliveries took since the capture.
fn tell_delay(timeline: &EventTimeline<'_>, sent: &[&DeliveryTrace]) -> String {
    let ends = sent.iter().filter_map(|one| one.delivery.settled_at);
    let last = ends.max().map(|end| end.since(timeline.trace.event.received_at));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a few years")]
    let millis = last.map(|span| span.as_millis() as f64);
    millis.map(|millis| format!(" within {}", tell_millis(millis))).unwrap_or_default()
}

/// Says why the last attempt of a delivery failed.
fn tell_trouble(delivery: Option<&DeliveryTrace>) -> String {
    let last = delivery.and_then(|delivery| delivery.attempts.last());
    last.map(|attempt| format!(": {}", tell_failure(attempt))).unwrap_or_default()
}

/// Says why an attempt failed.
pub fn tell_failure(attempt: &AttemptView) -> String {
    match (&attempt.error, attempt.response_status) {
        (Some(error), _) => error.trim_end_matches('.').to_owned(),
        (None, Some(status)) => format!("the receiver answered {status}"),
        (None, None) => "there was no answer".to_owned(),
    }
}

fn tell_reason(step: &SaidStep) -> String {
    let reason = step.reason.as_deref().unwrap_or("no reason was given").trim_end_matches('.');
    match (&step.module, step.verdict.as_str()) {
        (Some(module), "failed") => format!("in {module}, {reason}"),
        (Some(module), _) => format!("the module {module} dropped it: {reason}"),
        (None, _) => reason.to_owned(),
    }
}

/// Returns the text with a capital first letter.
pub fn capitalise(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

fn draw_delivery_line(call: &PageCall, delivery: &DeliveryTrace) -> Markup {
    let view = &delivery.delivery;
    html! {
        li {
            @match &view.endpoint {
                Some(name) => a class="ep cut" href=(endpoint_address(name)) { (name) },
                None => span class="ep soft" { "a deleted endpoint" },
            }
            (status_sign(&delivery.delivery).draw())
            span class="tx soft" { (tell_delivery(call, delivery)) }
            span class="go" { (draw_actions(call, delivery)) }
        }
    }
}

fn tell_delivery(call: &PageCall, delivery: &DeliveryTrace) -> Markup {
    let view = &delivery.delivery;
    let attempts = tell_number(view.attempt_count.into(), "attempt", "attempts");
    let due = view.due_at.filter(|_| !is_settled(delivery));
    html! {
        @match (delivery.attempts.last(), view.status) {
            (Some(last), DeliveryStatus::Delivered) => {
                (tell_attempt(last))
                ", " @if view.attempt_count == 1 { "first attempt" } @else { (attempts) }
            }
            (Some(last), _) if !is_success(last) => { (tell_failure(last)) ", " (attempts) }
            _ => (attempts),
        }
        @if let Some(due) = due { ", next " (draw_due(call.now, due)) }
        @if view.collapsed > 0 {
            ", in place of " (tell_number(view.collapsed.into(), "older one", "older ones"))
        }
    }
}

/// Draws the next action for a delivery, if the token may take it.
fn draw_actions(call: &PageCall, delivery: &DeliveryTrace) -> Markup {
    let view = &delivery.delivery;
    let label = match view.status {
        DeliveryStatus::Pending => "Try now",
        DeliveryStatus::Dead => "Send again",
        DeliveryStatus::Leased
        | DeliveryStatus::Delivered
        | DeliveryStatus::Superseded
        | DeliveryStatus::Cancelled => "",
    };
    let may = call.may_post("/api/v1/deliveries/{id}/replay") && view.endpoint.is_some();
    html! {
        @if may && !label.is_empty() {
            (draw_button(call, &format!("/admin/deliveries/{}/replay", view.id), "small", label))
        }
    }
}

fn draw_unsent_line(n: usize, step: &SaidStep, address: &str) -> Markup {
    let sign = if step.verdict == "failed" {
        StateSign { word: "Failed", ..StateSign::FAILING }
    } else {
        StateSign::NOT_SENT
    };
    html! {
        li {
            span class="ep cut" {
                (step.module.as_deref().or(step.flow.as_deref()).unwrap_or("Waybill"))
            }
            (sign.draw())
            span class="tx soft" {
                (capitalise(step.reason.as_deref().unwrap_or("no reason was given")))
            }
            a class="btn small go" href={ (address) "?step=s" (n) "#detail" } { "See why" }
        }
    }
}
