//! `backtest`: runs recent events through a flow with other versions of its modules.

use super::{ToolCall, ToolResult};
use crate::api::dry_run::run_comparison::BacktestCounts;
use crate::json::members::{read_list, read_text};
use crate::mcp::rest_caller::{escape_text, with_query};
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted, pick_members};
use crate::mcp::tool_failure::ToolFailure;
use crate::mcp::tool_input::{BacktestInput, read_limit};
use crate::settings::FlowRuntime;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// Most pages of 200 stored events that are searched for events of the flow.
const MOST_PAGES: usize = 5;
/// Most bytes of a difference.
const MOST_TEXT: usize = 512;

/// Runs each event twice and compares the results.
pub async fn run_backtest(call: &ToolCall<'_>, input: &BacktestInput) -> ToolResult {
    if input.modules.is_empty() {
        let what = "`modules` names no version to try, such as {\"hot-leads\": 3}";
        return Err(ToolFailure::wrong_argument(what));
    }
    let last = read_limit(input.last)?;
    let path = format!("/api/v1/flows/{}", escape_text(&input.flow));
    let flow = call.get_data(&path).await?;
    let name = read_text(&flow, "name");
    let settings = call.app.live.current_settings();
    let known = settings.flows().iter().find(|route| route.flow.settings.name == name);
    let known = known.ok_or_else(|| ToolFailure::missing(format!("unknown flow `{name}`")))?;
    let mut counts = BacktestCounts::default();
    let modules: Vec<Value> = input
        .modules
        .iter()
        .map(|(name, version)| json!({"name": name, "version": version}))
        .collect();
    let run = format!("{path}/run");
    for id in list_events(call, known, last, &mut counts).await? {
        let present = call.send_body(Method::POST, &run, &json!({"event_id": id})).await?;
        let tried = json!({"event_id": id, "modules": modules});
        let tried = call.send_body(Method::POST, &run, &tried).await?;
        counts.count_event(&id, &present, &tried);
    }
    Ok(describe_counts(name, &counts))
}

fn describe_counts(flow: &str, counts: &BacktestCounts) -> ToolAnswer {
    let sentence = format!(
        "Flow {flow} on {} stored events: {} same, {} changed, {} newly dropped, {} newly failing, \
         {} no longer failing. {} had no payload any more. Nothing was stored or sent.",
        counts.total(),
        counts.same,
        counts.changed,
        counts.newly_dropped,
        counts.newly_failing,
        counts.no_longer_failing,
        counts.without_payload
    );
    let whole = counts.as_json();
    let names = [
        "events",
        "same",
        "changed",
        "newly_dropped",
        "newly_failing",
        "no_longer_failing",
        "without_payload",
        "present_us",
        "tried_us",
    ];
    let differences = read_list(&whole, "differences").iter().map(|difference| {
        let mut row = pick_members(difference, &["event_id"]);
        mark_untrusted(&mut row, difference, (&["difference"], MOST_TEXT));
        Value::Object(row)
    });
    ToolAnswer::new(sentence)
        .with_facts(pick_members(&whole, &names))
        .with_rows("differences", differences.collect())
}

/// Returns the ids of the flow's newest stored events.
async fn list_events(
    call: &ToolCall<'_>,
    route: &Arc<FlowRuntime>,
    last: usize,
    counts: &mut BacktestCounts,
) -> Result<Vec<String>, ToolFailure> {
    let settings = &route.flow.settings;
    let source = match settings.sources.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    };
    let (mut ids, mut cursor): (Vec<String>, Option<String>) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let parameters =
            [("source", source), ("limit", Some("200")), ("cursor", cursor.as_deref())];
        let page = call.get_answer(&with_query("/api/v1/events", &parameters)).await?;
        for event in read_list(&page, "data") {
            let kind = read_text(event, "type");
            if !settings.wants(read_text(event, "source"), |pattern| pattern.matches(kind)) {
                continue;
            }
            if ids.len() + counts.without_payload >= last {
                return Ok(ids);
            }
            match event.get("payload_pruned_at") {
                Some(_) => counts.without_payload += 1,
                None => ids.push(read_text(event, "id").to_owned()),
            }
        }
        cursor = page.pointer("/meta/next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(ids)
}
