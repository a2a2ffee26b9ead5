//! Parks deliveries that an ordered endpoint cannot send yet.
//!
//! At an ordered endpoint a delivery waits for the earlier ones of its record. When the receiver is
//! away, this blocks nearly every due delivery. A claim examines the first 512 due deliveries. If
//! it finds fewer than it has room for although more are due, the next claim first parks the
//! blocked ones: each is marked and becomes due together with the delivery before it. Settling that
//! delivery makes the parked one due at once. So the cost of a claim does not depend on the number
//! of waiting deliveries.
//!
//! A parked delivery becomes due again within an hour in any case, because a deletion, or a node of
//! an earlier version, does not make it due.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::prefetch::EndpointLane;
use super::{EventStore, StoreError, statements};
use crate::model::id::EndpointId;
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// Shortest and longest time for which a delivery is parked.
const PARKED_FOR: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// Largest number of parking statements before one claim: 8,192 deliveries.
const ROUNDS: usize = 16;

/// The next due times of an ordered endpoint.
struct OrderedQueue {
    due_at: Timestamp,
    /// Due time of the last delivery that a claim examines. `None` if fewer are waiting.
    last_at: Option<Timestamp>,
}

impl FromStoredRow for OrderedQueue {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { due_at: row.get("due_at")?, last_at: row.get("last_at")? })
    }
}

impl EventStore {
    /// Parks the due and blocked deliveries of an ordered endpoint, at most 8,192.
    pub async fn park_blocked(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let text = self
            .pool()
            .choose_statement(statements::PARK_BLOCKED_SQLITE, statements::PARK_BLOCKED_POSTGRES);
        for _ in 0..ROUNDS {
            let park = SqlQuery::new(text)
                .bind(endpoint)
                .bind(now)
                .bind(now.after(PARKED_FOR.0))
                .bind(now.after(PARKED_FOR.1));
            if self.pool().execute(park.promptly()).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Records when an ordered endpoint has its next due delivery, whether memory may take new work
    /// again, and whether blocked deliveries may hide others.
    pub async fn look_ahead_in_order(
        &self,
        lane: &EndpointLane,
        is_full: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let query = SqlQuery::new(statements::NEXT_DUE_IN_ORDER).bind(lane.endpoint).promptly();
        let next: Option<OrderedQueue> = self.pool().fetch_optional(query).await?;
        let last_at = next.as_ref().and_then(|next| next.last_at);
        lane.note_crowd(!is_full && last_at.is_some_and(|at| at <= now));
        lane.set_next_due(next.map(|next| next.due_at));
        lane.room.note_claim(is_full);
        Ok(())
    }

    /// Makes the parked deliveries of an endpoint due that no longer keeps order.
    pub async fn unpark_endpoint(&self, endpoint: EndpointId) -> Result<(), StoreError> {
        let now = self.clock().now();
        let unpark = SqlQuery::new(statements::UNPARK_ENDPOINT).bind(endpoint).bind(now);
        let unparked = self.pool().execute(unpark).await?;
        if let Some(lane) = self.prefetch().find_lane(endpoint).filter(|_| unparked > 0) {
            lane.note_due(now);
        }
        Ok(())
    }
}
