//! `/{resource}/{id}/{part}`: what belongs to a record, such as the invoices of a customer or the
//! replies of a ticket.
//!
//! A part that consists of records is served from the latest states, as `/{resource}` is. Any other
//! part is read and written in the CRM by operations of the endpoint that writes for the source:
//! `ticket_replies_list`, `ticket_replies_get`, `ticket_replies_update`, `ticket_replies_delete`.

use super::super::AppState;
use super::super::auth::CallPrincipal;
use super::super::body::{BoundedBody, QueryInput};
use super::super::problem::ApiProblem;
use super::super::write_through::{RecordPart, RecordWrite, WriteQuery, reads_with};
use super::condition::{FieldCondition, FieldTest};
use super::query::RecordQuery;
use super::{RecordList, find_record, named_resource, read_page};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, Uri};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The route whose scope a call needs that reads in the CRM.
const CRM_ROUTE: &str = "/api/v1/{resource}/{id}/{part}/{part_id}";

/// Records that point to another record.
struct RecordChildren {
    /// The record that they point to, and the name of their list in its path.
    parent: (&'static str, &'static str),
    resource: &'static str,
    /// The field with the id of the record.
    field: &'static str,
    /// Whether they can point to records of several resources, and name it in `rel_type`.
    has_kind: bool,
}

const fn children(
    parent: (&'static str, &'static str),
    resource: &'static str,
    field: &'static str,
) -> RecordChildren {
    RecordChildren { parent, resource, field, has_kind: false }
}

const fn related(parent: (&'static str, &'static str), resource: &'static str) -> RecordChildren {
    RecordChildren { parent, resource, field: "rel_id", has_kind: true }
}

const CHILDREN: [RecordChildren; 9] = [
    children(("customer", "contacts"), "contact", "userid"),
    children(("customer", "contracts"), "contract", "client"),
    children(("customer", "invoices"), "invoice", "clientid"),
    children(("customer", "projects"), "project", "clientid"),
    children(("customer", "tickets"), "ticket", "userid"),
    children(("invoice", "payments"), "payment", "invoiceid"),
    children(("task", "timesheets"), "timesheet", "task_id"),
    related(("lead", "notes"), "note"),
    related(("project", "tasks"), "task"),
];

/// Lists what belongs to a record.
///
/// The contacts, contracts, invoices, projects and tickets of a customer, the payments of an
/// invoice, the timesheets of a task, the notes of a lead and the tasks of a project are records,
/// with the parameters of a list of records. Any other list is read in the CRM with an operation
/// such as `ticket_replies_list` for `/tickets/5/replies`, which needs the scope `operations:run`.
/// Its answer is passed on. The operation gets the parameters of the query as its data.
#[utoipa::path(get, path = "/api/v1/{resource}/{id}/{part}", tag = "records", operation_id = "list_record_parts",
    params(("resource" = String, Path), ("id" = String, Path), ("part" = String, Path, description = "Name of the list, such as `invoices`."),
        ("source" = Option<String>, Query, description = "Name of the source, if several sources have a record with this id.")),
    responses((status = 200, body = RecordList), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn list_parts(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, ApiProblem> {
    let resource = named_resource(&collection)?;
    if let Some(children) = CHILDREN.iter().find(|known| known.parent == (resource, &name)) {
        return children.list(&app, &principal, &id, &uri).await;
    }
    let verb = format!("{}_list", name.replace('-', "_"));
    let part = Some(RecordPart { name: &name, id: None });
    let read = RecordWrite { collection: &collection, id: Some(&id), verb: &verb, part };
    read_in_crm(&app, &principal, &uri, read).await
}

impl RecordChildren {
    /// Lists the records that point to a record.
    async fn list(
        &self,
        app: &AppState,
        principal: &CallPrincipal,
        id: &str,
        uri: &Uri,
    ) -> Result<Response, ApiProblem> {
        let parent = self.parent.0;
        principal.check_table(Some(parent))?;
        principal.check_table(Some(self.resource))?;
        let place = app.reading.place(principal.token().id).await?;
        let mut query = RecordQuery::read(self.resource, uri.query().unwrap_or_default())?;
        let source = principal.source(query.source.as_deref())?.map(str::to_owned);
        let found = find_record(app, parent, id, source).await?;
        let found = found.ok_or_else(|| ApiProblem::missing(parent, id))?;
        query.source = Some(found.source);
        let kind = self.has_kind.then_some(("rel_type", parent));
        query.conditions.extend([(self.field, id)].into_iter().chain(kind).map(
            |(field, value)| FieldCondition {
                field: field.to_owned(),
                test: FieldTest::Is,
                value: value.to_owned(),
            },
        ));
        let page = read_page(app, uri, self.resource, query).await?;
        Ok(place.leave(Json(page).into_response()))
    }
}

/// Returns one part of a record from the CRM with an operation such as `ticket_replies_get` for
/// `/tickets/5/replies/3`. The operation gets the parameters of the query as its data.
#[utoipa::path(get, path = "/api/v1/{resource}/{id}/{part}/{part_id}", tag = "records", operation_id = "show_record_part",
    params(("resource" = String, Path), ("id" = String, Path), ("part" = String, Path), ("part_id" = String, Path), WriteQuery),
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn show_part(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id, name, part)): Path<(String, String, String, String)>,
    uri: Uri,
) -> Result<Response, ApiProblem> {
    let verb = format!("{}_get", name.replace('-', "_"));
    let part = Some(RecordPart { name: &name, id: Some(&part) });
    let read = RecordWrite { collection: &collection, id: Some(&id), verb: &verb, part };
    read_in_crm(&app, &principal, &uri, read).await
}

/// Changes one part of a record in the CRM with an operation such as `ticket_replies_update`.
#[utoipa::path(put, path = "/api/v1/{resource}/{id}/{part}/{part_id}", tag = "records", operation_id = "replace_record_part",
    params(("resource" = String, Path), ("id" = String, Path), ("part" = String, Path), ("part_id" = String, Path), WriteQuery), request_body = Object,
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn replace_part(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id, name, part)): Path<(String, String, String, String)>,
    QueryInput(query): QueryInput<WriteQuery>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Result<Response, ApiProblem> {
    let verb = format!("{}_update", name.replace('-', "_"));
    let part = Some(RecordPart { name: &name, id: Some(&part) });
    let write = RecordWrite { collection: &collection, id: Some(&id), verb: &verb, part };
    write.send_body(&app, &principal, &query, &headers, &body).await
}

/// Deletes one part of a record in the CRM with an operation such as `ticket_replies_delete`.
#[utoipa::path(delete, path = "/api/v1/{resource}/{id}/{part}/{part_id}", tag = "records", operation_id = "delete_record_part",
    params(("resource" = String, Path), ("id" = String, Path), ("part" = String, Path), ("part_id" = String, Path), WriteQuery),
    responses((status = 200, body = Object, description = "The CRM's answer, with its status."), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 502, body = ApiProblem)))]
pub async fn delete_part(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((collection, id, name, part)): Path<(String, String, String, String)>,
    QueryInput(query): QueryInput<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let verb = format!("{}_delete", name.replace('-', "_"));
    let part = Some(RecordPart { name: &name, id: Some(&part) });
    let write = RecordWrite { collection: &collection, id: Some(&id), verb: &verb, part };
    write.send_body(&app, &principal, &query, &headers, b"").await
}

/// Reads a list that the CRM has beside its records with an operation such as
/// `contract_list_expired` for `/contracts/expired`. Returns `None` without such an operation.
pub async fn read_named_list(
    app: &AppState,
    principal: &CallPrincipal,
    uri: &Uri,
    collection: &str,
    name: &str,
) -> Result<Option<Response>, ApiProblem> {
    let resource = named_resource(collection)?;
    let verb = format!("list_{}", name.replace('-', "_"));
    let (data, source) = read_parameters(uri)?;
    let source = principal.source(source.as_deref())?;
    let operation = format!("{resource}_{verb}");
    if !reads_with(&app.live.current_settings(), source, &operation) {
        return Ok(None);
    }
    principal.check_call(&Method::GET, CRM_ROUTE)?;
    let part = Some(RecordPart { name, id: None });
    let read = RecordWrite { collection, id: None, verb: &verb, part };
    read.read_through(app, principal, source, data).await.map(Some)
}

/// Runs an operation that reads. Its data are the parameters of the query.
async fn read_in_crm(
    app: &AppState,
    principal: &CallPrincipal,
    uri: &Uri,
    read: RecordWrite<'_>,
) -> Result<Response, ApiProblem> {
    principal.check_call(&Method::GET, CRM_ROUTE)?;
    let (data, source) = read_parameters(uri)?;
    read.read_through(app, principal, source.as_deref(), data).await
}

/// Returns the parameters of a query as an object, and the one that selects a source.
fn read_parameters(uri: &Uri) -> Result<(Box<RawValue>, Option<String>), ApiProblem> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(uri.query().unwrap_or_default())
        .map_err(|error| ApiProblem::fault("query", error.to_string()))?;
    let mut data: Map<String, Value> =
        pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let source = data.remove("source").and_then(|value| value.as_str().map(str::to_owned));
    let data = serde_json::value::to_raw_value(&data);
    Ok((data.map_err(|error| ApiProblem::unexpected(&error))?, source))
}
