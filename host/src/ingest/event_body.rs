//! Reads the events of a request's body, or says what is wrong with it.
//!
//! The body is first parsed into types that borrow from it. Only if that fails is it parsed again,
//! more slowly, to find what is wrong and where.

use super::cloudevents;
use super::diagnose::diagnose_body;
use super::hops;
use super::incoming::IncomingEvent;
use super::trace_headers;
use crate::json::members::JsonMembers;
use crate::json::members::without_byte_order_mark;
use crate::json::surrogates::replace_lone_surrogates;
use crate::model::cloud_events;
use crate::model::fault::InputFault;
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The events of a request.
#[derive(Debug)]
pub struct ReceivedEvents {
    /// The events, in order.
    pub events: Vec<IncomingEvent>,
    /// Whether the request was an array, so that the answer is one, too.
    pub many: bool,
}

/// Why a body cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body is not JSON.
    Malformed(String),
    /// The body is JSON, but not an event.
    Invalid(Vec<InputFault>),
    /// The content type is not supported.
    MediaType(String),
    /// The event was delivered and captured again this often, so it is in a loop.
    Loop(u32),
}

/// The format of a body.
enum BodyForm {
    Plain,
    Structured,
    Batched,
    Binary,
}

#[derive(Deserialize)]
struct PlainEvent<'a> {
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    id: Option<String>,
    source: Option<String>,
    resource: Option<String>,
    resource_id: Option<String>,
    occurred_at: Option<Timestamp>,
    /// Marks the event as an event of CloudEvents, although the content type does not say so.
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
}

/// Reads the events of a request. Fails if there are more than `most`.
pub fn read_events(
    headers: &HeaderMap,
    body: &[u8],
    most: usize,
) -> Result<ReceivedEvents, BodyError> {
    let alone = |event| ReceivedEvents { events: vec![event], many: false };
    let mut events = match body_form(headers)? {
        BodyForm::Plain => plain(&text(body)?, most)?,
        BodyForm::Structured => alone(cloudevents::read_structured(&text(body)?)?),
        BodyForm::Batched => many(&text(body)?, most, cloudevents::read_structured)?,
        BodyForm::Binary => alone(cloudevents::read_binary(headers, body)?),
    };
    check_events(&events)?;
    let hops = hops::of_request(headers)?;
    let context = trace_headers::of_request(headers);
    for event in &mut events.events {
        hops::note_hops(event, hops)?;
        trace_headers::note_context(event, context.as_ref())?;
    }
    Ok(events)
}

/// Returns a body as text. Lone surrogates in its strings are replaced.
fn text(body: &[u8]) -> Result<Cow<'_, str>, BodyError> {
    let text = std::str::from_utf8(without_byte_order_mark(body)).map_err(|error| {
        BodyError::Malformed(format!("byte {} is not UTF-8", error.valid_up_to()))
    })?;
    Ok(replace_lone_surrogates(text))
}

fn body_form(headers: &HeaderMap) -> Result<BodyForm, BodyError> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        cloud_events::STRUCTURED_TYPE => Ok(BodyForm::Structured),
        "application/cloudevents-batch+json" => Ok(BodyForm::Batched),
        _ if headers.contains_key("ce-specversion") => Ok(BodyForm::Binary),
        "" | "application/json" | "text/json" | "application/x-www-form-urlencoded" => {
            Ok(BodyForm::Plain)
        }
        other if other.ends_with("+json") => Ok(BodyForm::Plain),
        other => Err(BodyError::MediaType(format!(
            "`{other}` cannot be read here: send application/json or a CloudEvents form"
        ))),
    }
}

fn plain(text: &str, most: usize) -> Result<ReceivedEvents, BodyError> {
    if text.trim_start().starts_with('[') {
        return many(text, most, one);
    }
    Ok(ReceivedEvents { events: vec![one(text)?], many: false })
}

fn one(text: &str) -> Result<IncomingEvent, BodyError> {
    let plain = match serde_json::from_str::<PlainEvent<'_>>(text) {
        Ok(plain) if plain.specversion.is_some() => return cloudevents::read_structured(text),
        Ok(plain) => plain,
        Err(_) if is_cloudevent(text) => return cloudevents::read_structured(text),
        Err(_) => return Err(diagnose_body(text)),
    };
    Ok(IncomingEvent {
        id: plain.id,
        source: plain.source,
        resource: plain.resource,
        resource_id: plain.resource_id,
        occurred_at: plain.occurred_at,
        ..IncomingEvent::new(plain.event_type, plain.data.to_owned())
    })
}

/// Whether a text that is not a plain event is an event of CloudEvents, which may have no data.
fn is_cloudevent(text: &str) -> bool {
    JsonMembers::read(text).is_ok_and(|members| members.get("specversion").is_some())
}

fn many(
    text: &str,
    most: usize,
    read: fn(&str) -> Result<IncomingEvent, BodyError>,
) -> Result<ReceivedEvents, BodyError> {
    let items: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| BodyError::Malformed(error.to_string()))?;
    if items.is_empty() || items.len() > most {
        let message = format!("{} events in the array; send 1 to {most}", items.len());
        return Err(BodyError::Invalid(vec![InputFault::new("", message)]));
    }
    let mut events = Vec::with_capacity(items.len());
    let mut faults = Vec::new();
    for (n, item) in items.into_iter().enumerate() {
        match read(item.get()) {
            Ok(event) => events.push(event),
            Err(BodyError::Invalid(more)) => {
                faults.extend(more.into_iter().map(|fault| fault.within(&format!("[{n}]"))));
            }
            Err(other) => return Err(other),
        }
    }
    if faults.is_empty() {
        Ok(ReceivedEvents { events, many: true })
    } else {
        Err(BodyError::Invalid(faults))
    }
}

fn check_events(events: &ReceivedEvents) -> Result<(), BodyError> {
    let place = |n: usize, fault: InputFault| {
        if events.many { fault.within(&format!("[{n}]")) } else { fault }
    };
    let faults: Vec<InputFault> = events
        .events
        .iter()
        .enumerate()
        .flat_map(|(n, event)| event.check().into_iter().map(move |fault| place(n, fault)))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(BodyError::Invalid(faults)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(body: &str) -> Result<ReceivedEvents, BodyError> {
        read_events(&HeaderMap::new(), body.as_bytes(), 3)
    }

    fn paths(refused: Result<ReceivedEvents, BodyError>) -> Vec<String> {
        let BodyError::Invalid(faults) = refused.unwrap_err() else {
            panic!("not refused as invalid")
        };
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn one_event_and_an_array_are_read_with_the_data_as_it_is() {
        let one = post(r#"{"type":"invoice.paid","data":{"id": 17,  "total":1.50}}"#).unwrap();
        assert!(!one.many);
        assert_eq!(one.events[0].data.get(), r#"{"id": 17,  "total":1.50}"#);
        let two = post(r#" [{"type":"a.b","data":1},{"type":"a.c","data":null}]"#).unwrap();
        assert!(two.many);
        assert_eq!(two.events[1].event_type, "a.c");
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        assert_eq!(
            paths(post(r#"{"type":5,"id":{},"occurred_at":"x"}"#)),
            ["type", "id", "occurred_at", "data"]
        );
        assert_eq!(
            paths(post(r#"[{"type":"a.b","data":1},{"type":"ab","data":1}]"#)),
            ["[1].type"]
        );
        assert_eq!(paths(post(r#"[{"type":"a.b"}]"#)), ["[0].data"]);
        assert_eq!(paths(post("[]")), [""]);
        assert_eq!(paths(post("[1,2,3,4]")), [""]);
        assert_eq!(paths(post("7")), [""]);
    }

    #[test]
    fn what_is_no_json_is_told_with_line_and_column() {
        let BodyError::Malformed(why) = post("{\"type\":\n \"a.b\",").unwrap_err() else {
            panic!()
        };
        assert!(why.contains("line 2"), "{why}");
        assert!(matches!(read_events(&HeaderMap::new(), b"\xff", 3), Err(BodyError::Malformed(_))));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!(r#"{{"type":"a.b","data":{}1{}}}"#, "[".repeat(101), "]".repeat(101));
        assert_eq!(paths(post(&deep)), ["data"]);
    }

    #[test]
    fn cloudevents_are_read_in_all_three_modes() {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0".parse().unwrap());
        headers.insert("ce-type", "invoice.paid".parse().unwrap());
        headers.insert("ce-source", "/crm".parse().unwrap());
        headers.insert("ce-id", "A%201".parse().unwrap());
        headers.insert("ce-subject", "invoice/17".parse().unwrap());
        headers.insert("ce-tenant", "acme".parse().unwrap());
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let binary = read_events(&headers, br#"{"total":"1.00"}"#, 3).unwrap().events.remove(0);
        assert_eq!(binary.id.as_deref(), Some("A 1"));
        assert_eq!(
            (binary.resource.as_deref(), binary.resource_id.as_deref()),
            (Some("invoice"), Some("17"))
        );
        let attributes = r#"{"subject":"invoice/17","tenant":"acme"}"#;
        assert_eq!(binary.attributes.unwrap().get(), attributes);

        let body = r#"{"specversion":"1.0","type":"invoice.paid","source":"/crm","id":"A1","subject":"17","data":{"total":"1.00"}}"#;
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            "application/cloudevents+json; charset=utf-8".parse().unwrap(),
        );
        let structured = read_events(&headers, body.as_bytes(), 3).unwrap();
        assert_eq!(structured.events[0].resource_id.as_deref(), Some("17"));
        headers.insert(header::CONTENT_TYPE, "application/cloudevents-batch+json".parse().unwrap());
        let batch = read_events(&headers, format!("[{body},{body}]").as_bytes(), 3).unwrap();
        assert!(batch.many && batch.events.len() == 2);
    }

    #[test]
    fn a_cloudevent_that_is_not_declared_is_read_all_the_same() {
        let event = r#"{"specversion":"1.0","type":"a.b","source":"/p","id":"1","subject":"7","x":1,"data":5}"#;
        let bare = r#"{"specversion":"1.0","type":"a.b","source":"/p","id":"2"}"#;
        let read = post(&format!("[{event},{bare}]")).unwrap().events;
        assert_eq!(read[0].resource_id.as_deref(), Some("7"));
        assert_eq!(read[0].attributes.as_ref().unwrap().get(), r#"{"x":1}"#);
        assert_eq!(read[1].data.get(), "null");
        assert_eq!(paths(post(r#"{"specversion":"1.0"}"#)), ["id", "source", "type"]);
    }

    #[test]
    fn a_cloudevent_without_its_attributes_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/cloudevents+json".parse().unwrap());
        assert_eq!(
            paths(read_events(&headers, br#"{"specversion":"2.0","data":1}"#, 3)),
            ["id", "source", "specversion", "type"]
        );
    }
}
