//! Derives the JSON Schema (2020-12) of an event's data.
//!
//! The schema is tolerant on purpose, because the CRM's interfaces send the same number as `"28"`
//! or as `28`, and may omit columns or add joined ones. Numbers may therefore have either form,
//! only the key and the fields that the event adds are required, and further properties are
//! allowed.

use serde_json::{Map, Value, json};

use super::source::{CatalogField, OrderedMap, RecordShape, ScalarKind};

/// Returns the schema of an event's data. `required` lists the names that the data must have, and
/// `shape` finds a shape by its name.
pub fn of_event<'a>(
    name: &str,
    about: &str,
    fields: &OrderedMap<CatalogField>,
    required: &[String],
    shape: &impl Fn(&str) -> Option<&'a RecordShape>,
) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": about,
        "type": "object",
        "properties": properties(fields, shape),
        "required": required,
    })
}

fn properties<'a>(
    fields: &OrderedMap<CatalogField>,
    shape: &impl Fn(&str) -> Option<&'a RecordShape>,
) -> Map<String, Value> {
    fields.iter().map(|(name, field)| (name.to_owned(), of_field(field, shape))).collect()
}

fn of_field<'a>(field: &CatalogField, shape: &impl Fn(&str) -> Option<&'a RecordShape>) -> Value {
    let mut schema = match field.kind.scalar {
        ScalarKind::Id | ScalarKind::Int | ScalarKind::Unix => number("integer", "^-?[0-9]+$"),
        ScalarKind::Money | ScalarKind::Decimal => number("number", "^-?[0-9]+\\.[0-9]{2}$"),
        ScalarKind::Flag => json!({ "enum": ["0", "1", 0, 1] }),
        ScalarKind::Choice => json!({ "enum": choices(field) }),
        ScalarKind::Date => json!({ "type": "string", "format": "date" }),
        ScalarKind::DateTime => json!({
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}",
        }),
        ScalarKind::Email | ScalarKind::Text => json!({ "type": "string" }),
        ScalarKind::Object => record_schema(field, shape),
        ScalarKind::List => json!({ "type": "array", "items": record_schema(field, shape) }),
        // The CRM's REST interfaces send custom fields as a list.
        ScalarKind::Map => json!({ "type": ["object", "array"] }),
    };
    if field.kind.nullable {
        allow_null(&mut schema);
    }
    if let (Some(about), Value::Object(members)) = (description(field), &mut schema) {
        members.insert("description".into(), Value::String(about));
    }
    schema
}

fn number(kind: &str, pattern: &str) -> Value {
    json!({ "type": ["string", kind], "pattern": pattern })
}

/// Returns each value as a string and, if it is a number, also as a number.
fn choices(field: &CatalogField) -> Vec<Value> {
    let texts = field.values.iter().map(|(value, _)| Value::from(value));
    let numbers = field.values.iter().filter_map(|(value, _)| value.parse::<i64>().ok());
    texts.chain(numbers.map(Value::from)).collect()
}

fn record_schema<'a>(
    field: &CatalogField,
    shape: &impl Fn(&str) -> Option<&'a RecordShape>,
) -> Value {
    let Some(inner) = field.of.as_deref().and_then(shape) else {
        return json!({ "type": "object" });
    };
    json!({
        "type": "object",
        "description": inner.about,
        "properties": properties(&inner.fields, shape),
    })
}

fn allow_null(schema: &mut Value) {
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.take(), "null"]),
        None => {}
    }
}

/// Describes the field and the meaning of its values.
fn description(field: &CatalogField) -> Option<String> {
    let values: Vec<String> =
        field.values.iter().map(|(value, what)| format!("{value} {what}")).collect();
    let values = (!values.is_empty()).then(|| format!("{}.", values.join(", ")));
    let parts: Vec<String> = field.about.iter().cloned().chain(values).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}
