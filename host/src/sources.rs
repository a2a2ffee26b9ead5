//! Sources that Waybill runs itself: it asks a REST API ([`poll`]), reads a database
//! ([`database`]), looks at the clock ([`schedule`]), takes messages from a stream or a queue
//! ([`stream`]), or does what a module says ([`puller`]).
//!
//! ```text
//!   every second, on each node:
//!   due sources ──► lease ──► run ──► capture events and store rows, in one commit ──► release
//!                     │ another node holds it    │
//!                     └──► nothing to do         └─ crash before: the next run finds the same
//! ```
//!
//! Guaranteed: the events of a run and the record of what it has read are committed together, so a
//! crash at any moment loses nothing and repeats nothing. Only one process runs a source at a time.
//! A process that lost its lease without knowing cannot write what it finds.

pub mod database;
pub mod erase;
pub mod letters;
pub mod list_types;
pub mod poll;
pub mod puller;
pub mod rows;
pub mod run;
pub mod schedule;
pub mod stream;

use crate::error_chain::error_chain;
use crate::ingest::incoming::IncomingEvent;
use crate::model::id::SourceId;
use crate::model::source::SourceKind;
use crate::model::timing::SourceTiming;
use crate::net::http_client::DeliveryClient;
use crate::settings::live::LiveSettings;
use crate::settings::source_runtime::SourceRuntime;
use crate::store;
use crate::store::EventStore;
use crate::store::sources::SourceState;
use crate::time::timestamp::Timestamp;
use puller::PullTalk;
use run::SourceRun;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use erase::{abandoned_places, kept_places};
pub use run::RunFailed;

/// How often a node looks for due sources.
const LOOK: Duration = Duration::from_secs(1);

/// What the runs of all sources share.
#[derive(Debug)]
pub struct SourceContext {
    journal: EventStore,
    live: LiveSettings,
    client: DeliveryClient,
    tasks: TaskTracker,
    stop: CancellationToken,
    nudge: Notify,
    running: Mutex<HashMap<SourceId, RunningSource>>,
}

/// A run in this process.
#[derive(Debug)]
struct RunningSource {
    /// The source's settings when the run began.
    settings_of: Timestamp,
    stop: CancellationToken,
}

impl SourceContext {
    /// A context without any runs.
    pub fn new(
        journal: EventStore,
        live: LiveSettings,
        client: DeliveryClient,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (nudge, running) = (Notify::new(), Mutex::default());
        Self { journal, live, client, tasks, stop, nudge, running }
    }

    /// Asks for a run now. Another node may be the one that runs it.
    pub async fn request(&self, source: SourceId) -> Result<(), store::StoreError> {
        self.journal.request_source(source).await?;
        self.nudge.notify_one();
        Ok(())
    }

    /// Returns an event that the source would make. Stores nothing.
    pub async fn sample(&self, runtime: &SourceRuntime) -> Result<IncomingEvent, RunFailed> {
        let settings = &runtime.source.settings;
        let secret = runtime.secret();
        match (&settings.poll, &settings.database, &settings.schedule) {
            (Some(poll), ..) => {
                let clock = self.journal.clock();
                poll::sample_event(poll, &runtime.source, secret, clock, &self.client).await
            }
            (_, Some(read), _) => {
                database::sample_event(read, &runtime.source, secret, self.journal.clock()).await
            }
            (.., Some(clock)) => {
                schedule::sample_event(clock, &settings.name, self.journal.clock())
            }
            _ if settings.nats.is_some() || settings.amqp.is_some() => {
                Box::pin(stream::sample_message(&runtime.source, secret, &self.client)).await
            }
            _ => match self.pull_talk(runtime, false) {
                Some(talk) => Box::pin(puller::sample_event(talk)).await,
                None => Err(RunFailed::new("this source is not run by Waybill")),
            },
        }
    }

    /// Returns what a source needs to talk with its module, if it is of kind `module`.
    pub fn pull_talk<'a>(
        &'a self,
        runtime: &'a SourceRuntime,
        is_live: bool,
    ) -> Option<PullTalk<'a>> {
        Some(PullTalk {
            source: &runtime.source,
            settings: runtime.source.settings.module.as_ref()?,
            stage: runtime.module.as_ref()?,
            client: &self.client,
            plain_http: self.live.module_plain_http(),
            clock: self.journal.clock(),
            is_live,
        })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<SourceId, RunningSource>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the stored rows of a short list of a database source, as key and content.
pub async fn kept(
    journal: &EventStore,
    state: &SourceState,
    table: &str,
) -> Result<Vec<(String, Map<String, Value>)>, store::StoreError> {
    database::kept(journal, state, table).await
}

/// Runs due sources until it is told to stop.
pub async fn run_sources(context: Arc<SourceContext>) {
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = context.nudge.notified() => {}
            () = context.stop.cancelled() => return,
        }
        if let Err(error) = look_for_due(&context).await {
            let error = error_chain(&error);
            tracing::warn!(error, "cannot read which sources are due");
        }
    }
}

/// Starts the due sources, and stops the runs of sources that were changed or deleted.
async fn look_for_due(context: &Arc<SourceContext>) -> Result<(), store::StoreError> {
    let snapshot = context.live.current_settings();
    for (id, running) in context.running().iter() {
        let runtime = snapshot.source_runtimes().find(|runtime| runtime.source.id == *id);
        let as_before = |runtime: &Arc<SourceRuntime>| {
            runtime.source.settings.enabled && runtime.source.updated_at == running.settings_of
        };
        if !runtime.is_some_and(as_before) {
            running.stop.cancel();
        }
    }
    if snapshot.source_runtimes().all(|runtime| runtime.timing.is_none()) {
        return Ok(());
    }
    // This list is made before the states are read: a run that ends in between leaves a newer state
    // than the one that would have been read.
    let running: HashSet<SourceId> = context.running().keys().copied().collect();
    let states = context.journal.list_source_states().await?;
    let now = context.journal.clock().now();
    let rests = |runtime: &&Arc<SourceRuntime>| !running.contains(&runtime.source.id);
    for runtime in
        snapshot.source_runtimes().filter(|runtime| runtime.source.settings.enabled).filter(rests)
    {
        let state = states.iter().find(|state| state.source == runtime.source.id);
        if is_due(runtime, state, now) {
            start_run(context, runtime, state, now).await?;
        }
    }
    Ok(())
}

/// Whether a source must run now.
fn is_due(runtime: &SourceRuntime, state: Option<&SourceState>, now: Timestamp) -> bool {
    // This process knows its own runs, so a lease of its own that was not released does not count.
    if runtime.timing.is_none() || state.is_some_and(|state| state.running && !state.is_ours) {
        return false;
    }
    let is_asked_for = state.is_some_and(|state| state.requested_at.is_some());
    is_asked_for || next_run(runtime, state).is_some_and(|next| next <= now)
}

/// Returns when a source runs next, unless somebody asks for a run before.
pub fn next_run(runtime: &SourceRuntime, state: Option<&SourceState>) -> Option<Timestamp> {
    let timing = runtime.timing.as_ref()?;
    let source = &runtime.source;
    // A run that was interrupted is continued as soon as the lease allows.
    let began = state.and_then(|state| state.started_at);
    let ended = state.and_then(|state| state.report.finished_at);
    if began.is_some() && ended < began && source.settings.kind != SourceKind::Schedule {
        return began;
    }
    if let (SourceTiming::Always, Some(state), Some(ended)) = (timing, state, ended) {
        // Other settings may be what mends it, so they are tried at once.
        let is_older = source.updated_at > ended;
        let wait = stream::retry_wait(state.report.failures);
        return Some(if is_older { source.updated_at } else { ended.after(wait) });
    }
    let last = match (source.settings.kind, timing) {
        (SourceKind::Schedule, SourceTiming::Cron(_)) => {
            Some(schedule::begin(source, state.map(|state| state.memory.as_str())))
        }
        _ => began,
    };
    timing.next(last, source.updated_at)
}

/// Returns the next run to show to an operator. If the source is running, that is the run after the
/// present one, because `next_run` still returns the time of the present run, which is in the past.
/// A source that runs all the time has none after it.
pub fn upcoming_run(runtime: &SourceRuntime, state: Option<&SourceState>) -> Option<Timestamp> {
    let present_run = state.filter(|state| state.running).and_then(|state| state.started_at);
    let Some(started) = present_run else { return next_run(runtime, state) };
    let timing =
        runtime.timing.as_ref().filter(|timing| !matches!(timing, SourceTiming::Always))?;
    timing.next(Some(started), runtime.source.updated_at)
}

async fn start_run(
    context: &Arc<SourceContext>,
    runtime: &Arc<SourceRuntime>,
    state: Option<&SourceState>,
    now: Timestamp,
) -> Result<(), store::StoreError> {
    let id = runtime.source.id;
    let seen = state.and_then(|state| state.started_at);
    if !context.journal.lease_source(id, now, seen).await? {
        return Ok(());
    }
    let stop = context.stop.child_token();
    let settings_of = runtime.source.updated_at;
    context.running().insert(id, RunningSource { settings_of, stop: stop.clone() });
    let run = SourceRun::new(context, runtime, state, now);
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let _ended = RunEndGuard { context: &context, id };
        run.run_and_release(&stop).await;
    });
    Ok(())
}

/// Removes a run from the list of runs when it is dropped, however the run ends.
struct RunEndGuard<'a> {
    context: &'a SourceContext,
    id: SourceId,
}

impl Drop for RunEndGuard<'_> {
    fn drop(&mut self) {
        self.context.running().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::{Source, SourceSettings};
    use crate::model::source_run::RunReport;

    #[test]
    fn a_source_that_takes_messages_runs_again_after_a_wait_and_at_once_with_other_settings() {
        let settings = serde_json::json!({
            "name": "s", "kind": "nats", "nats": {"url": "nats://h", "stream": "S"},
        });
        let settings: SourceSettings = serde_json::from_value(settings).unwrap();
        let at = Timestamp::from_micros;
        let next = |changed: i64, ended: Option<i64>, running| {
            let (id, settings) = (SourceId::generate(), settings.clone());
            let source =
                Source { id, settings, created_at: at(0), updated_at: at(changed * 1_000_000) };
            let runtime = SourceRuntime::new(source, None, false, Arc::default());
            let finished_at = ended.map(|ended| at(ended * 1_000_000));
            let report = RunReport { finished_at, failures: 3, ..RunReport::default() };
            let state = SourceState {
                source: id,
                running,
                is_ours: false,
                requested_at: None,
                started_at: Some(at(100 * 1_000_000)),
                memory: "{}".to_owned(),
                report,
            };
            upcoming_run(&runtime, Some(&state)).map(Timestamp::seconds)
        };
        assert_eq!(next(50, Some(110), false), Some(114), "the third failure waits four seconds");
        assert_eq!(next(120, Some(110), false), Some(120), "other settings");
        assert_eq!(next(50, Some(90), false), Some(100), "the run was cut off");
        assert_eq!(next(50, Some(90), true), None, "it goes on");
    }
}
