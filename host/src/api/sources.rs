//! `/sources`: the systems that events come from. An event may name a source that is not set here;
//! one that is set can be strict, or disabled.

use super::answer::{Data, List, data, whole};
use super::auth::Principal;
use super::body::{Input, parse};
use super::problem::Problem;
use super::{App, edit};
use crate::domain::id::SourceId;
use crate::domain::source::{Source, SourceSettings};
use crate::domain::time::Timestamp;
use crate::journal::objects::{Change, Kind};
use crate::topology::Topology;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Map, Value};

fn find(topology: &Topology, text: &str) -> Result<Source, Problem> {
    let id = text.parse::<SourceId>().ok();
    let is = |source: &&Source| Some(source.id) == id || source.settings.name == text;
    topology.sources().find(is).cloned().ok_or_else(|| Problem::missing("source", text))
}

/// Lists sources, by name.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", operation_id = "list_sources",
    responses((status = 200, body = List<Source>)))]
pub(super) async fn list(State(app): State<App>, _principal: Principal) -> Json<List<Source>> {
    let mut sources: Vec<Source> = app.live.current().sources().cloned().collect();
    sources.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
    whole(sources)
}

/// One source, by id or name.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "show_source",
    params(("id" = String, Path)), responses((status = 200, body = Data<Source>), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Data<Source>>, Problem> {
    Ok(data(find(&app.live.current(), &id)?))
}

async fn save(
    app: &App,
    id: SourceId,
    object: &Map<String, Value>,
    created_at: Timestamp,
) -> Result<Source, Problem> {
    let text = serde_json::to_vec(object).map_err(Problem::malformed)?;
    let settings: SourceSettings = parse(&text)?;
    edit::check(settings.check())?;
    let name = settings.name.clone();
    let change = edit::put(Kind::Source, &name, id.uuid(), settings, None, created_at)?;
    edit::commit(app, &[change]).await?;
    find(&app.live.current(), &id.to_string())
}

/// Makes a source.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", operation_id = "create_source", request_body = SourceSettings,
    responses((status = 201, body = Data<Source>), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    _principal: Principal,
    Input(object): Input<Map<String, Value>>,
) -> Result<(StatusCode, Json<Data<Source>>), Problem> {
    let now = app.journal.clock().now();
    Ok((StatusCode::CREATED, data(save(&app, SourceId::generate(), &object, now).await?)))
}

/// Changes the given fields of a source; `null` goes back to the default.
#[utoipa::path(patch, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "update_source",
    params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<Source>), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn update(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
    Input(patch): Input<Map<String, Value>>,
) -> Result<Json<Data<Source>>, Problem> {
    let source = find(&app.live.current(), &id)?;
    let merged = edit::merge(&source.settings, patch)?;
    Ok(data(save(&app, source.id, &merged, source.created_at).await?))
}

/// Deletes a source's settings; events of that name are taken as from any unknown source.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "delete_source",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let source = find(&app.live.current(), &id)?;
    edit::commit(&app, &[Change::Delete { kind: Kind::Source, id: source.id.uuid() }]).await?;
    Ok(StatusCode::NO_CONTENT)
}
