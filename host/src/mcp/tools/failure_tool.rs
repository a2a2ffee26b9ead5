//! `failures`: groups dead letters by place and cause.

use super::{ToolCall, ToolResult, count_things};
use crate::api::endpoints::find_endpoint;
use crate::api::problem::ApiProblem;
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted};
use crate::mcp::tool_input::FailureSearch;
use crate::settings::SettingsSnapshot;
use crate::store::DeathCause;
use serde_json::{Map, Value, json};

/// Most dead letters that are read, newest first.
const MOST_LETTERS: u32 = 10_000;
/// Most bytes of a cause's detail.
const MOST_TEXT: usize = 512;

/// Groups the newest dead letters, the most frequent cause first.
pub async fn list_failures(call: &ToolCall<'_>, input: FailureSearch) -> ToolResult {
    let settings = call.app.live.current_settings();
    let wanted = input.endpoint.map(|name| find_endpoint(&settings, &name)).transpose()?;
    let wanted = wanted.map(|target| target.endpoint.id);
    let _place = call.take_turn().await?;
    let causes = call.app.journal.list_death_causes(MOST_LETTERS).await;
    let mut causes = causes.map_err(ApiProblem::from)?;
    causes.retain(|cause| wanted.is_none() || cause.endpoint_id == wanted);
    let letters: u64 = causes.iter().map(|cause| cause.letters).sum();
    let sentence = format!(
        "{} of {}; the most frequent comes first.",
        count_things(letters, "dead letter", "dead letters"),
        count_things(causes.len() as u64, "cause", "causes")
    );
    let rows = causes.iter().map(|cause| describe_cause(&settings, cause)).collect();
    Ok(ToolAnswer::new(sentence).with_rows("causes", rows))
}

fn describe_cause(settings: &SettingsSnapshot, cause: &DeathCause) -> Value {
    let (kind, name, filter) = find_place(settings, cause);
    let mut row = Map::new();
    row.insert(kind.to_owned(), name.map_or_else(|| json!("deleted"), Value::String));
    let facts = json!({
        "reason": cause.reason, "count": cause.letters, "replaying": cause.replaying,
        "first_at": cause.first_at, "last_at": cause.last_at, "filter": filter,
    });
    if let Value::Object(facts) = facts {
        row.extend(facts);
    }
    mark_untrusted(&mut row, &json!({"detail": cause.detail}), (&["detail"], MOST_TEXT));
    Value::Object(row)
}

/// Returns where the letters of a cause died, and a filter that selects them. The filter names an
/// endpoint, flow or source only if it still exists.
fn find_place(
    settings: &SettingsSnapshot,
    cause: &DeathCause,
) -> (&'static str, Option<String>, Value) {
    let reason = &cause.reason;
    if let Some(id) = cause.endpoint_id {
        let target = settings.find_endpoint(id);
        let name = target.map(|target| target.endpoint.settings.name.clone());
        let filter = match &name {
            Some(name) => json!({"endpoint": name, "reason": reason}),
            None => json!({"kind": "delivery", "reason": reason}),
        };
        return ("endpoint", name, filter);
    }
    if let Some(id) = cause.source_id {
        let source = settings.sources().find(|source| source.id == id);
        let name = source.map(|source| source.settings.name.clone());
        let filter = match &name {
            Some(name) => json!({"kind": "row", "source": name, "reason": reason}),
            None => json!({"kind": "row", "reason": reason}),
        };
        return ("source", name, filter);
    }
    let flow = cause.flow_id.and_then(|id| settings.find_flow(id));
    let name = flow.map(|route| route.flow.settings.name.clone());
    ("flow", name, json!({"kind": "event", "reason": reason}))
}
