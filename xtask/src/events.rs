//! `docs/events.md`: the catalogue of event types as a page, and how a database source detects each
//! of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process::workspace;

/// Largest width of an example.
const WIDTH: usize = 118;

/// The ways in which a database source detects an event: the name in `tests/crm/facts`, the name in
/// the page, and the meaning.
const WAYS: [(&str, &str, &str); 4] = [
    ("exact", "exact", "A row is new, gone or another than before, and that says it."),
    ("clock", "by date", "The day has come that the record names; told once for each such day."),
    (
        "approximate",
        "approximate",
        "The CRM keeps no such state; the nearest that it keeps counts.",
    ),
    ("hook-only", "webhook only", "The tables tell nothing of it; only a webhook of the CRM does."),
];

/// Builds the page from the output of `waybill event-type list --json`.
pub(crate) fn page(catalogue: &str) -> Result<String> {
    let types: Vec<Value> = serde_json::from_str(catalogue)?;
    let facts = facts()?;
    let mut resources: BTreeMap<&str, Vec<EventType<'_>>> = BTreeMap::new();
    for known in &types {
        let known = EventType::read(known, &facts)?;
        resources.entry(known.resource).or_default().push(known);
    }
    ensure!(types.len() == facts.len(), "tests/crm/facts and host/catalog name other event types");
    let mut page = introduction(types.len(), &resources);
    for (resource, types) in &resources {
        section(&mut page, resource, types)?;
    }
    Ok(page)
}

/// Returns the entries of `tests/crm/facts` by event type.
fn facts() -> Result<BTreeMap<String, Value>> {
    let text = read("tests/crm/facts/event-derivation.json")?;
    let mut facts: Value = serde_json::from_str(&text)?;
    let events = facts.get_mut("events").and_then(Value::as_array_mut).context("it has events")?;
    let named = |event: Value| Ok((text_of(&event, "name")?.to_owned(), event));
    events.drain(..).map(named).collect()
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(workspace().join(path)).with_context(|| path.to_owned())
}

fn text_of<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("no text at {key} in {value}"))
}

/// One event type, and how it is detected.
#[derive(Debug)]
struct EventType<'a> {
    name: &'a str,
    resource: &'a str,
    description: &'a str,
    same: Vec<&'a str>,
    is_second_name: bool,
    example: &'a Value,
    way: &'static str,
    rule: &'a str,
}

impl<'a> EventType<'a> {
    fn read(known: &'a Value, facts: &'a BTreeMap<String, Value>) -> Result<Self> {
        let name = text_of(known, "name")?;
        let fact = facts.get(name).with_context(|| format!("tests/crm/facts lacks {name}"))?;
        let quality = text_of(fact, "db_quality")?;
        let way = WAYS.iter().find(|(word, ..)| *word == quality);
        let same = known.get("aliases").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            name,
            resource: text_of(known, "resource")?,
            description: text_of(known, "description")?,
            same: same.filter_map(Value::as_str).collect(),
            is_second_name: fact.get("same_occurrence_as").is_some(),
            example: known.get("example").with_context(|| format!("{name} has an example"))?,
            way: way.with_context(|| format!("nobody knows the way {quality}"))?.1,
            rule: text_of(fact, "db_rule")?,
        })
    }
}

fn introduction(count: usize, resources: &BTreeMap<&str, Vec<EventType<'_>>>) -> String {
    let mut page = format!(
        "# Event types

<!-- Written by `cargo xtask gen` from host/catalog and tests/crm/facts: change those. -->

The {count} event types of the catalogue. `waybill event-type show invoice.paid` and `GET /api/v1/event-types/invoice.paid`
tell the rest of each: the JSON Schema of its data, and an example. Events of other types are taken too, unless their source is strict. Types that begin with `waybill.` and the source `waybill` are kept for Waybill's own [notices](monitoring.md) and refused (422).

| resource | events | |
|---|---|---|
"
    );
    for (resource, types) in resources {
        let names = types.iter().map(|known| known.name.split_once('.').map_or("", |name| name.1));
        let names = names.collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| [{resource}](#{resource}) | {} | {names} |", types.len());
    }
    page += "
## How they are found

A webhook brings what the CRM's module sends, a poll of its REST API what is created and updated
([connect.md](connect.md)). A source that reads the CRM's database finds what the column *database* says:

| database | events | |
|---|---|---|
";
    let all = || resources.values().flatten();
    for (_, way, meaning) in WAYS {
        let count = all().filter(|known| known.way == way).count();
        let _ = writeln!(page, "| {way} | {count} | {meaning} |");
    }
    page += "
Those that are not exact, and what the tables say of them:

| event | database | in the tables |
|---|---|---|
";
    for (_, way, _) in WAYS.iter().skip(1) {
        for known in all().filter(|known| known.way == *way) {
            let _ = writeln!(page, "| `{}` | {way} | {} |", known.name, cell(known.rule));
        }
    }
    page += "
Some facts have more names than one: the column *same as* lists the others. Of these a database source sends the one that is
not marked as second name; a second name goes to those alone who ask for it as it is written here, and not by a pattern such as `payment.*`.
";
    page
}

fn section(page: &mut String, resource: &str, types: &[EventType<'_>]) -> Result<()> {
    let about = about(resource)?;
    write!(page, "\n## {resource}\n\n{about}\n\n")?;
    page.push_str("| event | what happened | same as | database |\n|---|---|---|---|\n");
    for known in types {
        let second = if known.is_second_name { " (second name)" } else { "" };
        let same: Vec<String> = known.same.iter().map(|name| format!("`{name}`")).collect();
        let (same, description) = (same.join(", "), cell(known.description));
        writeln!(page, "| `{}`{second} | {description} | {same} | {} |", known.name, known.way)?;
    }
    let is_creation = |known: &&EventType<'_>| known.name.ends_with(".created");
    if let Some(shown) = types.iter().find(is_creation).or(types.first()) {
        let data = lay(shown.example, 0);
        write!(page, "\nThe data of `{}`, for example:\n\n```json\n{data}\n```\n", shown.name)?;
    }
    Ok(())
}

/// Returns the catalogue's description of a resource, in a sentence.
fn about(resource: &str) -> Result<String> {
    let path = format!("host/catalog/{resource}.toml");
    let text = read(&path)?;
    let about = text.lines().find_map(|line| line.strip_prefix("about = "));
    // TOML and JSON use the same notation for a text on one line.
    Ok(serde_json::from_str(about.with_context(|| format!("{path} says what it is about"))?)?)
}

/// Returns a text for the cell of a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Formats a value as JSON within the width: on one line if it fits, else with as many members to a
/// line as fit.
fn lay(value: &Value, indent: usize) -> String {
    let flat = flat(value);
    let members: Vec<String> = match value {
        Value::Array(items) => items.iter().map(|item| lay(item, indent + 2)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                format!("{}: {}", Value::from(key.as_str()), lay(value, indent + 2))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return flat,
    };
    if indent + flat.chars().count() <= WIDTH {
        return flat;
    }
    let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
    format!("{open}\n{}\n{}{close}", fill(&members, indent + 2), " ".repeat(indent))
}

/// Joins members, with a new line where the next would be too wide.
fn fill(members: &[String], indent: usize) -> String {
    let mut lines = vec![String::new()];
    for (at, member) in members.iter().enumerate() {
        let comma = if at + 1 == members.len() { "" } else { "," };
        let line = lines.last().map_or(0, |line| line.chars().count());
        let is_long = member.contains('\n');
        if line > 0 && (is_long || indent + line + member.chars().count() + 2 > WIDTH) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            let space = if line.is_empty() { "" } else { " " };
            let _ = write!(line, "{space}{member}{comma}");
        }
        if is_long && !comma.is_empty() {
            lines.push(String::new());
        }
    }
    let indented = lines.iter().map(|line| format!("{}{line}", " ".repeat(indent)));
    indented.collect::<Vec<_>>().join("\n")
}

/// Formats a value as JSON on one line, with the usual spaces.
fn flat(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flat).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                format!("{}: {}", Value::from(key.as_str()), flat(value))
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_value_is_laid_out_and_stays_the_same() {
        assert_eq!(lay(&json!({"a": [1, "x"], "b": {}}), 0), r#"{"a": [1, "x"], "b": {}}"#);
        let items: Vec<Value> = (0..40).map(|n| json!({"id": n, "name": "é".repeat(9)})).collect();
        let long = json!({"before": 1, "items": items, "after": null, "text": "x".repeat(200)});
        let laid = lay(&long, 0);
        assert_eq!(serde_json::from_str::<Value>(&laid).unwrap(), long);
        let wide: Vec<_> = laid.lines().filter(|line| line.chars().count() > WIDTH).collect();
        assert_eq!(wide.len(), 1, "only the text that cannot be broken: {wide:#?}");
    }
}
