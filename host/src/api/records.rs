//! `/{resource}`: the latest state of what events are about, in the form in which automation platforms
//! poll a CRM.
//!
//! Paths, parameters and answers are those that PerfexAPI and Data Builder document and that the clients
//! of both use, the published n8n-nodes-perfexcrm among them. `since` compares with when a
//! record was last heard of here, in one clock: a client that asks again from its last answer misses
//! nothing, whatever the CRM's own columns and time zone say. Lists go back a little further than that,
//! so it may see a record twice.

mod condition;
mod lookups;
mod query;

use super::App;
use super::auth::Principal;
use super::problem::Problem;
use crate::catalog;
use crate::domain::members::Members;
use crate::domain::record::{Order, Record};
use crate::journal::records::RecordFilter;
use axum::Json;
use axum::extract::{Path, State};
use condition::Condition;
use http::Uri;
use query::{RecordQuery, Sort};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// Records that are read at once where they have to be looked into.
const CHUNK: u32 = 500;
/// Most records that one request looks into.
const LOOKED_INTO: u32 = 20_000;
/// How much further back than `since` a list goes: what was captured just before a client took the time
/// may have been on its way into the database when it asked. Clients tell repeats by the id.
const OVERLAP: Duration = Duration::from_secs(10);
/// How far records are counted.
const COUNTED: u32 = 1_000;

/// A page of records.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordList {
    /// The records, each with at least an `id`.
    #[schema(value_type = Vec<Object>)]
    data: Vec<Box<RawValue>>,
    /// About the page.
    meta: RecordMeta,
    /// Where to go from here.
    links: RecordLinks,
}

/// About a page of records, in the words of several dialects.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordMeta {
    /// How many are on it.
    count: usize,
    /// Which page it is, from 1.
    page: u32,
    /// The same.
    current_page: u32,
    /// How many a page holds.
    per_page: u32,
    /// How many there are, counted up to 1,000.
    total: u64,
    /// Whether there are more than that.
    total_is_minimum: bool,
    /// How many pages that makes.
    last_page: u64,
    /// Whether there is another page.
    has_more: bool,
}

/// Where to go from a page of records.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordLinks {
    /// This page.
    #[serde(rename = "self")]
    this: String,
    /// The first one.
    first: String,
    /// The one before, if there is one.
    prev: Option<String>,
    /// The next one, if there is one.
    next: Option<String>,
}

/// One record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordAnswer {
    /// It.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

/// The catalogue's name of a path.
fn resource(path: &str) -> Result<&'static str, Problem> {
    catalog::resource_at(path).ok_or_else(|| Problem::missing("resource", path))
}

/// Lists records of a resource, last heard of first.
///
/// Further parameters are conditions: `status=2`, `filter=status:2`, `filter[total.gte]=1000`,
/// `date_from`, `date_to`.
#[utoipa::path(get, path = "/api/v1/{resource}", tag = "records", operation_id = "list_records",
    params(("resource" = String, Path, description = "`invoices`, `customers`, `credit-notes`, …"),
        ("since" = Option<String>, Query, description = "Only those heard of then or later: ISO 8601 or Unix seconds."),
        ("page" = Option<u32>, Query, description = "From 1."), ("per_page" = Option<u32>, Query, description = "At most 100; 25 where left out."),
        ("limit" = Option<u32>, Query, description = "The same as `per_page`."),
        ("sort" = Option<String>, Query, description = "Fields with commas between, `-` before those that descend."),
        ("fields" = Option<String>, Query, description = "Only these fields, with commas between."),
        ("filter" = Option<String>, Query, description = "Conditions such as `status:2`, with commas between."),
        ("source" = Option<String>, Query, description = "Only from this source.")),
    responses((status = 200, body = RecordList), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    principal: Principal,
    Path(path): Path<String>,
    uri: Uri,
) -> Result<Json<RecordList>, Problem> {
    let resource = resource(&path)?;
    principal.check_table(Some(resource))?;
    let mut query = RecordQuery::read(resource, uri.query().unwrap_or_default())?;
    query.source = principal.source(query.source.as_deref())?.map(str::to_owned);
    if let Some(mut rows) = lookups::rows(&app, resource, query.source.as_deref()).await? {
        if query.sort.native() == Some(Order::IdDescending) {
            rows.reverse();
        }
        let (records, total) = page_of(rows, &query);
        let data = records.into_iter().map(|shown| shown.written(&query.fields)).collect();
        return Ok(Json(answer(&uri, &query, data, total)));
    }
    let filter = RecordFilter {
        resource: resource.to_owned(),
        source: query.source.clone(),
        since: query.since.map(|since| since.before(OVERLAP)),
    };
    let (data, total) = match &query.sort {
        Sort::Native(order) if query.conditions.is_empty() => {
            let limit = query.per_page;
            let rows = app.journal.records(&filter, *order, query.offset(), limit).await?;
            let total = app.journal.count_records(&filter, COUNTED + 1).await?;
            (rows.into_iter().map(|row| written(row, &query.fields)).collect(), total)
        }
        Sort::Native(_) | Sort::Fields(_) => {
            let (records, total) = looked_into(&app, &filter, &query).await?;
            (records.into_iter().map(|shown| shown.written(&query.fields)).collect(), total)
        }
    };
    Ok(Json(answer(&uri, &query, data, total)))
}

/// One record, by the id that its source gave it.
#[utoipa::path(get, path = "/api/v1/{resource}/{id}", tag = "records", operation_id = "show_record",
    params(("resource" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = RecordAnswer), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    principal: Principal,
    Path((path, id)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<RecordAnswer>, Problem> {
    let resource = resource(&path)?;
    principal.check_table(Some(resource))?;
    let mut query = RecordQuery::read(resource, uri.query().unwrap_or_default())?;
    query.source = principal.source(query.source.as_deref())?.map(str::to_owned);
    if let Some(rows) = lookups::rows(&app, resource, query.source.as_deref()).await? {
        let found =
            rows.into_iter().find(|shown| shown.0.get("id") == Some(&Value::from(id.as_str())));
        let found = found.ok_or_else(|| Problem::missing(resource, &id))?;
        return Ok(Json(RecordAnswer { data: found.written(&query.fields) }));
    }
    let filter = RecordFilter { resource: resource.to_owned(), source: query.source, since: None };
    let found = app.journal.record(&filter, &id).await?;
    let found = found.ok_or_else(|| Problem::missing(resource, &id))?;
    Ok(Json(RecordAnswer { data: written(found, &query.fields) }))
}

/// A record as it is shown, its state read.
struct Shown(Map<String, Value>);

impl From<Record> for Shown {
    fn from(record: Record) -> Self {
        let data: Map<String, Value> = serde_json::from_str(record.data.get()).unwrap_or_default();
        let mut shown = Map::with_capacity(data.len() + 1);
        // Clients tell rows apart by it, also where the CRM's column has another name.
        let id = data.get("id").cloned().filter(|id| id.is_string() || id.is_number());
        shown.insert("id".to_owned(), id.unwrap_or(Value::String(record.resource_id)));
        shown.extend(data.into_iter().filter(|(name, _)| name != "id"));
        Self(shown)
    }
}

impl Shown {
    fn written(mut self, fields: &[String]) -> Box<RawValue> {
        if !fields.is_empty() {
            self.0.retain(|name, _| name == "id" || fields.contains(name));
        }
        to_raw_value(&self.0).unwrap_or_default()
    }
}

/// A record as it is answered. One that names itself and of which every field is wanted is what was captured, and need not be
/// taken apart.
fn written(record: Record, fields: &[String]) -> Box<RawValue> {
    if fields.is_empty() && names_itself(record.data.get()) {
        return record.data;
    }
    Shown::from(record).written(fields)
}

/// Whether it has an `id` that is a text or a number.
fn names_itself(data: &str) -> bool {
    let id = Members::read(data).ok().and_then(|members| members.get("id"));
    id.is_some_and(|id| matches!(id.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9')))
}

/// As [`page_of`], of all records that the filter lets through.
async fn looked_into(
    app: &App,
    filter: &RecordFilter,
    query: &RecordQuery,
) -> Result<(Vec<Shown>, u64), Problem> {
    let order = query.sort.native().unwrap_or(Order::Newest);
    let mut found = Vec::new();
    let mut offset = 0;
    loop {
        let rows = app.journal.records(filter, order, offset, CHUNK).await?;
        let read = u32::try_from(rows.len()).unwrap_or(CHUNK);
        found.extend(rows.into_iter().map(Shown::from));
        found.retain(|shown| Condition::all(&query.conditions, &shown.0));
        offset += read;
        if read < CHUNK {
            break;
        }
        if offset >= LOOKED_INTO {
            let message = format!(
                "more than {LOOKED_INTO} records would have to be looked into; narrow it with `since`"
            );
            return Err(Problem::fault("since", message));
        }
    }
    Ok(page_of(found, query))
}

/// The page of those that fit the conditions, in the order asked for, and how many fit.
fn page_of(mut found: Vec<Shown>, query: &RecordQuery) -> (Vec<Shown>, u64) {
    found.retain(|shown| Condition::all(&query.conditions, &shown.0));
    if let Sort::Fields(fields) = &query.sort {
        found.sort_by(|a, b| condition::compare_by(fields, &a.0, &b.0));
    }
    let total = found.len() as u64;
    let page = found.into_iter().skip(query.offset() as usize).take(query.per_page as usize);
    (page.collect(), total)
}

fn answer(uri: &Uri, query: &RecordQuery, data: Vec<Box<RawValue>>, total: u64) -> RecordList {
    let (page, per_page) = (query.page, query.per_page);
    let minimum = total > u64::from(COUNTED);
    let has_more = u64::from(page) * u64::from(per_page) < total
        || (minimum && data.len() == per_page as usize);
    let link = |page: u32| link(uri, page);
    RecordList {
        meta: RecordMeta {
            count: data.len(),
            page,
            current_page: page,
            per_page,
            total: total.min(u64::from(COUNTED)),
            total_is_minimum: minimum,
            last_page: total.min(u64::from(COUNTED)).div_ceil(u64::from(per_page)).max(1),
            has_more,
        },
        links: RecordLinks {
            this: link(page),
            first: link(1),
            prev: (page > 1).then(|| link(page - 1)),
            next: has_more.then(|| link(page + 1)),
        },
        data,
    }
}

fn link(uri: &Uri, page: u32) -> String {
    let kept = uri.query().unwrap_or_default().split('&');
    let kept = kept.filter(|pair| !pair.is_empty() && !pair.starts_with("page="));
    let query: Vec<String> = kept.map(str::to_owned).chain([format!("page={page}")]).collect();
    format!("{}?{}", uri.path(), query.join("&"))
}

/// The fields of a resource that the catalogue knows.
fn fields_of(resource: &str) -> Vec<String> {
    let created = catalog::get().find(&format!("{resource}.created"));
    let schema = created.map(catalog::EventType::schema).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|known| known.keys().cloned().collect()).unwrap_or_default()
}
