//! `/flows`: which events pass which modules to which endpoints.

use super::answer::{Data, List, data, whole};
use super::auth::Principal;
use super::body::{Input, parse};
use super::problem::Problem;
use super::{App, edit};
use crate::domain::flow::{Flow, FlowSettings};
use crate::domain::id::FlowId;
use crate::domain::time::Timestamp;
use crate::journal::objects::{Change, Kind};
use crate::topology::{Route, Topology};
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Map, Value};
use std::sync::Arc;

fn find(topology: &Topology, text: &str) -> Result<Arc<Route>, Problem> {
    let id = text.parse::<FlowId>().ok();
    let is = |route: &&Arc<Route>| Some(route.flow.id) == id || route.flow.settings.name == text;
    topology.flows().iter().find(is).cloned().ok_or_else(|| Problem::missing("flow", text))
}

/// Lists flows, by name.
#[utoipa::path(get, path = "/api/v1/flows", tag = "flows", operation_id = "list_flows",
    responses((status = 200, body = List<Flow>)))]
pub(super) async fn list(State(app): State<App>, _principal: Principal) -> Json<List<Flow>> {
    whole(app.live.current().flows().iter().map(|route| route.flow.clone()).collect())
}

/// One flow, by id or name.
#[utoipa::path(get, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "show_flow",
    params(("id" = String, Path)), responses((status = 200, body = Data<Flow>), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Data<Flow>>, Problem> {
    Ok(data(find(&app.live.current(), &id)?.flow.clone()))
}

async fn save(
    app: &App,
    id: FlowId,
    object: &Map<String, Value>,
    created_at: Timestamp,
) -> Result<Flow, Problem> {
    let text = serde_json::to_vec(object).map_err(Problem::malformed)?;
    let settings: FlowSettings = parse(&text)?;
    let topology = app.live.current();
    let modules: Vec<String> = app.journal.modules().await?.into_iter().map(|m| m.name).collect();
    let has = |name: &str| topology.endpoint_named(name).is_some();
    edit::check(edit::check_flow(&settings, has, &modules))?;
    let name = settings.name.clone();
    let change = edit::put(Kind::Flow, &name, id.uuid(), settings, None, created_at)?;
    edit::commit(app, &[change]).await?;
    Ok(find(&app.live.current(), &id.to_string())?.flow.clone())
}

/// Makes a flow.
#[utoipa::path(post, path = "/api/v1/flows", tag = "flows", operation_id = "create_flow", request_body = FlowSettings,
    responses((status = 201, body = Data<Flow>), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    _principal: Principal,
    Input(object): Input<Map<String, Value>>,
) -> Result<(StatusCode, Json<Data<Flow>>), Problem> {
    let now = app.journal.clock().now();
    Ok((StatusCode::CREATED, data(save(&app, FlowId::generate(), &object, now).await?)))
}

/// Changes the given fields of a flow; `null` goes back to the default.
#[utoipa::path(patch, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "update_flow",
    params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<Flow>), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn update(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
    Input(patch): Input<Map<String, Value>>,
) -> Result<Json<Data<Flow>>, Problem> {
    let flow = find(&app.live.current(), &id)?.flow.clone();
    let merged = edit::merge(&flow.settings, patch)?;
    Ok(data(save(&app, flow.id, &merged, flow.created_at).await?))
}

/// Replaces a flow's settings.
#[utoipa::path(put, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "replace_flow",
    params(("id" = String, Path)), request_body = FlowSettings,
    responses((status = 200, body = Data<Flow>), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn replace(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
    Input(object): Input<Map<String, Value>>,
) -> Result<Json<Data<Flow>>, Problem> {
    let flow = find(&app.live.current(), &id)?.flow.clone();
    Ok(data(save(&app, flow.id, &object, flow.created_at).await?))
}

/// Deletes a flow. Events that wait for its modules are dropped; deliveries it planned go on.
#[utoipa::path(delete, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "delete_flow",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let flow = find(&app.live.current(), &id)?.flow.id;
    edit::commit(&app, &[Change::Delete { kind: Kind::Flow, id: flow.uuid() }]).await?;
    Ok(StatusCode::NO_CONTENT)
}
