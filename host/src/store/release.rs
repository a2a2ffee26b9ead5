//! Releases work that this process leased and does not work on.

use super::db::SqlQuery;
use super::late_releases::LateRelease;
use super::{EventStore, StoreError, statements};
use crate::model::delivery::WorkLease;
use crate::model::id::{DeliveryId, EndpointId, EventId, FlowId};
use crate::time::timestamp::Timestamp;
use uuid::Uuid;

/// Most late releases of one round, each a transaction of its own. Those that are left are first in
/// the next round.
const LATE_AT_ONCE: usize = 256;

impl EventStore {
    /// Releases the deliveries that do not fit into memory: those after the last one that was kept.
    pub async fn release_rest(
        &self,
        endpoint: EndpointId,
        lease: WorkLease,
        due: Timestamp,
        last: Uuid,
    ) -> Result<(), StoreError> {
        let release = SqlQuery::new(statements::RELEASE_REST)
            .bind(endpoint)
            .bind(lease.until)
            .bind(lease.token)
            .bind(due)
            .bind(last);
        self.pool().execute(release.promptly()).await.map(drop)
    }

    /// Releases deliveries that this process will not send.
    pub async fn release_deliveries(
        &self,
        deliveries: &[(DeliveryId, WorkLease)],
        due: Timestamp,
    ) -> Result<(), StoreError> {
        self.give_back(deliveries, due, None).await
    }

    /// Releases deliveries until their receiver's hold ends. [`Self::lift_hold`] makes them due
    /// earlier.
    pub async fn hold_deliveries(
        &self,
        deliveries: &[(DeliveryId, WorkLease)],
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.give_back(deliveries, until, Some(until)).await
    }

    async fn give_back(
        &self,
        deliveries: &[(DeliveryId, WorkLease)],
        due: Timestamp,
        held_until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let release = move |(delivery, lease): (DeliveryId, WorkLease)| {
            let release = SqlQuery::new(statements::RELEASE).bind(delivery);
            release.bind(lease.token).bind(due).bind(held_until)
        };
        let all = deliveries.to_vec();
        let releasing = self.pool().write_promptly(move |tx| {
            Box::pin(async move {
                for one in all {
                    tx.execute(release(one)).await?;
                }
                Ok(())
            })
        });
        let released = releasing.await;
        if released.is_err() {
            for one in deliveries {
                self.release_later(&release(*one), one.1);
            }
        }
        released
    }

    /// Releases the plannings that do not fit into memory: those after the last one that was kept.
    pub async fn release_rest_of_planning(
        &self,
        lease: WorkLease,
        due: Timestamp,
        (event, flow): (Uuid, Uuid),
    ) -> Result<(), StoreError> {
        let release = SqlQuery::new(statements::RELEASE_REST_PLANNING)
            .bind(lease.until)
            .bind(lease.token)
            .bind(due)
            .bind(event)
            .bind(flow);
        self.pool().execute(release.promptly()).await.map(drop)
    }

    /// Releases a planning that this process holds and will not run.
    pub async fn release_planning(
        &self,
        (event, flow): (EventId, FlowId),
        lease: WorkLease,
        due: Timestamp,
    ) -> Result<(), StoreError> {
        let release = SqlQuery::new(statements::RELEASE_PLANNING)
            .bind(event)
            .bind(flow)
            .bind(lease.token)
            .bind(due);
        self.pool().execute(release.promptly()).await.map(drop)
    }

    /// Has an event planned again whose plan could not be recorded. A plan that was recorded after
    /// all has no planning left.
    pub fn release_unrecorded(&self, (event, flow): (EventId, FlowId), lease: WorkLease) {
        let release = SqlQuery::new(statements::RELEASE_PLANNING).bind(event).bind(flow);
        self.release_later(&release.bind(lease.token).bind(self.clock().now()), lease);
    }

    /// Has a lease released as soon as the database answers. `statement` releases its rows.
    pub fn release_later(&self, statement: &SqlQuery<'_>, lease: WorkLease) {
        let statement = statement.to_owned();
        self.inner.late_releases.note(LateRelease { statement, lease });
    }

    /// Makes the oldest of the releases that are still to be made. One that finds no row is made again
    /// until its lease is over, because the commit of the lease may still be under way.
    pub async fn release_late(&self) -> Result<(), StoreError> {
        let late = &self.inner.late_releases;
        let (mut again, mut result) = (Vec::new(), Ok(()));
        for release in late.take(self.clock().now(), LATE_AT_ONCE) {
            let made = match &result {
                Ok(()) => self.pool().execute(release.statement.borrow().promptly()).await,
                Err(_failed) => Ok(0),
            };
            match made {
                Ok(0) => again.push(release),
                Ok(_released) => {}
                Err(error) => {
                    again.push(release);
                    result = Err(error);
                }
            }
        }
        for release in again {
            late.note(release);
        }
        result
    }
}

/// Returns the statement that releases all deliveries of a claim.
pub fn release_claim(endpoint: EndpointId, lease: WorkLease, due: Timestamp) -> SqlQuery<'static> {
    let release = SqlQuery::new(statements::RELEASE_CLAIM).bind(endpoint);
    release.bind(lease.until).bind(lease.token).bind(due)
}

/// Returns the statement that releases all plannings of a claim.
pub fn release_plannings(lease: WorkLease, due: Timestamp) -> SqlQuery<'static> {
    let release = SqlQuery::new(statements::RELEASE_REST_PLANNING);
    release.bind(lease.until).bind(lease.token).bind(due).bind(Uuid::nil()).bind(Uuid::nil())
}
