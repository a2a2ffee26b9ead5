//! Renders the body of a delivery in one of five envelopes.
//!
//! | envelope | body | content type |
//! |---|---|---|
//! | `default` | `event`, `id`, `delivery_id`, `timestamp`, `source`, `resource`, `resource_id`,
//! `payload`, and if known `parent_id`, `changed`, `previous`, `collapsed` | `application/json` |
//! | `standard` | `type`, `timestamp`, `data` (Standard Webhooks 1.0) | `application/json` |
//! | `cloudevents` | a CloudEvents 1.0 event in structured mode | `application/cloudevents+json` |
//! | `cloudevents-binary` | the data, with the attributes in `ce-*` headers (HTTP binding 1.0.2,
//! section 3.1) | `application/json` |
//! | `raw` | the data as it was captured, byte for byte | `application/json` |
//!
//! Data that was captured as an event of CloudEvents and is not JSON is a string in `default` and
//! `standard`: the text itself, or its bytes in base64. The other envelopes send the data
//! unchanged, with its own content type; `cloudevents` carries bytes as `data_base64`.
//!
//! Every JSON body except `raw` is canonical as a whole ([`crate::json::canonical`]). In the two
//! CloudEvents envelopes, `id` is the event's id. `subject` is the subject the event came with, or
//! else the resource id. The extension attributes `deliveryid`, `collapsed` and `waybillhops` hold
//! the delivery's id, the number of collapsed events, and the number of times the event was
//! delivered. An event that a module made has an id of its own, so receivers that drop repeats by
//! id keep all parts of a split; `parent_id` (`parentid`) is then the id of the captured event.
//! `changed` and `previous` have no place in the CloudEvents envelopes, because attributes cannot
//! be objects.

use crate::json::canonical;
use crate::json::canonical::CanonicalError;
use crate::model::attributes::{HOPS, RESERVED, is_json};
use crate::model::cloud_events;
use crate::model::envelope::{EnvelopeForm, EnvelopeMessage, JSON, RenderedBody};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::borrow::Cow;

/// Renders a message. Fails if a JSON text in the message is invalid or nested too deeply.
pub fn render_envelope(
    envelope: EnvelopeForm,
    message: &EnvelopeMessage<'_>,
) -> Result<RenderedBody, CanonicalError> {
    match envelope {
        EnvelopeForm::Default => default(message).map(RenderedBody::json),
        EnvelopeForm::Standard => standard(message).map(RenderedBody::json),
        EnvelopeForm::CloudEvents => structured(message),
        EnvelopeForm::CloudEventsBinary => binary(message),
        EnvelopeForm::Raw => Ok(match not_json(message) {
            Some(body) => {
                RenderedBody { body, content_type: content_type(message), headers: Vec::new() }
            }
            None => RenderedBody::json(message.data.as_bytes().to_vec()),
        }),
    }
}

fn content_type(message: &EnvelopeMessage<'_>) -> Cow<'static, str> {
    message.content_type.map_or(JSON.into(), |given| given.to_owned().into())
}

/// Returns the bytes of data that is not JSON, or `None` if the data is JSON.
fn not_json(message: &EnvelopeMessage<'_>) -> Option<Vec<u8>> {
    if !message.is_base64 && message.content_type.is_none_or(is_json) {
        return None;
    }
    let text: String = serde_json::from_str(message.data).ok()?;
    if message.is_base64 { BASE64_STANDARD.decode(text).ok() } else { Some(text.into_bytes()) }
}

/// Returns the type and the subject for CloudEvents.
fn named<'m>(message: &EnvelopeMessage<'m>) -> (&'m str, Option<&'m str>) {
    let subject = message.subject.or(message.resource_id).filter(|subject| !subject.is_empty());
    (message.sent_type.unwrap_or(message.event_type), subject)
}

fn default(message: &EnvelopeMessage<'_>) -> Result<Vec<u8>, CanonicalError> {
    let mut object = ObjectWriter::with_room_for(message);
    object.text("event", message.event_type);
    object.text("id", message.event_id);
    object.optional_text("parent_id", message.parent_id);
    object.text("delivery_id", message.delivery_id);
    object.text("timestamp", message.timestamp);
    object.text("source", message.source);
    object.optional_text("resource", message.resource);
    object.optional_text("resource_id", message.resource_id);
    object.json("payload", message.data)?;
    if let Some(changed) = message.changed {
        object.json("changed", changed)?;
    }
    if let Some(previous) = message.previous {
        object.json("previous", previous)?;
    }
    if let Some(collapsed) = message.collapsed {
        object.number("collapsed", collapsed);
    }
    Ok(object.end())
}

fn standard(message: &EnvelopeMessage<'_>) -> Result<Vec<u8>, CanonicalError> {
    let mut object = ObjectWriter::with_room_for(message);
    object.text("type", message.event_type);
    object.text("timestamp", message.timestamp);
    object.json("data", message.data)?;
    Ok(object.end())
}

fn structured(message: &EnvelopeMessage<'_>) -> Result<RenderedBody, CanonicalError> {
    let mut object = ObjectWriter::with_room_for(message);
    object.text("specversion", cloud_events::SPEC_VERSION);
    object.text("id", message.event_id);
    object.text("source", &source_reference(message.source));
    let (event_type, subject) = named(message);
    object.text("type", event_type);
    object.optional_text("subject", subject);
    object.text("time", message.timestamp);
    object.text("datacontenttype", message.content_type.unwrap_or(JSON));
    object.optional_text("dataschema", message.schema);
    object.text("deliveryid", message.delivery_id);
    if let Some(hops) = message.hops {
        object.number(HOPS, hops);
    }
    object.optional_text("parentid", message.parent_id);
    if let Some(collapsed) = message.collapsed {
        object.number("collapsed", collapsed);
    }
    for (name, value) in extensions(message) {
        match value {
            ExtensionValue::Text(text) => object.text(&name, &text),
            ExtensionValue::Json(json) => object.json(&name, &json)?,
        }
    }
    object.json(if message.is_base64 { "data_base64" } else { "data" }, message.data)?;
    let content_type = cloud_events::STRUCTURED_TYPE.into();
    Ok(RenderedBody { body: object.end(), content_type, headers: Vec::new() })
}

fn binary(message: &EnvelopeMessage<'_>) -> Result<RenderedBody, CanonicalError> {
    let body = if let Some(body) = not_json(message) {
        body
    } else {
        let mut body = Vec::new();
        canonical::write_canonical(message.data, &mut body)?;
        body
    };
    let mut headers = Vec::with_capacity(8);
    let mut set = |name: &'static str, value: &str| {
        headers.push((HeaderName::from_static(name), header_value(value)));
    };
    set("ce-specversion", cloud_events::SPEC_VERSION);
    set("ce-id", message.event_id);
    set("ce-source", &source_reference(message.source));
    let (event_type, subject) = named(message);
    set("ce-type", event_type);
    set("ce-time", message.timestamp);
    if let Some(subject) = subject {
        set("ce-subject", subject);
    }
    if let Some(schema) = message.schema {
        set("ce-dataschema", schema);
    }
    set("ce-deliveryid", message.delivery_id);
    if let Some(hops) = message.hops {
        set("ce-waybillhops", &hops.to_string());
    }
    if let Some(parent) = message.parent_id {
        set("ce-parentid", parent);
    }
    if let Some(collapsed) = message.collapsed {
        set("ce-collapsed", &collapsed.to_string());
    }
    for (name, value) in extensions(message) {
        let (ExtensionValue::Text(text) | ExtensionValue::Json(text)) = value;
        if let Ok(name) = HeaderName::try_from(format!("{}{name}", cloud_events::HEADER_PREFIX)) {
            headers.push((name, header_value(&text)));
        }
    }
    Ok(RenderedBody { body, content_type: content_type(message), headers })
}

/// Returns the source as the URI reference that CloudEvents requires: characters that a URI cannot
/// hold are percent-encoded.
fn source_reference(source: &str) -> Cow<'_, str> {
    const NO_URI: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'\\')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    utf8_percent_encode(source, NO_URI).into()
}

/// Returns an attribute's value for a header. Spaces, `"`, `%` and everything outside of printable
/// ASCII are percent-encoded (HTTP binding 1.0.2, section 3.1.3.2).
fn header_value(text: &str) -> HeaderValue {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
    let encoded: Cow<'_, str> = utf8_percent_encode(text, ENCODED).into();
    HeaderValue::from_str(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

enum ExtensionValue {
    Text(String),
    /// A number or boolean.
    Json(String),
}

/// Returns the extension attributes to send. Leaves out names that CloudEvents does not allow,
/// names of its own attributes and of Waybill's, and values that are objects, arrays or null.
fn extensions(message: &EnvelopeMessage<'_>) -> Vec<(String, ExtensionValue)> {
    let captured: serde_json::Map<String, serde_json::Value> =
        message.extensions.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let replaced = |name: &str| message.attributes.iter().any(|(own, _)| own == name);
    let captured = captured.into_iter().filter(|(name, _)| !replaced(name));
    let own = message
        .attributes
        .iter()
        .map(|(name, text)| (name.clone(), ExtensionValue::Text(text.clone())));
    captured
        .filter_map(|(name, value)| Some((name, extension(value)?)))
        .chain(own)
        .filter(|(name, _)| is_extension_name(name))
        .take(cloud_events::MAX_ATTRIBUTES)
        .collect()
}

fn extension(value: serde_json::Value) -> Option<ExtensionValue> {
    use serde_json::Value;
    match value {
        Value::String(text) => Some(ExtensionValue::Text(text)),
        Value::Bool(_) | Value::Number(_) => Some(ExtensionValue::Json(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a name may be an extension attribute: lower-case letters and digits (CloudEvents 1.0.2,
/// "Naming Conventions"), and not a name that already has a meaning.
fn is_extension_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        // The canonical form would move a key of digits alone to the front of the body.
        && !name.bytes().all(|byte| byte.is_ascii_digit())
        && !cloud_events::is_taken(name)
        && !RESERVED.contains(&name)
}

/// Builds a JSON object. Callers pass each key once, and no key that is an array index.
struct ObjectWriter(Vec<u8>);

impl ObjectWriter {
    fn with_room_for(message: &EnvelopeMessage<'_>) -> Self {
        const FRAME: usize = 512;
        let previous = message.previous.map_or(0, str::len);
        Self(Vec::with_capacity(message.data.len() + previous + FRAME))
    }

    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        canonical::write_string(text, &mut self.0);
    }

    fn optional_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn number(&mut self, key: &str, number: u32) {
        self.key(key);
        self.0.extend_from_slice(number.to_string().as_bytes());
    }

    fn json(&mut self, key: &str, json: &str) -> Result<(), CanonicalError> {
        self.key(key);
        canonical::write_canonical(json, &mut self.0)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
mod tests;
