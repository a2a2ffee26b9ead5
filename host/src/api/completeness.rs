//! `/completeness`: what of a day reached an endpoint, which gaps there are, and sending just
//! those.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

pub mod day_look;
pub mod gap_view;
pub mod statement_view;

use super::AppState;
use super::answer::{
    DataAnswer, ListAnswer, PageLinks, PageMeta, PageRequest, data_answer, next_link, whole_list,
};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput};
use super::deliveries::check_storable;
use super::endpoints::find_endpoint;
use super::problem::ApiProblem;
use crate::access::scope::Scope;
use crate::completeness::event_outcome::GapKind;
use crate::completeness::outcome_reader::OutcomeReader;
use crate::completeness::resend::{GapSender, SentGaps};
use crate::completeness::stretch::{EventGap, MOST_EVENTS, read_stretch};
use crate::completeness::tally::{CompletenessState, OutcomeTally};
use crate::completeness::unread_rows::{
    UnreadSourceRow, concerns, list_unread_rows, row_hindrance,
};
use crate::completeness::utc_day::UtcDay;
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::State;
use day_look::{DayLook, DayQuestion, StretchCursor};
use http::Uri;
use serde::{Deserialize, Serialize};
use statement_view::StatementView;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Most gaps that one call sends.
pub const MOST_SENT: usize = 5_000;
/// Number of days of the overview, if none is given, and the largest.
const DAYS: u16 = 14;
/// Most outcomes that an overview decides about, of all endpoints together. Each endpoint may take
/// each event.
const MOST_OUTCOMES: u32 = 200_000;
/// Fewest events that an overview looks at, however many endpoints there are.
const FEWEST_EVENTS: u32 = 2_000;

/// Selects a day of an endpoint.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CompletenessQuery {
    /// The endpoint, by id or name.
    pub endpoint: String,
    /// The day in UTC, such as `2026-11-30`. Default: today.
    #[param(value_type = Option<String>, format = Date)]
    pub day: Option<String>,
    /// Events about this kind of resource. Default: all.
    pub resource: Option<String>,
    /// The `meta.next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of gaps, 1 to 200. Default: 50.
    pub limit: Option<String>,
}

/// What of a day reached an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompletenessAnswer {
    /// The statement about the day.
    pub data: StatementView,
    /// Information about the page of gaps.
    pub meta: PageMeta,
    /// Links to other pages.
    pub links: PageLinks,
}

/// Returns how long the consequences of an event are known: deliveries and traces.
fn kept_for(app: &AppState) -> Duration {
    let keep = &app.config.retention;
    keep.deliveries.min(keep.plans).get()
}

fn read_day(app: &AppState, text: Option<&str>) -> Result<UtcDay, ApiProblem> {
    let Some(text) = text else { return Ok(UtcDay::of(app.journal.clock().now())) };
    UtcDay::parse(text).map_err(|invalid| ApiProblem::fault("day", invalid.to_string()))
}

/// Says which events of a day reached an endpoint, and names every gap. An answer looks at up to
/// 50,000 events of the day, which is nearly always all of it; the counts are of those. If there
/// are more, the cursor goes on after the last gap, with the counts of the next 50,000.
#[utoipa::path(get, path = "/api/v1/completeness", tag = "completeness", operation_id = "show_completeness", params(CompletenessQuery),
    responses((status = 200, body = CompletenessAnswer), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn show_completeness(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    uri: Uri,
    QueryInput(query): QueryInput<CompletenessQuery>,
) -> Result<Json<CompletenessAnswer>, ApiProblem> {
    let settings = app.live.current_settings();
    let pages = PageRequest { cursor: query.cursor.clone(), limit: query.limit.clone() };
    let limit = pages.limit()? as usize;
    check_storable([("resource", query.resource.as_deref())])?;
    let question = DayQuestion {
        target: find_endpoint(&settings, &query.endpoint)?,
        day: read_day(&app, query.day.as_deref())?,
        resource: query.resource,
        cursor: StretchCursor::parse("cursor", query.cursor.as_deref())?,
    };
    let look = DayLook::load(&app.journal, &settings, question, kept_for(&app)).await?;
    let page = look.page(limit);
    let data = StatementView::load(&app.journal, &settings, &look, &page).await?;
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    let next = next_cursor.as_ref().map(|cursor| next_link(&uri, cursor));
    let meta = PageMeta { count: data.gaps.len(), next_cursor };
    Ok(Json(CompletenessAnswer { data, meta, links: PageLinks { next } }))
}

/// Selects days for the overview.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DaysQuery {
    /// One endpoint, by id or name. Default: all.
    pub endpoint: Option<String>,
    /// Number of days up to today, 1 to 14. Default: 14.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 14)]
    pub days: Option<String>,
}

/// The last days of an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointDays {
    /// Id of the endpoint.
    pub endpoint_id: String,
    /// Name of the endpoint.
    pub endpoint: String,
    /// Whether the endpoint takes events now.
    pub enabled: bool,
    /// The days in UTC, today first.
    pub days: Vec<DayState>,
}

/// One day of an endpoint.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct DayState {
    /// The day in UTC.
    #[serde(serialize_with = "write_day")]
    #[schema(value_type = String, format = Date)]
    pub day: UtcDay,
    /// What the counts amount to. Null if no event of the day was looked at.
    pub state: Option<CompletenessState>,
    /// Whether all events of the day were looked at. One answer looks at 50,000 events, and at
    /// fewer if there are more than four endpoints, but at 2,000 at least; the newest days come
    /// first.
    pub whole: bool,
    /// Events that the endpoint takes, or to which it has a delivery.
    pub captured: u64,
    /// Events that should have reached the endpoint and did not, and unread rows.
    pub gaps: u64,
    /// Events that will be sent.
    pub waiting: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn write_day<S: serde::Serializer>(day: &UtcDay, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

/// Says for each endpoint and each of the last days whether there are gaps.
#[utoipa::path(get, path = "/api/v1/completeness/days", tag = "completeness", operation_id = "list_completeness_days", params(DaysQuery),
    responses((status = 200, body = ListAnswer<EndpointDays>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn list_completeness_days(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    QueryInput(query): QueryInput<DaysQuery>,
) -> Result<Json<ListAnswer<EndpointDays>>, ApiProblem> {
    let settings = app.live.current_settings();
    let days = match query.days.as_deref().map(str::parse) {
        None => DAYS,
        Some(Ok(days @ 1..=DAYS)) => days,
        Some(Ok(_) | Err(_)) => {
            return Err(ApiProblem::fault("days", format!("a number from 1 to {DAYS}")));
        }
    };
    let targets = match &query.endpoint {
        Some(text) => vec![find_endpoint(&settings, text)?],
        None => settings.endpoints().cloned().collect(),
    };
    Ok(whole_list(load_days(&app, &settings, targets, days).await?))
}

async fn load_days(
    app: &AppState,
    settings: &SettingsSnapshot,
    targets: Vec<Arc<EndpointRuntime>>,
    days: u16,
) -> Result<Vec<EndpointDays>, ApiProblem> {
    let today = UtcDay::of(app.journal.clock().now());
    let rows = list_unread_rows(&app.journal, today.earlier(days - 1), today).await?;
    let mut reader = OutcomeReader::new(&app.journal, settings, targets, kept_for(app));
    let mut lists: Vec<EndpointDays> = reader.targets.iter().map(|one| empty_list(one)).collect();
    let endpoints = u32::try_from(lists.len()).unwrap_or(u32::MAX).max(1);
    let mut left = (MOST_OUTCOMES / endpoints).clamp(FEWEST_EVENTS, MOST_EVENTS);
    for day in (0..days).map(|back| today.earlier(back)) {
        let found = read_stretch(&mut reader, day.span(), None, left).await?;
        let was_looked_at = left > 0;
        left -= found.examined;
        let is_whole = found.rest_after.is_none();
        let counted = lists.iter_mut().zip(found.tallies).zip(&reader.targets);
        for ((list, mut tally), target) in counted {
            let of_day = rows.iter().filter(|row| UtcDay::of(row.letter.created_at) == day);
            let unread = of_day.filter(|row| concerns(settings, target, &row.row)).count();
            tally.note_unread_rows(unread as u64);
            list.days.push(day_state(day, &tally, is_whole, was_looked_at || is_whole));
        }
    }
    Ok(lists)
}

fn empty_list(target: &EndpointRuntime) -> EndpointDays {
    EndpointDays {
        endpoint_id: target.endpoint.id.to_string(),
        endpoint: target.endpoint.settings.name.clone(),
        enabled: target.endpoint.settings.enabled,
        days: Vec::new(),
    }
}

fn day_state(day: UtcDay, tally: &OutcomeTally, whole: bool, was_looked_at: bool) -> DayState {
    let counts = &tally.counts;
    let is_known = was_looked_at || counts.all_gaps() > 0;
    DayState {
        day,
        state: is_known.then(|| counts.state()),
        whole,
        captured: counts.captured,
        gaps: counts.all_gaps(),
        waiting: counts.waiting,
    }
}

/// Selects the gaps to send.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// The endpoint, by id or name.
    pub endpoint: String,
    /// The day in UTC, such as `2026-11-30`.
    #[schema(value_type = String, format = Date)]
    pub day: String,
    /// Events about this kind of resource. Default: all.
    #[serde(default)]
    pub resource: Option<String>,
    /// The `stretch` of the statement. Default: the beginning of the day.
    #[serde(default)]
    pub stretch: Option<String>,
    /// The `sendable` of the statement. If another number can be sent by now, nothing is sent
    /// (409).
    pub count: u64,
}

/// Sends just the gaps that the statement names and that can be sent, the oldest first and at most
/// 5,000: deliveries that failed or were called off under their own `webhook-id`, events without a
/// delivery as new deliveries to this endpoint alone, events whose modules failed through their
/// modules, and unread rows by their source. Gaps without a delivery need `events:replay` too.
#[utoipa::path(post, path = "/api/v1/completeness/send", tag = "completeness", operation_id = "send_gaps",
    request_body = SendRequest, responses((status = 200, body = DataAnswer<SentGaps>), (status = 403, body = ApiProblem),
        (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn send_gaps(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(request): JsonInput<SendRequest>,
) -> Result<Json<DataAnswer<SentGaps>>, ApiProblem> {
    let settings = app.live.current_settings();
    check_storable([("resource", request.resource.as_deref())])?;
    let target = find_endpoint(&settings, &request.endpoint)?;
    let question = DayQuestion {
        target: Arc::clone(&target),
        day: read_day(&app, Some(&request.day))?,
        resource: request.resource,
        cursor: StretchCursor::parse("stretch", request.stretch.as_deref())?,
    };
    let place = app.reading.place(principal.token().id).await?;
    let look = DayLook::load(&app.journal, &settings, question, kept_for(&app)).await?;
    drop(place);
    let (gaps, rows) = (look.sendable_gaps(), look.sendable_rows(&settings));
    check_request(&principal, &target, &gaps, gaps.len() + rows.len(), request.count)?;
    let sender = GapSender { journal: &app.journal, settings: &settings, target: &target };
    Ok(data_answer(sender.send(&gaps, &rows).await?))
}

/// Fails if the gaps must not be sent.
fn check_request(
    principal: &CallPrincipal,
    target: &EndpointRuntime,
    gaps: &[&EventGap],
    found: usize,
    count: u64,
) -> Result<(), ApiProblem> {
    let name = &target.endpoint.settings.name;
    if !target.endpoint.settings.enabled {
        let detail = format!("endpoint `{name}` is disabled; enable it, then send its gaps");
        return Err(ApiProblem::conflict(detail));
    }
    let is_planned_anew = |one: &&EventGap| !one.gap.kind.has_delivery();
    let may_plan = principal.scopes().allows_scope(Scope::EventsReplay);
    if !may_plan && gaps.iter().any(is_planned_anew) {
        let detail = "gaps without a delivery need the scope `events:replay` too";
        return Err(ApiProblem::forbidden(detail));
    }
    if found as u64 != count {
        let detail = format!(
            "nothing was sent: {found} gaps can be sent now, and `count` is {count}; look at the gaps \
             again, then send them"
        );
        return Err(ApiProblem::conflict(detail));
    }
    Ok(())
}
