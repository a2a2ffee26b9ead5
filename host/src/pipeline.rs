//! Planning: runs a flow's modules on an event and records the result.
//!
//! Flows without modules are planned when the event is captured. For all others the capture inserts
//! a waiting row. A planner claims it, runs the modules of that flow ([`planner`]), and records the
//! deliveries, the trace and the end of the row in one transaction. After a crash before that,
//! planning starts again. Flows are planned separately, so the failure of one does not affect the
//! others.
//!
//! **Fair shares.** Each flow has its own queue, its own places in memory, and runs a few events at
//! once. A slow or failing module delays only the flows that use it. If several flows have the same
//! module, each has a share of its turns. No event waits for a turn without end: after a while it
//! is planned again later.
//!
//! **Events under which the process died twice** run one after another ([`crate::store::claim`]).

pub mod bounds;
pub mod contents;
pub mod emitted;
pub mod plan_spans;
pub mod planner;

use crate::metrics::flow_figures::PlanResult;
use crate::model::plan_effects::PlanEffects;
use crate::model::trace_context::TraceId;
use crate::pipeline::contents::ContentsRoom;
use crate::pipeline::emitted::EmittingEvent;
use crate::pipeline::plan_spans::PlanTrace;
use crate::pipeline::planner::outcome::{FlowOutcome, ModulesFailed};
use crate::pipeline::planner::{FlowPlanner, VersionChoice};
use crate::settings::FlowRuntime;
use crate::settings::live::LiveSettings;
use crate::settings::matching::PLANNING_HOLD;
use crate::store::claim::FATAL;
use crate::store::prefetch::{FlowLane, LeasedPlanning, NewFlowLane};
use crate::store::{EventStore, ModuleFailed, PlanReceipt, RecordedPlan};
use crate::time::span::TimeSpan;
use crate::wasm::ModuleClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Events of one flow whose modules run at once. The processors bound the work; this bounds the
/// number of waiting events.
const AT_ONCE: u32 = 32;
/// Interval at which the table is searched for events that memory does not know of.
const PATROL: Duration = Duration::from_millis(500);
/// Interval at which the table is searched for events of deleted flows.
const ORPHAN_PATROL: Duration = Duration::from_mins(1);
/// Time after which a process that did not die is considered stable.
const CALM: Duration = Duration::from_secs(10);
/// Remaining time that a lease must have for the modules to run. Longer than they may run and wait.
const LEAST_LEASE: Duration = Duration::from_mins(1);

/// State that all planners share.
#[derive(Debug, Clone)]
pub struct PlannerContext {
    pub journal: EventStore,
    pub live: LiveSettings,
    /// Waits before modules run again after a temporary failure.
    pub schedule: Arc<[TimeSpan]>,
    /// Lifetime of dedupe keys.
    pub dedupe_for: Duration,
    /// Makes the requests of modules.
    pub requests: ModuleClient,
    /// The permit for plans that hold much memory.
    pub heavy: Arc<Semaphore>,
    /// The running plans.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// Plans events until the server stops.
pub async fn run_pipeline(
    context: PlannerContext,
    mut lanes: mpsc::UnboundedReceiver<NewFlowLane>,
) {
    context.tasks.spawn(sweep_plannings(context.clone()));
    context.tasks.spawn(run_odd(context.clone()));
    loop {
        tokio::select! {
            new = lanes.recv() => match new {
                Some(new) => drop(context.tasks.spawn(run_flow(context.clone(), new))),
                None => return,
            },
            () = context.stop.cancelled() => return,
        }
    }
}

/// Plans the events of one flow until the flow is gone or the server stops.
async fn run_flow(context: PlannerContext, new: NewFlowLane) {
    let NewFlowLane { lane, mut queue } = new;
    let permits = Arc::new(Semaphore::new(AT_ONCE as usize));
    let (room, held) = (Arc::clone(&lane.room), Arc::downgrade(&lane));
    // The settings hold the lane as long as the flow exists. Afterwards the queue ends.
    drop(lane);
    loop {
        let planning = tokio::select! {
            planning = queue.recv() => planning,
            () = room.wake.notified() => {
                let Some(lane) = held.upgrade() else { return };
                claim_plannings(&context, &lane).await;
                continue;
            }
            () = context.stop.cancelled() => break,
        };
        let Some(planning) = planning else { return };
        let wanted = count_permits(&context, &planning);
        let Ok(permit) = Arc::clone(&permits).acquire_many_owned(wanted).await else { return };
        let context = context.clone();
        // Boxed because this future is large, and a task's future is moved several times before it
        // runs.
        context.tasks.clone().spawn(Box::pin(async move {
            plan_event(&context, planning, Some(permit)).await;
        }));
    }
    queue.close();
    while let Some(planning) = queue.recv().await {
        let now = context.journal.clock().now();
        let key = (planning.event.id, planning.flow);
        if let Err(error) = context.journal.release_planning(key, planning.lease, now).await {
            let trace_id = TraceId::of_event(&planning.event);
            tracing::warn!(event = %planning.event.id, %trace_id, %error, "cannot release an event; its lease will run out");
        }
    }
}

/// Returns the number of permits that an event takes. A flow with state plans its events one after
/// another, so that each sees the writes of the one before.
fn count_permits(context: &PlannerContext, planning: &LeasedPlanning) -> u32 {
    let snapshot = context.live.current_settings();
    let remembers = snapshot.find_flow(planning.flow).is_some_and(|route| route.remembers());
    if remembers { AT_ONCE } else { 1 }
}

async fn claim_plannings(context: &PlannerContext, lane: &FlowLane) {
    let settings = context.live.current_settings();
    let now = context.journal.clock().now();
    if settings.find_flow(lane.flow).is_some_and(|route| route.is_parked(now)) {
        // The events would be released again at once. The patrol comes back later.
        return;
    }
    match context.journal.claim_plannings(lane, PLANNING_HOLD).await {
        Ok(claimed) => claimed.into_iter().for_each(|planning| lane.push_planning(planning)),
        Err(error) => tracing::warn!(%error, "cannot ask the database for events to plan"),
    }
}

/// Wakes flows that have due events which memory does not know of.
async fn sweep_plannings(context: PlannerContext) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PATROL) => {}
            () = context.stop.cancelled() => return,
        }
        match context.journal.list_flows_due().await {
            Ok(due) => {
                for flow in due {
                    if let Some(lane) = context.journal.prefetch().find_flow_lane(flow) {
                        lane.room.wake_claimer();
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot ask the database for events to plan"),
        }
    }
}

/// Plans events under which processes died twice, one after another, so that the next death
/// identifies its event. Also plans events of deleted flows.
async fn run_odd(context: PlannerContext) {
    let began = tokio::time::Instant::now();
    let mut orphans = began;
    while !context.stop.is_cancelled() {
        let calm = began.elapsed() >= CALM;
        let mut claimed = context.journal.claim_suspect(PLANNING_HOLD, calm).await;
        if matches!(claimed, Ok(None)) && orphans.elapsed() >= ORPHAN_PATROL {
            claimed = context.journal.claim_orphan(PLANNING_HOLD).await;
            if matches!(claimed, Ok(None)) {
                orphans = tokio::time::Instant::now();
            }
        }
        match claimed {
            Ok(Some(planning)) => {
                Box::pin(plan_event(&context, planning, None)).await;
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot ask the database for events to plan"),
        }
        tokio::select! {
            () = tokio::time::sleep(PATROL) => {}
            () = context.stop.cancelled() => {}
        }
    }
}

/// Runs the modules and records the plan. Repeats this at once if another event changed the state
/// that the modules read. A repetition does not count as a try, because nothing failed.
async fn plan_event(
    context: &PlannerContext,
    planning: LeasedPlanning,
    mut permit: Option<OwnedSemaphorePermit>,
) {
    let mut next = Some(planning);
    while let Some(planning) = next {
        next = plan_once(context, planning, &mut permit).await;
    }
}

/// Runs the modules, then records the plan. Returns the planning if it must be repeated. `permit`
/// covers only the run, unless the flow has state, so that the next event's modules run during this
/// one's commit.
async fn plan_once(
    context: &PlannerContext,
    planning: LeasedPlanning,
    permit: &mut Option<OwnedSemaphorePermit>,
) -> Option<LeasedPlanning> {
    let snapshot = context.live.current_settings();
    let at = context.journal.clock().now();
    if planning.lease.until < at.after(LEAST_LEASE) {
        let trace_id = TraceId::of_event(&planning.event);
        tracing::info!(event = %planning.event.id, %trace_id, "an event waited too long in memory; it is claimed again");
        return None;
    }
    let route = snapshot.find_flow(planning.flow).map(|route| &**route);
    let outcome = run_modules(context, &planning, route).await;
    if !route.is_some_and(FlowRuntime::remembers) {
        drop(permit.take());
    }
    let held = outcome.heavy;
    if let (Some(route), Err(ModulesFailed { is_parked: true, .. })) = (route, &outcome.result) {
        // Called before the event is released, so that later events of the flow go to the table too
        // and stay behind it.
        route.lane.room.note_waiting();
    }
    let (deliveries, failed, mut effects) = match outcome.result {
        Ok(deliveries) => (deliveries, None, outcome.effects),
        Err(failed) => {
            let failed = judge_failure(context, &planning, failed);
            (Vec::new(), Some(failed), PlanEffects::default())
        }
    };
    let (attempts, deaths) = (planning.attempts, planning.deaths);
    let parent = EmittingEvent { event: &planning.event, flow: planning.flow };
    let emitted = parent.capture_facts(context, &snapshot, std::mem::take(&mut effects.facts));
    let trace = PlanTrace::begin(context.journal.span_recorder(), outcome.calls, attempts + 1);
    let planned = RecordedPlan {
        event: planning.event,
        flow: planning.flow,
        replayed: planning.claimed,
        lease: planning.lease,
        slot: planning.slot,
        at,
        steps: outcome.steps,
        contents: outcome.contents,
        packed: None,
        deliveries,
        failed,
        effects,
        emitted,
        receipts: Vec::new(),
    };
    let recorded = store_plan(context, route, planned, trace).await;
    drop(held);
    recorded.map(|plan| LeasedPlanning {
        claimed: plan.replayed,
        event: plan.event,
        flow: plan.flow,
        attempts,
        deaths,
        lease: plan.lease,
        slot: plan.slot,
    })
}

/// Runs the modules of the flow on the event.
async fn run_modules(
    context: &PlannerContext,
    planning: &LeasedPlanning,
    route: Option<&FlowRuntime>,
) -> FlowOutcome {
    let Some(route) = route else { return FlowOutcome::gone() };
    if planning.deaths >= FATAL {
        let failed = ModulesFailed::crashed(planning.deaths);
        let trace_id = TraceId::of_event(&planning.event);
        tracing::error!(event = %planning.event.id, %trace_id, "{}", failed.detail);
        return FlowOutcome::failed(failed);
    }
    if let Some(reason) = find_refusal(planning, route) {
        return FlowOutcome::kept_back(reason);
    }
    let planner = FlowPlanner {
        route,
        store: &context.journal,
        event: &planning.event,
        attempt: planning.attempts + 1,
        dedupe_for: context.dedupe_for,
        heavy: &context.heavy,
        room: ContentsRoom::STORED,
        clock: Some(context.journal.clock()),
        requests: Some(&context.requests),
        is_traced: context.journal.span_recorder().is_some(),
        versions: VersionChoice::Live,
    };
    planner.run().await
}

/// Records a plan and counts it. Returns the planning if it must be repeated.
async fn store_plan(
    context: &PlannerContext,
    route: Option<&FlowRuntime>,
    planned: RecordedPlan,
    trace: Option<PlanTrace<'_>>,
) -> Option<Box<RecordedPlan>> {
    let (event, result) = (planned.event.id, tell_result(&planned));
    let (key, lease) = ((event, planned.flow), planned.lease);
    let shadows = match result {
        PlanResult::Planned | PlanResult::Dropped | PlanResult::Dead => {
            route.map(|route| context.live.trials().collect_shadows(route, &planned.event))
        }
        PlanResult::Postponed | PlanResult::Parked => None,
    };
    let described = trace.map(|trace| trace.describe(&planned, route, result));
    match context.journal.record_plan(planned).await {
        Ok(PlanReceipt::Recorded) => {
            if let Some(route) = route {
                route.figures.note_plan(result);
            }
            if let Some(described) = described {
                described.record();
            }
            for job in shadows.into_iter().flatten() {
                context.live.trials().push_shadow(job);
            }
        }
        Ok(PlanReceipt::Outdated(plan)) => {
            tracing::debug!(%event, "the state that a plan used has changed; planning again");
            return Some(plan);
        }
        Ok(PlanReceipt::LeaseLost) => {
            tracing::info!(%event, "another planner was faster; dropping this plan");
        }
        Err(error) => {
            tracing::warn!(%event, %error, "a plan was not recorded and will be repeated");
            context.journal.release_unrecorded(key, lease);
        }
    }
    None
}

const fn tell_result(planned: &RecordedPlan) -> PlanResult {
    match planned.failed {
        Some(ModuleFailed::Retry(_)) => PlanResult::Postponed,
        Some(ModuleFailed::Parked(_)) => PlanResult::Parked,
        Some(ModuleFailed::Dead { .. }) => PlanResult::Dead,
        None if planned.deliveries.is_empty() => PlanResult::Dropped,
        None => PlanResult::Planned,
    }
}

/// Returns why the flow now refuses an event that it accepted before. An event that comes straight
/// from its capture was checked a moment ago.
fn find_refusal(planning: &LeasedPlanning, route: &FlowRuntime) -> Option<String> {
    route.condition.as_ref().filter(|_| planning.claimed)?;
    route.find_refusal(&planning.event.subject())
}

/// Decides whether failed modules run again: on the delivery schedule if they may recover, once if
/// the machine may have been busy, and never if they would fail the same way again.
fn judge_failure(
    context: &PlannerContext,
    planning: &LeasedPlanning,
    failed: ModulesFailed,
) -> ModuleFailed {
    if failed.is_parked {
        // Due since its capture, so that the flow's events keep their order. The claim waits.
        return ModuleFailed::Parked(planning.event.received_at);
    }
    let tries = usize::try_from(planning.attempts).unwrap_or(usize::MAX);
    let steps = context.schedule.get(..failed.most_retries).unwrap_or(&context.schedule);
    match steps.get(tries) {
        Some(step) => {
            let wait = failed.after.unwrap_or(step.get());
            ModuleFailed::Retry(context.journal.clock().now().after(wait))
        }
        None => ModuleFailed::Dead { reason: failed.reason, detail: failed.detail },
    }
}
