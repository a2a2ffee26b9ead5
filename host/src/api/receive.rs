//! `/in/{source}`: what other systems send of their own accord, as webhooks.
//!
//! Answered once the events are durable: whoever gets no 2xx sends again, and what is sent again is
//! recognised. What a sender asks before it sends is answered too. Every refusal is counted, by source and
//! reason.

use super::App;
use super::answer::{Data, data};
use super::auth::Caller;
use super::body::Body;
use super::events::{Receipt, receipt};
use super::problem::{Problem, method_not_allowed};
use crate::ingest::accept::{Refused, Sender, accept};
use crate::ingest::body::{CODINGS, CodingError, decompressed};
use crate::ingest::event_body::Refusal;
use crate::ingest::handshake;
use crate::ingest::handshake::Answer;
use crate::ingest::repeats;
use crate::ingest::webhook_body;
use crate::ingest::webhook_body::Received;
use crate::model::webhook_source::Scheme;
use crate::model::webhook_source::senders::EmptyAnswer;
use crate::settings::source_runtime::Inlet;
use crate::signing::webhook;
use crate::time::timestamp::Timestamp;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, options, post};
use axum::{Extension, Json, Router};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Seconds after which a source that is paused may be asked again.
const PAUSED: u32 = 60;
/// What may be done at a source's address. GET answers the handshakes of some senders.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");

/// Why a request is refused, in a word for counting, with its answer.
struct Refusing(&'static str, Box<Problem>);

impl Refusing {
    fn new(reason: &'static str, problem: Problem) -> Self {
        Self(reason, Box::new(problem))
    }
}

impl From<Refusal> for Refusing {
    fn from(refusal: Refusal) -> Self {
        let reason = match &refusal {
            Refusal::Malformed(_) => "malformed",
            Refusal::Invalid(_) => "invalid",
            Refusal::MediaType(_) => "media_type",
            Refusal::Loop(_) => "loop",
        };
        Self::new(reason, refusal.into())
    }
}

impl From<CodingError> for Refusing {
    fn from(error: CodingError) -> Self {
        let reason = match error {
            CodingError::Unknown(_) => "media_type",
            CodingError::Broken(_) => "malformed",
            CodingError::TooLarge(_) => "body",
        };
        Self::new(reason, error.into())
    }
}

impl From<CodingError> for Problem {
    fn from(error: CodingError) -> Self {
        match error {
            CodingError::Unknown(coding) => {
                let detail =
                    format!("the content encoding `{coding}` cannot be read; there are {CODINGS}");
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

impl From<webhook::Refusal> for Refusing {
    fn from(refusal: webhook::Refusal) -> Self {
        let detail = refusal.to_string();
        let problem = if refusal == webhook::Refusal::Address {
            Problem::forbidden(detail)
        } else {
            Problem::unverified(detail)
        };
        Self::new(refusal.as_str(), problem)
    }
}

impl From<Refused> for Refusing {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(faults) => Self::new("invalid", Problem::invalid(faults)),
            Refused::Journal(error) => Self::new("unavailable", error.into()),
        }
    }
}

/// The same addresses with a slash at the end, as some senders write them.
pub fn routes_with_slash() -> Router<App> {
    let methods: MethodRouter<App> =
        post(receive_webhook).merge(get(ask_receiver)).merge(options(permit_origin));
    Router::new().route("/in/{source}/", methods)
}

/// Receives a webhook of a source: it is verified over the raw bytes, and its envelope read. Answered once its events are
/// durable: one, or all of a list.
#[utoipa::path(post, path = "/in/{source}", tag = "receive", operation_id = "receive_webhook",
    params(("source" = String, Path, description = "The source's name.")),
    request_body(content = Object, description = "The body as the system sends it: JSON or a form, of at most `server.max_body` \
        bytes, also after decompression (gzip, deflate, br)."),
    responses((status = 202, body = Data<Receipt>, description = "One receipt, or for a list of events a list of receipts in their order."),
        (status = 200, description = "A question was answered, or the sender takes only an empty answer."),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn receive_webhook(
    State(app): State<App>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    head: Parts,
    body: Result<Body, Problem>,
) -> Result<Response, Problem> {
    let inlet = find(&app, &name)?;
    let taken = match body {
        Ok(Body(body)) => take(&app, &inlet, caller, &head, &body).await,
        Err(problem) => Err(Refusing::new("body", problem)),
    };
    taken.map_err(|refusing| refuse(&inlet, refusing, caller.at))
}

/// Answers what a sender asks before it sends: Meta's and Okta's challenge, and whether the address is there.
#[utoipa::path(get, path = "/in/{source}", tag = "receive", operation_id = "ask_receiver",
    params(("source" = String, Path, description = "The source's name.")),
    responses((status = 200, description = "The answer that the sender waits for; nothing to HEAD."),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 405, body = Problem, description = "A GET that asks nothing.")))]
pub async fn ask_receiver(
    State(app): State<App>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    head: Parts,
) -> Result<Response, Problem> {
    let inlet = find(&app, &name)?;
    let Some(verifier) = &inlet.verifier else { return Err(Problem::internal()) };
    let request = question(&head, caller);
    verifier
        .verify_question(&request, app.journal.clock().wall())
        .map_err(|refusal| refuse(&inlet, refused(verifier, refusal), caller.at))?;
    if let Some(answer) = handshake::answer_get(&head.uri, &head.headers) {
        return Ok(answered(answer));
    }
    // Mailchimp and others ask with a plain GET; whoever shows the secret may know that it is taken here.
    if head.method == Method::HEAD || verifier.knows_caller() {
        return Ok((StatusCode::OK, [(header::ALLOW, METHODS)]).into_response());
    }
    Err(method_not_allowed(head.method, head.uri).await.with_value(header::ALLOW, METHODS))
}

/// Answers the abuse protection of CloudEvents: whether the asking origin may send webhooks here.
#[utoipa::path(options, path = "/in/{source}", tag = "receive", operation_id = "permit_origin",
    params(("source" = String, Path, description = "The source's name.")),
    responses((status = 200, description = "`WebHook-Allowed-Origin` and `WebHook-Allowed-Rate` say that it may."),
        (status = 404, body = Problem)))]
pub async fn permit_origin(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    find(&app, &name)?;
    let mut response = (StatusCode::OK, [(header::ALLOW, METHODS)]).into_response();
    response.headers_mut().extend(handshake::answer_options(&headers));
    Ok(response)
}

fn find(app: &App, name: &str) -> Result<Arc<Inlet>, Problem> {
    let topology = app.live.current();
    let inlet = topology.inlet(name).filter(|inlet| inlet.verifier.is_some()).cloned();
    inlet.ok_or_else(|| {
        app.unknown_sources.fetch_add(1, Ordering::Relaxed);
        Problem::missing("webhook source", name)
    })
}

fn refuse(inlet: &Inlet, Refusing(reason, problem): Refusing, now: Timestamp) -> Problem {
    inlet.health.refused(reason, &problem.detail, now);
    *problem
}

/// Why a request is not the source's, and how its sender has to log in.
fn refused(verifier: &webhook::Verifier, refusal: webhook::Refusal) -> Refusing {
    let Refusing(reason, problem) = Refusing::from(refusal);
    if !verifier.is_basic() || problem.status != StatusCode::UNAUTHORIZED.as_u16() {
        return Refusing(reason, problem);
    }
    let asked = HeaderValue::from_static("Basic realm=\"waybill\", charset=\"UTF-8\"");
    Refusing::new(reason, problem.with_value(header::WWW_AUTHENTICATE, asked))
}

/// A request without a body, to be checked.
fn question(head: &Parts, caller: Caller) -> webhook::Request<'_> {
    webhook::Request {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        body: &[],
        plain: &[],
        address: caller.address,
    }
}

async fn take(
    app: &App,
    inlet: &Arc<Inlet>,
    caller: Caller,
    head: &Parts,
    body: &[u8],
) -> Result<Response, Refusing> {
    let (settings, now) = (&inlet.source.settings, caller.at);
    // Senders sign the time of day.
    let signed_by = app.journal.clock().wall();
    let (Some(verifier), Some(webhook)) = (&inlet.verifier, &settings.webhook) else {
        return Err(Refusing::new("internal", Problem::internal()));
    };
    if !settings.enabled {
        return Err(Refusing::new("paused", Problem::paused(&settings.name, PAUSED)));
    }
    if inlet.locked {
        return Err(Refusing::new("locked", Problem::locked(&settings.name, PAUSED)));
    }
    let (uri, headers) = (&head.uri, &head.headers);
    let unsigned = question(head, caller);
    if let Some(answer) = handshake::answer_unsigned_post(webhook.scheme, uri, headers, body) {
        let asked = verifier.verify_question(&unsigned, signed_by);
        return asked.map(|()| answered(answer)).map_err(|refusal| refused(verifier, refusal));
    }
    let max_body = app.config.server.max_body;
    let plain = decompressed(headers, body, max_body)?;
    let request = webhook::Request { body, plain: &plain, ..unsigned };
    let fits =
        verifier.verify(&request, signed_by).map_err(|refusal| refused(verifier, refusal))?;
    if let Some(answer) = handshake::answer_post(webhook.scheme, &plain) {
        return Ok(answered(answer));
    }
    let max_events = app.config.server.max_batch;
    let source = &settings.name;
    let received = Received { source, headers, body: &plain, max_events, max_body };
    let events = webhook_body::read(received, webhook)?;
    let request = repeats::Request { headers, signature: fits.signature.as_deref(), now };
    let repeats = webhook.repeats.as_ref();
    let keys = repeats::keys(repeats, &request, &events.events, &inlet.health.sequence);
    let (topology, wait) = (app.live.current(), app.config.immediate.wait.get());
    let sender = Sender::Webhook(keys);
    let accepted = accept(&app.journal, &topology, events.events, sender, wait).await?;
    let receipts = accepted.into_iter().map(|accepted| receipt(&topology, accepted)).collect();
    let mut response = if wants_nothing(webhook.scheme, headers) {
        StatusCode::OK.into_response()
    } else {
        (StatusCode::ACCEPTED, receipts_of(receipts, events.many)).into_response()
    };
    if verifier.proves_sender() {
        response.extensions_mut().insert(ProvenSender);
    }
    Ok(response)
}

/// Returns the receipt of the only event, or those of a list.
fn receipts_of(mut receipts: Vec<Receipt>, is_list: bool) -> Response {
    match receipts.pop() {
        Some(receipt) if !is_list => data(receipt).into_response(),
        last => {
            receipts.extend(last);
            data(receipts).into_response()
        }
    }
}

/// Marks the answer to a webhook whose sender proved who it is. The audit has a row for each such
/// call; calls of senders who proved nothing share rows, so that they cannot fill the disk.
#[derive(Debug, Clone, Copy)]
pub struct ProvenSender;

/// Whether the sender takes only an empty `200` for success.
fn wants_nothing(scheme: Scheme, headers: &HeaderMap) -> bool {
    match scheme.sender().empty_answer {
        EmptyAnswer::Never => false,
        EmptyAnswer::Always => true,
        EmptyAnswer::ToForms => {
            let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            media.is_some_and(|media| media.starts_with("application/x-www-form-urlencoded"))
        }
    }
}

fn answered(answer: Answer) -> Response {
    match answer {
        Answer::Text(text) => {
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            ([(header::CONTENT_TYPE, plain)], text).into_response()
        }
        Answer::Member(name, text) => {
            let object = serde_json::Map::from_iter([(name.to_owned(), text.into())]);
            Json(object).into_response()
        }
        Answer::Empty => StatusCode::OK.into_response(),
    }
}
