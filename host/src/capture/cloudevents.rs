//! CloudEvents 1.0 in structured and binary mode (cloudevents/spec, JSON format and HTTP binding).
//!
//! `type`, `id`, `time` and `source` are what they are called; a `subject` of the form
//! `resource/id` names resource and id, any other the id. Other attributes are kept.

use super::diagnose::{text_field, time_field};
use super::incoming::Incoming;
use super::read::Refusal;
use crate::domain::problem::Fault;
use crate::domain::time::Timestamp;
use http::{HeaderMap, header};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Attributes with a meaning of their own.
const KNOWN: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

/// The data of an event in structured mode, byte for byte.
#[derive(serde::Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<&'a RawValue>,
}

/// An event in structured mode.
pub(super) fn structured(text: &str) -> Result<Incoming, Refusal> {
    let malformed = |error: serde_json::Error| Refusal::Malformed(error.to_string());
    let value: Value = serde_json::from_str(text).map_err(malformed)?;
    let Value::Object(attributes) = value else {
        return Err(Refusal::Invalid(vec![Fault::new("", "a CloudEvent is an object")]));
    };
    check(&attributes)?;
    // In base64 it stays a text.
    let data: Data<'_> = serde_json::from_str(text).map_err(malformed)?;
    let data = data
        .data
        .or(data.data_base64)
        .map_or_else(|| RawValue::NULL.to_owned(), RawValue::to_owned);
    incoming(&attributes, data)
}

/// An event in binary mode: attributes in `ce-*` headers, the body is the data.
pub(super) fn binary(headers: &HeaderMap, body: &str) -> Result<Incoming, Refusal> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix("ce-") {
            let text = percent_encoding::percent_decode(value.as_bytes()).decode_utf8();
            let text = text.map_err(|_not_utf8| {
                Refusal::Invalid(vec![Fault::new(
                    format!("ce-{name}"),
                    "is not percent-encoded UTF-8",
                )])
            })?;
            attributes.insert(name.to_owned(), Value::String(text.trim_matches('"').to_owned()));
        }
    }
    check(&attributes)?;
    let media = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    let is_json = media.is_empty() || media.ends_with("/json") || media.ends_with("+json");
    let data = match (body.is_empty(), is_json) {
        (true, _) => RawValue::NULL.to_owned(),
        (false, true) => serde_json::from_str::<&RawValue>(body)
            .map_err(|error| Refusal::Malformed(error.to_string()))?
            .to_owned(),
        (false, false) => serde_json::value::to_raw_value(body)
            .map_err(|error| Refusal::Malformed(error.to_string()))?,
    };
    incoming(&attributes, data)
}

fn check(attributes: &Map<String, Value>) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    for name in ["id", "source", "specversion", "type"] {
        text_field(attributes, name, true, &mut faults);
    }
    text_field(attributes, "subject", false, &mut faults);
    time_field(attributes, "time", &mut faults);
    let version = attributes.get("specversion").and_then(Value::as_str);
    if version.is_some_and(|version| version != "1.0") {
        faults.push(Fault::new("specversion", "must be `1.0`"));
    }
    faults.sort_by(|a, b| a.path.cmp(&b.path));
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults)) }
}

fn incoming(attributes: &Map<String, Value>, data: Box<RawValue>) -> Result<Incoming, Refusal> {
    let text = |name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
    let (resource, resource_id) = match text("subject") {
        None => (None, None),
        Some(subject) => match subject.split_once('/') {
            Some((resource, id)) if !resource.is_empty() && !id.is_empty() => {
                (Some(resource.to_owned()), Some(id.to_owned()))
            }
            Some(_) | None => (None, Some(subject)),
        },
    };
    let extensions: Map<String, Value> = attributes
        .iter()
        .filter(|(name, _)| !KNOWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let raw = |map: &Map<String, Value>| {
        serde_json::value::to_raw_value(map).map_err(|error| Refusal::Malformed(error.to_string()))
    };
    Ok(Incoming {
        event_type: text("type").unwrap_or_default(),
        data,
        id: text("id"),
        source: text("source"),
        resource,
        resource_id,
        occurred_at: text("time").and_then(|time| Timestamp::parse(&time).ok()),
        changes: None,
        second_name: false,
        attributes: if extensions.is_empty() { None } else { Some(raw(&extensions)?) },
    })
}
