//! Recording what follows from an event: deliveries, the trace, and that a flow is done with it.

use super::batch::{WriteBatch, batching};
use super::handover::{QueuePermit, WorkPrefetch};
use super::value::BoundRow;
use super::watch::{EventNotice, EventWatchers};
use super::{StoreError, dedupe, statements};
use crate::json::storable::make_storable;
use crate::model::delivery::{CollapseKey, DeadLetter, DeliveryStatus, NewDelivery, WorkLease};
use crate::model::event::Event;
use crate::model::id::{DeadLetterId, DeliveryId, EndpointId, FlowId};
use crate::time::timestamp::Timestamp;
use sqlx::types::Uuid;
use std::collections::HashSet;
use std::sync::Arc;

/// A delivery to be written, with its place in memory if it is born leased.
#[derive(Debug)]
pub struct DeliveryDraft {
    pub delivery: NewDelivery,
    /// Its place in memory.
    pub slot: Option<QueuePermit>,
}

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

/// Writes the plans whose lease still holds; `true` for those.
pub async fn write_plans(
    tx: &mut WriteBatch<'_>,
    plans: &mut [&mut RecordedPlan],
) -> Result<Vec<bool>, StoreError> {
    let finished = plans.iter().filter(|p| !matches!(p.failed, Some(ModuleFailed::Retry(_))));
    let rows = finished.map(|plan| plan.key_row().bind(plan.lease.token)).collect();
    let ended: Vec<(Uuid, Uuid)> = tx.fetch(&statements::DELETE_PLANNING, rows).await?;
    let ended: HashSet<(Uuid, Uuid)> = ended.into_iter().collect();
    let mut applied = Vec::with_capacity(plans.len());
    for plan in plans.iter() {
        applied.push(match plan.failed {
            Some(ModuleFailed::Retry(at)) => postpone_planning(tx, plan, at).await?,
            Some(ModuleFailed::Dead { .. }) | None => {
                ended.contains(&(plan.event.id.uuid(), plan.flow.uuid()))
            }
        });
    }
    let mut held: Vec<&mut RecordedPlan> =
        plans.iter_mut().zip(&applied).filter(|(_, a)| **a).map(|(p, _)| &mut **p).collect();
    dedupe::hold_back(tx, &mut held).await?;
    write_trace(tx, &held).await?;
    for plan in &held {
        if let Some(ModuleFailed::Dead { reason, detail }) = &plan.failed {
            write_dead_letters(tx, &plan.dead_letter(reason, detail)).await?;
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
    tx: &mut WriteBatch<'_>,
    plan: &RecordedPlan,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let rows = batching!(tx, |db| sql::query(statements::POSTPONE_PLANNING)
        .bind(at.micros())
        .bind(plan.event.id.uuid())
        .bind(plan.flow.uuid())
        .bind(plan.lease.token)
        .execute(db)
        .await?
        .rows_affected());
    Ok(rows == 1)
}

async fn write_trace(
    tx: &mut WriteBatch<'_>,
    plans: &[&mut RecordedPlan],
) -> Result<(), StoreError> {
    let rows = plans
        .iter()
        .map(|plan| plan.key_row().bind(plan.at.micros()).bind(plan.steps.as_str()))
        .collect();
    tx.run(&statements::INSERT_PLAN, rows).await?;
    let replayed = plans.iter().filter(|p| p.failed.is_none() && p.replayed);
    let rows = replayed.map(|plan| plan.key_row()).collect();
    tx.run(&statements::DELETE_PLAN_DEAD_LETTER, rows).await.map(drop)
}

impl RecordedPlan {
    /// Event and flow, which name its planning.
    fn key_row(&self) -> BoundRow<'_> {
        BoundRow::new().bind(self.event.id.uuid()).bind(self.flow.uuid())
    }
}

/// Puts something into the dead-letter store, or brings what is there up to date.
pub async fn write_dead_letters(
    tx: &mut WriteBatch<'_>,
    dead: &DeadLetter,
) -> Result<(), StoreError> {
    let known = batching!(tx, |db| sql::query(statements::UPDATE_DEAD_LETTER)
        .bind(dead.reason.as_str())
        .bind(dead.detail.as_str())
        .bind(dead.created_at.micros())
        .bind(dead.event_id.uuid())
        .bind(dead.delivery_id.map(DeliveryId::uuid))
        .bind(dead.flow_id.map(FlowId::uuid))
        .execute(db)
        .await?
        .rows_affected());
    if known > 0 {
        return Ok(());
    }
    batching!(tx, |db| sql::query(statements::INSERT_DEAD_LETTER)
        .bind(dead.id.uuid())
        .bind(dead.event_id.uuid())
        .bind(dead.event_type.as_str())
        .bind(dead.delivery_id.map(DeliveryId::uuid))
        .bind(dead.endpoint_id.map(EndpointId::uuid))
        .bind(dead.flow_id.map(FlowId::uuid))
        .bind(dead.reason.as_str())
        .bind(dead.detail.as_str())
        .bind(dead.created_at.micros())
        .execute(db)
        .await?
        .rows_affected());
    Ok(())
}

/// Writes deliveries: most in bulk, the collapsing ones one by one.
pub async fn write_deliveries(
    tx: &mut WriteBatch<'_>,
    drafts: &mut [&mut DeliveryDraft],
) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(drafts.len());
    for draft in drafts.iter_mut() {
        let collapsed = match draft.delivery.collapse.clone() {
            Some(collapse) => Some(collapse_into(tx, &mut draft.delivery, collapse).await?),
            None => None,
        };
        let row = WrittenDelivery { delivery: &draft.delivery, collapsed };
        if collapsed.is_some() {
            // Another of the same batch may collapse into it, so it must stand in the table now.
            insert(tx, &[row]).await?;
        } else {
            rows.push(row);
        }
    }
    insert(tx, &rows).await
}

/// A delivery as it is written: with what it collapsed, if it did.
struct WrittenDelivery<'a> {
    delivery: &'a NewDelivery,
    collapsed: Option<(i32, Timestamp)>,
}

impl DeliveryDraft {
    /// Whether nothing has to be looked up for it and it sends the event as captured.
    pub const fn is_plain(&self) -> bool {
        self.delivery.collapse.is_none()
            && self.delivery.dedupe.is_none()
            && self.delivery.message.is_none()
    }

    /// The row of a plain one.
    pub fn plain_row(&self) -> BoundRow<'_> {
        WrittenDelivery { delivery: &self.delivery, collapsed: None }.row()
    }
}

/// Puts a delivery in the place of the one of its record that still waits, if one does.
async fn collapse_into(
    tx: &mut WriteBatch<'_>,
    delivery: &mut NewDelivery,
    collapse: CollapseKey,
) -> Result<(i32, Timestamp), StoreError> {
    let waiting: Option<(i32, i64)> = batching!(tx, |db| sql::query_as(statements::SUPERSEDE)
        .bind(delivery.endpoint_id.uuid())
        .bind(collapse.key.as_str())
        .bind(delivery.id.created_at().micros())
        .fetch_optional(db)
        .await?);
    let Some((collapsed, latest)) = waiting else { return Ok((0, collapse.latest)) };
    let latest = Timestamp::from_micros(latest);
    delivery.due_at = delivery.due_at.min(latest);
    Ok((collapsed + 1, latest))
}

async fn insert(tx: &mut WriteBatch<'_>, drafts: &[WrittenDelivery<'_>]) -> Result<(), StoreError> {
    let rows = drafts.iter().map(WrittenDelivery::row).collect();
    tx.run(&statements::INSERT_DELIVERY, rows).await?;
    let message = |written: &WrittenDelivery<'_>| {
        let message = written.delivery.message.as_ref()?;
        Some((written.delivery.id.uuid(), serde_json::to_string(message).ok()?))
    };
    let messages: Vec<(Uuid, String)> = drafts.iter().filter_map(message).collect();
    let rows =
        messages.iter().map(|(id, body)| BoundRow::new().bind(*id).bind(body.as_str())).collect();
    tx.run(&statements::INSERT_MESSAGE, rows).await.map(drop)
}

impl<'a> WrittenDelivery<'a> {
    fn row(&self) -> BoundRow<'a> {
        let delivery = self.delivery;
        let lease = delivery.lease;
        let status = if lease.is_some() { DeliveryStatus::Leased } else { DeliveryStatus::Pending };
        BoundRow::new()
            .bind(delivery.id.uuid())
            .bind(delivery.event_id.uuid())
            .bind(delivery.endpoint_id.uuid())
            .bind(delivery.flow_id.map(FlowId::uuid))
            .bind(delivery.event_type.as_str())
            .bind(status.code())
            .bind(lease.map_or(delivery.due_at, |lease| lease.until).micros())
            .bind(lease.map(|lease| lease.token))
            .bind(0_i32)
            .bind(0_i32)
            .bind(delivery.id.created_at().micros())
            .bind(delivery.order_key.as_deref())
            .bind(delivery.collapse.as_ref().map(|c| c.key.as_str()))
            .bind(self.collapsed.map(|(_, latest)| latest.micros()))
            .bind(self.collapsed.map_or(0, |(count, _)| count))
            .bind(delivery.dedupe.as_ref().map(|dedupe| dedupe.key.as_str()))
    }
}

/// After the commit: deliveries go on in memory, watchers hear of them.
pub fn hand_over(handover: &WorkPrefetch, watchers: &EventWatchers, plan: RecordedPlan) {
    match plan.failed {
        Some(ModuleFailed::Retry(_)) => {}
        Some(ModuleFailed::Dead { .. }) | None => watchers.tell(plan.event.id, || {
            let ids = |d: &DeliveryDraft| (d.delivery.id, d.delivery.endpoint_id);
            EventNotice::Planned { deliveries: plan.deliveries.iter().map(ids).collect() }
        }),
    }
    for draft in plan.deliveries {
        draft.hand_over(handover, &plan.event);
    }
}
