//! Records the plan of an event: its deliveries, its trace, and that a flow has finished with it.

use super::capture::{self, CaptureReceipt, EventCapture};
use super::dead_letters::write_dead_letter;
use super::dedupe;
use super::deliveries::{DeliveryDraft, write_deliveries};
use super::effects::{write_cancel_keys, write_effects};
use super::state_changes::StateChanges;
use crate::json::storable::make_storable;
use crate::model::delivery::{DeadLetter, WorkLease};
use crate::model::event::Event;
use crate::model::id::{DeadLetterId, EventId, FlowId};
use crate::model::plan_effects::PlanEffects;
use crate::store::db::{BoundRow, FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use crate::store::packed_text::{bind_packed, pack_text};
use crate::store::prefetch::{QueuePermit, WorkPrefetch};
use crate::store::watch::{EventNotice, EventWatchers};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

/// The plan that a flow's modules made for an event.
#[derive(Debug)]
pub struct RecordedPlan {
    pub event: Arc<Event>,
    pub flow: FlowId,
    /// Whether a dead letter of this event and flow may exist.
    pub replayed: bool,
    pub lease: WorkLease,
    pub slot: QueuePermit,
    /// Time at which the modules ran.
    pub at: Timestamp,
    /// The trace, as JSON.
    pub steps: String,
    /// The drafts and dispatches that modules returned, as JSON.
    pub contents: Option<String>,
    /// The same, compressed. Set when the plan is submitted.
    pub packed: Option<Vec<u8>>,
    pub deliveries: Vec<DeliveryDraft>,
    /// How the modules failed, if they did.
    pub failed: Option<ModuleFailed>,
    /// Other effects of the modules, if they did not fail.
    pub effects: PlanEffects,
    /// The events that the modules emitted, ready to be captured.
    pub emitted: Vec<EventCapture>,
    /// The receipts of the emitted events, once they are written.
    pub receipts: Vec<CaptureReceipt>,
}

/// The result of recording a plan.
#[derive(Debug)]
pub enum PlanReceipt {
    Recorded,
    /// The lease ran out and another process holds the planning. Nothing was written.
    LeaseLost,
    /// Another event has changed state that the modules read. Nothing was written, and the event
    /// must be planned again.
    Outdated(Box<RecordedPlan>),
}

/// The result of one plan within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanVerdict {
    Recorded,
    LeaseLost,
    Outdated,
}

#[cfg(test)]
impl PlanReceipt {
    /// Returns whether the plan was recorded.
    pub const fn is_recorded(&self) -> bool {
        matches!(self, Self::Recorded)
    }
}

/// How a flow's modules failed.
#[derive(Debug)]
pub enum ModuleFailed {
    /// The modules run again at this time.
    Retry(Timestamp),
    /// The modules did not run. The event waits since this time in the order of the flow, and this
    /// does not count as a try.
    Parked(Timestamp),
    /// The modules will not run again by themselves.
    Dead {
        /// The reason in a word.
        reason: &'static str,
        /// The reason in a sentence.
        detail: String,
    },
}

impl ModuleFailed {
    /// Returns whether the failure ends the planning.
    const fn is_final(&self) -> bool {
        matches!(self, Self::Dead { .. })
    }
}

/// The key of a planning.
#[derive(PartialEq, Eq, Hash)]
pub struct PlanningKey {
    pub event: EventId,
    pub flow: FlowId,
}

impl FromStoredRow for PlanningKey {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { event: row.get("event_id")?, flow: row.get("flow_id")? })
    }
}

/// Writes the plans whose lease is still valid and whose modules' state has not changed.
pub async fn write_plans(
    tx: &mut WriteTransaction<'_>,
    plans: &mut [&mut RecordedPlan],
) -> Result<Vec<PlanVerdict>, StoreError> {
    let state = StateChanges::compare(tx, plans).await?;
    let is_finished = |plan: &&&mut RecordedPlan| {
        let is_finished = plan.failed.as_ref().is_none_or(ModuleFailed::is_final);
        is_finished && !state.is_outdated(&plan.key())
    };
    let rows = plans.iter().filter(is_finished).map(|plan| plan.lease_row()).collect();
    let ended: Vec<PlanningKey> = tx.fetch_bulk(&statements::DELETE_PLANNING, rows).await?;
    let ended: HashSet<PlanningKey> = ended.into_iter().collect();
    let mut applied = Vec::with_capacity(plans.len());
    for plan in plans.iter() {
        let is_held = match plan.failed {
            Some(ModuleFailed::Retry(at)) => postpone_planning(tx, plan, (at, 1)).await?,
            Some(ModuleFailed::Parked(since)) => postpone_planning(tx, plan, (since, 0)).await?,
            Some(ModuleFailed::Dead { .. }) | None => ended.contains(&plan.key()),
        };
        applied.push(if state.is_outdated(&plan.key()) {
            PlanVerdict::Outdated
        } else if is_held {
            PlanVerdict::Recorded
        } else {
            PlanVerdict::LeaseLost
        });
    }
    let recorded = plans.iter_mut().zip(&applied).filter(|(_, a)| **a == PlanVerdict::Recorded);
    let mut held: Vec<&mut RecordedPlan> = recorded.map(|(p, _)| &mut **p).collect();
    dedupe::hold_back(tx, &mut held).await?;
    write_trace(tx, &held).await?;
    for plan in &held {
        if let Some(ModuleFailed::Dead { reason, detail }) = &plan.failed {
            write_dead_letter(tx, &plan.dead_letter(reason, detail)).await?;
        }
    }
    state.write(tx).await?;
    let mut eventful: Vec<&mut RecordedPlan> =
        held.iter_mut().filter(|plan| plan.has_effects()).map(|plan| &mut **plan).collect();
    if !eventful.is_empty() {
        write_effects(tx, &mut eventful).await?;
    }
    let mut drafts: Vec<&mut DeliveryDraft> =
        held.iter_mut().flat_map(|p| p.deliveries.iter_mut()).collect();
    write_deliveries(tx, &mut drafts).await?;
    write_cancel_keys(tx, &held).await?;
    Ok(applied)
}

/// Reason of a dead letter for a plan that the database refused.
const REFUSED: &str = "refused_by_database";

impl RecordedPlan {
    /// Turns a plan that the database refused for its content into a dead letter, so that the event
    /// does not wait for ever. Returns `false` if it is one already.
    pub fn set_aside(&mut self, why: &str) -> bool {
        if matches!(self.failed, Some(ModuleFailed::Dead { reason: REFUSED, .. })) {
            return false;
        }
        let detail = format!("the database refused what the flow's modules returned: {why}");
        let step = serde_json::json!([{
            "module": null, "version": null, "role": "flow", "verdict": "failed", "reason": detail, "duration_us": 0,
        }]);
        self.steps = step.to_string();
        (self.contents, self.packed) = (None, None);
        self.deliveries.clear();
        self.effects = PlanEffects::default();
        self.emitted.clear();
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

/// Releases a planning until a time, and counts the tries that it has cost.
async fn postpone_planning(
    tx: &mut WriteTransaction<'_>,
    plan: &RecordedPlan,
    (at, tries): (Timestamp, i32),
) -> Result<bool, StoreError> {
    let postpone = SqlQuery::new(statements::POSTPONE_PLANNING)
        .bind(at)
        .bind(plan.event.id)
        .bind(plan.flow)
        .bind(plan.lease.token)
        .bind(tries);
    Ok(tx.execute(postpone).await? == 1)
}

async fn write_trace(
    tx: &mut WriteTransaction<'_>,
    plans: &[&mut RecordedPlan],
) -> Result<(), StoreError> {
    // An event that is parked again says nothing new, and may be parked for days.
    let is_parked_again =
        |plan: &RecordedPlan| plan.replayed && matches!(plan.failed, Some(ModuleFailed::Parked(_)));
    let told = plans.iter().filter(|plan| !is_parked_again(plan));
    let rows = told.map(|plan| {
        let row = plan.key_row().bind(plan.at).bind(plan.steps.as_str());
        bind_packed(row, plan.contents.as_deref(), plan.packed.as_deref())
    });
    let rows = rows.collect();
    tx.execute_bulk(&statements::INSERT_PLAN, rows).await?;
    let replayed = plans.iter().filter(|p| p.failed.is_none() && p.replayed);
    let rows = replayed.map(|plan| plan.key_row()).collect();
    tx.execute_bulk(&statements::DELETE_PLAN_DEAD_LETTER, rows).await.map(drop)
}

impl RecordedPlan {
    /// Compresses what the modules returned and the data of the events that they emitted.
    pub fn pack_texts(&mut self) {
        self.packed = self.contents.as_deref().and_then(pack_text);
        self.emitted.iter_mut().for_each(EventCapture::pack_data);
    }

    /// Returns the row of event and flow, which identifies the planning.
    fn key_row(&self) -> BoundRow<'_> {
        BoundRow::new().bind(self.event.id).bind(self.flow)
    }

    /// Returns the row of event, flow and lease token.
    pub fn lease_row(&self) -> BoundRow<'_> {
        self.key_row().bind(self.lease.token)
    }

    pub fn key(&self) -> PlanningKey {
        PlanningKey { event: self.event.id, flow: self.flow }
    }
}

/// Passes deliveries on and informs the watchers. Called after the commit.
pub fn hand_over(prefetch: &WorkPrefetch, watchers: &EventWatchers, plan: RecordedPlan) {
    match plan.failed {
        Some(ModuleFailed::Retry(_) | ModuleFailed::Parked(_)) => {}
        Some(ModuleFailed::Dead { .. }) | None => watchers.notify_watchers(plan.event.id, || {
            let ids = |d: &DeliveryDraft| (d.delivery.id, d.delivery.endpoint_id);
            EventNotice::Planned { deliveries: plan.deliveries.iter().map(ids).collect() }
        }),
    }
    for draft in plan.deliveries {
        draft.hand_over(prefetch, &plan.event);
    }
    capture::hand_over(prefetch, plan.emitted, &plan.receipts);
}
