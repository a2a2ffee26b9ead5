//! The dead-letter store, and bringing things back.
//!
//! A dead letter stays in the store until its replay succeeds: while the replay is under way it is
//! marked, when the replay fails for good the mark is cleared, and nothing is ever lost in between.

use super::batch::WriteBatch;
use super::pool::{WriteTransaction, reading, writing};
use super::views::{PrunedPayload, StoredDelivery, condition};
use super::window::{ListPage, ListWindow, until_id};
use super::{EventStore, StoreError, row, statements};
use crate::model::delivery::DeliveryStatus;
use crate::model::event::Event;
use crate::model::id::{DeadLetterId, DeliveryId, EndpointId, EventId, FlowId, SourceId};
use crate::time::timestamp::Timestamp;
use sqlx::types::Uuid;

/// A dead letter as it stands.
#[derive(Debug, Clone)]
pub struct StoredDeadLetter {
    pub id: DeadLetterId,
    /// What died.
    pub subject: DeadSubject,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
    /// When it died.
    pub created_at: Timestamp,
    /// When a replay of it began that has not ended yet.
    pub replayed_at: Option<Timestamp>,
}

/// What is in the dead-letter store.
#[derive(Debug, Clone)]
pub enum DeadSubject {
    /// A delivery, or an event whose modules failed.
    Event(DeadEvent),
    /// A row of a source, of which there is no event.
    Row(DeadRow),
}

impl DeadSubject {
    /// The flow whose modules failed.
    const fn flow(&self) -> Option<FlowId> {
        match self {
            Self::Event(dead) => dead.flow_id,
            Self::Row(_) => None,
        }
    }
}

/// A delivery that died, or an event whose modules failed.
#[derive(Debug, Clone)]
pub struct DeadEvent {
    pub event_id: EventId,
    pub event_type: String,
    /// The delivery and its endpoint; `None` where the event's modules failed.
    pub delivery: Option<(DeliveryId, EndpointId)>,
    /// The flow that planned the delivery, or whose modules failed.
    pub flow_id: Option<FlowId>,
}

/// A row that a source could not read or tell.
#[derive(Debug, Clone)]
pub struct DeadRow {
    pub source_id: SourceId,
    /// The table or list that the row stands in.
    pub list: String,
    /// The row's key, or where it stands.
    pub row_id: String,
}

/// Which dead letters to list.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Only to this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only of this source: its rows, and events of that name.
    pub source: Option<(SourceId, String)>,
    /// Only of this kind: `delivery`, `event` or `row`.
    pub kind: Option<&'static str>,
    /// Only of deliveries in this status; one that is being replayed is not dead.
    pub status: Option<DeliveryStatus>,
    /// Only of this event type.
    pub event_type: Option<String>,
    /// Only for this reason.
    pub reason: Option<String>,
    /// Died then or later.
    pub since: Option<Timestamp>,
    /// Died earlier.
    pub until: Option<Timestamp>,
}

impl DeadLetterFilter {
    /// Whether rows are left out for another reason than an end of their time.
    const fn is_narrow(&self) -> bool {
        self.endpoint.is_some()
            || self.source.is_some()
            || self.kind.is_some()
            || self.status.is_some()
            || self.event_type.is_some()
            || self.reason.is_some()
            || self.since.is_some()
    }

    /// The source's name and id, as statements take them.
    fn source(&self) -> (Option<&str>, Uuid) {
        self.source.as_ref().map_or((None, Uuid::nil()), |(id, name)| (Some(name), id.uuid()))
    }
}

type DeadLetterRow = (
    Uuid,
    Option<Uuid>,
    Option<String>,
    Option<Uuid>,
    Option<Uuid>,
    Option<Uuid>,
    Option<Uuid>,
    Option<String>,
    Option<String>,
    Option<i64>,
    String,
    String,
    i64,
    Option<i64>,
);

fn decode(letter: DeadLetterRow) -> Result<StoredDeadLetter, StoreError> {
    let (id, event, event_type, delivery, endpoint, flow, source, list, row_id, ..) = letter;
    let (.., reason, detail, created_at, replayed_at) = letter;
    let subject = match (event, event_type, source, list, row_id) {
        (Some(event), Some(event_type), ..) => DeadSubject::Event(DeadEvent {
            event_id: EventId::from_uuid(event),
            event_type,
            delivery: delivery
                .zip(endpoint)
                .map(|(id, to)| (DeliveryId::from_uuid(id), EndpointId::from_uuid(to))),
            flow_id: flow.map(FlowId::from_uuid),
        }),
        (.., Some(source), Some(list), Some(row_id)) => {
            DeadSubject::Row(DeadRow { source_id: SourceId::from_uuid(source), list, row_id })
        }
        _ => return Err(row::corrupt_value("dead_letter", "event_id", &"it is of nothing")),
    };
    Ok(StoredDeadLetter {
        id: DeadLetterId::from_uuid(id),
        subject,
        reason,
        detail,
        created_at: Timestamp::from_micros(created_at),
        replayed_at: replayed_at.map(Timestamp::from_micros),
    })
}

impl EventStore {
    /// A page of dead letters, newest first, older than `before`.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        before: Option<DeadLetterId>,
        limit: u32,
    ) -> Result<ListPage<StoredDeadLetter, DeadLetterId>, StoreError> {
        // One whose replay failed keeps its id and gets a later time: no lower bound.
        let until = until_id(filter.until, |at| DeadLetterId::first_at(at).uuid());
        let bounds = before.map(DeadLetterId::uuid).into_iter().chain(until);
        let mut window = ListWindow::between(None, bounds);
        if filter.is_narrow() {
            window = self.cut(window, statements::DEAD_LETTER_FLOOR).await?;
        }
        let (to, endpoint) = condition(filter.endpoint.map(EndpointId::uuid));
        let (source_name, source) = filter.source();
        let rows: Vec<DeadLetterRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_DEAD_LETTERS)
                .bind(window.before)
                .bind(window.from)
                .bind(to)
                .bind(endpoint)
                .bind(filter.event_type.as_deref())
                .bind(filter.reason.as_deref())
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.until.map(Timestamp::micros))
                .bind(source_name)
                .bind(source)
                .bind(filter.kind)
                .bind(filter.status.map(DeliveryStatus::code))
                .bind(i64::from(limit) + 1)
                .fetch_all(db)
                .await?);
        let rows: Result<Vec<StoredDeadLetter>, StoreError> =
            rows.into_iter().map(decode).collect();
        let page = window.page(rows?, limit, |row| row.id.uuid());
        Ok(page.with_ids(DeadLetterId::from_uuid))
    }

    /// How many dead letters match that are not being replayed.
    pub async fn count_dead_letters(&self, filter: &DeadLetterFilter) -> Result<u64, StoreError> {
        let (to, endpoint) = condition(filter.endpoint.map(EndpointId::uuid));
        let (source_name, source) = filter.source();
        let (count,): (i64,) =
            reading!(self.pool(), |db| sqlx::query_as(statements::COUNT_DEAD_LETTERS)
                .bind(to)
                .bind(endpoint)
                .bind(filter.event_type.as_deref())
                .bind(filter.reason.as_deref())
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.until.map(Timestamp::micros))
                .bind(source_name)
                .bind(source)
                .bind(filter.kind)
                .bind(filter.status.map(DeliveryStatus::code))
                .fetch_one(db)
                .await?);
        Ok(count.unsigned_abs())
    }

    /// One dead letter.
    pub async fn dead_letter(
        &self,
        id: DeadLetterId,
    ) -> Result<Option<StoredDeadLetter>, StoreError> {
        let row: Option<DeadLetterRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_DEAD_LETTER)
                .bind(id.uuid())
                .fetch_optional(db)
                .await?);
        row.map(decode).transpose()
    }

    /// Removes a dead letter for good; `false` if there is none.
    pub async fn delete_dead_letter(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        let mut tx = self.pool().begin().await?;
        let rows = writing!(&mut tx, |db| sqlx::query(statements::DELETE_DEAD_LETTER)
            .bind(id.uuid())
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Replays dead letters, each due at its time. Those already being replayed are left alone. How
    /// many were begun.
    pub async fn replay(
        &self,
        letters: &[(StoredDeadLetter, Timestamp)],
    ) -> Result<usize, StoreError> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        let mut begun = Vec::new();
        for (stored, due) in letters.iter().filter(|(stored, _)| stored.replayed_at.is_none()) {
            let (done, endpoint) = replay_subject(&mut tx, &stored.subject, now, *due).await?;
            if done {
                writing!(&mut tx, |db| sqlx::query(statements::MARK_PLAN_REPLAYED)
                    .bind(stored.id.uuid())
                    .bind(now.micros())
                    .execute(db)
                    .await?
                    .rows_affected());
                begun.push((endpoint, stored.subject.flow(), *due));
            }
        }
        tx.commit().await?;
        for (endpoint, flow, due) in &begun {
            self.wake(*endpoint, *flow, *due);
        }
        Ok(begun.len())
    }

    /// Sends a delivery once more, whatever became of it: a settled one begins a new round of its
    /// schedule, a waiting one is tried now. `false` if it is being sent or does not exist.
    pub async fn replay_delivery(&self, delivery: &StoredDelivery) -> Result<bool, StoreError> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        check_payload(&mut tx, delivery.event_id).await?;
        let mut endpoint = replay_delivery(&mut tx, delivery.id, now).await?;
        if endpoint.is_none() {
            let row: Option<(Uuid,)> =
                writing!(&mut tx, |db| sqlx::query_as(statements::RETRY_NOW)
                    .bind(delivery.id.uuid())
                    .bind(now.micros())
                    .fetch_optional(db)
                    .await?);
            endpoint = row.map(|(id,)| EndpointId::from_uuid(id));
        }
        writing!(&mut tx, |db| sqlx::query(statements::MARK_REPLAYED)
            .bind(delivery.id.uuid())
            .bind(now.micros())
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        let begun = endpoint.is_some();
        if begun {
            self.wake(endpoint, None, now);
        }
        Ok(begun)
    }

    /// Calls off those of the deliveries that wait; how many. The dead letter of a replay that is
    /// called off may be replayed again.
    pub async fn cancel_deliveries(&self, ids: &[DeliveryId]) -> Result<u64, StoreError> {
        let now = self.clock().now();
        let mut cancelled = 0;
        let mut tx = self.pool().begin().await?;
        for id in ids {
            let rows = writing!(&mut tx, |db| sqlx::query(statements::CANCEL_DELIVERY)
                .bind(id.uuid())
                .bind(now.micros())
                .execute(db)
                .await?
                .rows_affected());
            if rows == 1 {
                writing!(&mut tx, |db| sqlx::query(statements::END_REPLAY)
                    .bind(id.uuid())
                    .execute(db)
                    .await?
                    .rows_affected());
            }
            cancelled += rows;
        }
        tx.commit().await?;
        Ok(cancelled)
    }

    /// Has the modules of flows run on an event once more.
    pub async fn plan_again(&self, event: &Event, flows: &[FlowId]) -> Result<(), StoreError> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        check_payload(&mut tx, event.id).await?;
        for flow in flows {
            plan_again(&mut tx, event.id, *flow, now, event.record_key()).await?;
        }
        tx.commit().await?;
        for flow in flows {
            self.wake(None, Some(*flow), now);
        }
        Ok(())
    }

    /// Writes deliveries outside the capture of their event: a replay of flows without modules.
    pub async fn add_deliveries(
        &self,
        event: &Event,
        drafts: Vec<super::plan::DeliveryDraft>,
    ) -> Result<(), StoreError> {
        let mut drafts = drafts;
        let mut tx = self.pool().begin().await?;
        check_payload(&mut tx, event.id).await?;
        let mut rows: Vec<&mut super::plan::DeliveryDraft> = drafts.iter_mut().collect();
        super::plan::write_deliveries(&mut WriteBatch::Tx(&mut tx), &mut rows).await?;
        tx.commit().await?;
        let event = std::sync::Arc::new(event.clone());
        for draft in drafts {
            draft.hand_over(self.handover(), &event);
        }
        Ok(())
    }

    fn wake(&self, endpoint: Option<EndpointId>, flow: Option<FlowId>, due: Timestamp) {
        if let Some(lane) = endpoint.and_then(|id| self.handover().find_lane(id)) {
            lane.due(due);
        } else if let Some(lane) = flow.and_then(|id| self.handover().find_flow_lane(id)) {
            lane.room.nudge();
        }
    }
}

/// Refuses to begin anything with an event whose payload is pruned.
async fn check_payload(tx: &mut WriteTransaction, event: EventId) -> Result<(), StoreError> {
    let row: Option<(i64, i64)> = writing!(tx, |db| sqlx::query_as(statements::PAYLOAD_PRUNED)
        .bind(event.uuid())
        .fetch_optional(&mut *db)
        .await?);
    let Some((received_at, pruned_at)) = row else { return Ok(()) };
    Err(StoreError::PayloadPruned(PrunedPayload {
        received_at: Timestamp::from_micros(received_at),
        pruned_at: Timestamp::from_micros(pruned_at),
    }))
}

/// Brings back what died: sends the delivery again, runs the modules again, or has the source read
/// the row again. Whether that began, and at which endpoint.
async fn replay_subject(
    tx: &mut WriteTransaction,
    subject: &DeadSubject,
    now: Timestamp,
    due: Timestamp,
) -> Result<(bool, Option<EndpointId>), StoreError> {
    let dead = match subject {
        DeadSubject::Event(dead) => dead,
        DeadSubject::Row(dead) => {
            writing!(tx, |db| sqlx::query(statements::REQUEST_SOURCE)
                .bind(dead.source_id.uuid())
                .bind(now.micros())
                .execute(db)
                .await?
                .rows_affected());
            return Ok((true, None));
        }
    };
    match (dead.delivery, dead.flow_id) {
        (Some((delivery, endpoint)), _) => {
            let begun = replay_delivery(tx, delivery, due).await?.is_some();
            Ok((begun, Some(endpoint)))
        }
        (None, Some(flow)) => {
            plan_again(tx, dead.event_id, flow, due, None).await?;
            Ok((true, None))
        }
        (None, None) => Ok((false, None)),
    }
}

async fn replay_delivery(
    tx: &mut WriteTransaction,
    id: DeliveryId,
    due: Timestamp,
) -> Result<Option<EndpointId>, StoreError> {
    let row: Option<(Uuid,)> = writing!(tx, |db| sqlx::query_as(statements::REPLAY_DELIVERY)
        .bind(id.uuid())
        .bind(due.micros())
        .fetch_optional(db)
        .await?);
    Ok(row.map(|(id,)| EndpointId::from_uuid(id)))
}

async fn plan_again(
    tx: &mut WriteTransaction,
    event: EventId,
    flow: FlowId,
    due: Timestamp,
    record_key: Option<String>,
) -> Result<(), StoreError> {
    writing!(tx, |db| sqlx::query(statements::PLAN_AGAIN)
        .bind(event.uuid())
        .bind(flow.uuid())
        .bind(due.micros())
        .bind(record_key)
        .execute(db)
        .await?
        .rows_affected());
    Ok(())
}
