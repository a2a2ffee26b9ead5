//! Runs one event through one flow's modules, in order.
//!
//! Each module has one fresh instance for each event that reaches it, shared by its roles. A filter
//! stops the event or lets it pass, a transform replaces it by any number of events, and a route
//! chooses among the flow's endpoints. If several modules route, the last one decides.
//!
//! A transform states only its changes: the type, record id and attributes from the event or an
//! earlier transform are kept. The total output of all modules for one event is bounded
//! ([`super::bounds`]).

mod breaker;
mod destinations;
pub mod outcome;
mod pipeline_item;
mod version_choice;

use self::breaker::{StageEntry, report_call};
use self::outcome::{
    ChosenDelivery, FlowOutcome, MODULE_OUTPUT, ModulesFailed, TraceStep, steps_json,
};
use self::pipeline_item::{PipelineItem, attribute_pairs};
use self::version_choice::ChosenVersions;
pub use self::version_choice::VersionChoice;
use super::bounds::{self, EventWork, RunLabel};
use super::contents::{ContentsRoom, PlanContents};
use super::plan_spans::NotedCalls;
use crate::metrics::module_figures::CallOutcome;
use crate::model::attributes::SentWith;
use crate::model::event::{Event, ReadChanges, attribute_texts};
use crate::model::plan_effects::PlanEffects;
use crate::settings::module_breakers::AdmittedCall;
use crate::settings::module_logs::LineOrigin;
use crate::settings::{FlowRuntime, ModuleStage};
use crate::store::EventStore;
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;
use crate::wasm::case_world::RunStore;
use crate::wasm::record_calls::MAX_RECORD_BYTES;
use crate::wasm::{
    self, CallPlace, CapabilityRun, EventCalls, InputChanges, ModuleClient, ModuleFailure,
    ModuleInput, ModuleRun, RunEnd,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Runs one flow on one event.
#[derive(Debug)]
pub struct FlowPlanner<'a> {
    pub route: &'a FlowRuntime,
    /// The store from which modules read, if they are granted that.
    pub store: &'a EventStore,
    pub event: &'a Event,
    /// Number of the try, from 1.
    pub attempt: i32,
    /// Lifetime of dedupe keys.
    pub dedupe_for: Duration,
    /// The one permit for a plan that holds more than [`LIGHT`] bytes.
    pub heavy: &'a Arc<Semaphore>,
    /// How much of the modules' output is kept.
    pub room: ContentsRoom,
    /// The clock that stamps counted calls. A dry run does not count calls.
    pub clock: Option<&'a Clock>,
    /// Makes the requests of modules. A dry run has `None` and reads only recorded answers.
    pub requests: Option<&'a ModuleClient>,
    /// Whether the calls of modules are noted for spans. Needs a `clock`.
    pub is_traced: bool,
    pub versions: VersionChoice<'a>,
}

/// Bytes that a plan may hold while others run. A larger plan waits until it is the only large one.
const LIGHT: usize = 256 << 10;

/// The state of a run.
#[derive(Debug)]
struct RunCourse<'a, 's> {
    steps: &'s mut Vec<TraceStep<'a>>,
    work: EventWork,
    /// The event's own attributes.
    attributes: Vec<(String, String)>,
    flow: String,
    heavy: Option<OwnedSemaphorePermit>,
    /// How long the run may still wait for others.
    patience: Duration,
    /// Changes that modules made so far.
    effects: PlanEffects,
    /// The versions that run.
    versions: ChosenVersions<'a>,
    /// The requests of all modules. Created when the first module may make requests.
    calls: Option<Arc<EventCalls>>,
    /// The calls of modules, for spans.
    noted: NotedCalls,
    /// The changes that the event reports.
    changes: Option<ReadChanges<'a>>,
}

impl RunCourse<'_, '_> {
    /// Waits for others until the run's total waiting time is used up.
    async fn wait<T>(&mut self, turn: impl Future<Output = T>) -> Result<T, ModulesFailed> {
        let began = Instant::now();
        let done = tokio::time::timeout(self.patience, turn).await;
        self.patience = self.patience.saturating_sub(began.elapsed());
        done.map_err(|_late| ModulesFailed::of_host(&ModuleFailure::no_room()))
    }
}

impl<'a> FlowPlanner<'a> {
    /// Runs the modules and makes the deliveries.
    pub async fn run(&self) -> FlowOutcome {
        let outcome = self.choose_deliveries().await;
        let FlowOutcome { result, steps, contents, heavy, effects, calls, lacks_answer } = outcome;
        let draft = |(target, plan): ChosenDelivery<'a>| {
            let is_enabled = target.endpoint.settings.enabled;
            is_enabled.then(|| target.draft(self.store, self.event, plan))
        };
        let result = result.map(|chosen| chosen.into_iter().filter_map(draft).collect());
        FlowOutcome { result, steps, contents, heavy, effects, calls, lacks_answer }
    }

    /// Runs the modules and chooses the deliveries. Does not store anything or reserve memory.
    pub async fn choose_deliveries(&self) -> FlowOutcome<ChosenDelivery<'a>> {
        let mut steps = Vec::new();
        let mut course = RunCourse {
            steps: &mut steps,
            work: EventWork::with_contents(PlanContents::with_room(self.room)),
            attributes: self.event.attributes.as_deref().map(attribute_texts).unwrap_or_default(),
            flow: self.route.flow.id.to_string(),
            heavy: None,
            patience: wasm::PATIENCE,
            effects: PlanEffects::default(),
            versions: self.choose_versions(),
            calls: None,
            noted: NotedCalls::default(),
            // Changes that cannot be read count as unknown.
            changes: self
                .event
                .changes
                .as_deref()
                .and_then(|changes| serde_json::from_str(changes.get()).ok()),
        };
        let result = self.plan_event(&mut course).await;
        course.work.close(course.steps);
        let (heavy, contents, effects) = (course.heavy, course.work.contents, course.effects);
        let lacks_answer = course.calls.as_ref().is_some_and(|calls| calls.lacks_answer());
        let calls = course.noted;
        match &result {
            Err(failed) if !steps.last().is_some_and(TraceStep::is_end) => {
                let failure = wasm::RoleVerdict::Failed.name();
                steps.push(TraceStep::of_host("flow", failure, failed.detail.clone()));
            }
            Ok(_) | Err(_) => {}
        }
        FlowOutcome {
            result,
            steps: steps_json(&steps),
            contents: contents.into_json(),
            heavy,
            effects,
            calls,
            lacks_answer,
        }
    }

    async fn plan_event(
        &self,
        course: &mut RunCourse<'a, '_>,
    ) -> Result<Vec<ChosenDelivery<'a>>, ModulesFailed> {
        let mut items = vec![PipelineItem::of_event(self.event)];
        for stage in &self.route.modules {
            let (mut next, mut bytes) = (Vec::new(), 0);
            for item in items {
                let made = self.run_stage(stage, &item, course).await?;
                bytes += made.iter().map(PipelineItem::size).sum::<usize>();
                next.extend(made);
                bounds::check_items(next.len())?;
                bounds::check_bytes(bytes)?;
                self.wait_if_heavy(bytes, course).await?;
            }
            items = next;
        }
        let chosen = self.choose_endpoints(&items, course).await;
        chosen.inspect_err(|failed| self.note_failed_choice(failed, &course.versions))
    }

    /// Counts a plan that fails by the output of its modules although no call failed, such as a
    /// route to an unknown endpoint, as a failure of the versions of a canary that made it.
    fn note_failed_choice(&self, failed: &ModulesFailed, versions: &ChosenVersions<'_>) {
        let is_own = matches!(failed.reason, MODULE_OUTPUT | bounds::TOO_MUCH_WORK);
        if self.clock.is_none() || !is_own {
            return;
        }
        for slot in &self.route.modules {
            let trial = slot.trial.as_deref().filter(|trial| trial.is_canary());
            let Some(trial) = trial else { continue };
            let is_tried = std::ptr::eq(versions.find(slot), &raw const trial.stage);
            trial.tally.count_failure(is_tried);
        }
    }

    /// Waits until no other large plan is running, if this plan has become large.
    async fn wait_if_heavy(
        &self,
        bytes: usize,
        course: &mut RunCourse<'a, '_>,
    ) -> Result<(), ModulesFailed> {
        if bytes > LIGHT && course.heavy.is_none() {
            let permit = course.wait(Arc::clone(self.heavy).acquire_owned()).await?;
            // The semaphore is never closed.
            course.heavy = permit.ok();
        }
        Ok(())
    }

    async fn run_stage(
        &self,
        stage: &'a ModuleStage,
        item: &PipelineItem,
        course: &mut RunCourse<'a, '_>,
    ) -> Result<Vec<PipelineItem>, ModulesFailed> {
        course.work.check_time()?;
        let (slot, stage) = (stage, course.versions.find(stage));
        let name = stage.settings.name.as_str();
        let (version, module) =
            stage.module.as_ref().map_err(|why| ModulesFailed::unusable(why, name))?;
        let (id, time) = (item.id.to_string(), self.event.time().to_string());
        // The semaphore is never closed.
        let share = match self.clock {
            Some(_) => course.wait(slot.share.acquire()).await?.ok(),
            // A dry run takes no turn from live events.
            None => None,
        };
        let label = RunLabel { module: name, version: *version, draft: item.draft_of(self.event) };
        let admitted = match self.enter(stage, label, course).await? {
            StageEntry::Run(admitted) => admitted,
            StageEntry::Pass => return Ok(vec![item.clone()]),
        };
        let own = attribute_pairs(&course.attributes);
        let attributes = wasm::merged(&own, &item.attributes);
        let changed: Vec<&str> = course.changes.iter().flat_map(ReadChanges::names).collect();
        let capabilities = self.capabilities(stage, &mut course.effects, &mut course.calls);
        let input = ModuleInput {
            id: &id,
            flow: &course.flow,
            source: &self.event.source,
            kind: item.kind.as_deref().unwrap_or(&self.event.event_type),
            resource: self.event.resource.as_deref(),
            subject: item.subject.as_deref().or(self.event.resource_id.as_deref()),
            time: &time,
            attempt: self.attempt.unsigned_abs(),
            changes: course.changes.as_ref().map(|changes| InputChanges {
                changed: &changed,
                previous: changes.previous.get(),
            }),
            attributes: &attributes,
            data: item.data.as_deref().unwrap_or(self.event.data.get()),
            received: self.event.received_at.since(Timestamp::default()),
            patience: course.patience,
            // A dry run must not depend on live events, nor change what they see. A second try must
            // not depend on what other events left behind.
            may_reuse: self.clock.is_some() && self.attempt == 1,
        };
        let began = Instant::now();
        let mut run = module.run_granted(input, &stage.config, capabilities).await;
        if let Some(did) = run.capabilities.take() {
            course.effects = did.effects;
        }
        let ran: u64 = run.steps.iter().map(|step| u64::from(step.micros)).sum();
        drop(share);
        let ran = Duration::from_micros(ran);
        self.note_live_run((slot, stage), (admitted, label), &run, (ran, &mut course.noted));
        let waited = began.elapsed().saturating_sub(ran);
        course.patience = course.patience.saturating_sub(waited);
        course.work.note(course.steps, label, input.data, &mut run);
        item.apply_run(run, name)
    }

    /// Counts a live run, reports it to the breaker, and keeps its log lines. Does nothing in a dry
    /// run.
    fn note_live_run(
        &self,
        (slot, stage): (&ModuleStage, &ModuleStage),
        (admitted, label): (Option<AdmittedCall<'_>>, RunLabel<'_>),
        run: &ModuleRun,
        (ran, noted): (Duration, &mut NotedCalls),
    ) {
        let Some(clock) = self.clock else { return };
        let now = clock.now();
        if self.is_traced {
            let failure = match &run.end {
                RunEnd::Failed(failure) => Some(failure.reason()),
                RunEnd::Out(_) | RunEnd::Dropped { .. } => None,
            };
            noted.note_call(label, (tell_outcome(&run.end), failure), (now.before(ran), now));
        }
        stage.figures.note_call(tell_outcome(&run.end), ran, now);
        if let Some(figures) = &stage.version_figures {
            figures.note_call(tell_code(&run.end), ran);
            figures.note_memory(run.memory);
            for step in &run.steps {
                figures.note_role(step.role.name(), Duration::from_micros(step.micros.into()));
            }
        }
        if let Some(trial) = slot.trial.as_deref().filter(|trial| trial.is_canary()) {
            let is_tried = std::ptr::eq(stage, &raw const trial.stage);
            trial.tally.count_call(is_tried, is_own_failure(&run.end), ran);
        }
        report_call(admitted, &run.end, now);
        let (event, flow) = (Some(self.event.id), self.route.flow.settings.name.as_str());
        let origin = LineOrigin { at: now, event, flow, version: label.version };
        stage.log.keep_run(&run.steps, &origin);
    }

    /// Returns what the module may call besides its log and its configuration.
    fn capabilities(
        &self,
        stage: &ModuleStage,
        effects: &mut PlanEffects,
        calls: &mut Option<Arc<EventCalls>>,
    ) -> Option<Box<CapabilityRun>> {
        let grants = Arc::clone(stage.grants.as_ref()?);
        if !grants.http.is_empty() && calls.is_none() {
            *calls = Some(Arc::new(self.begin_calls()));
        }
        Some(Box::new(CapabilityRun {
            place: CallPlace::Flow,
            grants,
            store: Some(RunStore::Server(self.store.clone())),
            flow: Some(self.route.flow.id),
            module: stage.settings.name.clone(),
            record: self.event.record_key(),
            hops: SentWith::read(self.event.attributes.as_deref()).hops,
            now: self.store.clock().now(),
            ids_from: self.event.received_at.since(Timestamp::default()),
            effects: std::mem::take(effects),
            secrets: Arc::clone(&stage.secrets),
            calls: calls.clone(),
            looked_up: BTreeMap::new(),
            record_bytes_left: MAX_RECORD_BYTES,
        }))
    }

    fn begin_calls(&self) -> EventCalls {
        let (event, flow, store) = (self.event.id, self.route.flow.id, self.store.clone());
        match self.requests {
            Some(client) => EventCalls::making(client.clone(), store, event, flow),
            None => EventCalls::recorded(Some(store), event, flow),
        }
    }
}

const fn tell_outcome(end: &RunEnd) -> CallOutcome {
    match end {
        RunEnd::Out(_) => CallOutcome::Passed,
        RunEnd::Dropped { .. } => CallOutcome::Dropped,
        RunEnd::Failed(_) => CallOutcome::Failed,
    }
}

/// Returns the outcome, for a failure its reason.
const fn tell_code(end: &RunEnd) -> &'static str {
    match end {
        RunEnd::Failed(failure) => failure.reason(),
        RunEnd::Out(_) | RunEnd::Dropped { .. } => tell_outcome(end).name(),
    }
}

/// Returns whether the version itself failed, and not the host.
const fn is_own_failure(end: &RunEnd) -> bool {
    match end {
        RunEnd::Failed(failure) => !matches!(failure, ModuleFailure::Host { .. }),
        RunEnd::Out(_) | RunEnd::Dropped { .. } => false,
    }
}
