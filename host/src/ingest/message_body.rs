//! Reads the events of a message from a stream or a queue.
//!
//! Without a mapping a message is what `POST /api/v1/events` takes: an event, an array of events,
//! or an event of CloudEvents in any mode. With a mapping ([`MessageMapping`]) it is any JSON, and
//! the event's parts are where the mapping says.

use super::event_body::{BodyError, read_events};
use super::hops;
use super::incoming::IncomingEvent;
use super::trace_headers;
use crate::json::members::{scalar_text, without_byte_order_mark};
use crate::json::pointer::find_value;
use crate::json::surrogates::replace_lone_surrogates;
use crate::model::cloud_events::HEADER_PREFIX;
use crate::model::fault::InputFault;
use crate::model::message_mapping::{MappingPiece, MessageMapping, MessagePlace, mapping_pieces};
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::value::RawValue;

/// A message, and what its events get from it.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedMessage<'a> {
    /// The name of the source, which is the source of each of the events.
    pub source: &'a str,
    /// The subject or routing key.
    pub subject: &'a str,
    /// The headers and properties, by name. A repeated name counts once.
    pub headers: &'a [(String, String)],
    pub body: &'a [u8],
    /// The id of an event that brings none: the message's id or position. `None` if the broker
    /// gives neither; then nothing tells a repeat of the event.
    pub id: Option<&'a str>,
    /// The most events that a message may contain.
    pub max_events: usize,
}

/// Reads the events of a message. Fails if one of them cannot be read or is not valid.
pub fn read_message(
    message: ReceivedMessage<'_>,
    mapping: Option<&MessageMapping>,
) -> Result<Vec<IncomingEvent>, BodyError> {
    let headers = http_headers(message.headers);
    let mut events = match mapping {
        Some(mapping) => vec![map_message(message, &headers, mapping)?],
        None => read_events(&headers, message.body, message.max_events)?.events,
    };
    for (n, event) in events.iter_mut().enumerate() {
        event.source = Some(message.source.to_owned());
        if event.id.is_none() {
            event.id = message.id.map(|id| event_id(id, n));
        }
    }
    let faults: Vec<InputFault> = events.iter().flat_map(IncomingEvent::check).collect();
    if faults.is_empty() { Ok(events) } else { Err(BodyError::Invalid(faults)) }
}

/// Returns the id of the event at this place of its message.
fn event_id(message_id: &str, n: usize) -> String {
    if n == 0 { message_id.to_owned() } else { format!("{message_id}#{n}") }
}

/// Returns the headers by which a body is read. A content type that says nothing about JSON is left
/// out: many clients send `application/octet-stream` or `text/plain` with any body.
fn http_headers(given: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    let is_binary = headers.contains_key(format!("{HEADER_PREFIX}specversion"));
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let says_json = content_type.is_some_and(|value| value.to_ascii_lowercase().contains("json"));
    if !is_binary && !says_json {
        headers.remove(header::CONTENT_TYPE);
    }
    headers
}

fn map_message(
    message: ReceivedMessage<'_>,
    headers: &HeaderMap,
    mapping: &MessageMapping,
) -> Result<IncomingEvent, BodyError> {
    let text = std::str::from_utf8(without_byte_order_mark(message.body)).map_err(|error| {
        BodyError::Malformed(format!("byte {} is not UTF-8", error.valid_up_to()))
    })?;
    let text = replace_lone_surrogates(text);
    let body: &RawValue =
        serde_json::from_str(&text).map_err(|error| BodyError::Malformed(error.to_string()))?;
    let fill = |text: &str| fill_text(text, message.subject, headers, body);
    let event_type = fill(&mapping.event_type).ok_or_else(|| {
        let why = format!("a value of `{}` is missing in the message", mapping.event_type);
        BodyError::Invalid(vec![InputFault::new("type", why)])
    })?;
    let of_place = |text: &Option<String>| text.as_deref().and_then(fill);
    let data = match mapping.data.as_deref() {
        None => body,
        Some(pointer) => find_value(body, pointer).ok_or_else(|| {
            let why = format!("nothing stands at `{pointer}` in the message");
            BodyError::Invalid(vec![InputFault::new("data", why)])
        })?,
    };
    let mut event = IncomingEvent {
        id: of_place(&mapping.id),
        resource: of_place(&mapping.resource),
        resource_id: of_place(&mapping.resource_id),
        occurred_at: of_place(&mapping.occurred_at)
            .and_then(|time| Timestamp::parse_lenient(&time)),
        ..IncomingEvent::new(event_type, data.to_owned())
    };
    hops::note_hops(&mut event, hops::of_request(headers)?)?;
    trace_headers::note_context(&mut event, trace_headers::of_request(headers).as_ref())?;
    Ok(event)
}

/// Puts values in the places of a text. Returns `None` if one is missing, or if nothing is left.
fn fill_text(text: &str, subject: &str, headers: &HeaderMap, body: &RawValue) -> Option<String> {
    let mut filled = String::new();
    for piece in mapping_pieces(text).ok()? {
        match piece {
            MappingPiece::Text(text) => filled.push_str(text),
            MappingPiece::Value(MessagePlace::Subject) => filled.push_str(subject),
            MappingPiece::Value(MessagePlace::Header(name)) => {
                filled.push_str(headers.get(name)?.to_str().ok()?);
            }
            MappingPiece::Value(MessagePlace::Body(pointer)) => {
                filled.push_str(&scalar_text(find_value(body, pointer)?)?);
            }
        }
    }
    (!filled.is_empty()).then_some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(
        headers: &[(&str, &str)],
        body: &str,
        mapping: Option<Value>,
    ) -> Result<Vec<IncomingEvent>, BodyError> {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mapping: Option<MessageMapping> = mapping.map(|m| serde_json::from_value(m).unwrap());
        let message = ReceivedMessage {
            source: "stream",
            subject: "crm.order.created",
            headers: &headers,
            body: body.as_bytes(),
            id: Some("CRM:7"),
            max_events: 3,
        };
        read_message(message, mapping.as_ref())
    }

    #[test]
    fn a_message_is_an_event_of_its_source() {
        let body = r#"{"type":"invoice.paid","data":{"id":"1"},"source":"other"}"#;
        let events = read(&[("Content-Type", "application/octet-stream")], body, None).unwrap();
        assert_eq!(events[0].source.as_deref(), Some("stream"));
        assert_eq!(events[0].id.as_deref(), Some("CRM:7"));
        let own = r#"[{"type":"a.b","data":1,"id":"x"},{"type":"a.b","data":2}]"#;
        let ids: Vec<_> = read(&[], own, None).unwrap().into_iter().map(|e| e.id).collect();
        assert_eq!(ids, [Some("x".to_owned()), Some("CRM:7#1".to_owned())]);
    }

    #[test]
    fn cloudevents_are_read_in_structured_and_binary_mode() {
        let structured = r#"{"specversion":"1.0","type":"a.b","source":"/p","id":"1","data":5}"#;
        let headers = [("content-type", "application/cloudevents+json")];
        let event = read(&headers, structured, None).unwrap().remove(0);
        assert_eq!((event.id.as_deref(), event.data.get()), (Some("1"), "5"));
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-type", "a.b"),
            ("ce-source", "/p"),
            ("ce-id", "2"),
            ("content-type", "application/json"),
        ];
        let event = read(&headers, "{\"x\":1}", None).unwrap().remove(0);
        assert_eq!((event.id.as_deref(), event.data.get()), (Some("2"), "{\"x\":1}"));
    }

    #[test]
    fn a_mapping_says_where_the_parts_stand() {
        let mapping = json!({
            "type": "{subject}", "id": "{header:Key}-{/n}", "resource": "order",
            "resource_id": "{/order/id}", "occurred_at": "{/at}", "data": "/order",
        });
        let body = r#"{"n":3,"at":"2026-01-02T03:04:05Z","order":{"id":17}}"#;
        let event = read(&[("Key", "k")], body, Some(mapping)).unwrap().remove(0);
        assert_eq!(event.event_type, "crm.order.created");
        assert_eq!(event.id.as_deref(), Some("k-3"));
        assert_eq!(event.resource.as_deref(), Some("order"));
        assert_eq!(event.resource_id.as_deref(), Some("17"));
        assert_eq!(event.occurred_at, Timestamp::parse("2026-01-02T03:04:05Z").ok());
        assert_eq!(event.data.get(), r#"{"id":17}"#);
    }

    #[test]
    fn a_message_brings_the_context_of_its_headers() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = [("traceparent", parent)];
        let mapping = json!({"type": "a.b"});
        for (body, mapping) in [(r#"{"type":"a.b","data":1}"#, None), ("{}", Some(mapping))] {
            let event = read(&headers, body, mapping).unwrap().remove(0);
            let attributes = format!(r#"{{"traceparent":"{parent}"}}"#);
            assert_eq!(event.attributes.unwrap().get(), attributes);
        }
    }

    #[test]
    fn what_is_missing_is_named_or_left_out() {
        let typed = |event_type: &str| Some(json!({"type": event_type, "id": "{/none}"}));
        let event = read(&[], "{}", typed("a.b")).unwrap().remove(0);
        assert_eq!(event.id.as_deref(), Some("CRM:7"), "the message's own id");
        for (body, mapping) in [
            ("{}", typed("{/kind}")),
            (r#"{"kind":"no type"}"#, typed("{/kind}")),
            ("{", typed("a.b")),
            ("{}", Some(json!({"type": "a.b", "data": "/x"}))),
            ("[]", None),
            ("hello", None),
        ] {
            assert!(read(&[], body, mapping).is_err(), "{body}");
        }
    }
}
