//! The page of one event: what happened to it, step by step, and buttons to send it again.

use super::answer::draw_answer;
use super::detail::{BODY_TAB, FIRST_TAB, RemadeResult, draw_detail, find_attempt};
use super::steps::{EventTimeline, is_settled};
use super::waterfall::draw_timeline;
use super::{EVENTS, event_address, record_name};
use crate::admin::call::{ActionResult, PageCall, PageContent, PageResult, PageSection};
use crate::admin::forms::FormFields;
use crate::admin::history::record_address;
use crate::admin::layout::draw_confirmation;
use crate::admin::signs::StateSign;
use crate::admin::texts::{draw_age, draw_id, short_id, tell_number};
use crate::api::body::{JsonInput, QueryInput};
use crate::api::deliveries::{replay_delivery, show_delivery};
use crate::api::events::{EventReplay, EventView, replay_event, show_event};
use crate::api::sent_body::remake_body;
use crate::api::trace::{EventTrace, flow_name};
use crate::model::delivery::DeliveryStatus;
use crate::model::id::FlowId;
use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect};
use maud::{Markup, html};
use serde::Deserialize;

/// The step that is shown beside the timeline.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StepChoice {
    step: Option<String>,
    tab: Option<String>,
}

/// Shows one event.
pub async fn show_page(
    call: PageCall,
    path: Path<String>,
    QueryInput(choice): QueryInput<StepChoice>,
) -> PageResult {
    let Json(found) = show_event(call.state(), call.principal.clone(), path).await?;
    let trace = found.data;
    let settings = call.settings();
    let name_flow = |id: &str| {
        id.parse::<FlowId>().map_or_else(|_| id.to_owned(), |id| flow_name(&settings, id))
    };
    let timeline = EventTimeline::build(&trace, name_flow);
    let address = event_address(&trace.event.id.to_string());
    let wanted = choice.step.unwrap_or_else(|| timeline.telling_key());
    let tab = choice.tab.as_deref().unwrap_or(FIRST_TAB);
    let sent = if tab == BODY_TAB { load_body(&call, &trace, &wanted).await } else { None };
    let part = (tab, sent.as_ref());
    let found = draw_detail(&call, &timeline, &wanted, part, &address);
    let (key, detail) = match found {
        Some(detail) => (wanted, detail),
        None => (
            "capture".to_owned(),
            draw_detail(&call, &timeline, "capture", part, &address).unwrap_or_default(),
        ),
    };
    let now = call.now.since(trace.event.received_at).as_secs_f64();
    let body = html! {
        div class="stack-s" id="live-trace" data-live="part" {
            (draw_head(&call, &trace, &address))
            (draw_answer(&call, &timeline, &address))
            div class="wide-narrow more-wide" {
                (draw_timeline(&timeline, now, &key, &address))
                (detail)
            }
        }
    };
    let title = event_title(&trace.event);
    let content = PageContent::new(PageSection::Events, title, body).below("Events", EVENTS);
    Ok(content)
}

/// Reconstructs the body that the attempt of a step sent.
async fn load_body(call: &PageCall, trace: &EventTrace, key: &str) -> Option<RemadeResult> {
    let (delivery, attempt) = find_attempt(trace, key)?;
    Some(remake_body(call.app(), &call.principal, &delivery.delivery.id, attempt?).await)
}

/// Returns a title for the event: the record, and what happened to it.
pub fn event_title(event: &EventView) -> String {
    let happened = event.event_type.split_once('.').map_or("", |(_, happened)| happened);
    match record_name(event) {
        Some(record) if !happened.is_empty() => {
            format!("{record}: {}", happened.replace(['_', '.'], " "))
        }
        Some(_) | None => event.event_type.clone(),
    }
}

/// Returns the state of the event as a whole.
fn whole_sign(trace: &EventTrace) -> StateSign {
    let count = |status: DeliveryStatus| {
        trace.deliveries.iter().filter(|one| one.delivery.status == status).count()
    };
    let open: Vec<_> = trace.deliveries.iter().filter(|one| !is_settled(one)).collect();
    let sent = count(DeliveryStatus::Delivered);
    if count(DeliveryStatus::Dead) > 0 {
        StateSign::DEAD
    } else if open.iter().any(|one| one.delivery.attempt_count > 0) {
        if sent > 0 { StateSign::PARTLY } else { StateSign::RETRYING }
    } else if !open.is_empty() {
        StateSign::DELIVERING
    } else if !trace.waiting.is_empty() {
        StateSign::PLANNING
    } else if sent > 0 {
        StateSign::DELIVERED
    } else if count(DeliveryStatus::Superseded) > 0 {
        StateSign::COLLAPSED
    } else {
        StateSign::NOT_SENT
    }
}

fn draw_head(call: &PageCall, trace: &EventTrace, address: &str) -> Markup {
    let event = &trace.event;
    let id = event.id.to_string();
    html! {
        div class="head" {
            div {
                div class="row" { h1 { (event_title(event)) } (whole_sign(trace).draw_pill()) }
                p class="lead s" {
                    code { (event.event_type) } " from " (event.source) ", captured "
                    (draw_age(call.now, event.received_at)) " · " (draw_id(&id, address))
                }
            }
            div class="row" {
                @if let (Some(resource), Some(record)) = (&event.resource, &event.resource_id) {
                    a class="btn" href=(record_address(resource, record)) { "History of this record" }
                }
                @if event.payload_pruned_at.is_none() && call.may_post("/api/v1/events/{id}/replay") {
                    (draw_confirmation(call, &format!("{address}/replay"), "Replay event…", "Replay",
                        "Plans the event again with the current flows and endpoints. Every \
                         matching endpoint gets it again, under a new webhook-id. This cannot \
                         be undone."))
                }
            }
        }
    }
}

/// Plans an event again.
pub async fn replay(call: PageCall, Path(id): Path<String>, _fields: FormFields) -> ActionResult {
    let principal = call.principal.clone();
    let body = JsonInput(EventReplay::default());
    let (_, Json(begun)) = replay_event(call.state(), principal, Path(id.clone()), body).await?;
    let notice = format!(
        "The event is sent again: {} at once, {} through modules.",
        tell_number(begun.data.deliveries as u64, "delivery", "deliveries"),
        tell_number(begun.data.flows as u64, "flow", "flows"),
    );
    Ok(call.done(&event_address(&id), notice))
}

/// Sends a delivery again, or sends a waiting one now.
pub async fn resend_delivery(
    call: PageCall,
    Path(id): Path<String>,
    _fields: FormFields,
) -> ActionResult {
    let (_, Json(sent)) =
        replay_delivery(call.state(), call.principal.clone(), Path(id.clone())).await?;
    let name = sent.data.endpoint.unwrap_or_default();
    let notice = format!("The delivery {} is on its way to {name} again.", short_id(&id));
    Ok(call.done(&event_address(&sent.data.event_id), notice))
}

/// Redirects from a delivery to its event.
pub async fn show_delivery_page(call: PageCall, path: Path<String>) -> ActionResult {
    let Json(found) = show_delivery(call.state(), call.principal.clone(), path).await?;
    let id = &found.data.delivery.event_id;
    Ok(Redirect::to(&event_address(id)).into_response())
}
