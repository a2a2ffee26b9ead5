//! `/modules`: uploads components and shows their versions.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

pub mod activation;
pub mod breaker_view;
pub mod cases;
pub mod logs;
pub mod trial;
pub mod trial_view;

use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput, read_body};
use super::events::id;
use super::problem::ApiProblem;
use super::trial_event::{pick_trial_event, read_trial_event};
use super::{AppState, edit};
use crate::catalog;
use crate::health::health_view::HealthView;
use crate::model::case_report::CasesReport;
use crate::model::event::{Event, attribute_texts};
use crate::model::fault::{InputFault, check_name};
use crate::model::flow::FlowModule;
use crate::store::modules::{ModuleVersion, NewModule};
use crate::time::timestamp::Timestamp;
use crate::wasm::{LoadedModule, ModuleInput, ModuleRejection, ModuleRole, PATIENCE, RunEnd};
use activation::approve_upload;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use breaker_view::BreakerView;
use cases::{ForcedNote, tell_failed_cases};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use trial_view::{TrialSummary, VersionFiguresView};
use utoipa::{IntoParams, ToSchema};

/// One version of a module.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModuleView {
    /// Id of the version.
    pub id: String,
    /// The module's name.
    pub name: String,
    /// Version number, from 1.
    pub version: u32,
    /// Whether flows and endpoints run this version.
    pub active: bool,
    /// SHA-256 of the component, in hex.
    pub sha256: String,
    /// `exports`, `imports` and `size` of the component.
    #[schema(value_type = Object)]
    pub report: Box<RawValue>,
    /// Upload time.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The granted capabilities: those that it requests, as far as the policy and approvals allow.
    pub granted: Vec<String>,
    /// Requested capabilities that somebody has to approve first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// Requested capabilities that the server's policy refuses to every module.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// Result of the last run of the manifest's sample cases. A version whose cases failed is
    /// activated only if that is forced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cases: Option<CasesReport>,
    /// Roles that flows lose by its activation, because the previous version exports them and this
    /// one does not. After an upload also the first sample case that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Health of the module's calls on this node since its start, over all versions. Only for the
    /// active version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
    /// State of the version's breaker on this node. Only for versions that flows run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerView>,
    /// Its trial on live events, running or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialSummary>,
    /// Figures of the version's calls on this node. Only for versions that were called since its
    /// start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<VersionFiguresView>,
    /// The module's counters, over all versions. Only with the active version of a module that is
    /// requested by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, i64>,
}

/// Returns the roles that are lost when one version replaces another, if any.
pub fn lost_roles(active: &ModuleVersion, wanted: &ModuleVersion) -> Option<String> {
    let kept = exported_roles(wanted);
    let lost = exported_roles(active).into_iter().filter(|role| !kept.contains(role));
    let lost: Vec<String> = lost.map(|role| format!("`{}`", role.name())).collect();
    (!lost.is_empty()).then(|| {
        format!(
            "version {} does not export {}, unlike version {}: flows continue without",
            wanted.version,
            lost.join(" and "),
            active.version
        )
    })
}

/// Returns the roles that a version exports.
pub fn exported_roles(version: &ModuleVersion) -> Vec<ModuleRole> {
    let report: Option<ReportedExports> = serde_json::from_str(version.report.get()).ok();
    report.map(|report| report.exports).unwrap_or_default()
}

/// The part of a report with the exports of a component.
#[derive(Deserialize)]
struct ReportedExports {
    exports: Vec<ModuleRole>,
}

impl ModuleView {
    pub fn new(app: &AppState, version: ModuleVersion) -> Self {
        let asked = version.manifest().map(|manifest| manifest.capabilities).unwrap_or_default();
        let decision = asked.decide(app.config.modules.policy, &version.approved);
        Self {
            id: version.id.to_string(),
            name: version.name,
            version: version.version,
            active: version.active,
            sha256: hex::encode(version.sha256),
            report: version.report,
            created_at: version.created_at,
            granted: decision.granted.items(),
            pending: decision.pending,
            denied: decision.denied,
            cases: version.cases,
            warning: None,
            health: None,
            breaker: None,
            trial: version.trial.as_ref().map(TrialSummary::new),
            figures: None,
            counters: BTreeMap::new(),
        }
    }
}

/// Returns the view of a version, with the health of the active one.
fn show_version(app: &AppState, version: ModuleVersion) -> ModuleView {
    let health = version.active.then(|| {
        let figures = app.journal.metrics().find_module(&version.name);
        HealthView::of_module(&figures.read_health())
    });
    let breaker = BreakerView::find(app, &version);
    let figures = app.journal.metrics().find_known_version(&version.name, version.version);
    let figures = figures.and_then(|figures| VersionFiguresView::new(&figures));
    ModuleView { health, breaker, figures, ..ModuleView::new(app, version) }
}

async fn versions(app: &AppState, name: &str) -> Result<Vec<ModuleVersion>, ApiProblem> {
    let mut all = app.journal.list_modules().await?;
    all.retain(|version| version.name == name);
    if all.is_empty() { Err(ApiProblem::missing("module", name)) } else { Ok(all) }
}

async fn find_version(
    app: &AppState,
    name: &str,
    wanted: Option<u32>,
) -> Result<ModuleVersion, ApiProblem> {
    let all = versions(app, name).await?;
    let latest = all.iter().map(|v| v.version).max();
    let active = all.iter().find(|v| v.active).map(|v| v.version);
    let number = wanted.or(active).or(latest);
    let found = all.into_iter().find(|v| Some(v.version) == number);
    found.ok_or_else(|| ApiProblem::missing("version", &wanted.unwrap_or_default().to_string()))
}

/// Lists every version of every module.
#[utoipa::path(get, path = "/api/v1/modules", tag = "modules", operation_id = "list_modules",
    responses((status = 200, body = ListAnswer<ModuleView>)))]
pub async fn list_modules(
    State(app): State<AppState>,
    _principal: CallPrincipal,
) -> Result<Json<ListAnswer<ModuleView>>, ApiProblem> {
    let found = app.journal.list_modules().await?.into_iter();
    Ok(whole_list(found.map(|version| show_version(&app, version)).collect()))
}

/// Lists the versions of a module.
#[utoipa::path(get, path = "/api/v1/modules/{name}", tag = "modules", operation_id = "show_module",
    params(("name" = String, Path)), responses((status = 200, body = ListAnswer<ModuleView>), (status = 404, body = ApiProblem)))]
pub async fn show_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(name): Path<String>,
) -> Result<Json<ListAnswer<ModuleView>>, ApiProblem> {
    let found = versions(&app, &name).await?.into_iter();
    let mut views: Vec<ModuleView> = found.map(|version| show_version(&app, version)).collect();
    if let Some(active) = views.iter_mut().find(|view| view.active) {
        active.counters = app.journal.list_counters(&name).await?.into_iter().collect();
    }
    Ok(whole_list(views))
}

/// Options for an upload.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Whether the version becomes active.
    #[serde(default)]
    pub activate: bool,
    /// Version number, 1 to 1,000,000, for a server that must have the same versions as another.
    /// Default: the next number.
    #[serde(default)]
    pub version: Option<u32>,
    /// Approved capabilities, separated by commas, as in `approve` of the activation.
    #[serde(default)]
    pub approve: Option<String>,
    /// Whether to activate it even if its sample cases fail. The audit shows that.
    #[serde(default)]
    pub force: bool,
}

impl UploadQuery {
    fn approvals(&self) -> Vec<String> {
        let words = self.approve.iter().flat_map(|list| list.split(','));
        words.map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    }
}

/// Largest version number of an upload.
const MAX_VERSION: u32 = 1_000_000;

/// Uploads a component as the next version of a module. It is validated, compiled and bound, and
/// its sample cases run. It runs on events only after its activation. If a case fails, the version
/// is stored but not activated, unless that is forced.
#[utoipa::path(post, path = "/api/v1/modules/{name}", tag = "modules", operation_id = "upload_module",
    params(("name" = String, Path), UploadQuery), request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = DataAnswer<ModuleView>), (status = 409, body = ApiProblem), (status = 413, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn upload_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(name): Path<String>,
    QueryInput(query): QueryInput<UploadQuery>,
    request: Request,
) -> Result<(StatusCode, Option<Extension<ForcedNote>>, Json<DataAnswer<ModuleView>>), ApiProblem> {
    // The body is read before anything is refused: a client that is still sending when it is
    // answered sees a reset of its connection instead of the answer (RFC 9112, section 9.6).
    let limit = app.live.engine().limits().upload_bytes;
    let read = read_body(&app, request, limit).await;
    let wasm = read.map_err(|problem| problem.or_large_component(limit))?;
    check_name(&name).map_err(|fault| ApiProblem::invalid(vec![fault]))?;
    if query.version.is_some_and(|number| !(1..=MAX_VERSION).contains(&number)) {
        return Err(ApiProblem::fault("version", format!("from 1 to {MAX_VERSION}")));
    }
    let module = admit_upload(&app, &wasm).await?;
    let cases = module.run_cases(app.journal.clock().now()).await;
    let fails = cases.as_ref().is_some_and(|report| !report.is_passed());
    let activate = query.activate && (query.force || !fails);
    let report =
        serde_json::to_string(module.report()).map_err(|error| ApiProblem::unexpected(&error))?;
    let before = app.journal.list_modules().await?.into_iter().find(|v| v.name == name && v.active);
    let approved = approve_upload(&app, &name, &query, &module, before.as_ref())?;
    let added = app.journal.add_module(NewModule {
        name: &name,
        version: query.version,
        sha256: module.sha256(),
        wasm: &wasm,
        report: &report,
        activate,
        approved: &approved,
        cases: cases.as_ref(),
    });
    let number = added.await?;
    app.live.reload_settings().await?;
    let made = find_version(&app, &name, Some(number)).await?;
    let lost = before.filter(|_| activate).and_then(|before| lost_roles(&before, &made));
    let warning = if activate { lost } else { tell_failed_cases(cases.as_ref()) };
    let forced = query.force.then_some(Extension(ForcedNote));
    let view = ModuleView { warning, ..ModuleView::new(&app, made) };
    Ok((StatusCode::CREATED, forced, data_answer(view)))
}

async fn admit_upload(app: &AppState, wasm: &[u8]) -> Result<LoadedModule, ApiProblem> {
    let admitted = app.live.engine().admit_module(app.live.cache(), wasm).await;
    admitted.map_err(|rejection| {
        if let ModuleRejection::Unavailable(error) = rejection {
            return ApiProblem::unexpected(&error);
        }
        ApiProblem::invalid(vec![InputFault::new("", rejection.to_string())])
    })
}

/// Returns the component of a version as it was uploaded.
#[utoipa::path(get, path = "/api/v1/modules/{name}/versions/{version}/component", tag = "modules", operation_id = "download_module",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, content_type = "application/wasm", body = Vec<u8>), (status = 404, body = ApiProblem)))]
pub async fn download_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path((name, number)): Path<(String, String)>,
) -> Result<Response, ApiProblem> {
    let found = find_version(&app, &name, Some(id("version", &number)?)).await?;
    let wasm = app.journal.load_component(found.sha256).await?;
    let wasm = wasm.ok_or_else(|| ApiProblem::missing("component", &hex::encode(found.sha256)))?;
    Ok(([(header::CONTENT_TYPE, "application/wasm")], wasm).into_response())
}

/// The event and configuration for trying a module.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The version. Default: the active one, else the newest.
    #[serde(default)]
    pub version: Option<u32>,
    /// Id of a stored event.
    #[serde(default)]
    pub event_id: Option<String>,
    /// An event in the form of `POST /events`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub event: Option<Value>,
    /// The configuration that the module reads through its `config` interface.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: BTreeMap<String, Value>,
}

/// The result of a trial.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunAnswer {
    /// The version that ran.
    pub version: u32,
    /// `out`, `dropped` or `failed`.
    pub end: &'static str,
    /// Reason why the event was dropped, or the failure.
    pub reason: Option<String>,
    /// The step of each role.
    #[schema(value_type = Vec<Object>)]
    pub steps: Value,
    /// The resulting drafts and dispatches.
    #[schema(value_type = Vec<Object>)]
    pub out: Vec<Value>,
}

/// Tries a version on a given or stored event and delivers nothing. A stored event needs
/// `events:read` too.
#[utoipa::path(post, path = "/api/v1/modules/{name}/run", tag = "modules", operation_id = "run_module",
    params(("name" = String, Path)), request_body = RunRequest,
    responses((status = 200, body = DataAnswer<RunAnswer>), (status = 403, body = ApiProblem), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn run_module(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(name): Path<String>,
    JsonInput(request): JsonInput<RunRequest>,
) -> Result<Json<DataAnswer<RunAnswer>>, ApiProblem> {
    let given = request.event.as_ref().map(Value::to_string);
    let given = given.as_deref().map(str::as_bytes);
    let event = pick_trial_event(&app, &principal, request.event_id.as_deref(), given).await?;
    let event = event.map_or_else(|| example_event(&app, &principal), Ok)?;
    let found = find_version(&app, &name, request.version).await?;
    let module = app.live.load(found.sha256).await.map_err(|why| {
        tracing::error!(module = name, %why, "a stored module does not load");
        ApiProblem::internal()
    })?;
    if !module.report().has_flow_role() {
        let message = "this version has none of the roles `filter`, `transform` and `route`; try it with `POST /api/v1/endpoints/{id}/test` or `POST /api/v1/sources/{id}/test`";
        return Err(ApiProblem::fault("version", message));
    }
    let settings = FlowModule { name, config: request.config, ..FlowModule::default() };
    let attributes = event.attributes.as_deref().map(attribute_texts).unwrap_or_default();
    let attributes: Vec<(&str, &str)> =
        attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (event_id, time) = (event.id.to_string(), event.time().to_string());
    let input = trial_input(&event, (&event_id, &time), &attributes);
    let schema = found.manifest().and_then(|manifest| manifest.config);
    let faults = schema.as_ref().map(|schema| schema.check_config(&settings.config));
    let faults = faults.unwrap_or_default().into_iter().map(|fault| fault.within("config"));
    edit::check_faults(faults.collect())?;
    let ran = module.run(input, &Arc::new(settings.readable_config(schema.as_ref()))).await;
    let (end, reason, out) = match ran.end {
        RunEnd::Dropped { reason } => ("dropped", Some(reason), Vec::new()),
        RunEnd::Failed(failure) => {
            ("failed", Some(format!("{}: {failure}", failure.reason())), Vec::new())
        }
        RunEnd::Out(routed) => {
            let show =
                |r: crate::wasm::RoutedEvent| json!({"draft": r.draft, "dispatches": r.dispatches});
            ("out", None, routed.into_iter().map(show).collect())
        }
    };
    let steps = serde_json::to_value(ran.steps).unwrap_or_default();
    Ok(data_answer(RunAnswer { version: found.version, end, reason, steps, out }))
}

/// Returns the catalogue's example, for a trial that does not name an event.
fn example_event(app: &AppState, principal: &CallPrincipal) -> Result<Event, ApiProblem> {
    let example = catalog::get().find("invoice.paid").map(catalog::EventType::example_event);
    let example = example.unwrap_or_default().to_string();
    read_trial_event(app, principal, example.as_bytes())
}

/// Returns a module's input for a trial outside any flow.
fn trial_input<'a>(
    event: &'a Event,
    (id, time): (&'a str, &'a str),
    attributes: &'a [(&'a str, &'a str)],
) -> ModuleInput<'a> {
    ModuleInput {
        id,
        flow: "",
        source: &event.source,
        kind: &event.event_type,
        resource: event.resource.as_deref(),
        subject: event.resource_id.as_deref(),
        time,
        attempt: 1,
        changes: None,
        attributes,
        data: event.data.get(),
        // The clocks of a flow's modules are set to the capture time.
        received: event.received_at.since(Timestamp::default()),
        patience: PATIENCE,
        may_reuse: false,
    }
}
