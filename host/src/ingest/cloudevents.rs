//! Reads CloudEvents 1.0 in structured and binary mode (cloudevents/spec, JSON format and HTTP
//! binding).
//!
//! `type`, `id`, `time` and `source` keep their meaning. A `subject` of the form `resource/id`
//! gives the resource and the record's id; any other subject is the id. All other attributes are
//! stored, including those that say how to read the data, so that a relay can send the event on
//! unchanged.

use super::diagnose::{text_field, time_field};
use super::incoming::IncomingEvent;
use crate::crypto::digest::ShortDigest;
use crate::ingest::event_body::BodyError;
use crate::json::members::JsonMembers;
use crate::json::surrogates::replace_lone_surrogates;
use crate::model::attributes;
use crate::model::attributes::{is_form, is_json};
use crate::model::cloud_events;
use crate::model::fault::InputFault;
use crate::model::type_pattern::{MAX_EVENT_TYPE, is_event_type};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, header};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The data of an event, and how to read it.
struct EventContent {
    /// The data as JSON: a string if the data is not JSON.
    data: Box<RawValue>,
    /// Whether that string is the base64 of the data.
    is_base64: bool,
}

/// Reads an event in structured mode.
pub fn read_structured(text: &str) -> Result<IncomingEvent, BodyError> {
    let body: &RawValue = serde_json::from_str(text).map_err(malformed)?;
    let Ok(members) = JsonMembers::read(body.get()) else {
        return Err(BodyError::Invalid(vec![InputFault::new("", "a CloudEvent is an object")]));
    };
    let data = members.get("data").unwrap_or(RawValue::NULL);
    let read = |(name, value): (&str, &RawValue)| -> serde_json::Result<(String, Value)> {
        // Only whether there is data matters here, so numbers that `Value` cannot hold do no harm.
        let is_data = name == "data" && value.get() != "null";
        let value = if is_data { Value::Bool(true) } else { serde_json::from_str(value.get())? };
        Ok((name.to_owned(), value))
    };
    let attributes: Result<Map<String, Value>, _> = members.iter().map(read).collect();
    let attributes = attributes.map_err(malformed)?;
    check_attributes(&attributes)?;
    let content = match attributes.get("data_base64") {
        Some(Value::String(text)) => base64_content(text)?,
        _ => json_content(data),
    };
    incoming(attributes, content)
}

/// Reads an event in binary mode: the attributes are in `ce-*` headers, and the body is the data.
pub fn read_binary(headers: &HeaderMap, body: &[u8]) -> Result<IncomingEvent, BodyError> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(cloud_events::HEADER_PREFIX) {
            let fault = |message: &str| {
                BodyError::Invalid(vec![InputFault::new(format!("ce-{name}"), message)])
            };
            let text = header_text(value).ok_or_else(|| fault("is not percent-encoded UTF-8"))?;
            if attributes.insert(name.to_owned(), Value::String(text)).is_some() {
                return Err(fault("is given twice"));
            }
        }
    }
    // In this mode the content type is in the header `Content-Type` (HTTP binding, section 3.1.1).
    attributes.remove(attributes::CONTENT_TYPE);
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(given) = given.filter(|given| !given.trim().is_empty()) {
        attributes.insert(attributes::CONTENT_TYPE.to_owned(), given.into());
    }
    check_attributes(&attributes)?;
    let content = body_content(&mut attributes, body)?;
    incoming(attributes, content)
}

/// Returns the value of a header: first unquotes a quoted string, then decodes percent-encoding
/// once (HTTP binding, section 3.1.3.2).
fn header_text(value: &HeaderValue) -> Option<String> {
    let bytes = value.as_bytes();
    let quoted = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let bytes = quoted.map_or(Cow::Borrowed(bytes), |inner| Cow::Owned(unquoted(inner)));
    percent_encoding::percent_decode(&bytes).decode_utf8().ok().map(Cow::into_owned)
}

/// Returns the content of a quoted string (RFC 9110, section 5.6.4), in which a backslash escapes
/// the next character.
fn unquoted(inner: &[u8]) -> Vec<u8> {
    let mut bytes = inner.iter().copied();
    let mut plain = Vec::with_capacity(inner.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
    }
    plain
}

/// Reads the body of binary mode according to its content type.
fn body_content(
    attributes: &mut Map<String, Value>,
    body: &[u8],
) -> Result<EventContent, BodyError> {
    if body.is_empty() {
        return Ok(json_content(RawValue::NULL));
    }
    let content_type = attributes.get(attributes::CONTENT_TYPE).and_then(Value::as_str);
    let content_type = content_type.unwrap_or_default().to_owned();
    if content_type.is_empty() || is_json(&content_type) {
        let text = std::str::from_utf8(body).map_err(malformed)?;
        let text = replace_lone_surrogates(text);
        return Ok(json_content(serde_json::from_str::<&RawValue>(&text).map_err(malformed)?));
    }
    let text = std::str::from_utf8(body).ok().filter(|_| is_text(&content_type));
    let Some(text) = text else { return base64_content(&BASE64_STANDARD.encode(body)) };
    // This is what curl sends for every body by default.
    if is_form(&content_type)
        && let Ok(data) = serde_json::from_str::<&RawValue>(&replace_lone_surrogates(text))
    {
        attributes.remove(attributes::CONTENT_TYPE);
        return Ok(json_content(data));
    }
    let data = serde_json::value::to_raw_value(text).map_err(malformed)?;
    Ok(EventContent { data, is_base64: false })
}

/// Whether data of this content type is text, which is stored as a JSON string. Other data is
/// stored in base64, even if its bytes happen to be text.
fn is_text(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.starts_with("text/")
        || media.ends_with("/xml")
        || media.ends_with("+xml")
        || is_form(content_type)
}

fn json_content(data: &RawValue) -> EventContent {
    EventContent { data: data.to_owned(), is_base64: false }
}

fn base64_content(text: &str) -> Result<EventContent, BodyError> {
    if BASE64_STANDARD.decode(text).is_err() {
        let message = "is not base64 with its padding (RFC 4648, section 4)";
        return Err(BodyError::Invalid(vec![InputFault::new("data_base64", message)]));
    }
    let data = serde_json::value::to_raw_value(text).map_err(malformed)?;
    Ok(EventContent { data, is_base64: true })
}

fn malformed(error: impl std::fmt::Display) -> BodyError {
    BodyError::Malformed(error.to_string())
}

fn check_attributes(attributes: &Map<String, Value>) -> Result<(), BodyError> {
    let mut faults = Vec::new();
    if attributes.len() > cloud_events::MAX_ATTRIBUTES {
        let most = cloud_events::MAX_ATTRIBUTES;
        let message =
            format!("more than {most} attributes; put what is not about the event into `data`");
        faults.push(InputFault::new("", message));
    }
    for name in ["id", "source", "specversion", "type"] {
        text_field(attributes, name, true, &mut faults);
    }
    for name in ["data_base64", attributes::CONTENT_TYPE, attributes::SCHEMA, "subject"] {
        text_field(attributes, name, false, &mut faults);
    }
    time_field(attributes, "time", &mut faults);
    let text = |name: &str| attributes.get(name).and_then(Value::as_str);
    if text("specversion").is_some_and(|version| version != cloud_events::SPEC_VERSION) {
        faults.push(InputFault::new("specversion", "must be `1.0`"));
    }
    if text(attributes::CONTENT_TYPE).is_some_and(|value| HeaderValue::from_str(value).is_err()) {
        faults.push(InputFault::new(attributes::CONTENT_TYPE, "is not a content type"));
    }
    let has_data = attributes.get("data").is_some_and(|data| !data.is_null());
    if has_data && text("data_base64").is_some() {
        faults.push(InputFault::new("data_base64", "stands beside `data`; give one of them"));
    }
    faults.sort_by(|a, b| a.path.cmp(&b.path));
    if faults.is_empty() { Ok(()) } else { Err(BodyError::Invalid(faults)) }
}

fn incoming(
    attributes: Map<String, Value>,
    content: EventContent,
) -> Result<IncomingEvent, BodyError> {
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
    let sent_type = text("type").unwrap_or_default();
    let event_type = event_type(&sent_type);
    let (id, source) = (text("id"), text("source"));
    let occurred_at = text("time").and_then(|time| Timestamp::parse(&time).ok());
    let kept = kept(attributes, &content, resource.is_some(), &sent_type, &event_type);
    let attributes = if kept.is_empty() {
        None
    } else {
        Some(serde_json::value::to_raw_value(&kept).map_err(malformed)?)
    };
    Ok(IncomingEvent {
        id,
        source,
        resource,
        resource_id,
        occurred_at,
        attributes,
        ..IncomingEvent::new(event_type, content.data)
    })
}

/// Returns the attributes of the event: the sender's, and those needed to send the event on
/// unchanged.
fn kept(
    mut attributes: Map<String, Value>,
    content: &EventContent,
    has_resource: bool,
    sent_type: &str,
    event_type: &str,
) -> Map<String, Value> {
    let is_plain_json = |value: &Value| {
        value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("application/json"))
    };
    attributes.retain(|name, value| match name.as_str() {
        attributes::SUBJECT => has_resource,
        attributes::CONTENT_TYPE => !value.is_null() && !is_plain_json(value),
        attributes::SCHEMA => !value.is_null(),
        attributes::ENCODING | attributes::SENT_TYPE => false,
        other => !cloud_events::ENVELOPE.contains(&other),
    });
    if content.is_base64 {
        attributes.insert(attributes::ENCODING.to_owned(), attributes::BASE64.into());
    }
    if sent_type != event_type {
        attributes.insert(attributes::SENT_TYPE.to_owned(), sent_type.into());
    }
    attributes
}

/// Makes an event type of a CloudEvents type, which can be any text, such as a URI. Separators
/// become dots. If other characters have to be replaced, a digest is appended, so that different
/// types stay different.
fn event_type(sent: &str) -> Cow<'_, str> {
    if is_event_type(sent) || sent.is_empty() {
        return Cow::Borrowed(sent);
    }
    let bare = sent.split_once("://").map_or(sent, |(_scheme, rest)| rest);
    let text: String = bare.chars().map(fitting).collect();
    let segments: Vec<&str> = text.split('.').filter(|segment| !segment.is_empty()).collect();
    let mut name = segments.join(".");
    let first = segments.first().map_or(0, |segment| segment.len());
    // The name must not end with a dot after it was cut off.
    if segments.len() < 2 || first >= MAX_EVENT_TYPE - DIGEST {
        name = format!("cloudevents.{}", if name.is_empty() { "event" } else { &name });
    }
    let is_exact = !bare.chars().any(|c| c != '_' && fitting(c) == '_') && !segments.is_empty();
    if !is_exact || name.len() > MAX_EVENT_TYPE {
        let digest = ShortDigest::of([sent]).to_string();
        name.truncate(MAX_EVENT_TYPE - DIGEST);
        let name = name.trim_end_matches('.');
        return Cow::Owned(format!("{name}_{}", digest.get(..DIGEST - 1).unwrap_or_default()));
    }
    Cow::Owned(name)
}

/// The number of bytes of `_` and the digest after a name.
const DIGEST: usize = 9;

/// Returns the character, or the one that replaces it in an event type.
fn fitting(c: char) -> char {
    match c {
        '/' | ':' | '#' | '?' | '&' | '=' => '.',
        '_' | '-' | '.' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Option<String> {
        header_text(&HeaderValue::from_str(value).unwrap())
    }

    #[test]
    fn header_values_are_unquoted_and_decoded_once() {
        for (value, wanted) in [
            ("plain", Some("plain")),
            (r#""a b""#, Some("a b")),
            (r#""say \"hi\" \\""#, Some(r#"say "hi" \"#)),
            ("%22quoted%22", Some("\"quoted\"")),
            ("Gr%C3%BC%C3%9Fe%20%2520", Some("Grüße %20")),
            (r#""%C3%A9""#, Some("é")),
            (r#"a"b"#, Some("a\"b")),
            ("\"", Some("\"")),
            ("%FF", None),
        ] {
            assert_eq!(text(value).as_deref(), wanted, "{value}");
        }
    }

    #[test]
    fn types_become_event_types() {
        for (sent, wanted) in [
            ("invoice.paid", "invoice.paid"),
            ("https://example.com/orders/created", "example.com.orders.created"),
            ("urn:acme:order:created", "urn.acme.order.created"),
            ("com.example/order#created", "com.example.order.created"),
            ("OrderCreated", "cloudevents.OrderCreated"),
        ] {
            assert_eq!(event_type(sent), wanted);
        }
        assert_ne!(event_type("订单.created"), event_type("客户.created"));
        let long = "x.".repeat(100);
        assert_ne!(event_type(&format!("{long}a")), event_type(&format!("{long}b")));
    }

    proptest! {
        #[test]
        fn every_type_becomes_one(sent in ".{1,200}") {
            prop_assert!(is_event_type(&event_type(&sent)), "{} {}", sent, event_type(&sent));
        }
    }
}
