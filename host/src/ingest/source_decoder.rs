//! Has a module decode the requests of a source, and checks what it makes of them.
//!
//! The module sees the request without credentials: no header that carries any, and nothing at the
//! place where the source's secret stands. What it returns is either used as a whole, or not at all.

use super::event_body::BodyError;
use super::incoming::IncomingEvent;
use super::{hops, items, trace_headers};
use crate::crypto::sha256::sha256_digest;
use crate::json::members::without_byte_order_mark;
use crate::json::pointer::unescape_token;
use crate::model::plan_effects::ModuleFact;
use crate::model::webhook_source::WebhookSettings;
use crate::settings::ModuleStage;
use crate::settings::stage_calls::{StageCall, StageClosed};
use crate::signing::webhook::form::form_fields;
use crate::time::timestamp::Timestamp;
use crate::wasm::outgoing::attempt_calls::is_credential;
use crate::wasm::outgoing::call_values::{ModuleBody, ModuleReply, is_json_type};
use crate::wasm::{CallPlace, DecodedRequest, InboundRequest, LoneMoment, ModuleFailure};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use std::time::Duration;

/// Longest wait of a request for other runs of modules. Senders wait 5 to 30 seconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most bytes of an answer's body.
const LONGEST_REPLY: usize = 64 << 10;
/// Headers that a module may set in its answer.
const REPLY_HEADERS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_LANGUAGE, header::CACHE_CONTROL, header::RETRY_AFTER];

/// A request that was verified.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedRequest<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    /// The path below the source's own address.
    pub below: &'a str,
    pub headers: &'a HeaderMap,
    /// The decompressed body.
    pub body: &'a [u8],
    /// When it came in.
    pub now: Timestamp,
}

/// The events of a request, and what to answer once they are stored.
#[derive(Debug)]
pub struct DecodedWebhook {
    pub events: Vec<IncomingEvent>,
    /// `None` answers as other sources do.
    pub reply: Option<SenderReply>,
}

/// An answer to the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why a request was not decoded.
#[derive(Debug)]
pub enum DecodeRefusal {
    /// The module cannot be called now.
    Closed(StageClosed),
    /// The module failed, or says that it cannot decode the request.
    Failed(ModuleFailure),
    /// The request goes round in a loop, or one of its headers is wrong.
    Body(BodyError),
}

impl From<BodyError> for DecodeRefusal {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

/// Decodes a request of a source by its module.
pub async fn decode_webhook(
    (name, settings): (&str, &WebhookSettings),
    stage: &ModuleStage,
    request: VerifiedRequest<'_>,
) -> Result<DecodedWebhook, DecodeRefusal> {
    let call = stage.begin_call(request.now).map_err(DecodeRefusal::Closed)?;
    decode(call, (name, settings), request).await
}

/// Decodes a request like [`decode_webhook`], but counts nothing.
pub async fn try_decoding(
    (name, settings): (&str, &WebhookSettings),
    stage: &ModuleStage,
    request: VerifiedRequest<'_>,
) -> Result<DecodedWebhook, DecodeRefusal> {
    let call = stage.begin_trial().map_err(DecodeRefusal::Closed)?;
    decode(call, (name, settings), request).await
}

async fn decode(
    call: StageCall<'_>,
    (name, settings): (&str, &WebhookSettings),
    request: VerifiedRequest<'_>,
) -> Result<DecodedWebhook, DecodeRefusal> {
    let hops = hops::of_request(request.headers)?;
    let context = trace_headers::of_request(request.headers);
    let inbound = inbound_request(settings, request)?;
    let moment = LoneMoment {
        seed: seed_of(request),
        shown: request.now.since(Timestamp::default()),
        patience: PATIENCE,
    };
    let finish = |decoded: DecodedRequest| {
        let events = read_events(decoded.facts, name)?;
        let reply = decoded.reply.map(|reply| read_reply(reply, events.is_empty())).transpose()?;
        Ok(DecodedWebhook { events, reply })
    };
    let place = (CallPlace::Decode, name);
    let decoded = call.call_and_check(&inbound, moment, place, request.now, finish).await;
    let mut decoded = decoded.map_err(DecodeRefusal::Failed)?;
    for event in &mut decoded.events {
        hops::note_hops(event, hops)?;
        trace_headers::note_context(event, context.as_ref())?;
    }
    Ok(decoded)
}

/// Returns the text from which the module's random numbers are derived, so that a request that is
/// sent again gives the same ones.
fn seed_of(request: VerifiedRequest<'_>) -> String {
    let target = request.uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    let parts: [&[u8]; 4] =
        [request.method.as_str().as_bytes(), target.as_bytes(), b"\n", request.body];
    hex::encode(sha256_digest(&parts))
}

/// Returns a request as the module sees it.
fn inbound_request(
    settings: &WebhookSettings,
    request: VerifiedRequest<'_>,
) -> Result<InboundRequest, BodyError> {
    let query = request.uri.query().unwrap_or_default();
    let query: Vec<(String, String)> = serde_urlencoded::from_str(query)
        .map_err(|error| BodyError::Malformed(format!("the query: {error}")))?;
    let secret = settings.token_in_query();
    let query = query.into_iter().filter(|(name, _)| Some(name.as_str()) != secret);
    let proofs = settings.proof_headers();
    let is_shown = |(name, _): &(&HeaderName, &HeaderValue)| {
        !is_credential(name)
            && !proofs.iter().any(|proof| proof.eq_ignore_ascii_case(name.as_str()))
    };
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
    };
    Ok(InboundRequest {
        method: request.method.as_str().to_owned(),
        path: request.below.to_owned(),
        query: query.collect(),
        headers: request.headers.iter().filter(is_shown).filter_map(text).collect(),
        body: read_body(settings, request)?,
    })
}

/// Returns the body without the source's secret.
fn read_body(
    settings: &WebhookSettings,
    request: VerifiedRequest<'_>,
) -> Result<ModuleBody, BodyError> {
    if let Some(pointer) = settings.token_in_body() {
        return body_without(request.body, pointer);
    }
    let Ok(text) = std::str::from_utf8(request.body) else {
        return Ok(ModuleBody::Bytes(request.body.to_vec()));
    };
    let kind = request.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let plain = without_byte_order_mark(request.body);
    match serde_json::from_slice::<&RawValue>(plain) {
        Ok(json) if kind.is_some_and(is_json_type) => Ok(ModuleBody::Json(json.get().to_owned())),
        Ok(_) | Err(_) => Ok(ModuleBody::Text(text.to_owned())),
    }
}

/// Returns a body without the member that a pointer names, read as the secret was: each element of a
/// list, an object, or a form.
fn body_without(body: &[u8], pointer: &str) -> Result<ModuleBody, BodyError> {
    let plain = without_byte_order_mark(body);
    if let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(plain) {
        let stripped = elements.into_iter().map(|element| items::without_token(element, pointer));
        let stripped = stripped.collect::<Result<Vec<_>, _>>()?;
        return serde_json::to_string(&stripped)
            .map(ModuleBody::Json)
            .map_err(|error| BodyError::Malformed(error.to_string()));
    }
    if let Ok(json) = serde_json::from_slice::<&RawValue>(plain) {
        return Ok(ModuleBody::Json(items::without_token(json, pointer)?.get().to_owned()));
    }
    let name = unescape_token(pointer.strip_prefix('/').unwrap_or(pointer));
    let fields = form_fields(plain).map_err(|error| BodyError::Malformed(error.to_string()))?;
    let fields: Vec<_> = fields.into_iter().filter(|(known, _)| *known != name).collect();
    let text = serde_urlencoded::to_string(fields);
    text.map(ModuleBody::Text).map_err(|error| BodyError::Malformed(error.to_string()))
}

fn unusable(message: impl Into<String>) -> ModuleFailure {
    ModuleFailure::Output { message: message.into() }
}

/// Makes events of what a module returned. One that cannot be an event makes all unusable.
pub fn read_events(
    facts: Vec<ModuleFact>,
    source: &str,
) -> Result<Vec<IncomingEvent>, ModuleFailure> {
    let mut events = Vec::with_capacity(facts.len());
    for (n, fact) in facts.into_iter().enumerate() {
        let event = make_event(fact, source);
        let faults = event.check().into_iter().chain(event.check_reserved());
        if let Some(fault) = faults.into_iter().next() {
            // `id` is what modules call the key.
            let path = if fault.path == "id" { "key" } else { &fault.path };
            return Err(unusable(format!("event {n}: {path}: {}", fault.message)));
        }
        events.push(event);
    }
    Ok(events)
}

fn make_event(fact: ModuleFact, source: &str) -> IncomingEvent {
    let ModuleFact { kind, resource, subject, time, key, changes, attributes, data } = fact;
    let attributes: Map<String, Value> =
        attributes.into_iter().map(|(name, value)| (name, value.into())).collect();
    let attributes = (!attributes.is_empty()).then(|| to_raw_value(&attributes).ok()).flatten();
    // The data was checked when the module returned it.
    let data = RawValue::from_string(data).unwrap_or_else(|_invalid| RawValue::NULL.to_owned());
    IncomingEvent {
        id: key,
        source: Some(source.to_owned()),
        resource,
        resource_id: subject,
        occurred_at: time,
        attributes,
        changes: changes.and_then(|text| RawValue::from_string(text).ok()),
        ..IncomingEvent::new(kind, data)
    }
}

/// Reads the answer that a module gives. With events it must be a success, because the sender would
/// send them again otherwise.
fn read_reply(reply: ModuleReply, is_alone: bool) -> Result<SenderReply, ModuleFailure> {
    let status = StatusCode::from_u16(reply.status).ok();
    let fits = |status: &StatusCode| status.is_success() || (is_alone && status.is_client_error());
    let Some(status) = status.filter(fits) else {
        let allowed = if is_alone { "a 2xx or a 4xx" } else { "a 2xx, because there are events" };
        return Err(unusable(format!("an answer with the status {}; use {allowed}", reply.status)));
    };
    let (usual, body) = match reply.body {
        ModuleBody::Json(text) => ("application/json", Bytes::from(text)),
        ModuleBody::Text(text) => ("text/plain; charset=utf-8", Bytes::from(text)),
        ModuleBody::Bytes(bytes) => ("application/octet-stream", Bytes::from(bytes)),
    };
    if body.len() > LONGEST_REPLY {
        let message = format!("an answer of {} bytes, the limit is {LONGEST_REPLY}", body.len());
        return Err(unusable(message));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in reply.headers {
        let known = REPLY_HEADERS.iter().find(|known| known.as_str() == name.to_ascii_lowercase());
        let Some(known) = known else {
            let allowed = REPLY_HEADERS.each_ref().map(HeaderName::as_str).join(", ");
            let name: String = name.chars().take(100).collect();
            return Err(unusable(format!("a header `{name}` in the answer; it may set {allowed}")));
        };
        let value = HeaderValue::from_str(&value).map_err(|_opaque| {
            unusable(format!("the header `{known}` in the answer is no header"))
        })?;
        headers.insert(known.clone(), value);
    }
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(usual));
    // The answer repeats what somebody sent, at the address of the operators' pages.
    let nothing_runs = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, nothing_runs);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(SenderReply { status, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::incoming::MAX_DEPTH;
    use serde_json::json;

    fn settings(webhook: Value) -> WebhookSettings {
        serde_json::from_value(webhook).unwrap()
    }

    fn seen(
        webhook: Value,
        uri: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> InboundRequest {
        let uri: Uri = uri.parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let request = VerifiedRequest {
            method: &Method::POST,
            uri: &uri,
            below: "a/b",
            headers: &map,
            body,
            now: Timestamp::default(),
        };
        inbound_request(&settings(webhook), request).unwrap()
    }

    #[test]
    fn a_module_sees_no_credentials() {
        let json =
            [("content-type", "application/json"), ("authorization", "s3cret"), ("x-own", "1")];
        let signed = json!({"scheme": "hmac", "hmac": {"header": "X-Proof"}});
        let request = seen(
            signed,
            "/in/a?x=1&x=2",
            &[json.as_slice(), &[("x-proof", "s3cret")]].concat(),
            b"{}",
        );
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "x-own"]);
        assert_eq!(request.query, [("x".into(), "1".into()), ("x".into(), "2".into())]);
        let by_query = json!({"scheme": "token", "token": {"query": "k"}});
        assert_eq!(
            seen(by_query, "/in/a?k=s3cret&y=2", &json, b"{}").query,
            [("y".into(), "2".into())]
        );
        let by_body = json!({"scheme": "token", "token": {"body": "/k"}});
        let request = seen(by_body.clone(), "/in/a", &json, br#"{"k":"s3cret","n": 1.50}"#);
        assert_eq!(request.body, ModuleBody::Json(r#"{"n":1.50}"#.to_owned()));
        let request = seen(by_body, "/in/a", &[], b"k=s3cret&n=1");
        assert_eq!(request.body, ModuleBody::Text("n=1".to_owned()));
    }

    #[test]
    fn an_answer_is_bounded() {
        let reply = |status, headers: &[(&str, &str)], body: &str| {
            let headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let body = ModuleBody::Text(body.to_owned());
            ModuleReply { status, headers: headers.collect(), body }
        };
        let made = read_reply(reply(201, &[("Content-Type", "text/xml")], "<a/>"), false).unwrap();
        assert_eq!(
            (made.status, &made.headers["content-type"]),
            (StatusCode::CREATED, &HeaderValue::from_static("text/xml"))
        );
        assert!(made.headers.contains_key("content-security-policy"));
        assert!(read_reply(reply(403, &[], "no"), true).is_ok());
        let large = "x".repeat(LONGEST_REPLY + 1);
        for (wrong, is_alone) in [
            (reply(403, &[], ""), false),
            (reply(302, &[], ""), true),
            (reply(500, &[], ""), true),
            (reply(99, &[], ""), true),
            (reply(200, &[("set-cookie", "a=1")], ""), true),
            (reply(200, &[("content-type", "a\nb")], ""), true),
            (reply(200, &[], &large), true),
        ] {
            let failure = read_reply(wrong, is_alone).unwrap_err();
            assert_eq!(failure.reason(), "module_output");
        }
    }

    #[test]
    fn an_event_that_the_source_cannot_have_is_refused() {
        let fact = |key: &str| ModuleFact {
            kind: "order.paid".to_owned(),
            resource: None,
            subject: None,
            time: None,
            key: Some(key.to_owned()),
            changes: None,
            attributes: vec![("a".to_owned(), "1".to_owned())],
            data: "{}".to_owned(),
        };
        let events = read_events(vec![fact("k")], "s").unwrap();
        assert_eq!((events[0].id.as_deref(), events[0].source.as_deref()), (Some("k"), Some("s")));
        assert_eq!(events[0].attributes.as_ref().unwrap().get(), r#"{"a":"1"}"#);
        let failure = read_events(vec![fact("k"), fact("")], "s").unwrap_err().to_string();
        assert!(failure.contains("event 1: key"), "{failure}");
        let deep = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        assert!(read_events(vec![ModuleFact { data: deep, ..fact("k") }], "s").is_err());
    }

    #[test]
    fn the_secret_leaves_a_body_wherever_it_was_read_from() {
        for (body, pointer, left) in [
            (
                r#"[{"token":"s3cret","a":1},{"a":2,"token":"s3cret"}]"#,
                "/token",
                r#"[{"a":1},{"a":2}]"#,
            ),
            (r#"{"a/b":"s3cret","a":1.50}"#, "/a~1b", r#"{"a":1.50}"#),
            ("a=1&token=s3cret&b=%FF", "/token", "a=1&b=%EF%BF%BD"),
        ] {
            let kept = body_without(body.as_bytes(), pointer).unwrap();
            let text = match kept {
                ModuleBody::Json(text) | ModuleBody::Text(text) => text,
                ModuleBody::Bytes(bytes) => panic!("{bytes:?}"),
            };
            assert_eq!(text, left);
        }
    }
}
