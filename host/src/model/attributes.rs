//! Attributes of an event that have a meaning for Waybill: properties that a sender states beside
//! the data. They are stored so that a relay can send them again.
//!
//! They are stored among the CloudEvents extensions of an event. Their names are lower-case letters
//! and digits.

use super::trace_context::{BroughtContext, TRACE_PARENT, TRACE_STATE};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The `subject`, if it is more than the record's id.
pub const SUBJECT: &str = "subject";
/// The content type of the data, if it is not plain `application/json`.
pub const CONTENT_TYPE: &str = "datacontenttype";
/// The schema of the data.
pub const SCHEMA: &str = "dataschema";
/// `base64` if the data is a string that encodes bytes. CloudEvents 0.3 had an attribute of this
/// name.
pub const ENCODING: &str = "datacontentencoding";
/// The value of [`ENCODING`].
pub const BASE64: &str = "base64";
/// The type that the sender gave, if it is not a valid event type of Waybill.
pub const SENT_TYPE: &str = "senttype";
/// The number of times the event was delivered and captured again.
pub const HOPS: &str = "waybillhops";

/// Id of the cause of the event: the delivery whose answer became the event, or the event during
/// whose planning a module emitted it. The name has a `-`, which no extension of CloudEvents may
/// have, so no receiver gets it as an extension.
pub const CAUSED_BY: &str = "waybill-caused-by";
/// The operation of an endpoint of kind `api` that a delivery runs. The host sets it if a module's
/// dispatch or a call names the operation.
pub const OPERATION: &str = "waybill-operation";

/// The header with the same number. Each delivery has it, and incoming requests may have it.
pub const HOPS_HEADER: &str = "x-waybill-hops";

/// All attributes of this module. None of them is an extension that a module may set or a relay
/// sends.
pub const RESERVED: [&str; 6] = [SUBJECT, CONTENT_TYPE, SCHEMA, ENCODING, SENT_TYPE, HOPS];

/// The prefix of attribute names that only the host sets.
const HOST_PREFIX: &str = "waybill-";
/// The number of events that lead from the first one to this one. Unlike [`HOPS`], it does not
/// count deliveries.
pub const MODULE_HOPS: &str = "waybill-hops";

/// Whether only the host sets an attribute of this name.
pub fn is_reserved_for_host(name: &str) -> bool {
    name.get(..HOST_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(HOST_PREFIX))
}

/// Most times that an event may be delivered and captured again. Chains of systems are shorter than
/// this; loops are not.
pub const MAX_HOPS: u32 = 8;

/// The attributes of an event that have a meaning for Waybill.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SentWith {
    pub subject: Option<String>,
    /// The content type of the data.
    pub content_type: Option<String>,
    /// The schema of the data.
    pub schema: Option<String>,
    /// Whether the data is base64 of bytes.
    pub is_base64: bool,
    /// The type that the sender gave the event.
    pub event_type: Option<String>,
    /// The number of times the event was delivered and captured again.
    pub hops: u32,
    /// The trace context of the event.
    pub trace: Option<BroughtContext>,
}

impl SentWith {
    /// Reads the attributes of an event.
    pub fn read(attributes: Option<&RawValue>) -> Self {
        let Some(attributes) = attributes else { return Self::default() };
        let mut map: Map<String, Value> =
            serde_json::from_str(attributes.get()).unwrap_or_default();
        let mut text = |name: &str| match map.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        };
        let (subject, content_type, schema) = (text(SUBJECT), text(CONTENT_TYPE), text(SCHEMA));
        let is_base64 = text(ENCODING).as_deref() == Some(BASE64);
        let event_type = text(SENT_TYPE);
        let (parent, state) = (text(TRACE_PARENT), text(TRACE_STATE));
        let trace = parent.and_then(|parent| BroughtContext::parse(&parent, state.as_deref()));
        let hops = map.get(HOPS).and_then(hops).unwrap_or_default();
        Self { subject, content_type, schema, is_base64, event_type, hops, trace }
    }
}

/// Reads a number of hops: a number, or its digits as a text.
pub fn hops(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a content type denotes JSON (RFC 6839, section 3.1).
pub fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.ends_with("/json") || media.ends_with("+json")
}

/// Whether a content type denotes a form. Its case does not matter (RFC 9110, section 8.3.1).
pub fn is_form(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_attributes_are_read_and_others_ignored() {
        let text = r#"{"subject":"a/b","tenant":"x","waybillhops":"3","datacontentencoding":"base64","dataschema":5}"#;
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        let read = SentWith::read(Some(&raw));
        assert_eq!((read.subject.as_deref(), read.hops), (Some("a/b"), 3));
        assert!(read.is_base64);
        assert_eq!(read.schema, None);
        assert_eq!(SentWith::read(None), SentWith::default());
    }

    #[test]
    fn json_has_many_content_types() {
        for json in ["application/json", "text/json; charset=utf-8", "Application/vnd.x+JSON"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["application/octet-stream", "text/plain", "", "application/json-seq"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
