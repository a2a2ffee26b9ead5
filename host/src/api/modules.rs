//! `/modules`: uploading components, and which version of each runs.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput, read_body};
use super::events::id;
use super::problem::ApiProblem;
use super::{AppState, edit};
use crate::access::scope::Scope;
use crate::catalog;
use crate::model::event::attribute_texts;
use crate::model::fault::{InputFault, check_name};
use crate::model::id::EventId;
use crate::store::modules::{ModuleVersion, NewModule};
use crate::store::objects::ObjectChange;
use crate::time::timestamp::Timestamp;
use crate::wasm::{ModuleInput, ModuleRejection, ModuleRole, PATIENCE, RunEnd};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// One version of a module.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModuleView {
    /// Its id.
    pub id: String,
    /// The module's name.
    pub name: String,
    /// 1, 2, …
    pub version: u32,
    /// Whether flows run this version.
    pub active: bool,
    /// SHA-256 of the component, in hex.
    pub sha256: String,
    /// `exports`, `imports` and `size` of the component.
    #[schema(value_type = Object)]
    pub report: Box<RawValue>,
    /// When it was uploaded.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// What flows lose by its activation: roles that the version before exports and this one does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What is lost where one version takes the place of another, if anything.
pub fn lost_roles(active: &ModuleVersion, wanted: &ModuleVersion) -> Option<String> {
    let roles = |version: &ModuleVersion| -> Vec<ModuleRole> {
        let report: Option<ReportedExports> = serde_json::from_str(version.report.get()).ok();
        report.map(|report| report.exports).unwrap_or_default()
    };
    let kept = roles(wanted);
    let lost = roles(active).into_iter().filter(|role| !kept.contains(role));
    let lost: Vec<String> = lost.map(|role| format!("`{}`", role.name())).collect();
    (!lost.is_empty()).then(|| {
        format!(
            "version {} does not export {}, which version {} does: flows go on without",
            wanted.version,
            lost.join(" and "),
            active.version
        )
    })
}

/// The part of a report that says what a component exports.
#[derive(Deserialize)]
struct ReportedExports {
    exports: Vec<ModuleRole>,
}

impl From<ModuleVersion> for ModuleView {
    fn from(version: ModuleVersion) -> Self {
        Self {
            id: version.id.to_string(),
            name: version.name,
            version: version.version,
            active: version.active,
            sha256: hex::encode(version.sha256),
            report: version.report,
            created_at: version.created_at,
            warning: None,
        }
    }
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
    Ok(whole_list(app.journal.list_modules().await?.into_iter().map(ModuleView::from).collect()))
}

/// Lists the versions of a module.
#[utoipa::path(get, path = "/api/v1/modules/{name}", tag = "modules", operation_id = "show_module",
    params(("name" = String, Path)), responses((status = 200, body = ListAnswer<ModuleView>), (status = 404, body = ApiProblem)))]
pub async fn show_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(name): Path<String>,
) -> Result<Json<ListAnswer<ModuleView>>, ApiProblem> {
    Ok(whole_list(versions(&app, &name).await?.into_iter().map(ModuleView::from).collect()))
}

/// What to do with an upload.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Whether flows run it from now on.
    #[serde(default)]
    activate: bool,
    /// Its number, 1 to 1,000,000, for a server that is to have the same versions as another; the next
    /// one where left out.
    #[serde(default)]
    version: Option<u32>,
}

/// The highest number that an upload may ask for.
const MAX_VERSION: u32 = 1_000_000;

/// Uploads a component as the next version of a module. It is validated, compiled and bound first;
/// it runs only when it is activated.
#[utoipa::path(post, path = "/api/v1/modules/{name}", tag = "modules", operation_id = "upload_module",
    params(("name" = String, Path), UploadQuery), request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = DataAnswer<ModuleView>), (status = 409, body = ApiProblem), (status = 413, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn upload_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(name): Path<String>,
    QueryInput(query): QueryInput<UploadQuery>,
    request: Request,
) -> Result<(StatusCode, Json<DataAnswer<ModuleView>>), ApiProblem> {
    // Before anything is refused: a client that is still sending when it is answered sees a reset of
    // its connection in place of the answer (RFC 9112, section 9.6).
    let wasm = read_body(&app, request, app.live.engine().limits().upload_bytes).await?;
    check_name(&name).map_err(|fault| ApiProblem::invalid(vec![fault]))?;
    if query.version.is_some_and(|number| !(1..=MAX_VERSION).contains(&number)) {
        return Err(ApiProblem::fault("version", format!("from 1 to {MAX_VERSION}")));
    }
    let admitted = app.live.engine().admit_module(app.live.cache(), &wasm).await;
    let module = admitted.map_err(|rejection| {
        if let ModuleRejection::Unavailable(error) = rejection {
            return ApiProblem::unexpected(&error);
        }
        ApiProblem::invalid(vec![InputFault::new("", rejection.to_string())])
    })?;
    let report =
        serde_json::to_string(module.report()).map_err(|error| ApiProblem::unexpected(&error))?;
    let before = app.journal.list_modules().await?.into_iter().find(|v| v.name == name && v.active);
    let added = app.journal.add_module(NewModule {
        name: &name,
        version: query.version,
        sha256: module.sha256(),
        wasm: &wasm,
        report: &report,
        activate: query.activate,
    });
    let number = added.await?;
    app.live.reload_settings().await?;
    let made = find_version(&app, &name, Some(number)).await?;
    let warning = before.filter(|_| query.activate).and_then(|before| lost_roles(&before, &made));
    Ok((StatusCode::CREATED, data_answer(ModuleView { warning, ..made.into() })))
}

/// Makes a version the one that flows run; also the way back to an older one.
#[utoipa::path(post, path = "/api/v1/modules/{name}/versions/{version}/activate", tag = "modules", operation_id = "activate_module",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, body = DataAnswer<ModuleView>), (status = 404, body = ApiProblem)))]
pub async fn activate_module(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path((name, number)): Path<(String, String)>,
) -> Result<Json<DataAnswer<ModuleView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let found = find_version(&app, &name, Some(id("version", &number)?)).await?;
    let before = versions(&app, &name).await?.into_iter().find(|v| v.active);
    let warning = before.and_then(|before| lost_roles(&before, &found));
    edit::commit_changes(
        &app,
        &[ObjectChange::ActivateModule { name: name.clone(), version: found.version }],
    )
    .await?;
    let active = find_version(&app, &name, Some(found.version)).await?;
    Ok(data_answer(ModuleView { warning, ..active.into() }))
}

/// The component of a version, as it was uploaded.
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

/// What to try a module on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The version; the active one, else the newest, where left out.
    #[serde(default)]
    version: Option<u32>,
    /// A stored event's id.
    #[serde(default)]
    event_id: Option<String>,
    /// An event as `POST /events` takes it.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    event: Option<Value>,
    /// What the module reads through its `config` interface.
    #[serde(default)]
    #[schema(value_type = Object)]
    config: BTreeMap<String, Value>,
}

/// What a trial came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunAnswer {
    /// The version that ran.
    pub version: u32,
    /// `out`, `dropped` or `failed`.
    pub end: &'static str,
    /// Why it was dropped, or how it failed.
    pub reason: Option<String>,
    /// What each role said.
    #[schema(value_type = Vec<Object>)]
    pub steps: Value,
    /// What comes out: drafts and dispatches.
    #[schema(value_type = Vec<Object>)]
    pub out: Vec<Value>,
}

/// Tries a version on an event, given or stored, and delivers nothing. A stored event needs
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
    // A module hands its event back, so trying one on a stored event is reading that event.
    if request.event_id.is_some() && !principal.scopes().allows_scope(Scope::EventsRead) {
        let detail = "trying a module on a stored event needs the scope `events:read` too";
        return Err(ApiProblem::forbidden(detail));
    }
    let found = find_version(&app, &name, request.version).await?;
    let module = app.live.load(found.sha256).await.map_err(|why| {
        tracing::error!(module = name, %why, "a stored module does not load");
        ApiProblem::internal()
    })?;
    let trial = TrialEvent::of(&app, &request).await?;
    let settings = crate::model::flow::FlowModule { name, version: None, config: request.config };
    let attributes: Vec<(&str, &str)> =
        trial.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ran = module.run(trial.input(&attributes), &Arc::new(settings.texts())).await;
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

/// The event of a trial.
struct TrialEvent {
    id: String,
    source: String,
    event_type: String,
    subject: Option<String>,
    /// When it was captured: where the module's clocks stand.
    at: Timestamp,
    time: String,
    attributes: Vec<(String, String)>,
    data: Box<RawValue>,
}

impl TrialEvent {
    async fn of(app: &AppState, request: &RunRequest) -> Result<Self, ApiProblem> {
        match (&request.event_id, &request.event) {
            (Some(text), None) => Self::stored(app, text).await,
            (None, Some(event)) => Self::given(app, event),
            (None, None) => {
                let example =
                    catalog::get().find("invoice.paid").map(catalog::EventType::example_event);
                Self::given(app, &example.unwrap_or_default())
            }
            (Some(_), Some(_)) => {
                Err(ApiProblem::fault("event", "give `event` or `event_id`, not both"))
            }
        }
    }

    async fn stored(app: &AppState, text: &str) -> Result<Self, ApiProblem> {
        let stored = app.journal.find_event(id("event", text)?).await?;
        let event = stored.ok_or_else(|| ApiProblem::missing("event", text))?.with_payload()?;
        Ok(Self {
            id: event.id.to_string(),
            at: event.received_at,
            time: event.time().to_string(),
            attributes: event.attributes.as_deref().map(attribute_texts).unwrap_or_default(),
            source: event.source,
            event_type: event.event_type,
            subject: event.resource_id,
            data: event.data,
        })
    }

    fn given(app: &AppState, event: &Value) -> Result<Self, ApiProblem> {
        let text = serde_json::to_vec(event).map_err(ApiProblem::malformed)?;
        let read = crate::ingest::event_body::read_events(&http::HeaderMap::new(), &text, 1);
        let read = read.map_err(|refusal| match ApiProblem::from(refusal) {
            problem if problem.errors.is_empty() => problem,
            problem => {
                let errors =
                    problem.errors.into_iter().map(|fault| fault.within("event")).collect();
                ApiProblem::invalid(errors)
            }
        })?;
        let mut event = read.events.into_iter().next().ok_or_else(ApiProblem::internal)?;
        event.complete();
        let at = event.occurred_at.unwrap_or_else(|| app.journal.clock().now());
        Ok(Self {
            id: EventId::generate().to_string(),
            source: event.source.unwrap_or_else(|| "api".to_owned()),
            event_type: event.event_type,
            subject: event.resource_id,
            at,
            time: at.to_string(),
            attributes: event.attributes.as_deref().map(attribute_texts).unwrap_or_default(),
            data: event.data,
        })
    }

    fn input<'a>(&'a self, attributes: &'a [(&'a str, &'a str)]) -> ModuleInput<'a> {
        ModuleInput {
            id: &self.id,
            flow: "",
            source: &self.source,
            kind: &self.event_type,
            subject: self.subject.as_deref(),
            time: &self.time,
            attempt: 1,
            attributes,
            data: self.data.get(),
            received: self.at.since(Timestamp::default()),
            patience: PATIENCE,
        }
    }
}
