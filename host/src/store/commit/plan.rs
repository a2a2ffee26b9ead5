//! Recording what follows from an event: deliveries, the trace, and that a flow is done with it.

use super::dead_letters::write_dead_letter;
use super::dedupe;
use super::deliveries::{DeliveryDraft, write_deliveries};
use crate::json::storable::make_storable;
use crate::model::delivery::{DeadLetter, WorkLease};
use crate::model::event::Event;
use crate::model::id::{DeadLetterId, EventId, FlowId};
use crate::store::db::{BoundRow, FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use crate::store::prefetch::{QueuePermit, WorkPrefetch};
use crate::store::watch::{EventNotice, EventWatchers};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

/// What a flow's modules said of an event.
#[derive(Debug)]
pub struct RecordedPlan {
    pub event: Arc<Event>,
    pub flow: FlowId,
    /// Whether a dead letter of it may exist.
    pub replayed: bool,
    /// The right to record it.
    pub lease: WorkLease,
    /// Its place in memory.
    pub _slot: QueuePermit,
    /// When the modules ran.
    pub at: Timestamp,
    /// The trace, as JSON.
    pub steps: String,
    /// The drafts and dispatches that modules returned, as JSON.
    pub contents: Option<String>,
    /// What follows.
    pub deliveries: Vec<DeliveryDraft>,
    /// How the modules failed, if they did.
    pub failed: Option<ModuleFailed>,
}

/// How a flow's modules failed.
#[derive(Debug)]
pub enum ModuleFailed {
    /// They are to be run again then.
    Retry(Timestamp),
    /// They will not be run again by themselves.
    Dead {
        /// Why, in a word.
        reason: &'static str,
        /// Why, in a sentence.
        detail: String,
    },
}

/// What names a planning.
#[derive(PartialEq, Eq, Hash)]
struct PlanningKey {
    event: EventId,
    flow: FlowId,
}

impl FromStoredRow for PlanningKey {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { event: row.get("event_id")?, flow: row.get("flow_id")? })
    }
}

/// Writes the plans whose lease still holds; `true` for those.
pub async fn write_plans(
    tx: &mut WriteTransaction<'_>,
    plans: &mut [&mut RecordedPlan],
) -> Result<Vec<bool>, StoreError> {
    let finished = plans.iter().filter(|p| !matches!(p.failed, Some(ModuleFailed::Retry(_))));
    let rows = finished.map(|plan| plan.key_row().bind(plan.lease.token)).collect();
    let ended: Vec<PlanningKey> = tx.fetch_bulk(&statements::DELETE_PLANNING, rows).await?;
    let ended: HashSet<PlanningKey> = ended.into_iter().collect();
    let mut applied = Vec::with_capacity(plans.len());
    for plan in plans.iter() {
        applied.push(match plan.failed {
            Some(ModuleFailed::Retry(at)) => postpone_planning(tx, plan, at).await?,
            Some(ModuleFailed::Dead { .. }) | None => {
                ended.contains(&PlanningKey { event: plan.event.id, flow: plan.flow })
            }
        });
    }
    let mut held: Vec<&mut RecordedPlan> =
        plans.iter_mut().zip(&applied).filter(|(_, a)| **a).map(|(p, _)| &mut **p).collect();
    dedupe::hold_back(tx, &mut held).await?;
    write_trace(tx, &held).await?;
    for plan in &held {
        if let Some(ModuleFailed::Dead { reason, detail }) = &plan.failed {
            write_dead_letter(tx, &plan.dead_letter(reason, detail)).await?;
        }
    }
    let mut drafts: Vec<&mut DeliveryDraft> =
        held.iter_mut().flat_map(|p| p.deliveries.iter_mut()).collect();
    write_deliveries(tx, &mut drafts).await?;
    Ok(applied)
}

/// The database refused what the modules said.
const REFUSED: &str = "refused_by_database";

impl RecordedPlan {
    /// Makes a dead letter of a plan that the database refused for its content, so that the event
    /// does not wait for ever; `false` if it is one already.
    pub fn set_aside(&mut self, why: &str) -> bool {
        if matches!(self.failed, Some(ModuleFailed::Dead { reason: REFUSED, .. })) {
            return false;
        }
        let detail = format!("the database refused what the flow's modules returned: {why}");
        let step = serde_json::json!([{
            "module": null, "version": null, "role": "flow", "verdict": "failed", "reason": detail, "duration_us": 0,
        }]);
        self.steps = step.to_string();
        self.contents = None;
        self.deliveries.clear();
        self.failed = Some(ModuleFailed::Dead { reason: REFUSED, detail });
        true
    }

    fn dead_letter(&self, reason: &str, detail: &str) -> DeadLetter {
        DeadLetter {
            id: DeadLetterId::generate(),
            event_id: self.event.id,
            event_type: self.event.event_type.clone(),
            delivery_id: None,
            endpoint_id: None,
            flow_id: Some(self.flow),
            reason: reason.to_owned(),
            detail: make_storable(detail.to_owned()),
            created_at: self.at,
        }
    }
}

async fn postpone_planning(
    tx: &mut WriteTransaction<'_>,
    plan: &RecordedPlan,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let postpone = SqlQuery::new(statements::POSTPONE_PLANNING)
        .bind(at)
        .bind(plan.event.id)
        .bind(plan.flow)
        .bind(plan.lease.token);
    Ok(tx.execute(postpone).await? == 1)
}

async fn write_trace(
    tx: &mut WriteTransaction<'_>,
    plans: &[&mut RecordedPlan],
) -> Result<(), StoreError> {
    let rows = plans.iter().map(|plan| {
        let row = plan.key_row().bind(plan.at).bind(plan.steps.as_str());
        row.bind(plan.contents.as_deref())
    });
    let rows = rows.collect();
    tx.execute_bulk(&statements::INSERT_PLAN, rows).await?;
    let replayed = plans.iter().filter(|p| p.failed.is_none() && p.replayed);
    let rows = replayed.map(|plan| plan.key_row()).collect();
    tx.execute_bulk(&statements::DELETE_PLAN_DEAD_LETTER, rows).await.map(drop)
}

impl RecordedPlan {
    /// Event and flow, which name its planning.
    fn key_row(&self) -> BoundRow<'_> {
        BoundRow::new().bind(self.event.id).bind(self.flow)
    }
}

/// After the commit: deliveries go on in memory, watchers hear of them.
pub fn hand_over(prefetch: &WorkPrefetch, watchers: &EventWatchers, plan: RecordedPlan) {
    match plan.failed {
        Some(ModuleFailed::Retry(_)) => {}
        Some(ModuleFailed::Dead { .. }) | None => watchers.notify_watchers(plan.event.id, || {
            let ids = |d: &DeliveryDraft| (d.delivery.id, d.delivery.endpoint_id);
            EventNotice::Planned { deliveries: plan.deliveries.iter().map(ids).collect() }
        }),
    }
    for draft in plan.deliveries {
        draft.hand_over(prefetch, &plan.event);
    }
}
