//! `sources`: shows where events come from, and whether they still come.

use super::{ToolCall, ToolResult, count_things};
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted, pick_members};
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Most bytes of a message of a source's system.
const MOST_TEXT: usize = 512;

/// Lists the sources, by name.
pub async fn list_sources(call: &ToolCall<'_>) -> ToolResult {
    let sources = call.get_data("/api/v1/sources").await?;
    let sources = sources.as_array().map(Vec::as_slice).unwrap_or_default();
    let now = call.app.journal.clock().now();
    let failing = |source: &&Value| source.pointer("/health/state") == Some(&json!("failing"));
    let sentence = format!(
        "{}, {} failing. Events may also come from sources without settings here.",
        count_things(sources.len() as u64, "source", "sources"),
        sources.iter().filter(failing).count()
    );
    let rows = sources.iter().map(|source| describe_source(source, now)).collect();
    Ok(ToolAnswer::new(sentence).with_rows("sources", rows))
}

fn describe_source(source: &Value, now: Timestamp) -> Value {
    let mut row = pick_members(source, &["id", "name", "kind", "enabled", "warning"]);
    let health = source.get("health").unwrap_or(&Value::Null);
    row.extend(pick_members(health, &["state", "failing_since", "next_try_at"]));
    if let Some(run) = source.get("run") {
        row.extend(pick_members(run, &["running", "finished_at", "lag_ms"]));
    }
    // The last event, or the end of the last complete run.
    let last = health.get("last_success_at").and_then(Value::as_str);
    row.insert("silent_since".to_owned(), json!(last));
    if let Some(last) = last.and_then(|text| Timestamp::parse(text).ok()) {
        let whole = Duration::from_secs(now.since(last).as_secs());
        row.insert("silent_for".to_owned(), json!(TimeSpan::new(whole).to_string()));
    }
    mark_untrusted(&mut row, health, (&["reason"], MOST_TEXT));
    Value::Object(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_success() {
        let source = json!({
            "name": "crm", "kind": "poll", "enabled": true, "run": {"lag_ms": 1500},
            "health": {"state": "well", "last_success_at": "2026-03-01T10:00:00.250Z"},
        });
        let now = Timestamp::parse("2026-03-01T11:30:01.000Z").unwrap();
        let row = describe_source(&source, now);
        assert_eq!((&row["lag_ms"], &row["silent_for"]), (&json!(1500), &json!("1h30m")));
        let silent = json!({"name": "erp", "health": {"state": "idle"}});
        assert_eq!(describe_source(&silent, now)["silent_since"], Value::Null);
    }
}
