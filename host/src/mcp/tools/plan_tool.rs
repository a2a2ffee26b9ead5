//! `plan_config`: shows what a configuration would change. Never changes anything.

use super::{ToolCall, ToolResult, count_things};
use crate::json::members::{read_list, read_text};
use crate::mcp::tool_answer::{ToolAnswer, pick_members};
use crate::mcp::tool_input::ConfigPlan;
use http::Method;
use serde_json::Value;

/// The route of the dry run.
const DRY_RUN: &str = "/api/v1/config?dry_run=true";

/// Compares a configuration with the present settings.
pub async fn plan_config(call: &ToolCall<'_>, input: ConfigPlan) -> ToolResult {
    let document = Value::Object(input.document);
    let planned = call.send_body(Method::PUT, DRY_RUN, &document).await?;
    let changes = read_list(&planned, "changes");
    let is_change = |change: &&Value| read_text(change, "action") != "unchanged";
    let rows: Vec<Value> = changes
        .iter()
        .filter(is_change)
        .map(|change| {
            Value::Object(pick_members(change, &["action", "kind", "name", "fields", "warning"]))
        })
        .collect();
    let unchanged = changes.len() - rows.len();
    let sentence = format!(
        "{} would change, {unchanged} would not; nothing was done. A person applies it \
         with `waybill apply`.",
        count_things(rows.len() as u64, "thing", "things")
    );
    Ok(ToolAnswer::new(sentence).with_rows("changes", rows))
}
