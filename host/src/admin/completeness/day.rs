//! The page of one day of an endpoint: its gaps by name, and the button that sends them.

use super::panels::{draw_counts, draw_covers, draw_dropped, draw_gaps, draw_resources};
use super::{COMPLETENESS, day_address, state_sign};
use crate::admin::call::{
    ActionResult, PageCall, PageContent, PageProblem, PageResult, PageSection,
};
use crate::admin::endpoint_address;
use crate::admin::events::answer::capitalise;
use crate::admin::filters::{FilterChoice, FilterValue, filled};
use crate::admin::forms::FormFields;
use crate::admin::layout::draw_form_key;
use crate::admin::texts::{draw_time, encode_query, tell_count, tell_number};
use crate::api::answer::PageMeta;
use crate::api::body::{JsonInput, QueryInput};
use crate::api::completeness::statement_view::StatementView;
use crate::api::completeness::{CompletenessQuery, SendRequest, send_gaps, show_completeness};
use crate::api::problem::ApiProblem;
use crate::completeness::resend::SentGaps;
use crate::completeness::tally::CompletenessState;
use crate::completeness::utc_day::UtcDay;
use axum::Json;
use axum::extract::Path;
use http::{StatusCode, Uri};
use maud::{Markup, html};
use serde::Deserialize;

/// The REST route that sends gaps.
const SEND: &str = "/api/v1/completeness/send";
/// Gaps on one page.
const SHOWN: u32 = 50;

/// What of the day is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DayPage {
    resource: Option<String>,
    cursor: Option<String>,
}

/// Shows one day of an endpoint.
pub async fn show_page(
    call: PageCall,
    Path((endpoint, day)): Path<(String, String)>,
    uri: Uri,
    QueryInput(page): QueryInput<DayPage>,
) -> PageResult {
    let resource = filled(page.resource.as_ref()).map(str::to_owned);
    let query = CompletenessQuery {
        endpoint,
        day: Some(day),
        resource: resource.clone(),
        cursor: filled(page.cursor.as_ref()).map(str::to_owned),
        limit: Some(SHOWN.to_string()),
    };
    let (state, principal) = (call.state(), call.principal.clone());
    let Json(found) = show_completeness(state, principal, uri, QueryInput(query)).await?;
    let statement = &found.data;
    let body = html! {
        div class="stack" {
            (draw_head(&call, statement))
            (draw_part_note(statement))
            div class="wide-narrow" {
                div class="stack" {
                    (draw_filter(statement, resource.as_deref()))
                    (draw_gaps(&call, statement))
                    (draw_more(statement, &found.meta))
                    (draw_resources(statement))
                    (draw_dropped(statement))
                }
                div class="stack" {
                    (draw_counts(statement))
                    (draw_covers(&call, statement))
                }
            }
        }
    };
    let title = format!("{}, {}", statement.endpoint, statement.day);
    let content = PageContent::new(PageSection::Completeness, title, body);
    Ok(content.below("Completeness", COMPLETENESS))
}

fn draw_head(call: &PageCall, statement: &StatementView) -> Markup {
    let sign = state_sign(Some(statement.state));
    let gaps = statement.counts.all_gaps();
    let (endpoint, day) = (&statement.endpoint, &statement.day);
    html! {
        div class="head" {
            div {
                div class="row" {
                    h1 {
                        @match statement.state {
                            CompletenessState::Gaps => (tell_number(gaps, "gap", "gaps")),
                            CompletenessState::Waiting => "No gaps, some events wait",
                            CompletenessState::Complete => "Complete",
                            CompletenessState::Quiet => "No events",
                            CompletenessState::Unknown => "Not known any more",
                        }
                    }
                    (sign.draw_pill())
                }
                p class="lead s" {
                    a href=(endpoint_address(endpoint)) { (endpoint) }
                    ", " (day) " from 00:00 to 24:00 UTC, as of "
                    (draw_time(statement.looked_at, "now"))
                }
            }
            div class="row" {
                (draw_neighbours(call, statement))
                (draw_send(call, statement))
            }
        }
    }
}

/// Draws the links to the day before and the day after.
fn draw_neighbours(call: &PageCall, statement: &StatementView) -> Markup {
    let day = UtcDay::parse(&statement.day).unwrap_or_else(|_invalid| UtcDay::of(call.now));
    let resource = statement.resource.as_deref();
    let address = |day: UtcDay| day_address(&statement.endpoint, &day.to_string(), resource);
    let next = UtcDay::of(day.end());
    html! {
        a class="btn" href=(address(day.earlier(1))) { "Day before" }
        @if next <= UtcDay::of(call.now) {
            a class="btn" href=(address(next)) { "Day after" }
        }
    }
}

/// Draws the button that sends the gaps. It asks first.
fn draw_send(call: &PageCall, statement: &StatementView) -> Markup {
    let count = tell_count(statement.sendable);
    let newer = statement.gaps.iter().filter(|gap| gap.newer_delivered).count() as u64;
    html! {
        @if statement.sendable > 0 && statement.enabled && call.may_post(SEND) {
            details class="ask" {
                summary class="btn main" { "Send " (count) "…" }
                div class="pick" {
                    p class="s" {
                        "Deliveries that failed or were called off are sent again under the same \
                         webhook-id. Events that were never sent to " (statement.endpoint) " become \
                         new deliveries to it alone. "
                        @if newer > 0 {
                            "Of " (tell_number(newer, "gap", "gaps")) " on this page the endpoint has \
                             a newer state of the record already, and gets the older one after it. "
                        }
                        @if statement.more_sendable { "The rest can be sent after these." }
                    }
                    form method="post" action={ (COMPLETENESS) "/send" } {
                        (draw_form_key(call))
                        (draw_fields(statement))
                        button class="btn main" type="submit" { "Send " (count) }
                    }
                }
            }
        }
    }
}

fn draw_fields(statement: &StatementView) -> Markup {
    let fields = [
        ("endpoint", Some(statement.endpoint.as_str())),
        ("day", Some(statement.day.as_str())),
        ("resource", statement.resource.as_deref()),
        ("stretch", statement.stretch.as_deref()),
    ];
    html! {
        @for (name, value) in fields {
            @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
        }
        input type="hidden" name="count" value=(statement.sendable);
    }
}

/// Says what must be known to read the numbers.
fn draw_part_note(statement: &StatementView) -> Markup {
    let is_paused = !statement.enabled && statement.counts.all_gaps() > 0;
    html! {
        @if is_paused {
            div class="note warn" {
                span {
                    b { "Paused: " } (statement.endpoint) " takes no events. Resume it, then send its \
                    gaps."
                }
            }
        }
        @if !statement.whole_day {
            div class="note" {
                span {
                    "These are the counts of " (tell_count(u64::from(statement.examined))) " events of \
                     the day, and not of all. The last page of gaps leads to the next part."
                }
            }
        }
    }
}

/// Draws the choice of a resource, if there are several.
fn draw_filter(statement: &StatementView, chosen: Option<&str>) -> Markup {
    let named = statement.resources.iter().filter_map(|one| {
        let resource = one.resource.as_deref()?;
        Some(FilterValue::plain(resource, Some(one.counts.captured)))
    });
    let values: Vec<FilterValue> = named.collect();
    let choice =
        FilterChoice { name: "resource", label: "Resource", chosen, values, any: "all resources" };
    html! {
        @if chosen.is_some() || choice.values.len() > 1 {
            form class="filters" action=(day_address(&statement.endpoint, &statement.day, None)) {
                (choice.draw())
            }
        }
    }
}

/// Draws the link to the next page of gaps.
fn draw_more(statement: &StatementView, meta: &PageMeta) -> Markup {
    let resource = statement.resource.as_deref();
    html! {
        @if let Some(cursor) = &meta.next_cursor {
            @let address = day_address(&statement.endpoint, &statement.day, resource);
            @let sign = if resource.is_some() { "&" } else { "?" };
            p {
                a class="btn small" rel="next"
                    href={ (address) (sign) "cursor=" (encode_query(cursor)) } { "Later gaps" }
            }
        }
    }
}

/// Sends the gaps, if their number is still the one on the button.
pub async fn send(call: PageCall, fields: FormFields) -> ActionResult {
    let text = |name: &str| fields.required(name).map(str::to_owned);
    let count = fields.required("count")?.parse();
    let count = count.map_err(|_error| ApiProblem::fault("count", "is not a number"))?;
    let request = SendRequest {
        endpoint: text("endpoint")?,
        day: text("day")?,
        resource: fields.owned("resource"),
        stretch: fields.owned("stretch"),
        count,
    };
    let back = day_address(&request.endpoint, &request.day, request.resource.as_deref());
    let (state, principal) = (call.state(), call.principal.clone());
    match send_gaps(state, principal, JsonInput(request)).await {
        Ok(Json(sent)) => Ok(call.done(&back, tell_sent(sent.data))),
        Err(problem) if problem.status == StatusCode::CONFLICT.as_u16() => {
            Ok(call.done(&back, format!("{}.", capitalise(&problem.detail))))
        }
        Err(problem) => Err(PageProblem(problem)),
    }
}

fn tell_sent(sent: SentGaps) -> String {
    let parts = [
        (sent.resent, "delivery is sent again", "deliveries are sent again"),
        (sent.made, "new delivery is made", "new deliveries are made"),
        (sent.planned, "event goes through its modules", "events go through their modules"),
        (sent.rows, "row is read again", "rows are read again"),
    ];
    let parts = parts.into_iter().filter(|(count, _, _)| *count > 0);
    let parts: Vec<String> =
        parts.map(|(count, one, many)| tell_number(count, one, many)).collect();
    format!(
        "{}.",
        if parts.is_empty() { "Nothing was left to send".to_owned() } else { parts.join(", ") }
    )
}
