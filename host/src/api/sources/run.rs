//! Sources that Waybill runs itself: their state, immediate runs, and trials.

use super::super::AppState;
use super::super::answer::{DataAnswer, data_answer};
use super::super::auth::CallPrincipal;
use super::super::body::JsonInput;
use super::super::problem::ApiProblem;
use super::super::resource::{self, ObjectAnswer};
use super::{LOCKED, SourceResource, SourceView, find_source};
use crate::ingest::incoming::IncomingEvent;
use crate::ingest::source_decoder::{DecodeRefusal, VerifiedRequest, try_decoding};
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
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// The runs of a source.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunView {
    /// Whether it is running now.
    running: bool,
    /// Start of the last or present run.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// End of the last run, successful or not.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// Time of the next run. For a source that is running, the run after the present one. Null
    /// while it is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// Milliseconds by which captured events lag behind: older changes are captured. Absent before
    /// the first run completed.
    lag_ms: Option<u64>,
    /// Rows read in that run.
    rows: u64,
    /// Events captured in that run.
    events: u64,
    /// Failure of the last run, and the next step.
    error: Option<String>,
    /// Warnings that do not stop the run.
    warnings: Vec<String>,
    /// Progress of the present run.
    progress: Option<RunProgress>,
    /// Position of a source of kind `nats` or `amqp` in its stream or queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<StreamPosition>,
}

impl RunView {
    /// Returns the runs of a source that Waybill runs.
    pub fn new(runtime: &SourceRuntime, states: &[SourceState], now: Timestamp) -> Option<Self> {
        runtime.timing.as_ref()?;
        let state = states.iter().find(|state| state.source == runtime.source.id);
        let report = state.map(|state| state.report.clone()).unwrap_or_default();
        let lag = report.complete_until.map(|until| now.since(until).as_millis());
        let lag = lag.filter(|_| runtime.source.settings.kind != SourceKind::Schedule);
        let enabled = runtime.source.settings.enabled;
        Some(Self {
            running: state.is_some_and(|state| state.running),
            started_at: state.and_then(|state| state.started_at),
            finished_at: report.finished_at,
            next_at: upcoming_run(runtime, state).filter(|_| enabled),
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

/// Returns the states of the sources that Waybill runs. Does not query if there is none.
pub async fn states<'a>(
    app: &AppState,
    runtimes: impl IntoIterator<Item = &'a Arc<SourceRuntime>>,
) -> Result<Vec<SourceState>, ApiProblem> {
    if runtimes.into_iter().all(|runtime| runtime.timing.is_none()) {
        return Ok(Vec::new());
    }
    Ok(app.journal.list_source_states().await?)
}

/// Runs a source now, regardless of its schedule. The run is done when `run.finished_at` has
/// changed. A source of kind `nats` or `amqp` runs all the time; if it waits after a failure, it
/// tries again now.
#[utoipa::path(post, path = "/api/v1/sources/{id}/run", tag = "sources", operation_id = "run_source",
    params(("id" = String, Path)),
    responses((status = 202, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn run_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    let runtime = find_source(&app.live.current_settings(), &id)?;
    if runtime.timing.is_none() {
        return Err(ApiProblem::conflict(
            "its events are sent to Waybill: there is nothing to run",
        ));
    }
    if !runtime.source.settings.enabled {
        return Err(ApiProblem::conflict("the source is paused; resume it first"));
    }
    app.pull.request(runtime.source.id).await?;
    resource::answer_with::<SourceResource>(&app, &principal, runtime, StatusCode::ACCEPTED, None)
        .await
}

/// The webhook for a trial of a source that receives webhooks. Empty for others.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceTest {
    /// Headers that describe the event, such as `X-GitHub-Event`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body that the system sends. A body that is not JSON is given as a text.
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
    /// The kind of resource that it is about.
    resource: Option<String>,
    /// The id of the resource.
    resource_id: Option<String>,
    /// The id that the source gave it.
    external_id: Option<String>,
    /// Time of the event.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    /// Data of the sender about the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    attributes: Option<Box<RawValue>>,
    /// The data.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// The other events of a request with several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    further: Vec<Self>,
}

/// Shows an event that a source would make: from the given webhook, from the newest row that it
/// reads, for its next time, from the newest message of its stream, or from the first message of
/// its queue (while the source is paused). Nothing is verified, captured, stored or taken.
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
    let runtime = find_source(&app.live.current_settings(), &id)?;
    if runtime.locked && runtime.timing.is_some() {
        return Err(ApiProblem::conflict(LOCKED));
    }
    let incoming = match runtime.source.settings.kind {
        SourceKind::Http => {
            let message = "pushed events are captured as they are: there is nothing to try";
            return Err(ApiProblem::conflict(message));
        }
        SourceKind::Webhook if runtime.module.is_some() => decoded(&app, &runtime, &given).await?,
        SourceKind::Webhook => received(&app, &runtime, &given)?,
        SourceKind::Poll
        | SourceKind::Database
        | SourceKind::Schedule
        | SourceKind::Nats
        | SourceKind::Amqp
        | SourceKind::Module => {
            let sample = app.pull.sample(&runtime).await;
            vec![sample.map_err(|error| ApiProblem::unavailable_source(&error))?]
        }
    };
    let mut events = incoming.into_iter().map(WouldBe::from);
    let first = events.next().ok_or_else(|| ApiProblem::fault("body", "it contains no event"))?;
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

fn check_body(given: &SourceTest) -> Result<(), ApiProblem> {
    let message = "set the body that the system sends";
    if given.body.is_null() { Err(ApiProblem::fault("body", message)) } else { Ok(()) }
}

fn received(
    app: &AppState,
    runtime: &SourceRuntime,
    given: &SourceTest,
) -> Result<Vec<IncomingEvent>, ApiProblem> {
    let settings = &runtime.source.settings;
    let webhook = settings.webhook.as_ref().ok_or_else(ApiProblem::internal)?;
    check_body(given)?;
    let headers: HeaderMap = given.headers.iter().filter_map(header).collect();
    // A form, or any other body that is not JSON, is given as a text.
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

/// Has the module of a source decode the given webhook.
async fn decoded(
    app: &AppState,
    runtime: &SourceRuntime,
    given: &SourceTest,
) -> Result<Vec<IncomingEvent>, ApiProblem> {
    let settings = &runtime.source.settings;
    let parts = settings.webhook.as_ref().zip(runtime.module.as_ref());
    let (webhook, stage) = parts.ok_or_else(ApiProblem::internal)?;
    check_body(given)?;
    let mut headers: HeaderMap = given.headers.iter().filter_map(header).collect();
    let json = HeaderValue::from_static("application/json");
    let text = given.body.as_str().map(str::to_owned);
    if text.is_none() {
        headers.entry(http::header::CONTENT_TYPE).or_insert(json);
    }
    let body = text.unwrap_or_else(|| given.body.to_string());
    let place = format!("/in/{}", settings.name);
    let uri = place.parse().map_err(|_opaque| ApiProblem::internal())?;
    let request = VerifiedRequest {
        method: &Method::POST,
        uri: &uri,
        below: "",
        headers: &headers,
        body: body.as_bytes(),
        now: app.journal.clock().now(),
    };
    let decoded = try_decoding((&settings.name, webhook), stage, request).await;
    let refused = |why: String| ApiProblem::fault("body", why);
    let decoded = decoded.map_err(|refusal| match refusal {
        DecodeRefusal::Closed(closed) => ApiProblem::conflict(closed.why),
        DecodeRefusal::Failed(failure) => refused(format!("{}: {failure}", failure.reason())),
        DecodeRefusal::Body(error) => error.into(),
    })?;
    Ok(decoded.events)
}

fn header((name, value): (&String, &String)) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, value.parse().ok()?))
}
