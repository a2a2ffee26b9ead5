//! The page of alerts: which fire now, which were resolved, and the rules.

use super::call::{ActionResult, PageCall, PageContent, PageResult, PageSection};
use super::events::answer::capitalise;
use super::forms::FormFields;
use super::layout::draw_button;
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, draw_due, draw_prose, tell_number};
use super::{endpoint_address, flow_address, source_address};
use crate::api::alerts::{
    AlertQuery, AlertView, RuleView, SilenceRequest, acknowledge_alert, list_alerts, list_rules,
    silence_alert,
};
use crate::api::body::{JsonInput, QueryInput};
use crate::model::alert::{AlertState, AlertSubject, SubjectKind};
use crate::model::alert_rule::{AlertMetric, AlertSeverity};
use crate::time::span::TimeSpan;
use axum::Json;
use axum::extract::Path;
use http::Uri;
use maud::{Markup, html};
use std::time::Duration;

/// Address of the list.
pub const ALERTS: &str = "/admin/alerts";
/// How long the button silences an alert.
const SILENCE: Duration = Duration::from_hours(8);
/// Most resolved alerts on the page.
const MOST_RESOLVED: usize = 50;

/// Shows all alerts and the rules.
pub async fn show_list(call: PageCall) -> PageResult {
    let query = QueryInput(AlertQuery::in_state(None));
    let here = Uri::from_static(ALERTS);
    let Json(found) = list_alerts(call.state(), call.principal.clone(), here, query).await?;
    let Json(rules) = list_rules(call.state(), call.principal.clone()).await;
    let (open, over): (Vec<AlertView>, Vec<AlertView>) =
        found.data.into_iter().partition(|alert| alert.state != AlertState::Resolved);
    let firing = open.iter().filter(|alert| alert.state == AlertState::Firing).count();
    let title = match firing {
        0 => "No alert is firing".to_owned(),
        count => format!("{} firing", tell_number(count as u64, "alert is", "alerts are")),
    };
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (title) }
                p class="lead s" {
                    "Notices go as events to the endpoints and flows that take "
                    code { "waybill.alert.*" }
                    ", but never to the endpoint that the alert is about."
                }
            } }
            @if !open.is_empty() { (draw_alerts(&call, "Firing and pending", &open)) }
            (draw_rules(&rules.data))
            @if !over.is_empty() {
                (draw_alerts(&call, "Resolved", over.get(..MOST_RESOLVED).unwrap_or(&over)))
            }
        }
    };
    Ok(PageContent::new(PageSection::Alerts, "Alerts", body))
}

fn draw_alerts(call: &PageCall, title: &str, alerts: &[AlertView]) -> Markup {
    let may_act = call.may_post("/api/v1/alerts/{id}/acknowledge");
    let rows = html! {
        @for alert in alerts {
            (draw_row(&html! {
                (draw_cell("nw", &alert_sign(alert).draw()))
                (draw_cell("w", &html! {
                    (draw_subject(&alert.subject))
                    span class="why" { (draw_prose(&capitalise(&alert.summary))) }
                    @if let Some(next) = &alert.next_step { span class="why" { (draw_prose(next)) } }
                }))
                (draw_labelled_cell("num nw", "Value", &html! { (alert.shown_value) }))
                (draw_labelled_cell("num nw", "Limit", &html! { (alert.shown_limit) }))
                (draw_labelled_cell("num nw", "Since", &draw_age(call.now, alert.since)))
                (draw_labelled_cell("w", "Handled", &draw_reaction(call, alert)))
                (draw_cell("act w", &html! {
                    @if may_act && alert.state != AlertState::Resolved {
                        (draw_actions(call, alert))
                    }
                }))
            }))
        }
    };
    let columns = [
        ("State", false),
        ("What", false),
        ("Value", true),
        ("Limit", true),
        ("Since", true),
        ("Handled", false),
        ("", false),
    ];
    html! {
        section class="panel" aria-label=(title) {
            header { h2 { (title) } }
            (draw_table(title, "mid", &columns, &rows))
        }
    }
}

/// Returns the sign of an alert.
pub fn alert_sign(alert: &AlertView) -> StateSign {
    match (alert.state, alert.severity) {
        (AlertState::Firing, AlertSeverity::Critical) => StateSign::FIRING,
        (AlertState::Firing, AlertSeverity::Warning) => StateSign::WARNED,
        (AlertState::Pending, _) => StateSign::PENDING,
        (AlertState::Resolved, _) => StateSign::RESOLVED,
    }
}

/// Draws the subject of an alert, as a link if it has a page.
pub fn draw_subject(subject: &AlertSubject) -> Markup {
    let address = match subject.kind {
        SubjectKind::Endpoint => Some(endpoint_address(&subject.name)),
        SubjectKind::Flow => Some(flow_address(&subject.name)),
        SubjectKind::Source => Some(source_address(&subject.name)),
        SubjectKind::Server => None,
    };
    html! {
        @match address {
            Some(address) => a href=(address) { (subject.name) },
            None => (subject.name),
        }
    }
}

fn draw_reaction(call: &PageCall, alert: &AlertView) -> Markup {
    let silenced = alert.silenced_until.filter(|until| *until > call.now);
    html! {
        @if let (Some(at), Some(by)) = (alert.acknowledged_at, &alert.acknowledged_by) {
            span { "by " (by) " " (draw_age(call.now, at)) }
        }
        @if let Some(until) = silenced { span class="why" { "silenced, ends " (draw_due(call.now, until)) } }
        @if alert.acknowledged_at.is_none() && silenced.is_none() { "–" }
    }
}

fn draw_actions(call: &PageCall, alert: &AlertView) -> Markup {
    let here = format!("{ALERTS}/{}", alert.id);
    html! {
        @if alert.acknowledged_at.is_none() {
            (draw_button(call, &format!("{here}/acknowledge"), "small", "Acknowledge"))
        }
        (draw_button(call, &format!("{here}/silence"), "small", "Silence for 8 h"))
    }
}

fn draw_rules(rules: &[RuleView]) -> Markup {
    let rows = html! {
        @for rule in rules {
            (draw_row(&html! {
                (draw_cell("w", &html! {
                    code { (rule.rule.as_str()) }
                    span class="why" { (tell_measure(rule.rule)) }
                }))
                (draw_labelled_cell("nw", "State", &html! {
                    @if rule.enabled { (StateSign::ACTIVE.draw()) } @else { (StateSign::PAUSED.draw()) }
                }))
                (draw_labelled_cell("num nw", "Limit", &html! {
                    @match rule.limit {
                        Some(limit) => (crate::alerts::alert_texts::tell_value(rule.rule, limit)),
                        None => "learned",
                    }
                }))
                (draw_labelled_cell("num nw", "After", &html! {
                    @let wait = rule.wait.to_string();
                    @if wait == "0s" { "at once" } @else { (wait) }
                }))
                (draw_labelled_cell("nw", "Severity", &html! { (rule.severity.as_str()) }))
            }))
        }
    };
    let columns =
        [("Rule", false), ("State", false), ("Limit", true), ("After", true), ("Severity", false)];
    html! {
        section class="panel" aria-labelledby="rules" {
            header {
                h2 id="rules" { "Rules" }
                span class="meta" { "set by " code { "alerts.*" } " in the configuration" }
            }
            (draw_table("Rules", "mid", &columns, &rows))
        }
    }
}

/// Says what a rule measures.
const fn tell_measure(rule: AlertMetric) -> &'static str {
    match rule {
        AlertMetric::DeadLetters => "Dead letters that nobody has replayed",
        AlertMetric::FailureRate => {
            "Share of an endpoint's attempts that failed in the last 15 minutes"
        }
        AlertMetric::OldestWaiting => "Time that an endpoint's oldest delivery has waited",
        AlertMetric::EndpointFailing => "Time that an endpoint has been failing",
        AlertMetric::SourceSilent => "Time that a source has sent nothing",
        AlertMetric::SourceDown => "Time since a source's last complete run",
        AlertMetric::ModuleFailures => {
            "Events of a flow whose modules failed in the last 15 minutes"
        }
        AlertMetric::ModuleOpen => "Time that the breaker of a flow's module has been open",
        AlertMetric::CanaryRolledBack => {
            "Canaries of a flow's modules that were rolled back in the last 24 hours"
        }
        AlertMetric::DiskFree => "Free share of the data folder's disk",
        AlertMetric::CertificateDays => "Days until the server's certificate ends",
    }
}

/// Acknowledges an alert.
pub async fn acknowledge(
    call: PageCall,
    Path(id): Path<String>,
    _fields: FormFields,
) -> ActionResult {
    let Json(shown) = acknowledge_alert(call.state(), call.principal.clone(), Path(id)).await?;
    let notice = format!(
        "Acknowledged: {}. Another notice follows when it is resolved.",
        shown.data.summary
    );
    Ok(call.done(ALERTS, notice))
}

/// Silences an alert for a while.
pub async fn silence(call: PageCall, Path(id): Path<String>, _fields: FormFields) -> ActionResult {
    let request = SilenceRequest { span: Some(TimeSpan::new(SILENCE)), until: None };
    let (state, principal) = (call.state(), call.principal.clone());
    let Json(shown) = silence_alert(state, principal, Path(id), JsonInput(request)).await?;
    let notice = format!("Silenced for 8 hours: {}", shown.data.summary);
    Ok(call.done(ALERTS, notice))
}
