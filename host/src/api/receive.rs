//! `/in/{source}`: what other systems send of their own accord, as signed webhooks.
//!
//! Answered once the event is durable: whoever gets no 2xx sends again, and what is sent again is
//! recognised. Every refusal is counted, by source and reason.

use super::App;
use super::answer::{Data, data};
use super::body::Body;
use super::events::{Receipt, receipt};
use super::problem::Problem;
use crate::capture::accept::{Refused, Sender, accept};
use crate::capture::envelope::{self, Received};
use crate::capture::read::Refusal;
use crate::capture::repeats::{self, Request};
use crate::capture::verify;
use crate::domain::time::Timestamp;
use crate::topology::inlet::Inlet;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Seconds after which a source that is paused may be asked again.
const PAUSED: u32 = 60;

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

impl From<verify::Refusal> for Refusing {
    fn from(refusal: verify::Refusal) -> Self {
        Self::new(refusal.as_str(), Problem::unverified(refusal.to_string()))
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

/// Receives a webhook of a source: its signature is verified over the raw bytes, its envelope read.
/// Answered once the event is durable.
#[utoipa::path(post, path = "/in/{source}", tag = "receive", operation_id = "receive_webhook",
    params(("source" = String, Path, description = "The source's name.")),
    request_body(content = Object, description = "The body as the system sends it, of at most `server.max_body` bytes."),
    responses((status = 202, body = Data<Receipt>), (status = 200, description = "Slack's question whether the address is the operator's."),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn receive(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Body, Problem>,
) -> Result<Response, Problem> {
    let now = app.journal.clock().now();
    let topology = app.live.current();
    let inlet = topology.inlet(&name).filter(|inlet| inlet.verifier.is_some()).cloned();
    let Some(inlet) = inlet else {
        app.unknown_sources.fetch_add(1, Ordering::Relaxed);
        return Err(Problem::missing("webhook source", &name));
    };
    let taken = match body {
        Ok(Body(body)) => take(&app, &inlet, &headers, &body, now).await,
        Err(problem) => Err(Refusing::new("body", problem)),
    };
    taken.map_err(|Refusing(reason, problem)| {
        inlet.health.refused(reason, &problem.detail, now);
        *problem
    })
}

async fn take(
    app: &App,
    inlet: &Arc<Inlet>,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Response, Refusing> {
    let settings = &inlet.source.settings;
    let (Some(verifier), Some(webhook)) = (&inlet.verifier, &settings.webhook) else {
        return Err(Refusing::new("internal", Problem::internal()));
    };
    if !settings.enabled {
        return Err(Refusing::new("paused", Problem::paused(&settings.name, PAUSED)));
    }
    if inlet.locked {
        return Err(Refusing::new("locked", Problem::locked(&settings.name, PAUSED)));
    }
    let fits = verifier.verify(headers, body, now)?;
    if let Some(challenge) = envelope::challenge(webhook.scheme, body) {
        return Ok(Json(json!({"challenge": challenge})).into_response());
    }
    let incoming = envelope::read(Received { source: &settings.name, headers, body }, webhook)?;
    let topology = app.live.current();
    let wait = app.config.immediate.wait.get();
    let incoming = vec![incoming];
    let request = Request { headers, signature: fits.signature, now };
    let keys = repeats::keys(webhook.repeats.as_ref(), &request, &incoming, &inlet.health.sequence);
    let sender = Sender::Webhook(keys);
    let accepted = accept(&app.journal, &topology, incoming, sender, wait).await?;
    let Some(accepted) = accepted.into_iter().next() else {
        return Err(Refusing::new("internal", Problem::internal()));
    };
    Ok((StatusCode::ACCEPTED, data(receipt(&topology, accepted))).into_response())
}
