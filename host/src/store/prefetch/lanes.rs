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
    /// Whether it was claimed from the table. A process that died may have sent it before.
    pub claimed: bool,
    pub id: DeliveryId,
    pub event: Arc<Event>,
    /// The flow that planned it. `None` for an endpoint's own `events`.
    pub flow: Option<FlowId>,
    /// The message to send, if it is not the event as captured.
    pub message: Option<Arc<DeliveryMessage>>,
    pub attempts: i32,
    /// Number of attempts before the present round of the schedule.
    pub round_from: i32,
    /// Time at which the receiver first asked for a pause in this round.
    pub held_since: Option<Timestamp>,
    /// Number of deliveries collapsed into this one. `None` if the endpoint does not collapse.
    pub collapsed: Option<i32>,
    pub lease: WorkLease,
    pub slot: QueuePermit,
}

/// A planning leased to this process.
#[derive(Debug)]
pub struct LeasedPlanning {
    /// Whether it was claimed from the table. It may then have a dead letter.
    pub claimed: bool,
    pub event: Arc<Event>,
    pub flow: FlowId,
    pub attempts: i32,
    /// Number of processes that died while they held it; see [`claim`](crate::store::claim).
    pub deaths: i32,
    pub lease: WorkLease,
    pub slot: QueuePermit,
}

/// The queue of an endpoint in memory.
#[derive(Debug)]
pub struct EndpointLane {
    pub endpoint: EndpointId,
    pub room: Arc<LaneCapacity>,
    /// The share that this process has of the endpoint's limits.
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

    /// Locks the receiver's pace. The lock must be held for moments only.
    pub fn lock_pace(&self) -> MutexGuard<'_, ReceiverPace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a delivery. Its permit has already bounded the queue.
    pub fn push_delivery(&self, leased: LeasedDelivery) {
        // A lane is closed only when the server stops. The lease then runs out and the row is
        // claimed again.
        drop(self.sender.send(leased));
    }

    /// Returns the earliest known time at which the table has a due delivery.
    pub fn next_due(&self) -> Option<Timestamp> {
        *self.next_due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the table has a delivery that is due at `at`.
    pub fn note_due(&self, at: Timestamp) {
        let mut next = self.next_due.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_none_or(|known| at < known) {
            *next = Some(at);
            drop(next);
            self.room.wake_claimer();
        }
    }

    /// Returns whether the last claim found too little although more deliveries were due than it
    /// examined.
    pub fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Records whether blocked deliveries may hide others from claims.
    pub fn note_crowd(&self, is_crowded: bool) {
        self.crowded.store(is_crowded, Ordering::Relaxed);
    }

    /// Replaces the known due time.
    pub fn set_next_due(&self, at: Option<Timestamp>) {
        *self.next_due.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// A lane and the receiving end of its queue.
#[derive(Debug)]
pub struct NewLane {
    pub lane: Arc<EndpointLane>,
    pub queue: mpsc::UnboundedReceiver<LeasedDelivery>,
}

/// The queue of a flow in memory.
#[derive(Debug)]
pub struct FlowLane {
    pub flow: FlowId,
    pub room: Arc<LaneCapacity>,
    sender: mpsc::UnboundedSender<LeasedPlanning>,
}

impl FlowLane {
    pub fn open(flow: FlowId, room: LaneCapacity) -> NewFlowLane {
        let (sender, queue) = mpsc::unbounded_channel();
        NewFlowLane { lane: Arc::new(Self { flow, room: Arc::new(room), sender }), queue }
    }

    /// Queues a planning. Its permit has already bounded the queue.
    pub fn push_planning(&self, planning: LeasedPlanning) {
        // A lane is closed only when the server stops. The lease then runs out and the row is
        // claimed again.
        drop(self.sender.send(planning));
    }
}

/// A flow's lane and the receiving end of its queue.
#[derive(Debug)]
pub struct NewFlowLane {
    pub lane: Arc<FlowLane>,
    pub queue: mpsc::UnboundedReceiver<LeasedPlanning>,
}
