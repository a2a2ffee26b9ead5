//! The page of events: what came in, and what became of each event.

pub mod answer;
pub mod detail;
pub mod empty;
pub mod looking;
pub mod module_output;
pub mod outcome;
pub mod steps;
pub mod trace;
pub mod waterfall;

use super::call::{PageCall, PageContent, PageResult, PageSection};
use super::filters::{
    FilterChoice, FilterValue, draw_pager, filled, page_address, span_choice, span_seconds,
};
use super::texts::{draw_age, draw_id, tell_count, tell_number};
use crate::api::body::QueryInput;
use crate::api::events::{EventQuery, EventView};
use crate::api::problem::ApiProblem;
use crate::store::EventKind;
use http::Uri;
use looking::{FoundEvents, SearchReach, find_events};
use maud::{Markup, html};
use outcome::EventOutcome;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Address of the list.
pub const EVENTS: &str = "/admin/events";
/// Most newest events from which the pickers take types and sources. With 200,000 stored events,
/// the page took 7 ms (unoptimised build).
const OFFERED_FROM: u32 = 5_000;

/// The parameters of the list's address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EventsPage {
    #[serde(rename = "type")]
    event_type: Option<String>,
    source: Option<String>,
    resource: Option<String>,
    resource_id: Option<String>,
    /// A text to find in the payload.
    text: Option<String>,
    outcome: Option<String>,
    span: Option<String>,
    cursor: Option<String>,
}

impl EventsPage {
    /// Chooses the first table and source for a token that is limited to some, because its requests
    /// must name one.
    fn limit_to(&mut self, call: &PageCall) {
        let settings = &call.principal.token().settings;
        if filled(self.resource.as_ref()).is_none() {
            self.resource = settings.tables.first().cloned();
        }
        if filled(self.source.as_ref()).is_none() {
            self.source = settings.sources.first().cloned();
        }
    }

    fn is_narrow(&self) -> bool {
        let texts = [&self.event_type, &self.source, &self.resource, &self.resource_id, &self.span];
        let sought = [&self.text, &self.outcome];
        texts.into_iter().chain(sought).any(|text| filled(text.as_ref()).is_some())
    }

    /// Returns the filter in the form that the REST API takes.
    fn query(&self, call: &PageCall) -> EventQuery {
        let owned = |text: &Option<String>| filled(text.as_ref()).map(str::to_owned);
        let since = span_seconds(filled(self.span.as_ref()))
            .map(|seconds| call.now.before(Duration::from_secs(seconds)).to_string());
        EventQuery {
            event_type: owned(&self.event_type),
            source: owned(&self.source),
            resource: owned(&self.resource),
            resource_id: owned(&self.resource_id),
            since,
            cursor: owned(&self.cursor),
            ..EventQuery::default()
        }
    }
}

/// Shows a page of events.
pub async fn show_list(
    call: PageCall,
    uri: Uri,
    QueryInput(mut page): QueryInput<EventsPage>,
) -> PageResult {
    page.limit_to(&call);
    let found = find_events(&call, &uri, &page).await?;
    let kinds = offered_kinds(&call).await?;
    if found.events.is_empty() && kinds.is_empty() && page.cursor.is_none() {
        return Ok(empty::first_event_content(&call));
    }
    let query = uri.query().unwrap_or_default();
    let body = html! {
        div class="stack-s" {
            div class="head" { div {
                h1 { "Events" }
                p class="lead s" { (tell_list(&found, &page)) }
            } }
            (draw_filters(&page, &kinds))
            @if let Some(reach) = &found.reach { (draw_reach(&call, reach, found.next.is_some())) }
            @if found.events.is_empty() {
                (draw_nothing(&found, query))
            } @else {
                p class="live-news" id="live-news" role="status" {}
                section class="panel" aria-label="Events" id="live-events" data-live="rows" {
                    (draw_table(&call, &found.events, &found.outcomes))
                    (draw_pager(EVENTS, query, found.events.len(), found.next.as_deref()))
                }
            }
        }
    };
    Ok(PageContent::new(PageSection::Events, "Events", body))
}

/// Draws how far the page searched for filters without an index.
fn draw_reach(call: &PageCall, reach: &SearchReach, has_more: bool) -> Markup {
    html! {
        p class="meta" {
            "Looked through " (tell_number(reach.events as u64, "event", "events"))
            @if let Some(oldest) = reach.oldest { ", back to " (draw_age(call.now, oldest)) }
            ". "
            @if has_more { "The search stopped there. " }
            "Texts and outcomes have no index, so one page searches at most "
            (tell_count(looking::WINDOW as u64))
            " events, 32 MiB of payloads, or 200,000 rows if other filters choose few of them."
        }
    }
}

/// Returns the types and sources of the newest events that the token may read.
async fn offered_kinds(call: &PageCall) -> Result<Vec<EventKind>, ApiProblem> {
    let mut kinds = call.app().journal.list_event_kinds(OFFERED_FROM).await?;
    let token = call.principal.token();
    kinds.retain(|kind| token.may_touch(kind.resource.as_deref()) && token.may_name(&kind.source));
    Ok(kinds)
}

fn tell_list(found: &FoundEvents, page: &EventsPage) -> String {
    let which = if page.is_narrow() { " that match" } else { "" };
    let more = if found.next.is_some() { "; there may be more" } else { "" };
    format!("{} shown{which}, newest first{more}.", tell_count(found.events.len() as u64))
}

/// Counts one property over the newest events, as values for a picker.
fn offer<'k>(
    kinds: &'k [EventKind],
    property: impl Fn(&'k EventKind) -> Option<&'k str>,
) -> Vec<FilterValue> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for kind in kinds {
        if let Some(value) = property(kind) {
            *counts.entry(value).or_default() += kind.events;
        }
    }
    let mut offered: Vec<FilterValue> =
        counts.into_iter().map(|(value, count)| FilterValue::plain(value, Some(count))).collect();
    offered.sort_by_key(|value| std::cmp::Reverse(value.count));
    offered
}

fn draw_filters(page: &EventsPage, kinds: &[EventKind]) -> Markup {
    let choice =
        |name, label, chosen, values, any| FilterChoice { name, label, chosen, values, any };
    let types = offer(kinds, |kind| Some(&kind.event_type));
    let sources = offer(kinds, |kind| Some(&kind.source));
    let resources = offer(kinds, |kind| kind.resource.as_deref());
    html! {
        form class="filters" role="search" aria-label="Filter events" action=(EVENTS) {
            div class="q" {
                label class="vh" for="text" { "Text in the payload" }
                input id="text" name="text" type="search" placeholder="Text in the payload"
                    value=[filled(page.text.as_ref())];
            }
            div class="q" {
                label class="vh" for="record" { "Id of a record" }
                input id="record" name="resource_id" type="search" placeholder="Id of a record"
                    value=[filled(page.resource_id.as_ref())];
            }
            (choice("outcome", "Outcome", filled(page.outcome.as_ref()), looking::outcome_values(), "any outcome").draw())
            (choice("type", "Type", filled(page.event_type.as_ref()), types, "any type").draw())
            (choice("source", "Source", filled(page.source.as_ref()), sources, "any source").draw())
            (choice("resource", "Resource", filled(page.resource.as_ref()), resources, "any").draw())
            (span_choice(filled(page.span.as_ref())).draw())
            button class="btn" type="submit" { "Search" }
            @if page.is_narrow() { a class="btn bare" href=(EVENTS) { "Clear" } }
        }
        p class="meta" { "Values and counts are those of the newest 5,000 events." }
    }
}

/// Draws an empty result. With filters that have an index, one request searches 10,000 events.
fn draw_nothing(found: &FoundEvents, query: &str) -> Markup {
    let looked = found.reach.as_ref().map_or(10_000, |reach| reach.events as u64);
    html! {
        section class="panel" aria-label="Events" {
            div class="in stack-s" {
                @if let Some(next) = &found.next {
                    p {
                        @if looked > 0 {
                            "None of the " (tell_count(looked)) " events searched here matches. "
                        } @else {
                            "No event searched here matches the other filters. "
                        }
                        "Older ones may match."
                    }
                    div class="row" {
                        a class="btn" href=(page_address(EVENTS, query, Some(next))) {
                            "Search further back"
                        }
                    }
                } @else {
                    p { "No event matches this filter." }
                    div class="row" { a class="btn" href=(EVENTS) { "Show all events" } }
                }
            }
        }
    }
}

/// Draws the table of events. The table folds on a phone. In some browsers, folding removes the
/// meaning of rows and cells, so their roles are explicit.
pub fn draw_table(
    call: &PageCall,
    events: &[EventView],
    outcomes: &BTreeMap<String, EventOutcome>,
) -> Markup {
    html! {
        table role="table" class="t fold one" {
            caption class="vh" { "Events, newest first" }
            thead role="rowgroup" {
                tr role="row" {
                    @for (title, class) in [("Type", None), ("When", Some("num")), ("Record", None),
                        ("Source", None), ("Outcome", None), ("Id", None)] {
                        th role="columnheader" scope="col" class=[class] { (title) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for event in events {
                    (draw_row(call, event, outcomes.get(&event.id.to_string())))
                }
            }
        }
    }
}

fn draw_row(call: &PageCall, event: &EventView, outcome: Option<&EventOutcome>) -> Markup {
    let id = event.id.to_string();
    let address = event_address(&id);
    html! {
        tr role="row" data-row=(id) {
            td role="cell" class="nw" { a class="name" href=(address) { (event.event_type) } }
            td role="cell" class="num r" { (draw_age(call.now, event.received_at)) }
            td role="cell" class="clip w" title=[record_name(event)] {
                @match record_name(event) {
                    Some(name) => (name), None => span class="soft" { "–" }
                }
            }
            td role="cell" class="x nw soft" { (event.source) }
            td role="cell" class="clip w" {
                @if let Some(outcome) = outcome {
                    (outcome.sign.draw())
                    span class="why cut" title=(outcome.why) { (outcome.why) }
                }
            }
            td role="cell" class="x" { (draw_id(&id, &address)) }
        }
    }
}

/// Returns the record that an event is about, such as `Invoice 1042`.
pub fn record_name(event: &EventView) -> Option<String> {
    let resource = event.resource.as_deref()?;
    let words = resource.replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>());
    let name = first.unwrap_or_default() + letters.as_str();
    Some(match &event.resource_id {
        Some(id) => format!("{name} {id}"),
        None => name,
    })
}

/// Returns the record that an event is about, or its type if it is not about a record.
pub fn event_title_of(event: &EventView) -> String {
    record_name(event).unwrap_or_else(|| event.event_type.clone())
}

/// Returns the address of an event's page.
pub fn event_address(id: &str) -> String {
    format!("{EVENTS}/{id}")
}
