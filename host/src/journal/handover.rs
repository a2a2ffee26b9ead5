//! What a commit hands to the next stage in memory, and the room there is for it.
//!
//! Each endpoint has a [`Lane`]: a bounded queue of deliveries leased to this process. Each flow with modules has a
//! [`FlowLane`] for the events that its modules are to run on. Each has a [`Room`] with a few places that are its own and stretches while the shared budget of
//! memory lasts, so that many endpoints that hang cannot fill the memory. A stage takes a [`Slot`]
//! before the commit; the row is born leased if it got one, unleased if not. The slot travels with the work and frees its place when it is dropped, after
//! the next commit.

use crate::domain::delivery::Lease;
use crate::domain::event::{Event, Message};
use crate::domain::id::{DeliveryId, EndpointId, FlowId};
use crate::domain::time::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Memory for work beyond the places that each room is sure of, shared by all rooms of the process.
#[derive(Debug)]
struct Budget(AtomicUsize);

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .is_ok()
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Places for work in memory: for what is born leased some that are sure, and many more while the
/// shared budget lasts; for what is claimed from the table as many as are sure, of its own, so that
/// new work never keeps older work in the table.
#[derive(Debug)]
pub struct Room {
    sure: AtomicUsize,
    born: AtomicUsize,
    claimed: AtomicUsize,
    budget: Arc<Budget>,
    overflowed: AtomicBool,
    more: AtomicBool,
    /// Woken when work may wait in the table.
    pub wake: Notify,
}

/// What a piece of work in memory costs beside its payload, roughly.
const OVERHEAD: usize = 1_024;
/// How many times its sure places a room may hold.
const STRETCH: usize = 16;

impl Room {
    fn new(sure: usize, budget: &Arc<Budget>) -> Self {
        Self {
            sure: AtomicUsize::new(sure),
            born: AtomicUsize::new(0),
            claimed: AtomicUsize::new(0),
            budget: Arc::clone(budget),
            overflowed: AtomicBool::new(false),
            more: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// A place for work with a payload of that many bytes, if there is one and nothing waits in the
    /// table already. `None` also notes that there will be work in the table.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Slot> {
        let waiting = self.overflowed.load(Ordering::Relaxed);
        let slot = if waiting { None } else { self.place(bytes + OVERHEAD) };
        if slot.is_none() {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        slot
    }

    fn place(self: &Arc<Self>, bytes: usize) -> Option<Slot> {
        let sure = self.sure.load(Ordering::Relaxed);
        if occupy(&self.born, sure) {
            return Some(Slot { room: Arc::clone(self), held: Held::Born { bytes: 0 } });
        }
        if !occupy(&self.born, sure * STRETCH) {
            return None;
        }
        let bytes = if self.budget.take(bytes) { Some(bytes) } else { None };
        // Dropped where the budget has no more, it frees the place that was just taken.
        let held = Held::Born { bytes: bytes.unwrap_or(0) };
        let slot = Slot { room: Arc::clone(self), held };
        bytes.map(|_| slot)
    }

    /// A place for work claimed from the table.
    pub fn take_claimed(self: &Arc<Self>) -> Option<Slot> {
        let free = occupy(&self.claimed, self.sure.load(Ordering::Relaxed));
        free.then(|| Slot { room: Arc::clone(self), held: Held::Claimed })
    }

    /// Whether a claim would find no place.
    pub fn is_full(&self) -> bool {
        self.claimed.load(Ordering::Relaxed) >= self.sure.load(Ordering::Relaxed)
    }

    /// How many places are taken.
    pub fn used(&self) -> usize {
        self.born.load(Ordering::Relaxed) + self.claimed.load(Ordering::Relaxed)
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
}

fn occupy(used: &AtomicUsize, most: usize) -> bool {
    let one_more = |used| (used < most).then_some(used + 1);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
}

/// One place in a [`Room`]; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    room: Arc<Room>,
    held: Held,
}

/// Which place a slot is, and what it takes of the budget; none where the place is a sure one.
#[derive(Debug)]
enum Held {
    Born { bytes: usize },
    Claimed,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let room = &self.room;
        match self.held {
            Held::Born { bytes } => {
                room.budget.give(bytes);
                room.born.fetch_sub(1, Ordering::Relaxed);
            }
            Held::Claimed => {
                let claimed = room.claimed.fetch_sub(1, Ordering::Relaxed) - 1;
                // Half of the places: enough for a claim to be worth its commit.
                let worth = claimed * 2 <= room.sure.load(Ordering::Relaxed);
                if worth && (room.more.load(Ordering::Relaxed) || room.overflowed()) {
                    room.nudge();
                }
            }
        }
    }
}

/// A delivery leased to this process.
#[derive(Debug)]
pub struct Leased {
    /// Its id.
    pub id: DeliveryId,
    /// The event.
    pub event: Arc<Event>,
    /// What to send, if not the event as captured.
    pub message: Option<Arc<Message>>,
    /// Attempts made so far.
    pub attempts: i32,
    /// Attempts made before the present round of the schedule.
    pub round_from: i32,
    /// Deliveries collapsed into this one; `None` where the endpoint does not collapse.
    pub collapsed: Option<i32>,
    /// The right to settle it.
    pub lease: Lease,
    /// Its place in memory.
    pub slot: Slot,
}

/// A planning leased to this process.
#[derive(Debug)]
pub struct Planning {
    /// Whether it came from the table: then a dead letter of it may exist.
    pub claimed: bool,
    /// The event.
    pub event: Arc<Event>,
    /// The flow whose modules are to run.
    pub flow: FlowId,
    /// Tries made so far.
    pub attempts: i32,
    /// How often a process died that held it; see [`claim`](super::claim).
    pub deaths: i32,
    /// The right to record the plan.
    pub lease: Lease,
    /// Its place in memory.
    pub slot: Slot,
}

/// An endpoint's queue in memory.
#[derive(Debug)]
pub struct Lane {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its places.
    pub room: Arc<Room>,
    sender: mpsc::UnboundedSender<Leased>,
    next_due: Mutex<Option<Timestamp>>,
}

impl Lane {
    /// Queues a delivery; its slot has bounded the queue already.
    pub fn push(&self, leased: Leased) {
        // A closed lane is one of a stopping server: the lease runs out and the row is claimed again.
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
    /// The lane.
    pub lane: Arc<Lane>,
    /// What is pushed into it.
    pub queue: mpsc::UnboundedReceiver<Leased>,
}

/// A flow's queue in memory.
#[derive(Debug)]
pub struct FlowLane {
    /// The flow.
    pub flow: FlowId,
    /// Its places.
    pub room: Arc<Room>,
    sender: mpsc::UnboundedSender<Planning>,
}

impl FlowLane {
    /// Queues a planning; its slot has bounded the queue already.
    pub fn push(&self, planning: Planning) {
        // A closed lane is one of a stopping server: the lease runs out and the row is claimed again.
        drop(self.sender.send(planning));
    }
}

/// A flow's lane and the end that is read.
#[derive(Debug)]
pub struct NewFlowLane {
    /// The lane.
    pub lane: Arc<FlowLane>,
    /// What is pushed into it.
    pub queue: mpsc::UnboundedReceiver<Planning>,
}

/// All rooms and lanes of this process.
#[derive(Debug)]
pub struct Handover {
    lanes: Mutex<HashMap<EndpointId, Arc<Lane>>>,
    announce: mpsc::UnboundedSender<NewLane>,
    flow_lanes: Mutex<HashMap<FlowId, Arc<FlowLane>>>,
    announce_flow: mpsc::UnboundedSender<NewFlowLane>,
    /// Places for events under which a process died, and for those of flows that are gone.
    odd_room: Arc<Room>,
    budget: Arc<Budget>,
}

/// The ends that the next stages read.
#[derive(Debug)]
pub struct Outlets {
    /// New lanes, as endpoints are made.
    pub lanes: mpsc::UnboundedReceiver<NewLane>,
    /// New lanes, as flows are made.
    pub flow_lanes: mpsc::UnboundedReceiver<NewFlowLane>,
}

/// Memory for work beyond the sure places, in bytes.
const BUDGET: usize = 32 << 20;
/// Sure places in a flow's lane for events that wait for its modules.
const FLOW_PLACES: usize = 128;
/// Places for events that are planned one at a time.
const ODD_PLACES: usize = 16;
/// Sure places in a lane for each request that may be under way.
const PLACES_PER_REQUEST: usize = 4;

impl Handover {
    pub(super) fn new() -> (Self, Outlets) {
        let (announce, lanes) = mpsc::unbounded_channel();
        let (announce_flow, flow_lanes) = mpsc::unbounded_channel();
        let budget = Arc::new(Budget(AtomicUsize::new(BUDGET)));
        let odd_room = Arc::new(Room::new(ODD_PLACES, &budget));
        let (all, all_flows) = (Mutex::default(), Mutex::default());
        let handover =
            Self { lanes: all, announce, flow_lanes: all_flows, announce_flow, odd_room, budget };
        (handover, Outlets { lanes, flow_lanes })
    }

    /// The lane of an endpoint with that many requests under way at most; made at the first call.
    pub fn lane(&self, endpoint: EndpointId, max_in_flight: usize) -> Arc<Lane> {
        let places = max_in_flight * PLACES_PER_REQUEST;
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&endpoint) {
            lane.room.sure.store(places, Ordering::Relaxed);
            return Arc::clone(lane);
        }
        let (sender, queue) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(places, &self.budget));
        let lane = Arc::new(Lane { endpoint, room, sender, next_due: Mutex::new(None) });
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
    pub fn find_lane(&self, endpoint: EndpointId) -> Option<Arc<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).map(Arc::clone)
    }

    /// Every lane.
    pub fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// The lane of a flow; made at the first call.
    pub fn flow_lane(&self, flow: FlowId) -> Arc<FlowLane> {
        let mut lanes = self.flow_lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&flow) {
            return Arc::clone(lane);
        }
        let (sender, queue) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(FLOW_PLACES, &self.budget));
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
    pub fn odd_room(&self) -> &Arc<Room> {
        &self.odd_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_sends_work_to_the_table_until_it_is_drained() {
        let budget = Arc::new(Budget(AtomicUsize::new(2 * OVERHEAD)));
        let room = Arc::new(Room::new(1, &budget));
        let (sure, more) = (room.take(9_999).unwrap(), room.take(OVERHEAD).unwrap());
        assert!(room.take(0).is_none(), "the budget is used up");
        assert_eq!(room.used(), 2);
        let claimed = room.take_claimed().unwrap();
        assert!(room.is_full() && room.take_claimed().is_none());
        drop((sure, more, claimed));
        assert!(room.take(0).is_none(), "older work waits in the table");
        room.claimed(true);
        assert!(room.take(0).is_none(), "and still does");
        room.claimed(false);
        assert!(room.take(0).is_some());
        assert_eq!((room.used(), budget.0.load(Ordering::Relaxed)), (0, 2 * OVERHEAD));
    }

    #[test]
    fn one_room_cannot_take_all_of_the_budget() {
        let budget = Arc::new(Budget(AtomicUsize::new(BUDGET)));
        let room = Arc::new(Room::new(1, &budget));
        let held: Vec<Slot> = std::iter::from_fn(|| room.take(0)).collect();
        assert_eq!(held.len(), STRETCH);
    }
}
