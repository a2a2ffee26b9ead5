//! Tries a flow on stored events: one dry run that shows what each module changed, or a backtest
//! that compares other versions with the current ones. Nothing is stored and nothing is sent.

use super::FLOWS;
use super::comparison::{BacktestReport, draw_backtest, run_backtest};
use super::trial_result::draw_result;
use crate::admin::call::{PageCall, PageContent, PageProblem, PageResult, PageSection};
use crate::admin::events::event_title_of;
use crate::admin::flow_address;
use crate::admin::forms::FormFields;
use crate::admin::layout::draw_form_key;
use crate::admin::signs::draw_icon;
use crate::admin::texts::{short_id, tell_ago};
use crate::api::body::QueryInput;
use crate::api::dry_run::{DryRunRequest, TrialVersion, try_flow};
use crate::api::events::{EventQuery, EventView, list_events};
use crate::api::flows::FlowResource;
use crate::api::modules::list_modules;
use crate::api::problem::ApiProblem;
use crate::api::resource::SettingsResource as _;
use crate::settings::FlowRuntime;
use axum::Json;
use axum::extract::Path;
use http::{StatusCode, Uri};
use maud::{Markup, html};
use std::sync::Arc;

/// The REST route whose need guards a dry run.
pub const RUN: &str = "/api/v1/flows/{id}/run";
/// Most recent events that the form offers.
const OFFERED: u32 = 30;
/// Prefix of the names of the fields with versions.
const VERSION: &str = "version.";
/// Name of the button that starts a backtest.
const BACKTEST: &str = "backtest";

/// Draws the button that leads to the page, if the token may run modules.
pub fn draw_trial_button(call: &PageCall, name: &str) -> Markup {
    html! {
        @if call.may_post(RUN) {
            a class="btn" href={ (flow_address(name)) "/run" } { "Try it" }
        }
    }
}

/// A module of the flow, with its versions.
struct TrialModule {
    name: String,
    /// The version to which the flow is pinned. `None` for the active version.
    pinned: Option<u32>,
    versions: Vec<(u32, bool)>,
}

/// The data of the page.
pub struct TrialPage {
    route: Arc<FlowRuntime>,
    /// Recent events, newest first.
    events: Vec<EventView>,
    modules: Vec<TrialModule>,
}

impl TrialPage {
    async fn load(call: &PageCall, id: &str) -> Result<Self, PageProblem> {
        let route = FlowResource::find(&call.settings(), id)?;
        let mut events = recent_events(call, OFFERED).await?;
        // The events that the flow takes come first. The sort is stable, so they stay newest first.
        let patterns = &route.flow.settings.events;
        events.sort_by_key(|event| !patterns.iter().any(|one| one.matches(&event.event_type)));
        let mut modules = Vec::new();
        if call.may_read("/api/v1/modules") && !route.flow.settings.modules.is_empty() {
            let Json(found) = list_modules(call.state(), call.principal.clone()).await?;
            for module in &route.flow.settings.modules {
                let own = found.data.iter().filter(|view| view.name == module.name);
                let mut versions: Vec<_> = own.map(|view| (view.version, view.active)).collect();
                versions.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
                let (name, pinned) = (module.name.clone(), module.version);
                modules.push(TrialModule { name, pinned, versions });
            }
        }
        Ok(Self { route, events, modules })
    }

    fn name(&self) -> &str {
        &self.route.flow.settings.name
    }
}

/// Returns the newest events that the token may read.
pub async fn recent_events(call: &PageCall, limit: u32) -> Result<Vec<EventView>, PageProblem> {
    if !call.may_read("/api/v1/events") {
        return Ok(Vec::new());
    }
    let settings = &call.principal.token().settings;
    let query = EventQuery {
        resource: settings.tables.first().cloned(),
        source: settings.sources.first().cloned(),
        limit: Some(limit.to_string()),
        ..EventQuery::default()
    };
    let principal = call.principal.clone();
    let Json(found) =
        list_events(call.state(), principal, Uri::default(), QueryInput(query)).await?;
    Ok(found.data)
}

/// Shows the form.
pub async fn show_page(call: PageCall, Path(id): Path<String>) -> PageResult {
    let page = TrialPage::load(&call, &id).await?;
    Ok(draw_page(&call, &page, &FormFields::default(), None))
}

/// Runs the flow on the chosen event, or on recent events.
pub async fn run(call: PageCall, Path(id): Path<String>, form: FormFields) -> PageResult {
    let page = TrialPage::load(&call, &id).await?;
    let found = if form.has(BACKTEST) {
        let versions = read_versions(&form)?;
        run_backtest(&call, page.name(), &versions).await.map(TrialFound::Backtest)
    } else {
        run_once(&call, page.name(), &form).await
    };
    match found {
        Ok(TrialFound::Run(result)) => Ok(draw_page(&call, &page, &form, Some(result))),
        Ok(TrialFound::Backtest(report)) => {
            Ok(draw_page(&call, &page, &form, Some(draw_backtest(&call, &report))))
        }
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY.as_u16() => {
            let wrong = html! {
                p class="note bad" role="alert" { (draw_icon("bad")) (problem.detail) }
            };
            let content = draw_page(&call, &page, &form, Some(wrong));
            Ok(PageContent { status: StatusCode::UNPROCESSABLE_ENTITY, ..content })
        }
        Err(problem) => Err(problem.into()),
    }
}

enum TrialFound {
    Run(Markup),
    Backtest(BacktestReport),
}

async fn run_once(
    call: &PageCall,
    flow: &str,
    form: &FormFields,
) -> Result<TrialFound, ApiProblem> {
    let typed = form.text("event_id").or_else(|| form.text("recent"));
    let event = typed.ok_or_else(|| ApiProblem::fault("event", "choose an event"))?;
    let request = DryRunRequest::of_event(event.to_owned(), read_versions(form)?);
    let (answer, place) = try_flow(call.app(), &call.principal, flow, &request).await?;
    drop(place);
    Ok(TrialFound::Run(draw_result(call, &answer)))
}

/// Reads the chosen versions. Modules without a choice keep the flow's own version.
fn read_versions(form: &FormFields) -> Result<Vec<TrialVersion>, ApiProblem> {
    let chosen = form.beginning_with(VERSION).filter(|(_, text)| !text.trim().is_empty());
    let read = chosen.map(|(name, text)| {
        let version =
            text.trim().parse().map_err(|_not_one| ApiProblem::fault(name, "is not a number"))?;
        let name = name.strip_prefix(VERSION).unwrap_or_default().to_owned();
        Ok(TrialVersion { name, version })
    });
    read.collect()
}

fn draw_page(
    call: &PageCall,
    page: &TrialPage,
    form: &FormFields,
    result: Option<Markup>,
) -> PageContent {
    let name = page.name();
    let address = flow_address(name);
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { "Try " (name) }
                p class="lead s" {
                    "Its modules run as they would on a live event. Nothing is stored, and nothing \
                     is sent."
                }
            } }
            form method="post" action={ (address) "/run" } class="panel" {
                (draw_form_key(call))
                div class="in stack-s" {
                    div class="fields" {
                        (draw_events(call, page, form))
                        @for module in &page.modules { (draw_module(module, form)) }
                    }
                    div class="row" {
                        button class="btn main" type="submit" { "Dry run" }
                        @if !page.modules.is_empty() && !page.events.is_empty() {
                            button class="btn" type="submit" name=(BACKTEST) value="yes" {
                                "Backtest these versions"
                            }
                        }
                    }
                }
            }
            @if let Some(result) = result { (result) }
        }
    };
    PageContent::new(PageSection::Flows, "Try", body).below("Flows", FLOWS).below(name, &address)
}

fn draw_events(call: &PageCall, page: &TrialPage, form: &FormFields) -> Markup {
    let chosen = form.text("recent").unwrap_or_default();
    html! {
        @if !page.events.is_empty() {
            div class="field full" {
                label for="recent" { "A recent event" }
                select id="recent" name="recent" {
                    @for event in &page.events {
                        @let id = event.id.to_string();
                        option value=(id) selected[id == chosen] {
                            (event_title_of(event)) ", " (event.event_type) ", "
                            (tell_ago(call.now, event.received_at)) ", " (short_id(&id))
                        }
                    }
                }
            }
        }
        div class="field full" {
            label for="event" { "Or the id of any stored event" }
            input id="event" name="event_id" value=(form.text("event_id").unwrap_or_default())
                autocomplete="off" spellcheck="false" placeholder="evt_…";
        }
    }
}

fn draw_module(module: &TrialModule, form: &FormFields) -> Markup {
    let field = format!("{VERSION}{}", module.name);
    let chosen = form.text(&field).unwrap_or_default();
    html! {
        div class="field" {
            label for=(field) { (module.name) }
            select id=(field) name=(field) {
                option value="" {
                    @match module.pinned {
                        Some(version) => { "as set: v" (version) },
                        None => "as set: the active version",
                    }
                }
                @for (version, is_active) in &module.versions {
                    option value=(version) selected[version.to_string() == chosen] {
                        "v" (version) @if *is_active { ", active" }
                    }
                }
            }
        }
    }
}
