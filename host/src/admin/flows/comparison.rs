//! Runs a flow on recent events with other versions of its modules, and compares the results with
//! those of the current versions.

use super::trial::recent_events;
use super::trial_result::end_sign;
use crate::admin::call::PageCall;
use crate::admin::events::event_address;
use crate::admin::payload_changes::draw_changes;
use crate::admin::signs::StateSign;
use crate::admin::texts::{draw_id, tell_number};
use crate::api::dry_run::{DryRunAnswer, DryRunRequest, TrialVersion, try_flow};
use crate::api::problem::ApiProblem;
use maud::{Markup, html};
use serde_json::{Value, json};

/// Recent events that are searched for those that the flow accepts.
const LOOKED_AT: u32 = 100;
/// Most events on which the flow runs, twice each.
const MOST_RUNS: usize = 25;
/// Most events with shown differences.
const MOST_SHOWN: usize = 10;

/// An event with different results.
#[derive(Debug)]
struct DifferentEvent {
    id: String,
    ends: [&'static str; 2],
    results: [Value; 2],
}

/// The result of a backtest.
#[derive(Debug, Default)]
pub struct BacktestReport {
    looked_at: usize,
    same: u64,
    newly_failing: u64,
    different: Vec<DifferentEvent>,
}

/// Runs the backtest. Events that the flow would not accept are left out.
pub async fn run_backtest(
    call: &PageCall,
    flow: &str,
    versions: &[TrialVersion],
) -> Result<BacktestReport, ApiProblem> {
    if versions.is_empty() {
        return Err(ApiProblem::fault("versions", "choose another version of at least one module"));
    }
    let events = recent_events(call, LOOKED_AT).await.map_err(|problem| problem.0)?;
    let mut report = BacktestReport { looked_at: events.len(), ..BacktestReport::default() };
    let mut runs = 0;
    for event in events.iter().filter(|event| event.payload_pruned_at.is_none()) {
        if runs == MOST_RUNS {
            break;
        }
        let id = event.id.to_string();
        let present = run_one(call, flow, &id, Vec::new()).await?;
        if present.not_taken.is_some() {
            continue;
        }
        let other = run_one(call, flow, &id, versions.to_vec()).await?;
        report.note(id, &present, &other);
        runs += 1;
    }
    Ok(report)
}

async fn run_one(
    call: &PageCall,
    flow: &str,
    event: &str,
    versions: Vec<TrialVersion>,
) -> Result<DryRunAnswer, ApiProblem> {
    let request = DryRunRequest::of_event(event.to_owned(), versions);
    let (answer, place) = try_flow(call.app(), &call.principal, flow, &request).await?;
    drop(place);
    Ok(answer)
}

/// Returns what a person compares: what receivers would get, or how the run failed. The ids of
/// drafts are derived from the module's digest, so they always differ and are left out.
fn tell_result(answer: &DryRunAnswer) -> Value {
    let dispatches = answer.dispatches.iter().map(|one| {
        let body: Value =
            one.body.as_ref().and_then(|body| serde_json::from_str(body.get()).ok()).unwrap_or_default();
        let mut body = body;
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|name, _| name != "id");
        }
        json!({"endpoint": one.endpoint, "type": one.event_type, "sent": one.would_send, "body": body})
    });
    let failure = answer.failure.as_ref().map(|failure| failure.detail.as_str());
    json!({"failure": failure, "deliveries": dispatches.collect::<Vec<_>>()})
}

impl BacktestReport {
    fn note(&mut self, id: String, present: &DryRunAnswer, other: &DryRunAnswer) {
        let results = [tell_result(present), tell_result(other)];
        let [before, after] = &results;
        if before == after {
            self.same += 1;
            return;
        }
        self.newly_failing += u64::from(other.end == "failed" && present.end != "failed");
        self.different.push(DifferentEvent { id, ends: [present.end, other.end], results });
    }
}

/// Draws the report.
pub fn draw_backtest(_call: &PageCall, report: &BacktestReport) -> Markup {
    let different = report.different.len() as u64;
    let runs = report.same + different;
    let hidden = report.different.len().saturating_sub(MOST_SHOWN);
    html! {
        section class="panel" id="result" aria-labelledby="res" {
            header { h2 id="res" { "Backtest on " (tell_number(runs, "recent event", "recent events")) } }
            div class="in stack-s" {
                dl class="facts" {
                    dt { "The same" } dd { (report.same) }
                    dt { "Different" } dd { (different) }
                    dt { "Newly failing" }
                    dd {
                        @if report.newly_failing > 0 {
                            (StateSign::FAILING.draw_with(&report.newly_failing.to_string()))
                        } @else { "0" }
                    }
                }
                p class="hint" {
                    "Among the newest " (report.looked_at) " events, those that the flow accepts, at most "
                    (MOST_RUNS) ". " code { "waybill flow backtest" } " covers more events."
                }
                @for event in report.different.iter().take(MOST_SHOWN) { (draw_event(event)) }
                @if hidden > 0 { p class="hint" { (hidden) " more events differ." } }
            }
        }
    }
}

fn draw_event(event: &DifferentEvent) -> Markup {
    let [present, other] = event.ends;
    let [before, after] = &event.results;
    html! {
        h3 {
            (draw_id(&event.id, &event_address(&event.id))) " "
            (end_sign(present).draw()) " → " (end_sign(other).draw())
        }
        (draw_changes(before, after))
    }
}
