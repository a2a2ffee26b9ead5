//! `dead_letters_preview` and `dead_letters_replay`. A replay covers exactly the letters of a
//! preview: it repeats the preview's count and its filter, which ends at the time of the preview.

use super::{ToolCall, ToolResult, count_things};
use crate::json::members::read_list;
use crate::mcp::rest_caller::with_query;
use crate::mcp::tool_answer::{ToolAnswer, mark_untrusted, pick_members};
use crate::mcp::tool_failure::ToolFailure;
use crate::mcp::tool_input::{LetterChoice, LetterPreview, LettersReplay};
use http::Method;
use serde_json::{Value, json};

/// The route that replays many dead letters.
const REPLAY: &str = "/api/v1/dead-letters/replay";
/// Most pages of 200 letters that are counted for a token that may not replay.
const MOST_PAGES: usize = 10;
/// Most bytes of a detail.
const MOST_TEXT: usize = 256;

/// Counts the dead letters of a filter and lists the newest.
pub async fn preview_letters(call: &ToolCall<'_>, input: LetterPreview) -> ToolResult {
    let mut filter = input.filter;
    let now = call.app.journal.clock().now().to_string();
    filter.until.get_or_insert(now);
    let newest = list_page(call, &filter, None, "20").await?;
    let rows = read_list(&newest, "data").iter().map(describe_letter).collect();
    let may_replay = call.principal.may_call(&Method::POST, REPLAY);
    let (count, is_whole) = if may_replay {
        (count_matching(call, &filter).await?, true)
    } else {
        count_pages(call, &filter).await?
    };
    let more = if is_whole { "" } else { " or more" };
    let next = match (count, may_replay) {
        (0, _) => "Nothing needs a replay.",
        (_, true) => {
            "To replay exactly these, call dead_letters_replay with this `filter` and `count`."
        }
        (_, false) => "This token may not replay them.",
    };
    let sentence = format!(
        "{}{more} would be replayed. {next}",
        count_things(count, "dead letter", "dead letters")
    );
    Ok(ToolAnswer::new(sentence)
        .with_fact("count", count)
        .with_fact("filter", json!(filter))
        .with_rows("newest", rows))
}

/// Counts the dead letters of a filter that are not being replayed yet, with a dry run of the
/// replay.
async fn count_matching(call: &ToolCall<'_>, filter: &LetterChoice) -> Result<u64, ToolFailure> {
    let body = json!({"filter": filter, "dry_run": true});
    let counted = call.send_body(Method::POST, REPLAY, &body).await?;
    Ok(counted.get("matched").and_then(Value::as_u64).unwrap_or_default())
}

/// Counts them for a token that may only read. Also returns whether that is all of them.
async fn count_pages(
    call: &ToolCall<'_>,
    filter: &LetterChoice,
) -> Result<(u64, bool), ToolFailure> {
    let (mut count, mut cursor) = (0, None);
    for _ in 0..MOST_PAGES {
        let page = list_page(call, filter, cursor.as_deref(), "200").await?;
        let letters = read_list(&page, "data").iter();
        let is_open = |letter: &&Value| letter.get("replayed_at").is_none_or(Value::is_null);
        count += letters.filter(is_open).count() as u64;
        cursor = page.pointer("/meta/next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            return Ok((count, true));
        }
    }
    Ok((count, false))
}

async fn list_page(
    call: &ToolCall<'_>,
    filter: &LetterChoice,
    cursor: Option<&str>,
    limit: &str,
) -> Result<Value, ToolFailure> {
    let parameters = [
        ("endpoint", filter.endpoint.as_deref()),
        ("source", filter.source.as_deref()),
        ("kind", filter.kind.as_deref()),
        ("event_type", filter.event_type.as_deref()),
        ("reason", filter.reason.as_deref()),
        ("since", filter.since.as_deref()),
        ("until", filter.until.as_deref()),
        ("cursor", cursor),
        ("limit", Some(limit)),
    ];
    call.get_answer(&with_query("/api/v1/dead-letters", &parameters)).await
}

fn describe_letter(letter: &Value) -> Value {
    let names = [
        "id",
        "kind",
        "event_id",
        "delivery_id",
        "endpoint",
        "flow",
        "reason",
        "created_at",
        "replayed_at",
    ];
    let mut row = pick_members(letter, &names);
    let others = ["event_type", "source", "list", "row", "detail"];
    mark_untrusted(&mut row, letter, (&others, MOST_TEXT));
    Value::Object(row)
}

/// Replays the dead letters of a preview.
pub async fn replay_letters(call: &ToolCall<'_>, input: &LettersReplay) -> ToolResult {
    if input.filter.until.is_none() {
        let what = "`filter` has no `until`; use the filter of a preview's answer";
        return Err(ToolFailure::wrong_argument(what));
    }
    let count = count_matching(call, &input.filter).await?;
    if count != input.count {
        let what = format!(
            "{} would be replayed now, not {}, so nothing was replayed",
            count_things(count, "dead letter", "dead letters"),
            input.count
        );
        let next = "call dead_letters_preview again and see what changed";
        return Err(ToolFailure::changed(what, next));
    }
    let body = json!({"filter": input.filter, "per_second": input.per_second});
    let replayed = call.send_body(Method::POST, REPLAY, &body).await?;
    let replayed = replayed.get("replayed").and_then(Value::as_u64).unwrap_or_default();
    let left = count.saturating_sub(replayed);
    let mut sentence = format!("{} began.", count_things(replayed, "replay", "replays"));
    if left > 0 {
        sentence = format!(
            "{sentence} {left} did not: their endpoint, flow or source was deleted or is paused."
        );
    }
    let sentence = format!("{sentence} A dead letter is removed when its replay succeeds.");
    Ok(ToolAnswer::new(sentence).with_fact("matched", count).with_fact("replayed", replayed))
}
