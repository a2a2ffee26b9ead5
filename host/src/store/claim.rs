//! Claiming work from the table: retries, what found no room in memory, and what a dead process held.
//!
//! A claim turns rows that are due into leases of this process. On PostgreSQL rows that another node
//! is claiming are skipped; SQLite has one writer.
//!
//! **Events that kill.** A planning is leased, durably, before its modules run, so a process that dies leaves a trace without
//! a write of its own. Whoever takes over counts a death for all that the process held; any of it may be why. What two
//! processes died under is claimed one at a time ([`Journal::claim_suspect`]), so that a third death is counted for the one
//! event under which it came. An event whose process died [`FATAL`] times is not run again by itself, on any node.

use super::handover::{FlowLane, Lane, Leased, Planning, Room, Slot};
use super::pool::{Pool, Tx, reading};
use super::row::{self, EventRow};
use super::{Error, Journal, statements};
use crate::model::delivery::Lease;
use crate::model::event::{Event, Message};
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
fn slots(room: &Arc<Room>) -> Vec<Slot> {
    let most = MOST.min(room.claimable());
    std::iter::from_fn(|| room.take_claimed()).take(most).collect()
}

/// What a claimed row takes in memory.
trait Weigh {
    /// Its payload in bytes.
    fn payload(&self) -> usize;
}

impl Weigh for ClaimedRow {
    fn payload(&self) -> usize {
        self.event.size() + self.message.as_ref().map_or(0, String::len)
    }
}

impl Weigh for PlanningRow {
    fn payload(&self) -> usize {
        self.event.size()
    }
}

/// Reads rows one after the other into places, until one finds no memory; whether all found some.
async fn read_into_places<R: Weigh>(
    mut rows: impl Stream<Item = Result<R, sqlx::Error>> + Unpin,
    slots: Vec<Slot>,
) -> Result<(Vec<(R, Slot)>, bool), sqlx::Error> {
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

impl Journal {
    /// Claims what is due at an endpoint, as much as its lane has room for, and notes when more will
    /// be due.
    pub async fn claim(
        &self,
        lane: &Lane,
        ordered: bool,
        hold: Duration,
    ) -> Result<Vec<Leased>, Error> {
        let now = self.clock().now();
        let slots = slots(&lane.room);
        if slots.is_empty() {
            // Whoever frees memory of this lane has it look again.
            lane.room.claimed(true);
            return Ok(Vec::new());
        }
        let (wanted, lease) =
            (slots.len(), Lease { token: self.lease_token(), until: now.after(hold) });
        let claimed = self.claim_rows(lane.endpoint, ordered, lease, now, wanted).await?;
        let (rows, fit): (Vec<(ClaimedRow, Slot)>, bool) = if claimed == 0 {
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
        lease: Lease,
        due: Timestamp,
        last: Uuid,
    ) -> Result<(), Error> {
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
        lease: Lease,
        now: Timestamp,
        most: usize,
    ) -> Result<u64, Error> {
        let text = match (self.pool(), ordered) {
            (Pool::Sqlite { .. }, false) => statements::CLAIM_SQLITE,
            (Pool::Sqlite { .. }, true) => statements::CLAIM_ORDERED_SQLITE,
            (Pool::Postgres { .. }, false) => statements::CLAIM_POSTGRES,
            (Pool::Postgres { .. }, true) => statements::CLAIM_ORDERED_POSTGRES,
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
    async fn look_ahead(&self, lane: &Lane, full: bool) -> Result<(), Error> {
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
    pub async fn next_due(&self) -> Result<Vec<(EndpointId, Timestamp)>, Error> {
        let rows: Vec<(Uuid, Option<i64>)> = reading!(self.pool(), |db| {
            sqlx::query_as(statements::NEXT_DUE).fetch_all(db).await?
        });
        let due = |(id, at): (Uuid, Option<i64>)| {
            Some((EndpointId::from_uuid(id), Timestamp::from_micros(at?)))
        };
        Ok(rows.into_iter().filter_map(due).collect())
    }

    /// Until when receivers that asked for time are held back, by endpoint.
    pub async fn holds(&self) -> Result<Vec<(EndpointId, Timestamp)>, Error> {
        let now = self.clock().now().micros();
        let rows: Vec<(Uuid, i64)> = reading!(self.pool(), |db| {
            sqlx::query_as(statements::SELECT_HOLDS).bind(now).fetch_all(db).await?
        });
        let hold = |(id, at)| (EndpointId::from_uuid(id), Timestamp::from_micros(at));
        Ok(rows.into_iter().map(hold).collect())
    }

    /// Ends the hold of an endpoint: what was held back is due now.
    pub async fn lift_hold(&self, endpoint: EndpointId) -> Result<(), Error> {
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
        deliveries: &[(DeliveryId, Lease)],
        due: Timestamp,
    ) -> Result<(), Error> {
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
    ) -> Result<Vec<Planning>, Error> {
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
        let lease = Lease { token: self.lease_token(), until: now.after(hold) };
        let wanted = slots.len();
        self.claim_planning_rows(flow, lease, now, wanted).await?;
        let (rows, fit): (Vec<(PlanningRow, Slot)>, bool) = reading!(self.pool(), |db| {
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
        lease: Lease,
        due: Timestamp,
        (event, flow): (Uuid, Uuid),
    ) -> Result<(), Error> {
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
        lease: Lease,
        now: Timestamp,
        most: usize,
    ) -> Result<(), Error> {
        let text = match self.pool() {
            Pool::Sqlite { .. } => statements::CLAIM_PLANNING_SQLITE,
            Pool::Postgres { .. } => statements::CLAIM_PLANNING_POSTGRES,
        };
        let mut tx: Tx = self.pool().begin().await?;
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
    pub async fn flows_due(&self) -> Result<Vec<FlowId>, Error> {
        let rows: Vec<(Uuid,)> = reading!(self.pool(), |db| sqlx::query_as(statements::FLOWS_DUE)
            .bind(self.clock().now().micros())
            .fetch_all(db)
            .await?);
        Ok(rows.into_iter().map(|(id,)| FlowId::from_uuid(id)).collect())
    }

    /// Claims an event of a flow that was deleted: it was captured by a node that did not know of that yet.
    pub async fn claim_orphan(&self, hold: Duration) -> Result<Option<Planning>, Error> {
        let Some(slot) = self.handover().odd_room().take_claimed() else { return Ok(None) };
        let text = match self.pool() {
            Pool::Sqlite { .. } => statements::CLAIM_ORPHAN_SQLITE,
            Pool::Postgres { .. } => statements::CLAIM_ORPHAN_POSTGRES,
        };
        let now = self.clock().now();
        let lease = Lease { token: self.lease_token(), until: now.after(hold) };
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

    /// Claims one event under which processes died twice, to be run alone among its like. A process that is not `calm` yet
    /// runs everything else first: an operator, or something else, may be killing it again and again.
    pub async fn claim_suspect(
        &self,
        hold: Duration,
        calm: bool,
    ) -> Result<Option<Planning>, Error> {
        let Some(slot) = self.handover().odd_room().take_claimed() else { return Ok(None) };
        let text = match self.pool() {
            Pool::Sqlite { .. } => statements::CLAIM_SUSPECT_SQLITE,
            Pool::Postgres { .. } => statements::CLAIM_SUSPECT_POSTGRES,
        };
        if !self.has_suspects().await? {
            return Ok(None);
        }
        let now = self.clock().now();
        let lease = Lease { token: self.lease_token(), until: now.after(hold) };
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

    async fn has_suspects(&self) -> Result<bool, Error> {
        let found: Option<(i64,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SUSPECT_IS_DUE)
                .bind(self.clock().now().micros())
                .fetch_optional(db)
                .await?);
        Ok(found.is_some())
    }

    async fn claimed_plannings(&self, lease: Lease) -> Result<Vec<PlanningRow>, Error> {
        Ok(reading!(self.pool(), |db| sqlx::query_as(statements::CLAIMED_PLANNING)
            .bind(lease.until.micros())
            .bind(lease.token)
            .fetch_all(db)
            .await?))
    }

    /// Gives a planning back that this process will not run.
    pub async fn release_planning(&self, planning: &Planning, due: Timestamp) -> Result<(), Error> {
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
    fn leased(self, lease: Lease, slot: Slot) -> Result<Leased, Error> {
        let message: Option<Message> = self.message.as_deref().map(row::message).transpose()?;
        Ok(Leased {
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
    fn leased(self, lease: Lease, slot: Slot) -> Result<Planning, Error> {
        Ok(Planning {
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
