//! `overview`: shows what needs attention.

use super::{ToolCall, ToolResult, count_things};
use crate::api::problem::ApiProblem;
use crate::json::members::read_text;
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted, pick_members};
use crate::mcp::tool_failure::ToolFailure;
use serde_json::{Value, json};

/// Most dead letters that are counted.
const MOST_LETTERS: u32 = 10_000;
/// Most bytes of a reason or summary.
const MOST_TEXT: usize = 512;

/// Configured objects that can fail: the list's route, the singular and the plural.
const PARTS: [(&str, &str, &str); 3] = [
    ("/api/v1/endpoints", "endpoint", "endpoints"),
    ("/api/v1/flows", "flow", "flows"),
    ("/api/v1/sources", "source", "sources"),
];

/// The findings so far.
#[derive(Debug, Default)]
struct OverviewParts {
    parts: Vec<String>,
    troubles: Vec<Value>,
    alerts: Vec<Value>,
    /// Waiting deliveries of all endpoints.
    waiting: u64,
    /// Names of the parts that the token may not read.
    hidden: Vec<&'static str>,
}

/// Shows what needs attention, as far as the token may see it.
pub async fn show_overview(call: &ToolCall<'_>) -> ToolResult {
    let mut found = OverviewParts::default();
    add_alerts(call, &mut found).await?;
    for (route, one, many) in PARTS {
        if call.may_read(route) {
            let things = call.get_data(route).await?;
            found.add_things(things.as_array().map(Vec::as_slice).unwrap_or_default(), one, many);
        } else {
            found.hidden.push(many);
        }
    }
    add_letters(call, &mut found).await?;
    if found.waiting > 0 {
        found.parts.push(count_things(found.waiting, "delivery waits", "deliveries wait"));
    }
    Ok(ToolAnswer::new(found.tell_all())
        .with_fact("server_time", call.app.journal.clock().now().to_string())
        .with_rows("alerts", found.alerts)
        .with_rows("attention", found.troubles))
}

async fn add_alerts(call: &ToolCall<'_>, found: &mut OverviewParts) -> Result<(), ToolFailure> {
    if !call.may_read("/api/v1/alerts") {
        found.hidden.push("alerts");
        return Ok(());
    }
    let alerts = call.get_data("/api/v1/alerts?state=firing&limit=200").await?;
    let alerts = alerts.as_array().map(Vec::as_slice).unwrap_or_default();
    found.parts.push(count_things(alerts.len() as u64, "alert is firing", "alerts are firing"));
    found.alerts = alerts.iter().map(describe_alert).collect();
    Ok(())
}

fn describe_alert(alert: &Value) -> Value {
    let names = ["rule", "severity", "since", "shown_value", "next_step", "acknowledged_at"];
    let mut row = pick_members(alert, &names);
    let subject = alert.get("subject").unwrap_or(&Value::Null);
    let about = format!("{} {}", read_text(subject, "kind"), read_text(subject, "name"));
    row.insert("about".to_owned(), json!(about));
    mark_untrusted(&mut row, alert, (&["summary"], MOST_TEXT));
    Value::Object(row)
}

async fn add_letters(call: &ToolCall<'_>, found: &mut OverviewParts) -> Result<(), ToolFailure> {
    if !call.may_read("/api/v1/dead-letters") {
        found.hidden.push("dead letters");
        return Ok(());
    }
    let _place = call.take_turn().await?;
    let count = call.app.journal.count_open_letters(MOST_LETTERS).await;
    let count = count.map_err(ApiProblem::from)?;
    let counted = count_things(count, "dead letter is open", "dead letters are open");
    let is_whole = count < u64::from(MOST_LETTERS);
    found.parts.push(if is_whole { counted } else { format!("at least {counted}") });
    Ok(())
}

impl OverviewParts {
    /// Describes the findings in one sentence, and the parts that the token may not see in another.
    fn tell_all(&self) -> String {
        let mut told = Vec::new();
        if !self.parts.is_empty() {
            told.push(format!("{}.", self.parts.join("; ")));
        }
        if !self.hidden.is_empty() {
            told.push(format!("This token may not see {}.", self.hidden.join(", ")));
        }
        told.join(" ")
    }

    /// Counts objects of one kind, and keeps those that fail or are paused.
    fn add_things(&mut self, things: &[Value], one: &str, many: &str) {
        let state = |thing: &Value| {
            let state = thing.pointer("/health/state").and_then(Value::as_str);
            state.unwrap_or_default().to_owned()
        };
        let is_paused = |thing: &Value| thing.get("enabled") == Some(&Value::Bool(false));
        let failing = things.iter().filter(|thing| state(thing) == "failing").count();
        let paused = things.iter().filter(|thing| is_paused(thing)).count();
        let all = count_things(things.len() as u64, one, many);
        self.parts.push(format!("{all}: {failing} failing, {paused} paused"));
        let waiting = things.iter().filter_map(|thing| thing.pointer("/health/waiting")?.as_u64());
        if one == "endpoint" {
            self.waiting = waiting.sum();
        }
        for thing in things.iter().filter(|thing| state(thing) == "failing" || is_paused(thing)) {
            let health = thing.get("health").unwrap_or(&Value::Null);
            let names =
                ["failing_since", "last_success_at", "waiting", "oldest_waiting_at", "next_try_at"];
            let mut row = pick_members(health, &names);
            row.insert("kind".to_owned(), json!(one));
            row.insert("name".to_owned(), json!(read_text(thing, "name")));
            row.insert("paused".to_owned(), json!(is_paused(thing)));
            row.insert("state".to_owned(), json!(state(thing)));
            mark_untrusted(&mut row, health, (&["reason"], MOST_TEXT));
            self.troubles.push(Value::Object(row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_or_is_paused_is_kept() {
        let thing = |name: &str, state: &str, enabled: bool| {
            json!({"name": name, "enabled": enabled,
                "health": {"state": state, "reason": "said by others", "waiting": 3}})
        };
        let things =
            [thing("a", "well", true), thing("b", "failing", true), thing("c", "idle", false)];
        let mut found = OverviewParts::default();
        found.add_things(&things, "endpoint", "endpoints");
        assert_eq!(found.parts, ["3 endpoints: 1 failing, 1 paused"]);
        assert_eq!(found.waiting, 9);
        let names: Vec<&str> = found.troubles.iter().map(|row| read_text(row, "name")).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(found.troubles[0]["untrusted"]["reason"], "said by others");
    }
}
