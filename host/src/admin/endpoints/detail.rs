//! The page of one endpoint: its health, its deliveries, its settings, and the possible actions.

use super::ENDPOINTS;
use super::health::{HealthReport, tell_waiting};
use crate::admin::call::{PageCall, PageContent, PageResult, PageSection};
use crate::admin::completeness::day_address;
use crate::admin::deliveries::draw_deliveries;
use crate::admin::editor::pages::draw_edit_button;
use crate::admin::editor::removal::draw_delete_button;
use crate::admin::editor::rotation::draw_rotate_button;
use crate::admin::endpoint_address;
use crate::admin::filters::{FilterChoice, FilterValue, draw_pager};
use crate::admin::layout::{draw_button, draw_confirmation, draw_form_key};
use crate::admin::signs::{StateSign, StateTone, draw_icon};
use crate::admin::tables::draw_settings;
use crate::admin::texts::{draw_age, draw_due, encode_query, tell_count, tell_millis};
use crate::api::body::QueryInput;
use crate::api::deliveries::{DeliveryQuery, list_deliveries};
use crate::api::edit;
use crate::api::endpoints::{EndpointResource, EndpointView, find_endpoint, show_endpoint};
use crate::api::resource::SettingsResource as _;
use crate::catalog;
use crate::channels::find_channel;
use crate::completeness::utc_day::UtcDay;
use crate::health::endpoint_health::{EndpointHealth, tell_failed};
use crate::model::delivery::DeliveryStatus;
use crate::model::private_values::mask_url;
use axum::Json;
use axum::extract::Path;
use http::Uri;
use maud::{Markup, html};
use serde::Deserialize;

/// Deliveries on one page.
const SHOWN: u32 = 20;

/// Which deliveries are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointPage {
    status: Option<String>,
    cursor: Option<String>,
}

/// Shows one endpoint.
pub async fn show_page(
    call: PageCall,
    Path(text): Path<String>,
    uri: Uri,
    QueryInput(page): QueryInput<EndpointPage>,
) -> PageResult {
    let path = Path(text.clone());
    let view = show_endpoint(call.state(), call.principal.clone(), path).await?.into_view();
    let target = find_endpoint(&call.settings(), &text)?;
    let report = HealthReport::load(&call).await?;
    let health = report.of(target.endpoint.id);
    let (sign, why) = report.judge(&target, call.now);
    let masked = EndpointResource::masked(&target.endpoint.settings)?;
    let settings = draw_settings(&masked)?;
    let deliveries = load_deliveries(&call, &view, &uri, &page).await?;
    let name = view.settings.name.clone();
    let body = html! {
        div class="stack" {
            (draw_head(&call, &view, sign, health.waiting))
            div id="live-note" data-live="part" { (draw_note(&call, &health, sign, &why)) }
            div class="wide-narrow" {
                div class="stack" id="live-health" data-live="part" {
                    @if report.is_known { (draw_health(&call, &health)) }
                    @if let Some(deliveries) = deliveries { (deliveries) }
                }
                div class="stack" {
                    (draw_short(&call, &view))
                    (draw_test(&call, &view))
                    section class="panel" aria-labelledby="set" {
                        header {
                            h2 id="set" { "Settings" }
                            span class="meta" { "changed " (draw_age(call.now, view.updated_at)) }
                        }
                        (settings)
                    }
                }
            }
        }
    };
    Ok(PageContent::new(PageSection::Endpoints, name, body).below("Endpoints", ENDPOINTS))
}

fn draw_head(call: &PageCall, view: &EndpointView, sign: StateSign, waiting: u64) -> Markup {
    let name = &view.settings.name;
    let here = endpoint_address(name);
    let may_set = call.principal.may_call(&http::Method::PATCH, "/api/v1/endpoints/{id}");
    html! {
        div class="head" {
            div {
                div class="row" { h1 { (name) } (sign.draw_pill()) }
                p class="lead s" { code { (mask_url(&view.settings.url)) } }
            }
            div class="row" {
                @if call.may_post("/api/v1/endpoints/{id}/test") {
                    (draw_button(call, &format!("{here}/test"), "main", "Send a test"))
                }
                (draw_edit_button::<EndpointResource>(call, name, ""))
                (draw_rotate_button::<EndpointResource>(call, name))
                @if may_set && view.settings.enabled {
                    (draw_confirmation(call, &format!("{here}/pause"), "Pause…", "Pause it",
                        "Waiting deliveries are sent when the endpoint is resumed. Events captured \
                         meanwhile are not delivered to it, unless you replay them afterwards. \
                         Requests in progress are finished."))
                } @else if may_set {
                    (draw_button(call, &format!("{here}/resume"), "", "Resume"))
                }
                @if waiting > 0 && call.may_post("/api/v1/deliveries/cancel") {
                    (draw_confirmation(call, &format!("{here}/cancel"), "Call off waiting deliveries…", "Call off all",
                        "All waiting deliveries to this endpoint are called off and not sent. Each can \
                         be sent again from its event."))
                }
                (draw_delete_button::<EndpointResource>(call, name))
            }
        }
    }
}

/// Draws what is wrong, since when, and what will happen automatically.
fn draw_note(call: &PageCall, health: &EndpointHealth, sign: StateSign, why: &str) -> Markup {
    let class = if sign.tone == StateTone::Bad { "note bad" } else { "note warn" };
    html! {
        @if matches!(sign.tone, StateTone::Bad | StateTone::Warn) || (sign == StateSign::PAUSED && health.waiting > 0) {
            div class=(class) {
                (draw_icon(sign.icon))
                span {
                    b { (sign.word) ": " } (why) ". "
                    @if let Some(at) = health.recent.last_success {
                        "Last delivered " (draw_age(call.now, at)) ". "
                    }
                    @if health.waiting > 0 {
                        (tell_waiting(health.waiting))
                        @if let Some(due) = health.due_at {
                            ", the next is tried " (draw_due(call.now, due))
                        }
                        ". "
                    }
                }
            }
        }
    }
}

fn draw_health(call: &PageCall, health: &EndpointHealth) -> Markup {
    let recent = &health.recent;
    let attempts = recent.delivered + recent.failed_attempts;
    let millis = |percent| {
        let found = recent.percentile(percent);
        found.map_or_else(|| "–".to_owned(), |millis| tell_millis(f64::from(millis)))
    };
    html! {
        section class="panel" aria-labelledby="he" {
            header {
                h2 id="he" { "Health, last 24 hours" }
                span class="meta" { "of the newest 10,000 deliveries of all endpoints" }
            }
            div class="in" {
                dl class="figs" {
                    div { dt { "Waiting" } dd { (tell_count(health.waiting))
                        small { @if let Some(at) = health.oldest_at { "oldest " (draw_age(call.now, at)) } @else { "nothing" } } } }
                    div {
                        dt { "Retrying" }
                        dd { (tell_count(health.retrying)) small { "of those that wait" } }
                    }
                    div {
                        dt { "Failed attempts" }
                        dd {
                            (tell_count(recent.failed_attempts))
                            small { "of " (tell_count(attempts)) }
                        }
                    }
                    div {
                        dt { "Dead letters" }
                        dd { (tell_count(health.dead)) small { "not being replayed" } }
                    }
                    div { dt { "p50" } dd { (millis(50)) small { "planned to delivered" } } }
                    div { dt { "p95" } dd { (millis(95)) small { "planned to delivered" } } }
                }
            }
            @if let Some(failure) = &health.last_failure {
                footer {
                    "Last failure " (draw_age(call.now, failure.at)) ": " (tell_failed(failure))
                }
            }
        }
    }
}

async fn load_deliveries(
    call: &PageCall,
    view: &EndpointView,
    uri: &Uri,
    page: &EndpointPage,
) -> Result<Option<Markup>, crate::admin::call::PageProblem> {
    if !call.may_read("/api/v1/deliveries") {
        return Ok(None);
    }
    let chosen = page.status.as_deref().filter(|text| !text.is_empty());
    let status = DeliveryStatus::ALL.into_iter().find(|status| Some(status.as_str()) == chosen);
    let query = DeliveryQuery {
        endpoint: Some(view.id.clone()),
        status,
        cursor: page.cursor.clone().filter(|cursor| !cursor.is_empty()),
        limit: Some(SHOWN.to_string()),
        ..DeliveryQuery::default()
    };
    let Json(found) =
        list_deliveries(call.state(), call.principal.clone(), uri.clone(), QueryInput(query))
            .await?;
    let here = endpoint_address(&view.settings.name);
    let values = DeliveryStatus::ALL.iter().map(|status| FilterValue::plain(status.as_str(), None));
    let choice = FilterChoice {
        name: "status",
        label: "State",
        chosen,
        values: values.collect(),
        any: "any state",
    };
    let next = found.meta.next_cursor.as_deref();
    Ok(Some(html! {
        section class="panel" aria-labelledby="de" {
            header {
                h2 id="de" { "Deliveries" }
                form class="filters" action=(here) { (choice.draw()) }
            }
            @if found.data.is_empty() {
                p class="in" {
                    @if next.is_some() {
                        "None among the 10,000 newest deliveries of all endpoints. Older ones may \
                         be."
                    }
                    @else { "There are no deliveries." }
                }
            } @else { (draw_deliveries(call, &found.data)) }
            (draw_pager(&here, uri.query().unwrap_or_default(), found.data.len(), next))
        }
    }))
}

/// Returns the usual name for a kind of endpoint.
fn channel_label(kind: &str) -> &str {
    find_channel(kind).map_or(kind, |channel| channel.description.label)
}

/// Draws the form that sends an example of a chosen event type.
fn draw_test(call: &PageCall, view: &EndpointView) -> Markup {
    let events = &view.settings.events;
    let takes = |name: &str| events.is_empty() || events.iter().any(|one| one.matches(name));
    let types = catalog::get().event_types().iter().map(|one| one.name);
    html! {
        @if call.may_post("/api/v1/endpoints/{id}/test") {
            section class="panel" aria-labelledby="te" {
                header { h2 id="te" { "Test with an example" } }
                form method="post" action={ (endpoint_address(&view.settings.name)) "/test" } class="in row" {
                    (draw_form_key(call))
                    label class="vh" for="event_type" { "Event type" }
                    select id="event_type" name="event_type" {
                        option value="" { "the first type that it takes" }
                        @for name in types.filter(|name| takes(name)) { option value=(name) { (name) } }
                    }
                    button class="btn" type="submit" { "Send it now" }
                }
                footer { "It is sent once, and nothing is stored." }
            }
        }
    }
}

/// Draws a summary of the settings.
fn draw_short(call: &PageCall, view: &EndpointView) -> Markup {
    let settings = &view.settings;
    let name = &settings.name;
    let takes: Vec<String> = settings.events.iter().map(ToString::to_string).collect();
    let flows = edit::flows_using(&call.settings(), name);
    html! {
        section class="panel" aria-labelledby="su" {
            header { h2 id="su" { "In short" } }
            div class="in" {
                dl class="facts" {
                    dt { "Kind" } dd { (channel_label(&settings.kind)) }
                    dt { "Takes" }
                    dd {
                        @if takes.is_empty() {
                            "only what flows send"
                        } @else {
                            code { (takes.join(", ")) }
                        }
                    }
                    dt { "Fed by" } dd {
                        @if flows.is_empty() { "no flow" }
                        @for flow in &flows {
                            a href={ "/admin/flows/" (encode_query(flow)) } { (flow) } " "
                        }
                    }
                    @if let Some(limit) = &view.receiver_limit {
                        @if let Some(rate) = limit.per_second {
                            dt { "Its receiver takes" } dd { "about " (rate) " requests a second" }
                        }
                        @if let Some(until) = limit.held_until {
                            dt { "Held back" } dd { (draw_due(call.now, until)) }
                        }
                    }
                    @if let Some(until) = view.grace_until {
                        dt { "Old secret" } dd { "signs too, ends " (draw_due(call.now, until)) }
                    }
                    @if let Some(warning) = &view.warning {
                        dt { "Warning" } dd class="bad" { (warning) }
                    }
                    dt { "Created" } dd { (draw_age(call.now, view.created_at)) }
                    dt { "Id" } dd { code { (view.id) } }
                    dt { "Dead letters" }
                    dd {
                        a href={ "/admin/dead-letters?endpoint=" (encode_query(name)) } {
                            "Show those of " (name)
                        }
                    }
                    @if call.may_read("/api/v1/completeness") {
                        @let today = UtcDay::of(call.now).to_string();
                        dt { "Completeness" }
                        dd { a href=(day_address(name, &today, None)) { "Show the gaps of today" } }
                    }
                }
            }
        }
    }
}
