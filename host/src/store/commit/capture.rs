//! Appends events, with the part of their plans that is known without running a module.

use super::deliveries::{DeliveryDraft, write_deliveries};
use super::records;
use super::repeats::recognise_repeats;
use crate::crypto::digest::ShortDigest;
use crate::model::delivery::WorkLease;
use crate::model::event::Event;
use crate::model::id::{EventId, FlowId};
use crate::model::record::RecordChange;
use crate::model::skipped_route::SkippedRoute;
use crate::store::db::{BoundRow, DatabaseDialect, DatabasePool, SqlQuery, WriteTransaction};
use crate::store::packed_text::{bind_packed, pack_text};
use crate::store::prefetch::{LeasedPlanning, QueuePermit, WorkPrefetch};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::sync::Arc;
use uuid::Uuid;

/// An event to append.
#[derive(Debug)]
pub struct EventCapture {
    pub event: Arc<Event>,
    /// Keys by which a repeat from the same source is recognised.
    pub keys: Vec<String>,
    /// Keys that an earlier event may have stored, if this one repeats it. They are only looked up.
    pub earlier_keys: Vec<String>,
    /// The request's `Idempotency-Key`, if it has one.
    pub idempotency: Option<IdempotencyKeys>,
    /// Deliveries of flows and endpoints without modules.
    pub deliveries: Vec<DeliveryDraft>,
    /// Flows whose modules are to run.
    pub plannings: Vec<NewPlanning>,
    /// Number of flows and endpoints that matched the event.
    pub matched: usize,
    /// Why flows and endpoints with a matching event type did not match: they are disabled, or
    /// their `where` excluded the event.
    pub skipped: Vec<SkippedRoute>,
    /// The change of the event's record, if the catalogue knows the event type.
    pub record: Option<RecordChange>,
    /// The indexed fields of the record, with their values.
    pub indexed: Vec<(String, String)>,
    /// The event's data, compressed. Set when the capture is submitted.
    pub packed: Option<Vec<u8>>,
}

/// A flow whose modules are to run on an event.
#[derive(Debug)]
pub struct NewPlanning {
    pub flow: FlowId,
    /// The lease of this process, if there was room for the work in memory.
    pub leased: Option<(WorkLease, QueuePermit)>,
    /// Time to begin if the planning is not leased.
    pub due_at: Timestamp,
    /// The record whose later deliveries must wait for this planning. Set if an endpoint keeps
    /// order.
    pub record_key: Option<String>,
}

/// The `Idempotency-Key` of a request, for one of its events. A key may be used again only with the
/// same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKeys {
    /// The key, and the position of the event in the request.
    pub key: String,
    /// Digest of the request, the same for all of its events.
    pub request: ShortDigest,
    /// Whether the sender was told that the request is durable, as the capture log does. If its key
    /// was used before, it is then captured without the key instead of refused.
    pub is_acknowledged: bool,
}

/// The result of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureReceipt {
    /// Id of the event. For a repeat, the id of the first event.
    pub id: EventId,
    /// Whether the event is a repeat, which has no effect.
    pub duplicate: bool,
}

/// Writes the captures that are not repeats. If the `Idempotency-Key` of a request was used with
/// another request before, nothing of the request is written and its receipts are `None`.
pub async fn write_captures(
    tx: &mut WriteTransaction<'_>,
    captures: &mut [&mut EventCapture],
) -> Result<Vec<Option<CaptureReceipt>>, StoreError> {
    let receipts = recognise_repeats(tx, captures).await?;
    let fresh: Vec<&mut EventCapture> = captures
        .iter_mut()
        .zip(&receipts)
        .filter(|(_, receipt)| receipt.is_some_and(|receipt| !receipt.duplicate))
        .map(|(capture, _)| &mut **capture)
        .collect();
    write_events(tx, &fresh).await?;
    records::write_records(tx, &fresh).await?;
    write_plannings(tx, &fresh).await?;
    write_skipped(tx, &fresh).await?;
    let mut drafts: Vec<&mut DeliveryDraft> =
        fresh.into_iter().flat_map(|c| c.deliveries.iter_mut()).collect();
    write_deliveries(tx, &mut drafts).await?;
    Ok(receipts)
}

/// Writes captures that consist only of events, records and plain deliveries with one statement,
/// which saves PostgreSQL three round trips of four. Returns `false` and writes nothing if a
/// capture needs more, and on SQLite.
pub async fn write_at_once(
    pool: &DatabasePool,
    captures: &[&EventCapture],
    proofs: &[SqlQuery<'_>],
) -> Result<bool, StoreError> {
    if pool.dialect() == DatabaseDialect::Sqlite
        || !captures.iter().all(|capture| capture.is_plain())
    {
        return Ok(false);
    }
    let events: Vec<BoundRow<'_>> = captures.iter().map(|capture| event_row(capture)).collect();
    let drafts = captures.iter().flat_map(|capture| &capture.deliveries);
    let deliveries: Vec<BoundRow<'_>> = drafts.map(DeliveryDraft::plain_row).collect();
    let rows = [events.as_slice(), &records::record_rows(captures), &deliveries];
    pool.insert_at_once(&statements::CAPTURE_POSTGRES, &rows, proofs).await
}

impl EventCapture {
    /// Compresses the event's data.
    pub fn pack_data(&mut self) {
        self.packed = pack_text(self.event.data.get());
    }

    /// Returns whether the capture can be written without any lookup.
    fn is_plain(&self) -> bool {
        self.keys.is_empty()
            && self.idempotency.is_none()
            && self.plannings.is_empty()
            && self.skipped.is_empty()
            && self.indexed.is_empty()
            && self.deliveries.iter().all(DeliveryDraft::is_plain)
    }
}

async fn write_events(
    tx: &mut WriteTransaction<'_>,
    fresh: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let rows = fresh.iter().map(|capture| event_row(capture)).collect();
    tx.execute_bulk(&statements::INSERT_EVENT, rows).await.map(drop)
}

fn event_row(capture: &EventCapture) -> BoundRow<'_> {
    let event = &capture.event;
    let row = BoundRow::new()
        .bind(event.id.uuid())
        .bind(event.source.as_str())
        .bind(event.event_type.as_str())
        .bind(event.resource.as_deref())
        .bind(event.resource_id.as_deref())
        .bind(event.external_id.as_deref())
        .bind(event.occurred_at.map(Timestamp::micros))
        .bind(event.received_at.micros())
        .bind(event.attributes.as_ref().map(|a| a.get()))
        .bind(event.changes.as_ref().map(|c| c.get()));
    bind_packed(row, Some(event.data.get()), capture.packed.as_deref())
        .bind(i16::try_from(capture.matched).unwrap_or(i16::MAX))
}

/// Records in the trace which flows and endpoints did not match an event.
async fn write_skipped(
    tx: &mut WriteTransaction<'_>,
    fresh: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let mut notes = Vec::new();
    for capture in fresh {
        for skip in &capture.skipped {
            let flow = skip.flow.map_or_else(Uuid::nil, FlowId::uuid);
            notes.push((&capture.event, flow, skip.steps()));
        }
    }
    let rows = notes
        .iter()
        .map(|(event, flow, steps)| {
            let row = BoundRow::new().bind(event.id.uuid()).bind(*flow);
            row.bind(event.received_at.micros()).bind(steps.as_str()).bind(None::<&str>)
        })
        .collect();
    tx.execute_bulk(&statements::INSERT_PLAN, rows).await.map(drop)
}

async fn write_plannings(
    tx: &mut WriteTransaction<'_>,
    fresh: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let rows = fresh
        .iter()
        .flat_map(|c| c.plannings.iter().map(|planning| planning_row(&c.event, planning)))
        .collect();
    tx.execute_bulk(&statements::INSERT_PLANNING, rows).await.map(drop)
}

fn planning_row<'q>(event: &Event, planning: &'q NewPlanning) -> BoundRow<'q> {
    let lease = planning.leased.as_ref().map(|(lease, _)| *lease);
    BoundRow::new()
        .bind(event.id.uuid())
        .bind(planning.flow.uuid())
        .bind(lease.map_or(planning.due_at, |lease| lease.until).micros())
        .bind(lease.map(|lease| lease.token))
        .bind(0_i32)
        .bind(planning.record_key.as_deref())
}

/// Passes work that was inserted leased to the next stage. Called after the commit.
pub fn hand_over(
    prefetch: &WorkPrefetch,
    captures: Vec<EventCapture>,
    receipts: &[CaptureReceipt],
) {
    for (capture, receipt) in captures.into_iter().zip(receipts) {
        if receipt.duplicate {
            continue;
        }
        for planning in capture.plannings {
            let Some(lane) = prefetch.find_flow_lane(planning.flow) else { continue };
            match planning.leased {
                Some((lease, slot)) => lane.push_planning(LeasedPlanning {
                    claimed: false,
                    event: Arc::clone(&capture.event),
                    flow: planning.flow,
                    attempts: 0,
                    deaths: 0,
                    lease,
                    slot,
                }),
                None => lane.room.wake_claimer(),
            }
        }
        for draft in capture.deliveries {
            draft.hand_over(prefetch, &capture.event);
        }
    }
}
