//! Writes to `/{resource}` run operations of the endpoint that writes for a source.
//!
//! Paths, bodies and answers are those of PerfexAPI, as its clients use them. The status and the
//! body of the CRM's answer are passed on.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::AppState;
use super::auth::CallPrincipal;
use super::body::{BoundedBody, QueryInput};
use super::operations::{OperationCall, read_key};
use super::problem::ApiProblem;
use crate::catalog;
use crate::channels::EndpointChannel;
use crate::delivery::attempt::MadeAttempt;
use crate::net::http_client::MAX_REPLY_BODY;
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::IntoParams;

/// Selects the source to write to.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// Name of the source. Needed if endpoints write for several sources.
    source: Option<String>,
}

/// The change to make in the CRM.
struct RecordWrite<'a> {
    /// Name of the resource in the path, such as `leads`.
    collection: &'a str,
    id: Option<String>,
    /// `create`, `update`, `delete`, or an action such as `convert`.
    verb: &'a str,
}

/// Creates a record in the CRM with an operation such as `lead_create` for `/leads`.
#[utoipa::path(post, path = "/api/v1/{resource}", tag = "records", operation_id = "create_record",
    params(("resource" = String, Path), WriteQuery), request_body = Object,
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn create_record(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(collection): Path<String>,
    QueryInput(query): QueryInput<WriteQuery>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Result<Response, ApiProblem> {
    let write = RecordWrite { collection: &collection, id: None, verb: "create" };
    write.write_through(&app, &principal, &query, &headers, &body).await
}

/// Changes a record in the CRM with an operation such as `lead_update` for `/leads/17`.
#[utoipa::path(put, path = "/api/v1/{resource}/{id}", tag = "records", operation_id = "replace_record",
    params(("resource" = String, Path), ("id" = String, Path), WriteQuery), request_body = Object,
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn replace_record(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id)): Path<(String, String)>,
    QueryInput(query): QueryInput<WriteQuery>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Result<Response, ApiProblem> {
    let write = RecordWrite { collection: &collection, id: Some(id), verb: "update" };
    write.write_through(&app, &principal, &query, &headers, &body).await
}

/// Changes a record in the CRM with the same operation as `PUT`. The CRM decides whether absent
/// fields keep their values.
#[utoipa::path(patch, path = "/api/v1/{resource}/{id}", tag = "records", operation_id = "update_record",
    params(("resource" = String, Path), ("id" = String, Path), WriteQuery), request_body = Object,
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn update_record(
    app: State<AppState>,
    principal: CallPrincipal,
    place: Path<(String, String)>,
    query: QueryInput<WriteQuery>,
    headers: HeaderMap,
    body: BoundedBody,
) -> Result<Response, ApiProblem> {
    replace_record(app, principal, place, query, headers, body).await
}

/// Deletes a record in the CRM with an operation such as `lead_delete` for `/leads/17`.
#[utoipa::path(delete, path = "/api/v1/{resource}/{id}", tag = "records", operation_id = "delete_record",
    params(("resource" = String, Path), ("id" = String, Path), WriteQuery),
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn delete_record(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id)): Path<(String, String)>,
    QueryInput(query): QueryInput<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let write = RecordWrite { collection: &collection, id: Some(id), verb: "delete" };
    write.write_through(&app, &principal, &query, &headers, b"").await
}

/// Runs another operation on a record in the CRM, such as `lead_convert` for `/leads/17/convert`.
#[utoipa::path(post, path = "/api/v1/{resource}/{id}/{action}", tag = "records", operation_id = "run_record_action",
    params(("resource" = String, Path), ("id" = String, Path), ("action" = String, Path), WriteQuery), request_body = Object,
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn run_record_action(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id, action)): Path<(String, String, String)>,
    QueryInput(query): QueryInput<WriteQuery>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Result<Response, ApiProblem> {
    let verb = action.replace('-', "_");
    let write = RecordWrite { collection: &collection, id: Some(id), verb: &verb };
    write.write_through(&app, &principal, &query, &headers, &body).await
}

impl RecordWrite<'_> {
    async fn write_through(
        self,
        app: &AppState,
        principal: &CallPrincipal,
        query: &WriteQuery,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, ApiProblem> {
        let missing = || ApiProblem::missing("resource", self.collection);
        let resource = catalog::resource_at(self.collection).ok_or_else(missing)?;
        principal.check_table(Some(resource))?;
        let source = principal.source(query.source.as_deref())?;
        let target = find_writer(&app.live.current_settings(), source)?;
        let name = format!("{resource}_{}", self.verb);
        // `/leads/17/status-create` names an operation of `lead_status`, which the token may not
        // touch.
        principal.check_table(catalog::resource_of_operation(&name).or(Some(resource)))?;
        let key = read_key(headers)?;
        let call = OperationCall::new(&target, &name, read_data(body)?, self.id, key)?;
        let made = call.run_call(app).await?;
        pass_on(made, &target.endpoint.settings.name)
    }
}

/// Returns the endpoint that writes for a source. Without a source, the only endpoint that writes
/// for any.
fn find_writer(
    settings: &SettingsSnapshot,
    source: Option<&str>,
) -> Result<Arc<EndpointRuntime>, ApiProblem> {
    let writers = settings.endpoints().filter_map(|target| match &target.channel {
        EndpointChannel::Api(operations) => {
            operations.writes_for.as_deref().map(|source| (source, target))
        }
        EndpointChannel::Webhook
        | EndpointChannel::Pulled
        | EndpointChannel::Other(_)
        | EndpointChannel::Waiting { .. }
        | EndpointChannel::Unusable(_) => None,
    });
    let mut found: Vec<_> = match source {
        Some(wanted) => writers.filter(|(source, _)| *source == wanted).collect(),
        None => writers.collect(),
    };
    match found.as_slice() {
        [_] => {}
        [] => {
            let detail = "no endpoint writes for it: set `settings.writes_for` of one of kind `api` to the \
                          name of the source";
            return Err(ApiProblem::conflict(detail));
        }
        many => {
            let names: Vec<String> = many
                .iter()
                .map(|(source, target)| {
                    format!("{source} (endpoint `{}`)", target.endpoint.settings.name)
                })
                .collect();
            let message =
                format!("several endpoints write: {}; select one with `source`", names.join(", "));
            return Err(ApiProblem::fault("source", message));
        }
    }
    found.pop().map(|(_, target)| Arc::clone(target)).ok_or_else(ApiProblem::internal)
}

fn read_data(body: &[u8]) -> Result<Option<Box<RawValue>>, ApiProblem> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(ApiProblem::malformed)
}

/// Returns the CRM's answer. A refusal of the endpoint's credentials becomes 502, so that the
/// caller does not take it for a refusal of its own.
fn pass_on(made: MadeAttempt, endpoint: &str) -> Result<Response, ApiProblem> {
    let attempt = made.attempt;
    let status = attempt.response_status.and_then(|code| StatusCode::from_u16(code).ok());
    let why = attempt.error.as_deref().unwrap_or("no answer");
    let status = match status {
        None => return Err(ApiProblem::unavailable_endpoint(endpoint, why)),
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            let why = format!("it refuses the endpoint's credentials ({why})");
            return Err(ApiProblem::unavailable_endpoint(endpoint, &why));
        }
        Some(status) if status.is_redirection() || status.is_informational() => {
            return Err(ApiProblem::unavailable_endpoint(endpoint, why));
        }
        Some(status) => status,
    };
    let body = attempt.response_body.unwrap_or_default();
    let is_json = serde_json::from_slice::<&RawValue>(&body).is_ok();
    if body.len() >= MAX_REPLY_BODY && !is_json {
        let why = format!("it answered {status} with more than 16 KiB, which are not passed on");
        return Err(ApiProblem::unavailable_endpoint(endpoint, &why));
    }
    let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
    let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
    if let Some(wait) = find_wait(attempt.response_headers.as_deref()) {
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    Ok(response)
}

/// Returns the `Retry-After` of recorded headers.
fn find_wait(headers: Option<&str>) -> Option<HeaderValue> {
    let headers: Value = serde_json::from_str(headers?).ok()?;
    HeaderValue::from_str(headers.get(header::RETRY_AFTER.as_str())?.as_str()?).ok()
}
