//! When something begins to fail, and when it is well again: remembered in the table, and one line
//! in the log for each.

use super::AlertContext;
use super::measure::{HealthSight, endpoint_subject, flow_subject, source_subject};
use crate::health::endpoint_health::tell_failed;
use crate::model::alert::{AlertSubject, SubjectKind};
use crate::model::subject_health::{HealthMemory, KeptHealth};
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::StoreError;
use crate::store::alerts::RecentSender;
use crate::time::timestamp::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How far back sources are looked for that sent something. Longer than a look and the duty's
/// handing over take.
const LOOK_BACK: Duration = Duration::from_mins(2);
/// Newest events that are looked through for that.
const MOST_EVENTS: u32 = 10_000;
/// A rhythm is stored again once its last event is this much newer: one small write a minute.
const WORTH_STORING: Duration = Duration::from_mins(1);

/// What is to be stored, and what to log once that is durable.
#[derive(Debug, Default)]
pub struct HealthChanges {
    pub kept: Vec<KeptHealth>,
    /// Of things that are gone.
    pub forgotten: Vec<KeptHealth>,
    /// Whether it is bad news, and the line.
    pub lines: Vec<(bool, String)>,
}

/// Something that fails.
struct FailureNow {
    since: Timestamp,
    reason: String,
    /// What else to say.
    waiting: String,
}

/// Compares what is remembered with what is, and takes over what changed.
pub async fn note_transitions(
    context: &AlertContext,
    sight: &mut HealthSight,
) -> Result<HealthChanges, StoreError> {
    let mut changes = HealthChanges::default();
    let settings = Arc::clone(&sight.settings);
    for target in settings.endpoints().filter(|target| target.may_send()) {
        let subject = endpoint_subject(target.endpoint.id, &target.endpoint.settings.name);
        let failing = find_endpoint_failure(context, sight, target, &subject).await?;
        note_state(sight, &mut changes, &subject, failing);
    }
    note_flows(sight, &mut changes);
    note_sources(sight, &mut changes);
    let look_back = sight.now.before(LOOK_BACK);
    let senders = context.journal.list_recent_senders(look_back, MOST_EVENTS).await?;
    note_rhythms(sight, &senders, &mut changes);
    forget_missing(sight, &mut changes);
    Ok(changes)
}

async fn find_endpoint_failure(
    context: &AlertContext,
    sight: &HealthSight,
    target: &EndpointRuntime,
    subject: &AlertSubject,
) -> Result<Option<FailureNow>, StoreError> {
    let id = target.endpoint.id;
    let Some(health) = sight.endpoints.get(&id) else { return Ok(None) };
    let failure = health.standing_failure().filter(|_| health.is_trouble(sight.now));
    let Some(failure) = failure else { return Ok(None) };
    let known = sight.memory(subject.kind, &subject.id).and_then(|known| known.failing_since);
    let since = if let Some(since) = known {
        since
    } else {
        let after = health.recent.last_success.unwrap_or_default();
        let first = context.journal.find_first_failure(id, after).await?;
        first.unwrap_or(failure.at)
    };
    let waiting = format!(", {} waiting", health.waiting);
    Ok(Some(FailureNow { since, reason: tell_failed(failure), waiting }))
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
        note_state(sight, changes, &subject, failing);
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
        note_state(sight, changes, &subject, failing);
    }
}

/// Notes whether something fails, if that is news.
fn note_state(
    sight: &mut HealthSight,
    changes: &mut HealthChanges,
    subject: &AlertSubject,
    failing: Option<FailureNow>,
) {
    let memory = sight.memory(subject.kind, &subject.id).cloned().unwrap_or_default();
    let (kind, name) = (subject.kind.as_str(), &subject.name);
    let (is_bad, line, memory) = match (memory.failing_since, failing) {
        (None, None) | (Some(_), Some(_)) => return,
        (None, Some(FailureNow { since, reason, waiting })) => {
            let at = tell_time(since, sight.now);
            let line = format!("{kind} `{name}` has been failing since {at} ({reason}){waiting}");
            let (failing_since, reason) = (Some(since), Some(reason));
            (true, line, HealthMemory { failing_since, reason, ..memory })
        }
        (Some(since), None) => {
            let at = tell_time(since, sight.now);
            let line = format!("{kind} `{name}` is well again; it had been failing since {at}");
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

/// Notes which sources sent something.
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

/// Forgets what is remembered of things that are gone.
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

/// The time of day, with the date where that is another.
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
    fn a_time_of_another_day_has_its_date() {
        let at = Timestamp::parse("2026-11-29T14:02:33Z").unwrap();
        assert_eq!(tell_time(at, at.after(Duration::from_mins(9))), "14:02");
        assert_eq!(tell_time(at, at.after(Duration::from_hours(24))), "2026-11-29 14:02");
    }
}
