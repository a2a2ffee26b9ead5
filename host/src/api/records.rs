//! `/{resource}`: the latest state of records, in the form in which automation platforms poll a
//! CRM.
//!
//! Paths, parameters and answers are those that PerfexAPI and Data Builder document and that the
//! clients of both use, among them the published n8n-nodes-perfexcrm. `since` compares with the
//! time of a record's last event here, in one clock: a client that continues from its last answer
//! misses nothing, whatever the CRM's own columns and time zone are. Lists go back a little
//! further, so a client may see a record twice.

pub mod condition;
pub mod erase;
pub mod field_search;
pub mod lookups;
pub mod parts;
pub mod query;
pub mod shown;

use super::AppState;
use super::auth::CallPrincipal;
use super::problem::ApiProblem;
use crate::catalog;
use crate::model::record::{Record, RecordOrder, RecordPosition};
use crate::store::{PageStart, RecordFilter};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::Uri;
use parts::read_named_list;
use query::{RecordQuery, SortOrder};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use shown::{ShownRecord, written};
use std::time::Duration;
use utoipa::ToSchema;

/// Number of records in one read if their contents must be examined.
const CHUNK: u32 = 500;
/// Largest number of records that one request examines.
const LOOKED_INTO: u32 = 20_000;
/// Time by which a list goes back before `since`: an event that was captured just before a client
/// took the time may not have been committed when it asked. Clients recognise repeats by the id.
const OVERLAP: Duration = Duration::from_secs(10);
/// Time within which a client can read all pages by their numbers without missing a record because
/// others are deleted meanwhile.
const READ: Duration = Duration::from_mins(15);
/// Largest number of sources that are named for one id.
const SOURCES_NAMED: u32 = 10;
/// Bound for counting records.
const COUNTED: u32 = 1_000;

/// A page of records.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordList {
    /// The records, each with at least an `id`.
    #[schema(value_type = Vec<Object>)]
    data: Vec<Box<RawValue>>,
    /// Information about the page.
    meta: RecordMeta,
    /// Links to other pages.
    links: RecordLinks,
}

/// Information about a page of records, in the words of several dialects.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordMeta {
    /// Number of records on the page.
    count: usize,
    /// Number of the page, from 1.
    page: u32,
    /// The same as `page`.
    current_page: u32,
    /// Largest number of records on a page.
    per_page: u32,
    /// Number of records, counted up to 1,000.
    total: u64,
    /// Whether there are more than `total`.
    total_is_minimum: bool,
    /// Number of pages.
    last_page: u64,
    /// Whether there is another page.
    has_more: bool,
    /// The `cursor` of the next page. Absent on the last page, and in an order by fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Links to other pages of records.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordLinks {
    /// This page.
    #[serde(rename = "self")]
    this: String,
    /// The first page.
    first: String,
    /// The previous page, if there is one.
    prev: Option<String>,
    /// The next page, if there is one.
    next: Option<String>,
}

/// One record.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordAnswer {
    /// The record.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

/// Returns the catalogue's name of a path.
pub fn named_resource(path: &str) -> Result<&'static str, ApiProblem> {
    catalog::resource_at(path).ok_or_else(|| ApiProblem::missing("resource", path))
}

/// Lists records of a resource, the most recently created first.
///
/// An update does not move a record in that order, so a client that reads page after page sees
/// every record. `meta.next_cursor` continues after the last record of a page, whatever was added
/// or deleted meanwhile. Further parameters are conditions: `status=2`, `filter=status:2`,
/// `filter[total.gte]=1000`, `date_from`, `date_to`. A condition without a value, such as `status=`,
/// is ignored.
///
/// In addition to its own fields each record has `waybill_key`, which is unique over all sources,
/// `waybill_revision`, which changes with each update, `waybill_source`, and `waybill_created_at`
/// and `waybill_updated_at`, the times of its first and last event.
#[utoipa::path(get, path = "/api/v1/{resource}", tag = "records", operation_id = "list_records",
    params(("resource" = String, Path, description = "`invoices`, `customers`, `credit-notes`, …"),
        ("since" = Option<String>, Query, description = "Records with an event at this time or later: ISO 8601 or Unix seconds."),
        ("page" = Option<u32>, Query, description = "Number of the page, from 1."), ("per_page" = Option<u32>, Query, description = "Number of records on a page, at most 100. Default: 25."),
        ("limit" = Option<u32>, Query, description = "The same as `per_page`."),
        ("cursor" = Option<String>, Query, description = "The `meta.next_cursor` of the previous page, with the same `sort`."),
        ("sort" = Option<String>, Query, description = "Fields separated by commas, with `-` before descending ones. `-updated_at`: latest event first."),
        ("fields" = Option<String>, Query, description = "Fields to return, separated by commas. `id` and `waybill_key` are always returned."),
        ("filter" = Option<String>, Query, description = "Conditions such as `status:2`, separated by commas."),
        ("search" = Option<String>, Query, description = "Records that hold this text in one of their fields, in upper or lower case."),
        ("source" = Option<String>, Query, description = "Records of this source.")),
    responses((status = 200, body = RecordList), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn list_records(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(path): Path<String>,
    uri: Uri,
) -> Result<Json<RecordList>, ApiProblem> {
    let resource = named_resource(&path)?;
    principal.check_table(Some(resource))?;
    let mut query = RecordQuery::read(resource, uri.query().unwrap_or_default())?;
    query.source = principal.source(query.source.as_deref())?.map(str::to_owned);
    read_page(&app, &uri, resource, query).await.map(Json)
}

/// Reads the page of records that a query selects.
pub async fn read_page(
    app: &AppState,
    uri: &Uri,
    resource: &str,
    query: RecordQuery,
) -> Result<RecordList, ApiProblem> {
    if let Some(mut rows) = lookups::look_up_rows(app, resource, query.source.as_deref()).await? {
        if query.sort.native() == Some(RecordOrder::IdDescending) {
            rows.reverse();
        }
        if let Some(search) = &query.search {
            rows.retain(|row| search.finds_in_fields(&row.fields));
        }
        let place = PagePlace { offset: query.offset(), again: 0 };
        return Ok(answer(uri, &query, page_of(rows, &query, place)));
    }
    let mut filter = RecordFilter {
        resource: resource.to_owned(),
        source: query.source.clone(),
        since: query.since.map(|since| since.before(OVERLAP)),
        is_narrow: false,
    };
    let total = app.journal.count_records(&filter, COUNTED + 1).await?;
    filter.is_narrow = query.since.is_some() && total <= u64::from(COUNTED);
    let place = place(app, &filter, &query).await?;
    let page = match &query.sort {
        SortOrder::Native(order) if query.is_unconditional() => {
            let limit = query.per_page + 1;
            let start =
                query.after.as_ref().map_or(PageStart::Offset(place.offset), PageStart::After);
            let found = app.journal.list_records(&filter, *order, start, limit).await?;
            let mut rows = found.rows;
            let per_page = query.per_page as usize;
            if found.is_cut && rows.len() < per_page && query.after.is_none() {
                // Counted pages cannot be shorter, because an omitted record would not be on any
                // page.
                return Err(too_large());
            }
            let has_more = found.is_cut || rows.len() > per_page;
            rows.truncate(query.per_page as usize);
            RecordsPage {
                next: rows.last().filter(|_| has_more).map(|last| last.position(*order)),
                data: rows.iter().map(|row| written(row, &query.fields)).collect(),
                has_more,
                total,
                again: place.again,
            }
        }
        SortOrder::Native(_) | SortOrder::Fields(_) => {
            looked_into(app, &filter, &query, place).await?
        }
    };
    Ok(answer(uri, &query, page))
}

/// The beginning of a page with a number.
#[derive(Debug, Clone, Copy)]
struct PagePlace {
    /// Number of records before it.
    offset: u32,
    /// Number of these that are shown again.
    again: u32,
}

/// Each recently deleted record has moved the following ones one place up, out of the page that is
/// requested next. So as many are shown again, at most half a page, so that none is missed.
async fn place(
    app: &AppState,
    filter: &RecordFilter,
    query: &RecordQuery,
) -> Result<PagePlace, ApiProblem> {
    if query.after.is_some() {
        return Ok(PagePlace { offset: 0, again: 0 });
    }
    let since = app.journal.clock().now().before(READ);
    let again = app.journal.count_deleted_records(filter, since, query.per_page / 2).await?;
    Ok(PagePlace { offset: query.offset().saturating_sub(again), again })
}

/// Returns one record, by the id that its source gave it.
///
/// If several sources have a record with this id, `source` selects one. A name such as `expired` in
/// `/contracts/expired` is a list that is read in the CRM, if the endpoint that writes for the
/// source has the operation `contract_list_expired`.
#[utoipa::path(get, path = "/api/v1/{resource}/{id}", tag = "records", operation_id = "show_record",
    params(("resource" = String, Path), ("id" = String, Path),
        ("source" = Option<String>, Query, description = "Name of the source, if several sources have a record with this id.")),
    responses((status = 200, body = RecordAnswer), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn show_record(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path((path, id)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, ApiProblem> {
    let resource = named_resource(&path)?;
    principal.check_table(Some(resource))?;
    if let Some(listed) = read_named_list(&app, &principal, &uri, &path, &id).await? {
        return Ok(listed);
    }
    let place = app.reading.place(principal.token().id).await?;
    let mut query = RecordQuery::read(resource, uri.query().unwrap_or_default())?;
    query.source = principal.source(query.source.as_deref())?.map(str::to_owned);
    if let Some(rows) = lookups::look_up_rows(&app, resource, query.source.as_deref()).await? {
        let mut found: Vec<ShownRecord> =
            rows.into_iter().filter(|row| row.text("id") == id).collect();
        check_one_source(resource, &id, found.iter().map(|row| row.text("waybill_source")))?;
        let found = found.pop().ok_or_else(|| ApiProblem::missing(resource, &id))?;
        let data = found.written(&query.fields);
        return Ok(place.leave(Json(RecordAnswer { data }).into_response()));
    }
    let found = find_record(&app, resource, &id, query.source).await?;
    let found = found.ok_or_else(|| ApiProblem::missing(resource, &id))?;
    let data = written(&found, &query.fields);
    Ok(place.leave(Json(RecordAnswer { data }).into_response()))
}

/// Finds a record by the id that its source gave it. Fails if several sources have one.
pub async fn find_record(
    app: &AppState,
    resource: &str,
    id: &str,
    source: Option<String>,
) -> Result<Option<Record>, ApiProblem> {
    let filter = RecordFilter { resource: resource.to_owned(), source, ..RecordFilter::default() };
    let mut found = app.journal.find_records(&filter, id, SOURCES_NAMED).await?;
    check_one_source(resource, id, found.iter().map(|record| record.source.as_str()))?;
    Ok(found.pop())
}

/// Returns the sources that have given a record this id.
pub async fn find_owners(
    app: &AppState,
    resource: &str,
    id: &str,
) -> Result<Vec<String>, ApiProblem> {
    let filter = RecordFilter { resource: resource.to_owned(), ..RecordFilter::default() };
    let found = app.journal.find_records(&filter, id, SOURCES_NAMED).await?;
    Ok(found.into_iter().map(|record| record.source).collect())
}

/// Fails for an id that several sources have given.
fn check_one_source<'s>(
    resource: &str,
    id: &str,
    sources: impl Iterator<Item = &'s str>,
) -> Result<(), ApiProblem> {
    let sources: Vec<&str> = sources.collect();
    if sources.len() < 2 {
        return Ok(());
    }
    let names = sources.join("`, `");
    let message =
        format!("several sources have a {resource} `{id}`; select one with ?source=: `{names}`");
    Err(ApiProblem::fault("source", message))
}

/// A page of records for an answer.
struct RecordsPage {
    data: Vec<Box<RawValue>>,
    /// Number of records. With a cursor and conditions, the number from there on.
    total: u64,
    has_more: bool,
    /// Number of records that the previous page may have shown too.
    again: u32,
    /// Position after which the next page begins.
    next: Option<RecordPosition>,
}

/// Like [`page_of`], over all records that match the filter.
async fn looked_into(
    app: &AppState,
    filter: &RecordFilter,
    query: &RecordQuery,
    place: PagePlace,
) -> Result<RecordsPage, ApiProblem> {
    let order = query.sort.native().unwrap_or_default();
    let names = query.compared_fields();
    let mut found = Vec::new();
    let mut after = query.after.clone();
    let mut looked_into = 0;
    loop {
        let start = after.as_ref().map_or(PageStart::Offset(0), PageStart::After);
        let piece = app.journal.list_records(filter, order, start, CHUNK).await?;
        let rows = &piece.rows;
        let read = u32::try_from(rows.len()).unwrap_or(CHUNK);
        after = rows.last().map(|last| last.position(order));
        let searched = rows.iter().filter(|row| query.is_found_in(row.data.get()));
        let narrowed = searched.map(|row| ShownRecord::with_fields(row, order, &names));
        found.extend(narrowed.filter(|shown| shown.fits_conditions(&query.conditions)));
        looked_into += read;
        if read < CHUNK && !piece.is_cut {
            break;
        }
        if looked_into >= LOOKED_INTO {
            let message = format!(
                "more than {LOOKED_INTO} records would have to be examined; narrow the list with `since`"
            );
            return Err(ApiProblem::fault("since", message));
        }
    }
    let (chosen, page) = choose_page(found, query, place);
    Ok(RecordsPage { data: read_again(app, filter, query, chosen).await?, ..page })
}

/// Largest size of a page of records that are read one by one, in bytes.
const PAGE_BYTES: usize = 8 << 20;

fn too_large() -> ApiProblem {
    let message = "the records of this page have more than 8 MiB; request fewer";
    ApiProblem::fault("per_page", message)
}

/// Returns the whole records of a page, without those that were deleted meanwhile.
async fn read_again(
    app: &AppState,
    filter: &RecordFilter,
    query: &RecordQuery,
    chosen: Vec<ShownRecord>,
) -> Result<Vec<Box<RawValue>>, ApiProblem> {
    let (mut data, mut bytes) = (Vec::new(), 0);
    for position in chosen.into_iter().filter_map(|shown| shown.position) {
        let RecordPosition { source, resource_id, .. } = position;
        let filter =
            RecordFilter { source: Some(source), since: None, is_narrow: false, ..filter.clone() };
        let found = app.journal.find_records(&filter, &resource_id, 1).await?;
        let Some(record) = found.first() else { continue };
        bytes += record.data.get().len();
        if bytes > PAGE_BYTES && !data.is_empty() {
            return Err(too_large());
        }
        data.push(written(record, &query.fields));
    }
    Ok(data)
}

/// Returns the page of matching records, in the requested order.
fn page_of(found: Vec<ShownRecord>, query: &RecordQuery, place: PagePlace) -> RecordsPage {
    let (chosen, page) = choose_page(found, query, place);
    let data = chosen.into_iter().map(|shown| shown.written(&query.fields)).collect();
    RecordsPage { data, ..page }
}

/// Chooses the records of the page, and its information.
fn choose_page(
    mut found: Vec<ShownRecord>,
    query: &RecordQuery,
    place: PagePlace,
) -> (Vec<ShownRecord>, RecordsPage) {
    found.retain(|shown| shown.fits_conditions(&query.conditions));
    if let SortOrder::Fields(fields) = &query.sort {
        found.sort_by(|a, b| condition::compare_by(fields, &a.fields, &b.fields));
    }
    let total = found.len() as u64;
    let (offset, per_page) = (place.offset as usize, query.per_page as usize);
    let has_more = offset + per_page < found.len();
    let page: Vec<ShownRecord> = found.into_iter().skip(offset).take(per_page).collect();
    let is_native = query.sort.native().is_some();
    let next = page.last().filter(|_| has_more && is_native).and_then(|last| last.position.clone());
    (page, RecordsPage { data: Vec::new(), total, has_more, again: place.again, next })
}

fn answer(uri: &Uri, query: &RecordQuery, found: RecordsPage) -> RecordList {
    let (page, per_page) = (query.page, query.per_page);
    let total = found.total.min(u64::from(COUNTED));
    let link = |page: u32, cursor: Option<&str>| link(uri, page, cursor);
    let next_cursor = found.next.as_ref().map(query::write_cursor);
    // A page that is requested by a cursor has the number that the client gives it.
    let next_page = page.checked_add(1).filter(|_| found.has_more);
    let next = next_page.map(|page| link(page, next_cursor.as_deref()));
    RecordList {
        meta: RecordMeta {
            count: found.data.len(),
            page,
            current_page: page,
            per_page,
            total,
            total_is_minimum: found.total > u64::from(COUNTED),
            last_page: (total + u64::from(found.again)).div_ceil(u64::from(per_page)).max(1),
            has_more: found.has_more,
            next_cursor,
        },
        links: RecordLinks {
            this: link(page, query.after.as_ref().map(query::write_cursor).as_deref()),
            first: link(1, None),
            prev: (page > 1 && query.after.is_none()).then(|| link(page - 1, None)),
            next,
        },
        data: found.data,
    }
}

fn link(uri: &Uri, page: u32, cursor: Option<&str>) -> String {
    let kept = uri.query().unwrap_or_default().split('&');
    let is_place = |pair: &str| pair.starts_with("page=") || pair.starts_with("cursor=");
    let kept = kept.filter(|pair| !pair.is_empty() && !is_place(pair));
    let place = cursor.map(|cursor| format!("cursor={cursor}"));
    let query: Vec<String> =
        kept.map(str::to_owned).chain([format!("page={page}")]).chain(place).collect();
    format!("{}?{}", uri.path(), query.join("&"))
}

/// Returns the fields of a resource that the catalogue knows.
fn fields_of(resource: &str) -> Vec<String> {
    let created = catalog::get().find(&format!("{resource}.created"));
    let schema = created.map(catalog::EventType::schema).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|known| known.keys().cloned().collect()).unwrap_or_default()
}
