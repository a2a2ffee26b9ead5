//! Claims work from the table: retries, work that found no room in memory, and work that a dead
//! process held.
//!
//! A claim turns due rows into leases of this process. On PostgreSQL it skips rows that another
//! node is claiming. SQLite has one writer.
//!
//! **Events that kill the process.** A planning is leased durably before its modules run, so a
//! process that dies leaves a trace without an extra write. The process that takes over counts one
//! death for every planning that the dead one held, because any of them may be the cause. A
//! planning with two deaths is claimed alone ([`EventStore::claim_suspect`]), so the third death
//! counts only against the event that ran at the time. After [`FATAL`] deaths no node runs the
//! event again by itself.

use super::db::{DatabaseDialect, FromStoredRow, LeaseFailure, SqlQuery, StoredRow};
use super::error::database_error::corrupt_value;
use super::packed_text::read_packed;
use super::prefetch::{
    EndpointLane, FlowLane, LaneCapacity, LeasedDelivery, LeasedPlanning, QueuePermit,
};
use super::release::{release_claim, release_plannings};
use super::{EventStore, StoreError, statements};
use crate::model::delivery::WorkLease;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::{DeliveryId, EndpointId, FlowId};
use crate::time::timestamp::Timestamp;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Largest number of rows in one claim.
const MOST: usize = 256;
/// Number of process deaths after which the modules of an event are not run again automatically.
pub const FATAL: i32 = 3;

struct ClaimedRow {
    delivery_id: DeliveryId,
    flow_id: Option<FlowId>,
    attempts: i32,
    round_from: i32,
    held_since: Option<Timestamp>,
    /// Number of deliveries that were collapsed into this one. `None` if it does not collapse.
    collapsed: Option<i32>,
    message: Option<DeliveryMessage>,
    message_bytes: usize,
    event: Event,
}

impl FromStoredRow for ClaimedRow {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let message = read_packed(row, "message", ("message", "packed_message"))?;
        let message_bytes = message.as_ref().map_or(0, String::len);
        let parse = |text: String| serde_json::from_str(&text);
        let message = message.map(parse).transpose();
        let collapse_by: Option<Timestamp> = row.get("collapse_by")?;
        let collapsed: i32 = row.get("collapsed")?;
        Ok(Self {
            delivery_id: row.get("delivery_id")?,
            flow_id: row.get("flow_id")?,
            attempts: row.get("attempts")?,
            round_from: row.get("round_from")?,
            held_since: row.get("held_since")?,
            collapsed: collapse_by.map(|_| collapsed),
            message: message.map_err(|error| corrupt_value("message", "body", &error))?,
            message_bytes,
            event: Event::from_row(row)?,
        })
    }
}

struct PlanningRow {
    flow_id: FlowId,
    attempts: i32,
    deaths: i32,
    event: Event,
}

impl FromStoredRow for PlanningRow {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            flow_id: row.get("flow_id")?,
            attempts: row.get("attempts")?,
            deaths: row.get("deaths")?,
            event: Event::from_row(row)?,
        })
    }
}

/// Takes as many places as memory allows, estimated from the size of recent work, at most `most`.
fn take_permits(room: &Arc<LaneCapacity>, most: usize) -> Vec<QueuePermit> {
    let most = most.min(room.count_claimable());
    std::iter::from_fn(|| room.take_claimed()).take(most).collect()
}

/// A claimed row whose size in memory is known.
trait RowWeight {
    /// Returns the size of the payload in bytes.
    fn payload(&self) -> usize;
}

impl RowWeight for ClaimedRow {
    fn payload(&self) -> usize {
        self.event.size() + self.message_bytes
    }
}

impl RowWeight for PlanningRow {
    fn payload(&self) -> usize {
        self.event.size()
    }
}

/// Rows that found a place in memory. Reading stops at the first row that does not fit.
struct PlacedRows<R> {
    held: Vec<(R, QueuePermit)>,
    places: std::vec::IntoIter<QueuePermit>,
    /// Whether all rows found a place.
    fit: bool,
}

impl<R: RowWeight> PlacedRows<R> {
    fn with_permits(places: Vec<QueuePermit>) -> Self {
        Self { held: Vec::new(), places: places.into_iter(), fit: true }
    }

    fn place_row(&mut self, row: R) -> ControlFlow<()> {
        let place = self.places.next();
        let Some(place) =
            place.and_then(|mut place| place.pay_for_payload(row.payload()).then_some(place))
        else {
            self.fit = false;
            return ControlFlow::Break(());
        };
        self.held.push((row, place));
        ControlFlow::Continue(())
    }
}

impl EventStore {
    /// Claims the due deliveries of an endpoint, as many as its lane has room for, and records when
    /// more will be due.
    pub async fn claim_deliveries(
        &self,
        lane: &EndpointLane,
        ordered: bool,
        hold: Duration,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let now = self.clock().now();
        let lease = WorkLease { token: self.next_lease_token(), until: now.after(hold) };
        self.claim_under(lane, ordered, (lease, now), MOST).await
    }

    /// Claims at most `most` deliveries that are due at `now`, under a lease whose token no other claim
    /// has.
    pub async fn claim_under(
        &self,
        lane: &EndpointLane,
        ordered: bool,
        (lease, now): (WorkLease, Timestamp),
        most: usize,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let slots = take_permits(&lane.room, most.min(MOST));
        if slots.is_empty() {
            // When memory of this lane is freed, the lane looks again.
            lane.room.note_claim(true);
            return Ok(Vec::new());
        }
        if ordered && lane.is_crowded() {
            self.park_blocked(lane.endpoint, now).await?;
        }
        let wanted = slots.len();
        let claimed = self.claim_rows(lane.endpoint, ordered, lease, now, wanted).await?;
        self.metrics().store.claimed.inc_by(claimed);
        let taken = self.take_claimed(lane, ordered, (lease, now), (claimed, slots)).await;
        if taken.is_err() && claimed > 0 {
            self.release_later(&release_claim(lane.endpoint, lease, now), lease);
        }
        taken
    }

    /// Reads the deliveries of a claim and releases those that do not fit into memory.
    async fn take_claimed(
        &self,
        lane: &EndpointLane,
        ordered: bool,
        (lease, now): (WorkLease, Timestamp),
        (claimed, slots): (u64, Vec<QueuePermit>),
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let wanted = slots.len();
        let mut placed = PlacedRows::<ClaimedRow>::with_permits(slots);
        if claimed > 0 {
            let query = SqlQuery::new(statements::CLAIMED)
                .bind(lane.endpoint)
                .bind(lease.until)
                .bind(lease.token);
            let reading = self.pool().fetch_while(query.promptly(), placed, PlacedRows::place_row);
            placed = reading.await?;
        }
        let PlacedRows { held, fit, .. } = placed;
        if !fit {
            let last = held.last().map_or(Uuid::nil(), |(row, _)| row.delivery_id.uuid());
            self.release_rest(lane.endpoint, lease, now, last).await?;
        }
        let is_full = !fit || held.len() == wanted;
        if ordered {
            self.look_ahead_in_order(lane, is_full, now).await?;
        } else {
            self.look_ahead(lane, is_full).await?;
        }
        Ok(held.into_iter().map(|(row, slot)| row.into_leased(lease, slot)).collect())
    }

    async fn claim_rows(
        &self,
        endpoint: EndpointId,
        ordered: bool,
        lease: WorkLease,
        now: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError> {
        let text = match (self.pool().dialect(), ordered) {
            (DatabaseDialect::Sqlite, false) => statements::CLAIM_SQLITE,
            (DatabaseDialect::Sqlite, true) => statements::CLAIM_ORDERED_SQLITE,
            (DatabaseDialect::Postgres, false) => statements::CLAIM_POSTGRES,
            (DatabaseDialect::Postgres, true) => statements::CLAIM_ORDERED_POSTGRES,
        };
        let claim = SqlQuery::new(text)
            .bind(lease.token)
            .bind(lease.until)
            .bind(endpoint)
            .bind(now)
            .bind(i64::try_from(most).unwrap_or(i64::MAX));
        let proof = SqlQuery::new(statements::FIND_CLAIMED)
            .bind(endpoint)
            .bind(lease.until)
            .bind(lease.token);
        let claimed = self.pool().lease_rows(claim, proof).await;
        claimed.map_err(|failure| {
            self.note_failed_claim(failure, &release_claim(endpoint, lease, now), lease)
        })
    }

    /// Has the rows of a claim released whose outcome is not known. Returns the claim's error.
    fn note_failed_claim(
        &self,
        failure: LeaseFailure,
        release: &SqlQuery<'_>,
        lease: WorkLease,
    ) -> StoreError {
        if failure.may_hold {
            self.release_later(release, lease);
        }
        failure.error
    }

    /// Records when the endpoint has its next due delivery, and whether memory may take new work
    /// again.
    async fn look_ahead(&self, lane: &EndpointLane, full: bool) -> Result<(), StoreError> {
        let query = SqlQuery::new(statements::NEXT_DUE_AT).bind(lane.endpoint).promptly();
        lane.set_next_due(self.pool().find_value(query).await?);
        lane.room.note_claim(full);
        Ok(())
    }

    /// Returns when each endpoint has its next due delivery.
    pub async fn list_next_due(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        let query = SqlQuery::new(statements::NEXT_DUE).promptly();
        let rows: Vec<EndpointTime> = self.pool().fetch_all(query).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.endpoint, row.at?))).collect())
    }

    /// Returns, by endpoint, until when the receivers that asked for time are held back.
    pub async fn list_holds(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_HOLDS).bind(self.clock().now()).promptly();
        let rows: Vec<EndpointTime> = self.pool().fetch_all(query).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.endpoint, row.at?))).collect())
    }

    /// Ends the hold of an endpoint and makes the deliveries that were held back due now.
    pub async fn lift_hold(&self, endpoint: EndpointId) -> Result<(), StoreError> {
        let now = self.clock().now();
        let lift = SqlQuery::new(statements::LIFT_HOLD).bind(endpoint).bind(now).promptly();
        let lifted = self.pool().execute(lift).await?;
        if let Some(lane) = self.prefetch().find_lane(endpoint).filter(|_| lifted > 0) {
            lane.note_due(now);
        }
        Ok(())
    }

    /// Claims events on which a flow's modules are due to run, as many as its lane has room for.
    pub async fn claim_plannings(
        &self,
        lane: &FlowLane,
        hold: Duration,
    ) -> Result<Vec<LeasedPlanning>, StoreError> {
        let (room, flow) = (&lane.room, lane.flow);
        let now = self.clock().now();
        let query = SqlQuery::new(statements::PLANNING_IS_DUE).bind(flow).bind(now);
        let due: Option<Timestamp> = self.pool().find_value(query.promptly()).await?;
        if due.is_none() {
            room.note_claim(false);
            return Ok(Vec::new());
        }
        let slots = take_permits(room, MOST);
        if slots.is_empty() {
            room.note_claim(true);
            return Ok(Vec::new());
        }
        let lease = WorkLease { token: self.next_lease_token(), until: now.after(hold) };
        let wanted = slots.len();
        if self.claim_planning_rows(flow, lease, now, wanted).await? == 0 {
            room.note_claim(false);
            return Ok(Vec::new());
        }
        let taken = self.take_claimed_plannings(room, (lease, now), slots).await;
        self.keep_or_release(taken, lease, now)
    }

    /// Reads the plannings of a claim and releases those that do not fit into memory.
    async fn take_claimed_plannings(
        &self,
        room: &LaneCapacity,
        (lease, now): (WorkLease, Timestamp),
        slots: Vec<QueuePermit>,
    ) -> Result<Vec<LeasedPlanning>, StoreError> {
        let wanted = slots.len();
        let placed = PlacedRows::<PlanningRow>::with_permits(slots);
        let query = claimed_plannings(lease);
        let placed = self.pool().fetch_while(query, placed, PlacedRows::place_row).await?;
        let PlacedRows { held, fit, .. } = placed;
        if !fit {
            let nil = (Uuid::nil(), Uuid::nil());
            let last =
                held.last().map_or(nil, |(row, _)| (row.event.id.uuid(), row.flow_id.uuid()));
            self.release_rest_of_planning(lease, now, last).await?;
        }
        room.note_claim(!fit || held.len() == wanted);
        Ok(held.into_iter().map(|(row, slot)| row.into_leased(lease, slot)).collect())
    }

    /// Returns the plannings of a claim. If they could not be read, has them released.
    fn keep_or_release<T>(
        &self,
        taken: Result<T, StoreError>,
        lease: WorkLease,
        now: Timestamp,
    ) -> Result<T, StoreError> {
        if taken.is_err() {
            self.release_later(&release_plannings(lease, now), lease);
        }
        taken
    }

    async fn claim_planning_rows(
        &self,
        flow: FlowId,
        lease: WorkLease,
        now: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError> {
        let text = self.pool().choose_statement(
            statements::CLAIM_PLANNING_SQLITE,
            statements::CLAIM_PLANNING_POSTGRES,
        );
        let claim = SqlQuery::new(text)
            .bind(lease.token)
            .bind(lease.until)
            .bind(now)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(flow);
        self.lease_plannings(claim, lease, now).await
    }

    /// Runs a statement that claims plannings. Returns how many it claimed.
    async fn lease_plannings(
        &self,
        claim: SqlQuery<'_>,
        lease: WorkLease,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let proof = SqlQuery::new(statements::FIND_CLAIMED_PLANNING);
        let proof = proof.bind(lease.until).bind(lease.token);
        let claimed = self.pool().lease_rows(claim, proof).await;
        claimed.map_err(|failure| {
            self.note_failed_claim(failure, &release_plannings(lease, now), lease)
        })
    }

    /// Returns the flows that have events whose modules are due to run.
    pub async fn list_flows_due(&self) -> Result<Vec<FlowId>, StoreError> {
        let query = SqlQuery::new(statements::FLOWS_DUE).bind(self.clock().now()).promptly();
        self.pool().fetch_values(query).await
    }

    /// Claims an event of a deleted flow. A node that did not yet know of the deletion captured it.
    pub async fn claim_orphan(&self, hold: Duration) -> Result<Option<LeasedPlanning>, StoreError> {
        let Some(slot) = self.prefetch().odd_room().take_claimed() else { return Ok(None) };
        let text = self
            .pool()
            .choose_statement(statements::CLAIM_ORPHAN_SQLITE, statements::CLAIM_ORPHAN_POSTGRES);
        let now = self.clock().now();
        let lease = WorkLease { token: self.next_lease_token(), until: now.after(hold) };
        let claim = SqlQuery::new(text).bind(lease.token).bind(lease.until).bind(now);
        if self.lease_plannings(claim, lease, now).await? == 0 {
            return Ok(None);
        }
        self.take_one_planning(lease, now, slot).await
    }

    /// Claims one event under which two processes died, so that it runs without other such events.
    /// A process that is not yet `calm` runs everything else first, because something may still be
    /// killing it repeatedly, such as an operator.
    pub async fn claim_suspect(
        &self,
        hold: Duration,
        calm: bool,
    ) -> Result<Option<LeasedPlanning>, StoreError> {
        let Some(slot) = self.prefetch().odd_room().take_claimed() else { return Ok(None) };
        if !self.has_suspects().await? {
            return Ok(None);
        }
        let text = self
            .pool()
            .choose_statement(statements::CLAIM_SUSPECT_SQLITE, statements::CLAIM_SUSPECT_POSTGRES);
        let now = self.clock().now();
        let lease = WorkLease { token: self.next_lease_token(), until: now.after(hold) };
        let claim =
            SqlQuery::new(text).bind(lease.token).bind(lease.until).bind(now).bind(i32::from(calm));
        if self.lease_plannings(claim, lease, now).await? == 0 {
            return Ok(None);
        }
        self.take_one_planning(lease, now, slot).await
    }

    async fn has_suspects(&self) -> Result<bool, StoreError> {
        let query = SqlQuery::new(statements::SUSPECT_IS_DUE).bind(self.clock().now()).promptly();
        let found: Option<Timestamp> = self.pool().find_value(query).await?;
        Ok(found.is_some())
    }

    /// Reads the only planning of a claim.
    async fn take_one_planning(
        &self,
        lease: WorkLease,
        now: Timestamp,
        slot: QueuePermit,
    ) -> Result<Option<LeasedPlanning>, StoreError> {
        let read = self.pool().fetch_optional::<PlanningRow>(claimed_plannings(lease)).await;
        let claimed = self.keep_or_release(read, lease, now)?;
        Ok(claimed.map(|row| row.into_leased(lease, slot)))
    }
}

fn claimed_plannings(lease: WorkLease) -> SqlQuery<'static> {
    let query = SqlQuery::new(statements::CLAIMED_PLANNING);
    query.bind(lease.until).bind(lease.token).promptly()
}

/// An endpoint and a time, if it has one.
struct EndpointTime {
    endpoint: EndpointId,
    at: Option<Timestamp>,
}

impl FromStoredRow for EndpointTime {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { endpoint: row.get("endpoint_id")?, at: row.get("at")? })
    }
}

impl ClaimedRow {
    fn into_leased(self, lease: WorkLease, slot: QueuePermit) -> LeasedDelivery {
        LeasedDelivery {
            claimed: true,
            id: self.delivery_id,
            event: Arc::new(self.event),
            flow: self.flow_id,
            message: self.message.map(Arc::new),
            attempts: self.attempts,
            round_from: self.round_from,
            held_since: self.held_since,
            collapsed: self.collapsed,
            lease,
            slot,
        }
    }
}

impl PlanningRow {
    fn into_leased(self, lease: WorkLease, slot: QueuePermit) -> LeasedPlanning {
        LeasedPlanning {
            claimed: true,
            event: Arc::new(self.event),
            flow: self.flow_id,
            attempts: self.attempts,
            deaths: self.deaths,
            lease,
            slot,
        }
    }
}
