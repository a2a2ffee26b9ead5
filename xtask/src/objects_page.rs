//! `docs/objects.md`: every setting of endpoints, flows, sources and tokens as tables, from the
//! OpenAPI description.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use crate::events::cell;

/// The objects: title, schema, and related pages.
const OBJECTS: [(&str, &str, &str); 4] = [
    (
        "Endpoints",
        "NewEndpoint",
        "Where deliveries go, and how: [deliveries.md](deliveries.md). `settings` depends on the kind: [channels.md](channels.md) and
[channels-queues.md](channels-queues.md), or `waybill channel list --json`.",
    ),
    (
        "Flows",
        "FlowSettings",
        "Which events pass which modules to which endpoints: [modules.md](modules.md).",
    ),
    ("Sources", "NewSource", "Where events come from: [connect.md](connect.md)."),
    ("Tokens", "TokenSettings", "Who may call, and what for: [access.md](access.md)."),
];

/// The text of the page before its tables.
const INTRODUCTION: &str = "# Endpoint, flow, source and token reference

<!-- Written by `cargo xtask gen` from the code: change the settings' comments there. -->

The same settings are taken by the REST API ([api.md](api.md)), by files for `waybill apply`, by `--from FILE`, and one by one by
`--set NAME=VALUE` with the names as they stand here: `waybill endpoint update erp --set retry.jitter=0.2`. A list is given
whole, as JSON. What is left out has its default. A setting within another that is **required** is so where the other is given. Durations are texts such as `\"30s\"`.
";

/// Deepest nesting that is listed. Deeper members are in openapi.json only.
const DEPTH: usize = 3;

/// Builds the page from the output of `waybill openapi`.
pub(crate) fn page(openapi: &str) -> Result<String> {
    let document: Value = serde_json::from_str(openapi)?;
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    let schemas = Schemas(schemas.context("it has schemas")?);
    let mut page = INTRODUCTION.to_owned();
    for (title, name, about) in OBJECTS {
        let schema = schemas.0.get(name).with_context(|| format!("there is no schema {name}"))?;
        write!(page, "\n## {title}\n\n{about}\n\n| setting | value | meaning |\n|---|---|---|\n")?;
        schemas.write_members(&mut page, schema, "", DEPTH)?;
    }
    Ok(page)
}

/// The named schemas of the description.
#[derive(Debug, Clone, Copy)]
struct Schemas<'a>(&'a Map<String, Value>);

impl<'a> Schemas<'a> {
    /// Writes a line for each member of an object, and for the members of these.
    fn write_members(
        self,
        page: &mut String,
        object: &'a Value,
        prefix: &str,
        depth: usize,
    ) -> Result<()> {
        for part in self.parts(object) {
            let members = part.get("properties").and_then(Value::as_object);
            for (name, member) in members.into_iter().flatten() {
                let value = self.resolve(member);
                let name = format!("{prefix}{name}");
                let required = if is_required(part, &name, prefix) { ", **required**" } else { "" };
                let kind = self.describe_value(value);
                let meaning = meaning(member, value);
                writeln!(page, "| `{name}` | {}{required} | {} |", cell(&kind), cell(&meaning))?;
                if depth > 1 {
                    let items = value.get("items").map(|items| self.resolve(items));
                    let dots = if items.is_some() { "[]." } else { "." };
                    let inner = items.unwrap_or(value);
                    self.write_members(page, inner, &format!("{name}{dots}"), depth - 1)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the schema itself, or those that `allOf` combines.
    fn parts(self, schema: &'a Value) -> Vec<&'a Value> {
        let parts = schema.get("allOf").and_then(Value::as_array);
        parts.map_or_else(|| vec![schema], |all| all.iter().map(|one| self.resolve(one)).collect())
    }

    /// Follows a reference, also of a schema that may be null.
    fn resolve(self, schema: &'a Value) -> &'a Value {
        let is_null = |one: &&Value| one.get("type").is_some_and(|kind| kind == "null");
        let ways = schema.get("oneOf").and_then(Value::as_array);
        if let Some([one]) =
            ways.map(|ways| ways.iter().filter(|one| !is_null(one)).collect::<Vec<_>>()).as_deref()
        {
            return self.resolve(one);
        }
        let named = schema.get("$ref").and_then(Value::as_str);
        let named =
            named.and_then(|path| path.rsplit('/').next()).and_then(|name| self.0.get(name));
        named.map_or(schema, |named| self.resolve(named))
    }

    /// Describes the kind of a value in a few words.
    fn describe_value(self, schema: &'a Value) -> String {
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return join_words(words.iter());
        }
        if let Some(ways) = schema.get("oneOf").and_then(Value::as_array) {
            let parts = ways.iter().flat_map(|way| self.parts(self.resolve(way)));
            let kinds: Vec<&Value> =
                parts.filter_map(|part| part.pointer("/properties/kind/enum/0")).collect();
            if !kinds.is_empty() {
                return format!("object; `kind` is {}", join_words(kinds.into_iter()));
            }
        }
        match type_of(schema) {
            "string" if schema.get("format").is_some_and(|form| form == "date-time") => {
                "time (RFC 3339)".to_owned()
            }
            "string" => "text".to_owned(),
            "integer" => format!("whole number{}", bounds(schema)),
            "number" => format!("number{}", bounds(schema)),
            "boolean" => "true or false".to_owned(),
            "array" => {
                let items =
                    schema.get("items").map(|items| self.describe_value(self.resolve(items)));
                format!("list of: {}", items.unwrap_or_else(|| "any value".to_owned()))
            }
            "object" => "object".to_owned(),
            _ => "any value".to_owned(),
        }
    }
}

fn is_required(object: &Value, name: &str, prefix: &str) -> bool {
    let required = object.get("required").and_then(Value::as_array);
    let bare = name.strip_prefix(prefix).unwrap_or(name);
    required.is_some_and(|names| names.iter().any(|one| one == bare))
}

/// Returns the type without null.
fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default()
        }
        _ => "",
    }
}

fn bounds(schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    }
}

fn join_words<'a>(words: impl Iterator<Item = &'a Value>) -> String {
    let words = words.filter_map(Value::as_str).map(|word| format!("`{word}`"));
    words.collect::<Vec<_>>().join(", ")
}

/// Returns the description at the place of use, or else that of its schema, with the default and an
/// example.
fn meaning(member: &Value, value: &Value) -> String {
    let used = member.pointer("/description").or_else(|| member.pointer("/oneOf/0/description"));
    let text = used.or_else(|| value.get("description")).and_then(Value::as_str);
    let mut text = text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    for (key, word) in [("default", "Default"), ("example", "Example")] {
        if let Some(shown) = member.get(key).or_else(|| value.get(key)) {
            text = format!("{text} {word}: `{shown}`.");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_the_repository_can_be_read() {
        let page = page(include_str!("../../docs/openapi.json")).unwrap();
        for part in [
            "| `url` | text, **required** |",
            "| `mode` | `immediate`, `smart`, `async` |",
            "| `retry.jitter` | number |",
            "| `modules[].name` | text, **required** |",
            "| `secret` | text |",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }
}
