//! The output of a module for an event: each draft as differences from the payload that the module
//! received, and each dispatch.

use super::steps::SaidStep;
use crate::admin::payload_changes::draw_changes;
use crate::admin::texts::{draw_code, tell_number};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Most drafts, and most dispatches, that are shown.
const MOST_PARTS: usize = 20;

/// A draft that a module returned, as the trace stores it.
#[derive(Debug, Clone, Deserialize)]
pub struct SaidDraft {
    id: String,
    #[serde(rename = "type")]
    event_type: Option<String>,
    resource_id: Option<String>,
    #[serde(default)]
    attributes: Map<String, Value>,
    /// Whether the payload equals the one that the module received.
    #[serde(default)]
    same_data: bool,
    data: Option<Value>,
    data_cut: Option<CutPayload>,
}

/// The beginning of a payload that was too long to store.
#[derive(Debug, Clone, Deserialize)]
struct CutPayload {
    /// Size of the whole payload in bytes.
    bytes: u64,
    beginning: String,
}

/// A dispatch that a module returned, as the trace stores it.
#[derive(Debug, Clone, Deserialize)]
pub struct SaidDispatch {
    endpoint: String,
    operation: Option<String>,
    #[serde(default)]
    delay_seconds: u64,
    dedupe_key: Option<String>,
    ordering_key: Option<String>,
    cancel_key: Option<String>,
}

/// Returns the payload that step `n` received. `captured` is the payload of the event. Returns
/// `None` if it is not stored.
fn find_input<'s>(steps: &'s [SaidStep], n: usize, captured: &'s Value) -> Option<&'s Value> {
    let step = steps.get(n)?;
    let mut payloads: HashMap<&str, Option<&Value>> = HashMap::new();
    let received = |payloads: &HashMap<&str, Option<&'s Value>>, step: &SaidStep| match &step.draft
    {
        Some(draft) => payloads.get(draft.as_str()).copied().flatten(),
        None => Some(captured),
    };
    let earlier = steps.iter().take(n).filter(|one| one.at == step.at && one.flow == step.flow);
    for one in earlier {
        let input = received(&payloads, one);
        for draft in &one.drafts {
            let payload = if draft.same_data { input } else { draft.data.as_ref() };
            payloads.insert(&draft.id, payload);
        }
    }
    received(&payloads, step)
}

/// Draws the output of step `n`. Draws nothing if the module passed the event on unchanged.
pub fn draw_output(steps: &[SaidStep], n: usize, captured: &Value) -> Markup {
    let Some(step) = steps.get(n) else { return html! {} };
    let input = find_input(steps, n, captured);
    html! {
        @if !step.drafts.is_empty() { h3 { "Changes" } }
        @for (n, draft) in step.drafts.iter().take(MOST_PARTS).enumerate() {
            @if step.drafts.len() > 1 { p class="s" { "Draft " (n + 1) } }
            (draw_draft(draft, input))
        }
        @if !step.dispatches.is_empty() { (draw_dispatches(&step.dispatches)) }
        @let hidden = count_hidden(step);
        @if hidden > 0 {
            p class="hint" { (tell_number(hidden, "more part", "more parts")) " of the output." }
        }
    }
}

fn count_hidden(step: &SaidStep) -> u64 {
    let beyond = |shown: usize| shown.saturating_sub(MOST_PARTS) as u64;
    step.left_out + beyond(step.drafts.len()) + beyond(step.dispatches.len())
}

fn draw_draft(draft: &SaidDraft, input: Option<&Value>) -> Markup {
    html! {
        dl class="facts" {
            @if let Some(event_type) = &draft.event_type { dt { "New type" } dd { code { (event_type) } } }
            @if let Some(record) = &draft.resource_id { dt { "New record" } dd { code { (record) } } }
            @for (name, value) in &draft.attributes {
                dt { (name) } dd { code { (value.as_str().unwrap_or_default()) } }
            }
        }
        @match (&draft.data, &draft.data_cut, input) {
            (Some(data), _, Some(input)) => (draw_changes(input, data)),
            (Some(data), _, None) => (draw_code("Payload", &format!("{data:#}"))),
            (None, Some(cut), _) => {
                p class="hint" {
                    "The payload has " (tell_number(cut.bytes, "byte", "bytes")) ". Only its beginning is stored."
                }
                (draw_code("Beginning of the payload", &cut.beginning))
            }
            (None, None, _) => p class="hint" { "The payload is the same." },
        }
    }
}

fn draw_dispatches(dispatches: &[SaidDispatch]) -> Markup {
    html! {
        h3 { "Destinations" }
        ul {
            @for dispatch in dispatches.iter().take(MOST_PARTS) {
                li {
                    b { (dispatch.endpoint) }
                    @if let Some(operation) = &dispatch.operation { ", operation " code { (operation) } }
                    @if dispatch.delay_seconds > 0 { ", after " (tell_number(dispatch.delay_seconds, "second", "seconds")) }
                    @for (label, key) in [
                        ("dedupe key", &dispatch.dedupe_key), ("ordering key", &dispatch.ordering_key),
                        ("cancel key", &dispatch.cancel_key),
                    ] {
                        @if let Some(key) = key { ", " (label) " " code { (key) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn steps(steps: &Value) -> Vec<SaidStep> {
        let with_time = |mut step: Value| {
            step["at"] = json!("2026-01-01T00:00:00Z");
            step["flow"] = json!("orders");
            step
        };
        let steps = steps.as_array().unwrap().iter().cloned().map(with_time).collect();
        serde_json::from_value(Value::Array(steps)).unwrap()
    }

    #[test]
    fn each_step_is_compared_with_the_payload_that_it_received() {
        let captured = json!({"total": "1"});
        let steps = steps(&json!([
            {"module": "tax", "drafts": [{"id": "evt_1", "data": {"total": "2"}}]},
            {"module": "mark", "draft": "evt_1", "drafts": [{"id": "evt_2", "same_data": true, "type": "order.marked"}]},
            {"module": "split", "draft": "evt_2", "drafts": [{"id": "evt_3", "data": {"total": "3"}}]},
        ]));
        let input = |n| find_input(&steps, n, &captured).cloned();
        assert_eq!(input(0), Some(captured.clone()));
        assert_eq!(
            [input(1), input(2)],
            [Some(json!({"total": "2"})), Some(json!({"total": "2"}))]
        );
        let drawn = draw_output(&steps, 2, &captured).into_string();
        assert!(drawn.contains("&quot;2&quot;") && drawn.contains("&quot;3&quot;"), "{drawn}");
        let drawn = draw_output(&steps, 1, &captured).into_string();
        assert!(drawn.contains("order.marked") && drawn.contains("The payload is the same."));
    }

    #[test]
    fn a_payload_that_is_not_stored_is_shown_without_a_comparison() {
        let steps = steps(&json!([
            {"module": "a", "drafts": [{"id": "evt_1", "data_cut": {"bytes": 90_000, "beginning": "{\"x\":"}}]},
            {"module": "b", "draft": "evt_1", "drafts": [{"id": "evt_2", "data": {"y": 1}}],
             "dispatches": [{"endpoint": "erp", "delay_seconds": 60, "operation": "lead_create"}], "left_out": 2},
        ]));
        assert_eq!(find_input(&steps, 1, &Value::Null), None);
        let first = draw_output(&steps, 0, &Value::Null).into_string();
        assert!(first.contains("Only its beginning is stored"), "{first}");
        let second = draw_output(&steps, 1, &Value::Null).into_string();
        for text in ["&quot;y&quot;: 1", "erp", "lead_create", "2 more parts"] {
            assert!(second.contains(text), "{text}: {second}");
        }
    }
}
