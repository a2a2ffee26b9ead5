//! Writes the effects of modules besides deliveries and state: counters, cancelled deliveries, and
//! emitted events.

use super::capture::{CaptureReceipt, EventCapture, write_captures};
use super::plan::RecordedPlan;
use crate::model::id::{DeliveryId, EventId, FlowId};
use crate::store::db::{BoundRow, FromStoredRow, StoredRow, WriteTransaction};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::{BTreeMap, HashSet};

impl RecordedPlan {
    /// Returns whether the plan has effects other than state and deliveries.
    pub fn has_effects(&self) -> bool {
        !self.emitted.is_empty()
            || !self.effects.cancelled.is_empty()
            || !self.effects.counts.is_empty()
    }
}

/// Writes the effects of recorded plans. Only deliveries of earlier plans can be cancelled here,
/// because the deliveries of these plans are written later.
pub async fn write_effects(
    tx: &mut WriteTransaction<'_>,
    plans: &mut [&mut RecordedPlan],
) -> Result<(), StoreError> {
    add_counts(tx, plans).await?;
    cancel_named(tx, plans).await?;
    write_emitted(tx, plans).await
}

async fn add_counts(
    tx: &mut WriteTransaction<'_>,
    plans: &[&mut RecordedPlan],
) -> Result<(), StoreError> {
    // Every writer uses this order, so that two writers cannot deadlock.
    let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for ((module, name), by) in plans.iter().flat_map(|plan| &plan.effects.counts) {
        let count = counts.entry((module.as_str(), name.as_str())).or_default();
        *count = count.saturating_add(i64::try_from(*by).unwrap_or(i64::MAX));
    }
    let rows = counts
        .iter()
        .map(|((module, name), by)| BoundRow::new().bind(*module).bind(*name).bind(*by));
    tx.execute_bulk(&statements::ADD_TO_COUNTER, rows.collect()).await.map(drop)
}

async fn cancel_named(
    tx: &mut WriteTransaction<'_>,
    plans: &[&mut RecordedPlan],
) -> Result<(), StoreError> {
    let mut names: BTreeMap<(FlowId, &str), Timestamp> = BTreeMap::new();
    for plan in plans {
        names.extend(plan.effects.cancelled.iter().map(|key| ((plan.flow, key.as_str()), plan.at)));
    }
    if names.is_empty() {
        return Ok(());
    }
    let rows = names.iter().map(|(name, at)| name_row(*name).bind(*at)).collect();
    tx.execute_bulk(&statements::CANCEL_NAMED, rows).await?;
    let gone = names.keys().map(|name| name_row(*name)).collect();
    tx.execute_bulk(&statements::DELETE_CANCEL_KEYS, gone).await.map(drop)
}

fn name_row((flow, key): (FlowId, &str)) -> BoundRow<'_> {
    BoundRow::new().bind(flow).bind(key)
}

/// The id of an event that is stored.
struct StoredEventId(EventId);

impl FromStoredRow for StoredEventId {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        row.get("id").map(Self)
    }
}

/// Returns the events among these that are stored already.
pub async fn find_stored(
    tx: &mut WriteTransaction<'_>,
    captures: impl IntoIterator<Item = &EventCapture>,
) -> Result<HashSet<EventId>, StoreError> {
    let captures = captures.into_iter();
    let rows: Vec<_> = captures.map(|capture| BoundRow::new().bind(capture.event.id)).collect();
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let stored: Vec<StoredEventId> = tx.fetch_bulk(&statements::STORED_EVENTS, rows).await?;
    Ok(stored.into_iter().map(|StoredEventId(id)| id).collect())
}

/// Captures the events that modules emitted. The id of an emitted event follows from its parent, so
/// if it is stored already, it comes from an earlier plan of the same parent.
async fn write_emitted(
    tx: &mut WriteTransaction<'_>,
    plans: &mut [&mut RecordedPlan],
) -> Result<(), StoreError> {
    let emitted = plans.iter().flat_map(|plan| &plan.emitted);
    let stored = find_stored(tx, emitted).await?;
    for plan in plans.iter_mut() {
        plan.emitted.retain(|capture| !stored.contains(&capture.event.id));
    }
    let mut captures: Vec<&mut EventCapture> =
        plans.iter_mut().flat_map(|plan| plan.emitted.iter_mut()).collect();
    let mut receipts = write_captures(tx, &mut captures).await?.into_iter().flatten();
    for plan in plans.iter_mut() {
        let count = plan.emitted.len();
        plan.receipts = receipts.by_ref().take(count).collect::<Vec<CaptureReceipt>>();
    }
    Ok(())
}

/// Writes the names under which the plans' deliveries can be cancelled.
pub async fn write_cancel_keys(
    tx: &mut WriteTransaction<'_>,
    plans: &[&mut RecordedPlan],
) -> Result<(), StoreError> {
    let mut names: Vec<(DeliveryId, FlowId, &str)> = Vec::new();
    for plan in plans {
        names.extend(plan.deliveries.iter().filter_map(|draft| {
            let key = draft.delivery.cancel_key.as_deref()?;
            Some((draft.delivery.id, plan.flow, key))
        }));
    }
    let rows = names.iter().map(|(id, flow, key)| BoundRow::new().bind(*id).bind(*flow).bind(*key));
    tx.execute_bulk(&statements::INSERT_CANCEL_KEY, rows.collect()).await.map(drop)
}
