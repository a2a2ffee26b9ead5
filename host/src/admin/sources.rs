//! The page of sources: whether events come, and how each source is set, as the REST API shows it.

use super::call::{ActionResult, PageCall, PageContent, PageProblem, PageResult, PageSection};
use super::editor::pages::{draw_edit_button, draw_new_button};
use super::editor::removal::draw_delete_button;
use super::editor::rotation::draw_rotate_button;
use super::forms::FormFields;
use super::layout::{draw_button, draw_confirmation};
use super::shown::read_shown;
use super::signs::{StateSign, StateTone, draw_icon};
use super::source_address;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_settings, draw_table};
use super::texts::{draw_age, draw_due, encode_query, tell_count, tell_number};
use crate::api::resource::SettingsResource as _;
use crate::api::sources::{self as rest, SourceResource, find_source};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::Path;
use maud::{Markup, html};
use serde::Deserialize;

/// Address of the list.
pub const SOURCES: &str = "/admin/sources";

/// The part of a source in the REST API that pages show.
#[derive(Debug, Clone, Deserialize)]
pub struct ShownSource {
    pub name: String,
    pub kind: String,
    pub enabled: bool,
    path: Option<String>,
    warning: Option<String>,
    status: ShownFigures,
    run: Option<ShownRun>,
    updated_at: Timestamp,
}

/// Counts of the source since the server started.
#[derive(Debug, Clone, Deserialize)]
struct ShownFigures {
    captured: u64,
    duplicates: u64,
    #[serde(default)]
    refused: std::collections::BTreeMap<String, u64>,
    last_success_at: Option<Timestamp>,
    last_error_at: Option<Timestamp>,
    last_error: Option<String>,
}

/// The state of a source's runs.
#[derive(Debug, Clone, Deserialize)]
struct ShownRun {
    running: bool,
    finished_at: Option<Timestamp>,
    next_at: Option<Timestamp>,
    rows: u64,
    events: u64,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    stream: Option<ShownPosition>,
}

/// Where it stands in its stream or queue.
#[derive(Debug, Clone, Deserialize)]
struct ShownPosition {
    waiting: Option<u64>,
    last: Option<String>,
    last_at: Option<Timestamp>,
}

/// Loads all sources.
pub async fn load_sources(call: &PageCall) -> Result<Vec<ShownSource>, PageProblem> {
    let Json(found) = rest::list_sources(call.state(), call.principal.clone()).await?;
    Ok(read_shown(found.data)?)
}

impl ShownSource {
    /// Returns the state and its reason.
    pub fn judge(&self) -> (StateSign, String) {
        if !self.enabled {
            return (StateSign::PAUSED, "accepts no events".to_owned());
        }
        if let Some(error) = self.run.as_ref().and_then(|run| run.error.clone()) {
            return (StateSign::FAILING, error);
        }
        let figures = &self.status;
        if figures.last_error_at > figures.last_success_at {
            let why = figures.last_error.clone().unwrap_or_default();
            return (StateSign { word: "Refusing", ..StateSign::WARNING }, why);
        }
        if let Some(run) = self.run.as_ref().filter(|run| run.running) {
            let why = match run.stream.as_ref().and_then(|stream| stream.waiting) {
                Some(waiting) => tell_number(waiting, "message waits", "messages wait"),
                None => tell_number(run.rows, "row so far", "rows so far"),
            };
            return (StateSign::RUNNING, why);
        }
        match &self.warning {
            Some(warning) => (StateSign::WARNING, warning.clone()),
            None => (StateSign::UP, String::new()),
        }
    }

    /// Returns when the source last sent an event.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.status.last_success_at
    }

    /// Returns how many events the source sent since the server started.
    pub fn captured(&self) -> u64 {
        self.status.captured
    }

    /// Returns when the source last failed.
    pub fn failed_at(&self) -> Option<Timestamp> {
        self.run.as_ref().and_then(|run| run.finished_at).or(self.status.last_error_at)
    }
}

/// Shows all sources.
pub async fn show_list(call: PageCall) -> PageResult {
    let all = load_sources(&call).await?;
    let rows = html! { @for source in &all { (draw_row(&draw_cells(&call, source))) } };
    let columns =
        [("Source", false), ("State", false), ("Events", true), ("Last", true), ("Next run", true)];
    let bad = all.iter().filter(|source| source.judge().0.tone == StateTone::Bad).count();
    let body = html! {
        div class="stack" {
            div class="head" {
                div {
                    h1 {
                        (tell_number(all.len() as u64, "source", "sources"))
                        @if bad > 0 { ", " (bad) " failing" }
                    }
                    p class="lead s" { "Counts are since this server started." }
                }
                (draw_new_button::<SourceResource>(&call))
            }
            section class="panel" aria-label="Sources" {
                @if all.is_empty() {
                    p class="in" {
                        "There is no source yet. Events can be sent to "
                        code { "/api/v1/events" }
                        " without one."
                    }
                } @else { (draw_table("Sources", "mid", &columns, &rows)) }
            }
        }
    };
    Ok(PageContent::new(PageSection::Sources, "Sources", body))
}

fn draw_cells(call: &PageCall, source: &ShownSource) -> Markup {
    let (sign, why) = source.judge();
    html! {
        (draw_cell("w nw", &html! {
            a class="name" href=(source_address(&source.name)) { (source.name) }
            span class="why" { (source.kind) }
        }))
        (draw_cell("clip w", &html! { (sign.draw()) span class="why cut" title=(why) { (why) } }))
        (draw_labelled_cell("num", "Events", &html! { (tell_count(source.status.captured)) }))
        (draw_labelled_cell("num nw", "Last", &html! {
            @match source.last_at() { Some(at) => (draw_age(call.now, at)), None => "–" }
        }))
        (draw_labelled_cell("num nw x", "Next run", &html! {
            @match source.run.as_ref().and_then(|run| run.next_at) {
                Some(at) => (draw_due(call.now, at)), None => "–"
            }
        }))
    }
}

/// Shows one source.
pub async fn show_page(call: PageCall, Path(name): Path<String>) -> PageResult {
    let path = Path(name.clone());
    let found = rest::show_source(call.state(), call.principal.clone(), path).await?;
    let source: ShownSource = read_shown(found.into_view())?;
    let runtime = find_source(&call.settings(), &name)?;
    let masked = SourceResource::masked(&runtime.source.settings)?;
    let settings = draw_settings(&masked)?;
    let (sign, why) = source.judge();
    let body = html! {
        div class="stack" {
            (draw_head(&call, &source, sign))
            @if matches!(sign.tone, StateTone::Bad | StateTone::Warn) {
                div class={ "note " (sign.tone.class()) } {
                    (draw_icon(sign.icon)) span { b { (sign.word) ". " } (why) }
                }
            }
            div class="wide-narrow" {
                (draw_figures(&call, &source))
                section class="panel" aria-labelledby="set" {
                    header {
                        h2 id="set" { "Settings" }
                        span class="meta" { "changed " (draw_age(call.now, source.updated_at)) }
                    }
                    (settings)
                }
            }
        }
    };
    Ok(PageContent::new(PageSection::Sources, source.name, body).below("Sources", SOURCES))
}

fn draw_head(call: &PageCall, source: &ShownSource, sign: StateSign) -> Markup {
    let here = source_address(&source.name);
    html! {
        div class="head" {
            div {
                div class="row" { h1 { (source.name) } (sign.draw_pill()) }
                p class="lead s" {
                    (source.kind)
                    @if let Some(path) = &source.path { ", takes webhooks at " code { (path) } }
                }
            }
            div class="row" {
                a class="btn" href={ "/admin/events?source=" (encode_query(&source.name)) } {
                    "Its events"
                }
                @if source.run.is_some() && source.enabled && call.may_post("/api/v1/sources/{id}/run") {
                    (draw_button(call, &format!("{here}/run"), "main", "Run now"))
                }
                (draw_edit_button::<SourceResource>(call, &source.name, ""))
                @if source.path.is_some() { (draw_rotate_button::<SourceResource>(call, &source.name)) }
                @if source.enabled && call.may_post("/api/v1/sources/{id}/pause") {
                    (draw_confirmation(call, &format!("{here}/pause"), "Pause…", "Pause it",
                        "Waybill accepts no more events from it. Its webhooks are refused, and senders are asked \
                         to try again later."))
                }
                @if !source.enabled && call.may_post("/api/v1/sources/{id}/resume") {
                    (draw_button(call, &format!("{here}/resume"), "main", "Resume"))
                }
                (draw_delete_button::<SourceResource>(call, &source.name))
            }
        }
    }
}

fn draw_figures(call: &PageCall, source: &ShownSource) -> Markup {
    let figures = &source.status;
    html! {
        section class="panel" aria-labelledby="fi" {
            header { h2 id="fi" { "Since this server started" } }
            div class="in stack-s" {
                dl class="facts" {
                    dt { "Captured" } dd { (tell_number(figures.captured, "event", "events")) }
                    dt { "Repeats" } dd { (tell_count(figures.duplicates)) }
                    @for (reason, count) in &figures.refused {
                        dt { "Refused" } dd { (tell_count(*count)) ", " (reason) }
                    }
                    @if let Some(at) = figures.last_success_at {
                        dt { "Last came" } dd { (draw_age(call.now, at)) }
                    }
                    @if let Some(at) = figures.last_error_at {
                        dt { "Last refused" } dd { (draw_age(call.now, at)) }
                    }
                    @if let Some(error) = &figures.last_error { dt { "Because" } dd { (error) } }
                }
                @if let Some(run) = &source.run {
                    h3 { "Runs" }
                    dl class="facts" {
                        dt { "State" }
                        dd {
                            @if run.running {
                                (StateSign::RUNNING.draw())
                            } @else {
                                "waits for its next run"
                            }
                        }
                        @if let Some(at) = run.finished_at {
                            dt { "Last run ended" } dd { (draw_age(call.now, at)) }
                        }
                        dt { "It read" }
                        dd {
                            @if run.stream.is_some() {
                                (tell_number(run.rows, "message", "messages"))
                            } @else {
                                (tell_number(run.rows, "row", "rows"))
                            }
                            ", " (tell_number(run.events, "event", "events"))
                        }
                        @if let Some(stream) = &run.stream {
                            (draw_position(call, stream))
                        }
                        @if let Some(at) = run.next_at {
                            dt { "Next" } dd { (draw_due(call.now, at)) }
                        }
                        @if let Some(error) = &run.error {
                            dt { "Error" } dd class="bad" { (error) }
                        }
                        @for warning in &run.warnings { dt { "Warning" } dd { (warning) } }
                    }
                }
            }
        }
    }
}

fn draw_position(call: &PageCall, stream: &ShownPosition) -> Markup {
    html! {
        @if let Some(waiting) = stream.waiting { dt { "Waiting" } dd { (tell_count(waiting)) } }
        @if let Some(last) = &stream.last {
            dt { "Last message" }
            dd {
                code { (last) }
                @if let Some(at) = stream.last_at { ", " (draw_age(call.now, at)) }
            }
        }
    }
}

/// Pauses a source.
pub async fn pause(call: PageCall, Path(name): Path<String>, _fields: FormFields) -> ActionResult {
    let path = Path(name.clone());
    drop(rest::pause_source(call.state(), call.principal.clone(), path).await?);
    Ok(call.done(&source_address(&name), format!("{name} is paused.")))
}

/// Resumes a source.
pub async fn resume(call: PageCall, Path(name): Path<String>, _fields: FormFields) -> ActionResult {
    let path = Path(name.clone());
    drop(rest::resume_source(call.state(), call.principal.clone(), path).await?);
    Ok(call.done(&source_address(&name), format!("{name} is resumed.")))
}

/// Runs a source now.
pub async fn run_now(
    call: PageCall,
    Path(name): Path<String>,
    _fields: FormFields,
) -> ActionResult {
    let path = Path(name.clone());
    drop(rest::run::run_source(call.state(), call.principal.clone(), path).await?);
    Ok(call.done(&source_address(&name), format!("{name} will run as soon as a node is free.")))
}
