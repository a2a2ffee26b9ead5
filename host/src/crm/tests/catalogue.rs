//! The data of derived events against what the catalogue says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use toml::{Table, Value};

use super::events::WALK;
use crate::crm::derive::DerivedEvent;

/// Where the host describes its event types.
const CATALOGUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/catalog");

/// Its files by name.
static FILES: LazyLock<BTreeMap<String, Table>> = LazyLock::new(|| {
    let paths = std::fs::read_dir(CATALOGUE).unwrap().map(|entry| entry.unwrap().path());
    let file = |path: &Path| std::fs::read_to_string(path).unwrap().parse().unwrap();
    paths.map(|path| (path.file_stem().unwrap().display().to_string(), file(&path))).collect()
});

fn file(name: &str) -> Table {
    FILES.get(name).unwrap_or_else(|| panic!("no file {name}")).clone()
}

/// The shape or resource of that name.
fn shape(name: &str) -> Table {
    match file("shapes").get(name) {
        Some(Value::Table(shape)) => shape.clone(),
        _ => file(name),
    }
}

fn fields(shape: &Table) -> Table {
    shape.get("fields").and_then(Value::as_table).cloned().unwrap_or_default()
}

/// What is wrong with the data of an event.
fn faults(event: &DerivedEvent) -> Vec<String> {
    let resource = file(event.resource);
    let name = event.event_type.split_once('.').unwrap().1;
    let described = resource["events"][name].as_table().unwrap();
    let data_shape = described.get("data").and_then(Value::as_str).map(shape);
    let of = data_shape.as_ref().unwrap_or(&resource);
    let mut known = fields(of);
    let mut required = vec![of["key"].as_str().unwrap().to_owned()];
    for (field, kind) in described.get("adds").and_then(Value::as_table).into_iter().flatten() {
        if !kind["type"].as_str().unwrap().ends_with('?') {
            required.push(field.clone());
        }
        known.insert(field.clone(), kind.clone());
    }
    if let Some(column) = described.get("changes").and_then(Value::as_str) {
        required.extend(["old", "new"].map(|when| format!("{when}_{column}")));
    }
    let missing = required
        .iter()
        .filter(|field| event.data.get(*field).is_none_or(serde_json::Value::is_null));
    let missing = missing.map(|field| format!("{field} is missing"));
    let deleted = event.event_type.ends_with("deleted");
    missing.chain(check(&known, &event.data, deleted)).collect()
}

/// What is wrong with the values of a record.
fn check(
    known: &Table,
    data: &serde_json::Map<String, serde_json::Value>,
    partial: bool,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (field, kind) in known {
        let kind_name = kind["type"].as_str().unwrap();
        let (scalar, nullable) = (kind_name.trim_end_matches('?'), kind_name.ends_with('?'));
        match data.get(field) {
            None if nullable || partial => {}
            None => faults.push(format!("{field} is not there")),
            Some(serde_json::Value::Null) if nullable => {}
            Some(value) if fits(scalar, kind, value, &mut faults) => {}
            Some(value) => faults.push(format!("{field} is {value}, no {kind_name}")),
        }
    }
    faults
}

fn fits(scalar: &str, kind: &Value, value: &serde_json::Value, faults: &mut Vec<String>) -> bool {
    let inner = || fields(&shape(kind["of"].as_str().unwrap()));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let text = value.as_str();
    match scalar {
        "object" => value.as_object().is_some_and(|object| {
            faults.extend(check(&inner(), object, true));
            true
        }),
        "list" => value.as_array().is_some_and(|list| {
            let objects = list.iter().filter_map(|one| one.as_object());
            objects.for_each(|object| faults.extend(check(&inner(), object, true)));
            true
        }),
        "map" => {
            value.as_object().is_some_and(|all| all.values().all(serde_json::Value::is_string))
        }
        "id" | "int" | "unix" => text.is_some_and(|t| digits(t.trim_start_matches('-'))),
        "flag" => matches!(text, Some("0" | "1")),
        "choice" => text.is_some_and(|t| kind["values"].get(t).is_some()),
        "money" | "decimal" => text.is_some_and(|t| {
            let parts = t.trim_start_matches('-').split_once('.');
            parts.is_some_and(|(whole, part)| digits(whole) && digits(part) && part.len() == 2)
        }),
        "date" => text.is_some_and(|t| t.parse::<jiff::civil::Date>().is_ok() && t.len() == 10),
        "datetime" => {
            text.is_some_and(|t| t.parse::<jiff::civil::DateTime>().is_ok() && t.len() == 19)
        }
        "email" | "text" => text.is_some(),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn the_data_is_what_the_catalogue_says() {
    let events = WALK.steps.iter().flat_map(|(_, events)| events);
    let fault = |event: &DerivedEvent, fault: &str| format!("{}: {fault}", event.event_type);
    let faults = events.flat_map(|event| faults(event).into_iter().map(move |f| fault(event, &f)));
    let wrong: BTreeSet<String> = faults.collect();
    let allowed = |fault: &&String| WITHIN_REASON.contains(&fault.as_str());
    let wrong: Vec<&String> = wrong.iter().filter(|fault| !allowed(fault)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the tables do not tell, and the catalogue's schema does not require.
const WITHIN_REASON: &[&str] = &[
    // A payout of a credit note belongs to no one invoice.
    "payment.refunded: invoiceid is not there",
];
