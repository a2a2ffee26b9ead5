//! The chosen step beside the timeline: the captured data, a module's result, or an attempt.

use super::answer::{capitalise, tell_failure};
use super::module_output::draw_output;
use super::steps::{EventTimeline, endpoint_of, is_success, verdict_sign};
use crate::admin::call::PageCall;
use crate::admin::deliveries::status_sign;
use crate::admin::module_address;
use crate::admin::signs::StateSign;
use crate::admin::texts::{
    draw_age, draw_clock, draw_code, draw_due, draw_id, draw_prose, draw_time, indent_json,
    tell_millis, tell_number,
};
use crate::api::deliveries::AttemptView;
use crate::api::problem::ApiProblem;
use crate::api::sent_body::RemadeBody;
use crate::api::trace::{DeliveryTrace, EventTrace};
use maud::{Markup, html};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Most lines of a module's log that are shown.
const MOST_LOG_LINES: usize = 200;
/// The tab of an attempt with the body that was sent.
pub const BODY_TAB: &str = "body";
/// The tab of an attempt that is shown first.
pub const FIRST_TAB: &str = "response";

/// Draws the step with this key. Returns `None` if the trace has no such step.
pub fn draw_detail(
    call: &PageCall,
    timeline: &EventTimeline<'_>,
    key: &str,
    (tab, sent): (&str, Option<&RemadeResult>),
    address: &str,
) -> Option<Markup> {
    let trace = timeline.trace;
    if key == "capture" {
        return Some(draw_capture(call, trace));
    }
    if let Some(n) = key.strip_prefix('s') {
        return draw_said(timeline, n.parse().ok()?);
    }
    let (delivery, attempt) = find_attempt(trace, key)?;
    let here = format!("{address}?step={key}");
    Some(match attempt {
        Some(attempt) => draw_attempt(call, (delivery, attempt), (tab, sent), &here),
        None => draw_delivery(call, delivery),
    })
}

/// Returns the delivery of a step, and the attempt that the step shows.
pub fn find_attempt<'t>(
    trace: &'t EventTrace,
    key: &str,
) -> Option<(&'t DeliveryTrace, Option<&'t AttemptView>)> {
    let (n, number) = key.strip_prefix('d')?.split_once('a').unzip();
    let n = n.or(key.strip_prefix('d'))?.parse::<usize>().ok()?;
    let delivery = trace.deliveries.get(n)?;
    let attempt = match (number, delivery.attempts.as_slice()) {
        (Some(number), attempts) => {
            let number = number.parse::<i32>().ok()?;
            Some(attempts.iter().find(|attempt| attempt.number == number)?)
        }
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    Some((delivery, attempt))
}

/// The body that an attempt sent, or why it cannot be reconstructed.
pub type RemadeResult = Result<RemadeBody, ApiProblem>;

fn draw_panel(title: &str, sign: StateSign, body: &Markup) -> Markup {
    html! {
        section class="panel" id="detail" aria-labelledby="dh" {
            header { h2 id="dh" { (title) } (sign.draw_pill()) }
            (body)
        }
    }
}

/// Draws the id of the event's trace, as a link where the tracing system is known.
fn draw_trace_id(trace: &EventTrace) -> Markup {
    html! {
        @if let Some(id) = &trace.trace_id {
            dt { "Trace" }
            dd {
                @match &trace.trace_url {
                    Some(address) => a href=(address) rel="noreferrer" { code { (id) } },
                    None => code { (id) },
                }
            }
        }
    }
}

fn draw_capture(call: &PageCall, trace: &EventTrace) -> Markup {
    let event = &trace.event;
    let sign = StateSign { word: "Stored", ..StateSign::WELL };
    let fact = |label: &str, value: Option<&str>| {
        html! { @if let Some(value) = value { dt { (label) } dd { code { (value) } } } }
    };
    let body = html! {
        div class="in stack-s" {
            dl class="facts" {
                (fact("Id", Some(&event.id.to_string())))
                (fact("Type", Some(&event.event_type)))
                (fact("Source", Some(&event.source)))
                (fact("Resource", event.resource.as_deref()))
                (fact("Record", event.resource_id.as_deref()))
                (fact("Source's own id", event.external_id.as_deref()))
                (draw_trace_id(trace))
                @if let Some(at) = event.occurred_at {
                    dt { "Happened" } dd { (draw_age(call.now, at)) }
                }
                dt { "Captured" }
                dd { (draw_time(event.received_at, &event.received_at.to_string())) }
                dt { "Taken by" }
                dd {
                    (tell_number(event.matched.into(), "flow or endpoint", "flows and endpoints"))
                }
            }
            @if let Some(at) = event.payload_pruned_at {
                p class="hint" {
                    "Its data was pruned "
                    (draw_age(call.now, at)) "; it cannot be replayed any more."
                }
            } @else {
                h3 { "Data" }
                (draw_code("Data", &indent_json(event.data.get())))
            }
            @if let Some(changes) = &event.changes {
                h3 { "What changed" }
                (draw_code("What changed", &indent_json(changes.get())))
            }
            @if let Some(attributes) = &event.attributes {
                h3 { "Attributes" }
                (draw_code("Attributes", &indent_json(attributes.get())))
            }
        }
    };
    draw_panel("Captured", sign, &body)
}

fn draw_said(timeline: &EventTimeline<'_>, n: usize) -> Option<Markup> {
    let step = timeline.said.get(n)?;
    let sign = verdict_sign(&step.verdict);
    let title = match (&step.module, step.version) {
        (Some(module), Some(version)) => format!("{module} v{version}"),
        (Some(module), None) => module.clone(),
        (None, _) => format!("Waybill, {}", step.role),
    };
    let hidden = step.logs.len().saturating_sub(MOST_LOG_LINES);
    let captured: Value = serde_json::from_str(timeline.trace.event.data.get()).unwrap_or_default();
    let body = html! {
        div class="in stack-s" {
            @if let Some(reason) = &step.reason { p { (draw_prose(&capitalise(reason))) } }
            dl class="facts" {
                dt { "Verdict" } dd { (step.verdict) }
                @if step.module.is_some() {
                    dt { "Role" } dd { (step.role) }
                    dt { "Took" } dd { (tell_millis(f64::from(step.duration_us) / 1e3)) }
                }
                dt { "Recorded" } dd { (draw_clock(step.at)) }
                @if let Some(flow) = &step.flow { dt { "Flow" } dd { (flow) } }
            }
            (draw_output(&timeline.said, n, &captured))
            h3 { "Log" }
            @if step.logs.is_empty() { p class="hint" { "The module wrote no log." } }
            div class="log" {
                @for line in step.logs.iter().take(MOST_LOG_LINES) {
                    @let level = format!("{:?}", line.level).to_lowercase();
                    span class="meta" {}
                    span class={ @if level == "warn" { "warn" } @else if level == "error" { "bad" } } {
                        (level)
                    }
                    span {
                        (line.message)
                        @for (name, value) in &line.fields {
                            " " span class="soft" { (name) "=" (value) }
                        }
                    }
                }
            }
            @if hidden > 0 {
                p class="hint" {
                    (tell_number(hidden as u64, "more line", "more lines")) " in the API's trace."
                }
            }
            @if let Some(module) = &step.module {
                div class="row" {
                    a class="btn small" href=(module_address(module)) { "Open the module" }
                }
            }
        }
    };
    Some(draw_panel(&title, sign, &body))
}

fn draw_delivery(call: &PageCall, delivery: &DeliveryTrace) -> Markup {
    let view = &delivery.delivery;
    let title = format!("Delivery to {}", endpoint_of(delivery));
    let body = html! {
        div class="in stack-s" {
            dl class="facts" {
                dt { "Delivery" } dd { code { (view.id) } }
                dt { "Sent as" } dd { code { (view.event_type) } }
                dt { "Planned" } dd { (draw_clock(view.created_at)) }
                dt { "Attempts" } dd { (view.attempt_count) }
                @if let Some(due) = view.due_at { dt { "Next" } dd { (draw_due(call.now, due)) } }
                @if let Some(end) = view.settled_at { dt { "Ended" } dd { (draw_clock(end)) } }
                @if view.collapsed > 0 {
                    dt { "Collapsed" } dd { (view.collapsed) " older deliveries into this one" }
                }
            }
            @if let Some(last) = delivery.attempts.last().filter(|last| !is_success(last)) {
                p { "The last attempt failed: " (tell_failure(last)) "." }
            }
            p class="hint" {
                "The same id goes with every attempt, as "
                code { "webhook-id" }
                ", so a receiver can tell repeats."
            }
        }
    };
    draw_panel(&title, status_sign(&delivery.delivery), &body)
}

fn draw_attempt(
    call: &PageCall,
    (delivery, attempt): (&DeliveryTrace, &AttemptView),
    (tab, sent): (&str, Option<&RemadeResult>),
    here: &str,
) -> Markup {
    let sign = if is_success(attempt) { StateSign::ANSWERED } else { StateSign::REFUSED };
    let title = format!("Attempt {} to {}", attempt.number, endpoint_of(delivery));
    let tabs = [(FIRST_TAB, "Response"), ("sent", "Headers sent"), (BODY_TAB, "Body sent")];
    let body = html! {
        nav class="tabs" aria-label="Parts of this attempt" {
            @for (name, label) in tabs {
                a href={ (here) "&tab=" (name) "#detail" }
                aria-current=[(tab == name).then_some("true")] { (label) }
            }
        }
        @if tab == "sent" {
            (draw_headers("Headers sent", attempt.request_headers.as_deref()))
        } @else if let Some(sent) = sent {
            (draw_body(sent))
        } @else {
            (draw_response(call, delivery, attempt))
        }
    };
    draw_panel(&title, sign, &body)
}

fn draw_body(sent: &RemadeResult) -> Markup {
    html! {
        div class="in stack-s" {
            @match sent {
                Ok(body) => {
                    p class="hint" {
                        @if body.is_proven {
                            "Reconstructed from stored data. Its signatures match those that were \
                             sent, so it is the same to the byte."
                        } @else {
                            "Reconstructed from stored data and the endpoint's current settings. Its \
                             signatures do not match those that were sent: endpoint, secret or version \
                             have changed since, so it may differ from what was sent."
                        }
                    }
                    dl class="facts" { dt { "Content type" } dd { code { (body.content_type) } } }
                    (draw_code("Body that was sent", &indent_json(&body.text)))
                    p class="hint" { "Line breaks are added here for reading." }
                }
                Err(problem) => p class="hint" { "It cannot be made again: " (problem.detail) "." },
            }
        }
    }
}

fn draw_response(call: &PageCall, delivery: &DeliveryTrace, attempt: &AttemptView) -> Markup {
    html! {
        div class="in stack-s" {
            @if !is_success(attempt) { p { (capitalise(&tell_failure(attempt))) "." } }
            dl class="facts" {
                @if let Some(status) = attempt.response_status { dt { "Status" } dd { (status) } }
                @if let Some(class) = &attempt.error_class {
                    dt { "Kind of failure" } dd { code { (class) } }
                }
                @if let Some(id) = &attempt.receiver_id {
                    dt { "Receiver's id" } dd { code { (id) } }
                }
                dt { "Started" }
                dd { (draw_clock(attempt.at)) ", " (draw_age(call.now, attempt.at)) }
                dt { "Took" } dd { (tell_millis(attempt.duration_ms)) }
                dt { "Delivery" }
                dd { (draw_id(&delivery.delivery.id, "#detail")) ", the same at every attempt" }
            }
            @if let Some(body) = &attempt.response_body {
                h3 { "Body" }
                @if body.is_empty() { p class="hint" { "The answer had no body." } }
                @else {
                    (draw_code("Body of the answer", body))
                    p class="hint" { "At most the first 16 KiB are stored." }
                }
            }
        }
        @if attempt.response_headers.is_some() {
            (draw_headers("Headers of the answer", attempt.response_headers.as_deref()))
        }
    }
}

/// Draws headers as a table. A header that came more than once has a list of values.
fn draw_headers(caption: &str, headers: Option<&RawValue>) -> Markup {
    let read: Map<String, Value> =
        headers.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    html! {
        @if read.is_empty() { p class="in hint" { "No headers are stored." } }
        @else {
            table class="t hdrs" {
                caption class="vh" { (caption) }
                thead class="vh" { tr { th scope="col" { "Header" } th scope="col" { "Value" } } }
                tbody {
                    @for (name, value) in &read {
                        tr { td { (name) } td { (tell_value(value)) } }
                    }
                }
            }
        }
    }
}

fn tell_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
