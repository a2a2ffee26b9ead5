//! Notices when something begins to fail and when it is well again. Both are stored in the table,
//! and each writes one line to the log.

use super::AlertContext;
use super::measure::{HealthSight, endpoint_subject, flow_subject, source_subject};
use crate::health::endpoint_health::{EndpointHealth, tell_failed};
use crate::model::alert::{AlertSubject, SubjectKind};
use crate::model::subject_health::{HealthMemory, KeptHealth};
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::StoreError;
use crate::store::alerts::RecentSender;
use crate::time::timestamp::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How far back sources that sent something are searched. Longer than one evaluation and the
/// hand-over of the duty take.
const LOOK_BACK: Duration = Duration::from_mins(2);
/// Most of the newest events that are searched for that.
const MOST_EVENTS: u32 = 10_000;
/// The rhythm of a source is stored again once its last event is this much newer. So storing costs
/// one small write a minute.
const WORTH_STORING: Duration = Duration::from_mins(1);

/// How a failure ended, in words for the log.
const WELL_AGAIN: &str = "is well again";

/// What to store, and what to log once the commit is durable.
#[derive(Debug, Default)]
pub struct HealthChanges {
    pub kept: Vec<KeptHealth>,
    /// The stored health of things that were deleted.
    pub forgotten: Vec<KeptHealth>,
    /// Lines for the log, each with whether it reports a problem.
    pub lines: Vec<(bool, String)>,
}

/// Something that fails at present.
struct FailureNow {
    since: Timestamp,
    reason: String,
    /// Text about waiting deliveries, added to the log line.
    waiting: String,
}

/// The present state of something.
enum StateNow {
    Failing(FailureNow),
    /// It does not fail. The words say how a failure ended, if there was one.
    NotFailing(&'static str),
}

impl StateNow {
    fn of(failing: Option<FailureNow>) -> Self {
        failing.map_or(Self::NotFailing(WELL_AGAIN), Self::Failing)
    }
}

/// Compares the stored states with the present ones, and records the changes.
pub async fn note_transitions(
    context: &AlertContext,
    sight: &mut HealthSight,
) -> Result<HealthChanges, StoreError> {
    let mut changes = HealthChanges::default();
    let settings = Arc::clone(&sight.settings);
    for target in settings.endpoints().filter(|target| !target.is_locked()) {
        let subject = endpoint_subject(target.endpoint.id, &target.endpoint.settings.name);
        let state = find_endpoint_state(context, sight, target).await?;
        note_state(sight, &mut changes, &subject, state);
    }
    note_flows(sight, &mut changes);
    note_sources(sight, &mut changes);
    let look_back = sight.now.before(LOOK_BACK);
    let senders = context.journal.list_recent_senders(look_back, MOST_EVENTS).await?;
    note_rhythms(sight, &senders, &mut changes);
    forget_missing(sight, &mut changes);
    Ok(changes)
}

async fn find_endpoint_state(
    context: &AlertContext,
    sight: &HealthSight,
    target: &EndpointRuntime,
) -> Result<StateNow, StoreError> {
    if !target.endpoint.settings.enabled {
        return Ok(StateNow::NotFailing("is paused"));
    }
    let id = target.endpoint.id;
    let health = sight.endpoints.get(&id).cloned().unwrap_or_default();
    let Some(failure) = health.failing_cause(sight.now) else {
        return Ok(StateNow::NotFailing(tell_end(&health)));
    };
    let since = if let Some(since) = health.failing_since {
        since
    } else {
        let after = health.recent.last_success.unwrap_or_default();
        let first = context.journal.find_first_failure(id, after).await?;
        first.unwrap_or(failure.at)
    };
    let waiting = format!(", {} waiting", health.waiting);
    Ok(StateNow::Failing(FailureNow { since, reason: tell_failed(failure), waiting }))
}

/// Says how the failure of an endpoint ended. Without a success, its failed deliveries were called
/// off, deleted or pruned.
fn tell_end(health: &EndpointHealth) -> &'static str {
    let is_proven = health.recent.last_success > health.failing_since;
    if is_proven { WELL_AGAIN } else { "has no failed delivery any more" }
}

fn note_flows(sight: &mut HealthSight, changes: &mut HealthChanges) {
    let settings = Arc::clone(&sight.settings);
    for route in settings.flows() {
        let subject = flow_subject(route.flow.id, &route.flow.settings.name);
        let health = sight.flows.get(&route.flow.id).cloned().unwrap_or_default();
        let failing = (health.failures() > 0).then(|| FailureNow {
            since: sight.now,
            reason: health.detail.clone().unwrap_or_else(|| "its modules failed".to_owned()),
            waiting: format!(", {} waiting", health.waiting),
        });
        // A failure may be among the dead letters that were not read.
        if failing.is_some() || !sight.are_deaths_cut {
            note_state(sight, changes, &subject, StateNow::of(failing));
        }
    }
}

fn note_sources(sight: &mut HealthSight, changes: &mut HealthChanges) {
    let settings = Arc::clone(&sight.settings);
    for source in settings.sources().filter(|source| source.settings.enabled) {
        let subject = source_subject(source.id, &source.settings.name);
        let failing = sight.source_error(source.id).map(|error| FailureNow {
            since: sight.now,
            reason: error.to_owned(),
            waiting: String::new(),
        });
        note_state(sight, changes, &subject, StateNow::of(failing));
    }
}

/// Records the state of one thing, if it changed.
fn note_state(
    sight: &mut HealthSight,
    changes: &mut HealthChanges,
    subject: &AlertSubject,
    state: StateNow,
) {
    let memory = sight.memory(subject.kind, &subject.id).cloned().unwrap_or_default();
    let (kind, name) = (subject.kind.as_str(), &subject.name);
    let (is_bad, line, memory) = match (memory.failing_since, state) {
        (None, StateNow::NotFailing(_)) | (Some(_), StateNow::Failing(_)) => return,
        (None, StateNow::Failing(FailureNow { since, reason, waiting })) => {
            let at = tell_time(since, sight.now);
            let line = format!("{kind} `{name}` has been failing since {at} ({reason}){waiting}");
            let (failing_since, reason) = (Some(since), Some(reason));
            (true, line, HealthMemory { failing_since, reason, ..memory })
        }
        (Some(since), StateNow::NotFailing(end)) => {
            let at = tell_time(since, sight.now);
            let line = format!("{kind} `{name}` {end}; it had been failing since {at}");
            (false, line, HealthMemory { failing_since: None, reason: None, ..memory })
        }
    };
    changes.lines.push((is_bad, line));
    keep_memory(sight, changes, subject.kind, &subject.id, memory);
}

fn keep_memory(
    sight: &mut HealthSight,
    changes: &mut HealthChanges,
    kind: SubjectKind,
    id: &str,
    memory: HealthMemory,
) {
    changes.kept.retain(|kept| kept.kind != kind || kept.subject != id);
    changes.kept.push(KeptHealth { kind, subject: id.to_owned(), memory: memory.clone() });
    sight.memories.insert((kind, id.to_owned()), memory);
}

/// Records which sources sent something.
fn note_rhythms(sight: &mut HealthSight, senders: &[RecentSender], changes: &mut HealthChanges) {
    for sender in senders {
        let Some(source) = sight.settings.find_source(&sender.source) else { continue };
        let id = source.id.to_string();
        let memory = sight.memory(SubjectKind::Source, &id).cloned().unwrap_or_default();
        let mut rhythm = memory.rhythm.clone().unwrap_or_default();
        let is_newer = |known: Timestamp| sender.last_at.since(known) >= WORTH_STORING;
        if rhythm.last_event_at.is_none_or(is_newer) {
            rhythm.note_events(sender.first_at, sender.last_at);
            let memory = HealthMemory { rhythm: Some(rhythm), ..memory };
            keep_memory(sight, changes, SubjectKind::Source, &id, memory);
        }
    }
}

/// Forgets the stored health of things that were deleted.
fn forget_missing(sight: &HealthSight, changes: &mut HealthChanges) {
    let settings = &sight.settings;
    let ids = settings.endpoints().map(|target| target.endpoint.id.to_string());
    let ids = ids.chain(settings.flows().iter().map(|route| route.flow.id.to_string()));
    let ids = ids.chain(settings.sources().map(|source| source.id.to_string()));
    let ids: BTreeSet<String> = ids.collect();
    let gone = sight.memories.iter().filter(|((_, id), _)| !ids.contains(id));
    changes.forgotten.extend(gone.map(|((kind, id), memory)| KeptHealth {
        kind: *kind,
        subject: id.clone(),
        memory: memory.clone(),
    }));
}

/// Returns the time of day, with the date if it was on another day.
fn tell_time(at: Timestamp, now: Timestamp) -> String {
    let (text, today) = (at.to_string(), now.to_string());
    let is_today = text.get(..10) == today.get(..10);
    let part = if is_today { text.get(11..16) } else { text.get(..16) };
    part.unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_on_another_day_has_its_date() {
        let at = Timestamp::parse("2026-11-29T14:02:33Z").unwrap();
        assert_eq!(tell_time(at, at.after(Duration::from_mins(9))), "14:02");
        assert_eq!(tell_time(at, at.after(Duration::from_hours(24))), "2026-11-29 14:02");
    }
}
