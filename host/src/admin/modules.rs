//! The page of modules: which version runs, and which other versions there are.

use super::call::{ActionResult, PageCall, PageContent, PageProblem, PageResult, PageSection};
use super::forms::FormFields;
use super::layout::draw_form_key;
use super::manifests::{draw_activation, draw_manifest};
use super::module_trials::draw_trial;
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, tell_count, tell_number};
use super::version_figures::draw_figures;
use super::{flow_address, module_address};
use crate::api::body::{JsonInput, QueryInput};
use crate::api::modules::activation::{ApprovalRequest, activate_module};
use crate::api::modules::{
    ModuleView, UploadQuery, download_module, list_modules, show_module, upload_module,
};
use crate::api::problem::ApiProblem;
use crate::settings::SettingsSnapshot;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request};
use http::{HeaderValue, header};
use maud::{Markup, html};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Address of the list.
pub const MODULES: &str = "/admin/modules";
/// The REST route that accepts a component.
const UPLOAD: &str = "/api/v1/modules/{name}";
/// Most versions on one page, the newest ones.
const MOST_VERSIONS: usize = 50;

/// The part of a component's report that pages show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ShownReport {
    exports: Vec<String>,
    imports: Vec<String>,
    size: u64,
}

impl ShownReport {
    fn of(view: &ModuleView) -> Self {
        serde_json::from_str(view.report.get()).unwrap_or_default()
    }
}

/// Returns the names of the flows that use a module.
fn flows_with(settings: &SettingsSnapshot, name: &str) -> Vec<String> {
    let flows = settings.flows().iter().map(|route| &route.flow.settings);
    let uses = flows.filter(|flow| flow.modules.iter().any(|module| module.name == name));
    uses.map(|flow| flow.name.clone()).collect()
}

fn draw_flows(flows: &[String]) -> Markup {
    html! {
        @if flows.is_empty() { span class="soft" { "no flow" } }
        @for (n, flow) in flows.iter().enumerate() {
            @if n > 0 { ", " }
            a href=(flow_address(flow)) { (flow) }
        }
    }
}

/// Shows all modules.
pub async fn show_list(call: PageCall) -> PageResult {
    let Json(found) = list_modules(call.state(), call.principal.clone()).await?;
    let mut modules: BTreeMap<&str, Vec<&ModuleView>> = BTreeMap::new();
    for view in &found.data {
        modules.entry(&view.name).or_default().push(view);
    }
    let settings = call.settings();
    let rows = html! {
        @for (name, versions) in &modules {
            @let active = versions.iter().find(|view| view.active);
            (draw_row(&html! {
                (draw_cell("nw", &html! { a class="name" href=(module_address(name)) { (name) } }))
                (draw_cell("r nw", &html! {
                    @match active {
                        Some(active) => (StateSign::ACTIVE.draw_with(&format!("v{} active", active.version))),
                        None => (StateSign { word: "None active", ..StateSign::KEPT }.draw()),
                    }
                }))
                (draw_labelled_cell("num", "Versions", &html! { (versions.len()) }))
                (draw_cell("w", &draw_flows(&flows_with(&settings, name))))
            }))
        }
    };
    let columns = [("Module", false), ("State", false), ("Versions", true), ("Used by", false)];
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 {
                    @if modules.is_empty() { "No modules" }
                    @else { (tell_number(modules.len() as u64, "module", "modules")) }
                }
                p class="lead s" {
                    "A module is a WebAssembly component that filters, changes or routes events."
                }
            } }
            section class="panel" aria-label="Modules" {
                @if modules.is_empty() { p class="in" { "No modules yet. A flow works without one." } }
                @else { (draw_table("Modules", "mid", &columns, &rows)) }
            }
            (draw_upload(&call, None))
        }
    };
    Ok(PageContent::new(PageSection::Modules, "Modules", body))
}

/// Draws the form that uploads a component, if the token may.
fn draw_upload(call: &PageCall, name: Option<&str>) -> Markup {
    let limit = call.app().live.engine().limits().upload_bytes as u64;
    html! {
        @if call.may_post(UPLOAD) {
            section class="panel" aria-labelledby="up" {
                header {
                    h2 id="up" {
                        @if name.is_some() { "Upload a version" } @else { "Upload a module" }
                    }
                }
                form class="in stack-s" method="post" action="/admin/module-upload" enctype="multipart/form-data" {
                    (draw_form_key(call))
                    div class="fields" {
                        @match name {
                            Some(name) => input type="hidden" name="name" value=(name);,
                            None => div class="field" {
                                label for="mname" { "Name" }
                                input id="mname" name="name" required aria-describedby="mname-h";
                                p class="hint" id="mname-h" { "Letters, digits, hyphens" }
                            },
                        }
                        div class="field drop" data-drop {
                            label for="wasm" { "Component" }
                            input id="wasm" name="component" type="file" accept=".wasm,application/wasm" required aria-describedby="wasm-h";
                            p class="hint" id="wasm-h" {
                                "A .wasm file of at most "
                                (tell_count(limit / 1024))
                                " KiB, chosen or dropped here. It is checked and compiled before it is stored."
                            }
                        }
                        label class="check full" {
                            input type="checkbox" name="activate" value="yes";
                            "Run it in flows from now on"
                        }
                    }
                    div class="row" { button class="btn main" type="submit" { "Upload" } }
                }
            }
        }
    }
}

/// Shows the versions of a module.
pub async fn show_page(call: PageCall, Path(name): Path<String>) -> PageResult {
    let path = Path(name.clone());
    let Json(found) = show_module(call.state(), call.principal.clone(), path).await?;
    let mut versions = found.data;
    versions.sort_by_key(|view| std::cmp::Reverse(view.version));
    let active = versions.iter().find(|view| view.active).map(|view| view.version);
    let hidden = versions.len().saturating_sub(MOST_VERSIONS);
    let rows = html! {
        @for view in versions.iter().take(MOST_VERSIONS) { (draw_row(&draw_version(&call, view, active))) }
    };
    let columns = [
        ("Version", false),
        ("State", false),
        ("Uploaded", false),
        ("Exports", false),
        ("Size", true),
        ("", false),
    ];
    let newest = versions.first().map(ShownReport::of).unwrap_or_default();
    let flows = flows_with(&call.settings(), &name);
    let trial = draw_trial(&call, &name, &versions).await?;
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (name) }
                p class="lead s" { "Used by " (draw_flows(&flows)) "." }
            } }
            (trial)
            div class="wide-narrow" {
                section class="panel" aria-labelledby="vs" {
                    header { h2 id="vs" { "Versions" } }
                    (draw_table("Versions, newest first", "mid", &columns, &rows))
                    @if hidden > 0 { footer { (hidden) " older versions are in the API." } }
                }
                section class="panel" aria-labelledby="im" {
                    header { h2 id="im" { "What the newest version asks for" } }
                    div class="in stack-s" {
                        @if let Some(view) = versions.first() { (draw_manifest(view)) }
                        @if !newest.imports.is_empty() {
                            details {
                                summary class="s" {
                                    (tell_number(newest.imports.len() as u64, "interface", "interfaces"))
                                    " that it imports"
                                }
                                ul class="plain" {
                                    @for import in &newest.imports { li { code { (import) } } }
                                }
                            }
                        }
                    }
                }
            }
            (draw_figures(&versions))
            (draw_upload(&call, Some(&name)))
        }
    };
    Ok(PageContent::new(PageSection::Modules, name, body).below("Modules", MODULES))
}

fn draw_version(call: &PageCall, view: &ModuleView, active: Option<u32>) -> Markup {
    let report = ShownReport::of(view);
    let tried = view.trial.as_ref().filter(|trial| trial.state != "ended");
    let sign = match tried {
        Some(trial) => StateSign::RUNNING.draw_with(&format!("{}, {} %", trial.state, trial.share)),
        None if view.active => StateSign::ACTIVE.draw(),
        None => StateSign::KEPT.draw(),
    };
    let may = call.may_post("/api/v1/modules/{name}/versions/{version}/activate");
    html! {
        (draw_cell("nw", &html! {
            b { "v" (view.version) }
            span class="why mono" title=(view.sha256) { (view.sha256.get(..8).unwrap_or_default()) }
        }))
        (draw_cell("r nw", &sign))
        (draw_labelled_cell("nw w", "Uploaded", &draw_age(call.now, view.created_at)))
        (draw_labelled_cell("w", "Exports", &html! { (report.exports.join(", ")) }))
        (draw_labelled_cell("num nw w", "Size", &html! {
            (tell_count(report.size.div_ceil(1024))) " KiB"
        }))
        (draw_cell("act w", &html! {
            a class="btn small" href={ (module_address(&view.name)) "/versions/" (view.version) "/component" }
                download { "Download" }
            @if may && !view.active {
                (draw_activation(call, view, active))
            }
        }))
    }
}

/// Accepts an uploaded component.
pub async fn upload(call: PageCall, fields: FormFields) -> ActionResult {
    let name = fields.required("name")?.to_owned();
    let wasm = fields.file().ok_or_else(|| ApiProblem::fault("component", "choose a file"))?;
    let activate = fields.text("activate").is_some();
    let made = send_component(&call, &name, wasm, activate).await?;
    let runs = if activate { "flows run it from now on" } else { "activate it to run it" };
    let mut notice = format!("{name} v{} was uploaded; {runs}.", made.version);
    if let Some(warning) = made.warning {
        notice = format!("{notice} Note: {warning}.");
    }
    Ok(call.done(&module_address(&name), notice))
}

async fn send_component(
    call: &PageCall,
    name: &str,
    wasm: bytes::Bytes,
    activate: bool,
) -> Result<ModuleView, PageProblem> {
    let mut request = Request::new(Body::from(wasm));
    request.extensions_mut().insert(call.principal.clone());
    let query = QueryInput(UploadQuery { activate, ..UploadQuery::default() });
    let path = Path(name.to_owned());
    let (_, _, Json(made)) =
        upload_module(call.state(), call.principal.clone(), path, query, request).await?;
    Ok(made.data)
}

/// Activates a version, so that flows run it.
pub async fn activate(
    call: PageCall,
    Path((name, version)): Path<(String, String)>,
    fields: FormFields,
) -> ActionResult {
    let path = Path((name.clone(), version));
    let words = fields.text("approve").into_iter().flat_map(|list| list.split(','));
    let approve = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let request = JsonInput(ApprovalRequest { approve, force: false });
    let (_, Json(made)) =
        activate_module(call.state(), call.principal.clone(), path, request).await?;
    let mut notice = format!("{name} v{} is active.", made.data.version);
    if let Some(warning) = made.data.warning {
        notice = format!("{notice} Note: {warning}.");
    }
    Ok(call.done(&module_address(&name), notice))
}

/// Returns the component of a version as a file.
pub async fn download(
    call: PageCall,
    Path((name, version)): Path<(String, String)>,
) -> ActionResult {
    let path = Path((name.clone(), version.clone()));
    let mut answer = download_module(call.state(), call.principal.clone(), path).await?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let file = format!("attachment; filename=\"{name}-v{version}.wasm\"");
    let file = HeaderValue::try_from(file);
    answer.headers_mut().extend(file.ok().map(|file| (header::CONTENT_DISPOSITION, file)));
    Ok(answer)
}
