//! What needs a person now, worst first, each with the one button that starts the solution.

use super::OverviewData;
use crate::admin::alerts::{ALERTS, alert_sign, draw_subject};
use crate::admin::call::PageCall;
use crate::admin::dead_letters::DEAD_LETTERS;
use crate::admin::dead_letters::causes::cause_place;
use crate::admin::endpoints::health::tell_waiting;
use crate::admin::events::answer::capitalise;
use crate::admin::layout::draw_button;
use crate::admin::signs::{StateSign, StateTone, draw_icon};
use crate::admin::texts::{draw_prose, draw_since, tell_ago, tell_count, tell_number};
use crate::admin::{endpoint_address, flow_address, source_address};
use crate::api::alerts::AlertView;
use crate::model::alert_rule::AlertMetric;
use crate::time::timestamp::Timestamp;
use maud::{Markup, html};

/// Most entries in the list.
const MOST_ITEMS: usize = 7;

/// Something that needs a person.
pub struct AttentionItem {
    sign: StateSign,
    title: Markup,
    sentence: String,
    since: Option<Markup>,
    /// When it began, for the order.
    began: Option<Timestamp>,
    count: String,
    action: Markup,
    /// Whether it is an alert. Alerts come first.
    is_alert: bool,
}

/// Returns everything that needs attention, worst first, then longest.
pub fn list_attention(call: &PageCall, data: &OverviewData) -> Vec<AttentionItem> {
    let mut items = Vec::new();
    list_alerts(call, data, &mut items);
    list_endpoints(call, data, &mut items);
    list_causes(call, data, &mut items);
    list_sources(call, data, &mut items);
    list_flows(call, &mut items);
    items.sort_by_key(|item| (!item.is_alert, item.sign.tone != StateTone::Bad, item.began));
    items
}

fn list_alerts(call: &PageCall, data: &OverviewData, items: &mut Vec<AttentionItem>) {
    // Dead letters have entries by cause, which lead to the replay. One problem is listed once.
    let is_listed = |alert: &&AlertView| {
        alert.rule == AlertMetric::DeadLetters
            && data.causes.iter().any(|cause| cause.letters > cause.replaying)
    };
    for alert in data.alerts.iter().filter(|alert| !is_listed(alert)) {
        items.push(AttentionItem {
            sign: alert_sign(alert),
            title: html! { "Alert " code { (alert.rule.as_str()) } ": " (draw_subject(&alert.subject)) },
            sentence: alert.summary.clone(),
            since: Some(draw_since(call.now, alert.since)),
            began: Some(alert.since),
            count: format!("limit {}", alert.shown_limit),
            action: html! { a class="btn" href=(ALERTS) { "Open the alert" } },
            is_alert: true,
        });
    }
}

fn list_endpoints(call: &PageCall, data: &OverviewData, items: &mut Vec<AttentionItem>) {
    if !call.may_read("/api/v1/endpoints") {
        return;
    }
    let settings = call.settings();
    for target in settings.endpoints() {
        let health = data.report.of(target.endpoint.id);
        let (sign, why) = data.report.judge(target, call.now);
        // Dead letters have entries of their own, by cause, and a retry needs no person.
        let is_known =
            [StateSign::REJECTING, StateSign::QUIET, StateSign::RETRYING].contains(&sign);
        let is_stuck = sign == StateSign::PAUSED && health.waiting > 0;
        if is_known || !(is_stuck || matches!(sign.tone, StateTone::Bad | StateTone::Warn)) {
            continue;
        }
        let name = &target.endpoint.settings.name;
        let here = endpoint_address(name);
        let may_test =
            call.may_post("/api/v1/endpoints/{id}/test") && !is_stuck && !target.is_locked();
        let began = health.oldest_at.or(health.recent.last_success);
        items.push(AttentionItem {
            sign: if is_stuck { StateSign { tone: StateTone::Warn, ..sign } } else { sign },
            title: html! { "Endpoint " a href=(here) { (name) } " is " (sign.word.to_lowercase()) },
            sentence: why,
            since: began.map(|at| draw_since(call.now, at)),
            began,
            count: tell_waiting(health.waiting),
            action: if may_test {
                draw_button(call, &format!("{here}/test"), "", &format!("Test {name}"))
            } else {
                html! { a class="btn" href=(here) { "Open " (name) } }
            },
            is_alert: false,
        });
    }
}

fn list_causes(call: &PageCall, data: &OverviewData, items: &mut Vec<AttentionItem>) {
    let settings = call.settings();
    for cause in &data.causes {
        let open = cause.letters.saturating_sub(cause.replaying);
        if open == 0 {
            continue;
        }
        let (place, filter) = cause_place(&settings, cause);
        let address = format!("{DEAD_LETTERS}?{filter}#sel");
        items.push(AttentionItem {
            sign: StateSign::DEAD,
            title: html! { a href=(address) { (tell_number(open, "dead letter", "dead letters")) } " at " (place) },
            sentence: cause.detail.clone(),
            since: Some(draw_since(call.now, cause.first_at)),
            began: Some(cause.first_at),
            count: format!("latest {}", tell_ago(call.now, cause.last_at)),
            action: html! { a class="btn" href=(address) { "Review " (tell_count(open)) } },
            is_alert: false,
        });
    }
}

fn list_sources(call: &PageCall, data: &OverviewData, items: &mut Vec<AttentionItem>) {
    for source in &data.sources {
        let (sign, why) = source.judge();
        if !matches!(sign.tone, StateTone::Bad | StateTone::Warn) {
            continue;
        }
        let here = source_address(&source.name);
        items.push(AttentionItem {
            sign,
            title: html! { "Source " a href=(here) { (source.name) } ": " (sign.word.to_lowercase()) },
            sentence: why,
            since: source.failed_at().map(|at| draw_since(call.now, at)),
            began: source.failed_at(),
            count: tell_number(source.captured(), "event so far", "events so far"),
            action: html! { a class="btn" href=(here) { "Open " (source.name) } },
            is_alert: false,
        });
    }
}

fn list_flows(call: &PageCall, items: &mut Vec<AttentionItem>) {
    if !call.may_read("/api/v1/flows") {
        return;
    }
    for route in call.settings().flows().iter().filter(|route| route.locked) {
        let name = &route.flow.settings.name;
        let here = flow_address(name);
        items.push(AttentionItem {
            sign: StateSign::LOCKED,
            title: html! { "Flow " a href=(here) { (name) } " cannot read its configuration" },
            sentence: "Its events become dead letters until you enter the configuration again."
                .to_owned(),
            since: None,
            began: None,
            count: String::new(),
            action: html! { a class="btn" href=(here) { "Open " (name) } },
            is_alert: false,
        });
    }
}

/// Answers the question "what needs me?".
pub fn tell_count_of(items: &[AttentionItem]) -> String {
    match items.len() {
        0 => "Nothing needs attention".to_owned(),
        1 => "1 thing needs attention".to_owned(),
        count => format!("{count} things need attention"),
    }
}

/// Says how many endpoints and sources are well.
pub fn tell_health(call: &PageCall, data: &OverviewData) -> String {
    let settings = call.settings();
    if !call.may_read("/api/v1/endpoints") || !data.report.is_known {
        return format!("Signed in with the token {}.", call.principal.token().settings.name);
    }
    let judged: Vec<StateSign> =
        settings.endpoints().map(|target| data.report.judge(target, call.now).0).collect();
    let is_unwell = |sign: &&StateSign| {
        matches!(sign.tone, StateTone::Bad | StateTone::Warn) && **sign != StateSign::RETRYING
    };
    let unwell = judged.iter().filter(is_unwell).count();
    let all = tell_number(judged.len() as u64, "endpoint", "endpoints");
    if judged.is_empty() {
        return "Nothing is set up yet. Begin with a source and an endpoint.".to_owned();
    }
    match unwell {
        0 => format!("{all}, none of them in trouble."),
        1 => format!("1 of {all} is not well."),
        count => format!("{count} of {all} are not well."),
    }
}

/// Draws the list.
pub fn draw_attention(items: &[AttentionItem]) -> Markup {
    let hidden = items.len().saturating_sub(MOST_ITEMS);
    html! {
        @if !items.is_empty() {
            section class="panel" aria-label="Needs attention" {
                ul class="att" { @for item in items.iter().take(MOST_ITEMS) { (draw_item(item)) } }
                @if hidden > 0 {
                    footer {
                        (hidden) " more, on the pages of endpoints, dead letters and sources."
                    }
                }
            }
        }
    }
}

fn draw_item(item: &AttentionItem) -> Markup {
    html! {
        li {
            span class=(item.sign.tone.class()) {
                (draw_icon(item.sign.icon)) span class="vh" { (item.sign.word) }
            }
            div class="what" {
                b { (item.title) }
                p class="cut2" title=(item.sentence.replace('`', "")) {
                    (draw_prose(&capitalise(&item.sentence)))
                }
            }
            div class="f" { @if let Some(since) = &item.since { (since) } }
            div class="f" { (item.count) }
            div class="go" { (item.action) }
        }
    }
}
