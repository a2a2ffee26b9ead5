//! Queues of work in memory, one for each endpoint and each flow with modules.

use super::lane_capacity::{LaneCapacity, QueuePermit};
use super::lane_share::LaneShare;
use crate::model::delivery::WorkLease;
use crate::model::event::{DeliveryMessage, Event};
use crate::model::id::{DeliveryId, EndpointId, FlowId};
use crate::model::receiver_pace::ReceiverPace;
use crate::time::timestamp::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A delivery leased to this process.
#[derive(Debug)]
pub struct LeasedDelivery {
    /// Whether it came from the table: then a process that died may have sent it before.
    pub claimed: bool,
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
    /// How often a process died that held it; see [`claim`](crate::store::claim).
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
    /// What this process may use of the endpoint's limits.
    pub share: Arc<LaneShare>,
    /// Cancelled when the endpoint is deleted. The task that reads the queue holds the lane, so the
    /// queue itself never ends.
    pub removed: CancellationToken,
    sender: mpsc::UnboundedSender<LeasedDelivery>,
    next_due: Mutex<Option<Timestamp>>,
    crowded: AtomicBool,
    pace: Mutex<ReceiverPace>,
}

impl EndpointLane {
    pub fn open(endpoint: EndpointId, room: LaneCapacity, share: LaneShare) -> NewLane {
        let (sender, queue) = mpsc::unbounded_channel();
        let (room, next_due, pace) = (Arc::new(room), Mutex::new(None), Mutex::default());
        let (removed, share) = (CancellationToken::new(), Arc::new(share));
        let crowded = AtomicBool::new(false);
        let lane = Self { endpoint, room, share, removed, sender, next_due, crowded, pace };
        let lane = Arc::new(lane);
        NewLane { lane, queue }
    }

    /// What is known of how fast the receiver takes requests. Held for moments only.
    pub fn lock_pace(&self) -> MutexGuard<'_, ReceiverPace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a delivery; its slot has bounded the queue already.
    pub fn push_delivery(&self, leased: LeasedDelivery) {
        // A closed lane is one of a stopping server: the lease runs out and the row is claimed
        // again.
        drop(self.sender.send(leased));
    }

    /// When the table is known to hold something due, at the earliest.
    pub fn next_due(&self) -> Option<Timestamp> {
        *self.next_due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the table holds something due at `at`.
    pub fn note_due(&self, at: Timestamp) {
        let mut next = self.next_due.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_none_or(|known| at < known) {
            *next = Some(at);
            drop(next);
            self.room.wake_claimer();
        }
    }

    /// Whether the last claim found less than it looked for, though more was due than it looked at.
    pub fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Notes whether deliveries that are blocked may hide others from claims.
    pub fn note_crowd(&self, is_crowded: bool) {
        self.crowded.store(is_crowded, Ordering::Relaxed);
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
    pub fn open(flow: FlowId, room: LaneCapacity) -> NewFlowLane {
        let (sender, queue) = mpsc::unbounded_channel();
        NewFlowLane { lane: Arc::new(Self { flow, room: Arc::new(room), sender }), queue }
    }

    /// Queues a planning; its slot has bounded the queue already.
    pub fn push_planning(&self, planning: LeasedPlanning) {
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
