//! Describes a dry run for people: what each module did to the payload, and what would be sent.

use std::collections::HashMap;

use serde_json::Value;

use crate::json::difference::compare_values;
use crate::json::members::{read_list, read_text};

/// Largest number of differences that are shown for one draft.
const MOST_CHANGES: usize = 40;

/// An event on its way: its type and, if it is known completely, its payload.
#[derive(Clone, Copy)]
struct KnownPayload<'a> {
    kind: &'a str,
    data: Option<&'a Value>,
}

/// Returns the lines of a whole report.
pub fn describe_run(answer: &Value) -> Vec<String> {
    let event = answer.get("event").unwrap_or(&Value::Null);
    let mut lines = vec![format!(
        "flow {} on {} {} of source {}",
        read_text(answer, "flow"),
        read_text(event, "type"),
        read_text(event, "id"),
        read_text(event, "source")
    )];
    if let Some(why) = answer.get("not_taken").and_then(Value::as_str) {
        lines.push(format!("it would not accept this event: {why}"));
    }
    let whole = KnownPayload { kind: read_text(event, "type"), data: event.get("data") };
    let mut known = HashMap::from([(read_text(event, "id"), whole)]);
    for (n, step) in read_list(answer, "steps").iter().enumerate() {
        lines.push(String::new());
        describe_step(n + 1, step, read_text(event, "id"), &mut known, &mut lines);
    }
    lines.push(String::new());
    describe_end(answer, &mut lines);
    lines
}

fn describe_step<'a>(
    number: usize,
    step: &'a Value,
    event: &'a str,
    known: &mut HashMap<&'a str, KnownPayload<'a>>,
    lines: &mut Vec<String>,
) {
    let version = step.get("version").and_then(Value::as_u64);
    let version = version.map(|version| format!(" v{version}")).unwrap_or_default();
    let reason = step.get("reason").and_then(Value::as_str);
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let micros = step.get("duration_us").and_then(Value::as_u64).unwrap_or_default();
    lines.push(format!(
        "{number}  {}{version}  {}  {}{reason}  ({micros} µs)",
        read_text(step, "module"),
        read_text(step, "role"),
        read_text(step, "verdict")
    ));
    for line in read_list(step, "logs") {
        let fields = read_list(line, "fields").iter().filter_map(Value::as_array);
        let fields = fields.map(|pair| {
            let part = |n: usize| pair.get(n).and_then(Value::as_str).unwrap_or_default();
            format!("  {}={}", part(0), part(1))
        });
        let fields = fields.collect::<Vec<_>>().concat();
        lines.push(format!(
            "     {:<5}  {}{fields}",
            read_text(line, "level"),
            read_text(line, "message")
        ));
    }
    let given = step.get("draft").and_then(Value::as_str).unwrap_or(event);
    let before = known.get(given).copied();
    for draft in read_list(step, "drafts") {
        let kind = draft.get("type").and_then(Value::as_str);
        let kind = kind.unwrap_or_else(|| before.map_or("", |before| before.kind));
        describe_draft(draft, kind, before, lines);
        let same = before.filter(|_| draft.get("same_data").is_some());
        let data = draft.get("data").or_else(|| same.and_then(|before| before.data));
        known.insert(read_text(draft, "id"), KnownPayload { kind, data });
    }
    for dispatch in read_list(step, "dispatches") {
        lines.push(format!("   → {}{}", read_text(dispatch, "endpoint"), describe_terms(dispatch)));
    }
    if let Some(count) = step.get("left_out").and_then(Value::as_u64) {
        lines.push(format!("   {count} more are not shown: there was no room for them"));
    }
}

fn describe_draft(
    draft: &Value,
    kind: &str,
    before: Option<KnownPayload<'_>>,
    lines: &mut Vec<String>,
) {
    let record = draft.get("resource_id").and_then(Value::as_str);
    let record = record.map(|record| format!(" #{record}")).unwrap_or_default();
    lines.push(format!("   {kind}{record} {}", read_text(draft, "id")));
    for (name, value) in draft.get("attributes").and_then(Value::as_object).into_iter().flatten() {
        lines.push(format!("     attribute {name} = {value}"));
    }
    if let Some(bytes) = draft.pointer("/data_cut/bytes").and_then(Value::as_u64) {
        lines.push(format!("     {bytes} bytes: too long to compare"));
        return;
    }
    if draft.get("same_data").is_some() {
        return lines.push("     the payload is unchanged".to_owned());
    }
    let Some((before, after)) = before.and_then(|before| before.data).zip(draft.get("data")) else {
        return lines.push("     the payload before it is not known completely".to_owned());
    };
    let changes = compare_values(before, after);
    if changes.is_empty() {
        lines.push("     the payload is unchanged".to_owned());
    }
    lines.extend(changes.iter().take(MOST_CHANGES).map(|change| format!("     {change}")));
    if let Some(more @ 1..) = changes.len().checked_sub(MOST_CHANGES) {
        lines.push(format!("     and {more} more differences; --json shows all"));
    }
}

/// Describes when and how often a dispatch is made.
fn describe_terms(dispatch: &Value) -> String {
    let delay = dispatch.get("delay_seconds").and_then(Value::as_u64).filter(|delay| *delay > 0);
    let delay = delay.map(|seconds| format!(" after {seconds} s"));
    let key = |name: &str, words: &str| {
        let key = dispatch.get(name).and_then(Value::as_str)?;
        Some(format!(", {words} `{key}`"))
    };
    let terms = [delay, key("dedupe_key", "once for the key"), key("ordering_key", "in order of")];
    terms.into_iter().flatten().collect::<Vec<_>>().concat()
}

fn describe_end(answer: &Value, lines: &mut Vec<String>) {
    if let Some(detail) = answer.pointer("/failure/detail").and_then(Value::as_str) {
        let reason = answer.pointer("/failure/reason").and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("failed ({reason}): {detail}"));
        return;
    }
    let dispatches = read_list(answer, "dispatches");
    if dispatches.is_empty() {
        lines.push("nothing would be sent".to_owned());
    }
    for dispatch in dispatches {
        let what = format!("{} {}", read_text(dispatch, "type"), read_text(dispatch, "id"));
        let terms = describe_terms(dispatch);
        let endpoint = read_text(dispatch, "endpoint");
        lines.push(match dispatch.get("reason").and_then(Value::as_str) {
            Some(why) => format!("would not send {what} to {endpoint}{terms}: {why}"),
            None => format!("would send {what} to {endpoint}{terms}"),
        });
        if let Some(body) = dispatch.get("body").filter(|body| !body.is_null()) {
            lines.push(format!("  {body}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_step_shows_what_it_changed() {
        let answer = json!({
            "flow": "books",
            "event": {"id": "evt_1", "type": "invoice.paid", "source": "api", "data": {"total": 1, "tax": 2}},
            "steps": [
                {"module": "ledger", "version": 2, "role": "transform", "verdict": "transformed",
                 "duration_us": 40, "logs": [{"level": "info", "message": "booked", "fields": [["n", "1"]]}],
                 "drafts": [{"id": "evt_2", "type": "ledger.entry", "data": {"total": 1, "net": 3}}]},
                {"module": "mask", "version": 1, "role": "transform", "verdict": "transformed",
                 "duration_us": 9, "draft": "evt_2", "drafts": [{"id": "evt_3", "data": {"total": 1}}]},
                {"module": "to", "version": 1, "role": "route", "verdict": "routed", "duration_us": 5,
                 "dispatches": [{"endpoint": "sales", "delay_seconds": 60, "dedupe_key": "k"}]},
            ],
            "dispatches": [{"endpoint": "sales", "type": "ledger.entry", "id": "evt_3",
                "would_send": false, "reason": "endpoint `sales` is disabled", "delay_seconds": 60}],
        });
        let report = describe_run(&answer).join("\n");
        for expected in [
            "flow books on invoice.paid evt_1 of source api",
            "1  ledger v2  transform  transformed  (40 µs)\n     info   booked  n=1\n   ledger.entry evt_2",
            "     + net: 3\n     - tax: 2",
            "   ledger.entry evt_3\n     - net: 3",
            "   → sales after 60 s, once for the key `k`",
            "would not send ledger.entry evt_3 to sales after 60 s: endpoint `sales` is disabled",
        ] {
            assert!(report.contains(expected), "{expected}\n---\n{report}");
        }
    }

    #[test]
    fn a_failure_and_a_cut_payload_are_told() {
        let answer = json!({
            "flow": "f", "not_taken": "flow `f` is disabled",
            "event": {"id": "evt_1", "type": "a.b", "source": "api", "data": 1},
            "steps": [{"module": "m", "role": "transform", "verdict": "transformed", "left_out": 3,
                "drafts": [{"id": "evt_2", "data_cut": {"bytes": 70_000, "beginning": "{"}}]}],
            "failure": {"reason": "module_trap", "detail": "it trapped"},
        });
        let report = describe_run(&answer).join("\n");
        for expected in [
            "it would not accept this event: flow `f` is disabled",
            "70000 bytes: too long to compare",
            "3 more are not shown",
            "failed (module_trap): it trapped",
        ] {
            assert!(report.contains(expected), "{expected}\n---\n{report}");
        }
    }
}
