//! Makes one attempt at a leased delivery: builds the request, sends it, and records the result.

use super::api_attempt::make_api_attempt;
use super::api_request::preview_operation;
use super::authorized::send_authorized;
use super::channel_attempt::{make_channel_attempt, preview_channel};
use super::envelope;
use super::exchange_record::{TOKEN_NOTE, add_note, record_reply_headers, record_request};
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
use crate::model::plan_effects::EmittedFact;
use crate::model::trace_context::{SpanContext, TRACE_PARENT, TRACE_STATE};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::permit::SendPermit;
use crate::net::http_client::{ClientReply, ClientRequest, DeliveryClient, SendError};
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::time::Duration;

/// The `User-Agent` of every request.
pub const USER_AGENT: &str = concat!("Waybill/", env!("CARGO_PKG_VERSION"));
/// The header with the event type.
pub const EVENT: HeaderName = HeaderName::from_static("x-waybill-event");
/// The header with the number of the attempt, from 1.
pub const ATTEMPT: HeaderName = HeaderName::from_static("x-waybill-attempt");
/// The header with the number of times the event was delivered, including this one. Ingest refuses
/// events above a limit, which stops loops.
pub const HOPS: HeaderName = HeaderName::from_static(HOPS_HEADER);

/// Why nothing is sent to an endpoint of kind `pull`.
const PULLED: &str = "its deliveries are fetched by their consumer at /api/v1/pull, and not sent";

/// A delivery to send, with everything an attempt needs to know about it.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryParcel<'a> {
    pub id: DeliveryId,
    pub event: &'a Event,
    /// The message to send instead of the event as it was captured.
    pub message: Option<&'a DeliveryMessage>,
    /// The number of deliveries that collapsed into this one.
    pub collapsed: Option<i32>,
    /// The number of the attempt, from 1.
    pub number: i32,
    /// The time of day that signatures carry.
    pub signed_at: Timestamp,
    /// The right to send the delivery. `None` if no other node can take the delivery over.
    pub permit: Option<&'a SendPermit>,
    /// Whether an earlier attempt may have reached the receiver.
    pub may_be_repeat: bool,
    /// The span of the attempt. `None` if spans are not recorded.
    pub span: Option<SpanContext>,
}

/// Why the request of a delivery cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UnsendableReason {
    #[error(
        "the endpoint's secret was stored with another key: enter it again, or start with that key"
    )]
    Locked,
    #[error("the field map cannot be applied: {0}")]
    FieldMap(#[from] crate::model::field_map::InvalidData),
    #[error("the body cannot be written: {0}")]
    Body(#[from] crate::json::canonical::CanonicalError),
    #[error("the request cannot be signed: {0}")]
    Sign(#[from] crate::signing::UnsignableId),
    #[error("the endpoint's URL cannot be used: {0}")]
    Url(String),
    #[error("the endpoint cannot be used: {0}")]
    Channel(String),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("a header cannot be written: {0}")]
    Header(#[from] header::InvalidHeaderValue),
}

/// The result of an attempt.
#[derive(Debug)]
pub struct MadeAttempt {
    /// The record of the attempt, ready to be stored.
    pub attempt: Attempt,
    /// The decision about the delivery's next state.
    pub judgement: AttemptJudgement,
    /// The event that the answer becomes, if it becomes one.
    pub answer: Option<Box<AnswerEvent>>,
    /// The events that the module of the endpoint emitted.
    pub facts: Vec<EmittedFact>,
}

impl<'a> DeliveryParcel<'a> {
    /// Makes the parcel of a first attempt that has no lease and is not recorded.
    pub const fn unrecorded(
        id: DeliveryId,
        event: &'a Event,
        message: Option<&'a DeliveryMessage>,
        signed_at: Timestamp,
    ) -> Self {
        let (collapsed, permit, span) = (None, None, None);
        let (number, may_be_repeat) = (1, false);
        Self { id, event, message, collapsed, number, signed_at, permit, may_be_repeat, span }
    }

    /// Returns the event type to send: that of the message if it has one, or else that of the
    /// event.
    pub fn event_type(&self) -> &str {
        self.message.and_then(|m| m.event_type.as_deref()).unwrap_or(&self.event.event_type)
    }

    /// Returns the context that the receiver continues: that of the attempt, or that of the event's
    /// sender if spans are not recorded.
    pub fn trace_context(&self, sent_with: &SentWith) -> Option<SpanContext> {
        self.span.or_else(|| sent_with.trace.as_ref().map(|trace| trace.span))
    }

    /// Adds the headers that pass the trace on. Without a trace it adds none.
    pub fn insert_trace(
        &self,
        sent_with: &SentWith,
        headers: &mut HeaderMap,
    ) -> Result<(), header::InvalidHeaderValue> {
        let Some(context) = self.trace_context(sent_with) else { return Ok(()) };
        headers.insert(TRACE_PARENT, HeaderValue::try_from(context.to_string())?);
        let state = sent_with.trace.as_ref().and_then(|trace| trace.state.as_deref());
        if let Some(state) = state {
            headers.insert(TRACE_STATE, HeaderValue::try_from(state)?);
        }
        Ok(())
    }
}

/// A request and its answer in the form in which they are recorded, without secrets.
#[derive(Debug)]
pub struct MadeExchange {
    /// The answer, for [`judge_answer`].
    pub answer: AttemptAnswer,
    pub duration: Duration,
    /// The status code of the answer. `None` if no answer came.
    pub status: Option<u16>,
    /// The failure in one sentence. `None` if the attempt succeeded.
    pub error: Option<String>,
    /// The request's headers as a JSON object.
    pub request_headers: String,
    /// The answer's headers as a JSON object. `None` if no answer came.
    pub response_headers: Option<String>,
    pub response_body: Option<Bytes>,
}

/// Makes one attempt. Returns `None` if `withdrawn` completed before the request began. `random` is
/// uniform in `0..1`.
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
        // Boxed so that it does not enlarge the future of a webhook's attempt.
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
                // Boxed so that it does not enlarge the attempts of endpoints without tokens.
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

/// Judges an exchange and builds the record of the attempt.
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
    MadeAttempt { attempt, judgement, answer: None, facts: Vec::new() }
}

/// Returns the body that a first attempt would send to an endpoint, with the endpoint's field map
/// and envelope applied. The error says why no body can be made.
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

/// A request that was built again from the stored event and the endpoint's present settings.
#[derive(Debug)]
pub struct RemadeRequest {
    /// The headers as a JSON object, as they would be recorded.
    pub headers: String,
    pub body: Bytes,
    pub content_type: String,
}

/// Builds the request of an earlier attempt again. The request equals the original one if the
/// endpoint's settings and secret have not changed. The error says why no request can be built.
pub fn remake_request(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
) -> Result<RemadeRequest, String> {
    let is_sent_whole =
        matches!(target.channel, EndpointChannel::Webhook | EndpointChannel::Unusable(_));
    if !is_sent_whole {
        let kind = &target.endpoint.settings.kind;
        return Err(format!("a message of kind `{kind}` cannot be built again"));
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

/// Returns the failed attempt of a delivery that could not be sent.
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

/// A message with the signatures of one attempt.
#[derive(Debug)]
pub struct SignedMessage {
    pub headers: HeaderMap,
    /// The body, and what templates add to the URL.
    pub request: RenderedRequest,
}

/// Renders and signs the message of an attempt.
pub fn sign_message(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
) -> Result<SignedMessage, UnsendableReason> {
    let id = parcel.id.to_string();
    let sent_with = SentWith::read(parcel.event.attributes.as_deref());
    // Each delivery counts one more, so an endpoint that feeds its own source stops eventually.
    let hops = sent_with.hops.saturating_add(1);
    let mut request = render_request(target, parcel, &id, &sent_with)?;
    let described = std::mem::take(&mut request.body.headers);
    let rendered = &request.body;
    let mut headers = HeaderMap::with_capacity(16);
    headers.extend(target.headers.clone());
    if !rendered.content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(&*rendered.content_type)?);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(EVENT, HeaderValue::try_from(parcel.event_type())?);
    headers.insert(ATTEMPT, HeaderValue::from(parcel.number));
    headers.insert(HOPS, HeaderValue::from(hops));
    parcel.insert_trace(&sent_with, &mut headers)?;
    headers.extend(described);
    let signer = target.signer.as_ref().ok_or(UnsendableReason::Locked)?;
    signer.sign(&id, parcel.signed_at, &rendered.body, &mut headers)?;
    Ok(SignedMessage { headers, request })
}

fn build_request(
    target: &EndpointRuntime,
    parcel: DeliveryParcel<'_>,
) -> Result<ClientRequest, UnsendableReason> {
    let SignedMessage { headers, request } = sign_message(target, parcel)?;
    match &target.channel {
        EndpointChannel::Unusable(why) | EndpointChannel::Waiting { why, .. } => {
            return Err(UnsendableReason::Channel(why.clone()));
        }
        EndpointChannel::Pulled => {
            return Err(UnsendableReason::Channel(PULLED.to_owned()));
        }
        EndpointChannel::Webhook | EndpointChannel::Api(_) | EndpointChannel::Other(_) => {}
    }
    let mut uri = target.uri.clone().map_err(UnsendableReason::Url)?;
    let key = target.access.as_ref().and_then(|access| access.query.as_deref());
    if target.template.is_some() || key.is_some() {
        uri = extend_uri(&uri, &request.path, &[&request.query, key.unwrap_or_default()])?;
    }
    let method = target.endpoint.settings.method.http_method();
    let header_case = target.header_case.clone();
    let (body, permit) = (Bytes::from(request.body.body), parcel.permit.cloned());
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
            let reply = target.redactor.mask_reply(reply);
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
