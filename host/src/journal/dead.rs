//! The dead-letter store, and bringing things back.
//!
//! A dead letter stays in the store until its replay succeeds: while the replay is under way it is
//! marked, when the replay fails for good the mark is cleared, and nothing is ever lost in between.

use super::batch::Batch;
use super::pool::{Tx, reading, writing};
use super::views::{Delivery, DeliveryFilter, PrunedPayload, condition};
use super::{Error, Journal, statements};
use crate::domain::delivery::DeadLetter;
use crate::domain::event::Event;
use crate::domain::id::{DeadLetterId, DeliveryId, EndpointId, EventId, FlowId};
use crate::domain::time::Timestamp;
use sqlx::types::Uuid;

/// A dead letter as it stands.
#[derive(Debug, Clone)]
pub struct StoredDeadLetter {
    /// The dead letter.
    pub letter: DeadLetter,
    /// When a replay of it began that has not ended yet.
    pub replayed_at: Option<Timestamp>,
}

type DeadLetterRow = (
    Uuid,
    Uuid,
    String,
    Option<Uuid>,
    Option<Uuid>,
    Option<Uuid>,
    String,
    String,
    i64,
    Option<i64>,
);

fn decode(row: DeadLetterRow) -> StoredDeadLetter {
    StoredDeadLetter {
        letter: DeadLetter {
            id: DeadLetterId::from_uuid(row.0),
            event_id: EventId::from_uuid(row.1),
            event_type: row.2,
            delivery_id: row.3.map(DeliveryId::from_uuid),
            endpoint_id: row.4.map(EndpointId::from_uuid),
            flow_id: row.5.map(FlowId::from_uuid),
            reason: row.6,
            detail: row.7,
            created_at: Timestamp::from_micros(row.8),
        },
        replayed_at: row.9.map(Timestamp::from_micros),
    }
}

impl Journal {
    /// Dead letters, newest first, older than `before`.
    pub async fn dead_letters(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeadLetterId>,
        limit: u32,
    ) -> Result<Vec<StoredDeadLetter>, Error> {
        let (older, id) = condition(before.map(DeadLetterId::uuid));
        let (to, endpoint) = condition(filter.endpoint.map(EndpointId::uuid));
        let rows: Vec<DeadLetterRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_DEAD_LETTERS)
                .bind(older)
                .bind(id)
                .bind(to)
                .bind(endpoint)
                .bind(filter.event_type.as_deref())
                .bind(filter.reason.as_deref())
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.until.map(Timestamp::micros))
                .bind(i64::from(limit))
                .fetch_all(db)
                .await?);
        Ok(rows.into_iter().map(decode).collect())
    }

    /// How many dead letters match that are not being replayed.
    pub async fn count_dead_letters(&self, filter: &DeliveryFilter) -> Result<u64, Error> {
        let (to, endpoint) = condition(filter.endpoint.map(EndpointId::uuid));
        let (count,): (i64,) =
            reading!(self.pool(), |db| sqlx::query_as(statements::COUNT_DEAD_LETTERS)
                .bind(to)
                .bind(endpoint)
                .bind(filter.event_type.as_deref())
                .bind(filter.reason.as_deref())
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.until.map(Timestamp::micros))
                .fetch_one(db)
                .await?);
        Ok(count.unsigned_abs())
    }

    /// One dead letter.
    pub async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<StoredDeadLetter>, Error> {
        let row: Option<DeadLetterRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_DEAD_LETTER)
                .bind(id.uuid())
                .fetch_optional(db)
                .await?);
        Ok(row.map(decode))
    }

    /// Removes a dead letter for good; `false` if there is none.
    pub async fn delete_dead_letter(&self, id: DeadLetterId) -> Result<bool, Error> {
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
    pub async fn replay(&self, letters: &[(StoredDeadLetter, Timestamp)]) -> Result<usize, Error> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        let mut begun = Vec::new();
        for (stored, due) in letters.iter().filter(|(stored, _)| stored.replayed_at.is_none()) {
            let letter = &stored.letter;
            let done = match (letter.delivery_id, letter.flow_id) {
                (Some(delivery), _) => replay_delivery(&mut tx, delivery, *due).await?.is_some(),
                (None, Some(flow)) => {
                    plan_again(&mut tx, letter.event_id, flow, *due, None).await?;
                    true
                }
                (None, None) => false,
            };
            if done {
                writing!(&mut tx, |db| sqlx::query(statements::MARK_PLAN_REPLAYED)
                    .bind(letter.id.uuid())
                    .bind(now.micros())
                    .execute(db)
                    .await?
                    .rows_affected());
                begun.push((letter.endpoint_id, *due));
            }
        }
        tx.commit().await?;
        for (endpoint, due) in &begun {
            self.wake(*endpoint, *due);
        }
        Ok(begun.len())
    }

    /// Sends a delivery once more, whatever became of it: a settled one begins a new round of its
    /// schedule, a waiting one is tried now. `false` if it is being sent or does not exist.
    pub async fn replay_delivery(&self, delivery: &Delivery) -> Result<bool, Error> {
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
            self.wake(endpoint, now);
        }
        Ok(begun)
    }

    /// Calls off a delivery that waits; `false` if it does not.
    pub async fn cancel_delivery(&self, id: DeliveryId) -> Result<bool, Error> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        let rows = writing!(&mut tx, |db| sqlx::query(statements::CANCEL_DELIVERY)
            .bind(id.uuid())
            .bind(now.micros())
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Has the modules of flows run on an event once more.
    pub async fn plan_again(&self, event: &Event, flows: &[FlowId]) -> Result<(), Error> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        check_payload(&mut tx, event.id).await?;
        for flow in flows {
            plan_again(&mut tx, event.id, *flow, now, event.record_key()).await?;
        }
        tx.commit().await?;
        self.wake(None, now);
        Ok(())
    }

    /// Writes deliveries outside the capture of their event: a replay of flows without modules.
    pub async fn add_deliveries(
        &self,
        event: &Event,
        drafts: Vec<super::plan::Draft>,
    ) -> Result<(), Error> {
        let mut drafts = drafts;
        let mut tx = self.pool().begin().await?;
        check_payload(&mut tx, event.id).await?;
        let mut rows: Vec<&mut super::plan::Draft> = drafts.iter_mut().collect();
        super::plan::write_deliveries(&mut Batch::Tx(&mut tx), &mut rows).await?;
        tx.commit().await?;
        let event = std::sync::Arc::new(event.clone());
        for draft in drafts {
            draft.hand_over(self.handover(), &event);
        }
        Ok(())
    }

    fn wake(&self, endpoint: Option<EndpointId>, due: Timestamp) {
        match endpoint.and_then(|id| self.handover().find_lane(id)) {
            Some(lane) => lane.due(due),
            None => self.handover().planning_room().nudge(),
        }
    }
}

/// Refuses to begin anything with an event whose payload is pruned.
async fn check_payload(tx: &mut Tx, event: EventId) -> Result<(), Error> {
    let row: Option<(i64, i64)> = writing!(tx, |db| sqlx::query_as(statements::PAYLOAD_PRUNED)
        .bind(event.uuid())
        .fetch_optional(&mut *db)
        .await?);
    let Some((received_at, pruned_at)) = row else { return Ok(()) };
    Err(Error::PayloadPruned(PrunedPayload {
        received_at: Timestamp::from_micros(received_at),
        pruned_at: Timestamp::from_micros(pruned_at),
    }))
}

async fn replay_delivery(
    tx: &mut Tx,
    id: DeliveryId,
    due: Timestamp,
) -> Result<Option<EndpointId>, Error> {
    let row: Option<(Uuid,)> = writing!(tx, |db| sqlx::query_as(statements::REPLAY_DELIVERY)
        .bind(id.uuid())
        .bind(due.micros())
        .fetch_optional(db)
        .await?);
    Ok(row.map(|(id,)| EndpointId::from_uuid(id)))
}

async fn plan_again(
    tx: &mut Tx,
    event: EventId,
    flow: FlowId,
    due: Timestamp,
    record_key: Option<String>,
) -> Result<(), Error> {
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
