//! Planning: running a flow's modules on an event, and recording what follows.
//!
//! Flows without modules are planned when the event is captured. For the others the capture leaves
//! a row that waits; a planner takes it, runs the modules of that flow ([`pipeline`]), and records
//! in one transaction the deliveries, what the modules said, and that the row is done. A crash
//! before that plans again from the start. Flows are planned apart: one that fails costs no other.

pub mod pipeline;

use crate::domain::span::Span;
use crate::journal::handover::Planning;
use crate::journal::{Journal, ModuleFailed, Planned};
use crate::topology::live::Live;
use crate::topology::matching::PLANNING_HOLD;
use pipeline::{Failed, Planner};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Events whose modules run at once. The processors bound the work; this bounds what waits for them.
const AT_ONCE: usize = 64;
/// How often the table is asked for events that memory does not know of.
const PATROL: Duration = Duration::from_millis(500);

/// What planners share.
#[derive(Debug, Clone)]
pub struct Context {
    /// The record.
    pub journal: Journal,
    /// Flows and modules.
    pub live: Live,
    /// When modules that failed for a time are run again.
    pub schedule: Arc<[Span]>,
    /// Plans under way.
    pub tasks: TaskTracker,
    /// Ends the planning.
    pub stop: CancellationToken,
}

/// Runs until told to stop.
pub async fn run(context: Context, mut plannings: mpsc::UnboundedReceiver<Planning>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    context.tasks.spawn(patrol(context.clone()));
    loop {
        let planning = tokio::select! {
            planning = plannings.recv() => planning,
            () = context.stop.cancelled() => break,
        };
        let (Some(planning), Ok(permit)) = (planning, Arc::clone(&permits).acquire_owned().await)
        else {
            break;
        };
        let context = context.clone();
        // Boxed: a task's future is moved several times before it runs, and this one is large.
        context.tasks.clone().spawn(Box::pin(async move {
            plan(&context, planning, permit).await;
        }));
    }
    plannings.close();
    while let Some(planning) = plannings.recv().await {
        let now = context.journal.clock().now();
        if let Err(error) = context.journal.release_planning(&planning, now).await {
            tracing::warn!(event = %planning.event.id, %error, "cannot give an event back; its lease will run out");
        }
    }
}

async fn patrol(context: Context) {
    let room = Arc::clone(context.journal.handover().planning_room());
    loop {
        tokio::select! {
            () = room.wake.notified() => {}
            () = tokio::time::sleep(PATROL) => {}
            () = context.stop.cancelled() => return,
        }
        match context.journal.claim_plannings(PLANNING_HOLD).await {
            Ok(claimed) => {
                for planning in claimed {
                    context.journal.handover().push_planning(planning);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot ask the database for events to plan"),
        }
    }
}

/// Runs the modules, then records the plan. `permit` is for the running only: the next event's modules
/// run while this one's commit is under way.
async fn plan(context: &Context, planning: Planning, permit: OwnedSemaphorePermit) {
    let topology = context.live.current();
    let at = context.journal.clock().now();
    let outcome = match topology.flow(planning.flow) {
        Some(route) => {
            let planner = Planner {
                journal: &context.journal,
                route,
                event: &planning.event,
                attempt: planning.attempts + 1,
            };
            planner.run().await
        }
        None => pipeline::Outcome::gone(),
    };
    drop(permit);
    let (deliveries, failed) = match outcome.result {
        Ok(deliveries) => (deliveries, None),
        Err(failed) => (Vec::new(), Some(judge(context, &planning, failed))),
    };
    let event = planning.event.id;
    let planned = Planned {
        event: planning.event,
        flow: planning.flow,
        replayed: planning.claimed,
        lease: planning.lease,
        slot: planning.slot,
        at,
        steps: outcome.steps,
        deliveries,
        failed,
    };
    match context.journal.plan(planned).await {
        Ok(true) => {}
        Ok(false) => tracing::info!(%event, "another planner was faster; this plan is dropped"),
        Err(error) => {
            tracing::warn!(%event, %error, "a plan was not recorded and will be made again");
        }
    }
}

/// Whether modules that failed are run again: on the delivery schedule where they may recover, once
/// where a busy machine may be to blame, never where they would fail the same way again.
fn judge(context: &Context, planning: &Planning, failed: Failed) -> ModuleFailed {
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
