//! The page of endpoints: whether each is well, since when not, and how it is set.

pub mod actions;
pub mod detail;
pub mod health;

use super::call::{PageCall, PageContent, PageResult, PageSection};
use super::editor::pages::draw_new_button;
use super::endpoint_address;
use super::signs::StateTone;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, tell_count, tell_number};
use crate::api::endpoints::{EndpointResource, EndpointView, list_endpoints};
use crate::health::endpoint_health::EndpointHealth;
use crate::model::private_values::mask_url;
use axum::Json;
use health::HealthReport;
use maud::{Markup, html};

/// Address of the list.
pub const ENDPOINTS: &str = "/admin/endpoints";
/// Most endpoints on one page.
const MOST_ENDPOINTS: usize = 500;

/// Shows all endpoints with their health.
pub async fn show_list(call: PageCall) -> PageResult {
    let Json(found) = list_endpoints(call.state(), call.principal.clone()).await?;
    let report = HealthReport::load(&call).await?;
    let settings = call.settings();
    let judged: Vec<_> = found
        .data
        .iter()
        .filter_map(|view| {
            let target = settings.endpoint_named(&view.settings.name)?;
            let health = report.of(target.endpoint.id);
            let (sign, why) = report.judge(target, call.now);
            Some((view, health, sign, why))
        })
        .collect();
    let bad = judged.iter().filter(|(_, _, sign, _)| sign.tone == StateTone::Bad).count();
    let rows = html! {
        @for (view, health, sign, why) in judged.iter().take(MOST_ENDPOINTS) {
            (draw_row(&draw_cells(&call, view, health, &html! {
                (sign.draw()) @if report.is_known { span class="why cut" title=(why) { (why) } }
            }, report.is_known)))
        }
    };
    let columns = [
        ("Endpoint", false),
        ("Health", false),
        ("Waiting", true),
        ("Dead", true),
        ("Last delivered", true),
        ("Takes", false),
    ];
    let body = html! {
        div class="stack" {
            div class="head" {
                div {
                    h1 { (tell_endpoints(found.data.len(), bad)) }
                    p class="lead s" {
                        @if report.is_known {
                            "Deliveries of the last 24 hours, at most the newest 10,000. Waiting ones are \
                             counted up to 1,000."
                        } @else { "This token may not read deliveries, so only settings are shown." }
                    }
                }
                (draw_new_button::<EndpointResource>(&call))
            }
            section class="panel" aria-label="Endpoints" id="live-endpoints" data-live="part" {
                @if found.data.is_empty() {
                    p class="in" {
                        "There is no endpoint yet. An endpoint says where deliveries go, and for which events."
                    }
                } @else { (draw_table("Endpoints", "mid", &columns, &rows)) }
            }
        }
    };
    Ok(PageContent::new(PageSection::Endpoints, "Endpoints", body))
}

fn tell_endpoints(all: usize, bad: usize) -> String {
    let all = tell_number(all as u64, "endpoint", "endpoints");
    match bad {
        0 => all,
        1 => format!("{all}, 1 needs attention"),
        _ => format!("{all}, {bad} need attention"),
    }
}

/// Draws a count, or a dash if the token may not see it.
fn draw_count(is_known: bool, count: u64) -> Markup {
    html! { @if is_known { (tell_count(count)) } @else { "–" } }
}

fn draw_cells(
    call: &PageCall,
    view: &EndpointView,
    health: &EndpointHealth,
    sign: &Markup,
    is_known: bool,
) -> Markup {
    let settings = &view.settings;
    let takes: Vec<String> = settings.events.iter().map(ToString::to_string).collect();
    html! {
        (draw_cell("clip w", &html! {
            a class="name" href=(endpoint_address(&settings.name)) { (settings.name) }
            span class="why cut" { (mask_url(&settings.url)) }
        }))
        (draw_cell("clip w", sign))
        (draw_labelled_cell("num", "Waiting", &draw_count(is_known, health.waiting)))
        (draw_labelled_cell("num", "Dead", &draw_count(is_known, health.dead)))
        (draw_labelled_cell("num nw", "Last delivered", &html! {
            @match health.recent.last_success { Some(at) => (draw_age(call.now, at)), None => "–" }
        }))
        (draw_cell("x clip soft", &html! {
            @if takes.is_empty() { "what flows send" } @else { code { (takes.join(", ")) } }
        }))
    }
}
