//! `show_attempt`: one request of a delivery, and its answer.

use super::{ToolCall, ToolResult, count_things};
use crate::json::members::{read_list, read_text};
use crate::mcp::rest_caller::escape_text;
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted, pick_members};
use crate::mcp::tool_failure::ToolFailure;
use crate::mcp::tool_input::AttemptInput;
use serde_json::Value;

/// Most bytes of each part of an answer.
const MOST_ANSWER: usize = 4_096;

/// Shows an attempt: the request, with secret values masked, and the answer.
pub async fn show_attempt(call: &ToolCall<'_>, input: &AttemptInput) -> ToolResult {
    let path = format!("/api/v1/deliveries/{}", escape_text(&input.delivery_id));
    let delivery = call.get_data(&path).await?;
    let attempts = read_list(&delivery, "attempts");
    let has_number = |attempt: &&Value| {
        input.number.is_none() || attempt.get("number").and_then(Value::as_u64) == input.number
    };
    let count = count_things(attempts.len() as u64, "attempt", "attempts");
    let Some(attempt) = attempts.iter().rfind(has_number) else {
        return Err(ToolFailure::missing(format!("this delivery has only {count}")));
    };
    let number = attempt.get("number").and_then(Value::as_u64).unwrap_or_default();
    let outcome =
        match (attempt.get("status").and_then(Value::as_u64), read_text(attempt, "error_class")) {
            (Some(status), "") => format!("was answered {status}"),
            (Some(status), class) => format!("was answered {status} and failed ({class})"),
            (None, class) => format!("got no answer ({class})"),
        };
    let endpoint = read_text(&delivery, "endpoint");
    let status = read_text(&delivery, "status");
    let sentence = format!(
        "Attempt {number} of {count} to endpoint {endpoint} {outcome}. The delivery is {status}."
    );
    let names = ["number", "at", "duration_ms", "status", "error_class"];
    let mut row = pick_members(attempt, &names);
    let others = ["receiver_id", "error", "request_headers", "response_headers", "response_body"];
    mark_untrusted(&mut row, attempt, (&others, MOST_ANSWER));
    let facts = pick_members(&delivery, &["id", "event_id", "endpoint", "due_at"]);
    Ok(ToolAnswer::new(sentence).with_facts(facts).with_fact("attempt", Value::Object(row)))
}
