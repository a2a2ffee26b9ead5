//! The history of a record: every captured state, its source, what changed, and which receiver got
//! it when.

use super::call::{PageCall, PageContent, PageProblem, PageResult, PageSection};
use super::endpoint_address;
use super::events::outcome::load_outcomes;
use super::events::{EVENTS, event_address};
use super::filters::draw_pager;
use super::payload_changes::draw_changes;
use super::signs::StateSign;
use super::texts::{draw_age, draw_code, draw_id, draw_time, encode_query, indent_json};
use crate::api::body::QueryInput;
use crate::api::events::{EventQuery, EventView, list_events};
use crate::model::delivery::DeliveryStatus;
use crate::store::StoredDelivery;
use axum::Json;
use axum::extract::Path;
use http::Uri;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

/// States on one page.
const SHOWN: usize = 20;
/// Most receivers that are named for one state.
const MOST_RECEIVERS: usize = 20;

/// Which states are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HistoryPage {
    cursor: Option<String>,
}

/// Returns the address of a record's page.
pub fn record_address(resource: &str, id: &str) -> String {
    format!("/admin/records/{}/{}", encode_query(resource), encode_query(id))
}

/// Shows the history of a record.
pub async fn show_page(
    call: PageCall,
    Path((resource, id)): Path<(String, String)>,
    uri: Uri,
    QueryInput(page): QueryInput<HistoryPage>,
) -> PageResult {
    let query = EventQuery {
        resource: Some(resource.clone()),
        resource_id: Some(id.clone()),
        source: call.principal.token().settings.sources.first().cloned(),
        // One more than is shown, because the changes of the last state need the state before it.
        limit: Some((SHOWN + 1).to_string()),
        cursor: page.cursor,
        ..EventQuery::default()
    };
    let principal = call.principal.clone();
    let Json(found) = list_events(call.state(), principal, uri.clone(), QueryInput(query)).await?;
    let events = found.data;
    let states = load_states(&call, &events).await?;
    let next =
        events.get(SHOWN - 1).filter(|_| events.len() > SHOWN).map(|last| last.id.to_string());
    let next = next.or(found.meta.next_cursor);
    let here = record_address(&resource, &id);
    let title = format!("{} {id}", resource.replace('_', " "));
    let body = html! {
        div class="stack" {
            div class="head" {
                div {
                    h1 { (title) }
                    p class="lead s" { "Every state that was captured, newest first." }
                }
                a class="btn" href={ (EVENTS) "?resource=" (encode_query(&resource)) "&resource_id=" (encode_query(&id)) } {
                    "Its events as a list"
                }
            }
            @if states.is_empty() { section class="panel" aria-label="History" {
                p class="in" {
                    @if next.is_some() { "None among the events searched here. Older ones may match." }
                    @else { "Nothing was captured about this record." }
                }
            } }
            @for state in states { (state) }
            (draw_pager(&here, uri.query().unwrap_or_default(), events.len().min(SHOWN), next.as_deref()))
        }
    };
    Ok(PageContent::new(PageSection::Events, title, body).below("Events", EVENTS))
}

async fn load_states(call: &PageCall, events: &[EventView]) -> Result<Vec<Markup>, PageProblem> {
    let shown = events.get(..SHOWN.min(events.len())).unwrap_or_default();
    let outcomes = load_outcomes(call, shown).await?;
    let mut states = Vec::with_capacity(shown.len());
    for (n, event) in shown.iter().enumerate() {
        let deliveries = call.app().journal.list_deliveries_of_event(event.id).await?;
        let outcome = outcomes.get(&event.id.to_string());
        let sign = outcome.map_or(StateSign::UNKNOWN, |outcome| outcome.sign);
        states.push(draw_state(call, (event, events.get(n + 1)), sign, &deliveries));
    }
    Ok(states)
}

fn draw_state(
    call: &PageCall,
    (event, before): (&EventView, Option<&EventView>),
    sign: StateSign,
    deliveries: &[StoredDelivery],
) -> Markup {
    let id = event.id.to_string();
    let address = event_address(&id);
    html! {
        section class="panel" aria-label=(id) {
            header {
                h2 { a class="name" href=(address) { (event.event_type) } }
                span class="row" { (draw_age(call.now, event.received_at)) (sign.draw_pill()) }
            }
            div class="in stack-s" {
                dl class="facts" {
                    dt { "From" } dd { (event.source) }
                    @if let Some(at) = event.occurred_at { dt { "Happened" } dd { (draw_age(call.now, at)) } }
                    dt { "Event" } dd { (draw_id(&id, &address)) }
                }
                (draw_data(event, before))
                (draw_receivers(call, deliveries))
            }
        }
    }
}

/// Draws what changed since the previous state, or the first state as a whole.
fn draw_data(event: &EventView, before: Option<&EventView>) -> Markup {
    if event.payload_pruned_at.is_some() {
        return html! { p class="hint" { "Its data was pruned." } };
    }
    let read = |event: &EventView| serde_json::from_str::<Value>(event.data.get()).ok();
    let kept = before.filter(|before| before.payload_pruned_at.is_none());
    match (kept.and_then(read), read(event)) {
        (Some(before), Some(after)) => draw_changes(&before, &after),
        _ => draw_code("Data", &indent_json(event.data.get())),
    }
}

/// Draws who received this state, and when.
fn draw_receivers(call: &PageCall, deliveries: &[StoredDelivery]) -> Markup {
    let settings = call.settings();
    let hidden = deliveries.len().saturating_sub(MOST_RECEIVERS);
    html! {
        ul class="plain stack-s" {
            @for delivery in deliveries.iter().take(MOST_RECEIVERS) {
                li {
                    @match settings.find_endpoint(delivery.endpoint_id) {
                        Some(target) => {
                            @let name = &target.endpoint.settings.name;
                            a href=(endpoint_address(name)) { (name) }
                        },
                        None => span class="soft" { "a deleted endpoint" },
                    }
                    " "
                    @match (delivery.status, delivery.settled_at) {
                        (DeliveryStatus::Delivered, Some(at)) => {
                            "knew it at " (draw_time(at, &at.to_string()))
                        },
                        (status, _) => span class="soft" { (status.as_str()) },
                    }
                }
            }
        }
        @if hidden > 0 { p class="hint" { (hidden) " more deliveries are on the event's page." } }
    }
}
