//! The steps of one event in their order: the capture, each flow with its modules, each delivery
//! with its attempts.

use super::module_output::{SaidDispatch, SaidDraft};
use crate::admin::deliveries::status_sign;
use crate::admin::signs::StateSign;
use crate::admin::texts::{tell_clock, tell_count, tell_millis, tell_number};
use crate::api::deliveries::AttemptView;
use crate::api::trace::{DeliveryTrace, EventTrace, TraceLine};
use crate::model::delivery::DeliveryStatus;
use crate::time::timestamp::Timestamp;
use crate::wasm::LogLine;
use serde::Deserialize;

/// Most attempts with a line each. If there are more, only the first two and the last two have
/// lines.
const MOST_LINES: usize = 8;
/// Attempts at either end that keep their lines.
const KEPT_LINES: usize = 2;

/// The result of a module, or of Waybill itself, for the event.
#[derive(Debug, Clone, Deserialize)]
pub struct SaidStep {
    pub flow: Option<String>,
    pub at: Timestamp,
    pub module: Option<String>,
    pub version: Option<u32>,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub verdict: String,
    pub reason: Option<String>,
    #[serde(default)]
    pub duration_us: u32,
    #[serde(default)]
    pub logs: Vec<LogLine>,
    /// Id of the draft that the module received. `None` if it received the event as captured.
    pub draft: Option<String>,
    #[serde(default)]
    pub drafts: Vec<SaidDraft>,
    #[serde(default)]
    pub dispatches: Vec<SaidDispatch>,
    /// Number of drafts and dispatches for which the trace had no room.
    #[serde(default)]
    pub left_out: u64,
}

/// A bar on the time axis, in seconds since the capture.
#[derive(Debug, Clone, Copy)]
pub enum TimeBar {
    /// Work, with the class of its colour.
    Work { class: &'static str, from: f64, to: f64 },
    /// Waiting for the next attempt.
    Wait { from: f64, to: f64 },
    /// A planned attempt.
    Planned { at: f64 },
}

/// A line of the timeline.
#[derive(Debug, Clone)]
pub struct TimelineStep {
    /// The parameter that selects this step. `None` for a line that only groups others.
    pub key: Option<String>,
    /// The indentation, from 0 to 2.
    pub depth: u8,
    pub icon: Option<&'static str>,
    pub label: String,
    pub note: String,
    pub sign: Option<StateSign>,
    pub result: String,
    pub bars: Vec<TimeBar>,
}

/// The steps of a trace, and the data behind them.
#[derive(Debug)]
pub struct EventTimeline<'t> {
    pub trace: &'t EventTrace,
    pub said: Vec<SaidStep>,
    pub lines: Vec<TimelineStep>,
}

/// Returns the sign of a module's verdict.
pub fn verdict_sign(verdict: &str) -> StateSign {
    match verdict {
        "dropped" => StateSign::DROPPED,
        "failed" => StateSign { word: "Failed", ..StateSign::FAILING },
        "suppressed" | "skipped" => StateSign::NOT_SENT,
        "transformed" => StateSign { word: "Changed it", ..StateSign::WELL },
        "routed" => StateSign { word: "Chose endpoints", ..StateSign::WELL },
        _ => StateSign { word: "Kept", ..StateSign::WELL },
    }
}

/// Whether the receiver accepted the attempt.
pub fn is_success(attempt: &AttemptView) -> bool {
    attempt.error_class.is_none() && attempt.response_status.is_some_and(|s| s / 100 == 2)
}

/// Says the result of an attempt in a word or a number.
pub fn tell_attempt(attempt: &AttemptView) -> String {
    let took = tell_millis(attempt.duration_ms);
    match (&attempt.response_status, &attempt.error_class) {
        (Some(status), _) => format!("{status}, {took}"),
        (None, Some(class)) => format!("{}, {took}", class.replace('_', " ")),
        (None, None) => took,
    }
}

/// Returns the name of a delivery's endpoint.
pub fn endpoint_of(delivery: &DeliveryTrace) -> &str {
    delivery.delivery.endpoint.as_deref().unwrap_or("a deleted endpoint")
}

impl<'t> EventTimeline<'t> {
    /// Puts the steps of a trace in order. `name_flow` returns the name of a flow by its id.
    pub fn build(trace: &'t EventTrace, name_flow: impl Fn(&str) -> String) -> Self {
        let read = |step: &TraceLine| {
            let text = serde_json::to_string(step).ok()?;
            serde_json::from_str::<SaidStep>(&text).ok()
        };
        let said: Vec<SaidStep> = trace.steps.iter().filter_map(read).collect();
        let mut timeline = Self { trace, said, lines: Vec::new() };
        timeline.add_capture();
        let flow_of =
            |delivery: &DeliveryTrace| delivery.delivery.flow_id.as_deref().map(&name_flow);
        let mut flows: Vec<Option<String>> = Vec::new();
        let said_flows = timeline.said.iter().map(|step| step.flow.clone());
        for flow in said_flows.chain(trace.deliveries.iter().map(flow_of)) {
            if !flows.contains(&flow) {
                flows.push(flow);
            }
        }
        for flow in flows {
            timeline.add_flow(flow.as_deref());
            for (n, delivery) in trace.deliveries.iter().enumerate() {
                if flow_of(delivery) == flow {
                    timeline.add_delivery(n, delivery);
                }
            }
        }
        timeline
    }

    fn seconds(&self, at: Timestamp) -> f64 {
        let micros = at.micros().saturating_sub(self.trace.event.received_at.micros());
        #[expect(clippy::cast_precision_loss, reason = "2^53 µs are 285 years")]
        let seconds = micros as f64 / 1e6;
        seconds.max(0.0)
    }

    fn add_capture(&mut self) {
        let bar = TimeBar::Work { class: "idle", from: 0.0, to: 0.0 };
        self.lines.push(TimelineStep {
            key: Some("capture".to_owned()),
            depth: 0,
            icon: Some("cap"),
            label: "Captured".to_owned(),
            note: self.trace.event.source.clone(),
            sign: Some(StateSign::WELL),
            result: format!("{} UTC", tell_clock(self.trace.event.received_at)),
            bars: vec![bar],
        });
    }

    /// Adds the line of a flow and those of its modules.
    fn add_flow(&mut self, flow: Option<&str>) {
        let (label, note) = match flow {
            Some(name) => (name, "flow"),
            None => ("Without a flow", ""),
        };
        self.lines.push(TimelineStep {
            key: None,
            depth: 0,
            icon: None,
            label: label.to_owned(),
            note: note.to_owned(),
            sign: None,
            result: String::new(),
            bars: Vec::new(),
        });
        let own: Vec<usize> = (0..self.said.len())
            .filter(|n| self.said.get(*n).is_some_and(|step| step.flow.as_deref() == flow))
            .collect();
        for n in own {
            self.add_said(n);
        }
    }

    fn add_said(&mut self, n: usize) {
        let Some(step) = self.said.get(n) else { return };
        let sign = verdict_sign(&step.verdict);
        // A run is recorded when its last module is done, so the other modules end before that
        // time.
        let later = self.said.iter().skip(n + 1);
        let later = later.filter(|other| other.at == step.at && other.flow == step.flow);
        let later: u64 = later.map(|other| u64::from(other.duration_us)).sum();
        let micros = |us: u64| std::time::Duration::from_micros(us);
        let to = step.at.before(micros(later));
        let from = to.before(micros(step.duration_us.into()));
        let took = tell_millis(f64::from(step.duration_us) / 1e3);
        let (label, note, result) = match &step.module {
            Some(module) => {
                let version = step.version.map(|version| format!("v{version} "));
                let result = format!("{}, {took}", sign.word.to_lowercase());
                (module.clone(), version.unwrap_or_default() + &step.role, result)
            }
            None => (step.role.clone(), "Waybill".to_owned(), sign.word.to_lowercase()),
        };
        let class = sign.tone.class();
        let bar = TimeBar::Work { class, from: self.seconds(from), to: self.seconds(to) };
        self.lines.push(TimelineStep {
            key: Some(format!("s{n}")),
            depth: 1,
            icon: Some("mod"),
            label,
            note,
            sign: Some(sign),
            result,
            bars: vec![bar],
        });
    }

    fn add_delivery(&mut self, n: usize, delivery: &DeliveryTrace) {
        let mut bars = Vec::new();
        let mut waits_from = self.seconds(delivery.delivery.created_at);
        for attempt in &delivery.attempts {
            bars.extend(self.attempt_bars(attempt, &mut waits_from));
        }
        let due = delivery.delivery.due_at.filter(|_| !is_settled(delivery));
        if let Some(due) = due {
            bars.push(TimeBar::Wait { from: waits_from, to: self.seconds(due) });
            bars.push(TimeBar::Planned { at: self.seconds(due) });
        }
        let attempts = delivery.attempts.len();
        let result = match delivery.attempts.as_slice() {
            [] => status_sign(&delivery.delivery).word.to_lowercase(),
            [only] if due.is_none() => tell_attempt(only),
            _ => tell_number(attempts as u64, "attempt", "attempts"),
        };
        self.lines.push(TimelineStep {
            key: Some(format!("d{n}")),
            depth: 1,
            icon: Some("send"),
            label: endpoint_of(delivery).to_owned(),
            note: delivery.delivery.event_type.clone(),
            sign: Some(status_sign(&delivery.delivery)),
            result,
            bars,
        });
        if attempts > 1 || (attempts == 1 && due.is_some()) {
            self.add_attempts(n, delivery);
        }
    }

    fn attempt_bars(&self, attempt: &AttemptView, waits_from: &mut f64) -> [TimeBar; 2] {
        let from = self.seconds(attempt.at);
        let to = from + attempt.duration_ms / 1e3;
        let class = if is_success(attempt) { "ok" } else { "warn" };
        let wait = TimeBar::Wait { from: *waits_from, to: from };
        *waits_from = to;
        [wait, TimeBar::Work { class, from, to }]
    }

    fn add_attempts(&mut self, n: usize, delivery: &DeliveryTrace) {
        let attempts = &delivery.attempts;
        let hidden = if attempts.len() > MOST_LINES {
            KEPT_LINES..attempts.len() - KEPT_LINES
        } else {
            0..0
        };
        let mut waits_from = self.seconds(delivery.delivery.created_at);
        for (at, attempt) in attempts.iter().enumerate() {
            let bars = self.attempt_bars(attempt, &mut waits_from);
            if at == hidden.start && !hidden.is_empty() {
                self.lines.push(more_attempts(hidden.len()));
            }
            if hidden.contains(&at) {
                continue;
            }
            let sign = if is_success(attempt) { StateSign::ANSWERED } else { StateSign::REFUSED };
            self.lines.push(TimelineStep {
                key: Some(format!("d{n}a{}", attempt.number)),
                depth: 2,
                icon: None,
                label: format!("Attempt {}", attempt.number),
                note: format!("{} UTC", tell_clock(attempt.at)),
                sign: Some(sign),
                result: tell_attempt(attempt),
                bars: bars.to_vec(),
            });
        }
    }

    /// Returns the step that explains most: the last failure, otherwise what was sent, otherwise
    /// what prevented it.
    pub fn telling_key(&self) -> String {
        let of_tone = |tone: &str| {
            let is = |step: &&TimelineStep| {
                step.sign.is_some_and(|sign| sign.tone.class() == tone) && step.key.is_some()
            };
            self.lines.iter().rev().find(is).and_then(|step| step.key.clone())
        };
        let sent = || {
            let is_delivery = |step: &&TimelineStep| step.icon == Some("send");
            self.lines.iter().find(is_delivery).and_then(|step| step.key.clone())
        };
        let found = of_tone("bad").or_else(|| of_tone("warn")).or_else(sent);
        let key = found.or_else(|| of_tone("idle")).unwrap_or_else(|| "capture".to_owned());
        // If a delivery has several attempts, the last one says why it failed.
        let own = format!("{key}a");
        let mut keys = self.lines.iter().rev().filter_map(|step| step.key.as_deref());
        let last = keys.find(|other| other.starts_with(&own)).map(str::to_owned);
        last.unwrap_or(key)
    }
}

/// Whether a delivery has reached a final state.
pub fn is_settled(delivery: &DeliveryTrace) -> bool {
    !matches!(delivery.delivery.status, DeliveryStatus::Pending | DeliveryStatus::Leased)
}

fn more_attempts(count: usize) -> TimelineStep {
    TimelineStep {
        key: None,
        depth: 2,
        icon: None,
        label: format!("{} more", tell_count(count as u64)),
        note: "attempts in between".to_owned(),
        sign: None,
        result: String::new(),
        bars: Vec::new(),
    }
}
