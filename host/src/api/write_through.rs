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
use super::records::find_owners;
use crate::catalog;
use crate::channels::EndpointChannel;
use crate::channels::api_channel::ApiOperation;
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

/// An operation to run on records in the CRM.
#[derive(Debug, Clone, Copy)]
pub struct RecordWrite<'a> {
    /// Name of the resource in the path, such as `leads`.
    pub collection: &'a str,
    /// Id of the record.
    pub id: Option<&'a str>,
    /// `create`, `update`, `delete`, or an action such as `convert`.
    pub verb: &'a str,
    /// The part of the record that the operation is about.
    pub part: Option<RecordPart<'a>>,
}

/// A list that belongs to a record, such as the replies of a ticket, or an action.
#[derive(Debug, Clone, Copy)]
pub struct RecordPart<'a> {
    /// Its name in the path, such as `replies`.
    pub name: &'a str,
    /// Id of the entry in the list.
    pub id: Option<&'a str>,
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
    let write = RecordWrite { collection: &collection, id: None, verb: "create", part: None };
    write.send_body(&app, &principal, &query, &headers, &body).await
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
    let id = Some(id.as_str());
    let write = RecordWrite { collection: &collection, id, verb: "update", part: None };
    write.send_body(&app, &principal, &query, &headers, &body).await
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
    let id = Some(id.as_str());
    let write = RecordWrite { collection: &collection, id, verb: "delete", part: None };
    write.send_body(&app, &principal, &query, &headers, b"").await
}

/// Runs another operation on a record in the CRM, such as `lead_convert` for `/leads/17/convert`.
#[utoipa::path(post, path = "/api/v1/{resource}/{id}/{part}", tag = "records", operation_id = "run_record_action",
    params(("resource" = String, Path), ("id" = String, Path), ("part" = String, Path, description = "The action."), WriteQuery), request_body = Object,
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn run_record_action(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id, action)): Path<(String, String, String)>,
    QueryInput(query): QueryInput<WriteQuery>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Result<Response, ApiProblem> {
    let (id, verb) = (Some(id.as_str()), action.replace('-', "_"));
    let part = Some(RecordPart { name: &action, id: None });
    let write = RecordWrite { collection: &collection, id, verb: &verb, part };
    write.send_body(&app, &principal, &query, &headers, &body).await
}

impl RecordWrite<'_> {
    /// Runs the operation with the body of a request as its data.
    pub async fn send_body(
        self,
        app: &AppState,
        principal: &CallPrincipal,
        query: &WriteQuery,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, ApiProblem> {
        let (data, key) = (read_data(body)?, read_key(headers)?);
        self.write_through(app, principal, query.source.as_deref(), key, data).await
    }

    /// Runs the operation of the endpoint that writes for the source, and returns the CRM's answer.
    async fn write_through(
        self,
        app: &AppState,
        principal: &CallPrincipal,
        source: Option<&str>,
        key: Option<&str>,
        data: Option<Box<RawValue>>,
    ) -> Result<Response, ApiProblem> {
        self.run_operation(app, principal, source, (key, data, false)).await
    }

    /// Does the same with an operation that reads. Refuses any other one, because a GET must change
    /// nothing.
    pub async fn read_through(
        self,
        app: &AppState,
        principal: &CallPrincipal,
        source: Option<&str>,
        data: Box<RawValue>,
    ) -> Result<Response, ApiProblem> {
        self.run_operation(app, principal, source, (None, Some(data), true)).await
    }

    async fn run_operation(
        self,
        app: &AppState,
        principal: &CallPrincipal,
        source: Option<&str>,
        (key, data, must_read): (Option<&str>, Option<Box<RawValue>>, bool),
    ) -> Result<Response, ApiProblem> {
        let missing = || ApiProblem::missing("resource", self.collection);
        let resource = catalog::resource_at(self.collection).ok_or_else(missing)?;
        let name = format!("{resource}_{}", self.verb);
        self.check_tables(principal, resource, &name)?;
        let source = principal.source(source)?;
        let target = find_writer(&app.live.current_settings(), source)?;
        if source.is_none() {
            self.check_owner(app, resource, &target).await?;
        }
        let id = self.id.map(str::to_owned);
        let mut call = OperationCall::new(&target, &name, data, id, key)?;
        if must_read && !call.operation().reads() {
            let detail = format!(
                "the operation `{name}` changes something: set its method to GET, or use POST"
            );
            return Err(ApiProblem::conflict(detail));
        }
        if let Some(part) = self.part.and_then(|part| part.id) {
            call.set_part(part)?;
        }
        pass_on(call.run_call(app).await?, &target.endpoint.settings.name)
    }

    /// Fails if the record is known, and only of sources for which the endpoint does not write: the
    /// same id means another record in its CRM.
    async fn check_owner(
        self,
        app: &AppState,
        resource: &str,
        target: &EndpointRuntime,
    ) -> Result<(), ApiProblem> {
        let (Some(id), Some(own)) = (self.id, writes_for(target)) else { return Ok(()) };
        let sources = find_owners(app, resource, id).await?;
        if sources.is_empty() || sources.iter().any(|source| source == own) {
            return Ok(());
        }
        Err(ApiProblem::conflict(format!(
            "{resource} {id} is a record of {}, and the only endpoint that writes does so for {own}: name \
             the source with `source` to mean another record",
            sources.join(", ")
        )))
    }

    /// Fails if the operation reaches a table that the token may not touch:
    /// `/leads/17/status-create` names an operation of `lead_status`, and the list of
    /// `/staff/3/tasks` holds tasks.
    fn check_tables(
        self,
        principal: &CallPrincipal,
        resource: &str,
        name: &str,
    ) -> Result<(), ApiProblem> {
        let part = self.part.and_then(|part| catalog::resource_at(part.name));
        let operation = catalog::resource_of_operation(name);
        [Some(resource), operation, part]
            .into_iter()
            .flatten()
            .try_for_each(|table| principal.check_table(Some(table)))
    }
}

/// Returns whether an endpoint that writes for a source has an operation that reads.
pub fn reads_with(settings: &SettingsSnapshot, source: Option<&str>, name: &str) -> bool {
    find_writer(settings, source).is_ok_and(|target| {
        let operations = target.operations();
        operations.is_ok_and(|known| known.find_named(name).is_ok_and(ApiOperation::reads))
    })
}

/// Returns the source for which an endpoint writes.
fn writes_for(target: &EndpointRuntime) -> Option<&str> {
    match &target.channel {
        EndpointChannel::Api(operations) => operations.writes_for.as_deref(),
        EndpointChannel::Webhook
        | EndpointChannel::Pulled
        | EndpointChannel::Other(_)
        | EndpointChannel::Waiting { .. }
        | EndpointChannel::Unusable(_) => None,
    }
}

/// Returns the endpoint that writes for a source. Without a source, the only endpoint that writes
/// for any.
fn find_writer(
    settings: &SettingsSnapshot,
    source: Option<&str>,
) -> Result<Arc<EndpointRuntime>, ApiProblem> {
    let writers = settings.endpoints().filter_map(|target| Some((writes_for(target)?, target)));
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
