//! Sources that Waybill runs itself: how they are doing, running one now, trying one.

use super::super::AppState;
use super::super::answer::{DataAnswer, data_answer};
use super::super::auth::CallPrincipal;
use super::super::body::JsonInput;
use super::super::problem::ApiProblem;
use super::super::resource::{self, ObjectAnswer};
use super::{LOCKED, SourceResource, SourceView, find_source};
use crate::ingest::incoming::IncomingEvent;
use crate::ingest::webhook_body;
use crate::ingest::webhook_body::ReceivedWebhook;
use crate::model::source::SourceKind;
use crate::model::source_run::{RunProgress, StreamPosition};
use crate::settings::source_runtime::SourceRuntime;
use crate::sources::upcoming_run;
use crate::store::sources::SourceState;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// How a source runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunView {
    /// Whether it is running now.
    running: bool,
    /// When its last run began, or its present one.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When its last run ended, well or badly.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// When it runs next: of a source that is running, the run after the present one. Null while it is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// What is older than this is captured, in milliseconds; none before the first run came to its end.
    lag_ms: Option<u64>,
    /// Rows read in that run.
    rows: u64,
    /// Events captured in that run.
    events: u64,
    /// Why the last run did not come to its end, and what to do.
    error: Option<String>,
    /// What does not stop it, and is worth knowing.
    warnings: Vec<String>,
    /// How far the present run is.
    progress: Option<RunProgress>,
    /// Where a source of kind `nats` or `amqp` stands in its stream or queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<StreamPosition>,
}

impl RunView {
    /// Of a source that Waybill runs.
    pub fn new(inlet: &SourceRuntime, states: &[SourceState], now: Timestamp) -> Option<Self> {
        inlet.timing.as_ref()?;
        let state = states.iter().find(|state| state.source == inlet.source.id);
        let report = state.map(|state| state.report.clone()).unwrap_or_default();
        let lag = report.complete_until.map(|until| now.since(until).as_millis());
        let lag = lag.filter(|_| inlet.source.settings.kind != SourceKind::Schedule);
        let enabled = inlet.source.settings.enabled;
        Some(Self {
            running: state.is_some_and(|state| state.running),
            started_at: state.and_then(|state| state.started_at),
            finished_at: report.finished_at,
            next_at: upcoming_run(inlet, state).filter(|_| enabled),
            lag_ms: lag.and_then(|lag| u64::try_from(lag).ok()),
            rows: report.rows,
            events: report.events,
            error: report.error,
            warnings: report.warnings,
            progress: report.progress,
            stream: report.stream,
        })
    }
}

/// How the sources stand that Waybill runs; asked for only where there is one.
pub async fn states<'a>(
    app: &AppState,
    inlets: impl IntoIterator<Item = &'a Arc<SourceRuntime>>,
) -> Result<Vec<SourceState>, ApiProblem> {
    if inlets.into_iter().all(|inlet| inlet.timing.is_none()) {
        return Ok(Vec::new());
    }
    Ok(app.journal.list_source_states().await?)
}

/// Has a source run now, whatever its timing says. It is done when `run.finished_at` has moved on. A source of kind
/// `nats` or `amqp` runs all the time; if it waits after a failure, it tries again now.
#[utoipa::path(post, path = "/api/v1/sources/{id}/run", tag = "sources", operation_id = "run_source",
    params(("id" = String, Path)),
    responses((status = 202, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn run_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    let inlet = find_source(&app.live.current_settings(), &id)?;
    if inlet.timing.is_none() {
        return Err(ApiProblem::conflict(
            "its events are sent to Waybill: there is nothing to run",
        ));
    }
    if !inlet.source.settings.enabled {
        return Err(ApiProblem::conflict("the source is paused; resume it first"));
    }
    app.pull.request(inlet.source.id).await?;
    resource::answer_with::<SourceResource>(&app, &principal, inlet, StatusCode::ACCEPTED, None)
        .await
}

/// What to try a source with that receives webhooks; nothing for others.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceTest {
    /// Headers that say something about the event, such as `X-GitHub-Event`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body, as the system sends it; one that is not JSON as a text.
    #[serde(default)]
    #[schema(value_type = serde_json::Value)]
    body: Value,
}

/// The event that a source would make.
#[derive(Debug, Serialize, ToSchema)]
pub struct WouldBe {
    /// The event type.
    #[serde(rename = "type")]
    event_type: String,
    /// What kind of thing it is about.
    resource: Option<String>,
    /// Which one.
    resource_id: Option<String>,
    /// The id the source gave it.
    external_id: Option<String>,
    /// When it happened.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// What the sender says beside the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    attributes: Option<Box<RawValue>>,
    /// The data.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// The other events of a request that holds several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    further: Vec<Self>,
}

/// Shows an event that a source would make: of the webhook that is given, of the newest row that it reads,
/// of its next time, of the newest message of its stream, of the first message of its queue (while the source is
/// paused). Nothing is verified, captured, remembered or taken.
#[utoipa::path(post, path = "/api/v1/sources/{id}/test", tag = "sources", operation_id = "test_source",
    params(("id" = String, Path)), request_body = SourceTest,
    responses((status = 200, body = DataAnswer<WouldBe>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem),
        (status = 422, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn test_source(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(given): JsonInput<SourceTest>,
) -> Result<Json<DataAnswer<WouldBe>>, ApiProblem> {
    let inlet = find_source(&app.live.current_settings(), &id)?;
    if inlet.locked && inlet.timing.is_some() {
        return Err(ApiProblem::conflict(LOCKED));
    }
    let incoming = match inlet.source.settings.kind {
        SourceKind::Http => {
            let message = "pushed events are taken as given: there is nothing to try";
            return Err(ApiProblem::conflict(message));
        }
        SourceKind::Webhook => received(&app, &inlet, &given)?,
        SourceKind::Poll
        | SourceKind::Database
        | SourceKind::Schedule
        | SourceKind::Nats
        | SourceKind::Amqp => {
            let sample = app.pull.sample(&inlet).await;
            vec![sample.map_err(|error| ApiProblem::unavailable_source(&error))?]
        }
    };
    let mut events = incoming.into_iter().map(WouldBe::from);
    let first = events.next().ok_or_else(|| ApiProblem::fault("body", "it holds no event"))?;
    Ok(data_answer(WouldBe { further: events.collect(), ..first }))
}

impl From<IncomingEvent> for WouldBe {
    fn from(mut incoming: IncomingEvent) -> Self {
        incoming.complete();
        Self {
            event_type: incoming.event_type,
            resource: incoming.resource,
            resource_id: incoming.resource_id,
            external_id: incoming.id,
            occurred_at: incoming.occurred_at,
            attributes: incoming.attributes,
            data: incoming.data,
            further: Vec::new(),
        }
    }
}

fn received(
    app: &AppState,
    inlet: &SourceRuntime,
    given: &SourceTest,
) -> Result<Vec<IncomingEvent>, ApiProblem> {
    let settings = &inlet.source.settings;
    let webhook = settings.webhook.as_ref().ok_or_else(ApiProblem::internal)?;
    if given.body.is_null() {
        return Err(ApiProblem::fault("body", "give the body as the system sends it"));
    }
    let headers: HeaderMap = given.headers.iter().filter_map(header).collect();
    // A form or anything else that is not JSON is given as a text.
    let text = given.body.as_str().map(str::to_owned);
    let body = text.unwrap_or_else(|| given.body.to_string());
    let server = &app.config.server;
    let received = ReceivedWebhook {
        source: &settings.name,
        headers: &headers,
        body: body.as_bytes(),
        max_events: server.max_batch,
        max_body: server.max_body,
    };
    Ok(webhook_body::read_webhook(received, webhook)?.events)
}

fn header((name, value): (&String, &String)) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, value.parse().ok()?))
}
