//! Offers: due deliveries that a consumer fetches under a lease and commits.
//!
//! An offer is a claim whose token is negative. It belongs to its consumer and not to this process,
//! so it outlives a restart of the node that made it, and nobody takes it over before its end.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::prefetch::{EndpointLane, LeasedDelivery};
use super::release::release_claim;
use super::{EventStore, StoreError, statements};
use crate::model::delivery::WorkLease;
use crate::model::id::{DeliveryId, EndpointId, EventId};
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// Most expired offers that one call lists. Further ones are offered again without being counted.
const MOST_EXPIRED: i64 = 1_000;

/// A delivery that was offered and is not committed.
#[derive(Debug, Clone)]
pub struct OfferedDelivery {
    pub id: DeliveryId,
    pub event: EventId,
    pub event_type: String,
    /// Number of attempts before this offer.
    pub attempts: i32,
    /// Number of attempts before the present round of the schedule.
    pub round_from: i32,
    /// Time at which the receiver first asked for a pause in this round.
    pub held_since: Option<Timestamp>,
    pub lease: WorkLease,
}

impl FromStoredRow for OfferedDelivery {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            event: row.get("event_id")?,
            event_type: row.get("event_type")?,
            attempts: row.get("attempts")?,
            round_from: row.get("round_from")?,
            held_since: row.get("held_since")?,
            lease: WorkLease { token: row.get("lease")?, until: row.get("due_at")? },
        })
    }
}

impl EventStore {
    /// Leases deliveries that are due at `now` to a consumer for `hold`, at most `most` and as many
    /// as there is memory for. They have one lease.
    pub async fn offer_deliveries(
        &self,
        lane: &EndpointLane,
        ordered: bool,
        (now, hold): (Timestamp, Duration),
        most: usize,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        // Tokens of nodes are positive.
        let token = rand::random::<i64>() | i64::MIN;
        let lease = WorkLease { token, until: now.after(hold) };
        let offered = self.claim_under(lane, ordered, (lease, now), most).await?;
        if let Some(lease) = offered.first().map(|one| one.lease) {
            let mark = offer_query(statements::MARK_OFFER, lane.endpoint, lease);
            if let Err(error) = self.pool().execute(mark.promptly()).await {
                self.release_later(&release_claim(lane.endpoint, lease, now), lease);
                return Err(error);
            }
        }
        Ok(offered)
    }

    /// Returns the deliveries of an offer that its consumer still holds.
    pub async fn list_offered(
        &self,
        endpoint: EndpointId,
        lease: WorkLease,
    ) -> Result<Vec<OfferedDelivery>, StoreError> {
        self.pool().fetch_all(offer_query(statements::OFFERED, endpoint, lease)).await
    }

    /// Returns deliveries of an endpoint whose offers ended by `now` without a commit.
    pub async fn list_expired_offers(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
    ) -> Result<Vec<OfferedDelivery>, StoreError> {
        let query =
            SqlQuery::new(statements::EXPIRED_OFFERS).bind(endpoint).bind(now).bind(MOST_EXPIRED);
        self.pool().fetch_all(query).await
    }
}

fn offer_query(text: &'static str, endpoint: EndpointId, lease: WorkLease) -> SqlQuery<'static> {
    SqlQuery::new(text).bind(endpoint).bind(lease.until).bind(lease.token)
}
