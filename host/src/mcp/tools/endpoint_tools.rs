//! `endpoint_pause` and `endpoint_resume`.

use super::{ToolCall, ToolResult};
use crate::json::members::read_text;
use crate::mcp::rest_caller::escape_text;
use crate::mcp::tool_answer::{ToolAnswer, pick_members};
use crate::mcp::tool_input::EndpointInput;
use http::Method;
use serde_json::json;

/// Lets deliveries of an endpoint wait, or takes them up again.
pub async fn set_enabled(call: &ToolCall<'_>, input: &EndpointInput, enabled: bool) -> ToolResult {
    let path = format!("/api/v1/endpoints/{}", escape_text(&input.endpoint));
    let endpoint = call.send_body(Method::PATCH, &path, &json!({"enabled": enabled})).await?;
    let name = read_text(&endpoint, "name");
    let sentence = if enabled {
        format!("Endpoint {name} is resumed: what waits is sent now.")
    } else {
        format!("Endpoint {name} is paused: deliveries wait until endpoint_resume.")
    };
    let facts = pick_members(&endpoint, &["id", "name", "enabled", "updated_at"]);
    Ok(ToolAnswer::new(sentence).with_facts(facts))
}
