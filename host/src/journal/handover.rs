//! What a commit hands to the next stage in memory, and the room there is for it.
//!
//! Each endpoint has a [`Lane`]: a bounded queue of deliveries leased to this process. Planning has
//! one [`Room`]. A stage takes a [`Slot`] before the commit; the row is born leased if it got one,
//! unleased if not. The slot travels with the work and frees its place when it is dropped, after
//! the next commit.

use crate::domain::delivery::Lease;
use crate::domain::event::{Event, Message};
use crate::domain::id::{DeliveryId, EndpointId, FlowId};
use crate::domain::time::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Places for work in memory.
#[derive(Debug)]
pub struct Room {
    capacity: AtomicUsize,
    used: AtomicUsize,
    overflowed: AtomicBool,
    /// Woken when work may wait in the table.
    pub wake: Notify,
}

impl Room {
    fn new(capacity: usize) -> Self {
        Self {
            capacity: AtomicUsize::new(capacity),
            used: AtomicUsize::new(0),
            overflowed: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// A place, if one is free and nothing waits in the table already. `None` also notes that
    /// there will be work in the table.
    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        let slot = if self.overflowed.load(Ordering::Relaxed) { None } else { self.take_any() };
        if slot.is_none() {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        slot
    }

    /// A place for work claimed from the table.
    pub fn take_any(self: &Arc<Self>) -> Option<Slot> {
        let capacity = self.capacity.load(Ordering::Relaxed);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < capacity).then_some(used + 1)
            })
            .ok()
            .map(|_| Slot { room: Arc::clone(self) })
    }

    /// How many places are free.
    pub fn free(&self) -> usize {
        self.capacity.load(Ordering::Relaxed).saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// How many places there are.
    pub fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Whether work went to the table because there was no room.
    pub fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Says that the table holds no more waiting work, as far as a claim saw.
    pub fn drained(&self) {
        self.overflowed.store(false, Ordering::Relaxed);
    }

    /// Says that there is work in the table, and wakes whoever claims it.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }
}

/// One place in a [`Room`]; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    room: Arc<Room>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let used = self.room.used.fetch_sub(1, Ordering::Relaxed) - 1;
        if used * 2 <= self.room.capacity() && self.room.overflowed() {
            self.room.nudge();
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
    /// The event.
    pub event: Arc<Event>,
    /// The flow whose modules are to run.
    pub flow: FlowId,
    /// Tries made so far.
    pub attempts: i32,
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

/// All rooms and lanes of this process.
#[derive(Debug)]
pub struct Handover {
    lanes: Mutex<HashMap<EndpointId, Arc<Lane>>>,
    announce: mpsc::UnboundedSender<NewLane>,
    planning_room: Arc<Room>,
    planning: mpsc::UnboundedSender<Planning>,
}

/// The ends that the next stages read.
#[derive(Debug)]
pub struct Outlets {
    /// New lanes, as endpoints are made.
    pub lanes: mpsc::UnboundedReceiver<NewLane>,
    /// Events whose modules are to run.
    pub planning: mpsc::UnboundedReceiver<Planning>,
}

/// Events that wait in memory for their modules.
const PLANNING_ROOM: usize = 2_048;
/// Places in a lane for each request that may be under way.
const PLACES_PER_REQUEST: usize = 16;

impl Handover {
    pub(super) fn new() -> (Self, Outlets) {
        let (announce, lanes) = mpsc::unbounded_channel();
        let (planning, plannings) = mpsc::unbounded_channel();
        let planning_room = Arc::new(Room::new(PLANNING_ROOM));
        let handover = Self { lanes: Mutex::default(), announce, planning_room, planning };
        (handover, Outlets { lanes, planning: plannings })
    }

    /// The lane of an endpoint with that many requests under way at most; made at the first call.
    pub fn lane(&self, endpoint: EndpointId, max_in_flight: usize) -> Arc<Lane> {
        let capacity = max_in_flight * PLACES_PER_REQUEST;
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&endpoint) {
            lane.room.capacity.store(capacity, Ordering::Relaxed);
            return Arc::clone(lane);
        }
        let (sender, queue) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(capacity));
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

    /// The room for planning.
    pub fn planning_room(&self) -> &Arc<Room> {
        &self.planning_room
    }

    /// Queues a planning; its slot has bounded the queue already.
    pub fn push_planning(&self, planning: Planning) {
        drop(self.planning.send(planning));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_sends_work_to_the_table_until_it_is_drained() {
        let room = Arc::new(Room::new(2));
        let (first, second) = (room.take().unwrap(), room.take().unwrap());
        assert!(room.take().is_none());
        drop((first, second));
        assert!(room.take().is_none(), "older work waits in the table");
        assert!(room.take_any().is_some());
        room.drained();
        assert!(room.take().is_some());
    }
}
