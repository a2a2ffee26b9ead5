//! Writes deliveries.
//!
//! Most are inserted in bulk. A delivery that collapses (smart mode) replaces the waiting delivery
//! of its record, so it is written separately.

use crate::crypto::digest::ShortDigest;
use crate::model::delivery::{CollapseKey, DeliveryStatus, NewDelivery};
use crate::model::event::Event;
use crate::model::id::DeliveryId;
use crate::store::db::{BoundRow, FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use crate::store::packed_text::{bind_packed, pack_text};
use crate::store::prefetch::{LeasedDelivery, QueuePermit, WorkPrefetch};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::sync::Arc;

/// A delivery to be written, with its place in memory if it is inserted leased.
#[derive(Debug)]
pub struct DeliveryDraft {
    pub delivery: NewDelivery,
    pub slot: Option<QueuePermit>,
}

/// Locks the records whose deliveries collapse, on PostgreSQL. Between the search for the waiting
/// delivery and the insert of its replacement no other writer may do the same, because the database
/// would refuse one of the two. Every writer takes these locks first and in the same order; `more`
/// are further locks. SQLite has one writer.
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

/// Writes deliveries: most in bulk, those that collapse one by one.
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
        // Another delivery of the same batch may collapse into this one, so it must be in the table
        // now.
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

/// The result of collapsing a delivery.
enum CollapseOutcome {
    /// The delivery waits in the place of `collapsed` others, until `latest` at the latest.
    Waits { collapsed: i32, latest: Timestamp },
    /// A delivery of a newer event is already waiting, so this one must not be sent.
    Superseded,
}

/// A delivery as it is written, with the count of deliveries that it replaces.
struct WrittenDelivery<'a> {
    delivery: &'a NewDelivery,
    collapsed: Option<(i32, Timestamp)>,
}

impl DeliveryDraft {
    /// Returns whether the delivery can be written without a lookup and sends the event as
    /// captured.
    pub const fn is_plain(&self) -> bool {
        self.delivery.collapse.is_none()
            && self.delivery.dedupe.is_none()
            && self.delivery.message.is_none()
    }

    /// Returns the row of a plain delivery.
    pub fn plain_row(&self) -> BoundRow<'_> {
        WrittenDelivery { delivery: &self.delivery, collapsed: None }.row()
    }
}

/// The waiting delivery that is superseded.
struct SupersededDelivery {
    collapsed: i32,
    /// The latest time at which it would have been sent.
    latest: Timestamp,
}

impl FromStoredRow for SupersededDelivery {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { collapsed: row.get("collapsed")?, latest: row.get("collapse_by")? })
    }
}

/// Replaces the waiting delivery of the same record, if there is one. Plans of events finish in any
/// order, and an event may be replayed: the newest event is sent, regardless of the order of
/// writing.
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
    // A delivery that is inserted leased is already being sent.
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
    let packed: Vec<_> = messages.iter().map(|(_, body)| pack_text(body)).collect();
    let rows = messages.iter().zip(&packed).map(|((id, body), packed)| {
        bind_packed(BoundRow::new().bind(*id), Some(body), packed.as_deref())
    });
    let rows = rows.collect();
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
    /// Passes the delivery on if it was inserted leased. Otherwise tells the lane when the delivery
    /// will be due.
    pub fn hand_over(self, prefetch: &WorkPrefetch, event: &Arc<Event>) {
        let delivery = self.delivery;
        let Some(lane) = prefetch.find_lane(delivery.endpoint_id) else { return };
        match (delivery.lease, self.slot) {
            (Some(lease), Some(slot)) => lane.push_delivery(LeasedDelivery {
                claimed: false,
                id: delivery.id,
                event: Arc::clone(event),
                flow: delivery.flow_id,
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
