//! Appending events, with the part of their plans that is known without running a module.

use super::batch::WriteBatch;
use super::handover::{LeasedDelivery, LeasedPlanning, QueuePermit, WorkPrefetch};
use super::plan::{DeliveryDraft, write_deliveries};
use super::value::BoundRow;
use super::{StoreError, records, statements};
use crate::crypto::digest::ShortDigest;
use crate::model::delivery::WorkLease;
use crate::model::event::Event;
use crate::model::id::{EventId, FlowId};
use crate::model::record::RecordChange;
use crate::time::timestamp::Timestamp;
use sqlx::PgPool;
use sqlx::types::Uuid;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long a source's repeats are recognised.
pub const DEDUPE: Duration = Duration::from_hours(24);

/// An event to append.
#[derive(Debug)]
pub struct EventCapture {
    pub event: Arc<Event>,
    /// By what a repeat from the same source is recognised.
    pub keys: Vec<String>,
    /// Keys that an earlier event may have noted, if this one repeats it. They are only looked up.
    pub earlier_keys: Vec<String>,
    /// The key that its request carries, if it carries one.
    pub idempotency: Option<IdempotencyKeys>,
    /// Deliveries of flows and endpoints without modules.
    pub deliveries: Vec<DeliveryDraft>,
    /// Flows whose modules are to run.
    pub plannings: Vec<NewPlanning>,
    /// How many flows and endpoints took it.
    pub matched: usize,
    /// Why flows and endpoints did not take it that would have if they were enabled; the flow is
    /// `None` for an endpoint's own `events`.
    pub skipped: Vec<(Option<FlowId>, String)>,
    /// What it says of its record, if the catalogue knows its type.
    pub record: Option<RecordChange>,
}

/// A flow whose modules are to run for an event.
#[derive(Debug)]
pub struct NewPlanning {
    pub flow: FlowId,
    /// Leased to this process, if there was room.
    pub leased: Option<(WorkLease, QueuePermit)>,
    /// When to begin otherwise.
    pub due_at: Timestamp,
    /// The record whose later deliveries must wait for it, where an endpoint keeps order.
    pub record_key: Option<String>,
}

/// A request's `Idempotency-Key` as one of its events has it. The same key may come again with the
/// same request only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKeys {
    /// The key, and the event's place in the request.
    pub key: String,
    /// Digest of the request, the same for all of its events.
    pub request: ShortDigest,
}

/// What became of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureReceipt {
    /// The event's id; the first one's if this is a repeat.
    pub id: EventId,
    /// Whether it is a repeat, which caused nothing.
    pub duplicate: bool,
}

/// Writes the captures that are no repeats. The receipts of a request whose `Idempotency-Key` came
/// with another request before are `None`, and nothing of it is written.
pub async fn write_captures(
    tx: &mut WriteBatch<'_>,
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
    records::write_states(tx, &fresh).await?;
    write_plannings(tx, &fresh).await?;
    write_skipped(tx, &fresh).await?;
    let mut drafts: Vec<&mut DeliveryDraft> =
        fresh.into_iter().flat_map(|c| c.deliveries.iter_mut()).collect();
    write_deliveries(tx, &mut drafts).await?;
    Ok(receipts)
}

/// Writes captures that are no more than events, records and plain deliveries as one statement,
/// which on PostgreSQL is one message there and back instead of four; `false` where there is more
/// to them, and nothing was written.
pub async fn write_at_once(db: &PgPool, captures: &[&EventCapture]) -> Result<bool, StoreError> {
    if !captures.iter().all(|capture| capture.is_plain()) {
        return Ok(false);
    }
    let events: Vec<BoundRow<'_>> = captures.iter().map(|capture| event_row(capture)).collect();
    let drafts = captures.iter().flat_map(|capture| &capture.deliveries);
    let deliveries: Vec<BoundRow<'_>> = drafts.map(DeliveryDraft::plain_row).collect();
    let rows = [events.as_slice(), &records::rows(captures), &deliveries];
    statements::CAPTURE_POSTGRES.bind(&rows).execute(db).await?;
    Ok(true)
}

impl EventCapture {
    /// Whether nothing has to be looked up for it.
    fn is_plain(&self) -> bool {
        self.keys.is_empty()
            && self.idempotency.is_none()
            && self.plannings.is_empty()
            && self.skipped.is_empty()
            && self.deliveries.iter().all(DeliveryDraft::is_plain)
    }
}

/// A source and a key of its, as they are kept.
type CaptureKey = Vec<u8>;

/// The longest that is kept as it is, in bytes. Short ones are ids of most systems, which grow and
/// so go to the end of the index; long ones are signatures and the like, in no order.
const LONGEST_KEY: usize = 40;

/// The keys of a capture, as they are kept.
struct CaptureKeys {
    /// By what a repeat of the event is recognised.
    repeat: Vec<CaptureKey>,
    /// What an earlier event may have noted.
    earlier: Vec<CaptureKey>,
    /// The request's key: alone, and together with what the request holds.
    request: Option<[CaptureKey; 2]>,
}

impl CaptureKeys {
    fn of(capture: &EventCapture) -> Self {
        let source = capture.event.source.as_str();
        let request = capture.idempotency.as_ref().map(|idempotency| {
            let digest = hex::encode(idempotency.request.bytes());
            let key = &idempotency.key;
            [
                stored(source, &format!("request {key}")),
                stored(source, &format!("body {digest} {key}")),
            ]
        });
        let kept = |keys: &[String]| keys.iter().map(|key| stored(source, key)).collect();
        Self { repeat: kept(&capture.keys), earlier: kept(&capture.earlier_keys), request }
    }

    fn all(&self) -> impl Iterator<Item = &CaptureKey> {
        self.repeat.iter().chain(&self.earlier).chain(self.request.iter().flatten())
    }

    /// Whether the request's key is known, but from another request.
    fn is_reused(&self, known: &HashMap<CaptureKey, EventId>) -> bool {
        self.request.as_ref().is_some_and(|[key, with_body]| {
            known.contains_key(key) && !known.contains_key(with_body)
        })
    }

    /// The event that this one repeats.
    fn first(&self, known: &HashMap<CaptureKey, EventId>) -> Option<EventId> {
        let with_body = self.request.iter().map(|[_, with_body]| with_body);
        let keys = self.repeat.iter().chain(&self.earlier).chain(with_body);
        keys.into_iter().find_map(|key| known.get(key).copied())
    }
}

fn stored(source: &str, key: &str) -> CaptureKey {
    match u8::try_from(source.len()) {
        // With its length, so that `ab c` and `a bc` differ.
        Ok(length) if source.len() + key.len() <= LONGEST_KEY => {
            [&[length], source.as_bytes(), key.as_bytes()].concat()
        }
        Ok(_) | Err(_) => ShortDigest::of([source, key]).bytes().to_vec(),
    }
}

/// Tells repeats from new events, and notes the keys of the new ones. `None` for all events of a
/// request whose key came with another request before.
async fn recognise_repeats(
    tx: &mut WriteBatch<'_>,
    captures: &[&mut EventCapture],
) -> Result<Vec<Option<CaptureReceipt>>, StoreError> {
    let keys: Vec<CaptureKeys> = captures.iter().map(|capture| CaptureKeys::of(capture)).collect();
    let at = captures.iter().map(|capture| capture.event.received_at);
    let mut wanted: Vec<(&CaptureKey, Timestamp)> =
        keys.iter().zip(at).flat_map(|(keys, at)| keys.all().map(move |key| (key, at))).collect();
    // In one order everywhere, so that two writers cannot wait for each other.
    wanted.sort();
    wanted.dedup_by_key(|(key, _)| *key);
    let mut known = if wanted.is_empty() { HashMap::new() } else { lookup(tx, &wanted).await? };
    let mut fresh = BTreeMap::new();
    let mut receipts = Vec::with_capacity(captures.len());
    let mut rest = captures.iter().zip(keys).peekable();
    while let Some((first, _)) = rest.peek() {
        let request = first.idempotency.as_ref().map(|idempotency| idempotency.request);
        let mut of_request: Vec<(&&mut EventCapture, CaptureKeys)> =
            rest.next().into_iter().collect();
        while request.is_some()
            && let Some(more) = rest.next_if(|(capture, _)| {
                capture.idempotency.as_ref().map(|idempotency| idempotency.request) == request
            })
        {
            of_request.push(more);
        }
        if of_request.iter().any(|(_, keys)| keys.is_reused(&known)) {
            receipts.extend(of_request.iter().map(|_| None));
            continue;
        }
        for (capture, keys) in of_request {
            receipts.push(Some(note(capture, keys, &mut known, &mut fresh)));
        }
    }
    if !fresh.is_empty() {
        remember_keys(tx, fresh).await?;
    }
    Ok(receipts)
}

/// Keys to be kept, each with the event that it stands for and the time it was captured.
type FreshKeys = BTreeMap<CaptureKey, (EventId, Timestamp)>;

/// Tells whether an event is a repeat. The keys of a new one are to be kept; of a repeat those of
/// its request, so that they too are bound to what the request holds.
fn note(
    capture: &EventCapture,
    keys: CaptureKeys,
    known: &mut HashMap<CaptureKey, EventId>,
    fresh: &mut FreshKeys,
) -> CaptureReceipt {
    let first = keys.first(known);
    let id = first.unwrap_or(capture.event.id);
    let repeat = if first.is_some() { Vec::new() } else { keys.repeat };
    for key in repeat.into_iter().chain(keys.request.into_iter().flatten()) {
        if known.insert(key.clone(), id).is_none() {
            fresh.insert(key, (id, capture.event.received_at));
        }
    }
    CaptureReceipt { id, duplicate: first.is_some() }
}

async fn lookup(
    tx: &mut WriteBatch<'_>,
    wanted: &[(&CaptureKey, Timestamp)],
) -> Result<HashMap<CaptureKey, EventId>, StoreError> {
    let rows = wanted.iter().map(|(key, _)| BoundRow::new().bind(key.as_slice())).collect();
    let found: Vec<(CaptureKey, Uuid, i64)> =
        tx.fetch(&statements::SELECT_CAPTURE_KEY, rows).await?;
    let oldest = wanted.iter().map(|(_, at)| at.micros()).min().unwrap_or_default();
    let lasting = found.into_iter().filter(|(.., expires_at)| *expires_at > oldest);
    Ok(lasting.map(|(key, id, _)| (key, EventId::from_uuid(id))).collect())
}

async fn remember_keys(tx: &mut WriteBatch<'_>, fresh: FreshKeys) -> Result<(), StoreError> {
    let rows = fresh.iter().map(key_row).collect();
    let noted = tx.run(&statements::INSERT_CAPTURE_KEY, rows).await?;
    // Another node noted one of the keys since the look-up: this transaction is of no use.
    if noted == fresh.len() as u64 { Ok(()) } else { Err(StoreError::Raced) }
}

fn key_row<'k>((key, (id, at)): (&'k CaptureKey, &(EventId, Timestamp))) -> BoundRow<'k> {
    BoundRow::new().bind(key.as_slice()).bind(id.uuid()).bind(at.after(DEDUPE).micros())
}

async fn write_events(
    tx: &mut WriteBatch<'_>,
    fresh: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let rows = fresh.iter().map(|capture| event_row(capture)).collect();
    tx.run(&statements::INSERT_EVENT, rows).await.map(drop)
}

fn event_row(capture: &EventCapture) -> BoundRow<'_> {
    let event = &capture.event;
    BoundRow::new()
        .bind(event.id.uuid())
        .bind(event.source.as_str())
        .bind(event.event_type.as_str())
        .bind(event.resource.as_deref())
        .bind(event.resource_id.as_deref())
        .bind(event.external_id.as_deref())
        .bind(event.occurred_at.map(Timestamp::micros))
        .bind(event.received_at.micros())
        .bind(event.attributes.as_ref().map(|a| a.get()))
        .bind(event.changes.as_ref().map(|c| c.get()))
        .bind(event.data.get())
        .bind(i16::try_from(capture.matched).unwrap_or(i16::MAX))
}

/// Notes in the trace who did not take an event.
async fn write_skipped(
    tx: &mut WriteBatch<'_>,
    fresh: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let mut notes = Vec::new();
    for capture in fresh {
        for (flow, reason) in &capture.skipped {
            let steps = serde_json::json!([{
                "module": null, "version": null, "role": "endpoint", "verdict": "skipped", "reason": reason,
                "duration_us": 0,
            }]);
            let flow = flow.map_or_else(Uuid::nil, FlowId::uuid);
            notes.push((&capture.event, flow, steps.to_string()));
        }
    }
    let rows = notes
        .iter()
        .map(|(event, flow, steps)| {
            let row = BoundRow::new().bind(event.id.uuid()).bind(*flow);
            row.bind(event.received_at.micros()).bind(steps.as_str())
        })
        .collect();
    tx.run(&statements::INSERT_PLAN, rows).await.map(drop)
}

async fn write_plannings(
    tx: &mut WriteBatch<'_>,
    fresh: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let rows = fresh
        .iter()
        .flat_map(|c| c.plannings.iter().map(|planning| planning_row(&c.event, planning)))
        .collect();
    tx.run(&statements::INSERT_PLANNING, rows).await.map(drop)
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

/// After the commit: what was born leased goes on in memory.
pub fn hand_over(
    handover: &WorkPrefetch,
    captures: Vec<EventCapture>,
    receipts: &[CaptureReceipt],
) {
    for (capture, receipt) in captures.into_iter().zip(receipts) {
        if receipt.duplicate {
            continue;
        }
        for planning in capture.plannings {
            let Some(lane) = handover.find_flow_lane(planning.flow) else { continue };
            match planning.leased {
                Some((lease, slot)) => lane.push(LeasedPlanning {
                    claimed: false,
                    event: Arc::clone(&capture.event),
                    flow: planning.flow,
                    attempts: 0,
                    deaths: 0,
                    lease,
                    slot,
                }),
                None => lane.room.nudge(),
            }
        }
        for draft in capture.deliveries {
            draft.hand_over(handover, &capture.event);
        }
    }
}

impl DeliveryDraft {
    /// Sends it on if it was born leased; otherwise says when the table will hold it due.
    pub fn hand_over(self, handover: &WorkPrefetch, event: &Arc<Event>) {
        let delivery = self.delivery;
        let Some(lane) = handover.find_lane(delivery.endpoint_id) else { return };
        match (delivery.lease, self.slot) {
            (Some(lease), Some(slot)) => lane.push(LeasedDelivery {
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
            _ => lane.due(delivery.due_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_kept_alike() {
        let long = "x".repeat(100);
        let names = ["", "a", "ab", "abc", long.as_str()];
        let pairs = names.iter().flat_map(|source| names.map(|key| (*source, key)));
        let kept: Vec<CaptureKey> = pairs.map(|(source, key)| stored(source, key)).collect();
        assert!(kept.iter().all(|key| key.len() <= LONGEST_KEY + 1), "{kept:?}");
        let mut apart = kept.clone();
        apart.sort();
        apart.dedup();
        assert_eq!(apart.len(), kept.len());
        assert!(stored("crm", "id msg_1") < stored("crm", "id msg_2"), "what grows stays in order");
    }
}
