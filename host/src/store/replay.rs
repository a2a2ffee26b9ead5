//! Replays settled work and cancels waiting work.
//!
//! A dead letter stays in the store until its replay succeeds. It is marked while the replay is
//! under way, and the mark is removed if the replay fails for good, so a dead letter is never lost
//! in between.

use super::commit::deliveries::{DeliveryDraft, lock_rows, write_deliveries};
use super::db::{BoundRow, FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use super::query::dead_letters::{DeadSubject, StoredDeadLetter};
use super::query::deliveries::StoredDelivery;
use super::{EventStore, PrunedPayload, StoreError, statements};
use crate::crypto::digest::ShortDigest;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::{DeadLetterId, DeliveryId, EndpointId, EventId, FlowId};
use crate::store::error::database_error::corrupt_value;
use crate::time::timestamp::Timestamp;
use std::sync::Arc;

/// A replay that began: the endpoints and flows to wake, and the time.
struct BegunReplay {
    endpoint: Option<EndpointId>,
    flow: Option<FlowId>,
    due: Timestamp,
}

/// The endpoint of a delivery that was changed.
struct ChangedDelivery {
    endpoint: EndpointId,
}

impl FromStoredRow for ChangedDelivery {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { endpoint: row.get("endpoint_id")? })
    }
}

impl FromStoredRow for PrunedPayload {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { received_at: row.get("received_at")?, pruned_at: row.get("pruned_at")? })
    }
}

impl EventStore {
    /// Deletes a dead letter for good. Returns `false` if it does not exist.
    pub async fn delete_dead_letter(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        let delete = SqlQuery::new(statements::DELETE_DEAD_LETTER).bind(id);
        Ok(self.pool().execute(delete).await? == 1)
    }

    /// Replays dead letters, each due at its time. Skips dead letters that are already being
    /// replayed or no longer exist. Returns the number of replays.
    pub async fn replay_dead_letters(
        &self,
        letters: &[(StoredDeadLetter, Timestamp)],
    ) -> Result<usize, StoreError> {
        let now = self.clock().now();
        let letters: Vec<(StoredDeadLetter, Timestamp)> =
            letters.iter().filter(|(stored, _)| stored.replayed_at.is_none()).cloned().collect();
        let begun = self
            .pool()
            .write(move |tx| Box::pin(async move { replay_letters(tx, &letters, now).await }));
        let begun = begun.await?;
        for replay in &begun {
            self.wake_lane(replay.endpoint, replay.flow, replay.due);
        }
        Ok(begun.len())
    }

    /// Replays a dead delivery with another message, which the delivery keeps. Returns `false` if a
    /// replay is under way or the dead letter no longer exists.
    pub async fn replay_edited_letter(
        &self,
        letter: &StoredDeadLetter,
        delivery: DeliveryId,
        message: &DeliveryMessage,
    ) -> Result<bool, StoreError> {
        let now = self.clock().now();
        let letter = letter.clone();
        let body = serde_json::to_string(message)
            .map_err(|error| corrupt_value("message", "body", &error))?;
        let begun = self.pool().write(move |tx| {
            Box::pin(async move {
                let mark =
                    SqlQuery::new(statements::MARK_LETTER_REPLAYED).bind(letter.id).bind(now);
                if tx.execute(mark).await? == 0 {
                    return Ok(None);
                }
                let put = SqlQuery::new(statements::PUT_MESSAGE).bind(delivery).bind(body.as_str());
                tx.execute(put).await?;
                let begun = replay_subject(tx, &letter.subject, now, now).await?;
                if begun.is_none() {
                    let end = SqlQuery::new(statements::END_LETTER_REPLAY).bind(letter.id);
                    tx.execute(end).await?;
                }
                Ok(begun)
            })
        });
        let begun = begun.await?;
        if let Some(replay) = &begun {
            self.wake_lane(replay.endpoint, replay.flow, replay.due);
        }
        Ok(begun.is_some())
    }

    /// Sends a delivery again, whatever its status: a settled one begins a new round of its
    /// schedule, a waiting one becomes due now. Returns `false` if it is being sent or does not
    /// exist.
    pub async fn replay_delivery(&self, delivery: &StoredDelivery) -> Result<bool, StoreError> {
        let now = self.clock().now();
        let (id, event) = (delivery.id, delivery.event_id);
        let endpoint = self.pool().write(move |tx| {
            Box::pin(async move {
                check_payload(tx, event).await?;
                // The dead letter comes first, in the same order as in the replay of dead letters,
                // so that the two cannot deadlock.
                let mark = SqlQuery::new(statements::MARK_REPLAYED).bind(id).bind(now);
                tx.execute(mark).await?;
                let mut endpoint = replay_delivery(tx, id, now).await?;
                if endpoint.is_none() {
                    let retry = SqlQuery::new(statements::RETRY_NOW).bind(id).bind(now);
                    let waiting: Option<ChangedDelivery> = tx.fetch_optional(retry).await?;
                    endpoint = waiting.map(|delivery| delivery.endpoint);
                }
                Ok(endpoint)
            })
        });
        let endpoint = endpoint.await?;
        let has_begun = endpoint.is_some();
        if has_begun {
            self.wake_lane(endpoint, None, now);
        }
        Ok(has_begun)
    }

    /// Sends settled deliveries again, each in a new round of its schedule and under its own id.
    /// Skips those that are not settled any more, and those of events without a payload. Returns
    /// the number of replays.
    pub async fn replay_deliveries(
        &self,
        deliveries: &[StoredDelivery],
    ) -> Result<usize, StoreError> {
        let now = self.clock().now();
        let deliveries = deliveries.to_vec();
        let begun = self
            .pool()
            .write(move |tx| Box::pin(async move { replay_settled(tx, &deliveries, now).await }));
        let begun = begun.await?;
        for endpoint in &begun {
            self.wake_lane(Some(*endpoint), None, now);
        }
        Ok(begun.len())
    }

    /// Cancels those of the deliveries that are waiting. Returns how many. If this cancels a
    /// replay, its dead letter may be replayed again.
    pub async fn cancel_deliveries(&self, ids: &[DeliveryId]) -> Result<u64, StoreError> {
        let now = self.clock().now();
        let ids = ids.to_vec();
        let cancelled = self.pool().write(move |tx| {
            Box::pin(async move {
                let mut cancelled = 0;
                for id in ids {
                    let cancel = SqlQuery::new(statements::CANCEL_DELIVERY).bind(id).bind(now);
                    let rows = tx.execute(cancel).await?;
                    if rows == 1 {
                        tx.execute(SqlQuery::new(statements::END_REPLAY).bind(id)).await?;
                        let next = vec![BoundRow::new().bind(id).bind(now)];
                        tx.execute_bulk(&statements::UNPARK_NEXT, next).await?;
                    }
                    cancelled += rows;
                }
                Ok(cancelled)
            })
        });
        cancelled.await
    }

    /// Runs the modules of flows on an event again.
    pub async fn replan_event(&self, event: &Event, flows: &[FlowId]) -> Result<(), StoreError> {
        let now = self.clock().now();
        let (id, record_key, replayed) = (event.id, event.record_key(), flows.to_vec());
        let planned = self.pool().write(move |tx| {
            Box::pin(async move {
                check_payload(tx, id).await?;
                for flow in replayed {
                    plan_again(tx, id, flow, now, record_key.as_deref()).await?;
                }
                Ok(())
            })
        });
        planned.await?;
        for flow in flows {
            self.wake_lane(None, Some(*flow), now);
        }
        Ok(())
    }

    /// Inserts deliveries outside the capture of their event, for a replay of flows without
    /// modules.
    pub async fn add_deliveries(
        &self,
        event: &Event,
        drafts: Vec<DeliveryDraft>,
    ) -> Result<(), StoreError> {
        let id = event.id;
        let (drafts, added) = self
            .pool()
            .transact(drafts, move |tx, drafts| {
                Box::pin(async move {
                    lock_rows(tx, drafts.iter(), std::iter::empty()).await?;
                    check_payload(tx, id).await?;
                    let mut rows: Vec<&mut DeliveryDraft> = drafts.iter_mut().collect();
                    write_deliveries(tx, &mut rows).await
                })
            })
            .await;
        added?;
        let event = Arc::new(event.clone());
        for draft in drafts {
            draft.hand_over(self.prefetch(), &event);
        }
        Ok(())
    }

    /// Inserts the delivery of an event that its endpoint never got. Returns `false` if there is
    /// one by now, so that two requests at once make only one.
    pub async fn add_missing_delivery(
        &self,
        event: &Event,
        draft: DeliveryDraft,
    ) -> Result<bool, StoreError> {
        let (id, endpoint) = (event.id, draft.delivery.endpoint_id);
        let (drafts, added) = self
            .pool()
            .transact(vec![draft], move |tx, drafts| {
                Box::pin(async move {
                    let own = missing_delivery_lock(id, endpoint);
                    lock_rows(tx, drafts.iter(), std::iter::once(own)).await?;
                    check_payload(tx, id).await?;
                    let find = SqlQuery::new(statements::FIND_DELIVERY_OF).bind(id).bind(endpoint);
                    if tx.fetch_optional::<()>(find).await?.is_some() {
                        return Ok(false);
                    }
                    let mut rows: Vec<&mut DeliveryDraft> = drafts.iter_mut().collect();
                    write_deliveries(tx, &mut rows).await?;
                    Ok(true)
                })
            })
            .await;
        let is_added = added?;
        if is_added {
            let event = Arc::new(event.clone());
            for draft in drafts {
                draft.hand_over(self.prefetch(), &event);
            }
        }
        Ok(is_added)
    }

    fn wake_lane(&self, endpoint: Option<EndpointId>, flow: Option<FlowId>, due: Timestamp) {
        if let Some(lane) = endpoint.and_then(|id| self.prefetch().find_lane(id)) {
            lane.note_due(due);
        } else if let Some(lane) = flow.and_then(|id| self.prefetch().find_flow_lane(id)) {
            lane.room.wake_claimer();
        }
    }
}

async fn replay_letters(
    tx: &mut WriteTransaction<'_>,
    letters: &[(StoredDeadLetter, Timestamp)],
    now: Timestamp,
) -> Result<Vec<BegunReplay>, StoreError> {
    let mut begun = Vec::new();
    for (stored, due) in letters {
        // The mark comes first: another request may have replayed or deleted the dead letter since
        // it was listed, and that replay may even have succeeded.
        let mark = SqlQuery::new(statements::MARK_LETTER_REPLAYED).bind(stored.id).bind(now);
        if tx.execute(mark).await? == 0 {
            continue;
        }
        if let Some(replay) = replay_subject(tx, &stored.subject, now, *due).await? {
            begun.push(replay);
        } else {
            let end = SqlQuery::new(statements::END_LETTER_REPLAY).bind(stored.id);
            tx.execute(end).await?;
        }
    }
    Ok(begun)
}

/// Returns the lock for inserting the first delivery of an event to an endpoint.
fn missing_delivery_lock(event: EventId, endpoint: EndpointId) -> i64 {
    let (event, endpoint) = (event.uuid(), endpoint.uuid());
    let digest = ShortDigest::of([event.as_bytes().as_slice(), endpoint.as_bytes().as_slice()]);
    i64::from_be_bytes(digest.bytes().first_chunk().copied().unwrap_or_default())
}

/// Replays settled deliveries. Returns the endpoint of each.
async fn replay_settled(
    tx: &mut WriteTransaction<'_>,
    deliveries: &[StoredDelivery],
    now: Timestamp,
) -> Result<Vec<EndpointId>, StoreError> {
    let mut begun = Vec::new();
    for delivery in deliveries {
        match check_payload(tx, delivery.event_id).await {
            Ok(()) => {}
            Err(StoreError::PayloadPruned(_)) => continue,
            Err(error) => return Err(error),
        }
        // The dead letter comes first, as in the replay of one delivery.
        let mark = SqlQuery::new(statements::MARK_REPLAYED).bind(delivery.id).bind(now);
        tx.execute(mark).await?;
        begun.extend(replay_delivery(tx, delivery.id, now).await?);
    }
    Ok(begun)
}

/// Returns an error if the payload of the event is pruned.
async fn check_payload(tx: &mut WriteTransaction<'_>, event: EventId) -> Result<(), StoreError> {
    let query = SqlQuery::new(statements::PAYLOAD_PRUNED).bind(event);
    match tx.fetch_optional(query).await? {
        Some(pruned) => Err(StoreError::PayloadPruned(pruned)),
        None => Ok(()),
    }
}

/// Replays what a dead letter is about: sends the delivery again, runs the modules again, or lets
/// the source read the row again. Returns `None` if the replay did not begin.
async fn replay_subject(
    tx: &mut WriteTransaction<'_>,
    subject: &DeadSubject,
    now: Timestamp,
    due: Timestamp,
) -> Result<Option<BegunReplay>, StoreError> {
    let flow = subject.flow();
    let dead = match subject {
        DeadSubject::Event(dead) => dead,
        DeadSubject::Row(dead) => {
            let request = SqlQuery::new(statements::REQUEST_SOURCE).bind(dead.source_id).bind(now);
            tx.execute(request).await?;
            return Ok(Some(BegunReplay { endpoint: None, flow, due }));
        }
    };
    match (dead.delivery, dead.flow_id) {
        (Some((delivery, endpoint)), _) => {
            let begun = replay_delivery(tx, delivery, due).await?;
            Ok(begun.map(|_| BegunReplay { endpoint: Some(endpoint), flow, due }))
        }
        (None, Some(failed)) => {
            plan_again(tx, dead.event_id, failed, due, None).await?;
            Ok(Some(BegunReplay { endpoint: None, flow, due }))
        }
        (None, None) => Ok(None),
    }
}

async fn replay_delivery(
    tx: &mut WriteTransaction<'_>,
    id: DeliveryId,
    due: Timestamp,
) -> Result<Option<EndpointId>, StoreError> {
    let replay = SqlQuery::new(statements::REPLAY_DELIVERY).bind(id).bind(due);
    let changed: Option<ChangedDelivery> = tx.fetch_optional(replay).await?;
    Ok(changed.map(|delivery| delivery.endpoint))
}

async fn plan_again(
    tx: &mut WriteTransaction<'_>,
    event: EventId,
    flow: FlowId,
    due: Timestamp,
    record_key: Option<&str>,
) -> Result<(), StoreError> {
    let plan =
        SqlQuery::new(statements::PLAN_AGAIN).bind(event).bind(flow).bind(due).bind(record_key);
    tx.execute(plan).await.map(drop)
}
