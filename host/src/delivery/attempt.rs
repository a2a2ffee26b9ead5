//! One attempt, from the leased delivery to the record of what came of it.

use super::api_attempt::make_api_attempt;
use super::api_request::preview_operation;
use super::authorized::send_authorized;
use super::channel_attempt::{make_channel_attempt, preview_channel};
use super::envelope;
use super::judge::{AttemptAnswer, AttemptJudgement, FailurePolicy, RetryRound, judge_answer};
use super::message_parts::MessageParts;
use super::templated::{RenderedRequest, TemplateError, extend_uri, render_templated};
use crate::channels::EndpointChannel;
use crate::json::storable::make_storable;
use crate::model::answer_event::AnswerEvent;
use crate::model::attributes::{HOPS_HEADER, SentWith};
use crate::model::delivery::Attempt;
use crate::model::envelope::RenderedBody;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::DeliveryId;
use crate::model::private_values::{MASK, mask_url};
use crate::model::redactor::SecretRedactor;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::permit::SendPermit;
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
pub const EVENT: HeaderName = HeaderName::from_static("x-waybill-event");
/// 1, 2, …
pub const ATTEMPT: HeaderName = HeaderName::from_static("x-waybill-attempt");
/// How often the event was delivered, this time included; `capture` refuses more than a few.
pub const HOPS: HeaderName = HeaderName::from_static(HOPS_HEADER);
/// Longest record of a request's or an answer's headers, in bytes, roughly: as much as of a body.
const MAX_HEADERS_JSON: usize = 16 * 1024;
/// Stands in a record for headers that are not kept, with their number. No header has that name.
const LEFT_OUT: &str = "(not kept)";

/// Stands in a record for the method and the address that templates made.
pub const REQUEST_NOTE: &str = "(request)";
/// Stands in a record for where a token was fetched from.
pub const TOKEN_NOTE: &str = "(token)";

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
    /// The right to send it, where another node may take it over.
    pub permit: Option<&'a SendPermit>,
    /// Whether an earlier attempt may have reached the receiver.
    pub may_be_repeat: bool,
}

/// Why a delivery cannot even be sent.
#[derive(Debug, thiserror::Error)]
pub enum UnsendableReason {
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
    #[error("the endpoint cannot be used: {0}")]
    Channel(String),
    #[error(transparent)]
    Template(#[from] TemplateError),
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
    /// The event that the answer becomes, if it becomes one.
    pub answer: Option<Box<AnswerEvent>>,
}

impl<'a> DeliveryParcel<'a> {
    /// A first attempt that no lease stands behind and nothing records.
    pub const fn unrecorded(
        id: DeliveryId,
        event: &'a Event,
        message: Option<&'a DeliveryMessage>,
        signed_at: Timestamp,
    ) -> Self {
        let (collapsed, permit, may_be_repeat) = (None, None, false);
        Self { id, event, message, collapsed, number: 1, signed_at, permit, may_be_repeat }
    }

    /// The event type that is sent.
    pub fn event_type(&self) -> &str {
        self.message.and_then(|m| m.event_type.as_deref()).unwrap_or(&self.event.event_type)
    }
}

/// What was exchanged with a receiver, as it is recorded.
#[derive(Debug)]
pub struct MadeExchange {
    /// What it means.
    pub answer: AttemptAnswer,
    pub duration: Duration,
    /// The status of the answer, if it has one.
    pub status: Option<u16>,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
    /// A JSON object.
    pub request_headers: String,
    /// A JSON object.
    pub response_headers: Option<String>,
    pub response_body: Option<Bytes>,
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
    withdrawn: impl Future<Output = ()> + Send,
) -> Option<MadeAttempt> {
    if let EndpointChannel::Other(channel) = &target.channel {
        let (channel, withdrawn) = (channel.as_ref(), Box::pin(withdrawn));
        let making =
            make_channel_attempt(client, target, channel, parcel, round, at, random, withdrawn);
        // Boxed, so that the future of a webhook's attempt is not larger for it.
        return Box::pin(making).await;
    }
    if let EndpointChannel::Api(operations) = &target.channel {
        let withdrawn = Box::pin(withdrawn);
        let making =
            make_api_attempt(client, target, operations, parcel, round, at, random, withdrawn);
        return Box::pin(making).await;
    }
    let (sent, recorded) = match build_request(target, parcel) {
        Ok(request) => {
            let recorded = record_request(&request, target);
            match &target.access {
                None => (client.send(request, target.timeout, withdrawn).await?, recorded),
                // Boxed, so that the attempts of all other endpoints stay small.
                Some(access) => {
                    let (timeout, wall) = (target.timeout, parcel.signed_at);
                    let sending =
                        send_authorized(client, target, access, request, timeout, wall, withdrawn);
                    let reply = Box::pin(sending).await?;
                    let recorded = reply.fetched.iter().fold(recorded, |recorded, fetched| {
                        add_note(recorded, TOKEN_NOTE, fetched)
                    });
                    (reply.sent, recorded)
                }
            }
        }
        Err(why) => (Err(unsendable(&why)), "{}".to_owned()),
    };
    let made = record_sent(sent, recorded, target, at);
    Some(finish_attempt(target, parcel.number, round, at, random, made))
}

/// Judges what was exchanged, and makes the record of the attempt.
pub fn finish_attempt(
    target: &EndpointRuntime,
    number: i32,
    round: RetryRound,
    at: Timestamp,
    random: f64,
    made: MadeExchange,
) -> MadeAttempt {
    let policy =
        FailurePolicy { schedule: &target.schedule, on_gone: target.endpoint.settings.on_gone };
    let judgement = judge_answer(made.answer, round, policy, at.after(made.duration), random);
    let class = judgement.error_class;
    let attempt = Attempt {
        number,
        at,
        duration: made.duration,
        response_status: made.status,
        error_class: class.map(ErrorClass::as_str),
        error: class.and(made.error),
        request_headers: made.request_headers,
        response_headers: made.response_headers,
        response_body: made.response_body,
    };
    MadeAttempt { attempt, judgement, answer: None }
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
    let parcel = DeliveryParcel::unrecorded(id, event, message, signed_at);
    if let EndpointChannel::Api(operations) = &target.channel {
        return preview_operation(target, operations, parcel).map(|shown| shown.body);
    }
    let sent_with = SentWith::read(event.attributes.as_deref());
    let id = id.to_string();
    if let EndpointChannel::Other(channel) = &target.channel {
        let map = target.endpoint.settings.field_map.as_ref();
        let parts = MessageParts::new(map, parcel, &id, &sent_with);
        let parts = parts.map_err(|why| UnsendableReason::from(why).to_string())?;
        return preview_channel(target, channel.as_ref(), &parts);
    }
    let rendered = render_request(target, parcel, &id, &sent_with);
    rendered.map(|rendered| rendered.body).map_err(|why| why.to_string())
}

/// A request that is made again from what is stored.
#[derive(Debug)]
pub struct RemadeRequest {
    /// Its headers as a record has them.
    pub headers: String,
    pub body: Bytes,
    pub content_type: String,
}

/// Makes the request of an attempt again. It is the same as then if endpoint and secret are; an error
/// says why there is none.
pub fn remake_request(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
) -> Result<RemadeRequest, String> {
    if let EndpointChannel::Other(_) | EndpointChannel::Api(_) = &target.channel {
        let kind = &target.endpoint.settings.kind;
        return Err(format!("a message of kind `{kind}` is not made again"));
    }
    let request = build_request(target, parcel).map_err(|why| why.to_string())?;
    let content_type = request.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(RemadeRequest {
        content_type: content_type.to_owned(),
        headers: record_request(&request, target),
        body: request.body,
    })
}

pub fn unsendable(why: &UnsendableReason) -> SendError {
    let class = match why {
        UnsendableReason::Template(_) => ErrorClass::Template,
        UnsendableReason::Locked
        | UnsendableReason::FieldMap(_)
        | UnsendableReason::Body(_)
        | UnsendableReason::Sign(_)
        | UnsendableReason::Url(_)
        | UnsendableReason::Channel(_)
        | UnsendableReason::Header(_) => ErrorClass::Protocol,
    };
    SendError { class, detail: why.to_string(), duration: Duration::ZERO }
}

fn build_request(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
) -> Result<ClientRequest, UnsendableReason> {
    let id = parcel.id.to_string();
    let sent_with = SentWith::read(parcel.event.attributes.as_deref());
    // Counted at each delivery, so that an endpoint that feeds its own source comes to an end.
    let hops = sent_with.hops.saturating_add(1);
    let request = render_request(target, parcel, &id, &sent_with)?;
    let rendered = request.body;
    let mut headers = HeaderMap::with_capacity(16);
    headers.extend(target.headers.clone());
    if !rendered.content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(&*rendered.content_type)?);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(EVENT, HeaderValue::try_from(parcel.event_type())?);
    headers.insert(ATTEMPT, HeaderValue::from(parcel.number));
    headers.insert(HOPS, HeaderValue::from(hops));
    headers.extend(rendered.headers);
    let signer = target.signer.as_ref().ok_or(UnsendableReason::Locked)?;
    signer.sign(&id, parcel.signed_at, &rendered.body, &mut headers)?;
    if let EndpointChannel::Unusable(why) = &target.channel {
        return Err(UnsendableReason::Channel(why.clone()));
    }
    let mut uri = target.uri.clone().map_err(UnsendableReason::Url)?;
    let key = target.access.as_ref().and_then(|access| access.query.as_deref());
    if target.template.is_some() || key.is_some() {
        uri = extend_uri(&uri, &request.path, &[&request.query, key.unwrap_or_default()])?;
    }
    let method = target.endpoint.settings.method.http_method();
    let header_case = target.header_case.clone();
    let (body, permit) = (Bytes::from(rendered.body), parcel.permit.cloned());
    let is_sent_once = false;
    Ok(ClientRequest { method, uri, headers, header_case, body, permit, is_sent_once })
}

fn render_request(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
    id: &str,
    sent_with: &SentWith,
) -> Result<RenderedRequest, UnsendableReason> {
    let settings = &target.endpoint.settings;
    let parts = MessageParts::new(settings.field_map.as_ref(), parcel, id, sent_with)?;
    let message = parts.message();
    let Some(template) = &target.template else {
        let body = envelope::render_envelope(settings.envelope, &message)?;
        return Ok(RenderedRequest::plain(body));
    };
    let event = parcel.event;
    let merged = parcel.message.and_then(|message| message.merged_attributes(event));
    let attributes = merged.as_deref().or(event.attributes.as_ref().map(|own| own.get()));
    Ok(render_templated(template, settings.envelope, &message, attributes)?)
}

fn record_sent(
    sent: Result<ClientReply, SendError>,
    request_headers: String,
    target: &EndpointRuntime,
    at: Timestamp,
) -> MadeExchange {
    match sent {
        Ok(reply) => {
            let ended = at.after(reply.duration);
            let answer = AttemptAnswer::from_reply(reply.status, &reply.headers, ended);
            let reply = redact_reply(reply, &target.redactor);
            let failed = ErrorClass::of_status(reply.status).is_some();
            MadeExchange {
                answer,
                duration: reply.duration,
                status: Some(reply.status.as_u16()),
                error: failed.then(|| format!("answered {}", reply.status)),
                request_headers,
                response_headers: Some(record_reply_headers(&reply.headers)),
                response_body: Some(reply.body),
            }
        }
        Err(error) => MadeExchange {
            answer: AttemptAnswer::Failed(error.class),
            duration: error.duration,
            status: None,
            error: Some(make_storable(error.detail)),
            request_headers,
            response_headers: None,
            response_body: None,
        },
    }
}

/// Masks secrets in a reply, because receivers that echo a request send them back.
pub fn redact_reply(mut reply: ClientReply, redactor: &SecretRedactor) -> ClientReply {
    redact_headers(&mut reply.headers, redactor);
    reply.body = redactor.body(reply.body, reply.truncated);
    reply
}

/// Masks the endpoint's secrets in the headers of a reply: receivers that echo a request send them
/// back.
pub fn redact_headers(headers: &mut HeaderMap, redactor: &SecretRedactor) {
    for value in headers.values_mut() {
        let text = String::from_utf8_lossy(value.as_bytes());
        if let Cow::Owned(clean) = redactor.text(&text)
            && let Ok(clean) = HeaderValue::try_from(clean)
        {
            *value = clean;
        }
    }
}

/// A reply's headers for the record, without cookies.
pub fn record_reply_headers(headers: &HeaderMap) -> String {
    headers_json(headers.iter(), |name| name == header::SET_COOKIE)
}

/// The request for the record: its headers, and where it went if templates say so. What the operator
/// set stays hidden.
fn record_request(request: &ClientRequest, target: &EndpointRuntime) -> String {
    let headers = headers_json(request.headers.iter(), |name| target.headers.contains_key(name));
    if target.template.is_none() {
        return headers;
    }
    let place = format!("{} {}", request.method, mask_url(&request.uri.to_string()));
    add_note(headers, REQUEST_NOTE, &place)
}

/// Adds what is not a header to a JSON object of headers.
pub fn add_note(mut json: String, name: &str, text: &str) -> String {
    json.truncate(json.trim_end_matches('}').len());
    json.push_str(if json.ends_with('{') { "\"" } else { ",\"" });
    json.push_str(name);
    json.push_str("\":\"");
    push_escaped(&mut json, text);
    json.push_str("\"}");
    json
}

/// Headers as a JSON object; repeated ones are joined as RFC 9110, section 5.3, has it. A receiver
/// may send any number of any length: what makes the object longer than [`MAX_HEADERS_JSON`] is
/// counted, not kept.
pub fn headers_json<'h>(
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
    fn notes_stand_beside_headers() {
        let noted = add_note(r#"{"a":"1"}"#.to_owned(), TOKEN_NOTE, "from \"x\"");
        assert_eq!(noted, r#"{"a":"1","(token)":"from \"x\""}"#);
        assert_eq!(add_note("{}".to_owned(), TOKEN_NOTE, "x"), r#"{"(token)":"x"}"#);
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
