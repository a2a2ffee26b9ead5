//! `/flows`: which events pass which modules to which endpoints.

use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::body::{JsonInput, parse_json};
use super::edit::KnownModules;
use super::problem::ApiProblem;
use super::{AppState, edit};
use crate::access::scope::Scope;
use crate::model::flow::{Flow, FlowSettings};
use crate::model::id::FlowId;
use crate::model::private_values::{SettingsKind, keep_flow};
use crate::settings::{FlowRuntime, SettingsSnapshot};
use crate::store::objects::{ObjectChange, ObjectKind};
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

/// What is said of a flow whose configuration the present key does not open.
const LOCKED: &str = "the configuration of its modules cannot be read with this server's key; its events become dead letters until it is given again";

/// A flow.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlowView {
    /// What is set. To those who may only read, texts in the configuration of modules are masked.
    #[serde(flatten)]
    flow: Flow,
    /// Why its modules do not run at present, where their configuration cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

impl FlowView {
    fn new(route: &FlowRuntime, principal: &CallPrincipal) -> Result<Self, ApiProblem> {
        let mut flow = route.flow.clone();
        if !principal.scopes().allows_scope(Scope::FlowsWrite) {
            let masked = edit::mask_settings(SettingsKind::Flow, &flow.settings)?;
            flow.settings = serde_json::from_value(masked).map_err(|error| {
                tracing::error!(%error, "masked settings cannot be read");
                ApiProblem::internal()
            })?;
        }
        Ok(Self { flow, warning: route.locked.then_some(LOCKED) })
    }
}

fn find_flow(topology: &SettingsSnapshot, text: &str) -> Result<Arc<FlowRuntime>, ApiProblem> {
    let id = text.parse::<FlowId>().ok();
    let is =
        |route: &&Arc<FlowRuntime>| Some(route.flow.id) == id || route.flow.settings.name == text;
    topology.flows().iter().find(is).cloned().ok_or_else(|| ApiProblem::missing("flow", text))
}

/// Lists flows, by name.
#[utoipa::path(get, path = "/api/v1/flows", tag = "flows", operation_id = "list_flows",
    responses((status = 200, body = ListAnswer<FlowView>)))]
pub async fn list_flows(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Result<Json<ListAnswer<FlowView>>, ApiProblem> {
    let topology = app.live.current_settings();
    let views = topology.flows().iter().map(|route| FlowView::new(route, &principal));
    Ok(whole_list(views.collect::<Result<_, _>>()?))
}

/// One flow, by id or name.
#[utoipa::path(get, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "show_flow",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<FlowView>), (status = 404, body = ApiProblem)))]
pub async fn show_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<DataAnswer<FlowView>>, ApiProblem> {
    Ok(data_answer(FlowView::new(&*find_flow(&app.live.current_settings(), &id)?, &principal)?))
}

async fn save_flow(
    app: &AppState,
    principal: &CallPrincipal,
    id: FlowId,
    object: &Map<String, Value>,
    old: Option<&Flow>,
) -> Result<FlowView, ApiProblem> {
    let text = serde_json::to_vec(object).map_err(ApiProblem::malformed)?;
    let mut settings: FlowSettings = parse_json(&text)?;
    let stored: Vec<&FlowSettings> = old.iter().map(|flow| &flow.settings).collect();
    edit::check_faults(keep_flow(&mut settings, &stored))?;
    let topology = app.live.current_settings();
    let modules = KnownModules::new(&app.journal.list_modules().await?);
    let has = |name: &str| topology.endpoint_named(name).is_some();
    edit::check_faults(edit::check_flow(&settings, has, &modules))?;
    let created_at = old.map_or_else(|| app.journal.clock().now(), |flow| flow.created_at);
    let change = edit::put_flow(app, id, &settings, created_at)?;
    let change = change.replacing(old.map(|flow| flow.updated_at));
    edit::commit_changes(app, &[change]).await?;
    FlowView::new(&*find_flow(&app.live.current_settings(), &id.to_string())?, principal)
}

/// Makes a flow.
#[utoipa::path(post, path = "/api/v1/flows", tag = "flows", operation_id = "create_flow", request_body = FlowSettings,
    responses((status = 201, body = DataAnswer<FlowView>), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<(StatusCode, Json<DataAnswer<FlowView>>), ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let made = save_flow(&app, &principal, FlowId::generate(), &object, None).await?;
    Ok((StatusCode::CREATED, data_answer(made)))
}

/// Changes the given fields of a flow; `null` goes back to the default.
#[utoipa::path(patch, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "update_flow",
    params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = DataAnswer<FlowView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn update_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<Json<DataAnswer<FlowView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let flow = find_flow(&app.live.current_settings(), &id)?.flow.clone();
    let merged = edit::merge_patch(&flow.settings, patch)?;
    Ok(data_answer(save_flow(&app, &principal, flow.id, &merged, Some(&flow)).await?))
}

/// Replaces a flow's settings.
#[utoipa::path(put, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "replace_flow",
    params(("id" = String, Path)), request_body = FlowSettings,
    responses((status = 200, body = DataAnswer<FlowView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn replace_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<Json<DataAnswer<FlowView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let flow = find_flow(&app.live.current_settings(), &id)?.flow.clone();
    Ok(data_answer(save_flow(&app, &principal, flow.id, &object, Some(&flow)).await?))
}

/// Deletes a flow. Events that wait for its modules are dropped; deliveries it planned go on.
#[utoipa::path(delete, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "delete_flow",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = ApiProblem)))]
pub async fn delete_flow(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let flow = find_flow(&app.live.current_settings(), &id)?.flow.id;
    edit::commit_changes(&app, &[ObjectChange::Delete { kind: ObjectKind::Flow, id: flow.uuid() }])
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
