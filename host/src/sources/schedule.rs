//! Sources of kind `schedule`: an event at each time of a cron expression.
//!
//! The commit that captures an event also stores its time, so no time leads to two events.

use super::RunFailed;
use super::run::{EVENTS, SourceRun};
use crate::ingest::incoming::IncomingEvent;
use crate::model::schedule_source::{MissedTimes, ScheduleSettings};
use crate::model::source::Source;
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

/// Most times that one run handles: one a second for a day.
const MOST: usize = 86_400;

/// What is stored between two runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ScheduleMemory {
    /// The last time that was handled.
    last: Option<Timestamp>,
}

/// Returns the time after which the next time is searched: the last one that was handled, but not
/// before the schedule got its present settings.
pub fn begin(source: &Source, memory: Option<&str>) -> Timestamp {
    let memory: ScheduleMemory =
        memory.and_then(|m| serde_json::from_str(m).ok()).unwrap_or_default();
    memory.last.map_or(source.updated_at, |last| last.max(source.updated_at))
}

/// Captures an event for each time that has come.
pub async fn run_schedule(run: &SourceRun, settings: &ScheduleSettings) -> Result<(), RunFailed> {
    let begin = begin(run.source(), Some(&run.memory));
    let cron = settings.cron().map_err(|fault| RunFailed::new(fault.message))?;
    let mut at = begin;
    let mut due = Vec::new();
    while let Some(next) = cron.next_after(at).filter(|next| *next <= run.began) {
        due.push(next);
        at = next;
        if due.len() == MOST {
            break;
        }
    }
    let late = run.began.before(settings.grace.get());
    let (missed, on_time): (Vec<Timestamp>, Vec<Timestamp>) =
        due.iter().partition(|at| **at < late);
    let name = &run.source().settings.name;
    if due.is_empty() {
        // No time has come, so somebody asked for this run.
        return tell(run, vec![event(settings, name, run.began, 0)], begin).await;
    }
    if let Some(last) = missed.last() {
        let once = (settings.missed == MissedTimes::Once)
            .then(|| event(settings, name, *last, missed.len()));
        tell(run, once.into_iter().collect(), *last).await?;
    }
    for times in on_time.chunks(EVENTS) {
        let events = times.iter().map(|at| event(settings, name, *at, 0)).collect();
        tell(run, events, times.last().copied().unwrap_or(at)).await?;
    }
    Ok(())
}

/// Captures events, and stores the last time that was handled.
async fn tell(
    run: &SourceRun,
    events: Vec<IncomingEvent>,
    last: Timestamp,
) -> Result<(), RunFailed> {
    let memory = ScheduleMemory { last: Some(last) };
    run.take_and_remember(events, &serde_json::to_string(&memory).unwrap_or_default()).await
}

/// Returns the event of the next time.
pub fn sample_event(
    settings: &ScheduleSettings,
    name: &str,
    clock: &Clock,
) -> Result<IncomingEvent, RunFailed> {
    let cron = settings.cron().map_err(|fault| RunFailed::new(fault.message))?;
    let next = cron.next_after(clock.now());
    let next = next.ok_or_else(|| RunFailed::new("its time never comes again"))?;
    Ok(event(settings, name, next, 0))
}

fn event(settings: &ScheduleSettings, source: &str, at: Timestamp, missed: usize) -> IncomingEvent {
    let mut data = json!({ "scheduled_at": at, "missed": missed });
    if let Value::Object(data) = &mut data {
        data.extend(settings.data.clone());
    }
    let data = to_raw_value(&data).unwrap_or_default();
    IncomingEvent {
        id: Some(at.to_string()),
        source: Some(source.to_owned()),
        resource: Some("schedule".to_owned()),
        resource_id: Some(source.to_owned()),
        occurred_at: Some(at),
        ..IncomingEvent::new(settings.event.as_str(), data)
    }
}
