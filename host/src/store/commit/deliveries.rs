//! Writing deliveries.
//!
//! Most are inserted in bulk. One that collapses (smart mode) takes the place of the delivery of
//! its record that still waits, so it is written by itself.

use crate::crypto::digest::ShortDigest;
use crate::model::delivery::{CollapseKey, DeliveryStatus, NewDelivery};
use crate::model::event::Event;
use crate::model::id::DeliveryId;
use crate::store::db::{BoundRow, FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use crate::store::prefetch::{LeasedDelivery, QueuePermit, WorkPrefetch};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::sync::Arc;

/// A delivery to be written, with its place in memory if it is born leased.
#[derive(Debug)]
pub struct DeliveryDraft {
    pub delivery: NewDelivery,
    /// Its place in memory.
    pub slot: Option<QueuePermit>,
}

/// Makes other writers of PostgreSQL wait that collapse deliveries of the same records. Between
/// looking for the one that waits and writing the one that takes its place, another writer must
/// not do the same: one of the two would be refused. Everybody takes the locks in one order, and
/// first of all; `more` are those of other things. SQLite has one writer.
pub async fn lock_rows<'d>(
    tx: &mut WriteTransaction<'_>,
    drafts: impl Iterator<Item = &'d DeliveryDraft>,
    more: impl Iterator<Item = i64>,
) -> Result<(), StoreError> {
    if matches!(tx, WriteTransaction::Sqlite(_)) {
        return Ok(());
    }
    let key = |draft: &DeliveryDraft| {
        let collapse = draft.delivery.collapse.as_ref()?;
        let endpoint = draft.delivery.endpoint_id.uuid();
        let digest = ShortDigest::of([endpoint.as_bytes().as_slice(), collapse.key.as_bytes()]);
        Some(i64::from_be_bytes(digest.bytes().first_chunk().copied().unwrap_or_default()))
    };
    let mut keys: Vec<i64> = drafts.filter_map(key).chain(more).collect();
    keys.sort_unstable();
    keys.dedup();
    tx.lock_keys(&keys).await
}

/// Writes deliveries: most in bulk, the collapsing ones one by one.
pub async fn write_deliveries(
    tx: &mut WriteTransaction<'_>,
    drafts: &mut [&mut DeliveryDraft],
) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(drafts.len());
    for draft in drafts.iter_mut() {
        let Some(collapse) = draft.delivery.collapse.clone() else {
            rows.push(WrittenDelivery { delivery: &draft.delivery, collapsed: None });
            continue;
        };
        // Another of the same batch may collapse into it, so it must stand in the table now.
        match collapse_into(tx, &mut draft.delivery, collapse).await? {
            CollapseOutcome::Waits { collapsed, latest } => {
                let collapsed = Some((collapsed, latest));
                let row = WrittenDelivery { delivery: &draft.delivery, collapsed };
                insert_deliveries(tx, &[row]).await?;
            }
            CollapseOutcome::Superseded => {
                draft.delivery.collapse = None;
                let row = WrittenDelivery { delivery: &draft.delivery, collapsed: None };
                insert_deliveries(tx, &[row]).await?;
                let settle = SqlQuery::new(statements::SETTLE_SUPERSEDED)
                    .bind(draft.delivery.id)
                    .bind(draft.delivery.id.created_at());
                tx.execute(settle).await?;
            }
        }
    }
    insert_deliveries(tx, &rows).await
}

/// What becomes of a delivery that collapses.
enum CollapseOutcome {
    /// It waits, in the place of so many others, until then at the latest.
    Waits { collapsed: i32, latest: Timestamp },
    /// One of a newer event waits already: this one must not be sent.
    Superseded,
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

/// The delivery that waited and is superseded.
struct SupersededDelivery {
    collapsed: i32,
    /// When it would have been sent at the latest.
    latest: Timestamp,
}

impl FromStoredRow for SupersededDelivery {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { collapsed: row.get("collapsed")?, latest: row.get("collapse_by")? })
    }
}

/// Puts a delivery in the place of the one of its record that still waits, if one does. Plans of
/// events come to their ends in any order, and an event may be replayed: the newest event is sent,
/// whichever was written last.
async fn collapse_into(
    tx: &mut WriteTransaction<'_>,
    delivery: &mut NewDelivery,
    collapse: CollapseKey,
) -> Result<CollapseOutcome, StoreError> {
    let supersede = SqlQuery::new(statements::SUPERSEDE)
        .bind(delivery.endpoint_id)
        .bind(collapse.key.as_str())
        .bind(delivery.id.created_at())
        .bind(delivery.event_id);
    let waiting: Option<SupersededDelivery> = tx.fetch_optional(supersede).await?;
    if let Some(SupersededDelivery { collapsed, latest }) = waiting {
        delivery.due_at = delivery.due_at.min(latest);
        return Ok(CollapseOutcome::Waits { collapsed: collapsed + 1, latest });
    }
    // What is born leased is on its way already.
    if delivery.lease.is_none() {
        let count = SqlQuery::new(statements::COUNT_COLLAPSED)
            .bind(delivery.endpoint_id)
            .bind(collapse.key.as_str());
        if tx.execute(count).await? > 0 {
            return Ok(CollapseOutcome::Superseded);
        }
    }
    Ok(CollapseOutcome::Waits { collapsed: 0, latest: collapse.latest })
}

async fn insert_deliveries(
    tx: &mut WriteTransaction<'_>,
    drafts: &[WrittenDelivery<'_>],
) -> Result<(), StoreError> {
    let rows = drafts.iter().map(WrittenDelivery::row).collect();
    tx.execute_bulk(&statements::INSERT_DELIVERY, rows).await?;
    let message = |written: &WrittenDelivery<'_>| {
        let message = written.delivery.message.as_ref()?;
        Some((written.delivery.id, serde_json::to_string(message).ok()?))
    };
    let messages: Vec<(DeliveryId, String)> = drafts.iter().filter_map(message).collect();
    let rows =
        messages.iter().map(|(id, body)| BoundRow::new().bind(*id).bind(body.as_str())).collect();
    tx.execute_bulk(&statements::INSERT_MESSAGE, rows).await.map(drop)
}

impl<'a> WrittenDelivery<'a> {
    fn row(&self) -> BoundRow<'a> {
        let delivery = self.delivery;
        let lease = delivery.lease;
        let status = if lease.is_some() { DeliveryStatus::Leased } else { DeliveryStatus::Pending };
        BoundRow::new()
            .bind(delivery.id)
            .bind(delivery.event_id)
            .bind(delivery.endpoint_id)
            .bind(delivery.flow_id)
            .bind(delivery.event_type.as_str())
            .bind(status.code())
            .bind(lease.map_or(delivery.due_at, |lease| lease.until))
            .bind(lease.map(|lease| lease.token))
            .bind(0_i32)
            .bind(0_i32)
            .bind(delivery.id.created_at())
            .bind(delivery.order_key.as_deref())
            .bind(delivery.collapse.as_ref().map(|c| c.key.as_str()))
            .bind(self.collapsed.map(|(_, latest)| latest))
            .bind(self.collapsed.map_or(0, |(count, _)| count))
            .bind(delivery.dedupe.as_ref().map(|dedupe| dedupe.key.as_str()))
    }
}

impl DeliveryDraft {
    /// Sends it on if it was born leased; otherwise says when the table will hold it due.
    pub fn hand_over(self, prefetch: &WorkPrefetch, event: &Arc<Event>) {
        let delivery = self.delivery;
        let Some(lane) = prefetch.find_lane(delivery.endpoint_id) else { return };
        match (delivery.lease, self.slot) {
            (Some(lease), Some(slot)) => lane.push_delivery(LeasedDelivery {
                claimed: false,
                id: delivery.id,
                event: Arc::clone(event),
                message: delivery.message,
                attempts: 0,
                round_from: 0,
                held_since: None,
                collapsed: None,
                lease,
                slot,
            }),
            _ => lane.note_due(delivery.due_at),
        }
    }
}
