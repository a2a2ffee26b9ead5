//! One event through one flow's modules, in order.
//!
//! Each module has one fresh instance for each event that reaches it, shared by its roles. A filter
//! ends the event's way or lets it on, a transform replaces it by any number of events, a route
//! chooses among the flow's endpoints; where several modules route, the last one decides.
//!
//! A transform says only what it changes: type, record id and attributes that an earlier one set,
//! or the event had, stay. What all modules make of one event together is bounded
//! ([`super::bounds`]).

use super::bounds::{self, EventWork, RunLabel};
use super::contents::{ContentsRoom, PlanContents};
use crate::metrics::module_figures::CallOutcome;
use crate::model::attributes::SentWith;
use crate::model::endpoint::DeliveryMode;
use crate::model::event::{DeliveryMessage, Event, ReadChanges, attribute_texts};
use crate::model::id::{EndpointId, EventId};
use crate::model::plan_effects::PlanEffects;
use crate::settings::endpoint_runtime::{EndpointDispatch, EndpointRuntime};
use crate::settings::matching::NOTICE_REFUSAL;
use crate::settings::{FlowRuntime, ModuleStage, ModuleUnusable};
use crate::store::{DeliveryDraft, EventStore};
use crate::time::clock::Clock;
use crate::wasm::record_calls::MAX_RECORD_BYTES;
use crate::wasm::{
    self, CapabilityRun, EventCalls, InputChanges, LogLine, ModuleClient, ModuleFailure,
    ModuleInput, ModuleStep, RoutedEvent, RunEnd,
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
    /// The flow.
    pub route: &'a FlowRuntime,
    /// Where modules read, if that is granted to them.
    pub store: &'a EventStore,
    pub event: &'a Event,
    /// 1, 2, …
    pub attempt: i32,
    /// How long dedupe keys last.
    pub dedupe_for: Duration,
    /// One permit, for a plan that holds more than [`LIGHT`] bytes.
    pub heavy: &'a Arc<Semaphore>,
    /// How much of what the modules return is kept.
    pub room: ContentsRoom,
    /// The time of the calls that are counted; a dry run counts none.
    pub clock: Option<&'a Clock>,
    /// Makes the requests of modules; a dry run has none, and reads what was recorded alone.
    pub requests: Option<&'a ModuleClient>,
}

/// Bytes that a plan may hold while others run; one that holds more waits until it is the only one.
const LIGHT: usize = 256 << 10;

/// The verdict of a step about what `where` keeps back.
const SKIPPED: &str = "skipped";

/// What came of it.
#[derive(Debug)]
pub struct FlowOutcome<D = DeliveryDraft> {
    /// The deliveries, or how the modules failed.
    pub result: Result<Vec<D>, ModulesFailed>,
    /// The trace, as a JSON list.
    pub steps: String,
    /// What the modules returned, as a JSON list.
    pub contents: Option<String>,
    /// Held until the plan is recorded, where it is a large one.
    pub heavy: Option<OwnedSemaphorePermit>,
    /// What the modules changed besides; nothing of it counts where they failed.
    pub effects: PlanEffects,
}

/// An endpoint that the flow chose, and how the event goes to it. Nothing is sent to one that is
/// disabled.
pub type ChosenDelivery<'a> = (&'a EndpointRuntime, EndpointDispatch);

/// How the modules failed.
#[derive(Debug)]
pub struct ModulesFailed {
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub detail: String,
    /// How often to try again at most.
    pub most_retries: usize,
    /// When, if the module said so.
    pub after: Option<Duration>,
}

/// One line of the trace.
#[derive(Debug, Serialize)]
pub struct TraceStep<'a> {
    module: Option<&'a str>,
    version: Option<u32>,
    role: &'a str,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    duration_us: u32,
    /// The draft that the module got; left out where that is the event as captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<EventId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogLine>,
}

/// An event on its way through the modules.
#[derive(Debug, Clone)]
struct PipelineItem {
    /// The event's own, or a draft's.
    id: EventId,
    /// The event type, where a transform set it.
    kind: Option<String>,
    /// The id of the record, where a transform set it.
    subject: Option<String>,
    /// Attributes that transforms set.
    attributes: Vec<(String, String)>,
    /// The payload, where a transform made one.
    data: Option<String>,
    /// Where a route sends it.
    dispatches: Option<Vec<wasm::ModuleDispatch>>,
}

/// Retries that never run out before the schedule does.
const AS_SCHEDULED: usize = usize::MAX;

impl ModulesFailed {
    fn of_module(failure: &ModuleFailure, module: &str) -> Self {
        let (most_retries, after) = match failure {
            ModuleFailure::Declared { retryable: true, after, .. } => (AS_SCHEDULED, *after),
            ModuleFailure::Host { .. } => (AS_SCHEDULED, None),
            // A busy machine may be to blame.
            ModuleFailure::Timeout { .. } => (1, Some(Duration::from_secs(1))),
            // A module is a function of its event: it would fail the same way again.
            ModuleFailure::Trap { .. }
            | ModuleFailure::Memory { .. }
            | ModuleFailure::Output { .. }
            | ModuleFailure::Declared { retryable: false, .. } => (0, None),
        };
        let detail = format!("module `{module}`: {failure}");
        Self { reason: failure.reason(), detail, most_retries, after }
    }

    /// No module is to blame.
    fn of_host(failure: &ModuleFailure) -> Self {
        let (reason, detail) = (failure.reason(), failure.to_string());
        Self { reason, detail, most_retries: AS_SCHEDULED, after: None }
    }

    fn unusable(why: &ModuleUnusable, module: &str) -> Self {
        match why {
            ModuleUnusable::Missing(why) => {
                let detail = format!("{why}; upload or activate it, then replay");
                Self { reason: "module_missing", detail, most_retries: 0, after: None }
            }
            ModuleUnusable::NotLoaded(_) => {
                let detail = format!("module `{module}`: {why}");
                let most_retries = AS_SCHEDULED;
                Self { reason: "module_failure", detail, most_retries, after: None }
            }
        }
    }

    fn output(module: &str, what: &str) -> Self {
        let detail = format!("module `{module}`: {what}");
        Self { reason: "module_output", detail, most_retries: 0, after: None }
    }

    /// The process died too often while the modules ran.
    pub fn crashed(deaths: i32) -> Self {
        let detail = format!(
            "the process died {deaths} times while the flow's modules ran on this event, so they are not run again by \
             themselves"
        );
        Self { reason: "crashed_the_host", detail, most_retries: 0, after: None }
    }
}

impl<'a> TraceStep<'a> {
    /// What a module said.
    pub fn of_module(label: RunLabel<'a>, step: ModuleStep) -> Self {
        Self {
            module: Some(label.module),
            version: Some(label.version),
            role: step.role.name(),
            verdict: step.verdict.name().to_owned(),
            reason: step.reason,
            duration_us: step.micros,
            draft: label.draft,
            logs: step.logs,
        }
    }

    /// What happened outside of a module.
    pub fn of_host(role: &'a str, verdict: &str, reason: String) -> Self {
        Self {
            module: None,
            version: None,
            role,
            verdict: verdict.to_owned(),
            reason: Some(reason),
            duration_us: 0,
            draft: None,
            logs: Vec::new(),
        }
    }

    /// Nothing goes to an endpoint.
    fn of_disabled(target: &EndpointRuntime) -> Self {
        let reason = format!("endpoint `{}` is disabled", target.endpoint.settings.name);
        Self::of_host("endpoint", wasm::RoleVerdict::Dropped.name(), reason)
    }

    fn is_failed(&self) -> bool {
        self.verdict == wasm::RoleVerdict::Failed.name()
    }
}

impl FlowOutcome {
    /// The flow was deleted while the event waited.
    pub fn gone() -> Self {
        let reason = "the flow was deleted before its modules ran".to_owned();
        let step = TraceStep::of_host("flow", wasm::RoleVerdict::Dropped.name(), reason);
        Self::of_step(Ok(Vec::new()), step)
    }

    /// The modules are not to run.
    pub fn failed(failed: ModulesFailed) -> Self {
        let failure = wasm::RoleVerdict::Failed.name();
        let step = TraceStep::of_host("flow", failure, failed.detail.clone());
        Self::of_step(Err(failed), step)
    }
}

impl<D> FlowOutcome<D> {
    /// The flow's `where` keeps the event back.
    pub fn kept_back(reason: String) -> Self {
        let step = TraceStep::of_host("flow", SKIPPED, reason);
        Self::of_step(Ok(Vec::new()), step)
    }

    /// No module ran.
    fn of_step(result: Result<Vec<D>, ModulesFailed>, step: TraceStep<'_>) -> Self {
        let effects = PlanEffects::default();
        Self { result, steps: json(&[step]), contents: None, heavy: None, effects }
    }
}

fn json(steps: &[TraceStep<'_>]) -> String {
    serde_json::to_string(steps).unwrap_or_else(|_| "[]".to_owned())
}

/// What a run needs all along.
#[derive(Debug)]
struct RunCourse<'a, 's> {
    steps: &'s mut Vec<TraceStep<'a>>,
    work: EventWork,
    /// The event's own attributes.
    attributes: Vec<(String, String)>,
    flow: String,
    heavy: Option<OwnedSemaphorePermit>,
    /// How long it may still wait for others.
    patience: Duration,
    /// What modules changed so far.
    effects: PlanEffects,
    /// The requests of all modules, once one of them may make any.
    calls: Option<Arc<EventCalls>>,
    /// What the event changed.
    changes: Option<ReadChanges<'a>>,
}

impl RunCourse<'_, '_> {
    /// Waits for others, as long as there is patience left.
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
        let FlowOutcome { result, steps, contents, heavy, effects } =
            self.choose_deliveries().await;
        let draft = |(target, plan): ChosenDelivery<'a>| {
            let is_enabled = target.endpoint.settings.enabled;
            is_enabled.then(|| target.draft(self.store, self.event, plan))
        };
        let result = result.map(|chosen| chosen.into_iter().filter_map(draft).collect());
        FlowOutcome { result, steps, contents, heavy, effects }
    }

    /// Runs the modules. Nothing is stored or taken.
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
            // What cannot be read is not known.
            changes: self
                .event
                .changes
                .as_deref()
                .and_then(|changes| serde_json::from_str(changes.get()).ok()),
        };
        let result = self.plan_event(&mut course).await;
        course.work.close(course.steps);
        let (heavy, contents, effects) = (course.heavy, course.work.contents, course.effects);
        match &result {
            Err(failed) if !steps.last().is_some_and(TraceStep::is_failed) => {
                let failure = wasm::RoleVerdict::Failed.name();
                steps.push(TraceStep::of_host("flow", failure, failed.detail.clone()));
            }
            Ok(_) | Err(_) => {}
        }
        FlowOutcome { result, steps: json(&steps), contents: contents.into_json(), heavy, effects }
    }

    async fn plan_event(
        &self,
        course: &mut RunCourse<'a, '_>,
    ) -> Result<Vec<ChosenDelivery<'a>>, ModulesFailed> {
        let mut items = vec![PipelineItem::of(self.event)];
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
        self.choose_endpoints(&items, course).await
    }

    /// Waits until no other plan is a large one, if this has become one.
    async fn wait_if_heavy(
        &self,
        bytes: usize,
        course: &mut RunCourse<'a, '_>,
    ) -> Result<(), ModulesFailed> {
        if bytes > LIGHT && course.heavy.is_none() {
            let permit = course.wait(Arc::clone(self.heavy).acquire_owned()).await?;
            // Never closed.
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
        let name = stage.settings.name.as_str();
        let (version, module) =
            stage.module.as_ref().map_err(|why| ModulesFailed::unusable(why, name))?;
        let time = self.event.time().to_string();
        let received = self.event.received_at.since(crate::time::timestamp::Timestamp::default());
        let id = item.id.to_string();
        // Never closed.
        let share = course.wait(stage.share.acquire()).await?.ok();
        let own = pairs(&course.attributes);
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
            received,
            patience: course.patience,
        };
        let began = Instant::now();
        let mut run = module.run_granted(input, &stage.config, capabilities).await;
        if let Some(did) = run.capabilities.take() {
            course.effects = did.effects;
        }
        let ran: u64 = run.steps.iter().map(|step| u64::from(step.micros)).sum();
        drop(share);
        if let Some(clock) = self.clock {
            let ran = Duration::from_micros(ran);
            stage.figures.note_call(tell_outcome(&run.end), ran, clock.now());
        }
        let waited = began.elapsed().saturating_sub(Duration::from_micros(ran));
        course.patience = course.patience.saturating_sub(waited);
        let draft = (item.id != self.event.id).then_some(item.id);
        let label = RunLabel { module: name, version: *version, draft };
        course.work.note(course.steps, label, input.data, &mut run);
        match run.end {
            RunEnd::Dropped { .. } => Ok(Vec::new()),
            RunEnd::Out(routed) => Ok(routed.into_iter().map(|one| item.then(one)).collect()),
            RunEnd::Failed(failure) => Err(ModulesFailed::of_module(&failure, name)),
        }
    }

    /// What the module may call besides its log and its configuration.
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
            grants,
            store: Some(self.store.clone()),
            flow: Some(self.route.flow.id),
            module: stage.settings.name.clone(),
            record: self.event.record_key(),
            hops: SentWith::read(self.event.attributes.as_deref()).hops,
            now: self.store.clock().now(),
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
                    let step = TraceStep::of_host("endpoint", SKIPPED, NOTICE_REFUSAL.to_owned());
                    course.work.note_host(course.steps, step);
                    continue;
                }
                // What `where` keeps back costs as much as what it lets on.
                judged += 1;
                bounds::check_deliveries(judged)?;
                match self.find_refusal(target, plan.message.as_deref()) {
                    None => chosen.push((target, plan)),
                    Some(reason) => {
                        let step = TraceStep::of_host("endpoint", SKIPPED, reason);
                        course.work.note_host(course.steps, step);
                    }
                }
            }
            self.wait_if_heavy(bytes, course).await?;
        }
        Ok(chosen)
    }

    /// Where an event goes, and as what.
    fn find_dispatches(
        &self,
        item: &PipelineItem,
    ) -> Result<Vec<ChosenDelivery<'a>>, ModulesFailed> {
        let whole = item.message(self.event, None)?.map(Arc::new);
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
                        item.message(self.event, Some(chosen))?.map(Arc::new)
                    };
                    Ok((target, self.make_dispatch(Some(chosen), message)))
                })
                .collect(),
        }
    }

    /// Why the endpoint's `where` keeps back what is to be sent to it.
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

    /// The endpoint a route names, which must be one of the flow's.
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

    /// No endpoint has operations yet.
    fn check_operation(
        &self,
        target: &EndpointRuntime,
        chosen: &wasm::ModuleDispatch,
    ) -> Result<(), ModulesFailed> {
        let Some(operation) = &chosen.operation else { return Ok(()) };
        let name = &target.endpoint.settings.name;
        let what = format!(
            "route chose the operation `{operation}` of endpoint `{name}`, which has no operations: leave `operation` out"
        );
        Err(ModulesFailed::output(self.last_module(), &what))
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

fn pairs(attributes: &[(String, String)]) -> Vec<(&str, &str)> {
    attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl PipelineItem {
    /// The event as it was captured.
    fn of(event: &Event) -> Self {
        Self {
            id: event.id,
            kind: None,
            subject: None,
            attributes: Vec::new(),
            data: None,
            dispatches: None,
        }
    }

    /// What a module made of it: its own words over what was there before.
    fn then(&self, routed: RoutedEvent) -> Self {
        let dispatches = routed.dispatches.or_else(|| self.dispatches.clone());
        let Some(draft) = routed.draft else { return Self { dispatches, ..self.clone() } };
        let before = pairs(&self.attributes);
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

    /// Bytes that it holds.
    fn size(&self) -> usize {
        let dispatches = self.dispatches.iter().flatten().map(wasm::ModuleDispatch::size);
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.as_ref().map_or(0, String::len)
            + attributes.sum::<usize>()
            + dispatches.sum::<usize>()
    }

    /// What a delivery of it sends; `None` where that is the event as it was captured.
    fn message(
        &self,
        event: &Event,
        chosen: Option<&wasm::ModuleDispatch>,
    ) -> Result<Option<DeliveryMessage>, ModulesFailed> {
        let own = chosen.map(|d| d.attributes.as_slice()).unwrap_or_default();
        let before = pairs(&self.attributes);
        let attributes = wasm::merged(&before, own);
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
            data: data.map_err(|error| ModulesFailed::output("", &format!("no JSON: {error}")))?,
        }))
    }
}
