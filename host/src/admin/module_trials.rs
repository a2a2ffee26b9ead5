//! The part of a module's page about trials: how the version on trial compares with the active one,
//! and the forms that begin, change, promote and end a trial.

use super::call::{ActionResult, PageCall, PageProblem};
use super::events::event_address;
use super::forms::FormFields;
use super::layout::{draw_confirmation, draw_form_key};
use super::module_address;
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, draw_id, tell_count, tell_millis};
use crate::api::body::JsonInput;
use crate::api::modules::ModuleView;
use crate::api::modules::activation::ApprovalRequest;
use crate::api::modules::trial::{
    CanaryRequest, ShadowRequest, USUAL_SHARE, canary_module, promote_module, roll_back_module,
    shadow_module, show_trial,
};
use crate::api::modules::trial_view::{TrialArm, TrialComparison, TrialExampleView, TrialView};
use crate::api::problem::ApiProblem;
use crate::model::module_trial::{CanaryLimits, TrialMode};
use axum::Json;
use axum::extract::Path;
use maud::{Markup, html};

/// The REST route whose need guards the forms that begin a trial.
pub const CANARY: &str = "/api/v1/modules/{name}/versions/{version}/canary";
/// The REST route that shows a trial.
const TRIAL: &str = "/api/v1/modules/{name}/trial";

/// Draws the trial of a module, or the form that begins one. Draws nothing if there is neither.
pub async fn draw_trial(
    call: &PageCall,
    name: &str,
    versions: &[ModuleView],
) -> Result<Markup, PageProblem> {
    let is_tried = versions.iter().any(|view| view.trial.is_some());
    let view = if is_tried && call.may_read(TRIAL) {
        let path = Path(name.to_owned());
        let Json(found) = show_trial(call.state(), call.principal.clone(), path).await?;
        Some(found.data)
    } else {
        None
    };
    let is_running = view.as_ref().is_some_and(|view| view.ended_at.is_none());
    let may_begin = !is_running && call.may_post(CANARY);
    let active = versions.iter().find(|view| view.active).map(|view| view.version);
    let others: Vec<&ModuleView> = versions.iter().filter(|view| !view.active).collect();
    Ok(html! {
        @if let Some(view) = &view { (draw_results(call, view, versions)) }
        @if let Some(active) = active.filter(|_| may_begin && !others.is_empty()) {
            (draw_beginning(call, name, active, &others))
        }
    })
}

fn draw_results(call: &PageCall, view: &TrialView, versions: &[ModuleView]) -> Markup {
    let is_shadow = view.mode == TrialMode::Shadow;
    let sign = match view.mode {
        _ if view.ended_at.is_some() => StateSign::ENDED,
        TrialMode::Shadow => StateSign { word: "Shadow", ..StateSign::RUNNING },
        TrialMode::Canary => StateSign { word: "Canary", ..StateSign::RUNNING },
    };
    html! {
        section class="panel" id="trial" aria-labelledby="tr" {
            header {
                h2 id="tr" { "Version " (view.version) " on trial" }
                span class="row" { (sign.draw_pill()) }
            }
            div class="in stack-s" {
                @if let Some((at, why)) = view.ended_at.zip(view.ended_why.as_ref()) {
                    p class="warn" { "Ended " (draw_age(call.now, at)) ": " (why) "." }
                } @else if is_shadow {
                    p class="hint" {
                        "It runs on " (view.share) " % of the events, beside the active version and without \
                         effect, since " (draw_age(call.now, view.started_at)) "."
                    }
                } @else {
                    p class="hint" {
                        "It runs for " (view.share) " % of the records since "
                        (draw_age(call.now, view.started_at)) ". It is rolled back if more than "
                        (view.max_failure_rate) " % of at least " (view.min_calls)
                        " calls fail, and more than of the active version."
                    }
                }
                (draw_arms(view, versions))
                @if let Some(comparison) = &view.comparison { (draw_comparison(comparison)) }
                @for example in view.examples.iter().flatten() { (draw_example(example)) }
                @if view.ended_at.is_none() { (draw_actions(call, view)) }
            }
        }
    }
}

/// Draws both versions side by side: the counts of all nodes, and the figures of this one.
fn draw_arms(view: &TrialView, versions: &[ModuleView]) -> Markup {
    let columns = [
        ("Version", false),
        ("Calls", true),
        ("Failed", true),
        ("Average", true),
        ("p50 here", true),
        ("p95 here", true),
        ("Outcomes here", false),
    ];
    let rows = html! {
        (draw_arm("active", &view.active, versions))
        (draw_arm("on trial", &view.tried, versions))
    };
    draw_table(
        "Both versions: counts of all nodes, times and outcomes of this one",
        "mid",
        &columns,
        &rows,
    )
}

fn draw_arm(word: &str, arm: &TrialArm, versions: &[ModuleView]) -> Markup {
    let own = versions.iter().find(|view| Some(view.version) == arm.version);
    let figures = own.and_then(|view| view.figures.as_ref());
    let time = |millis: Option<f64>| millis.map_or_else(|| "–".to_owned(), tell_millis);
    let outcomes = figures.into_iter().flat_map(|figures| &figures.outcomes);
    let outcomes: Vec<String> =
        outcomes.map(|(code, calls)| format!("{code} {}", tell_count(*calls))).collect();
    draw_row(&html! {
        (draw_cell("nw", &html! {
            @match arm.version { Some(version) => b { "v" (version) }, None => "none" }
            span class="why" { (word) }
        }))
        (draw_labelled_cell("num", "Calls", &html! { (tell_count(arm.calls)) }))
        (draw_labelled_cell("num", "Failed", &html! {
            (tell_count(arm.failed))
            @if let Some(percent) = (arm.failed * 100).checked_div(arm.calls) {
                @if arm.failed > 0 { " (" (percent) " %)" }
            }
        }))
        (draw_labelled_cell("num nw", "Average", &html! {
            @match arm.mean_us { Some(micros) => { (tell_count(micros)) " µs" }, None => "–" }
        }))
        (draw_labelled_cell("num nw", "p50 here", &html! { (time(figures.and_then(|f| f.p50_ms))) }))
        (draw_labelled_cell("num nw", "p95 here", &html! { (time(figures.and_then(|f| f.p95_ms))) }))
        (draw_labelled_cell("w", "Outcomes here", &html! {
            @if outcomes.is_empty() { "–" } @else { (outcomes.join(", ")) }
        }))
    })
}

fn draw_comparison(comparison: &TrialComparison) -> Markup {
    let counts = [
        ("The same", comparison.same),
        ("Changed", comparison.changed),
        ("Newly dropped", comparison.newly_dropped),
        ("Newly failing", comparison.newly_failing),
        ("No longer failing", comparison.no_longer_failing),
        ("Answer not recorded", comparison.not_recorded),
        ("Left out", comparison.left_out),
    ];
    html! {
        dl class="facts" {
            @for (title, count) in counts {
                dt { (title) }
                dd {
                    @if title == "Newly failing" && count > 0 {
                        (StateSign::FAILING.draw_with(&tell_count(count)))
                    } @else { (tell_count(count)) }
                }
            }
        }
    }
}

fn draw_example(example: &TrialExampleView) -> Markup {
    html! {
        h3 {
            (draw_id(&example.event_id, &event_address(&example.event_id)))
            " in " (example.flow) ": " (example.kind.replace('_', " "))
        }
        @if !example.differences.is_empty() {
            ul class="plain" { @for line in &example.differences { li { code { (line) } } } }
        }
    }
}

fn draw_actions(call: &PageCall, view: &TrialView) -> Markup {
    let address = module_address(&view.module);
    let [promote, roll_back] = ["promote", "rollback"].map(|action| format!("{address}/{action}"));
    html! {
        @if call.may_post(CANARY) {
            form class="fields" method="post" action={ (address) "/trial" } {
                (draw_form_key(call))
                input type="hidden" name="version" value=(view.version);
                (draw_mode(view.mode, view.active.version))
                // Empty for a shadow, so that its 100 % do not become those of a canary.
                (draw_share(Some(view.share).filter(|_| view.mode == TrialMode::Canary)))
                (draw_limits(view.max_failure_rate, view.min_calls))
                div class="row" { button class="btn" type="submit" { "Change" } }
            }
            div class="row" {
                (draw_confirmation(call, &promote, "Promote…", "Promote it",
                    "Flows that are not pinned to a version run this one for all records from the next event on."))
                (draw_confirmation(call, &roll_back, "Roll back…", "Roll it back",
                    "The active version runs all events again. The results stay here until another trial begins."))
            }
        }
    }
}

fn draw_mode(chosen: TrialMode, active: Option<u32>) -> Markup {
    let active = active.map(|version| format!("v{version}")).unwrap_or_default();
    html! {
        div class="field" {
            label for="tmode" { "How" }
            select id="tmode" name="mode" aria-describedby="tmode-h" {
                option value="shadow" selected[chosen == TrialMode::Shadow] {
                    "Shadow: beside " (active) ", without effect"
                }
                option value="canary" selected[chosen == TrialMode::Canary] {
                    "Canary: instead of " (active) ", for a share"
                }
            }
            p class="hint" id="tmode-h" {
                "A shadow sends nothing and compares the results. A canary runs a share of the records \
                 for real, and is rolled back if it fails."
            }
        }
    }
}

fn draw_share(share: Option<u32>) -> Markup {
    html! {
        div class="field" {
            label for="share" { "Share in percent" }
            input id="share" name="share" type="number" min="1" max="100" value=[share] aria-describedby="share-h";
            p class="hint" id="share-h" {
                "Of the events for a shadow, of the records for a canary. Empty: 100 for a new shadow, "
                (USUAL_SHARE) " for a new canary."
            }
        }
    }
}

fn draw_limits(max_failure_rate: u32, min_calls: u32) -> Markup {
    html! {
        div class="field" {
            label for="rate" { "Roll back above (% failed)" }
            input id="rate" name="max_failure_rate" type="number" min="0" max="100" value=(max_failure_rate);
        }
        div class="field" {
            label for="calls" { "Judge from this many calls on" }
            input id="calls" name="min_calls" type="number" min="1" value=(min_calls);
        }
    }
}

fn draw_beginning(call: &PageCall, name: &str, active: u32, others: &[&ModuleView]) -> Markup {
    let CanaryLimits { max_failure_rate, min_calls } = CanaryLimits::default();
    html! {
        section class="panel" aria-labelledby="try" {
            header { h2 id="try" { "Try a version on live events" } }
            form class="in stack-s" method="post" action={ (module_address(name)) "/trial" } {
                (draw_form_key(call))
                div class="fields" {
                    div class="field" {
                        label for="tversion" { "Version" }
                        select id="tversion" name="version" {
                            @for view in others { option value=(view.version) { "v" (view.version) } }
                        }
                    }
                    (draw_mode(TrialMode::Shadow, Some(active)))
                    (draw_share(None))
                    (draw_limits(max_failure_rate, min_calls))
                }
                div class="row" { button class="btn main" type="submit" { "Begin" } }
            }
        }
    }
}

/// Reads a field with a number.
fn read_number(fields: &FormFields, name: &str) -> Result<Option<u32>, ApiProblem> {
    let number = fields.text(name).map(str::parse).transpose();
    number.map_err(|_not_one| ApiProblem::fault(name, "is not a whole number"))
}

/// Begins a trial, or changes the running one.
pub async fn begin(call: PageCall, Path(name): Path<String>, fields: FormFields) -> ActionResult {
    let version = fields.required("version")?.to_owned();
    let share = read_number(&fields, "share")?;
    let (path, force) = (Path((name.clone(), version)), false);
    let (state, principal, approve) = (call.state(), call.principal.clone(), Vec::new());
    let (_, Json(begun)) = if fields.required("mode")? == "canary" {
        let max_failure_rate = read_number(&fields, "max_failure_rate")?;
        let min_calls = read_number(&fields, "min_calls")?;
        let request = CanaryRequest { share, max_failure_rate, min_calls, approve, force };
        canary_module(state, principal, path, JsonInput(request)).await?
    } else {
        let request = ShadowRequest { share, approve, force };
        shadow_module(state, principal, path, JsonInput(request)).await?
    };
    let TrialView { version, share, mode, warning, .. } = begun.data;
    let mut notice = format!("{name} v{version} runs as a {} on {share} %.", mode.name());
    if let Some(warning) = warning {
        notice = format!("{notice} Note: {warning}.");
    }
    Ok(call.done(&module_address(&name), notice))
}

/// Makes the version on trial the active one.
pub async fn promote(call: PageCall, Path(name): Path<String>) -> ActionResult {
    let request = JsonInput(ApprovalRequest::default());
    let (state, principal) = (call.state(), call.principal.clone());
    let (_, Json(made)) = promote_module(state, principal, Path(name.clone()), request).await?;
    let notice = format!("{name} v{} is active.", made.data.version);
    Ok(call.done(&module_address(&name), notice))
}

/// Ends the trial.
pub async fn roll_back(call: PageCall, Path(name): Path<String>) -> ActionResult {
    let (state, principal) = (call.state(), call.principal.clone());
    let Json(ended) = roll_back_module(state, principal, Path(name.clone())).await?;
    let notice = format!("The trial of {name} v{} is over.", ended.data.version);
    Ok(call.done(&module_address(&name), notice))
}
