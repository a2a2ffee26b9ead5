//! Explains what is wrong with a body that is not an event, field by field.

use crate::ingest::event_body::BodyError;
use crate::model::fault::InputFault;
use crate::time::timestamp::Timestamp;
use serde_json::{Map, Value};

/// Returns why a text is not an event.
pub fn diagnose_body(text: &str) -> BodyError {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return BodyError::Malformed(error.to_string()),
    };
    let Value::Object(object) = value else {
        let message = "an event is an object such as {\"type\":\"invoice.paid\",\"data\":{}}";
        return BodyError::Invalid(vec![InputFault::new("", message)]);
    };
    let mut faults = Vec::new();
    text_field(&object, "type", true, &mut faults);
    for name in ["id", "source", "resource", "resource_id"] {
        text_field(&object, name, false, &mut faults);
    }
    time_field(&object, "occurred_at", &mut faults);
    if !object.contains_key("data") {
        faults.push(InputFault::new("data", "missing; give the event's data, any JSON value"));
    }
    if faults.is_empty() {
        faults.push(InputFault::new("", "a field is given twice"));
    }
    BodyError::Invalid(faults)
}

/// Adds a fault if a field is not a string, or if it is required and missing.
pub fn text_field(
    object: &Map<String, Value>,
    name: &str,
    needed: bool,
    faults: &mut Vec<InputFault>,
) {
    match object.get(name) {
        Some(Value::String(_)) => {}
        None | Some(Value::Null) if !needed => {}
        None | Some(Value::Null) => faults.push(InputFault::new(name, "missing; give a text")),
        Some(other) => {
            faults.push(InputFault::new(name, format!("is {}; give a text", kind_of_value(other))));
        }
    }
}

/// Adds a fault if a field is not a time.
pub fn time_field(object: &Map<String, Value>, name: &str, faults: &mut Vec<InputFault>) {
    match object.get(name) {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => {
            faults
                .extend(Timestamp::parse(text).err().map(|e| InputFault::new(name, e.to_string())));
        }
        Some(other) => {
            faults.push(InputFault::new(
                name,
                format!("is {}; give an RFC 3339 time", kind_of_value(other)),
            ));
        }
    }
}

const fn kind_of_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
