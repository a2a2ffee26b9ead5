//! Trials of module versions on live events: runs shadows, and rolls canaries back.
//!
//! **Shadows.** After an event's plan is recorded, the event is run twice more without effect: with
//! the active version and with the one on trial. Both read the flow's state as it is after the
//! live event, one after the other, and the same recorded answers. One event at a time runs, from a bounded
//! queue that the planner never waits for.
//!
//! **Canaries.** Every node adds its counts to the database and judges the sum of all nodes. The
//! first node that sees a canary beyond its limits ends it.

use crate::access::audit::CallAudit;
use crate::api::dry_run::DryRunAnswer;
use crate::api::dry_run::run_comparison::{
    EventChange, compare_runs, sum_running_time, tell_differences,
};
use crate::error_chain::error_chain;
use crate::model::api_call::ApiCall;
use crate::model::id::RequestId;
use crate::model::module_trial::{TrialCount, TrialEnd, TrialMode};
use crate::pipeline::contents::ContentsRoom;
use crate::pipeline::planner::{FlowPlanner, VersionChoice};
use crate::settings::live::{LiveSettings, SettingsError};
use crate::settings::module_trials::{KnownTrial, ShadowJob, TrialExample, end_trial};
use crate::settings::{FlowRuntime, ModuleStage};
use crate::store::EventStore;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Interval at which counts are added to the database, and canaries judged.
const JUDGE: Duration = Duration::from_secs(1);
/// Most differences that are kept of one example.
const MOST_DIFFERENCES: usize = 8;
/// Largest size of one kept difference, in bytes.
const LONGEST_DIFFERENCE: usize = 512;

/// Everything that trials need.
#[derive(Debug, Clone)]
pub struct TrialContext {
    pub journal: EventStore,
    pub live: LiveSettings,
    pub audit: Arc<CallAudit>,
    /// Lifetime of dedupe keys, as for live events.
    pub dedupe_for: Duration,
}

/// Runs until told to stop.
pub async fn run_trials(context: TrialContext, stop: CancellationToken) {
    let Some(jobs) = context.live.trials().take_jobs() else { return };
    tokio::join!(run_shadows(&context, jobs, &stop), judge_trials(&context, &stop));
}

async fn run_shadows(
    context: &TrialContext,
    mut jobs: mpsc::Receiver<ShadowJob>,
    stop: &CancellationToken,
) {
    loop {
        let job = tokio::select! {
            job = jobs.recv() => job,
            () = stop.cancelled() => return,
        };
        let Some(job) = job else { return };
        tokio::select! {
            () = Box::pin(context.run_shadow(&job)) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn judge_trials(context: &TrialContext, stop: &CancellationToken) {
    let mut tick = tokio::time::interval(JUDGE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_over = tokio::select! {
            _ = tick.tick() => false,
            () = stop.cancelled() => true,
        };
        let snapshot = context.live.current_settings();
        for known in snapshot.trials() {
            if let Err(error) = context.judge_trial(known).await {
                let (module, error) = (&known.module, error_chain(&error));
                tracing::warn!(
                    module,
                    error,
                    "cannot count or judge a module's trial; trying again in a second"
                );
            }
        }
        if is_over {
            return;
        }
    }
}

impl TrialContext {
    /// Runs the present version and the one on trial on an event, and counts the difference.
    async fn run_shadow(&self, job: &ShadowJob) {
        let snapshot = self.live.current_settings();
        let Some(route) = snapshot.find_flow(job.flow) else { return };
        let mut trials = route.modules.iter().filter_map(|stage| stage.trial.as_deref());
        let is_on = trials.any(|trial| Arc::ptr_eq(&trial.tally, &job.tally));
        if !is_on || route.find_refusal(&job.event.subject()).is_some() {
            return;
        }
        let module = &job.module;
        let run = |versions| self.run_without_effect(route, job, versions);
        let tried = VersionChoice::Tried(module);
        // The first run finds colder caches, so the versions take turns.
        let (present, tried) = if job.event.id.uuid().as_u128() & 1 == 0 {
            let present = run(VersionChoice::Present).await;
            (present, run(tried).await)
        } else {
            let tried = run(tried).await;
            (run(VersionChoice::Present).await, tried)
        };
        let (kind, differences) = compare_shadow(&present, &tried);
        if kind != TrialCount::Same {
            job.tally.keep_example(TrialExample {
                at: self.journal.clock().now(),
                event: job.event.id,
                flow: route.flow.settings.name.clone(),
                kind,
                differences: differences.into_iter().map(shorten).collect(),
            });
        }
        // Last, so that whoever sees the count finds the example.
        count_shadow(job, &present, &tried, kind);
    }

    /// Runs a flow on an event. Nothing is stored or sent, and requests get recorded answers only.
    async fn run_without_effect(
        &self,
        route: &FlowRuntime,
        job: &ShadowJob,
        versions: VersionChoice<'_>,
    ) -> ShadowRun {
        let heavy = Arc::new(Semaphore::new(1));
        let planner = FlowPlanner {
            route,
            store: &self.journal,
            event: &job.event,
            attempt: 1,
            dedupe_for: self.dedupe_for,
            heavy: &heavy,
            room: ContentsRoom::STORED,
            clock: None,
            requests: None,
            is_traced: false,
            versions,
        };
        let outcome = planner.choose_deliveries().await;
        let lacks_answer = outcome.lacks_answer;
        let answer = DryRunAnswer::of(route, &job.event, 1, outcome);
        let answer = serde_json::to_value(answer).unwrap_or_default();
        ShadowRun { answer, lacks_answer }
    }

    /// Adds this node's counts of a trial to the database.
    async fn store_counts(&self, known: &KnownTrial) -> Result<(), SettingsError> {
        let KnownTrial { module, trial, tally, .. } = known;
        let _moving = tally.moving.lock().await;
        let counts = tally.take_counts();
        if counts.iter().next().is_none() {
            return Ok(());
        }
        let added = self.journal.add_trial_counts(module, trial.run, counts).await;
        added.inspect_err(|_| tally.put_back(counts)).map_err(SettingsError::from)
    }

    /// Adds this node's counts of a trial to the database, and ends a canary beyond its limits.
    async fn judge_trial(&self, known: &KnownTrial) -> Result<(), SettingsError> {
        let KnownTrial { module, trial, .. } = known;
        self.store_counts(known).await?;
        if trial.mode != TrialMode::Canary || !trial.is_running() {
            return Ok(());
        }
        let counts = self.journal.read_trial_counts(module, trial.run).await?;
        let why = trial.judge_counts(&counts).or_else(|| self.find_open_breaker(known));
        match why {
            Some(why) => self.roll_back(known, why).await,
            None => Ok(()),
        }
    }

    /// Returns why a canary's breaker is open, unless that of the active version is open too.
    fn find_open_breaker(&self, known: &KnownTrial) -> Option<String> {
        let snapshot = self.live.current_settings();
        let mut stages = snapshot.flows().iter().flat_map(|flow| &flow.modules);
        let is_it = |stage: &&ModuleStage| {
            let trial = stage.trial.as_ref();
            trial.is_some_and(|trial| Arc::ptr_eq(&trial.tally, &known.tally))
        };
        let stage = stages.find(is_it)?;
        let is_open = |stage: &ModuleStage| {
            stage.breaker.as_ref().is_some_and(|breaker| breaker.open_since().is_some())
        };
        let tried = &stage.trial.as_ref()?.stage;
        if is_open(stage) || !is_open(tried) {
            return None;
        }
        tried.breaker.as_ref().map(|breaker| breaker.tell_state())
    }

    /// Ends a canary, if no other node has done so.
    async fn roll_back(&self, known: &KnownTrial, why: String) -> Result<(), SettingsError> {
        let KnownTrial { module, version, trial, .. } = known;
        let at = self.journal.clock().now();
        let ended = end_trial(
            &self.live,
            &self.journal,
            module,
            trial.run,
            TrialEnd { at, why: why.clone(), is_automatic: true },
        );
        if !ended.await? {
            return Ok(());
        }
        tracing::warn!(
            module,
            version,
            why,
            "a canary was rolled back: the active version runs all events again; correct the version, and replay its dead letters"
        );
        if self.audit.is_on() {
            self.audit.note_call(tell_roll_back(module, *version, &why));
            self.audit.write_notes(Vec::new());
        }
        Ok(())
    }
}

/// A run of a flow without effect.
#[derive(Debug)]
struct ShadowRun {
    /// The answer that a dry run would give.
    answer: Value,
    lacks_answer: bool,
}

/// Returns what is counted for the two runs, and how they differ in words.
fn compare_shadow(present: &ShadowRun, tried: &ShadowRun) -> (TrialCount, Vec<String>) {
    if present.lacks_answer || tried.lacks_answer {
        let why = "it makes a request whose answer is not recorded with the event".to_owned();
        return (TrialCount::NotRecorded, vec![why]);
    }
    match compare_runs(&present.answer, &tried.answer) {
        EventChange::Same => (TrialCount::Same, Vec::new()),
        EventChange::NewlyDropped(why) => (TrialCount::NewlyDropped, vec![why]),
        EventChange::NewlyFailing(why) => (TrialCount::NewlyFailing, vec![why]),
        EventChange::NoLongerFailing => (TrialCount::NoLongerFailing, Vec::new()),
        EventChange::Changed(first) => {
            let all = tell_differences(&present.answer, &tried.answer, MOST_DIFFERENCES);
            (TrialCount::Changed, if all.is_empty() { vec![first] } else { all })
        }
    }
}

fn count_shadow(job: &ShadowJob, present: &ShadowRun, tried: &ShadowRun, kind: TrialCount) {
    let ran = |run: &ShadowRun| Duration::from_micros(sum_running_time(&run.answer));
    job.tally.count_call(false, false, ran(present));
    job.tally.count_call(true, kind == TrialCount::NewlyFailing, ran(tried));
    // Last, so that whoever sees the result sees its times.
    job.tally.count(kind, 1);
}

fn shorten(text: String) -> String {
    if text.len() <= LONGEST_DIFFERENCE {
        return text;
    }
    let end = text.floor_char_boundary(LONGEST_DIFFERENCE);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// Returns the audit row of an automatic roll-back, which nobody called for.
fn tell_roll_back(module: &str, version: u32, why: &str) -> ApiCall {
    ApiCall {
        id: RequestId::generate(),
        token: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        method: "AUTO".to_owned(),
        route: format!(
            "/api/v1/modules/{{name}}/rollback: module {module} version {version}: {why}"
        ),
        status: 200,
        duration: Duration::ZERO,
        calls: 1,
    }
}
