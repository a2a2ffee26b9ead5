//! Runs one module on one event.

use super::bindings::exports::waybill::module::filter::Verdict as WireVerdict;
use super::bindings::waybill::module::types::{BodyParam, ChangesParam, Event};
use super::capabilities::CapabilityRun;
use super::check::{self, CheckResult, IdOrigin};
use super::guest_state::{GuestContext, GuestRandomness, GuestState, tick};
use super::module::{BoundModule, LoadedModule};
use super::output::{
    EventDraft, ModuleFailure, ModuleInput, ModuleRun, ModuleStep, RoleVerdict, RoutedEvent,
    RunEnd, merged,
};
use super::reuse::{GuestInstance, park_instance};
use super::{ModuleLimits, ModuleRole};
use crate::model::flow::ModuleConfig;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use wasmtime::component::Instance;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

/// The reason for dropping an event of which a `transform` made no draft.
const TO_NOTHING: &str = "transformed to nothing";
/// The reason for dropping an event for which a `route` made no dispatch.
const TO_NOWHERE: &str = "routed nowhere";

impl LoadedModule {
    /// Runs the module on one event, without capabilities: `filter`, then `transform`, then `route`
    /// on each event that goes on, in one instance. Waits for a free slot. The guest reads
    /// `config`.
    pub async fn run(&self, input: ModuleInput<'_>, config: &Arc<ModuleConfig>) -> ModuleRun {
        self.run_granted(input, config, None).await
    }

    /// Runs the module like [`Self::run`], with these capabilities. They are returned with what the
    /// module did.
    pub async fn run_granted(
        &self,
        input: ModuleInput<'_>,
        config: &Arc<ModuleConfig>,
        capabilities: Option<Box<CapabilityRun>>,
    ) -> ModuleRun {
        let bound = &*self.0;
        let guest = bound.guest_context(&input, config);
        let place = tokio::time::timeout(input.patience, bound.find_place(&input, config));
        let Ok((turn, place)) = place.await else {
            let end = RunEnd::Failed(ModuleFailure::no_room());
            let steps = Vec::new();
            return ModuleRun { steps, end, memory: 0, capabilities: None, is_reused: false };
        };
        let is_reused = matches!(place, GuestPlace::Idle(_));
        let began = Instant::now();
        let steps = Vec::with_capacity(3);
        let may_send = capabilities.as_ref().is_some_and(|run| !run.grants.http.is_empty());
        let limits = if may_send { bound.limits.with_requests() } else { bound.limits };
        let mut call = GuestCall { bound, limits, flow: input.flow, steps, began, since: began };
        let (mut did, mut memory) = (None, 0);
        let end = match bound.enter_instance(place, guest, capabilities).await {
            Ok(mut guest) => {
                let end = call.call_roles(&mut guest.store, &guest.instance, &input).await;
                let state = guest.store.data_mut();
                (did, memory) = (state.capabilities.take(), state.usage.memory());
                if input.may_reuse && end.is_ok() {
                    park_instance(&self.0, guest, input.flow);
                }
                end
            }
            Err(failure) => {
                let role = bound.report.exports.first().copied().unwrap_or(ModuleRole::Filter);
                call.end_step(role, RoleVerdict::Failed, Some(failure.to_string()), None);
                Err(failure)
            }
        };
        drop(turn);
        let end = end.unwrap_or_else(RunEnd::Failed);
        ModuleRun { steps: call.steps, end, memory, capabilities: did, is_reused }
    }
}

/// Where a run takes place.
enum GuestPlace {
    /// In an instance that waited for another event.
    Idle(Box<GuestInstance>),
    /// In a fresh instance.
    Slot(Option<OwnedSemaphorePermit>),
}

impl BoundModule {
    fn guest_context(&self, input: &ModuleInput<'_>, config: &Arc<ModuleConfig>) -> GuestContext {
        let randomness = GuestRandomness {
            secret: self.engine.randomness.clone(),
            module: self.sha256,
            event: input.id.to_owned(),
        };
        GuestContext { randomness, received: input.received, config: Arc::clone(config) }
    }

    /// Waits for a turn of the module, and then for an instance or a slot for one: while a run waits
    /// for the module's other runs, it must not hold a slot. Both semaphores are never closed.
    async fn find_place(
        &self,
        input: &ModuleInput<'_>,
        config: &Arc<ModuleConfig>,
    ) -> (Option<SemaphorePermit<'_>>, GuestPlace) {
        let turn = self.turns.acquire().await.ok();
        let idle = input.may_reuse.then(|| self.idle.take(input.flow, config)).flatten();
        let place = match idle {
            Some(idle) => GuestPlace::Idle(Box::new(idle)),
            None => GuestPlace::Slot(Arc::clone(&self.engine.slots).acquire_owned().await.ok()),
        };
        (turn, place)
    }

    async fn enter_instance(
        &self,
        place: GuestPlace,
        guest: GuestContext,
        capabilities: Option<Box<CapabilityRun>>,
    ) -> Result<GuestInstance, ModuleFailure> {
        match place {
            GuestPlace::Idle(idle) => Ok(idle.renew(guest, capabilities, &self.limits)),
            GuestPlace::Slot(slot) => {
                let started = start_instance(self, guest, capabilities).await?;
                Ok(GuestInstance::new(started, slot))
            }
        }
    }
}

/// Starts a fresh instance. The caller must hold a slot.
pub async fn start_instance(
    bound: &BoundModule,
    guest: GuestContext,
    capabilities: Option<Box<CapabilityRun>>,
) -> Result<(Store<GuestState>, Instance), ModuleFailure> {
    let limits = &bound.limits;
    let mut store =
        Store::new(&bound.engine.wasmtime, GuestState::new(guest, capabilities, limits));
    store.limiter(|state| &mut state.usage);
    store.set_hostcall_fuel(limits.output_bytes.saturating_mul(2));
    store.epoch_deadline_callback(|store| Ok(tick(store)));
    store.set_epoch_deadline(1);
    let made = in_time(limits, bound.pre.instantiate_async(&mut store)).await;
    match made {
        Ok(instance) => Ok((store, instance)),
        Err(ended) => Err(explain(ended, store.data_mut(), limits)),
    }
}

/// A run in progress, with the steps so far.
struct GuestCall<'m> {
    bound: &'m BoundModule,
    limits: ModuleLimits,
    /// The id of the flow.
    flow: &'m str,
    steps: Vec<ModuleStep>,
    began: Instant,
    /// When the current step began.
    since: Instant,
}

/// Why a call returned no value.
pub enum CallEnd {
    Late,
    Broken(wasmtime::Error),
}

/// Waits for a call, at most as long as one call may take.
pub async fn in_time<T>(
    limits: &ModuleLimits,
    call: impl Future<Output = wasmtime::Result<T>> + Send,
) -> Result<T, CallEnd> {
    match tokio::time::timeout(limits.wall, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(CallEnd::Broken(error)),
        Err(_) => Err(CallEnd::Late),
    }
}

impl<'m> GuestCall<'m> {
    /// Returns the values from which the ids of an event's drafts and dispatches are derived.
    const fn id_origin<'o>(&self, event: &Event<'o>) -> IdOrigin<'o>
    where
        'm: 'o,
    {
        IdOrigin { parent: event.id, flow: self.flow, module: &self.bound.sha256 }
    }

    async fn call_roles(
        &mut self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        input: &ModuleInput<'_>,
    ) -> Result<RunEnd, ModuleFailure> {
        let event = guest_event(input);
        if let Some(reason) = self.call_filter(store, instance, &event).await? {
            return Ok(RunEnd::Dropped { reason });
        }
        let Some(drafts) = self.call_transform(store, instance, &event).await? else {
            let dispatches = self.call_route(store, instance, std::slice::from_ref(&event)).await?;
            let dispatches = dispatches.into_iter().next();
            return Ok(RunEnd::Out(vec![RoutedEvent { draft: None, dispatches }]));
        };
        if drafts.is_empty() {
            return Ok(RunEnd::Dropped { reason: TO_NOTHING.to_owned() });
        }
        let mut dispatches = self.route_drafts(store, instance, &event, &drafts).await?.into_iter();
        let routed = |draft| RoutedEvent { draft: Some(draft), dispatches: dispatches.next() };
        Ok(RunEnd::Out(drafts.into_iter().map(routed).collect()))
    }

    /// Calls `filter`. Returns the reason if it drops the event.
    async fn call_filter(
        &mut self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &Event<'_>,
    ) -> Result<Option<String>, ModuleFailure> {
        let Some(indices) = &self.bound.filter else { return Ok(None) };
        store.data_mut().rearm(&self.limits);
        let call = async {
            let guest = indices.load(&mut *store, instance)?;
            guest.call_check(&mut *store, event.clone()).await
        };
        let answer = in_time(&self.limits, call).await;
        let verdict = self.judge_answer(ModuleRole::Filter, store, answer)?;
        match verdict {
            WireVerdict::Keep => {
                self.end_step(ModuleRole::Filter, RoleVerdict::Kept, None, Some(store));
                Ok(None)
            }
            WireVerdict::Drop(reason) => {
                let reason = check::text(reason);
                self.end_step(
                    ModuleRole::Filter,
                    RoleVerdict::Dropped,
                    Some(reason.clone()),
                    Some(store),
                );
                Ok(Some(reason))
            }
        }
    }

    /// Calls `transform`. Returns `None` if the module does not have this role.
    async fn call_transform(
        &mut self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        event: &Event<'_>,
    ) -> Result<Option<Vec<EventDraft>>, ModuleFailure> {
        let Some(indices) = &self.bound.transform else { return Ok(None) };
        store.data_mut().rearm(&self.limits);
        let call = async {
            let guest = indices.load(&mut *store, instance)?;
            guest.call_apply(&mut *store, event.clone()).await
        };
        let answer = in_time(&self.limits, call).await;
        let drafts = self.judge_answer(ModuleRole::Transform, store, answer)?;
        let checked = check::check_drafts(drafts, self.id_origin(event), &self.limits);
        let drafts = self.check_output(ModuleRole::Transform, store, checked)?;
        let (verdict, reason) = match drafts.len() {
            0 => (RoleVerdict::Dropped, Some(TO_NOTHING.to_owned())),
            _ => (RoleVerdict::Transformed, None),
        };
        self.end_step(ModuleRole::Transform, verdict, reason, Some(store));
        Ok(Some(drafts))
    }

    /// Calls `route` on each draft. Returns nothing if the module does not have this role.
    async fn route_drafts(
        &mut self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        parent: &Event<'_>,
        drafts: &[EventDraft],
    ) -> Result<Vec<Vec<super::ModuleDispatch>>, ModuleFailure> {
        if self.bound.route.is_none() {
            return Ok(Vec::new());
        }
        let named: Vec<_> = drafts
            .iter()
            .map(|draft| {
                (draft, draft.id.to_string(), merged(parent.attributes, &draft.attributes))
            })
            .collect();
        let events: Vec<_> = named
            .iter()
            .map(|(draft, id, attributes)| Event {
                id,
                kind: draft.kind.as_deref().unwrap_or(parent.kind),
                subject: draft.subject.as_deref().or(parent.subject),
                attributes,
                data: BodyParam::Json(&draft.data),
                ..parent.clone()
            })
            .collect();
        self.call_route(store, instance, &events).await
    }

    /// Calls `route` on each event, and adds one step for all calls. Returns the dispatches of each
    /// event, or nothing if the module does not have this role.
    async fn call_route(
        &mut self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        events: &[Event<'_>],
    ) -> Result<Vec<Vec<super::ModuleDispatch>>, ModuleFailure> {
        let Some(indices) = &self.bound.route else { return Ok(Vec::new()) };
        let (mut routed, mut returned) = (Vec::with_capacity(events.len()), 0);
        for event in events {
            let spent = self.time_left();
            self.check_output(ModuleRole::Route, store, spent)?;
            store.data_mut().rearm(&self.limits);
            let call = async {
                let guest = indices.load(&mut *store, instance)?;
                guest.call_plan(&mut *store, event.clone()).await
            };
            let answer = in_time(&self.limits, call).await;
            let dispatches = self.judge_answer(ModuleRole::Route, store, answer)?;
            let origin = self.id_origin(event);
            let checked = check::check_dispatches(dispatches, origin, &self.limits);
            let dispatches = self.check_output(ModuleRole::Route, store, checked)?;
            returned += dispatches.iter().map(super::ModuleDispatch::size).sum::<usize>();
            let bounded = self.room_left(returned);
            self.check_output(ModuleRole::Route, store, bounded)?;
            routed.push(dispatches);
        }
        let (verdict, reason) = match routed.iter().map(Vec::len).sum() {
            0_usize => (RoleVerdict::Dropped, Some(TO_NOWHERE.to_owned())),
            _ => (RoleVerdict::Routed, None),
        };
        self.end_step(ModuleRole::Route, verdict, reason, Some(store));
        Ok(routed)
    }

    /// Fails if all calls together have taken too long.
    fn time_left(&self) -> CheckResult<()> {
        let limit = self.limits.run;
        if self.began.elapsed() < limit { Ok(()) } else { Err(ModuleFailure::Timeout { limit }) }
    }

    /// Fails if all calls together have returned too much. The calls for 100 drafts could return
    /// 200 MiB, and no other check counts this before the run ends.
    fn room_left(&self, returned: usize) -> CheckResult<()> {
        let limit = self.limits.run_output_bytes;
        if returned <= limit {
            return Ok(());
        }
        Err(ModuleFailure::Output { message: format!("more than {limit} bytes in one run") })
    }

    /// Returns the value of a call, or the failure for the trace and the caller.
    fn judge_answer<T>(
        &mut self,
        role: ModuleRole,
        store: &mut Store<GuestState>,
        answer: Result<Result<T, super::bindings::waybill::module::types::Failure>, CallEnd>,
    ) -> Result<T, ModuleFailure> {
        let limits = &self.limits;
        let checked = match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(declared)) => Err(check::declared(declared, limits)),
            Err(ended) => Err(explain(ended, store.data_mut(), limits)),
        };
        self.check_output(role, store, checked)
    }

    fn check_output<T>(
        &mut self,
        role: ModuleRole,
        store: &mut Store<GuestState>,
        checked: CheckResult<T>,
    ) -> CheckResult<T> {
        if let Err(failure) = &checked {
            self.end_step(role, RoleVerdict::Failed, Some(failure.to_string()), Some(store));
        }
        checked
    }

    /// Ends the current step.
    fn end_step(
        &mut self,
        role: ModuleRole,
        verdict: RoleVerdict,
        reason: Option<String>,
        store: Option<&mut Store<GuestState>>,
    ) {
        let now = Instant::now();
        let micros = u32::try_from(now.duration_since(self.since).as_micros()).unwrap_or(u32::MAX);
        self.since = now;
        let limits = &self.limits;
        let logs = store.map(|store| store.data_mut().take_log(limits)).unwrap_or_default();
        self.steps.push(ModuleStep { role, verdict, reason, micros, logs });
    }
}

/// Returns an event as guests see it.
pub fn guest_event<'a>(input: &ModuleInput<'a>) -> Event<'a> {
    Event {
        id: input.id,
        source: input.source,
        kind: input.kind,
        resource: input.resource,
        subject: input.subject,
        time: input.time,
        attempt: input.attempt,
        changes: input
            .changes
            .map(|changes| ChangesParam { changed: changes.changed, previous: changes.previous }),
        attributes: input.attributes,
        data: BodyParam::Json(input.data),
    }
}

/// Returns the failure of a call without a value. The notes of the host come first, because a guest
/// that is refused memory or time usually ends with another trap.
pub fn explain(ended: CallEnd, state: &mut GuestState, limits: &ModuleLimits) -> ModuleFailure {
    let error = match ended {
        CallEnd::Late => return ModuleFailure::Timeout { limit: limits.wall },
        CallEnd::Broken(_) if state.usage.out_of_time => {
            return ModuleFailure::Timeout { limit: limits.cpu };
        }
        CallEnd::Broken(_) if state.usage.memory_denied => {
            return ModuleFailure::Memory { limit: limits.memory_bytes };
        }
        CallEnd::Broken(error) => error,
    };
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let kind = trap.to_string();
        let kind = kind.strip_prefix("wasm trap: ").unwrap_or(&kind);
        return ModuleFailure::Trap { message: with_last_words(kind, state) };
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return ModuleFailure::Trap { message: format!("it called exit({})", exit.0) };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return ModuleFailure::Host { message: error.to_string() };
    }
    if error.is::<wasmtime_wasi::ResourceTableError>() {
        return ModuleFailure::Trap { message: format!("{error:#}") };
    }
    let text = format!("{error:#}");
    // The type of this error is private to wasmtime.
    if text.contains("fuel allocated for hostcalls") {
        let message = format!("more than {} bytes in one call", limits.output_bytes);
        return ModuleFailure::Output { message };
    }
    ModuleFailure::Output { message: check::text(text) }
}

/// Returns the kind of a trap with what the guest printed before it. A Rust panic prints its
/// message and then traps.
fn with_last_words(kind: &str, state: &mut GuestState) -> String {
    state.wasi.drain(&mut state.log);
    match state.log.last_words() {
        None => kind.to_owned(),
        Some(words) => check::text(format!("{kind}: {words}")),
    }
}
