//! `docs/api.md`: the operations of the REST API as tables, from its OpenAPI description.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::events::cell;

/// Methods in the order in which they are listed.
const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "options"];

/// The text of the page before its tables.
const INTRODUCTION: &str = "# REST API

<!-- Written by `cargo xtask gen` from the code: change the handlers. -->

[openapi.json](openapi.json) describes parameters, bodies, answers and errors of each operation; a running server serves its own at
`/openapi.json`. A call carries a token, as `Authorization: Bearer wb_…` or `X-API-KEY: wb_…`, with the scope of the operation
([access.md](access.md)); `admin` holds every scope, and a scope that changes things holds the one that reads the same. `events:write` is
the exception: a token that captures events need not read them.

    curl -H \"Authorization: Bearer $WAYBILL_TOKEN\" http://127.0.0.1:8400/api/v1/events?limit=5

";

/// One line of a table.
#[derive(Debug)]
struct Operation<'a> {
    method: &'static str,
    path: &'a str,
    need: String,
    summary: String,
}

/// Builds the page from the output of `waybill openapi`.
pub(crate) fn page(openapi: &str) -> Result<String> {
    let document: Value = serde_json::from_str(openapi)?;
    let paths = document.get("paths").and_then(Value::as_object).context("it has paths")?;
    let mut tags: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, item) in paths {
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let tag = operation.pointer("/tags/0").and_then(Value::as_str);
            let tag = tag.with_context(|| format!("{method} {path} has no tag"))?;
            tags.entry(tag).or_default().push(read_operation(method, path, operation)?);
        }
    }
    let description = document.pointer("/info/description").and_then(Value::as_str);
    let mut page = format!("{INTRODUCTION}{}\n", description.context("it has a description")?);
    for (tag, operations) in tags {
        write!(page, "\n## {tag}\n\n| method | path | scope | |\n|---|---|---|---|\n")?;
        for Operation { method, path, need, summary } in operations {
            let method = method.to_uppercase();
            writeln!(page, "| {method} | `{path}` | {need} | {summary} |")?;
        }
    }
    Ok(page)
}

fn read_operation<'a>(
    method: &'static str,
    path: &'a str,
    operation: &Value,
) -> Result<Operation<'a>> {
    let summary = operation.get("summary").and_then(Value::as_str);
    let summary = first_sentence(summary.with_context(|| format!("{method} {path}: no summary"))?);
    Ok(Operation { method, path, need: read_need(operation), summary })
}

/// Returns the scope of an operation, or its substitute in words.
fn read_need(operation: &Value) -> String {
    let ways = operation.get("security").and_then(Value::as_array);
    let Some(ways) = ways.filter(|ways| !ways.is_empty()) else { return "none".to_owned() };
    let has = |way: &str| ways.iter().any(|one| one.get(way).is_some());
    if has("signature") {
        return "signature of the source".to_owned();
    }
    if has("client") {
        return "client id and secret".to_owned();
    }
    let scope = ways.iter().find_map(|way| way.pointer("/bearer/0")).and_then(Value::as_str);
    scope.map_or_else(|| "any token".to_owned(), |scope| format!("`{scope}`"))
}

/// Returns the first sentence, on one line of a table.
fn first_sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = line.split_once(". ").map_or(line.as_str(), |(first, _)| first);
    format!("{}.", cell(first.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_says_what_it_needs() {
        let need = |security: Value| read_need(&json!({"security": security}));
        assert_eq!(need(json!([{"bearer": ["admin"]}, {"api_key": ["admin"]}])), "`admin`");
        assert_eq!(need(json!([{"bearer": []}])), "any token");
        assert_eq!(need(json!([{"signature": []}, {}])), "signature of the source");
        assert_eq!(read_need(&json!({})), "none");
    }

    #[test]
    fn a_summary_is_one_sentence_on_one_line() {
        assert_eq!(first_sentence("Shows `a | b`,\nor c. It is more."), "Shows `a \\| b`, or c.");
        assert_eq!(first_sentence("Lists calls."), "Lists calls.");
    }

    #[test]
    fn the_description_of_the_repository_can_be_read() {
        let page = page(include_str!("../../docs/openapi.json")).unwrap();
        let line = "| GET | `/api/v1/audit` | `audit:read` | Lists calls, newest first. |";
        assert!(page.contains(line), "{page}");
    }
}
