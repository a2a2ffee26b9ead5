//! `/flows`: which events pass which modules to which endpoints.

use super::answer::{Data, List, data, whole};
use super::auth::Principal;
use super::body::{Input, parse};
use super::edit::KnownModules;
use super::problem::Problem;
use super::{App, edit};
use crate::access::scope::Scope;
use crate::model::flow::{Flow, FlowSettings};
use crate::model::id::FlowId;
use crate::model::private_values::{SettingsKind, keep_flow};
use crate::settings::{Route, Topology};
use crate::store::objects::{Change, Kind};
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
    fn new(route: &Route, principal: &Principal) -> Result<Self, Problem> {
        let mut flow = route.flow.clone();
        if !principal.scopes().may(Scope::FlowsWrite) {
            let masked = edit::masked(SettingsKind::Flow, &flow.settings)?;
            flow.settings = serde_json::from_value(masked).map_err(|error| {
                tracing::error!(%error, "masked settings cannot be read");
                Problem::internal()
            })?;
        }
        Ok(Self { flow, warning: route.locked.then_some(LOCKED) })
    }
}

fn find(topology: &Topology, text: &str) -> Result<Arc<Route>, Problem> {
    let id = text.parse::<FlowId>().ok();
    let is = |route: &&Arc<Route>| Some(route.flow.id) == id || route.flow.settings.name == text;
    topology.flows().iter().find(is).cloned().ok_or_else(|| Problem::missing("flow", text))
}

/// Lists flows, by name.
#[utoipa::path(get, path = "/api/v1/flows", tag = "flows", operation_id = "list_flows",
    responses((status = 200, body = List<FlowView>)))]
pub async fn list_flows(
    State(app): State<App>,
    principal: Principal,
) -> Result<Json<List<FlowView>>, Problem> {
    let topology = app.live.current();
    let views = topology.flows().iter().map(|route| FlowView::new(route, &principal));
    Ok(whole(views.collect::<Result<_, _>>()?))
}

/// One flow, by id or name.
#[utoipa::path(get, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "show_flow",
    params(("id" = String, Path)), responses((status = 200, body = Data<FlowView>), (status = 404, body = Problem)))]
pub async fn show_flow(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Data<FlowView>>, Problem> {
    Ok(data(FlowView::new(&*find(&app.live.current(), &id)?, &principal)?))
}

async fn save(
    app: &App,
    principal: &Principal,
    id: FlowId,
    object: &Map<String, Value>,
    old: Option<&Flow>,
) -> Result<FlowView, Problem> {
    let text = serde_json::to_vec(object).map_err(Problem::malformed)?;
    let mut settings: FlowSettings = parse(&text)?;
    let stored: Vec<&FlowSettings> = old.iter().map(|flow| &flow.settings).collect();
    edit::check(keep_flow(&mut settings, &stored))?;
    let topology = app.live.current();
    let modules = KnownModules::new(&app.journal.modules().await?);
    let has = |name: &str| topology.endpoint_named(name).is_some();
    edit::check(edit::check_flow(&settings, has, &modules))?;
    let created_at = old.map_or_else(|| app.journal.clock().now(), |flow| flow.created_at);
    edit::commit(app, &[edit::put_flow(app, id, &settings, created_at)?]).await?;
    FlowView::new(&*find(&app.live.current(), &id.to_string())?, principal)
}

/// Makes a flow.
#[utoipa::path(post, path = "/api/v1/flows", tag = "flows", operation_id = "create_flow", request_body = FlowSettings,
    responses((status = 201, body = Data<FlowView>), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create_flow(
    State(app): State<App>,
    principal: Principal,
    Input(object): Input<Map<String, Value>>,
) -> Result<(StatusCode, Json<Data<FlowView>>), Problem> {
    let made = save(&app, &principal, FlowId::generate(), &object, None).await?;
    Ok((StatusCode::CREATED, data(made)))
}

/// Changes the given fields of a flow; `null` goes back to the default.
#[utoipa::path(patch, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "update_flow",
    params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<FlowView>), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn update_flow(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<String>,
    Input(patch): Input<Map<String, Value>>,
) -> Result<Json<Data<FlowView>>, Problem> {
    let flow = find(&app.live.current(), &id)?.flow.clone();
    let merged = edit::merge(&flow.settings, patch)?;
    Ok(data(save(&app, &principal, flow.id, &merged, Some(&flow)).await?))
}

/// Replaces a flow's settings.
#[utoipa::path(put, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "replace_flow",
    params(("id" = String, Path)), request_body = FlowSettings,
    responses((status = 200, body = Data<FlowView>), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn replace_flow(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<String>,
    Input(object): Input<Map<String, Value>>,
) -> Result<Json<Data<FlowView>>, Problem> {
    let flow = find(&app.live.current(), &id)?.flow.clone();
    Ok(data(save(&app, &principal, flow.id, &object, Some(&flow)).await?))
}

/// Deletes a flow. Events that wait for its modules are dropped; deliveries it planned go on.
#[utoipa::path(delete, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "delete_flow",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub async fn delete_flow(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let flow = find(&app.live.current(), &id)?.flow.id;
    edit::commit(&app, &[Change::Delete { kind: Kind::Flow, id: flow.uuid() }]).await?;
    Ok(StatusCode::NO_CONTENT)
}
