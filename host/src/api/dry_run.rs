//! `POST /flows/{id}/run`: shows the result of a flow for an event. Its real modules run with their
//! real configuration, under the limits of live events. Nothing is stored or sent.

pub mod run_comparison;

use super::AppState;
use super::answer::{DataAnswer, data_answer};
use super::auth::CallPrincipal;
use super::body::JsonInput;
use super::events::EventView;
use super::flows::FlowResource;
use super::problem::ApiProblem;
use super::reading::ReadingPlace;
use super::resource::SettingsResource as _;
use super::trace::{TraceLine, read_steps};
use super::trial_event::pick_trial_event;
use crate::access::scope::Scope;
use crate::delivery::attempt::preview_body;
use crate::expression::WhereCondition;
use crate::model::endpoint::DeliveryMode;
use crate::model::event::Event;
use crate::model::id::DeliveryId;
use crate::pipeline::contents::ContentsRoom;
use crate::pipeline::planner::outcome::{ChosenDelivery, FlowOutcome};
use crate::pipeline::planner::{FlowPlanner, VersionChoice};
use crate::settings::endpoint_runtime::{EndpointDispatch, EndpointRuntime};
use crate::settings::{FlowRuntime, ModuleStage};
use crate::store::StoredEvent;
use crate::store::modules::ModuleVersion;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use uuid::Uuid;

/// Largest size of all bodies in one answer. The modules may make 16 MiB from one event.
const BODY_ROOM: usize = 1 << 20;

/// The event and the versions for a dry run of a flow.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DryRunRequest {
    /// Id of a stored event.
    #[serde(default)]
    event_id: Option<String>,
    /// An event in the form of `POST /events`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    event: Option<Box<RawValue>>,
    /// Versions to run instead of the flow's own.
    #[serde(default)]
    modules: Vec<TrialVersion>,
}

impl DryRunRequest {
    /// Returns the request for a stored event.
    pub const fn of_event(event_id: String, modules: Vec<TrialVersion>) -> Self {
        Self { event_id: Some(event_id), event: None, modules }
    }
}

/// A version of one of the flow's modules.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialVersion {
    /// The module's name.
    pub name: String,
    /// The version to try. It need not be active.
    pub version: u32,
}

/// The result of a flow for an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRun)]
pub struct DryRunAnswer {
    /// The flow's name.
    pub flow: String,
    /// The event on which the modules ran.
    pub event: EventView,
    /// `planned`: there are dispatches; `dropped`: there are none; or `failed`.
    pub end: &'static str,
    /// Reason why the flow would not accept the event: it is disabled, or its sources or events do
    /// not match.
    pub not_taken: Option<String>,
    /// The failure of the modules.
    pub failure: Option<DryRunFailure>,
    /// The steps of the modules, as in the trace of an event: `module`, `version`, `role`,
    /// `verdict`, `reason`, `duration_us`, `logs`, `draft`, `drafts`, `dispatches`.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<TraceLine>,
    /// The deliveries that would follow.
    pub dispatches: Vec<DryDispatch>,
}

/// The failure of the modules in a dry run.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunFailure {
    /// The reason that the dead letter would have.
    pub reason: &'static str,
    /// The reason in a sentence.
    pub detail: String,
    /// Whether the modules would run again automatically.
    pub retried: bool,
}

/// A delivery that would follow.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryDispatch {
    /// The endpoint's name.
    pub endpoint: String,
    /// Whether it would be sent.
    pub would_send: bool,
    /// Reason why it would not be sent.
    pub reason: Option<String>,
    /// The event type to send.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The id to send: that of the event, or of a draft.
    pub id: String,
    /// The record id to send.
    pub resource_id: Option<String>,
    /// Seconds before the first attempt, as the module requests.
    pub delay_seconds: u64,
    /// Only one delivery with this key is made to the endpoint. The dry run does not check whether
    /// another delivery holds the key.
    pub dedupe_key: Option<String>,
    /// Replaces the record's id for order and collapsing.
    pub ordering_key: Option<String>,
    /// The endpoint's mode.
    pub mode: DeliveryMode,
    /// The body's content type.
    pub content_type: Option<String>,
    /// The body that would be sent, with zeros as `delivery_id`; a text if it is not JSON. Null if
    /// there is none, or if the bodies before it exceed 1 MiB.
    #[schema(value_type = Option<serde_json::Value>)]
    pub body: Option<Box<RawValue>>,
    /// Size of the body in bytes.
    pub body_bytes: Option<usize>,
}

/// Runs a flow on a given or stored event and delivers nothing. Needs `flows:read` too, and
/// `events:read` for a stored event.
#[utoipa::path(post, path = "/api/v1/flows/{id}/run", tag = "flows", operation_id = "run_flow",
    params(("id" = String, Path)), request_body = DryRunRequest,
    responses((status = 200, body = DataAnswer<DryRunAnswer>), (status = 403, body = ApiProblem), (status = 404, body = ApiProblem),
        (status = 409, body = ApiProblem, description = "The event's payload was pruned."), (status = 422, body = ApiProblem),
        (status = 503, body = ApiProblem, description = "Too many dry runs are in progress.")))]
pub async fn run_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(request): JsonInput<DryRunRequest>,
) -> Result<Response, ApiProblem> {
    let (answer, place) = try_flow(&app, &principal, &id, &request).await?;
    Ok(place.leave(data_answer(answer).into_response()))
}

/// Runs a flow on an event if the caller may. The caller holds the place of the dry run until the
/// answer is made.
pub async fn try_flow(
    app: &AppState,
    principal: &CallPrincipal,
    id: &str,
    request: &DryRunRequest,
) -> Result<(DryRunAnswer, ReadingPlace), ApiProblem> {
    if !principal.scopes().allows_scope(Scope::FlowsRead) {
        return Err(ApiProblem::forbidden("a dry run of a flow needs the scope `flows:read` too"));
    }
    let given = request.event.as_ref().map(|event| event.get().as_bytes());
    let event = pick_trial_event(app, principal, request.event_id.as_deref(), given).await?;
    let event = event.ok_or_else(|| {
        ApiProblem::fault("event", "set `event`, or the `event_id` of a stored event")
    })?;
    let place = app.trials.place(principal.token().id).await?;
    let snapshot = app.live.current_settings();
    let route = FlowResource::find(&snapshot, id)?;
    let matched = snapshot.matches(&event.source, &event.event_type).len();
    let trial = build_trial_flow(app, &route, &request.modules).await?;
    let heavy = Arc::new(Semaphore::new(1));
    let planner = FlowPlanner {
        route: &trial,
        store: &app.journal,
        event: &event,
        attempt: 1,
        dedupe_for: app.config.modules.dedupe_for.get(),
        heavy: &heavy,
        room: ContentsRoom::DRY_RUN,
        clock: None,
        requests: None,
        is_traced: false,
        versions: VersionChoice::Present,
    };
    let outcome = match trial.find_refusal(&event.subject()) {
        Some(reason) => FlowOutcome::kept_back(reason),
        None => planner.choose_deliveries().await,
    };
    let matched = u16::try_from(matched).unwrap_or(u16::MAX);
    Ok((DryRunAnswer::of(&trial, &event, matched, outcome), place))
}

/// Returns the flow with other versions of its modules.
async fn build_trial_flow(
    app: &AppState,
    route: &FlowRuntime,
    wanted: &[TrialVersion],
) -> Result<FlowRuntime, ApiProblem> {
    check_names(route, wanted)?;
    let known = if wanted.is_empty() { Vec::new() } else { app.journal.list_modules().await? };
    let mut modules = Vec::with_capacity(route.modules.len());
    for stage in &route.modules {
        let place = wanted.iter().position(|other| other.name == stage.settings.name);
        modules.push(match place.and_then(|place| Some((place, wanted.get(place)?))) {
            // With masks instead of its configuration no version would behave as in production.
            Some((place, other)) if !route.locked => {
                build_other_stage(app, &known, (place, other), stage).await?
            }
            Some(_) | None => ModuleStage {
                settings: stage.settings.clone(),
                config: Arc::clone(&stage.config),
                grants: stage.grants.clone(),
                secrets: Arc::clone(&stage.secrets),
                module: stage.module.clone(),
                share: Semaphore::new(app.live.engine().side_by_side()),
                figures: Arc::clone(&stage.figures),
                version_figures: None,
                breaker: None,
                log: Arc::default(),
                trial: None,
            },
        });
    }
    Ok(FlowRuntime {
        flow: route.flow.clone(),
        condition: route.flow.settings.condition.as_deref().map(WhereCondition::new),
        endpoints: route.endpoints.clone(),
        modules,
        locked: route.locked,
        lane: Arc::clone(&route.lane),
        figures: Arc::clone(&route.figures),
    })
}

fn check_names(route: &FlowRuntime, wanted: &[TrialVersion]) -> Result<(), ApiProblem> {
    let names = || route.modules.iter().map(|stage| stage.settings.name.as_str());
    for (n, other) in wanted.iter().enumerate() {
        if !names().any(|name| name == other.name) {
            let names: Vec<&str> = names().collect();
            let (flow, name) = (&route.flow.settings.name, &other.name);
            let message = match names.as_slice() {
                [] => format!("flow `{flow}` has no modules"),
                names => {
                    format!("flow `{flow}` has no module `{name}`; it has: {}", names.join(", "))
                }
            };
            return Err(ApiProblem::fault(format!("modules[{n}].name"), message));
        }
    }
    Ok(())
}

async fn build_other_stage(
    app: &AppState,
    known: &[ModuleVersion],
    (place, wanted): (usize, &TrialVersion),
    stage: &ModuleStage,
) -> Result<ModuleStage, ApiProblem> {
    let TrialVersion { name, version } = wanted;
    let found = known.iter().find(|other| other.name == *name && other.version == *version);
    let found = found.ok_or_else(|| {
        let message = format!("module `{name}` has no version {version}");
        ApiProblem::fault(format!("modules[{place}].version"), message)
    })?;
    let module = app.live.load(found.sha256).await.map_err(|why| {
        tracing::error!(module = name, version, %why, "a stored module does not load");
        ApiProblem::internal()
    })?;
    let (settings, secrets) = (&stage.settings, app.live.current_settings());
    Ok(app.live.build_stage(settings, Some(found), Ok((*version, module)), secrets.secrets()))
}

impl DryRunAnswer {
    /// Describes the outcome of a run without effects.
    pub fn of(
        route: &FlowRuntime,
        event: &Event,
        matched: u16,
        outcome: FlowOutcome<ChosenDelivery<'_>>,
    ) -> Self {
        let not_taken = why_not_taken(route, event);
        let steps = read_steps(&outcome.steps, outcome.contents.as_deref());
        let (chosen, failure) = match outcome.result {
            Ok(chosen) => (chosen, None),
            Err(failed) => {
                let retried = failed.most_retries > 0;
                let (reason, detail) = (failed.reason, failed.detail);
                (Vec::new(), Some(DryRunFailure { reason, detail, retried }))
            }
        };
        let end = match (&failure, chosen.is_empty()) {
            (Some(_), _) => "failed",
            (None, true) => "dropped",
            (None, false) => "planned",
        };
        let mut room = BODY_ROOM;
        let dispatch = |(target, plan): ChosenDelivery<'_>| {
            DryDispatch::of(target, plan, event, not_taken.as_deref(), &mut room)
        };
        let dispatches = chosen.into_iter().map(dispatch).collect();
        let flow = route.flow.settings.name.clone();
        let event = StoredEvent { event: event.clone(), matched, pruned: None }.into();
        Self { flow, event, end, not_taken, failure, steps, dispatches }
    }
}

/// Returns why a flow would not accept the event at its capture.
fn why_not_taken(route: &FlowRuntime, event: &Event) -> Option<String> {
    let settings = &route.flow.settings;
    let (name, source, kind) = (&settings.name, &event.source, &event.event_type);
    if !settings.enabled {
        return Some(format!("flow `{name}` is disabled"));
    }
    if !settings.sources.is_empty() && !settings.sources.contains(source) {
        let sources = settings.sources.join(", ");
        return Some(format!(
            "flow `{name}` takes no events of source `{source}`, only of: {sources}"
        ));
    }
    if !settings.wants(source, |pattern| pattern.matches(kind)) {
        return Some(format!("flow `{name}` takes no events of type `{kind}`"));
    }
    None
}

impl DryDispatch {
    fn of(
        target: &EndpointRuntime,
        plan: EndpointDispatch,
        event: &Event,
        not_taken: Option<&str>,
        room: &mut usize,
    ) -> Self {
        let message = plan.message.as_deref();
        let mut reason = not_taken.map(str::to_owned).or_else(|| why_not_sent(target));
        let size = message.and_then(|m| m.data.as_ref()).unwrap_or(&event.data).get().len();
        let rendered = if size > *room {
            *room = 0;
            None
        } else {
            let id = DeliveryId::from_uuid(Uuid::nil());
            match preview_body(target, id, event, message) {
                Ok(rendered) => Some(rendered),
                Err(why) => {
                    reason.get_or_insert(why);
                    None
                }
            }
        };
        *room -= rendered.as_ref().map_or(0, |rendered| rendered.body.len().min(*room));
        let id = message.and_then(|m| m.event_id).unwrap_or(event.id);
        let event_type = message.and_then(|m| m.event_type.as_ref()).unwrap_or(&event.event_type);
        let resource_id =
            message.and_then(|m| m.resource_id.as_ref()).or(event.resource_id.as_ref());
        // The flow's id precedes the key that the module gave.
        let key = |(key, _): (String, _)| key.split_once(' ').map(|(_, given)| given.to_owned());
        Self {
            endpoint: target.endpoint.settings.name.clone(),
            would_send: reason.is_none(),
            reason,
            event_type: event_type.clone(),
            id: id.to_string(),
            resource_id: resource_id.cloned(),
            delay_seconds: plan.delay.as_secs(),
            dedupe_key: plan.dedupe.and_then(key),
            ordering_key: plan.ordering_key,
            mode: target.endpoint.settings.mode,
            content_type: rendered.as_ref().map(|rendered| rendered.content_type.to_string()),
            body_bytes: rendered.as_ref().map(|rendered| rendered.body.len()),
            body: rendered.and_then(|rendered| show_body(&rendered.body)),
        }
    }
}

/// Returns why nothing would be sent to an endpoint.
fn why_not_sent(target: &EndpointRuntime) -> Option<String> {
    let name = &target.endpoint.settings.name;
    if !target.endpoint.settings.enabled {
        return Some(format!("endpoint `{name}` is disabled"));
    }
    if target.is_locked() {
        return Some(format!(
            "the secret of endpoint `{name}` cannot be read with this key: enter it again"
        ));
    }
    let why = target.find_obstacle()?;
    Some(format!("endpoint `{name}` cannot be used: {why}"))
}

/// Returns a body as JSON. A body that is not JSON becomes a text.
pub fn show_body(body: &[u8]) -> Option<Box<RawValue>> {
    let text = String::from_utf8_lossy(body).into_owned();
    RawValue::from_string(text.clone()).or_else(|_| serde_json::value::to_raw_value(&text)).ok()
}

#[cfg(test)]
mod tests;
