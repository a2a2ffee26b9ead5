//! Recording what follows from an event: deliveries, the trace, and that a flow is done with it.

use super::bulk::{Bulk, LazyBulk, fetch_bulk, run_bulk};
use super::handover::{Handover, Slot};
use super::pool::{Tx, writing};
use super::watch::{Notice, Watchers};
use super::{Error, statements};
use crate::domain::delivery::{Collapse, DeadLetter, Lease, NewDelivery, Status};
use crate::domain::event::Event;
use crate::domain::id::{DeadLetterId, DeliveryId, EndpointId, FlowId};
use crate::domain::time::Timestamp;
use sqlx::types::Uuid;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

/// A delivery to be written, with its place in memory if it is born leased.
#[derive(Debug)]
pub struct Draft {
    /// The delivery.
    pub delivery: NewDelivery,
    /// Its place in memory.
    pub slot: Option<Slot>,
}

/// What a flow's modules said of an event.
#[derive(Debug)]
pub struct Planned {
    /// The event.
    pub event: Arc<Event>,
    /// The flow.
    pub flow: FlowId,
    /// The right to record it.
    pub lease: Lease,
    /// Its place in memory.
    pub slot: Slot,
    /// When the modules ran.
    pub at: Timestamp,
    /// The trace, as JSON.
    pub steps: String,
    /// What follows.
    pub deliveries: Vec<Draft>,
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

static DELIVERIES: LazyBulk = LazyLock::new(|| Bulk::new(statements::INSERT_DELIVERY, 17, ""));
static UNIQUE_DELIVERIES: LazyBulk =
    LazyLock::new(|| Bulk::new(statements::INSERT_DELIVERY, 17, " ON CONFLICT DO NOTHING"));
static MESSAGES: LazyBulk = LazyLock::new(|| Bulk::new(statements::INSERT_MESSAGE, 2, ""));
static PLANS: LazyBulk = LazyLock::new(|| Bulk::new(statements::INSERT_PLAN, 4, ""));
static DONE: LazyBulk =
    LazyLock::new(|| Bulk::new(statements::DELETE_PLANNING.0, 3, statements::DELETE_PLANNING.1));
static FORGIVEN: LazyBulk = LazyLock::new(|| {
    Bulk::new(statements::DELETE_PLAN_DEAD_LETTER.0, 2, statements::DELETE_PLAN_DEAD_LETTER.1)
});

/// Writes the plans whose lease still holds; `true` for those.
pub(super) async fn write(tx: &mut Tx, plans: &mut [&mut Planned]) -> Result<Vec<bool>, Error> {
    let mut ended: Vec<(Uuid, Uuid)> = Vec::new();
    let finished: Vec<&&mut Planned> =
        plans.iter().filter(|p| !matches!(p.failed, Some(ModuleFailed::Retry(_)))).collect();
    fetch_bulk!(tx, DONE, &finished[..], ended, (Uuid, Uuid), |query, plan| {
        query.bind(plan.event.id.uuid()).bind(plan.flow.uuid()).bind(plan.lease.token)
    });
    let ended: HashSet<(Uuid, Uuid)> = ended.into_iter().collect();
    let mut applied = Vec::with_capacity(plans.len());
    for plan in plans.iter() {
        applied.push(match plan.failed {
            Some(ModuleFailed::Retry(at)) => postpone(tx, plan, at).await?,
            Some(ModuleFailed::Dead { .. }) | None => {
                ended.contains(&(plan.event.id.uuid(), plan.flow.uuid()))
            }
        });
    }
    let mut held: Vec<&mut Planned> =
        plans.iter_mut().zip(&applied).filter(|(_, a)| **a).map(|(p, _)| &mut **p).collect();
    write_trace(tx, &held).await?;
    for plan in &held {
        if let Some(ModuleFailed::Dead { reason, detail }) = &plan.failed {
            bury(tx, &plan.dead_letter(reason, detail)).await?;
        }
    }
    let mut drafts: Vec<&mut Draft> =
        held.iter_mut().flat_map(|p| p.deliveries.iter_mut()).collect();
    write_deliveries(tx, &mut drafts).await?;
    Ok(applied)
}

impl Planned {
    fn dead_letter(&self, reason: &str, detail: &str) -> DeadLetter {
        DeadLetter {
            id: DeadLetterId::generate(),
            event_id: self.event.id,
            event_type: self.event.event_type.clone(),
            delivery_id: None,
            endpoint_id: None,
            flow_id: Some(self.flow),
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            created_at: self.at,
        }
    }
}

async fn postpone(tx: &mut Tx, plan: &Planned, at: Timestamp) -> Result<bool, Error> {
    let rows = writing!(tx, |db| sqlx::query(statements::POSTPONE_PLANNING)
        .bind(at.micros())
        .bind(plan.event.id.uuid())
        .bind(plan.flow.uuid())
        .bind(plan.lease.token)
        .execute(db)
        .await?
        .rows_affected());
    Ok(rows == 1)
}

async fn write_trace(tx: &mut Tx, plans: &[&mut Planned]) -> Result<(), Error> {
    run_bulk!(tx, PLANS, plans, |query, plan| {
        query
            .bind(plan.event.id.uuid())
            .bind(plan.flow.uuid())
            .bind(plan.at.micros())
            .bind(plan.steps.as_str())
    });
    let replayed: Vec<&&mut Planned> =
        plans.iter().filter(|p| p.failed.is_none() && p.replayed()).collect();
    run_bulk!(tx, FORGIVEN, &replayed[..], |query, plan| {
        query.bind(plan.event.id.uuid()).bind(plan.flow.uuid())
    });
    Ok(())
}

impl Planned {
    /// Whether a dead letter of it may exist: only a planning that did not go straight through can
    /// have one.
    fn replayed(&self) -> bool {
        self.at.since(self.event.received_at) > std::time::Duration::from_secs(1)
    }
}

/// Puts something into the dead-letter store, or brings what is there up to date.
pub(super) async fn bury(tx: &mut Tx, dead: &DeadLetter) -> Result<(), Error> {
    let known = writing!(tx, |db| sqlx::query(statements::UPDATE_DEAD_LETTER)
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
    writing!(tx, |db| sqlx::query(statements::INSERT_DEAD_LETTER)
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
pub(super) async fn write_deliveries(tx: &mut Tx, drafts: &mut [&mut Draft]) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(drafts.len());
    let mut unique = Vec::new();
    for draft in drafts.iter_mut() {
        let collapsed = match draft.delivery.collapse.clone() {
            Some(collapse) => Some(collapse_into(tx, &mut draft.delivery, collapse).await?),
            None => None,
        };
        let row = Row { delivery: &draft.delivery, collapsed };
        match (collapsed, &row.delivery.dedupe_key) {
            // Another of the same batch may collapse into it, so it must stand in the table now.
            (Some(_), _) => insert(tx, &DELIVERIES, &[row]).await?,
            (None, Some(_)) => unique.push(row),
            (None, None) => rows.push(row),
        }
    }
    insert(tx, &DELIVERIES, &rows).await?;
    insert(tx, &UNIQUE_DELIVERIES, &unique).await?;
    Ok(())
}

struct Row<'a> {
    delivery: &'a NewDelivery,
    collapsed: Option<(i32, Timestamp)>,
}

/// Puts a delivery in the place of the one of its record that still waits, if one does.
async fn collapse_into(
    tx: &mut Tx,
    delivery: &mut NewDelivery,
    collapse: Collapse,
) -> Result<(i32, Timestamp), Error> {
    let waiting: Option<(i32, i64)> = writing!(tx, |db| sqlx::query_as(statements::SUPERSEDE)
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

async fn insert(tx: &mut Tx, statement: &'static LazyBulk, rows: &[Row<'_>]) -> Result<(), Error> {
    run_bulk!(tx, statement, rows, |query, row| {
        let delivery = row.delivery;
        let lease = delivery.lease;
        let status = if lease.is_some() { Status::Leased } else { Status::Pending };
        query
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
            .bind(row.collapsed.map(|(_, latest)| latest.micros()))
            .bind(row.collapsed.map_or(0, |(count, _)| count))
            .bind(delivery.dedupe_key.as_deref())
            .bind(None::<i64>)
    });
    let messages: Vec<(Uuid, String)> = rows
        .iter()
        .filter_map(|row| {
            let message = row.delivery.message.as_ref()?;
            Some((row.delivery.id.uuid(), serde_json::to_string(message).ok()?))
        })
        .collect();
    run_bulk!(tx, MESSAGES, &messages[..], |query, row| query.bind(row.0).bind(row.1.as_str()));
    Ok(())
}

/// After the commit: deliveries go on in memory, watchers hear of them.
pub(super) fn hand_over(handover: &Handover, watchers: &Watchers, plan: Planned) {
    match plan.failed {
        Some(ModuleFailed::Retry(_)) => {}
        Some(ModuleFailed::Dead { .. }) | None => watchers.tell(plan.event.id, || {
            let ids = |d: &Draft| (d.delivery.id, d.delivery.endpoint_id);
            Notice::Planned { deliveries: plan.deliveries.iter().map(ids).collect() }
        }),
    }
    for draft in plan.deliveries {
        draft.hand_over(handover, &plan.event);
    }
}
