//! Sources that Waybill runs itself: it asks a REST API ([`poll`]), reads a database
//! ([`database`]), or looks at the clock ([`schedule`]).
//!
//! ```text
//!   every second, on each node:
//!   sources that are due ──► lease ──► run ──► capture, and keep what was read: one commit ──► release
//!                             │ another node has it            │
//!                             └──────────► nothing to do       └─ not reached: the next run finds the same
//! ```
//!
//! Guaranteed: what a run captured and what the source remembers having read are durable together,
//! so a crash at any moment loses nothing and repeats nothing. One process runs a source at a time,
//! and what another one that does not know that it lost its hold finds is not written.

pub mod database;
pub mod erase;
pub mod letters;
pub mod poll;
pub mod rows;
pub mod run;
pub mod schedule;

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

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_secs(1);

/// What running sources takes.
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

/// A run of this process.
#[derive(Debug)]
struct RunningSource {
    /// The source as it was then.
    settings_of: Timestamp,
    stop: CancellationToken,
}

impl SourceContext {
    /// With nothing running yet.
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

    /// Has a source run now; another node may be the one to do it.
    pub async fn request(&self, source: SourceId) -> Result<(), store::StoreError> {
        self.journal.request_source(source).await?;
        self.nudge.notify_one();
        Ok(())
    }

    /// One event that the source would make, without a trace.
    pub async fn sample(&self, inlet: &SourceRuntime) -> Result<IncomingEvent, RunFailed> {
        let settings = &inlet.source.settings;
        let secret = inlet.secret();
        match (&settings.poll, &settings.database, &settings.schedule) {
            (Some(poll), ..) => {
                let clock = self.journal.clock();
                poll::sample_event(poll, &inlet.source, secret, clock, &self.client).await
            }
            (_, Some(read), _) => {
                database::sample_event(read, &inlet.source, secret, self.journal.clock()).await
            }
            (.., Some(clock)) => {
                schedule::sample_event(clock, &settings.name, self.journal.clock())
            }
            _ => Err(RunFailed::new("this source is not run by Waybill")),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<SourceId, RunningSource>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of a short list as a database source has kept them, by key: key and content.
pub async fn kept(
    journal: &EventStore,
    state: &SourceState,
    table: &str,
) -> Result<Vec<(String, Map<String, Value>)>, store::StoreError> {
    database::kept(journal, state, table).await
}

/// Runs what is due, until told to stop.
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
            tracing::warn!(error, "cannot see which sources are due");
        }
    }
}

/// Starts what is due, and stops what is not wanted as it is any more.
async fn look_for_due(context: &Arc<SourceContext>) -> Result<(), store::StoreError> {
    let topology = context.live.current_settings();
    for (id, running) in context.running().iter() {
        let inlet = topology.source_runtimes().find(|inlet| inlet.source.id == *id);
        let as_before = |inlet: &Arc<SourceRuntime>| {
            inlet.source.settings.enabled && inlet.source.updated_at == running.settings_of
        };
        if !inlet.is_some_and(as_before) {
            running.stop.cancel();
        }
    }
    if topology.source_runtimes().all(|inlet| inlet.timing.is_none()) {
        return Ok(());
    }
    // Before it is read what they remember: a run that ends meanwhile has more to remember than
    // that.
    let running: HashSet<SourceId> = context.running().keys().copied().collect();
    let states = context.journal.list_source_states().await?;
    let now = context.journal.clock().now();
    let rests = |inlet: &&Arc<SourceRuntime>| !running.contains(&inlet.source.id);
    for inlet in
        topology.source_runtimes().filter(|inlet| inlet.source.settings.enabled).filter(rests)
    {
        let state = states.iter().find(|state| state.source == inlet.source.id);
        if is_due(inlet, state, now) {
            start_run(context, inlet, state, now).await?;
        }
    }
    Ok(())
}

/// Whether a source is to run now.
fn is_due(inlet: &SourceRuntime, state: Option<&SourceState>, now: Timestamp) -> bool {
    // What this process is running it knows itself: a hold that it forgot to give up is no
    // obstacle.
    if inlet.timing.is_none() || state.is_some_and(|state| state.running && !state.is_ours) {
        return false;
    }
    let is_asked_for = state.is_some_and(|state| state.requested_at.is_some());
    is_asked_for || next_run(inlet, state).is_some_and(|next| next <= now)
}

/// When a source runs next, unless it is asked to.
pub fn next_run(inlet: &SourceRuntime, state: Option<&SourceState>) -> Option<Timestamp> {
    let timing = inlet.timing.as_ref()?;
    let source = &inlet.source;
    // One that was cut off goes on as soon as it may.
    let began = state.and_then(|state| state.started_at);
    let ended = state.and_then(|state| state.report.finished_at);
    if began.is_some() && ended < began && source.settings.kind != SourceKind::Schedule {
        return began;
    }
    let last = match (source.settings.kind, timing) {
        (SourceKind::Schedule, SourceTiming::Cron(_)) => {
            Some(schedule::begin(source, state.map(|state| state.memory.as_str())))
        }
        _ => began,
    };
    timing.next(last, source.updated_at)
}

/// The next run to show to an operator: of a source that is running, the run after the present one.
///
/// `next_run` of a running source is the time that the present run deals with, which is in the
/// past.
pub fn upcoming_run(inlet: &SourceRuntime, state: Option<&SourceState>) -> Option<Timestamp> {
    let present_run = state.filter(|state| state.running).and_then(|state| state.started_at);
    let Some(started) = present_run else { return next_run(inlet, state) };
    inlet.timing.as_ref()?.next(Some(started), inlet.source.updated_at)
}

async fn start_run(
    context: &Arc<SourceContext>,
    inlet: &Arc<SourceRuntime>,
    state: Option<&SourceState>,
    now: Timestamp,
) -> Result<(), store::StoreError> {
    let id = inlet.source.id;
    let seen = state.and_then(|state| state.started_at);
    if !context.journal.lease_source(id, now, seen).await? {
        return Ok(());
    }
    let stop = context.stop.child_token();
    let settings_of = inlet.source.updated_at;
    context.running().insert(id, RunningSource { settings_of, stop: stop.clone() });
    let run = SourceRun::new(context, inlet, state, now);
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let _ended = RunEndGuard { context: &context, id };
        run.run_and_release(&stop).await;
    });
    Ok(())
}

/// Notes the end of a run, however it ends.
struct RunEndGuard<'a> {
    context: &'a SourceContext,
    id: SourceId,
}

impl Drop for RunEndGuard<'_> {
    fn drop(&mut self) {
        self.context.running().remove(&self.id);
    }
}
