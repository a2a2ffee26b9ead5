//! `explain_event` and `find_events`: explain one event, and search for events.

use super::{ToolCall, ToolResult, count_things};
use crate::json::members::{read_list, read_text};
use crate::mcp::rest_caller::{escape_text, with_query};
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted, pick_members};
use crate::mcp::tool_input::{EventInput, EventSearch, read_limit};
use serde_json::{Map, Value, json};

/// Most bytes of the payload of an explained event.
const MOST_PAYLOAD: usize = 4_096;
/// Most bytes of a payload in a list.
const MOST_BEGINNING: usize = 256;
/// Most bytes of any other text.
const MOST_TEXT: usize = 512;
/// Members of an event that its sender wrote.
const SENDERS_WORDS: [&str; 8] =
    ["type", "source", "resource", "resource_id", "external_id", "attributes", "changes", "data"];

/// Explains what happened to an event, and why deliveries were not sent.
pub async fn explain_event(call: &ToolCall<'_>, input: &EventInput) -> ToolResult {
    let path = format!("/api/v1/events/{}", escape_text(&input.event_id));
    let trace = call.get_data(&path).await?;
    let names = ["id", "received_at", "occurred_at", "matched", "payload_pruned_at"];
    let mut event = pick_members(&trace, &names);
    mark_untrusted(&mut event, &trace, (&SENDERS_WORDS, MOST_PAYLOAD));
    let deliveries = read_list(&trace, "deliveries").iter().map(describe_delivery).collect();
    let steps = read_list(&trace, "steps").iter().map(describe_step).collect();
    Ok(ToolAnswer::new(tell_outcome(&trace))
        .with_fact("event", Value::Object(event))
        .with_rows("deliveries", deliveries)
        .with_rows("steps", steps)
        .with_rows("waiting_flows", read_list(&trace, "waiting").to_vec()))
}

/// Describes what happened to an event, in sentences without text from outside.
fn tell_outcome(trace: &Value) -> String {
    let deliveries = read_list(trace, "deliveries");
    let mut told: Vec<String> = deliveries.iter().map(tell_delivery).collect();
    told.extend(read_list(trace, "steps").iter().filter_map(tell_unsent));
    for waiting in read_list(trace, "waiting") {
        let due = read_text(waiting, "due_at");
        told.push(format!(
            "The modules of flow {} have yet to run, next at {due}.",
            read_text(waiting, "flow")
        ));
    }
    if !told.is_empty() {
        return told.join(" ");
    }
    match trace.get("matched").and_then(Value::as_u64) {
        Some(0) => "Nothing was sent: when the event was captured, no flow and no endpoint took \
            events of this source and type. Look at the `events` and `sources` of flows and \
            endpoints."
            .to_owned(),
        Some(_) | None => "No deliveries are stored: no flow that took the event chose an enabled \
            endpoint, or its deliveries were pruned."
            .to_owned(),
    }
}

fn tell_delivery(delivery: &Value) -> String {
    let name = match read_text(delivery, "endpoint") {
        "" => "a deleted endpoint",
        name => name,
    };
    let count = delivery.get("attempt_count").and_then(Value::as_u64).unwrap_or_default();
    let attempts = count_things(count, "attempt", "attempts");
    let due = read_text(delivery, "due_at");
    match read_text(delivery, "status") {
        "delivered" => format!("Endpoint {name} got it after {attempts}."),
        "dead" => format!(
            "Endpoint {name} will not receive it automatically: the delivery failed permanently \
             after {attempts}{}. See show_attempt, correct the cause and replay the dead letter.",
            tell_last_failure(delivery)
        ),
        "superseded" => format!("For endpoint {name}, a newer state of the record replaced it."),
        "cancelled" => format!("The delivery to endpoint {name} was cancelled."),
        "leased" => format!("It is being sent to endpoint {name} now."),
        _ if count == 0 => {
            format!("It waits for its first attempt at endpoint {name}, due at {due}.")
        }
        _ => format!(
            "Endpoint {name} has not got it yet after {attempts}{}; the next is due at {due}.",
            tell_last_failure(delivery)
        ),
    }
}

/// Describes how the last attempt failed, in Waybill's own words.
fn tell_last_failure(delivery: &Value) -> String {
    let Some(last) = read_list(delivery, "attempts").last() else { return String::new() };
    match (last.get("status").and_then(Value::as_u64), read_text(last, "error_class")) {
        (Some(status), _) => format!("; the last was answered {status}"),
        (None, "") => String::new(),
        (None, class) => format!("; the last got no answer ({class})"),
    }
}

/// Describes a step that kept the event from being sent. The reason comes from outside, so it is
/// left out.
fn tell_unsent(step: &Value) -> Option<String> {
    let place = match (read_text(step, "flow"), read_text(step, "module")) {
        ("", "") => "Waybill".to_owned(),
        (flow, "") => format!("Flow {flow}"),
        ("", module) => format!("Module {module}"),
        (flow, module) => format!("Module {module} of flow {flow}"),
    };
    match read_text(step, "verdict") {
        "dropped" => Some(format!("{place} dropped it; `steps` has the reason.")),
        "failed" => Some(format!("{place} failed on it; `steps` has the reason.")),
        "suppressed" => Some(format!("{place} made no second delivery with the same dedupe key.")),
        "skipped" => Some(format!("{place} skipped it; `steps` has the reason.")),
        _ => None,
    }
}

fn describe_delivery(delivery: &Value) -> Value {
    let names = [
        "id",
        "endpoint",
        "status",
        "attempt_count",
        "collapsed",
        "due_at",
        "created_at",
        "settled_at",
    ];
    let mut row = pick_members(delivery, &names);
    if let Some(last) = read_list(delivery, "attempts").last() {
        let mut attempt =
            pick_members(last, &["number", "at", "status", "error_class", "duration_ms"]);
        mark_untrusted(&mut attempt, last, (&["error"], MOST_TEXT));
        row.insert("last_attempt".to_owned(), Value::Object(attempt));
    }
    Value::Object(row)
}

fn describe_step(step: &Value) -> Value {
    let names = ["flow", "at", "module", "version", "role", "verdict", "duration_us"];
    let mut row = pick_members(step, &names);
    mark_untrusted(&mut row, step, (&["reason", "logs"], MOST_TEXT));
    Value::Object(row)
}

pub async fn find_events(call: &ToolCall<'_>, input: &EventSearch) -> ToolResult {
    let limit = read_limit(input.limit)?.to_string();
    let parameters = [
        ("type", input.event_type.as_deref()),
        ("source", input.source.as_deref()),
        ("resource", input.resource.as_deref()),
        ("resource_id", input.resource_id.as_deref()),
        ("since", input.since.as_deref()),
        ("until", input.until.as_deref()),
        ("cursor", input.cursor.as_deref()),
        ("limit", Some(limit.as_str())),
    ];
    let page = call.get_answer(&with_query("/api/v1/events", &parameters)).await?;
    let rows: Vec<Value> = read_list(&page, "data").iter().map(describe_event).collect();
    let next = page.pointer("/meta/next_cursor").cloned().unwrap_or_default();
    let count = count_things(rows.len() as u64, "event", "events");
    let sentence = match (rows.is_empty(), next.is_null()) {
        (true, true) => "No event matches.".to_owned(),
        (true, false) => "No event matches so far; continue with `next_cursor`.".to_owned(),
        (false, true) => format!("{count}, newest first; there are no more."),
        (false, false) => format!("{count}, newest first; `next_cursor` leads to more."),
    };
    Ok(ToolAnswer::new(sentence).with_fact("next_cursor", next).with_rows("events", rows))
}

fn describe_event(event: &Value) -> Value {
    let mut row: Map<String, Value> =
        pick_members(event, &["id", "received_at", "matched", "payload_pruned_at"]);
    mark_untrusted(&mut row, event, (&SENDERS_WORDS, MOST_BEGINNING));
    json!(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_told_without_what_others_wrote() {
        let trace = json!({
            "matched": 2, "summary": "HOSTILE",
            "deliveries": [{"endpoint": "erp", "status": "dead", "attempt_count": 3,
                "attempts": [{"status": 500, "error": "HOSTILE", "response_body": "HOSTILE"}]}],
            "steps": [{"flow": "big", "module": "filter", "verdict": "dropped", "reason": "HOSTILE"}],
            "waiting": [],
        });
        let told = tell_outcome(&trace);
        assert!(
            told.starts_with(
                "Endpoint erp will not receive it automatically: the delivery failed \
                 permanently after 3 attempts; the last was answered 500."
            ),
            "{told}"
        );
        assert!(told.ends_with("Module filter of flow big dropped it; `steps` has the reason."));
        assert!(!told.contains("HOSTILE"));
        let nobody = tell_outcome(&json!({"matched": 0}));
        assert!(nobody.contains("no flow and no endpoint took"), "{nobody}");
    }
}
