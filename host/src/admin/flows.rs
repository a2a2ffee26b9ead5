//! The page of flows: which events go through which modules to which endpoints.

pub mod comparison;
pub mod trial;
pub mod trial_result;

use super::call::{ActionResult, PageCall, PageContent, PageProblem, PageResult, PageSection};
use super::editor::pages::{draw_edit_button, draw_new_button};
use super::editor::removal::draw_delete_button;
use super::forms::FormFields;
use super::layout::{draw_button, draw_confirmation};
use super::signs::StateSign;
use super::tables::{draw_cell, draw_row, draw_settings, draw_table};
use super::texts::{draw_age, tell_number};
use super::{endpoint_address, flow_address, module_address, source_address};
use crate::api::body::JsonInput;
use crate::api::flows::{FlowResource, show_flow, update_flow};
use crate::api::problem::ApiProblem;
use crate::api::resource::SettingsResource as _;
use crate::api::resource::entity_tag::IfMatch;
use crate::settings::FlowRuntime;
use axum::extract::Path;
use http::Method;
use maud::{Markup, html};
use serde_json::{Map, Value};
use std::sync::Arc;
use trial::draw_trial_button;

/// Address of the list.
pub const FLOWS: &str = "/admin/flows";
/// Most flows on one page.
const MOST_FLOWS: usize = 500;

fn flow_sign(route: &FlowRuntime) -> StateSign {
    if route.locked {
        StateSign::LOCKED
    } else if route.flow.settings.enabled {
        StateSign { word: "Takes events", ..StateSign::UP }
    } else {
        StateSign::PAUSED
    }
}

/// Shows all flows.
pub async fn show_list(call: PageCall) -> PageResult {
    let settings = call.settings();
    let rows = html! {
        @for route in settings.flows().iter().take(MOST_FLOWS) { (draw_row(&draw_cells(route))) }
    };
    let columns = [
        ("Flow", false),
        ("State", false),
        ("Takes", false),
        ("Modules", false),
        ("Goes to", false),
    ];
    let count = settings.flows().len();
    let body = html! {
        div class="stack" {
            div class="head" {
                h1 { (tell_number(count as u64, "flow", "flows")) }
                (draw_new_button::<FlowResource>(&call))
            }
            section class="panel" aria-label="Flows" {
                @if count == 0 {
                    p class="in" { "There is no flow yet. Endpoints can take events without one." }
                } @else { (draw_table("Flows", "mid", &columns, &rows)) }
            }
        }
    };
    Ok(PageContent::new(PageSection::Flows, "Flows", body))
}

/// Draws names as links, or the word `none` if there are no names.
fn draw_links(names: &[String], address: fn(&str) -> String, none: &str) -> Markup {
    html! {
        @if names.is_empty() { span class="soft" { (none) } }
        @for (n, name) in names.iter().enumerate() {
            @if n > 0 { ", " }
            a href=(address(name)) { (name) }
        }
    }
}

fn draw_cells(route: &FlowRuntime) -> Markup {
    let flow = &route.flow.settings;
    let events: Vec<String> = flow.events.iter().map(ToString::to_string).collect();
    let modules: Vec<String> = flow.modules.iter().map(|module| module.name.clone()).collect();
    html! {
        (draw_cell("nw", &html! { a class="name" href=(flow_address(&flow.name)) { (flow.name) } }))
        (draw_cell("r nw", &flow_sign(route).draw()))
        (draw_cell("w", &html! {
            code { (events.join(", ")) }
            span class="why" {
                "from "
                (if flow.sources.is_empty() { "any source".to_owned() } else { flow.sources.join(", ") })
            }
        }))
        (draw_cell("w", &draw_links(&modules, module_address, "none")))
        (draw_cell("w", &draw_links(&flow.endpoints, endpoint_address, "none")))
    }
}

async fn find_flow(call: &PageCall, name: &str) -> Result<Arc<FlowRuntime>, PageProblem> {
    // The REST handler decides whether a flow with this id or name exists.
    let path = Path(name.to_owned());
    drop(show_flow(call.state(), call.principal.clone(), path).await?);
    let settings = call.settings();
    let is = |route: &&Arc<FlowRuntime>| {
        route.flow.settings.name == name || route.flow.id.to_string() == name
    };
    let found = settings.flows().iter().find(is).cloned();
    Ok(found.ok_or_else(|| ApiProblem::missing("flow", name))?)
}

/// Shows one flow.
pub async fn show_page(call: PageCall, Path(name): Path<String>) -> PageResult {
    let route = find_flow(&call, &name).await?;
    let flow = &route.flow.settings;
    let masked = FlowResource::masked(flow)?;
    let settings = draw_settings(&masked)?;
    let body = html! {
        div class="stack" {
            (draw_head(&call, &route))
            @if route.locked {
                p class="note bad" {
                    "The configuration of its modules cannot be read with this server's key. Its \
                     events become dead letters until you enter the configuration again."
                }
            }
            div class="wide-narrow" {
                (draw_path(&call, &route))
                section class="panel" aria-labelledby="set" {
                    header {
                        h2 id="set" { "Settings" }
                        span class="meta" { "changed " (draw_age(call.now, route.flow.updated_at)) }
                    }
                    (settings)
                }
            }
        }
    };
    let title = flow.name.clone();
    Ok(PageContent::new(PageSection::Flows, title, body).below("Flows", FLOWS))
}

fn draw_head(call: &PageCall, route: &FlowRuntime) -> Markup {
    let flow = &route.flow.settings;
    let here = flow_address(&flow.name);
    let may_set = call.principal.may_call(&Method::PATCH, "/api/v1/flows/{id}");
    html! {
        div class="head" {
            div class="row" { h1 { (flow.name) } (flow_sign(route).draw_pill()) }
            div class="row" {
                (draw_trial_button(call, &flow.name))
                (draw_edit_button::<FlowResource>(call, &flow.name, ""))
                @if may_set && flow.enabled {
                    (draw_confirmation(call, &format!("{here}/pause"), "Pause…", "Pause it",
                        "The flow ignores events that arrive while it is paused. They are not stored for it."))
                } @else if may_set {
                    (draw_button(call, &format!("{here}/resume"), "main", "Resume"))
                }
                (draw_delete_button::<FlowResource>(call, &flow.name))
            }
        }
    }
}

/// Draws the path of an event through the flow.
fn draw_path(call: &PageCall, route: &FlowRuntime) -> Markup {
    let flow = &route.flow.settings;
    let events: Vec<String> = flow.events.iter().map(ToString::to_string).collect();
    let settings = call.settings();
    html! {
        section class="panel" aria-labelledby="way" {
            header { h2 id="way" { "The path of an event" } }
            div class="in" {
                dl class="facts" {
                    dt { "From" } dd { (draw_links(&flow.sources, source_address, "any source")) }
                    dt { "Of type" } dd { code { (events.join(", ")) } }
                    @for (n, module) in flow.modules.iter().enumerate() {
                        dt { "Module " (n + 1) }
                        dd {
                            a href=(module_address(&module.name)) { (module.name) }
                            @match module.version {
                                Some(version) => { " stays on v" (version) }, None => " the active version"
                            }
                            @if !module.config.is_empty() {
                                ", "
                                (tell_number(module.config.len() as u64, "setting", "settings"))
                            }
                        }
                    }
                    @if flow.modules.is_empty() {
                        dt { "Modules" } dd { "none: events pass unchanged" }
                    }
                    @for name in &flow.endpoints {
                        dt { "To" }
                        dd {
                            a href=(endpoint_address(name)) { (name) }
                            @match settings.endpoint_named(name) {
                                None => span class="bad" { ", which does not exist" },
                                Some(target) if !target.endpoint.settings.enabled => ", which is paused",
                                Some(_) => {},
                            }
                        }
                    }
                    dt { "Created" } dd { (draw_age(call.now, route.flow.created_at)) }
                    dt { "Id" } dd { code { (route.flow.id) } }
                }
            }
        }
    }
}

/// Pauses a flow. Events that arrive meanwhile do not go through it.
pub async fn pause(call: PageCall, Path(name): Path<String>, _fields: FormFields) -> ActionResult {
    enable(&call, &name, false).await?;
    Ok(call.done(&flow_address(&name), format!("{name} is paused. Resume takes events again.")))
}

/// Resumes a flow.
pub async fn resume(call: PageCall, Path(name): Path<String>, _fields: FormFields) -> ActionResult {
    enable(&call, &name, true).await?;
    Ok(call.done(&flow_address(&name), format!("{name} takes events again.")))
}

async fn enable(call: &PageCall, name: &str, enabled: bool) -> Result<(), PageProblem> {
    let wanted: Map<String, Value> =
        [("enabled".to_owned(), Value::Bool(enabled))].into_iter().collect();
    let path = Path(name.to_owned());
    drop(
        update_flow(call.state(), call.principal.clone(), path, IfMatch::ANY, JsonInput(wanted))
            .await?,
    );
    Ok(())
}
