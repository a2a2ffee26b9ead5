//! Claiming work from the table: retries, what found no room in memory, and what a dead process
//! held.
//!
//! A claim turns rows that are due into leases of this process. On PostgreSQL rows that another
//! node is claiming are skipped; SQLite has one writer.
//!
//! **Events that kill.** A planning is leased, durably, before its modules run, so a process that
//! dies leaves a trace without a write of its own. Whoever takes over counts a death for all that
//! the process held; any of it may be why. What two processes died under is claimed one at a time
//! ([`EventStore::claim_suspect`]), so that a third death is counted for the one event under which
//! it came. An event whose process died [`FATAL`] times is not run again by itself, on any node.

use super::handover::{
    EndpointLane, FlowLane, LaneCapacity, LeasedDelivery, LeasedPlanning, QueuePermit,
};
use super::pool::{DatabasePool, WriteTransaction, reading};
use super::row::{self, EventRow};
use super::{EventStore, StoreError, statements};
use crate::model::delivery::WorkLease;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::{DeliveryId, EndpointId, FlowId};
use crate::time::timestamp::Timestamp;
use futures_util::{Stream, TryStreamExt as _};
use sqlx::types::Uuid;
use std::sync::Arc;
use std::time::Duration;

/// Most rows of one claim.
const MOST: usize = 256;
/// After how many deaths of the process the modules of an event are not run again by themselves.
pub const FATAL: i32 = 3;

#[derive(Debug, sqlx::FromRow)]
struct ClaimedRow {
    delivery_id: Uuid,
    attempts: i32,
    round_from: i32,
    held_since: Option<i64>,
    collapse_key: Option<String>,
    collapsed: i32,
    message: Option<String>,
    #[sqlx(flatten)]
    event: EventRow,
}

#[derive(Debug, sqlx::FromRow)]
struct PlanningRow {
    flow_id: Uuid,
    attempts: i32,
    deaths: i32,
    #[sqlx(flatten)]
    event: EventRow,
}

/// Places for as much as there is memory for, going by what work took lately.
fn slots(room: &Arc<LaneCapacity>) -> Vec<QueuePermit> {
    let most = MOST.min(room.claimable());
    std::iter::from_fn(|| room.take_claimed()).take(most).collect()
}

/// What a claimed row takes in memory.
trait RowWeight {
    /// Its payload in bytes.
    fn payload(&self) -> usize;
}

impl RowWeight for ClaimedRow {
    fn payload(&self) -> usize {
        self.event.size() + self.message.as_ref().map_or(0, String::len)
    }
}

impl RowWeight for PlanningRow {
    fn payload(&self) -> usize {
        self.event.size()
    }
}

/// Reads rows one after the other into places, until one finds no memory; whether all found some.
async fn read_into_places<R: RowWeight>(
    mut rows: impl Stream<Item = Result<R, sqlx::Error>> + Unpin,
    slots: Vec<QueuePermit>,
) -> Result<(Vec<(R, QueuePermit)>, bool), sqlx::Error> {
    let (mut held, mut slots) = (Vec::new(), slots.into_iter());
    while let Some(row) = rows.try_next().await? {
        let Some(mut slot) = slots.next() else { return Ok((held, false)) };
        if !slot.pay(row.payload()) {
            return Ok((held, false));
        }
        held.push((row, slot));
    }
    Ok((held, true))
}

impl EventStore {
    /// Claims what is due at an endpoint, as much as its lane has room for, and notes when more
    /// will be due.
    pub async fn claim(
        &self,
        lane: &EndpointLane,
        ordered: bool,
        hold: Duration,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let now = self.clock().now();
        let slots = slots(&lane.room);
        if slots.is_empty() {
            // Whoever frees memory of this lane has it look again.
            lane.room.claimed(true);
            return Ok(Vec::new());
        }
        let (wanted, lease) =
            (slots.len(), WorkLease { token: self.lease_token(), until: now.after(hold) });
        let claimed = self.claim_rows(lane.endpoint, ordered, lease, now, wanted).await?;
        let (rows, fit): (Vec<(ClaimedRow, QueuePermit)>, bool) = if claimed == 0 {
            (Vec::new(), true)
        } else {
            reading!(self.pool(), |db| {
                let rows = sqlx::query_as(statements::CLAIMED)
                    .bind(lane.endpoint.uuid())
                    .bind(lease.until.micros())
                    .bind(lease.token)
                    .fetch(db);
                read_into_places(rows, slots).await?
            })
        };
        if !fit {
            let last = rows.last().map_or(Uuid::nil(), |(row, _)| row.delivery_id);
            self.release_rest(lane.endpoint, lease, now, last).await?;
        }
        self.look_ahead(lane, !fit || rows.len() == wanted).await?;
        rows.into_iter().map(|(row, slot)| row.leased(lease, slot)).collect()
    }

    /// Gives back what a claim has no memory for: deliveries after the last that was kept.
    async fn release_rest(
        &self,
        endpoint: EndpointId,
        lease: WorkLease,
        due: Timestamp,
        last: Uuid,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool().begin().await?;
        super::pool::writing!(&mut tx, |db| sqlx::query(statements::RELEASE_REST)
            .bind(endpoint.uuid())
            .bind(lease.until.micros())
            .bind(lease.token)
            .bind(due.micros())
            .bind(last)
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }

    async fn claim_rows(
        &self,
        endpoint: EndpointId,
        ordered: bool,
        lease: WorkLease,
        now: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError> {
        let text = match (self.pool(), ordered) {
            (DatabasePool::Sqlite { .. }, false) => statements::CLAIM_SQLITE,
            (DatabasePool::Sqlite { .. }, true) => statements::CLAIM_ORDERED_SQLITE,
            (DatabasePool::Postgres { .. }, false) => statements::CLAIM_POSTGRES,
            (DatabasePool::Postgres { .. }, true) => statements::CLAIM_ORDERED_POSTGRES,
        };
        let mut tx = self.pool().begin().await?;
        let claimed = super::pool::writing!(&mut tx, |db| sqlx::query(text)
            .bind(lease.token)
            .bind(lease.until.micros())
            .bind(endpoint.uuid())
            .bind(now.micros())
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        Ok(claimed)
    }

    /// Notes when the endpoint next has something due, and whether memory may take new work again.
    async fn look_ahead(&self, lane: &EndpointLane, full: bool) -> Result<(), StoreError> {
        let due: Option<(i64,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::NEXT_DUE_AT)
                .bind(lane.endpoint.uuid())
                .fetch_optional(db)
                .await?);
        lane.set_next_due(due.map(|(at,)| Timestamp::from_micros(at)));
        lane.room.claimed(full);
        Ok(())
    }

    /// When each endpoint next has something due.
    pub async fn next_due(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        let rows: Vec<(Uuid, Option<i64>)> = reading!(self.pool(), |db| {
            sqlx::query_as(statements::NEXT_DUE).fetch_all(db).await?
        });
        let due = |(id, at): (Uuid, Option<i64>)| {
            Some((EndpointId::from_uuid(id), Timestamp::from_micros(at?)))
        };
        Ok(rows.into_iter().filter_map(due).collect())
    }

    /// Until when receivers that asked for time are held back, by endpoint.
    pub async fn holds(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        let now = self.clock().now().micros();
        let rows: Vec<(Uuid, i64)> = reading!(self.pool(), |db| {
            sqlx::query_as(statements::SELECT_HOLDS).bind(now).fetch_all(db).await?
        });
        let hold = |(id, at)| (EndpointId::from_uuid(id), Timestamp::from_micros(at));
        Ok(rows.into_iter().map(hold).collect())
    }

    /// Ends the hold of an endpoint: what was held back is due now.
    pub async fn lift_hold(&self, endpoint: EndpointId) -> Result<(), StoreError> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        let lifted = super::pool::writing!(&mut tx, |db| sqlx::query(statements::LIFT_HOLD)
            .bind(endpoint.uuid())
            .bind(now.micros())
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        if let Some(lane) = self.handover().find_lane(endpoint).filter(|_| lifted > 0) {
            lane.due(now);
        }
        Ok(())
    }

    /// Gives deliveries back that this process will not send.
    pub async fn release(
        &self,
        deliveries: &[(DeliveryId, WorkLease)],
        due: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool().begin().await?;
        for (delivery, lease) in deliveries {
            super::pool::writing!(&mut tx, |db| sqlx::query(statements::RELEASE)
                .bind(delivery.uuid())
                .bind(lease.token)
                .bind(due.micros())
                .execute(db)
                .await?
                .rows_affected());
        }
        Ok(tx.commit().await?)
    }

    /// Claims events that a flow's modules are due to run on, as much as its lane has room for.
    pub async fn claim_plannings(
        &self,
        lane: &FlowLane,
        hold: Duration,
    ) -> Result<Vec<LeasedPlanning>, StoreError> {
        let (room, flow) = (&lane.room, lane.flow);
        let now = self.clock().now();
        let due: Option<(i64,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::PLANNING_IS_DUE)
                .bind(flow.uuid())
                .bind(now.micros())
                .fetch_optional(db)
                .await?);
        if due.is_none() {
            room.claimed(false);
            return Ok(Vec::new());
        }
        let slots = slots(room);
        if slots.is_empty() {
            room.claimed(true);
            return Ok(Vec::new());
        }
        let lease = WorkLease { token: self.lease_token(), until: now.after(hold) };
        let wanted = slots.len();
        self.claim_planning_rows(flow, lease, now, wanted).await?;
        let (rows, fit): (Vec<(PlanningRow, QueuePermit)>, bool) = reading!(self.pool(), |db| {
            let rows = sqlx::query_as(statements::CLAIMED_PLANNING)
                .bind(lease.until.micros())
                .bind(lease.token)
                .fetch(db);
            read_into_places(rows, slots).await?
        });
        if !fit {
            let nil = (Uuid::nil(), Uuid::nil());
            let last = rows.last().map_or(nil, |(row, _)| (row.event.id(), row.flow_id));
            self.release_rest_of_planning(lease, now, last).await?;
        }
        room.claimed(!fit || rows.len() == wanted);
        rows.into_iter().map(|(row, slot)| row.leased(lease, slot)).collect()
    }

    /// Gives back what a claim has no memory for: plannings after the last that was kept.
    async fn release_rest_of_planning(
        &self,
        lease: WorkLease,
        due: Timestamp,
        (event, flow): (Uuid, Uuid),
    ) -> Result<(), StoreError> {
        let mut tx = self.pool().begin().await?;
        super::pool::writing!(&mut tx, |db| sqlx::query(statements::RELEASE_REST_PLANNING)
            .bind(lease.until.micros())
            .bind(lease.token)
            .bind(due.micros())
            .bind(event)
            .bind(flow)
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }

    async fn claim_planning_rows(
        &self,
        flow: FlowId,
        lease: WorkLease,
        now: Timestamp,
        most: usize,
    ) -> Result<(), StoreError> {
        let text = match self.pool() {
            DatabasePool::Sqlite { .. } => statements::CLAIM_PLANNING_SQLITE,
            DatabasePool::Postgres { .. } => statements::CLAIM_PLANNING_POSTGRES,
        };
        let mut tx: WriteTransaction = self.pool().begin().await?;
        super::pool::writing!(&mut tx, |db| sqlx::query(text)
            .bind(lease.token)
            .bind(lease.until.micros())
            .bind(now.micros())
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(flow.uuid())
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }

    /// Which flows have events whose modules are due to run.
    pub async fn flows_due(&self) -> Result<Vec<FlowId>, StoreError> {
        let rows: Vec<(Uuid,)> = reading!(self.pool(), |db| sqlx::query_as(statements::FLOWS_DUE)
            .bind(self.clock().now().micros())
            .fetch_all(db)
            .await?);
        Ok(rows.into_iter().map(|(id,)| FlowId::from_uuid(id)).collect())
    }

    /// Claims an event of a flow that was deleted: it was captured by a node that did not know of
    /// that yet.
    pub async fn claim_orphan(&self, hold: Duration) -> Result<Option<LeasedPlanning>, StoreError> {
        let Some(slot) = self.handover().odd_room().take_claimed() else { return Ok(None) };
        let text = match self.pool() {
            DatabasePool::Sqlite { .. } => statements::CLAIM_ORPHAN_SQLITE,
            DatabasePool::Postgres { .. } => statements::CLAIM_ORPHAN_POSTGRES,
        };
        let now = self.clock().now();
        let lease = WorkLease { token: self.lease_token(), until: now.after(hold) };
        let mut tx = self.pool().begin().await?;
        super::pool::writing!(&mut tx, |db| sqlx::query(text)
            .bind(lease.token)
            .bind(lease.until.micros())
            .bind(now.micros())
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        let claimed = self.claimed_plannings(lease).await?.into_iter().next();
        claimed.map(|row| row.leased(lease, slot)).transpose()
    }

    /// Claims one event under which processes died twice, to be run alone among its like. A process
    /// that is not `calm` yet runs everything else first: an operator, or something else, may be
    /// killing it again and again.
    pub async fn claim_suspect(
        &self,
        hold: Duration,
        calm: bool,
    ) -> Result<Option<LeasedPlanning>, StoreError> {
        let Some(slot) = self.handover().odd_room().take_claimed() else { return Ok(None) };
        let text = match self.pool() {
            DatabasePool::Sqlite { .. } => statements::CLAIM_SUSPECT_SQLITE,
            DatabasePool::Postgres { .. } => statements::CLAIM_SUSPECT_POSTGRES,
        };
        if !self.has_suspects().await? {
            return Ok(None);
        }
        let now = self.clock().now();
        let lease = WorkLease { token: self.lease_token(), until: now.after(hold) };
        let mut tx = self.pool().begin().await?;
        let rows = super::pool::writing!(&mut tx, |db| sqlx::query(text)
            .bind(lease.token)
            .bind(lease.until.micros())
            .bind(now.micros())
            .bind(i32::from(calm))
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        if rows == 0 {
            return Ok(None);
        }
        let claimed = self.claimed_plannings(lease).await?.into_iter().next();
        claimed.map(|row| row.leased(lease, slot)).transpose()
    }

    async fn has_suspects(&self) -> Result<bool, StoreError> {
        let found: Option<(i64,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SUSPECT_IS_DUE)
                .bind(self.clock().now().micros())
                .fetch_optional(db)
                .await?);
        Ok(found.is_some())
    }

    async fn claimed_plannings(&self, lease: WorkLease) -> Result<Vec<PlanningRow>, StoreError> {
        Ok(reading!(self.pool(), |db| sqlx::query_as(statements::CLAIMED_PLANNING)
            .bind(lease.until.micros())
            .bind(lease.token)
            .fetch_all(db)
            .await?))
    }

    /// Gives a planning back that this process will not run.
    pub async fn release_planning(
        &self,
        planning: &LeasedPlanning,
        due: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool().begin().await?;
        super::pool::writing!(&mut tx, |db| sqlx::query(statements::RELEASE_PLANNING)
            .bind(planning.event.id.uuid())
            .bind(planning.flow.uuid())
            .bind(planning.lease.token)
            .bind(due.micros())
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }
}

impl ClaimedRow {
    fn leased(self, lease: WorkLease, slot: QueuePermit) -> Result<LeasedDelivery, StoreError> {
        let message: Option<DeliveryMessage> =
            self.message.as_deref().map(row::parse_message).transpose()?;
        Ok(LeasedDelivery {
            id: DeliveryId::from_uuid(self.delivery_id),
            event: Arc::new(Event::try_from(self.event)?),
            message: message.map(Arc::new),
            attempts: self.attempts,
            round_from: self.round_from,
            held_since: self.held_since.map(Timestamp::from_micros),
            collapsed: self.collapse_key.map(|_| self.collapsed),
            lease,
            slot,
        })
    }
}

impl PlanningRow {
    fn leased(self, lease: WorkLease, slot: QueuePermit) -> Result<LeasedPlanning, StoreError> {
        Ok(LeasedPlanning {
            claimed: true,
            event: Arc::new(Event::try_from(self.event)?),
            flow: FlowId::from_uuid(self.flow_id),
            attempts: self.attempts,
            deaths: self.deaths,
            lease,
            slot,
        })
    }
}
