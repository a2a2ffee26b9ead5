//! `/in/{source}`: receives the webhooks of other systems.
//!
//! The answer follows once the events are durable. A sender without a 2xx answer sends again, and
//! the repeat is recognised. Handshakes that a sender makes before it sends are answered too. Every
//! refusal is counted, by source and reason.

mod decoded;

use super::AppState;
use super::answer::{DataAnswer, data_answer};
use super::auth::CallOrigin;
use super::body::{BoundedBody, pay_for_copy};
use super::events::{EventReceipt, make_receipt};
use super::logged_call::{CallBeginning, capture_place, is_new, mark_logged};
use super::problem::{ApiProblem, method_not_allowed};
use crate::ingest::accept::{AcceptError, EventSender, accept_events};
use crate::ingest::body::{CODINGS, CodingError, decompress_body};
use crate::ingest::event_body::{BodyError, ReceivedEvents};
use crate::ingest::handshake;
use crate::ingest::handshake::HandshakeAnswer;
use crate::ingest::repeats;
use crate::ingest::source_decoder::{DecodedWebhook, SenderReply, VerifiedRequest};
use crate::ingest::webhook_body;
use crate::ingest::webhook_body::ReceivedWebhook;
use crate::model::attributes::is_form;
use crate::model::webhook_source::SenderScheme;
use crate::model::webhook_source::senders::EmptyAnswer;
use crate::settings::source_runtime::SourceRuntime;
use crate::signing::webhook;
use crate::time::timestamp::Timestamp;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, options, post};
use axum::{Extension, Json, Router};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Seconds after which a sender may retry while its source is paused.
const PAUSED: u32 = 60;
/// Methods of a source's address. GET answers the handshakes of some senders.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");

/// A request that is not accepted.
struct WebhookRefused {
    /// The reason as a word for counting.
    reason: &'static str,
    problem: Box<ApiProblem>,
    /// What operators see of it, if that differs from the answer.
    noted: Option<String>,
}

impl WebhookRefused {
    fn new(reason: &'static str, problem: ApiProblem) -> Self {
        Self { reason, problem: Box::new(problem), noted: None }
    }

    /// Shows operators another text than the sender.
    fn noting(self, detail: String) -> Self {
        Self { noted: Some(detail), ..self }
    }
}

impl From<BodyError> for WebhookRefused {
    fn from(refusal: BodyError) -> Self {
        let reason = match &refusal {
            BodyError::Malformed(_) => "malformed",
            BodyError::Invalid(_) => "invalid",
            BodyError::MediaType(_) => "media_type",
            BodyError::Loop(_) => "loop",
        };
        Self::new(reason, refusal.into())
    }
}

impl From<CodingError> for WebhookRefused {
    fn from(error: CodingError) -> Self {
        let reason = match error {
            CodingError::Unknown(_) => "media_type",
            CodingError::Broken(_) => "malformed",
            CodingError::TooLarge(_) => "body",
        };
        Self::new(reason, error.into())
    }
}

impl From<CodingError> for ApiProblem {
    fn from(error: CodingError) -> Self {
        match error {
            CodingError::Unknown(coding) => {
                let detail = format!(
                    "the content encoding `{coding}` is not supported; the supported ones are {CODINGS}"
                );
                let accepted = HeaderValue::from_static(CODINGS);
                Self::media_type(detail).with_value(header::ACCEPT_ENCODING, accepted)
            }
            CodingError::Broken(coding) => {
                let detail = format!("the body is not compressed by {coding}, as its header says");
                Self::malformed_request(detail)
            }
            CodingError::TooLarge(limit) => Self::too_large(limit),
        }
    }
}

impl From<webhook::WebhookRefusal> for WebhookRefused {
    fn from(refusal: webhook::WebhookRefusal) -> Self {
        let detail = refusal.to_string();
        let problem = if refusal == webhook::WebhookRefusal::Address {
            ApiProblem::forbidden(detail)
        } else {
            ApiProblem::unverified(detail)
        };
        Self::new(refusal.as_str(), problem)
    }
}

impl From<AcceptError> for WebhookRefused {
    fn from(refused: AcceptError) -> Self {
        match refused {
            AcceptError::Invalid(faults) => Self::new("invalid", ApiProblem::invalid(faults)),
            AcceptError::Journal(error) => Self::new("unavailable", error.into()),
            AcceptError::Log(refusal) => Self::new("unavailable", refusal.into()),
        }
    }
}

/// Builds the same routes with a slash at the end, as some senders write them, and those below, which
/// only the modules of sources read.
pub fn routes_with_slash() -> Router<AppState> {
    let methods: MethodRouter<AppState> =
        post(receive_webhook).merge(get(ask_receiver)).merge(options(permit_origin));
    let below: MethodRouter<AppState> = post(receive_below).merge(get(ask_below));
    Router::new().route("/in/{source}/", methods).route("/in/{source}/{*below}", below)
}

/// Receives a webhook of a source: verifies it over the raw bytes and reads its envelope. Answers
/// once its events are durable: one, or all of a list.
#[utoipa::path(post, path = "/in/{source}", tag = "receive", operation_id = "receive_webhook",
    params(("source" = String, Path, description = "The source's name.")),
    request_body(content = Object, description = "The body as the system sends it: JSON or a form, of at most `server.max_body` \
        bytes, also after decompression (gzip, deflate, br)."),
    responses((status = 202, body = DataAnswer<EventReceipt>, description = "One receipt, or for a list of events a list of receipts in their order."),
        (status = 200, description = "A handshake was answered, or the sender accepts only an empty answer."),
        (status = 400, body = ApiProblem), (status = 401, body = ApiProblem), (status = 403, body = ApiProblem), (status = 404, body = ApiProblem),
        (status = 413, body = ApiProblem), (status = 415, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 500, body = ApiProblem, description = "The source's module failed on the request."), (status = 503, body = ApiProblem)))]
pub async fn receive_webhook(
    State(app): State<AppState>,
    Path(name): Path<String>,
    Extension(caller): Extension<CallOrigin>,
    head: Parts,
    body: Result<BoundedBody, ApiProblem>,
) -> Result<Response, ApiProblem> {
    let runtime = find_source(&app, &name)?;
    receive(&app, (&runtime, ""), caller, &head, body).await
}

/// Receives a request below the address of a source whose module decodes it.
async fn receive_below(
    State(app): State<AppState>,
    Path((name, below)): Path<(String, String)>,
    Extension(caller): Extension<CallOrigin>,
    head: Parts,
    body: Result<BoundedBody, ApiProblem>,
) -> Result<Response, ApiProblem> {
    let runtime = find_decoded_source(&app, &name)?;
    receive(&app, (&runtime, &below), caller, &head, body).await
}

async fn receive(
    app: &AppState,
    (runtime, below): (&Arc<SourceRuntime>, &str),
    caller: CallOrigin,
    head: &Parts,
    body: Result<BoundedBody, ApiProblem>,
) -> Result<Response, ApiProblem> {
    let taken = match body {
        Ok(BoundedBody(body)) => take_webhook(app, (runtime, below), caller, head, &body).await,
        Err(problem) => Err(WebhookRefused::new("body", problem)),
    };
    taken.map_err(|refusing| refuse_webhook(runtime, refusing, caller.at))
}

/// Answers a sender's handshake: Meta's and Okta's challenge, and whether the address exists.
#[utoipa::path(get, path = "/in/{source}", tag = "receive", operation_id = "ask_receiver",
    params(("source" = String, Path, description = "The source's name.")),
    responses((status = 200, description = "The answer to the handshake. Empty for HEAD. A source with a module has the module decode other requests, as for POST."),
        (status = 401, body = ApiProblem), (status = 403, body = ApiProblem), (status = 404, body = ApiProblem),
        (status = 405, body = ApiProblem, description = "A GET that is not a handshake.")))]
pub async fn ask_receiver(
    State(app): State<AppState>,
    Path(name): Path<String>,
    Extension(caller): Extension<CallOrigin>,
    head: Parts,
) -> Result<Response, ApiProblem> {
    let runtime = find_source(&app, &name)?;
    answer_question(&app, (&runtime, ""), caller, head).await
}

/// Takes a GET below the address of a source whose module decodes it.
async fn ask_below(
    State(app): State<AppState>,
    Path((name, below)): Path<(String, String)>,
    Extension(caller): Extension<CallOrigin>,
    head: Parts,
) -> Result<Response, ApiProblem> {
    let runtime = find_decoded_source(&app, &name)?;
    answer_question(&app, (&runtime, &below), caller, head).await
}

async fn answer_question(
    app: &AppState,
    (runtime, below): (&Arc<SourceRuntime>, &str),
    caller: CallOrigin,
    head: Parts,
) -> Result<Response, ApiProblem> {
    let Some(verifier) = &runtime.verifier else { return Err(ApiProblem::internal()) };
    let request = question(&head, caller);
    verifier
        .verify_question(&request, app.journal.clock().wall())
        .map_err(|refusal| refuse_webhook(runtime, refused(verifier, refusal), caller.at))?;
    if let Some(answer) = handshake::answer_get(&head.uri, &head.headers) {
        return Ok(answered(answer));
    }
    if runtime.module.is_some() && head.method == Method::GET {
        let taken = take_webhook(app, (runtime, below), caller, &head, &[]).await;
        return taken.map_err(|refusing| refuse_webhook(runtime, refusing, caller.at));
    }
    // Mailchimp and others check with a plain GET. A caller that presents the secret may learn that
    // the address exists.
    if head.method == Method::HEAD || verifier.knows_caller() {
        return Ok((StatusCode::OK, [(header::ALLOW, METHODS)]).into_response());
    }
    Err(method_not_allowed(head.method, head.uri).await.with_value(header::ALLOW, METHODS))
}

/// Answers the abuse protection of CloudEvents: whether the asking origin may send webhooks here.
#[utoipa::path(options, path = "/in/{source}", tag = "receive", operation_id = "permit_origin",
    params(("source" = String, Path, description = "The source's name.")),
    responses((status = 200, description = "The origin may send: `WebHook-Allowed-Origin` and `WebHook-Allowed-Rate` say so."),
        (status = 404, body = ApiProblem)))]
pub async fn permit_origin(
    State(app): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    find_source(&app, &name)?;
    let mut response = (StatusCode::OK, [(header::ALLOW, METHODS)]).into_response();
    response.headers_mut().extend(handshake::answer_options(&headers));
    Ok(response)
}

fn find_source(app: &AppState, name: &str) -> Result<Arc<SourceRuntime>, ApiProblem> {
    let snapshot = app.live.current_settings();
    let runtime =
        snapshot.find_source_runtime(name).filter(|runtime| runtime.verifier.is_some()).cloned();
    runtime.ok_or_else(|| {
        app.unknown_sources.fetch_add(1, Ordering::Relaxed);
        ApiProblem::missing("webhook source", name)
    })
}

/// Returns the source if a module decodes its requests. Other sources have no addresses below theirs.
fn find_decoded_source(app: &AppState, name: &str) -> Result<Arc<SourceRuntime>, ApiProblem> {
    let runtime = find_source(app, name)?;
    let has_module = runtime.module.is_some();
    has_module.then_some(runtime).ok_or_else(|| {
        let detail =
            format!("source `{name}` has no module, so only `/in/{name}` takes its requests");
        ApiProblem::not_found(detail)
    })
}

fn refuse_webhook(
    runtime: &SourceRuntime,
    WebhookRefused { reason, problem, noted }: WebhookRefused,
    now: Timestamp,
) -> ApiProblem {
    runtime.health.note_refusal(reason, noted.as_deref().unwrap_or(&problem.detail), now);
    *problem
}

/// Refuses a request that does not come from the source, and tells its sender how to log in.
fn refused(
    verifier: &webhook::WebhookVerifier,
    refusal: webhook::WebhookRefusal,
) -> WebhookRefused {
    let refused = WebhookRefused::from(refusal);
    if !verifier.is_basic() || refused.problem.status != StatusCode::UNAUTHORIZED.as_u16() {
        return refused;
    }
    let WebhookRefused { reason, problem, .. } = refused;
    let asked = HeaderValue::from_static("Basic realm=\"waybill\", charset=\"UTF-8\"");
    WebhookRefused::new(reason, problem.with_value(header::WWW_AUTHENTICATE, asked))
}

/// Returns a request without a body, to be checked.
fn question(head: &Parts, caller: CallOrigin) -> webhook::WebhookRequest<'_> {
    webhook::WebhookRequest {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        body: &[],
        plain: &[],
        address: caller.address,
    }
}

async fn take_webhook(
    app: &AppState,
    (runtime, below): (&Arc<SourceRuntime>, &str),
    caller: CallOrigin,
    head: &Parts,
    body: &[u8],
) -> Result<Response, WebhookRefused> {
    let (settings, now) = (&runtime.source.settings, caller.at);
    // Senders sign their wall-clock time.
    let signed_by = app.journal.clock().wall();
    let (Some(verifier), Some(webhook)) = (&runtime.verifier, &settings.webhook) else {
        return Err(WebhookRefused::new("internal", ApiProblem::internal()));
    };
    if !settings.enabled {
        return Err(WebhookRefused::new("paused", ApiProblem::paused(&settings.name, PAUSED)));
    }
    if runtime.locked {
        return Err(WebhookRefused::new("locked", ApiProblem::locked(&settings.name, PAUSED)));
    }
    verifier.check_address(caller.address).map_err(|refusal| refused(verifier, refusal))?;
    let (uri, headers) = (&head.uri, &head.headers);
    let unsigned = question(head, caller);
    let is_post = head.method == Method::POST;
    let answer =
        is_post.then(|| handshake::answer_unsigned_post(webhook.scheme, uri, headers, body));
    if let Some(answer) = answer.flatten() {
        let asked = verifier.verify_question(&unsigned, signed_by);
        return asked.map(|()| answered(answer)).map_err(|refusal| refused(verifier, refusal));
    }
    let max_body = app.config.server.max_body;
    let plain = decompress_body(headers, body, max_body)?;
    let _paid = pay_for_copy(app, &plain, false)
        .await
        .map_err(|problem| WebhookRefused::new("busy", problem))?;
    let request = webhook::WebhookRequest { body, plain: &plain, ..unsigned };
    let fits =
        verifier.verify(&request, signed_by).map_err(|refusal| refused(verifier, refusal))?;
    if let Some(answer) = handshake::answer_post(webhook.scheme, &plain) {
        return Ok(answered(answer));
    }
    let incoming = VerifiedRequest { method: &head.method, uri, below, headers, body: &plain, now };
    let (events, reply) = match decoded::decode_request(runtime, incoming).await {
        Some(decoded) => {
            let DecodedWebhook { events, reply } = decoded?;
            (ReceivedEvents { many: events.len() != 1, events }, reply)
        }
        None => (read_events(app, runtime, incoming)?, None),
    };
    // A module can make different events of the same body at two addresses.
    let asked = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let target = webhook.module.as_ref().map(|_| format!("{} {asked}", head.method));
    let (signature, target) = (fits.signature.as_deref(), target.as_deref());
    let request = repeats::RepeatableRequest { headers, signature, target, now };
    let repeats = webhook.repeats.as_ref();
    let keys = repeats::repeat_keys(repeats, &request, &events.events, &runtime.health.sequence);
    let sender = EventSender::Webhook(keys);
    accept_webhook(app, head, (verifier, webhook.scheme), (events, reply), sender).await
}

/// Reads the envelope of a request as the settings of its source say.
fn read_events(
    app: &AppState,
    runtime: &SourceRuntime,
    request: VerifiedRequest<'_>,
) -> Result<ReceivedEvents, WebhookRefused> {
    let settings = &runtime.source.settings;
    let internal = || WebhookRefused::new("internal", ApiProblem::internal());
    let webhook = settings.webhook.as_ref().ok_or_else(internal)?;
    let server = &app.config.server;
    let received = ReceivedWebhook {
        source: &settings.name,
        headers: request.headers,
        body: request.body,
        max_events: server.max_batch,
        max_body: server.max_body,
    };
    Ok(webhook_body::read_webhook(received, webhook)?)
}

/// Captures the events of a verified webhook, and answers as its sender expects.
async fn accept_webhook(
    app: &AppState,
    head: &Parts,
    (verifier, scheme): (&webhook::WebhookVerifier, SenderScheme),
    (events, reply): (ReceivedEvents, Option<SenderReply>),
    sender: EventSender<'_>,
) -> Result<Response, WebhookRefused> {
    let (snapshot, wait) = (app.live.current_settings(), app.config.immediate.wait.get());
    let is_empty = wants_nothing(scheme, &head.headers);
    let status = decoded::answer_status(reply.as_ref(), is_empty);
    // Calls of other senders share rows in the audit, which are counted in memory.
    let call = head.extensions.get::<CallBeginning>().filter(|_| verifier.proves_sender());
    let place = capture_place(app, call.cloned(), status);
    let has_call = place.call.is_some();
    let accepted = accept_events(place, &snapshot, events.events, sender, wait).await?;
    let is_logged = has_call && is_new(&accepted);
    let receipts = accepted.into_iter().map(|accepted| make_receipt(&snapshot, accepted)).collect();
    let mut response = match reply {
        Some(reply) => decoded::answer_sender(reply),
        None if is_empty => status.into_response(),
        None => (status, receipts_of(receipts, events.many)).into_response(),
    };
    mark_logged(&mut response, is_logged);
    if verifier.proves_sender() {
        response.extensions_mut().insert(ProvenSender);
    }
    Ok(response)
}

/// Returns the receipt of the only event, or those of a list.
fn receipts_of(mut receipts: Vec<EventReceipt>, is_list: bool) -> Response {
    match receipts.pop() {
        Some(receipt) if !is_list => data_answer(receipt).into_response(),
        last => {
            receipts.extend(last);
            data_answer(receipts).into_response()
        }
    }
}

/// Marks the answer to a webhook whose sender proved its identity. The audit has a row for each
/// such call. Calls of other senders share rows, so that they cannot fill the disk.
#[derive(Debug, Clone, Copy)]
pub struct ProvenSender;

/// Returns whether the sender accepts only an empty `200` as success.
fn wants_nothing(scheme: SenderScheme, headers: &HeaderMap) -> bool {
    match scheme.sender().empty_answer {
        EmptyAnswer::Never => false,
        EmptyAnswer::Always => true,
        EmptyAnswer::ToForms => {
            let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            media.is_some_and(is_form)
        }
    }
}

fn answered(answer: HandshakeAnswer) -> Response {
    match answer {
        HandshakeAnswer::Text(text) => {
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            ([(header::CONTENT_TYPE, plain)], text).into_response()
        }
        HandshakeAnswer::Member(name, text) => {
            let object = serde_json::Map::from_iter([(name.to_owned(), text.into())]);
            Json(object).into_response()
        }
        HandshakeAnswer::Empty => StatusCode::OK.into_response(),
    }
}
