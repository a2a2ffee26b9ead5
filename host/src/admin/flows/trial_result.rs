//! The result of a dry run of a flow, step by step, with what each module changed in the payload.

use crate::admin::call::PageCall;
use crate::admin::events::event_address;
use crate::admin::events::steps::verdict_sign;
use crate::admin::payload_changes::draw_changes;
use crate::admin::signs::StateSign;
use crate::admin::texts::{draw_code, draw_id, draw_prose, indent_json, tell_millis, tell_number};
use crate::api::dry_run::{DryDispatch, DryRunAnswer};
use crate::api::trace::TraceLine;
use maud::{Markup, html};
use serde_json::Value;

/// Most steps, and most deliveries, that are shown.
const MOST_PARTS: usize = 50;
/// Most lines of a module's log that are shown.
const MOST_LOG_LINES: usize = 50;

/// Returns the sign of how a dry run ended.
pub fn end_sign(end: &str) -> StateSign {
    match end {
        "planned" => StateSign { word: "Would be sent", ..StateSign::WELL },
        "failed" => StateSign { word: "Failed", ..StateSign::FAILING },
        _ => StateSign::DROPPED,
    }
}

/// Draws the result.
pub fn draw_result(_call: &PageCall, answer: &DryRunAnswer) -> Markup {
    let id = answer.event.id.to_string();
    let captured: Value = serde_json::from_str(answer.event.data.get()).unwrap_or_default();
    let mut before = captured;
    let mut steps = Vec::new();
    for line in answer.steps.iter().take(MOST_PARTS) {
        let after = returned_data(line);
        steps.push(draw_step(line, &before, &after));
        // If a module returns a single draft, the next module gets it.
        if let [only] = after.as_slice() {
            before = only.clone();
        }
    }
    html! {
        section class="panel" id="result" aria-labelledby="res" {
            header {
                h2 id="res" { "Result" }
                span class="row" { (draw_id(&id, &event_address(&id))) (end_sign(answer.end).draw_pill()) }
            }
            div class="in stack-s" {
                @if let Some(why) = &answer.not_taken { p class="warn" { "In live operation the flow would not get this event: " (draw_prose(why)) "." } }
                @if let Some(failure) = &answer.failure {
                    p class="bad" { (draw_prose(&failure.detail)) }
                    p class="hint" {
                        "The reason of its dead letter would be " code { (failure.reason) } "."
                        @if failure.retried { " The modules would first run again by themselves." }
                    }
                }
                @if answer.steps.is_empty() { p class="hint" { "No module ran." } }
                @for step in steps { (step) }
            }
        }
        section class="panel" aria-labelledby="would" {
            header { h2 id="would" { (tell_number(answer.dispatches.len() as u64, "delivery", "deliveries")) " would follow" } }
            div class="in stack-s" {
                @for dispatch in answer.dispatches.iter().take(MOST_PARTS) { (draw_dispatch(dispatch)) }
                @if answer.dispatches.is_empty() { p class="hint" { "Nothing would be sent." } }
            }
        }
    }
}

/// Returns the payloads of the drafts that a step returned. A draft that was passed on unchanged
/// has none.
fn returned_data(line: &TraceLine) -> Vec<Value> {
    let drafts = line.get("drafts").and_then(|drafts| serde_json::from_str(drafts.get()).ok());
    let Some(Value::Array(drafts)) = drafts else { return Vec::new() };
    drafts.into_iter().filter_map(|mut draft| draft.get_mut("data").map(Value::take)).collect()
}

fn draw_step(line: &TraceLine, before: &Value, after: &[Value]) -> Markup {
    let text = serde_json::to_string(line).unwrap_or_default();
    let Ok(step) = serde_json::from_str::<TrialStep>(&text) else { return html! {} };
    html! {
        h3 {
            (step.module.as_deref().unwrap_or("Waybill"))
            @if let Some(version) = step.version { " v" (version) }
            " " (verdict_sign(&step.verdict).draw())
        }
        p class="hint" {
            (step.role) ", " (tell_millis(f64::from(step.duration_us) / 1e3))
            @if let Some(reason) = &step.reason { ". " (draw_prose(reason)) }
        }
        @for (n, data) in after.iter().enumerate() {
            @if after.len() > 1 { p class="s" { "Draft " (n + 1) } }
            (draw_changes(before, data))
        }
        @for log in step.logs.iter().take(MOST_LOG_LINES) { p class="mono s" { (log.message) } }
    }
}

/// A step as pages read it. Unlike a step of a trace, it has no time.
#[derive(serde::Deserialize)]
struct TrialStep {
    module: Option<String>,
    version: Option<u32>,
    #[serde(default)]
    role: String,
    #[serde(default)]
    verdict: String,
    reason: Option<String>,
    #[serde(default)]
    duration_us: u32,
    #[serde(default)]
    logs: Vec<crate::wasm::LogLine>,
}

fn draw_dispatch(dispatch: &DryDispatch) -> Markup {
    let sign = if dispatch.would_send {
        StateSign { word: "Would be sent", ..StateSign::WELL }
    } else {
        StateSign::NOT_SENT
    };
    html! {
        div class="stack-s" {
            p { b { (dispatch.endpoint) } " " (sign.draw()) " " code { (dispatch.event_type) } }
            @if let Some(reason) = &dispatch.reason { p class="hint" { (draw_prose(reason)) } }
            @if let Some(body) = &dispatch.body {
                details class="more" {
                    summary {
                        "The body"
                        @if let Some(kind) = &dispatch.content_type { ", " (kind) }
                    }
                    (draw_code("The body that would be sent", &indent_json(body.get())))
                }
            }
        }
    }
}
