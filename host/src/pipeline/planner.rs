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

use self::breaker::{PARKED, StageEntry, report_call};
use super::bounds::{self, EventWork, RunLabel};
use super::contents::{ContentsRoom, PlanContents};
use super::plan_spans::NotedCalls;
use crate::channels::module_channel::MODULE;
use crate::metrics::module_figures::CallOutcome;
use crate::model::attributes::{OPERATION, SentWith};
use crate::model::endpoint::DeliveryMode;
use crate::model::event::{DeliveryMessage, Event, ReadChanges, attribute_texts};
use crate::model::id::{EndpointId, EventId};
use crate::model::plan_effects::PlanEffects;
use crate::settings::endpoint_runtime::{EndpointDispatch, EndpointRuntime};
use crate::settings::matching::NOTICE_REFUSAL;
use crate::settings::module_breakers::AdmittedCall;
use crate::settings::module_logs::LineOrigin;
use crate::settings::{FlowRuntime, ModuleStage, ModuleUnusable};
use crate::store::{DeliveryDraft, EventStore};
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;
use crate::wasm::record_calls::MAX_RECORD_BYTES;
use crate::wasm::{
    self, CallPlace, CapabilityRun, EventCalls, InputChanges, LogLine, ModuleClient, ModuleFailure,
    ModuleInput, ModuleRun, ModuleStep, RoutedEvent, RunEnd,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
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

/// The version of a module that runs while another one is on trial.
#[derive(Debug, Clone, Copy)]
pub enum VersionChoice<'a> {
    /// A canary runs its share of the records.
    Live,
    /// The active version, or the one that the flow names.
    Present,
    /// The version of this module that is on trial.
    Tried(&'a str),
}

/// Bytes that a plan may hold while others run. A larger plan waits until it is the only large one.
const LIGHT: usize = 256 << 10;

/// The verdict of a step for an event that `where` excludes.
const SKIPPED: &str = "skipped";

/// The result of a run.
#[derive(Debug)]
pub struct FlowOutcome<D = DeliveryDraft> {
    /// The deliveries, or the failure of the modules.
    pub result: Result<Vec<D>, ModulesFailed>,
    /// The trace, as a JSON list.
    pub steps: String,
    /// The drafts and dispatches of the modules, as a JSON list.
    pub contents: Option<String>,
    /// Held until the plan is recorded, if the plan is large.
    pub heavy: Option<OwnedSemaphorePermit>,
    /// Other changes that the modules made. They are void if the modules failed.
    pub effects: PlanEffects,
    /// The calls of modules, if they are noted.
    pub calls: NotedCalls,
    /// Whether a dry run lacked the recorded answer to a request.
    pub lacks_answer: bool,
}

/// An endpoint that the flow chose, and how the event goes to it. Nothing is sent to a disabled
/// endpoint.
pub type ChosenDelivery<'a> = (&'a EndpointRuntime, EndpointDispatch);

/// The failure of a flow's modules.
#[derive(Debug)]
pub struct ModulesFailed {
    /// The reason in a word.
    pub reason: &'static str,
    /// The reason in a sentence.
    pub detail: String,
    /// Largest number of further tries.
    pub most_retries: usize,
    /// Wait before the next try, if the module stated one.
    pub after: Option<Duration>,
    /// Whether the event waits until a module's breaker is closed. This does not count as a try.
    pub is_parked: bool,
}

/// One step of the trace.
#[derive(Debug, Serialize)]
pub struct TraceStep<'a> {
    module: Option<&'a str>,
    version: Option<u32>,
    role: &'a str,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    duration_us: u32,
    /// The endpoint, if the step is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<EndpointId>,
    /// Whether nothing was sent because the endpoint is disabled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    /// The draft that the module received. Omitted if it received the event as captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<EventId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogLine>,
}

/// An event on its way through the modules.
#[derive(Debug, Clone)]
struct PipelineItem {
    /// Id of the event or of a draft.
    id: EventId,
    /// The event type, if a transform set it.
    kind: Option<String>,
    /// The record id, if a transform set it.
    subject: Option<String>,
    /// Attributes that transforms set.
    attributes: Vec<(String, String)>,
    /// The payload, if a transform made one.
    data: Option<String>,
    /// The endpoints that a route chose.
    dispatches: Option<Vec<wasm::ModuleDispatch>>,
}

/// The reason of a plan that fails by the output of its modules.
const MODULE_OUTPUT: &str = "module_output";

/// A number of tries that never ends before the schedule does.
const AS_SCHEDULED: usize = usize::MAX;

impl ModulesFailed {
    fn of_module(failure: &ModuleFailure, module: &str) -> Self {
        let (most_retries, after) = match failure {
            ModuleFailure::Declared { retryable: true, after, .. } => (AS_SCHEDULED, *after),
            ModuleFailure::Host { .. } => (AS_SCHEDULED, None),
            // The machine may have been busy.
            ModuleFailure::Timeout { .. } => (1, Some(Duration::from_secs(1))),
            // A module is a function of its event, so it would fail the same way again.
            ModuleFailure::Trap { .. }
            | ModuleFailure::Memory { .. }
            | ModuleFailure::Output { .. }
            | ModuleFailure::Declared { retryable: false, .. } => (0, None),
        };
        let detail = format!("module `{module}`: {failure}");
        Self { reason: failure.reason(), detail, most_retries, after, is_parked: false }
    }

    /// Describes a failure of the host rather than of a module.
    fn of_host(failure: &ModuleFailure) -> Self {
        let (reason, detail) = (failure.reason(), failure.to_string());
        Self { reason, detail, most_retries: AS_SCHEDULED, after: None, is_parked: false }
    }

    fn unusable(why: &ModuleUnusable, module: &str) -> Self {
        match why {
            ModuleUnusable::Missing(why) => {
                let detail = format!("{why}; upload or activate it, then replay");
                Self {
                    reason: "module_missing",
                    detail,
                    most_retries: 0,
                    after: None,
                    is_parked: false,
                }
            }
            ModuleUnusable::NotLoaded(_) => {
                let detail = format!("module `{module}`: {why}");
                let most_retries = AS_SCHEDULED;
                Self {
                    reason: "module_failure",
                    detail,
                    most_retries,
                    after: None,
                    is_parked: false,
                }
            }
        }
    }

    fn output(module: &str, what: &str) -> Self {
        let detail = format!("module `{module}`: {what}");
        Self { reason: MODULE_OUTPUT, detail, most_retries: 0, after: None, is_parked: false }
    }

    /// Describes an event during which the process died too often.
    pub fn crashed(deaths: i32) -> Self {
        let detail = format!(
            "the process died {deaths} times while the flow's modules ran on this event, so they do not run again by \
             themselves"
        );
        Self { reason: "crashed_the_host", detail, most_retries: 0, after: None, is_parked: false }
    }
}

impl<'a> TraceStep<'a> {
    /// Describes a step of a module.
    pub fn of_module(label: RunLabel<'a>, step: ModuleStep) -> Self {
        Self {
            module: Some(label.module),
            version: Some(label.version),
            role: step.role.name(),
            verdict: step.verdict.name().to_owned(),
            reason: step.reason,
            duration_us: step.micros,
            endpoint_id: None,
            disabled: false,
            draft: label.draft,
            logs: step.logs,
        }
    }

    /// Describes a step of the host.
    pub fn of_host(role: &'a str, verdict: &str, reason: String) -> Self {
        Self {
            module: None,
            version: None,
            role,
            verdict: verdict.to_owned(),
            reason: Some(reason),
            duration_us: 0,
            endpoint_id: None,
            disabled: false,
            draft: None,
            logs: Vec::new(),
        }
    }

    /// Describes a module that did not run because its breaker is open.
    pub fn of_breaker(label: RunLabel<'a>, verdict: &str, reason: String) -> Self {
        let (module, version) = (Some(label.module), Some(label.version));
        let step = Self::of_host("breaker", verdict, reason);
        Self { module, version, draft: label.draft, ..step }
    }

    /// Describes that nothing goes to a disabled endpoint.
    fn of_disabled(target: &EndpointRuntime) -> Self {
        let reason = format!("endpoint `{}` is disabled", target.endpoint.settings.name);
        let verdict = wasm::RoleVerdict::Dropped.name();
        Self { disabled: true, ..Self::of_endpoint(target, verdict, reason) }
    }

    /// Describes why nothing goes to one endpoint.
    fn of_endpoint(target: &EndpointRuntime, verdict: &str, reason: String) -> Self {
        let endpoint_id = Some(target.endpoint.id);
        Self { endpoint_id, ..Self::of_host("endpoint", verdict, reason) }
    }

    /// Returns whether the step says why the event does not go on.
    fn is_end(&self) -> bool {
        self.verdict == wasm::RoleVerdict::Failed.name() || self.verdict == PARKED
    }
}

impl FlowOutcome {
    /// Describes a flow that was deleted while the event waited.
    pub fn gone() -> Self {
        let reason = "the flow was deleted before its modules ran".to_owned();
        let step = TraceStep::of_host("flow", wasm::RoleVerdict::Dropped.name(), reason);
        Self::of_step(Ok(Vec::new()), step)
    }

    /// Describes a failure before any module ran.
    pub fn failed(failed: ModulesFailed) -> Self {
        let failure = wasm::RoleVerdict::Failed.name();
        let step = TraceStep::of_host("flow", failure, failed.detail.clone());
        Self::of_step(Err(failed), step)
    }
}

impl<D> FlowOutcome<D> {
    /// Describes an event that the flow's `where` excludes.
    pub fn kept_back(reason: String) -> Self {
        let step = TraceStep::of_host("flow", SKIPPED, reason);
        Self::of_step(Ok(Vec::new()), step)
    }

    /// Returns the outcome of a flow of which no module ran.
    fn of_step(result: Result<Vec<D>, ModulesFailed>, step: TraceStep<'_>) -> Self {
        let (effects, calls) = (PlanEffects::default(), NotedCalls::default());
        let (steps, lacks_answer) = (steps_json(&[step]), false);
        Self { result, steps, contents: None, heavy: None, effects, calls, lacks_answer }
    }
}

fn steps_json(steps: &[TraceStep<'_>]) -> String {
    serde_json::to_string(steps).unwrap_or_else(|_| "[]".to_owned())
}

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
        chosen.inspect_err(|failed| self.note_failed_choice(failed))
    }

    /// Counts a plan that fails by the output of its modules although no call failed, such as a
    /// route to an unknown endpoint, as a failure of the versions of a canary that made it.
    fn note_failed_choice(&self, failed: &ModulesFailed) {
        let is_own = matches!(failed.reason, MODULE_OUTPUT | bounds::TOO_MUCH_WORK);
        if self.clock.is_none() || !is_own {
            return;
        }
        for slot in &self.route.modules {
            let trial = slot.trial.as_deref().filter(|trial| trial.is_canary());
            let Some(trial) = trial else { continue };
            let is_tried = std::ptr::eq(self.choose_version(slot), &raw const trial.stage);
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
        let (slot, stage) = (stage, self.choose_version(stage));
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
            // A dry run must not depend on live events, nor change what they see.
            may_reuse: self.clock.is_some(),
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
        match run.end {
            RunEnd::Dropped { .. } => Ok(Vec::new()),
            RunEnd::Out(routed) => {
                Ok(routed.into_iter().map(|one| item.apply_output(one)).collect())
            }
            RunEnd::Failed(failure) => Err(ModulesFailed::of_module(&failure, name)),
        }
    }

    /// Returns the stage of the version that runs the event.
    fn choose_version(&self, stage: &'a ModuleStage) -> &'a ModuleStage {
        let Some(trial) = stage.trial.as_deref() else { return stage };
        let is_tried = match self.versions {
            VersionChoice::Live => {
                let now = self.store.clock().now();
                trial.runs_event(self.route.flow.id, self.event, now)
            }
            VersionChoice::Present => false,
            VersionChoice::Tried(module) => module == stage.settings.name,
        };
        if is_tried { &trial.stage } else { stage }
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
        }
        if let Some(trial) = slot.trial.as_deref().filter(|trial| trial.is_canary()) {
            let is_tried = std::ptr::eq(stage, &raw const trial.stage);
            trial.tally.count_call(is_tried, is_own_failure(&run.end), ran);
        }
        report_call(admitted, &run.end, now);
        let (event, flow) = (self.event.id, self.route.flow.settings.name.as_str());
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
            store: Some(self.store.clone()),
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

    async fn choose_endpoints(
        &self,
        items: &[PipelineItem],
        course: &mut RunCourse<'a, '_>,
    ) -> Result<Vec<ChosenDelivery<'a>>, ModulesFailed> {
        let (mut chosen, mut judged, mut bytes) = (Vec::new(), 0, 0);
        let mut parts: HashMap<(EndpointId, String), u32> = HashMap::new();
        for item in items {
            for (target, mut plan) in self.find_dispatches(item)? {
                let collapses = target.endpoint.settings.mode == DeliveryMode::Smart;
                if collapses && let Some(record) = plan.record(self.event) {
                    let next = parts.entry((target.endpoint.id, record)).or_default();
                    plan.part = *next;
                    *next += 1;
                }
                bytes += plan.message.as_ref().map_or(0, |message| message.size());
                bounds::check_bytes(bytes)?;
                if !target.endpoint.settings.enabled {
                    course.work.note_host(course.steps, TraceStep::of_disabled(target));
                    chosen.push((target, plan));
                    continue;
                }
                if self.event.is_notice_about(target.endpoint.id) {
                    let step = TraceStep::of_endpoint(target, SKIPPED, NOTICE_REFUSAL.to_owned());
                    course.work.note_host(course.steps, step);
                    continue;
                }
                // An excluded delivery costs as much as one that is sent.
                judged += 1;
                bounds::check_deliveries(judged)?;
                match self.find_refusal(target, plan.message.as_deref()) {
                    None => chosen.push((target, plan)),
                    Some(reason) => {
                        let step = TraceStep::of_endpoint(target, SKIPPED, reason);
                        course.work.note_host(course.steps, step);
                    }
                }
            }
            self.wait_if_heavy(bytes, course).await?;
        }
        Ok(chosen)
    }

    /// Returns the endpoints to which an event goes, with its message for each.
    fn find_dispatches(
        &self,
        item: &PipelineItem,
    ) -> Result<Vec<ChosenDelivery<'a>>, ModulesFailed> {
        let whole = item.to_message(self.event, None)?.map(Arc::new);
        match &item.dispatches {
            None => {
                let dispatch =
                    |target: &'a EndpointRuntime| (target, self.make_dispatch(None, whole.clone()));
                Ok(self.route.endpoints.iter().map(|target| dispatch(target)).collect())
            }
            Some(dispatches) => dispatches
                .iter()
                .map(|chosen| {
                    let target = self.find_destination(&chosen.destination)?;
                    self.check_operation(target, chosen)?;
                    let message = if chosen.is_plain() {
                        whole.clone()
                    } else {
                        item.to_message(self.event, Some(chosen))?.map(Arc::new)
                    };
                    Ok((target, self.make_dispatch(Some(chosen), message)))
                })
                .collect(),
        }
    }

    /// Returns why the endpoint's `where` excludes the message.
    fn find_refusal(
        &self,
        target: &EndpointRuntime,
        message: Option<&DeliveryMessage>,
    ) -> Option<String> {
        target.condition.as_ref()?;
        let Some(message) = message else { return target.find_refusal(&self.event.subject()) };
        let attributes = message.merged_attributes(self.event);
        target.find_refusal(&message.subject(self.event, attributes.as_deref()))
    }

    /// Returns the endpoint that a route names. It must be one of the flow's endpoints.
    fn find_destination(&self, name: &str) -> Result<&'a EndpointRuntime, ModulesFailed> {
        let found = self.route.endpoints.iter().find(|t| t.endpoint.settings.name == name);
        found.map(|target| &**target).ok_or_else(|| {
            let names: Vec<&str> =
                self.route.endpoints.iter().map(|t| t.endpoint.settings.name.as_str()).collect();
            let what = format!(
                "route chose `{name}`, which is not among the flow's endpoints: {}",
                names.join(", ")
            );
            ModulesFailed::output(self.last_module(), &what)
        })
    }

    /// Fails if the endpoint does not have the operation that a route names.
    fn check_operation(
        &self,
        target: &EndpointRuntime,
        chosen: &wasm::ModuleDispatch,
    ) -> Result<(), ModulesFailed> {
        let Some(operation) = &chosen.operation else { return Ok(()) };
        // A channel module decides which operations it knows.
        if target.endpoint.settings.kind == MODULE {
            return Ok(());
        }
        let found = target.operations().and_then(|known| known.find_named(operation));
        found.map(drop).map_err(|why| {
            let name = &target.endpoint.settings.name;
            let what = format!("route chose the operation `{operation}` of `{name}`: {why}");
            ModulesFailed::output(self.last_module(), &what)
        })
    }

    fn last_module(&self) -> &str {
        self.route.modules.last().map_or("", |stage| &stage.settings.name)
    }

    fn make_dispatch(
        &self,
        chosen: Option<&wasm::ModuleDispatch>,
        message: Option<Arc<DeliveryMessage>>,
    ) -> EndpointDispatch {
        let flow = self.route.flow.id;
        EndpointDispatch {
            flow: Some(flow),
            message,
            delay: chosen.map_or(Duration::ZERO, |d| Duration::from_secs(d.delay_seconds.into())),
            dedupe: chosen
                .and_then(|d| d.dedupe_key.as_ref())
                .map(|key| (format!("{flow} {key}"), self.dedupe_for)),
            cancel_key: chosen.and_then(|d| d.cancel_key.clone()),
            ordering_key: chosen.and_then(|d| d.ordering_key.clone()),
            part: 0,
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

fn attribute_pairs(attributes: &[(String, String)]) -> Vec<(&str, &str)> {
    attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl PipelineItem {
    /// Starts with the event as it was captured.
    fn of_event(event: &Event) -> Self {
        Self {
            id: event.id,
            kind: None,
            subject: None,
            attributes: Vec::new(),
            data: None,
            dispatches: None,
        }
    }

    /// Returns its id if it is a draft of the event.
    fn draft_of(&self, event: &Event) -> Option<EventId> {
        (self.id != event.id).then_some(self.id)
    }

    /// Applies the output of a module. Its changes override earlier ones.
    fn apply_output(&self, routed: RoutedEvent) -> Self {
        let dispatches = routed.dispatches.or_else(|| self.dispatches.clone());
        let Some(draft) = routed.draft else { return Self { dispatches, ..self.clone() } };
        let before = attribute_pairs(&self.attributes);
        let attributes = wasm::merged(&before, &draft.attributes);
        Self {
            id: draft.id,
            kind: draft.kind.or_else(|| self.kind.clone()),
            subject: draft.subject.or_else(|| self.subject.clone()),
            attributes: attributes
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            data: Some(draft.data),
            dispatches,
        }
    }

    /// Returns its size in bytes.
    fn size(&self) -> usize {
        let dispatches = self.dispatches.iter().flatten().map(wasm::ModuleDispatch::size);
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.as_ref().map_or(0, String::len)
            + attributes.sum::<usize>()
            + dispatches.sum::<usize>()
    }

    /// Returns the message of a delivery. `None` if the event is sent as it was captured.
    fn to_message(
        &self,
        event: &Event,
        chosen: Option<&wasm::ModuleDispatch>,
    ) -> Result<Option<DeliveryMessage>, ModulesFailed> {
        let own = chosen.map(|d| d.attributes.as_slice()).unwrap_or_default();
        let before = attribute_pairs(&self.attributes);
        let mut attributes = wasm::merged(&before, own);
        let operation = chosen.and_then(|dispatch| dispatch.operation.as_deref());
        attributes.extend(operation.map(|operation| (OPERATION, operation)));
        let data = chosen.and_then(|d| d.data.as_ref()).or(self.data.as_ref());
        if data.is_none() && attributes.is_empty() {
            return Ok(None);
        }
        let raw = |data: &String| RawValue::from_string(data.clone());
        let data = data.map(raw).transpose();
        let id = chosen.and_then(|d| d.id).unwrap_or(self.id);
        Ok(Some(DeliveryMessage {
            event_id: (id != event.id).then_some(id),
            event_type: self.kind.clone(),
            resource_id: self.subject.clone(),
            attributes: attributes
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            data: data
                .map_err(|error| ModulesFailed::output("", &format!("invalid JSON: {error}")))?,
        }))
    }
}
