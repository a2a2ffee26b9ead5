//! What a commit hands to the next stage in memory, and the room there is for it.
//!
//! Each endpoint has a [`EndpointLane`]: a bounded queue of deliveries leased to this process. Each
//! flow with modules has a [`FlowLane`] for the events that its modules are to run on. Each has a
//! [`LaneCapacity`]. A stage takes a [`QueuePermit`] before the commit; the row is born leased if
//! it got one, unleased if not. The slot travels with the work and frees its place when it is
//! dropped, after the next commit.
//!
//! A slot pays for its work in bytes: three times the payload, because while it is sent there are
//! the event, the body that is made of it, and what is on its way in between. Each room has
//! [`SURE_BYTES`] of its own for new work and as much for claimed work. Beyond that it borrows from
//! one budget for the whole process, and never more than is left for the others. So an endpoint
//! that hangs leaves half of the budget, two that hang a third, and so on.

use crate::model::delivery::WorkLease;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::{DeliveryId, EndpointId, FlowId};
use crate::model::receiver_pace::ReceiverPace;
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Memory for work beyond what each room is sure of, shared by all rooms of the process, in bytes.
#[derive(Debug)]
struct MemoryBudget(AtomicUsize);

impl MemoryBudget {
    /// Takes memory for a room that has borrowed `borrowed` already: no room has more than is left.
    fn take(&self, borrowed: usize, bytes: usize) -> bool {
        let rest = |left: usize| (borrowed + bytes <= left).then(|| left - bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What new work, or claimed work, takes of a room.
#[derive(Debug, Default)]
struct RoomShare {
    places: AtomicUsize,
    /// Of the [`SURE_BYTES`].
    bytes: AtomicUsize,
}

/// Places and memory for work: for what is born leased, and apart from that for what is claimed
/// from the table, so that new work never keeps older work in the table.
#[derive(Debug)]
pub struct LaneCapacity {
    /// Places for claimed work. New work has [`STRETCH`] times as many.
    sure: AtomicUsize,
    born: RoomShare,
    claimed: RoomShare,
    /// Bytes of the budget that this room has.
    borrowed: AtomicUsize,
    /// What a piece of work took lately, in bytes: a moving average.
    usual: AtomicUsize,
    budget: Arc<MemoryBudget>,
    overflowed: AtomicBool,
    more: AtomicBool,
    /// Woken when work may wait in the table.
    pub wake: Notify,
}

/// What a piece of work in memory costs beside its payload, roughly.
const OVERHEAD: usize = 1_024;
/// How often a payload is in memory while its work is under way.
const COPIES: usize = 3;
/// How many times its sure places a room may hold of new work.
const STRETCH: usize = 16;
/// Memory that each room has of its own for new work, and again for claimed work, in bytes.
const SURE_BYTES: usize = 128 * 1024;
/// What one piece of work pays at most: else a payload larger than the budget could never be sent.
const LARGEST: usize = BUDGET / 8;
/// What a piece of work is taken to cost before any was seen.
const USUAL: usize = 8 * 1024;

fn cost(payload: usize) -> usize {
    payload.saturating_mul(COPIES).saturating_add(OVERHEAD).min(LARGEST)
}

impl LaneCapacity {
    fn new(sure: usize, budget: &Arc<MemoryBudget>) -> Self {
        Self {
            sure: AtomicUsize::new(sure),
            born: RoomShare::default(),
            claimed: RoomShare::default(),
            borrowed: AtomicUsize::new(0),
            usual: AtomicUsize::new(USUAL),
            budget: Arc::clone(budget),
            overflowed: AtomicBool::new(false),
            more: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// A place for new work with a payload of that many bytes, if there is one and nothing waits in
    /// the table already. `None` also notes that there will be work in the table.
    pub fn take(self: &Arc<Self>, payload: usize) -> Option<QueuePermit> {
        let waiting = self.overflowed.load(Ordering::Relaxed);
        let slot = if waiting { None } else { self.place(WorkOrigin::Born, payload) };
        if slot.is_none() {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        slot
    }

    fn place(self: &Arc<Self>, origin: WorkOrigin, payload: usize) -> Option<QueuePermit> {
        let mut slot = self.empty_place(origin)?;
        // Dropped where there is no memory, it frees the place that was just taken.
        slot.pay(payload).then_some(slot)
    }

    fn empty_place(self: &Arc<Self>, origin: WorkOrigin) -> Option<QueuePermit> {
        let sure = self.sure.load(Ordering::Relaxed);
        let most = match origin {
            WorkOrigin::Born => sure * STRETCH,
            WorkOrigin::Claimed => sure,
        };
        let free = occupy(&self.share(origin).places, most, 1);
        free.then(|| QueuePermit { room: Arc::clone(self), origin, sure: 0, borrowed: 0 })
    }

    /// A place for work claimed from the table. It pays when the size of the work is known.
    pub fn take_claimed(self: &Arc<Self>) -> Option<QueuePermit> {
        self.empty_place(WorkOrigin::Claimed)
    }

    /// How much work is worth claiming, going by the memory there is and what work took lately. One
    /// where none is claimed: it may be smaller than what came before.
    pub fn claimable(&self) -> usize {
        let sure = SURE_BYTES.saturating_sub(self.claimed.bytes.load(Ordering::Relaxed));
        let borrowed = self.borrowed.load(Ordering::Relaxed);
        let memory = sure + self.budget.left().saturating_sub(borrowed) / 2;
        let fitting = memory / self.usual.load(Ordering::Relaxed).max(1);
        let idle = self.claimed.places.load(Ordering::Relaxed) == 0;
        fitting.max(usize::from(idle))
    }

    /// Whether a claim would find no place.
    pub fn is_full(&self) -> bool {
        self.claimed.places.load(Ordering::Relaxed) >= self.sure.load(Ordering::Relaxed)
    }

    /// How many places are taken.
    pub fn used(&self) -> usize {
        self.born.places.load(Ordering::Relaxed) + self.claimed.places.load(Ordering::Relaxed)
    }

    /// Whether work went to the table because there was no room.
    pub fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Says what a claim saw: whether the table may hold more that is due.
    pub fn claimed(&self, more: bool) {
        self.more.store(more, Ordering::Relaxed);
        if !more {
            self.overflowed.store(false, Ordering::Relaxed);
        }
    }

    /// Says that there is work in the table, and wakes whoever claims it.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    const fn share(&self, origin: WorkOrigin) -> &RoomShare {
        match origin {
            WorkOrigin::Born => &self.born,
            WorkOrigin::Claimed => &self.claimed,
        }
    }

    fn note_cost(&self, bytes: usize) {
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual.store((usual * 7 + bytes) / 8, Ordering::Relaxed);
    }
}

fn occupy(used: &AtomicUsize, most: usize, more: usize) -> bool {
    let grown = |used: usize| (used + more <= most).then_some(used + more);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
}

/// Where work came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkOrigin {
    Born,
    Claimed,
}

/// One place in a [`LaneCapacity`], and the memory that its work takes; free again when dropped.
#[derive(Debug)]
pub struct QueuePermit {
    room: Arc<LaneCapacity>,
    origin: WorkOrigin,
    /// Bytes of the room's own.
    sure: usize,
    /// Bytes of the budget.
    borrowed: usize,
}

impl QueuePermit {
    /// Pays for a payload of that many bytes; `false` where there is no memory for it.
    pub fn pay(&mut self, payload: usize) -> bool {
        let (room, bytes) = (&self.room, cost(payload));
        room.note_cost(bytes);
        if occupy(&room.share(self.origin).bytes, SURE_BYTES, bytes) {
            self.sure += bytes;
            return true;
        }
        let is_paid = room.budget.take(room.borrowed.load(Ordering::Relaxed), bytes);
        if is_paid {
            room.borrowed.fetch_add(bytes, Ordering::Relaxed);
            self.borrowed += bytes;
        }
        is_paid
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let (room, share) = (&self.room, self.room.share(self.origin));
        share.bytes.fetch_sub(self.sure, Ordering::Relaxed);
        if self.borrowed > 0 {
            room.borrowed.fetch_sub(self.borrowed, Ordering::Relaxed);
            room.budget.give(self.borrowed);
        }
        share.places.fetch_sub(1, Ordering::Relaxed);
        let claimed = room.claimed.places.load(Ordering::Relaxed);
        let worth = match self.origin {
            // Half of the places: enough for a claim to be worth its commit.
            WorkOrigin::Claimed => claimed * 2 <= room.sure.load(Ordering::Relaxed),
            // New work may have held the memory that claimed work waits for.
            WorkOrigin::Born => claimed == 0 && self.borrowed > 0,
        };
        if worth && (room.more.load(Ordering::Relaxed) || room.overflowed()) {
            room.nudge();
        }
    }
}

/// A delivery leased to this process.
#[derive(Debug)]
pub struct LeasedDelivery {
    pub id: DeliveryId,
    pub event: Arc<Event>,
    /// What to send, if not the event as captured.
    pub message: Option<Arc<DeliveryMessage>>,
    /// Attempts made so far.
    pub attempts: i32,
    /// Attempts made before the present round of the schedule.
    pub round_from: i32,
    /// When the receiver first asked for time in this round.
    pub held_since: Option<Timestamp>,
    /// Deliveries collapsed into this one; `None` where the endpoint does not collapse.
    pub collapsed: Option<i32>,
    /// The right to settle it.
    pub lease: WorkLease,
    /// Its place in memory.
    pub slot: QueuePermit,
}

/// A planning leased to this process.
#[derive(Debug)]
pub struct LeasedPlanning {
    /// Whether it came from the table: then a dead letter of it may exist.
    pub claimed: bool,
    pub event: Arc<Event>,
    /// The flow whose modules are to run.
    pub flow: FlowId,
    /// Tries made so far.
    pub attempts: i32,
    /// How often a process died that held it; see [`claim`](super::claim).
    pub deaths: i32,
    /// The right to record the plan.
    pub lease: WorkLease,
    /// Its place in memory.
    pub slot: QueuePermit,
}

/// An endpoint's queue in memory.
#[derive(Debug)]
pub struct EndpointLane {
    pub endpoint: EndpointId,
    /// Its places.
    pub room: Arc<LaneCapacity>,
    sender: mpsc::UnboundedSender<LeasedDelivery>,
    next_due: Mutex<Option<Timestamp>>,
    pace: Mutex<ReceiverPace>,
}

impl EndpointLane {
    /// What is known of how fast the receiver takes requests. Held for moments only.
    pub fn pace(&self) -> MutexGuard<'_, ReceiverPace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a delivery; its slot has bounded the queue already.
    pub fn push(&self, leased: LeasedDelivery) {
        // A closed lane is one of a stopping server: the lease runs out and the row is claimed
        // again.
        drop(self.sender.send(leased));
    }

    /// When the table is known to hold something due, at the earliest.
    pub fn next_due(&self) -> Option<Timestamp> {
        *self.next_due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the table holds something due at `at`.
    pub fn due(&self, at: Timestamp) {
        let mut next = self.next_due.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_none_or(|known| at < known) {
            *next = Some(at);
            drop(next);
            self.room.nudge();
        }
    }

    /// Replaces what is known of the table.
    pub fn set_next_due(&self, at: Option<Timestamp>) {
        *self.next_due.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// A lane and the end that is read.
#[derive(Debug)]
pub struct NewLane {
    pub lane: Arc<EndpointLane>,
    /// What is pushed into it.
    pub queue: mpsc::UnboundedReceiver<LeasedDelivery>,
}

/// A flow's queue in memory.
#[derive(Debug)]
pub struct FlowLane {
    pub flow: FlowId,
    /// Its places.
    pub room: Arc<LaneCapacity>,
    sender: mpsc::UnboundedSender<LeasedPlanning>,
}

impl FlowLane {
    /// Queues a planning; its slot has bounded the queue already.
    pub fn push(&self, planning: LeasedPlanning) {
        // A closed lane is one of a stopping server: the lease runs out and the row is claimed
        // again.
        drop(self.sender.send(planning));
    }
}

/// A flow's lane and the end that is read.
#[derive(Debug)]
pub struct NewFlowLane {
    pub lane: Arc<FlowLane>,
    /// What is pushed into it.
    pub queue: mpsc::UnboundedReceiver<LeasedPlanning>,
}

/// All rooms and lanes of this process.
#[derive(Debug)]
pub struct WorkPrefetch {
    lanes: Mutex<HashMap<EndpointId, Arc<EndpointLane>>>,
    announce: mpsc::UnboundedSender<NewLane>,
    flow_lanes: Mutex<HashMap<FlowId, Arc<FlowLane>>>,
    announce_flow: mpsc::UnboundedSender<NewFlowLane>,
    /// Places for events under which a process died, and for those of flows that are gone.
    odd_room: Arc<LaneCapacity>,
    budget: Arc<MemoryBudget>,
}

/// The ends that the next stages read.
#[derive(Debug)]
pub struct PrefetchOutlets {
    /// New lanes, as endpoints are made.
    pub lanes: mpsc::UnboundedReceiver<NewLane>,
    /// New lanes, as flows are made.
    pub flow_lanes: mpsc::UnboundedReceiver<NewFlowLane>,
}

/// Memory for work beyond what each room is sure of, in bytes.
const BUDGET: usize = 64 << 20;
/// Sure places in a flow's lane for events that wait for its modules.
const FLOW_PLACES: usize = 128;
/// Places for events that are planned one at a time.
const ODD_PLACES: usize = 16;
/// Sure places in a lane for each request that may be under way.
const PLACES_PER_REQUEST: usize = 4;

impl WorkPrefetch {
    pub fn new() -> (Self, PrefetchOutlets) {
        let (announce, lanes) = mpsc::unbounded_channel();
        let (announce_flow, flow_lanes) = mpsc::unbounded_channel();
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let odd_room = Arc::new(LaneCapacity::new(ODD_PLACES, &budget));
        let (all, all_flows) = (Mutex::default(), Mutex::default());
        let handover =
            Self { lanes: all, announce, flow_lanes: all_flows, announce_flow, odd_room, budget };
        (handover, PrefetchOutlets { lanes, flow_lanes })
    }

    /// The lane of an endpoint with that many requests under way at most; made at the first call.
    pub fn lane(&self, endpoint: EndpointId, max_in_flight: usize) -> Arc<EndpointLane> {
        let places = max_in_flight * PLACES_PER_REQUEST;
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&endpoint) {
            lane.room.sure.store(places, Ordering::Relaxed);
            return Arc::clone(lane);
        }
        let (sender, queue) = mpsc::unbounded_channel();
        let room = Arc::new(LaneCapacity::new(places, &self.budget));
        let (next_due, pace) = (Mutex::new(None), Mutex::default());
        let lane = Arc::new(EndpointLane { endpoint, room, sender, next_due, pace });
        lanes.insert(endpoint, Arc::clone(&lane));
        drop(lanes);
        drop(self.announce.send(NewLane { lane: Arc::clone(&lane), queue }));
        lane
    }

    /// Forgets the lane of a deleted endpoint; its reader sees the end of the queue.
    pub fn remove_lane(&self, endpoint: EndpointId) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint);
    }

    /// The lane of an endpoint that has one.
    pub fn find_lane(&self, endpoint: EndpointId) -> Option<Arc<EndpointLane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).map(Arc::clone)
    }

    /// Every lane.
    pub fn lanes(&self) -> Vec<Arc<EndpointLane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// The lane of a flow; made at the first call.
    pub fn flow_lane(&self, flow: FlowId) -> Arc<FlowLane> {
        let mut lanes = self.flow_lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&flow) {
            return Arc::clone(lane);
        }
        let (sender, queue) = mpsc::unbounded_channel();
        let room = Arc::new(LaneCapacity::new(FLOW_PLACES, &self.budget));
        let lane = Arc::new(FlowLane { flow, room, sender });
        lanes.insert(flow, Arc::clone(&lane));
        drop(lanes);
        drop(self.announce_flow.send(NewFlowLane { lane: Arc::clone(&lane), queue }));
        lane
    }

    /// The lane of a flow that has one.
    pub fn find_flow_lane(&self, flow: FlowId) -> Option<Arc<FlowLane>> {
        self.flow_lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&flow).map(Arc::clone)
    }

    /// Forgets the lanes of flows that are not among these; their readers see the end of the queue.
    pub fn keep_flow_lanes(&self, flows: impl Fn(FlowId) -> bool) {
        let mut lanes = self.flow_lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|flow, _| flows(*flow));
    }

    /// Places for events that are planned one at a time.
    pub fn odd_room(&self) -> &Arc<LaneCapacity> {
        &self.odd_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_sends_work_to_the_table_until_it_is_drained() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(0)));
        let room = Arc::new(LaneCapacity::new(1, &budget));
        let payload = (SURE_BYTES - OVERHEAD) / COPIES;
        let sure = room.take(payload).unwrap();
        assert!(room.take(0).is_none(), "the room's own memory is used up");
        let mut claimed = room.take_claimed().unwrap();
        assert!(claimed.pay(0), "claimed work has its own");
        assert!(room.is_full() && room.take_claimed().is_none());
        assert_eq!(room.used(), 2);
        drop((sure, claimed));
        assert!(room.take(0).is_none(), "older work waits in the table");
        room.claimed(true);
        assert!(room.take(0).is_none(), "and still does");
        room.claimed(false);
        assert!(room.take(0).is_some());
        assert_eq!((room.used(), budget.left()), (0, 0));
    }

    #[test]
    fn each_room_leaves_the_next_one_as_much_as_it_has() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let mut held: Vec<QueuePermit> = Vec::new();
        for n in 1..4 {
            let room = Arc::new(LaneCapacity::new(1_000, &budget));
            held.extend(std::iter::from_fn(|| room.take(1 << 20)));
            let borrowed = room.borrowed.load(Ordering::Relaxed);
            let apart = borrowed.abs_diff(budget.left());
            assert!(apart <= cost(1 << 20), "{n}: {borrowed} of {}", budget.left());
        }
        drop(held);
        assert_eq!(budget.left(), BUDGET);
    }

    #[test]
    fn a_room_holds_a_bounded_number_of_small_things() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(LaneCapacity::new(1, &budget));
        let held: Vec<QueuePermit> = std::iter::from_fn(|| room.take(0)).collect();
        assert_eq!(held.len(), STRETCH);
    }

    #[test]
    fn as_much_is_claimed_as_there_is_memory_for() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(LaneCapacity::new(1_000, &budget));
        assert!(room.claimable() > 1_000);
        let mut held = Vec::new();
        while let Some(mut slot) = room.take_claimed().filter(|_| room.claimable() > 0) {
            if slot.pay(1 << 20) {
                held.push(slot);
            }
        }
        assert!((4..20).contains(&held.len()), "{}", held.len());
        let another = Arc::new(LaneCapacity::new(1_000, &budget));
        another.note_cost(LARGEST);
        assert!(another.claimable() > 0, "one may be tried where nothing is claimed");
    }

    #[test]
    fn work_larger_than_the_budget_is_taken_all_the_same() {
        let budget = Arc::new(MemoryBudget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(LaneCapacity::new(1, &budget));
        assert!(room.take(usize::MAX).is_some());
    }
}
