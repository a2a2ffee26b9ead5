//! `endpoint_pause` and `endpoint_resume`: pause and resume an endpoint.

use super::{ToolCall, ToolResult};
use crate::json::members::read_text;
use crate::mcp::rest_caller::escape_text;
use crate::mcp::tool_answer::{ToolAnswer, pick_members};
use crate::mcp::tool_input::EndpointInput;
use http::Method;
use serde_json::json;

pub async fn set_enabled(call: &ToolCall<'_>, input: &EndpointInput, enabled: bool) -> ToolResult {
    let path = format!("/api/v1/endpoints/{}", escape_text(&input.endpoint));
    let endpoint = call.send_body(Method::PATCH, &path, &json!({"enabled": enabled})).await?;
    let name = read_text(&endpoint, "name");
    let sentence = if enabled {
        format!(
            "Endpoint {name} is resumed: waiting deliveries are sent now. Events captured during \
             the pause are not among them; `waybill event replay ID` sends one."
        )
    } else {
        format!(
            "Endpoint {name} is paused. Waiting deliveries are sent after endpoint_resume. Events \
             captured meanwhile are not delivered to it, unless they are replayed afterwards."
        )
    };
    let facts = pick_members(&endpoint, &["id", "name", "enabled", "updated_at"]);
    Ok(ToolAnswer::new(sentence).with_facts(facts))
}
