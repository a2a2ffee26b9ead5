//! Trials of module versions on live events, as far as this node takes part: which version runs an
//! event, what is counted, and the queue of shadows.
//!
//! A trial is stored with its version ([`ModuleTrial`]). Each node counts in memory and adds its
//! counts to the database; a canary is judged by the sum of all nodes. The examples of differences
//! stay in the memory of the node that found them, because they quote events.

use super::live::{LiveSettings, SettingsError};
use super::{FlowRuntime, ModuleStage};
use crate::model::event::Event;
use crate::model::id::{EventId, FlowId};
use crate::model::module_trial::{
    ModuleTrial, TRIAL_COUNTS, TrialCount, TrialCounts, TrialEnd, TrialMode,
};
use crate::store::EventStore;
use crate::store::modules::ModuleVersion;
use crate::store::objects::ObjectChange;
use crate::time::timestamp::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Most events that wait for their shadows. Further ones are left out.
const MOST_WAITING: usize = 64;
/// Largest payload of an event that a shadow runs on, in bytes. With [`MOST_WAITING`] this bounds
/// the memory of the queue at 16 MiB.
const LARGEST_PAYLOAD: usize = 256 << 10;
/// Most examples that are kept of a trial, the newest ones.
pub const MOST_EXAMPLES: usize = 20;

/// A version on trial in a flow.
#[derive(Debug)]
pub struct TrialStage {
    pub trial: ModuleTrial,
    /// The stage that runs the version.
    pub stage: ModuleStage,
    pub tally: Arc<TrialTally>,
}

/// A trial of this snapshot of the settings.
#[derive(Debug, Clone)]
pub struct KnownTrial {
    pub module: String,
    pub version: u32,
    pub trial: ModuleTrial,
    pub tally: Arc<TrialTally>,
}

/// An event that a shadow has yet to run on.
#[derive(Debug)]
pub struct ShadowJob {
    pub event: Event,
    pub flow: FlowId,
    pub module: String,
    pub tally: Arc<TrialTally>,
}

/// A difference that a shadow found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialExample {
    pub at: Timestamp,
    pub event: EventId,
    /// Name of the flow.
    pub flow: String,
    /// What was counted for it.
    pub kind: TrialCount,
    /// The differences in words. They quote the event.
    pub differences: Vec<String>,
}

/// What this node counts of one trial.
#[derive(Debug)]
pub struct TrialTally {
    pub run: i64,
    /// Counts that have yet to be added to the database.
    cells: [AtomicU64; TRIAL_COUNTS],
    /// Held while counts are on their way to the database, where they are in neither place.
    pub moving: tokio::sync::Mutex<()>,
    examples: Mutex<VecDeque<TrialExample>>,
}

impl TrialTally {
    fn new(run: i64) -> Self {
        let cells = [const { AtomicU64::new(0) }; TRIAL_COUNTS];
        Self { run, cells, moving: tokio::sync::Mutex::default(), examples: Mutex::default() }
    }

    /// Adds to a number.
    pub fn count(&self, count: TrialCount, more: u64) {
        if let Some(cell) = self.cells.get(count as usize) {
            cell.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Counts a call of the version on trial, or of the active one.
    pub fn count_call(&self, is_tried: bool, has_failed: bool, took: Duration) {
        let [calls, micros] = if is_tried {
            [TrialCount::TrialCalls, TrialCount::TrialMicros]
        } else {
            [TrialCount::ActiveCalls, TrialCount::ActiveMicros]
        };
        if has_failed {
            self.count_failure(is_tried);
        }
        self.count(calls, 1);
        self.count(micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    /// Counts a failure of the version on trial, or of the active one.
    pub fn count_failure(&self, is_tried: bool) {
        self.count(if is_tried { TrialCount::TrialFailed } else { TrialCount::ActiveFailed }, 1);
    }

    /// Returns the counts that have yet to be added to the database.
    pub fn read_counts(&self) -> TrialCounts {
        self.collect(|cell| cell.load(Ordering::Relaxed))
    }

    /// Takes the counts, to add them to the database.
    pub fn take_counts(&self) -> TrialCounts {
        self.collect(|cell| cell.swap(0, Ordering::Relaxed))
    }

    fn collect(&self, read: impl Fn(&AtomicU64) -> u64) -> TrialCounts {
        let mut counts = TrialCounts::default();
        for (count, cell) in TrialCount::ALL.into_iter().zip(&self.cells) {
            counts.add(count, read(cell));
        }
        counts
    }

    /// Puts back counts that could not be added to the database.
    pub fn put_back(&self, counts: TrialCounts) {
        for (count, value) in counts.iter() {
            self.count(count, value);
        }
    }

    fn lock_examples(&self) -> MutexGuard<'_, VecDeque<TrialExample>> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an example in the place of the oldest one.
    pub fn keep_example(&self, example: TrialExample) {
        let mut examples = self.lock_examples();
        if examples.len() >= MOST_EXAMPLES {
            examples.pop_front();
        }
        examples.push_back(example);
    }

    /// Returns the examples, the newest first.
    pub fn examples(&self) -> Vec<TrialExample> {
        self.lock_examples().iter().rev().cloned().collect()
    }
}

/// The tallies of this node, and the queue of shadows.
#[derive(Debug)]
pub struct TrialBook {
    tallies: Mutex<HashMap<String, Arc<TrialTally>>>,
    queue: mpsc::Sender<ShadowJob>,
    jobs: Mutex<Option<mpsc::Receiver<ShadowJob>>>,
}

impl Default for TrialBook {
    fn default() -> Self {
        let (queue, jobs) = mpsc::channel(MOST_WAITING);
        Self { tallies: Mutex::default(), queue, jobs: Mutex::new(Some(jobs)) }
    }
}

impl TrialBook {
    /// Returns the trials among these versions, running or ended. Forgets the tallies of all
    /// others.
    pub fn open_trials(&self, versions: &[ModuleVersion]) -> Vec<KnownTrial> {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tallies);
        let mut known = Vec::new();
        for version in versions {
            let Some(trial) = version.trial.clone() else { continue };
            let tally = before.remove(&version.name).filter(|tally| tally.run == trial.run);
            let tally = tally.unwrap_or_else(|| Arc::new(TrialTally::new(trial.run)));
            tallies.insert(version.name.clone(), Arc::clone(&tally));
            let (module, version) = (version.name.clone(), version.version);
            known.push(KnownTrial { module, version, trial, tally });
        }
        known
    }

    /// Returns the queue of shadows, once.
    pub fn take_jobs(&self) -> Option<mpsc::Receiver<ShadowJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the shadows that are to run on a planned event. Copies the event only if there are
    /// any and the queue has room.
    pub fn collect_shadows(&self, route: &FlowRuntime, event: &Event) -> Vec<ShadowJob> {
        let mut jobs = Vec::new();
        for trial in route.modules.iter().filter_map(|stage| stage.trial.as_deref()) {
            if !trial.shadows_event(route.flow.id, event) || trial.stage.module.is_err() {
                continue;
            }
            if self.queue.capacity() == 0 || event.data.get().len() > LARGEST_PAYLOAD {
                trial.tally.count(TrialCount::LeftOut, 1);
                continue;
            }
            jobs.push(ShadowJob {
                event: event.clone(),
                flow: route.flow.id,
                module: trial.stage.settings.name.clone(),
                tally: Arc::clone(&trial.tally),
            });
        }
        jobs
    }

    /// Queues a shadow. Never waits: without room it is left out.
    pub fn push_shadow(&self, job: ShadowJob) {
        let tally = Arc::clone(&job.tally);
        if self.queue.try_send(job).is_err() {
            tally.count(TrialCount::LeftOut, 1);
        }
    }
}

impl TrialStage {
    pub fn is_canary(&self) -> bool {
        self.trial.mode == TrialMode::Canary
    }

    fn shadows_event(&self, flow: FlowId, event: &Event) -> bool {
        self.trial.mode == TrialMode::Shadow
            && (self.trial.share >= 100 || self.trial.takes_key(flow, &event.id.to_string()))
    }

    /// Returns whether the version runs instead of the active one on an event that arrives now. An
    /// event without a record is chosen by its id. A version whose breaker is open is about to be
    /// rolled back, so its events need not suffer until then.
    pub fn runs_event(&self, flow: FlowId, event: &Event, now: Timestamp) -> bool {
        if !self.is_canary() || self.stage.module.is_err() {
            return false;
        }
        let key = event.record_key().unwrap_or_else(|| event.id.to_string());
        let is_held_back = || self.stage.breaker.as_ref().is_some_and(|one| one.holds_back(now));
        self.trial.takes_key(flow, &key) && !is_held_back()
    }
}

/// Ends a trial, unless it has ended since. Returns whether it did. The version and its counts
/// stay, so that people can see why.
pub async fn end_trial(
    live: &LiveSettings,
    journal: &EventStore,
    module: &str,
    run: i64,
    end: TrialEnd,
) -> Result<bool, SettingsError> {
    let _turn = live.take_edit_turn().await?;
    let versions = journal.list_modules().await?;
    // Read within the turn, so that a new trial of the module is not ended in its place.
    let is_it = |version: &&ModuleVersion| {
        version.name == module && version.running_trial().is_some_and(|trial| trial.run == run)
    };
    let Some(found) = versions.iter().find(is_it) else { return Ok(false) };
    let Some(trial) = found.trial.clone() else { return Ok(false) };
    let trial = ModuleTrial { ended: Some(end), ..trial };
    let (name, version) = (found.name.clone(), found.version);
    journal.change_objects(&[ObjectChange::SetTrial { name, version, trial }]).await?;
    live.reload_settings().await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_once_and_put_back_if_need_be() {
        let tally = TrialTally::new(1);
        tally.count_call(true, true, Duration::from_micros(30));
        tally.count_call(false, false, Duration::from_micros(20));
        let taken = tally.take_counts();
        let read = |counts: &TrialCounts| {
            [TrialCount::TrialCalls, TrialCount::TrialFailed, TrialCount::ActiveMicros]
                .map(|count| counts.get(count))
        };
        assert_eq!(read(&taken), [1, 1, 20]);
        assert_eq!(tally.take_counts(), TrialCounts::default());
        tally.put_back(taken);
        assert_eq!(tally.read_counts(), taken);
    }

    #[test]
    fn the_newest_examples_are_kept() {
        let tally = TrialTally::new(1);
        for n in 0..30 {
            tally.keep_example(TrialExample {
                at: Timestamp::from_micros(n),
                event: EventId::generate(),
                flow: "f".to_owned(),
                kind: TrialCount::Changed,
                differences: Vec::new(),
            });
        }
        let examples = tally.examples();
        assert_eq!((examples.len(), examples[0].at), (MOST_EXAMPLES, Timestamp::from_micros(29)));
    }
}
