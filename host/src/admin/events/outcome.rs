//! The outcome of each event of a list: a sign and a reason.

use crate::admin::call::PageCall;
use crate::admin::signs::StateSign;
use crate::admin::texts::{tell_millis, tell_number, tell_span};
use crate::api::events::EventView;
use crate::api::problem::ApiProblem;
use crate::api::trace::{TraceLine, flow_name, why_unsent};
use crate::model::delivery::DeliveryStatus;
use crate::model::id::EventId;
use crate::settings::SettingsSnapshot;
use crate::store::{DeliveryGroup, EventDeath};
use crate::time::timestamp::Timestamp;
use std::collections::BTreeMap;

/// Most runs of modules that are read for one page, for events that were not sent.
const MOST_RUNS: u32 = 200;

/// A state and its reason.
#[derive(Debug, Clone)]
pub struct EventOutcome {
    pub sign: StateSign,
    pub why: String,
}

/// What the store knows about one event.
#[derive(Debug, Default)]
struct EventFindings {
    groups: Vec<DeliveryGroup>,
    waiting: Vec<String>,
    deaths: Vec<EventDeath>,
    reasons: Vec<String>,
}

/// Loads the outcomes of these events, by id.
pub async fn load_outcomes(
    call: &PageCall,
    events: &[EventView],
) -> Result<BTreeMap<String, EventOutcome>, ApiProblem> {
    let settings = call.settings();
    let mut findings = load_findings(call, events, &settings).await?;
    let outcomes = events.iter().map(|event| {
        let found = findings.remove(&event.id).unwrap_or_default();
        (event.id.to_string(), found.judge(event, &settings, call.now))
    });
    Ok(outcomes.collect())
}

async fn load_findings(
    call: &PageCall,
    events: &[EventView],
    settings: &SettingsSnapshot,
) -> Result<BTreeMap<EventId, EventFindings>, ApiProblem> {
    let journal = &call.app().journal;
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let mut all: BTreeMap<EventId, EventFindings> = BTreeMap::new();
    for group in journal.list_delivery_groups(&ids).await? {
        all.entry(group.event_id).or_default().groups.push(group);
    }
    for waiting in journal.list_waiting_events(&ids).await? {
        let flow = flow_name(settings, waiting.flow_id);
        all.entry(waiting.event_id).or_default().waiting.push(flow);
    }
    for death in journal.list_event_deaths(&ids).await? {
        all.entry(death.event_id).or_default().deaths.push(death);
    }
    let unsent = |event: &&EventView| {
        event.matched > 0 && all.get(&event.id).is_none_or(|found| found.groups.is_empty())
    };
    let unsent: Vec<EventId> = events.iter().filter(unsent).map(|event| event.id).collect();
    if !unsent.is_empty() {
        for run in journal.list_event_steps(&unsent, MOST_RUNS).await? {
            let said: Vec<TraceLine> = serde_json::from_str(run.steps.get()).unwrap_or_default();
            let reasons = said.iter().filter_map(why_unsent);
            all.entry(run.event_id).or_default().reasons.extend(reasons);
        }
    }
    Ok(all)
}

impl EventFindings {
    fn judge(
        &self,
        event: &EventView,
        settings: &SettingsSnapshot,
        now: Timestamp,
    ) -> EventOutcome {
        let (sign, why) = if let Some(death) = self.deaths.first() {
            self.judge_death(death, settings)
        } else if self.groups.is_empty() {
            self.judge_unsent(event)
        } else {
            self.judge_groups(event, settings, now)
        };
        EventOutcome { sign, why }
    }

    fn judge_death(&self, death: &EventDeath, settings: &SettingsSnapshot) -> (StateSign, String) {
        if death.is_replayed {
            return (StateSign::REPLAYING, death.detail.clone());
        }
        let dead = self.first_in(&[DeliveryStatus::Dead]).filter(|_| death.is_delivery);
        let place = dead.map(|group| format!("{}: ", endpoint_name(settings, group)));
        (StateSign::DEAD, place.unwrap_or_default() + &death.detail)
    }

    fn judge_unsent(&self, event: &EventView) -> (StateSign, String) {
        if !self.waiting.is_empty() {
            return (StateSign::PLANNING, format!("in {}", self.waiting.join(", ")));
        }
        if let Some(reason) = self.reasons.first() {
            return (StateSign::DROPPED, reason.clone());
        }
        if event.matched == 0 {
            return (StateSign::NO_FLOW, format!("nothing takes {}", event.event_type));
        }
        (
            StateSign::UNKNOWN,
            "its deliveries were pruned, or no enabled endpoint was chosen".to_owned(),
        )
    }

    fn judge_groups(
        &self,
        event: &EventView,
        settings: &SettingsSnapshot,
        now: Timestamp,
    ) -> (StateSign, String) {
        let (sent, total) = (self.count_in(DeliveryStatus::Delivered), self.count_all());
        let of_all = format!("{sent} of {total}");
        let open = [DeliveryStatus::Pending, DeliveryStatus::Leased];
        let is_open = |group: &&DeliveryGroup| open.contains(&group.status);
        if let Some(group) = self.groups.iter().filter(is_open).find(|group| group.attempts > 0) {
            let name = endpoint_name(settings, group);
            let due = group.due_at.filter(|due| *due > now);
            let next = due.map(|due| format!(", next in {}", tell_span(due.since(now))));
            let tried = tell_number(group.attempts.into(), "attempt failed", "attempts failed");
            return (
                StateSign::RETRYING,
                format!("{of_all}, {name}: {tried}{}", next.unwrap_or_default()),
            );
        }
        if let Some(group) = self.first_in(&open) {
            let name = endpoint_name(settings, group);
            return (StateSign::DELIVERING, format!("{of_all}, {name} waits"));
        }
        if sent > 0 {
            let last = self.groups.iter().filter_map(|group| group.settled_at).max();
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a few years")]
            let took = last.map(|last| last.since(event.received_at).as_millis() as f64);
            let took = took.map(|took| format!(" in {}", tell_millis(took)));
            return (StateSign::DELIVERED, of_all + &took.unwrap_or_default());
        }
        if self.first_in(&[DeliveryStatus::Dead]).is_some() {
            return (StateSign::DEAD, "its dead letter was deleted".to_owned());
        }
        if self.first_in(&[DeliveryStatus::Superseded]).is_some() {
            return (StateSign::COLLAPSED, "a newer state of the record took its place".to_owned());
        }
        (StateSign::CANCELLED, "an operator called it off".to_owned())
    }

    fn first_in(&self, statuses: &[DeliveryStatus]) -> Option<&DeliveryGroup> {
        self.groups.iter().find(|group| statuses.contains(&group.status))
    }

    fn count_in(&self, status: DeliveryStatus) -> u64 {
        let groups = self.groups.iter().filter(|group| group.status == status);
        groups.map(|group| group.deliveries).sum()
    }

    fn count_all(&self) -> u64 {
        self.groups.iter().map(|group| group.deliveries).sum()
    }
}

fn endpoint_name(settings: &SettingsSnapshot, group: &DeliveryGroup) -> String {
    let known = settings.find_endpoint(group.endpoint_id);
    known.map_or_else(
        || "a deleted endpoint".to_owned(),
        |known| known.endpoint.settings.name.clone(),
    )
}
