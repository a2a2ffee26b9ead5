//! One attempt, from the leased delivery to the record of what came of it.

use super::changes;
use super::envelope::{self, RenderedBody};
use super::judge::{AttemptAnswer, AttemptJudgement, FailurePolicy, RetryRound, judge_answer};
use crate::json::storable::make_storable;
use crate::model::attributes::{HOPS_HEADER, SentWith};
use crate::model::delivery::Attempt;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::DeliveryId;
use crate::model::private_values::MASK;
use crate::model::redactor::SecretRedactor;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{ClientReply, ClientRequest, DeliveryClient, SendError};
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::borrow::Cow;
use std::time::Duration;

/// What Waybill calls itself.
pub const USER_AGENT: &str = concat!("Waybill/", env!("CARGO_PKG_VERSION"));
/// The event type.
const EVENT: HeaderName = HeaderName::from_static("x-waybill-event");
/// 1, 2, …
const ATTEMPT: HeaderName = HeaderName::from_static("x-waybill-attempt");
/// How often the event was delivered, this time included; `capture` refuses more than a few.
const HOPS: HeaderName = HeaderName::from_static(HOPS_HEADER);
/// Longest record of a request's or an answer's headers, in bytes, roughly: as much as of a body.
const MAX_HEADERS_JSON: usize = 16 * 1024;
/// Stands in a record for headers that are not kept, with their number. No header has that name.
const LEFT_OUT: &str = "(not kept)";

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryParcel<'a> {
    /// The delivery.
    pub id: DeliveryId,
    pub event: &'a Event,
    /// What to send, if not the event as captured.
    pub message: Option<&'a DeliveryMessage>,
    /// How many deliveries collapsed into it.
    pub collapsed: Option<i32>,
    /// 1, 2, …
    pub number: i32,
    /// The time of day that signatures carry.
    pub signed_at: Timestamp,
}

/// Why a delivery cannot even be sent.
#[derive(Debug, thiserror::Error)]
enum UnsendableReason {
    #[error("the endpoint's secret cannot be read with this key: enter it again")]
    Locked,
    #[error("the field map cannot be applied: {0}")]
    FieldMap(#[from] crate::model::field_map::InvalidData),
    #[error("the body cannot be written: {0}")]
    Body(#[from] crate::json::canonical::CanonicalError),
    #[error("the request cannot be signed: {0}")]
    Sign(#[from] crate::signing::InvalidId),
    #[error("the endpoint's URL cannot be used: {0}")]
    Url(String),
    #[error("a header cannot be written: {0}")]
    Header(#[from] header::InvalidHeaderValue),
}

/// An attempt that was made.
#[derive(Debug)]
pub struct MadeAttempt {
    /// Its record.
    pub attempt: Attempt,
    /// What follows.
    pub judgement: AttemptJudgement,
}

/// Makes one attempt; nothing if `withdrawn` ended before its request began. `random` is uniform in
/// 0 to 1.
pub async fn make_attempt(
    client: &DeliveryClient,
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
    round: RetryRound,
    at: Timestamp,
    random: f64,
    withdrawn: impl Future<Output = ()>,
) -> Option<MadeAttempt> {
    let (sent, recorded) = match build_request(target, parcel) {
        Ok(request) => {
            let recorded = record_headers(&request.headers, target);
            (client.send(request, target.timeout, withdrawn).await?, recorded)
        }
        Err(why) => (Err(unsendable(&why)), "{}".to_owned()),
    };
    let duration = match &sent {
        Ok(reply) => reply.duration,
        Err(error) => error.duration,
    };
    let ended = at.after(duration);
    let answer = match &sent {
        Ok(reply) => AttemptAnswer::from_reply(reply.status, &reply.headers, ended),
        Err(error) => AttemptAnswer::Failed(error.class),
    };
    let policy =
        FailurePolicy { schedule: &target.schedule, on_gone: target.endpoint.settings.on_gone };
    let judgement = judge_answer(answer, round, policy, ended, random);
    let class = judgement.error_class;
    let sent = sent.map(|reply| redacted(reply, &target.redactor));
    let attempt = record_attempt(parcel.number, at, duration, recorded, class, sent);
    Some(MadeAttempt { attempt, judgement })
}

/// The body that a first attempt would post to an endpoint: its envelope with its field map. An
/// error says why there is none.
pub fn preview_body(
    target: &EndpointRuntime,
    id: DeliveryId,
    event: &Event,
    message: Option<&DeliveryMessage>,
) -> Result<RenderedBody, String> {
    let signed_at = event.received_at;
    let parcel = DeliveryParcel { id, event, message, collapsed: None, number: 1, signed_at };
    let sent_with = SentWith::read(event.attributes.as_deref());
    let rendered = render_body(target, parcel, &id.to_string(), &sent_with);
    rendered.map_err(|why| why.to_string())
}

fn unsendable(why: &UnsendableReason) -> SendError {
    SendError { class: ErrorClass::Protocol, detail: why.to_string(), duration: Duration::ZERO }
}

fn build_request(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
) -> Result<ClientRequest, UnsendableReason> {
    let id = parcel.id.to_string();
    let sent_with = SentWith::read(parcel.event.attributes.as_deref());
    // Counted at each delivery, so that an endpoint that feeds its own source comes to an end.
    let hops = sent_with.hops.saturating_add(1);
    let rendered = render_body(target, parcel, &id, &sent_with)?;
    let mut headers = HeaderMap::with_capacity(16);
    headers.extend(target.headers.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(&*rendered.content_type)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(EVENT, HeaderValue::try_from(event_type(parcel))?);
    headers.insert(ATTEMPT, HeaderValue::from(parcel.number));
    headers.insert(HOPS, HeaderValue::from(hops));
    headers.extend(rendered.headers);
    let signer = target.signer.as_ref().ok_or(UnsendableReason::Locked)?;
    signer.sign(&id, parcel.signed_at, &rendered.body, &mut headers)?;
    let uri = target.uri.clone().map_err(UnsendableReason::Url)?;
    let header_case = target.header_case.clone();
    Ok(ClientRequest { uri, headers, header_case, body: Bytes::from(rendered.body) })
}

fn event_type(parcel: DeliveryParcel<'_>) -> &str {
    parcel.message.and_then(|m| m.event_type.as_deref()).unwrap_or(&parcel.event.event_type)
}

fn render_body(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
    id: &str,
    sent_with: &SentWith,
) -> Result<RenderedBody, UnsendableReason> {
    let settings = &target.endpoint.settings;
    let event = parcel.event;
    let own_data = parcel.message.and_then(|message| message.data.as_ref());
    let data = own_data.unwrap_or(&event.data);
    let mapped = match &settings.field_map {
        Some(map) if !map.is_empty() => Some(map.apply(data)?),
        Some(_) | None => None,
    };
    let changes = match &event.changes {
        // What a module made of the event, and the last of several, are not this change.
        Some(changes) if own_data.is_none() && parcel.collapsed.is_none() => {
            Some(changes::sent_changes(changes, settings.field_map.as_ref())?)
        }
        Some(_) | None => None,
    };
    let resource_id = parcel.message.and_then(|m| m.resource_id.as_deref());
    let is_retyped = parcel.message.is_some_and(|message| message.event_type.is_some());
    // How the data was captured holds for nothing else that is sent in its place.
    let is_as_captured =
        mapped.is_none() && own_data.is_none_or(|own| own.get() == event.data.get());
    let captured_id = event.id.to_string();
    let draft_id = parcel.message.and_then(|m| m.event_id).map(|id| id.to_string());
    let message = envelope::EnvelopeMessage {
        delivery_id: id,
        event_id: draft_id.as_ref().unwrap_or(&captured_id),
        parent_id: draft_id.as_ref().map(|_| captured_id.as_str()),
        event_type: event_type(parcel),
        timestamp: &event.time().to_string(),
        source: &event.source,
        resource: event.resource.as_deref(),
        resource_id: resource_id.or(event.resource_id.as_deref()),
        data: mapped.as_ref().unwrap_or(data).get(),
        changed: changes.as_ref().map(|sent| sent.changed.as_str()),
        previous: changes.as_ref().map(|sent| sent.previous.as_str()),
        collapsed: parcel.collapsed.map(i32::unsigned_abs),
        sent_type: sent_with.event_type.as_deref().filter(|_| !is_retyped),
        subject: sent_with.subject.as_deref().filter(|_| resource_id.is_none()),
        content_type: sent_with.content_type.as_deref().filter(|_| is_as_captured),
        schema: sent_with.schema.as_deref().filter(|_| is_as_captured),
        is_base64: sent_with.is_base64 && is_as_captured,
        hops: Some(sent_with.hops.saturating_add(1)),
        extensions: event.attributes.as_ref().map(|a| a.get()),
        attributes: parcel.message.map(|m| m.attributes.as_slice()).unwrap_or_default(),
    };
    Ok(envelope::render_envelope(settings.envelope, &message)?)
}

fn record_attempt(
    number: i32,
    at: Timestamp,
    duration: Duration,
    request_headers: String,
    class: Option<ErrorClass>,
    sent: Result<ClientReply, SendError>,
) -> Attempt {
    let (status, headers, body, error) = match sent {
        Ok(reply) => {
            let error = class.map(|_| format!("answered {}", reply.status));
            let headers = headers_json(reply.headers.iter(), |name| name == header::SET_COOKIE);
            (Some(reply.status.as_u16()), Some(headers), Some(reply.body), error)
        }
        Err(error) => (None, None, None, Some(make_storable(error.detail))),
    };
    Attempt {
        number,
        at,
        duration,
        response_status: status,
        error_class: class.map(ErrorClass::as_str),
        error,
        request_headers,
        response_headers: headers,
        response_body: body,
    }
}

/// A reply without the endpoint's secrets, which receivers that echo a request send back.
fn redacted(mut reply: ClientReply, redactor: &SecretRedactor) -> ClientReply {
    for value in reply.headers.values_mut() {
        let text = String::from_utf8_lossy(value.as_bytes());
        if let Cow::Owned(clean) = redactor.text(&text)
            && let Ok(clean) = HeaderValue::try_from(clean)
        {
            *value = clean;
        }
    }
    reply.body = redactor.body(reply.body, reply.truncated);
    reply
}

/// The request's headers for the record; what the operator set stays hidden.
fn record_headers(headers: &HeaderMap, target: &EndpointRuntime) -> String {
    headers_json(headers.iter(), |name| target.headers.contains_key(name))
}

/// Headers as a JSON object; repeated ones are joined as RFC 9110, section 5.3, has it. A receiver
/// may send any number of any length: what makes the object longer than [`MAX_HEADERS_JSON`] is
/// counted, not kept.
fn headers_json<'h>(
    headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    hidden: impl Fn(&HeaderName) -> bool,
) -> String {
    let mut json = String::with_capacity(640);
    let mut last: Option<&HeaderName> = None;
    let mut left_out = 0;
    for (name, value) in headers {
        if json.len() + name.as_str().len() + value.len() > MAX_HEADERS_JSON {
            left_out += 1;
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = if hidden(name) { MASK } else { &*text };
        if last == Some(name) {
            json.truncate(json.len() - 1);
            json.push_str(", ");
        } else {
            json.push_str(if last.is_none() { "{\"" } else { ",\"" });
            json.push_str(name.as_str());
            json.push_str("\":\"");
        }
        push_escaped(&mut json, text);
        json.push('"');
        last = Some(name);
    }
    if left_out > 0 {
        json.push_str(if last.is_none() { "{\"" } else { ",\"" });
        json.push_str(LEFT_OUT);
        json.push_str("\":\"");
        json.push_str(&left_out.to_string());
        json.push_str("\"}");
    } else {
        json.push_str(if last.is_none() { "{}" } else { "}" });
    }
    json
}

fn push_escaped(json: &mut String, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        json.push_str(text);
    } else {
        let quoted = serde_json::Value::from(text).to_string();
        json.push_str(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_recorded_as_json_with_secrets_masked() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2 \"q\""));
        headers.append("authorization", HeaderValue::from_static("Bearer s3cret"));
        let json = headers_json(headers.iter(), |name| name == "authorization");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value, serde_json::json!({"x-a": "1, 2 \"q\"", "authorization": "***"}));
        assert_eq!(headers_json(HeaderMap::new().iter(), |_| false), "{}");
    }

    #[test]
    fn headers_without_bound_are_recorded_within_one() {
        let mut headers = HeaderMap::new();
        for number in 0..900_u16 {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            headers
                .append(name, HeaderValue::from_static("0123456789012345678901234567890123456789"));
        }
        headers.append("x-long", HeaderValue::try_from("a".repeat(100_000)).unwrap());
        let json = headers_json(headers.iter(), |_| false);
        assert!(json.len() < MAX_HEADERS_JSON + 100, "{} bytes", json.len());
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let kept = value.as_object().unwrap().len() - 1;
        assert!(kept > 200, "{kept}");
        assert_eq!(value[LEFT_OUT], (901 - kept).to_string());
        let long = HeaderValue::try_from("a".repeat(100_000)).unwrap();
        let only = HeaderMap::from_iter([(HeaderName::from_static("x-long"), long)]);
        assert_eq!(headers_json(only.iter(), |_| false), r#"{"(not kept)":"1"}"#);
    }
}
