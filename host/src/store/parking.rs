//! Setting aside what an ordered endpoint cannot send yet.
//!
//! At an ordered endpoint a delivery waits for the earlier ones of its record. When the receiver is
//! away, nearly everything that is due is blocked so. A claim looks at the first 512 that are due.
//! If it finds less than it has room for, though more are due, the next claim first parks what
//! is blocked: it is due when the one before it is, and is marked. Whoever settles the one before
//! makes it due at once. So each claim costs the same, however many wait.
//!
//! A parked delivery comes back by itself within an hour, whatever became of the one before it: a
//! deletion, or a node of an earlier version, makes nothing due.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::prefetch::EndpointLane;
use super::{EventStore, StoreError, statements};
use crate::model::id::EndpointId;
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// For how long a delivery is parked at least, and at most.
const PARKED_FOR: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// How often one claim parks before it goes on: 8,192 deliveries.
const ROUNDS: usize = 16;

/// What an ordered endpoint has due next.
struct OrderedQueue {
    due_at: Timestamp,
    /// When the last that a claim looks at is due, if there are as many.
    last_at: Option<Timestamp>,
}

impl FromStoredRow for OrderedQueue {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { due_at: row.get("due_at")?, last_at: row.get("last_at")? })
    }
}

impl EventStore {
    /// Parks what is due and blocked at an ordered endpoint, at most 8,192 deliveries.
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
            if self.pool().execute(park).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Notes when an ordered endpoint next has something due, whether memory may take new work
    /// again, and whether blocked deliveries may hide others.
    pub async fn look_ahead_in_order(
        &self,
        lane: &EndpointLane,
        is_full: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let query = SqlQuery::new(statements::NEXT_DUE_IN_ORDER).bind(lane.endpoint);
        let next: Option<OrderedQueue> = self.pool().fetch_optional(query).await?;
        let last_at = next.as_ref().and_then(|next| next.last_at);
        lane.note_crowd(!is_full && last_at.is_some_and(|at| at <= now));
        lane.set_next_due(next.map(|next| next.due_at));
        lane.room.note_claim(is_full);
        Ok(())
    }

    /// Makes due what is parked at an endpoint that keeps order no more.
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
