//! Everything about one event on one page, which answers "why was this not sent?".

use super::AppState;
use super::deliveries::{AttemptView, DeliveryView};
use super::events::EventView;
use super::problem::ApiProblem;
use crate::completeness::trace_reading::tell_end;
use crate::config::TRACE_PLACE;
use crate::model::delivery::DeliveryStatus;
use crate::model::event::Event;
use crate::model::id::FlowId;
use crate::model::trace_context::{BroughtContext, TraceId};
use crate::settings::SettingsSnapshot;
use crate::store::{StoredDelivery, StoredEvent};
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An event with all its consequences.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trace)]
pub struct EventTrace {
    /// The event.
    #[serde(flatten)]
    pub event: EventView,
    /// The outcome in a sentence.
    pub summary: String,
    /// The id of its trace: that of the context it was sent with, or the number of its id. Left out
    /// if it brought no context and spans are not exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    pub trace_id: Option<String>,
    /// The address of the trace in the tracing system, if `telemetry.trace_url` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_url: Option<String>,
    /// The steps of the modules, in order: `flow`, `at`, `module`, `version`, `role`, `verdict`,
    /// `reason`, `duration_us`, `logs`. `draft` is the id of the draft that the module received, if
    /// that was not the event as captured. `drafts` and `dispatches` are the module's output, until
    /// the payload is pruned: a payload that was too long to store has `data_cut` instead of
    /// `data`, one that was passed on unchanged has `same_data`, and `left_out` counts omissions. A
    /// step without a module is Waybill's own, about a delivery, an endpoint or the flow. A step
    /// about one endpoint has its `endpoint_id`, and `disabled` if the endpoint or the flow was
    /// disabled. A delivery with the verdict `suppressed` names the `holder` of its dedupe key.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<TraceLine>,
    /// Flows that have not planned it yet.
    pub waiting: Vec<WaitingFlow>,
    /// Deliveries of the event, each with its attempts.
    pub deliveries: Vec<DeliveryTrace>,
}

/// A step of a trace, with its members as they were written, so that numbers in a draft keep all
/// digits.
pub type TraceLine = IndexMap<String, Box<RawValue>>;

/// A flow that has not planned an event yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingFlow {
    /// The flow's name.
    pub flow: String,
    /// Time at which its modules run next.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
    /// Whether they are running.
    pub running: bool,
    /// Number of tries that failed, or during which the process died.
    pub failed_tries: u32,
    /// Number of times that the process died, or may have died, while its modules ran. After three
    /// times they do not run again.
    pub crashes: u32,
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryTrace {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: DeliveryView,
    /// Attempts of the delivery, in order.
    pub attempts: Vec<AttemptView>,
}

/// Builds the trace of an event.
pub async fn build_trace(app: &AppState, stored: StoredEvent) -> Result<EventTrace, ApiProblem> {
    let snapshot = app.live.current_settings();
    let id = stored.event.id;
    // Read before the runs: a plan that is recorded in between is shown twice, and never not at
    // all.
    let waiting = app.journal.list_waiting_plans(id).await?;
    let mut steps = Vec::new();
    // Only the last run of each flow counts.
    let mut reasons: BTreeMap<Option<FlowId>, Vec<String>> = BTreeMap::new();
    for run in app.journal.list_plan_runs(id).await? {
        let said = read_steps(run.steps.get(), run.contents.as_deref().map(RawValue::get));
        let unsent: Vec<String> = said.iter().filter_map(why_unsent).collect();
        match run.flow_id {
            Some(flow) => drop(reasons.insert(Some(flow), unsent)),
            None => reasons.entry(None).or_default().extend(unsent),
        }
        let flow = run.flow_id.map(|flow| flow_name(&snapshot, flow));
        for step in said {
            let (flow, at) = (to_raw_value(&flow).ok(), to_raw_value(&run.at).ok());
            let own = [("flow", flow), ("at", at)];
            let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            steps.push(own.chain(step).collect());
        }
    }
    let waiting: Vec<WaitingFlow> = waiting
        .into_iter()
        .map(|plan| WaitingFlow {
            flow: flow_name(&snapshot, plan.flow_id),
            due_at: plan.due_at,
            running: plan.running,
            failed_tries: plan.attempts + plan.deaths,
            crashes: plan.deaths,
        })
        .collect();
    let deliveries = app.journal.list_deliveries_of_event(id).await?;
    let reasons: Vec<String> = reasons.into_values().flatten().collect();
    let mut summary = summarise_trace(app, &stored, &deliveries, &waiting, &reasons);
    if let Some(pruned) = stored.pruned {
        summary = format!("{summary}; its payload was pruned {pruned}");
    }
    let mut traced = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        traced.push(delivery_trace(app, &snapshot, delivery).await?);
    }
    let trace_id = find_trace(app, &stored.event);
    let trace_url = trace_id.as_ref().and_then(|id| link_trace(app, id));
    let event = stored.into();
    Ok(EventTrace { event, summary, trace_id, trace_url, steps, waiting, deliveries: traced })
}

/// Returns the id of an event's trace, if it belongs to one.
fn find_trace(app: &AppState, event: &Event) -> Option<String> {
    let is_traced = app.journal.span_recorder().is_some()
        || BroughtContext::read(event.attributes.as_deref()).is_some();
    is_traced.then(|| TraceId::of_event(event).to_string())
}

fn link_trace(app: &AppState, id: &str) -> Option<String> {
    let address = app.config.telemetry.trace_url.as_ref()?;
    Some(address.replace(TRACE_PLACE, id))
}

/// Parses the steps of a plan, and adds to each its drafts and dispatches.
pub fn read_steps(steps: &str, contents: Option<&str>) -> Vec<TraceLine> {
    let mut steps: Vec<TraceLine> = serde_json::from_str(steps).unwrap_or_default();
    let contents: Vec<TraceLine> =
        contents.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for mut returned in contents {
        let place = returned.shift_remove("step");
        let place: Option<usize> = place.and_then(|place| serde_json::from_str(place.get()).ok());
        if let Some(step) = place.and_then(|place| steps.get_mut(place)) {
            step.extend(returned);
        }
    }
    steps
}

/// Returns a delivery with its attempts.
pub async fn delivery_trace(
    app: &AppState,
    snapshot: &SettingsSnapshot,
    delivery: StoredDelivery,
) -> Result<DeliveryTrace, ApiProblem> {
    let attempts = app.journal.list_attempts(delivery.id).await?;
    let attempts = attempts.into_iter().map(AttemptView::from).collect();
    Ok(DeliveryTrace { delivery: DeliveryView::new(snapshot, delivery), attempts })
}

/// Returns a flow's name, or its id if it was deleted.
pub fn flow_name(snapshot: &SettingsSnapshot, id: FlowId) -> String {
    snapshot.find_flow(id).map_or_else(|| id.to_string(), |route| route.flow.settings.name.clone())
}

/// Returns whether an event is so old that its consequences may have been pruned.
fn is_pruned(app: &AppState, stored: &StoredEvent) -> bool {
    let keep = &app.config.retention;
    let age = app.journal.clock().now().since(stored.event.received_at);
    age > keep.deliveries.min(keep.plans).get()
}

/// Formats a span in whole days, if it is a multiple of a day.
fn in_days(span: TimeSpan) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match span.get().as_secs() {
        seconds if seconds > DAY && seconds.is_multiple_of(DAY) => {
            format!("{} days", seconds / DAY)
        }
        _ => span.to_string(),
    }
}
/// Number of reasons that a summary names. It counts the rest.
const REASONS: usize = 3;

fn summarise_trace(
    app: &AppState,
    stored: &StoredEvent,
    deliveries: &[StoredDelivery],
    waiting: &[WaitingFlow],
    reasons: &[String],
) -> String {
    let count = |status: DeliveryStatus| deliveries.iter().filter(|d| d.status == status).count();
    let mut parts: Vec<String> = DeliveryStatus::ALL
        .into_iter()
        .filter(|status| count(*status) > 0)
        .map(|status| format!("{} {}", count(status), status.as_str()))
        .collect();
    if !waiting.is_empty() {
        parts.push(format!("{} flows have yet to run their modules", waiting.len()));
    }
    let mut why: Vec<&str> = reasons.iter().map(String::as_str).collect();
    why.dedup();
    let more = why.len().saturating_sub(REASONS);
    why.truncate(REASONS);
    let mut why = why.join("; ");
    if more > 0 {
        why = format!("{why}; and {more} more reasons in `steps`");
    }
    match (parts.is_empty(), why.is_empty()) {
        (false, true) => parts.join(", "),
        (false, false) => format!("{}; not sent: {why}", parts.join(", ")),
        (true, false) => format!("nothing was sent: {why}"),
        (true, true) if stored.matched > 0 && is_pruned(app, stored) => {
            let keep = &app.config.retention;
            format!(
                "its outcome is no longer known: deliveries are kept for {}, plans for {}",
                in_days(keep.deliveries),
                in_days(keep.plans)
            )
        }
        (true, true) if stored.matched == 0 => {
            "nothing was sent: when it was captured, no flow and no endpoint took events of this \
             source and type"
                .to_owned()
        }
        (true, true) => {
            "nothing was sent: no flow that took it chose an enabled endpoint".to_owned()
        }
    }
}

/// Returns why a step of the trace prevented a delivery, if it did.
pub fn why_unsent(step: &TraceLine) -> Option<String> {
    let text = |key: &str| match serde_json::from_str(step.get(key)?.get()) {
        Ok(Value::String(text)) => Some(text),
        Ok(_) | Err(_) => None,
    };
    tell_end(&text("verdict")?, text("module").as_deref(), text("reason").as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_contents_stand_with_their_step() {
        let steps = r#"[{"module":"m","verdict":"kept"},{"module":"m","verdict":"transformed"}]"#;
        let contents = r#"[{"step":1,"drafts":[{"data":{"total":1.50}}]},{"step":9}]"#;
        let read = read_steps(steps, Some(contents));
        let text = serde_json::to_string(&read).unwrap();
        let expected = r#"[{"module":"m","verdict":"kept"},{"module":"m","verdict":"transformed","drafts":[{"data":{"total":1.50}}]}]"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::to_string(&read_steps(steps, None)).unwrap(), steps);
    }

    #[test]
    fn a_step_says_why_nothing_was_sent() {
        let why = |step: &str| why_unsent(&serde_json::from_str(step).unwrap());
        assert_eq!(why(r#"{"module":"m","verdict":"kept"}"#), None);
        let dropped = why(r#"{"module":"m","verdict":"dropped","reason":"too small"}"#);
        assert_eq!(dropped.as_deref(), Some("module `m` dropped it: too small"));
        let disabled = why(r#"{"module":null,"verdict":"skipped","reason":"it is disabled"}"#);
        assert_eq!(disabled.as_deref(), Some("it is disabled"));
    }
}
