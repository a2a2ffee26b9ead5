//! The page of completeness: for each endpoint and each of the last days, whether there are gaps.

pub mod day;
pub mod panels;

use super::call::{PageCall, PageContent, PageResult, PageSection};
use super::signs::{StateSign, draw_icon};
use super::texts::{draw_time, encode_query, tell_number};
use super::{encode_name, endpoint_address};
use crate::api::body::QueryInput;
use crate::api::completeness::{DayState, DaysQuery, EndpointDays, list_completeness_days};
use crate::completeness::tally::CompletenessState;
use axum::Json;
use maud::{Markup, html};

/// Address of the page.
pub const COMPLETENESS: &str = "/admin/completeness";

/// Returns the address of the page of one day of an endpoint.
pub fn day_address(endpoint: &str, day: &str, resource: Option<&str>) -> String {
    let address = format!("{COMPLETENESS}/{}/{day}", encode_name(endpoint));
    match resource {
        Some(resource) => format!("{address}?resource={}", encode_query(resource)),
        None => address,
    }
}

/// Returns the sign of a state.
pub const fn state_sign(state: Option<CompletenessState>) -> StateSign {
    match state {
        Some(CompletenessState::Complete) => StateSign::COMPLETE,
        Some(CompletenessState::Waiting) => StateSign::WAITING,
        Some(CompletenessState::Gaps) => StateSign::GAPS,
        Some(CompletenessState::Quiet) => StateSign::NO_EVENTS,
        Some(CompletenessState::Unknown) => StateSign::UNKNOWN,
        None => StateSign::NOT_COUNTED,
    }
}

/// Shows the last days of all endpoints.
pub async fn show_grid(call: PageCall) -> PageResult {
    let query = QueryInput(DaysQuery::default());
    let Json(found) = list_completeness_days(call.state(), call.principal.clone(), query).await?;
    let lists = &found.data;
    let body = html! {
        div class="stack" {
            (draw_head(lists))
            @if !lists.is_empty() {
                section class="panel" aria-labelledby="days" {
                    header {
                        h2 id="days" { "Endpoints, last 14 days" }
                        span class="meta" { "days are in UTC" }
                    }
                    (draw_grid(lists))
                    footer { (draw_key()) }
                }
            }
        }
    };
    Ok(PageContent::new(PageSection::Completeness, "Completeness", body))
}

fn draw_head(lists: &[EndpointDays]) -> Markup {
    let has_gaps = |list: &&EndpointDays| list.days.iter().any(|day| day.gaps > 0);
    let with_gaps = lists.iter().filter(has_gaps).count() as u64;
    let is_partial = lists.iter().flat_map(|list| &list.days).any(|day| !day.whole);
    html! {
        div class="head" { div {
            h1 {
                @if lists.is_empty() { "There are no endpoints yet" }
                @else if with_gaps == 0 { "No gaps" }
                @else { (tell_number(with_gaps, "endpoint has gaps", "endpoints have gaps")) }
            }
            p class="lead s" {
                "A gap is an event that an endpoint should have got and did not. Open a day to see its \
                 gaps by name and to send just those."
                @if is_partial {
                    " Only the newest events were looked at: open an older day to have it counted."
                }
            }
        } }
    }
}

fn draw_grid(lists: &[EndpointDays]) -> Markup {
    let days: &[DayState] = lists.first().map(|list| list.days.as_slice()).unwrap_or_default();
    html! {
        table role="table" class="t mid days" {
            caption class="vh" { "Gaps by endpoint and day, today first" }
            thead role="rowgroup" {
                tr role="row" {
                    th role="columnheader" scope="col" { "Endpoint" }
                    @for day in days {
                        th role="columnheader" scope="col" { (draw_day(*day)) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for list in lists {
                    tr role="row" {
                        th role="rowheader" scope="row" {
                            a class="name" href=(endpoint_address(&list.endpoint)) { (list.endpoint) }
                            @if !list.enabled { span class="why" { (StateSign::PAUSED.draw()) } }
                        }
                        @for day in &list.days { (draw_cell(list, *day)) }
                    }
                }
            }
        }
    }
}

/// Draws a day as month and day of the month.
fn draw_day(state: DayState) -> Markup {
    let text = state.day.to_string();
    draw_time(state.day.start(), text.get(5..).unwrap_or_default())
}

/// Draws the state of a day: a sign, and the number of gaps or of waiting events.
fn draw_cell(list: &EndpointDays, state: DayState) -> Markup {
    let sign = state_sign(state.state);
    let day = state.day.to_string();
    let number = match state.state {
        Some(CompletenessState::Gaps) => state.gaps,
        Some(CompletenessState::Waiting) => state.waiting,
        Some(
            CompletenessState::Complete | CompletenessState::Quiet | CompletenessState::Unknown,
        )
        | None => 0,
    };
    let words = tell_cell(state, sign);
    html! {
        td role="cell" data-l=(day.get(5..).unwrap_or_default()) {
            a class={ "st " (sign.tone.class()) } href=(day_address(&list.endpoint, &day, None))
                title={ (day) ": " (words) } {
                (draw_icon(sign.icon))
                @if number > 0 { span aria-hidden="true" { (number) } }
                span class="vh" { (day) ": " (words) }
            }
        }
    }
}

fn tell_cell(state: DayState, sign: StateSign) -> String {
    let part = if state.whole { "" } else { ", counted in part" };
    match state.state {
        Some(CompletenessState::Gaps) => {
            format!("{}{part}", tell_number(state.gaps, "gap", "gaps"))
        }
        Some(CompletenessState::Waiting) => {
            format!("{}{part}", tell_number(state.waiting, "event waits", "events wait"))
        }
        Some(CompletenessState::Complete) => {
            let events = tell_number(state.captured, "event", "events");
            format!("complete, {events}{part}")
        }
        Some(CompletenessState::Quiet | CompletenessState::Unknown) | None => {
            format!("{}{part}", sign.word.to_lowercase())
        }
    }
}

/// Draws what the signs mean.
fn draw_key() -> Markup {
    let signs = [
        StateSign::COMPLETE,
        StateSign::GAPS,
        StateSign::WAITING,
        StateSign::NO_EVENTS,
        StateSign::UNKNOWN,
    ];
    html! { div class="row" { @for sign in signs { (sign.draw()) } } }
}
