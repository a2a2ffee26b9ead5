//! Work that a commit hands to the next stage in memory, and the capacity for it.
//!
//! Each endpoint has an [`EndpointLane`]: a bounded queue of deliveries leased to this process.
//! Each flow with modules has a [`FlowLane`] for the events on which its modules are to run. Each
//! lane has a [`LaneCapacity`]. A stage takes a [`QueuePermit`] before the commit. With a permit
//! the row is inserted leased, without one unleased. The permit travels with the work and frees its
//! place when it is dropped, after the next commit.
//!
//! A permit reserves three times the payload in bytes, because during sending there are the event,
//! the body made from it, and the intermediate form. Each capacity has 128 KiB of its own for new
//! work and as much for claimed work. Beyond that it borrows from one budget for the whole process,
//! and never more than is left for the others. So one endpoint that hangs leaves half of the
//! budget, two that hang leave a third, and so on.

pub mod lane_capacity;
pub mod lane_share;
pub mod lanes;

pub use lane_capacity::{LaneCapacity, QueuePermit};
pub use lane_share::{LaneShare, SharedSlot, WHOLE_RATE};
pub use lanes::{EndpointLane, FlowLane, LeasedDelivery, LeasedPlanning, NewFlowLane, NewLane};

use crate::model::id::{EndpointId, FlowId};
use lane_capacity::MemoryBudget;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// All lanes and capacities of this process.
#[derive(Debug)]
pub struct WorkPrefetch {
    lanes: Mutex<HashMap<EndpointId, Arc<EndpointLane>>>,
    announce: mpsc::UnboundedSender<NewLane>,
    flow_lanes: Mutex<HashMap<FlowId, Arc<FlowLane>>>,
    announce_flow: mpsc::UnboundedSender<NewFlowLane>,
    /// Capacity for events under which a process died, and for events of deleted flows.
    odd_room: Arc<LaneCapacity>,
    budget: Arc<MemoryBudget>,
    /// Whether the endpoints' limits are divided among nodes, so that a new lane has no share yet.
    is_divided: AtomicBool,
}

/// The receiving ends, which the next stages read.
#[derive(Debug)]
pub struct PrefetchOutlets {
    /// New lanes of endpoints.
    pub lanes: mpsc::UnboundedReceiver<NewLane>,
    /// New lanes of flows.
    pub flow_lanes: mpsc::UnboundedReceiver<NewFlowLane>,
}

/// Guaranteed places in a flow's lane for events that wait for its modules.
const FLOW_PLACES: usize = 128;
/// Places for events that are planned one at a time.
const ODD_PLACES: usize = 16;
/// Guaranteed places in a lane for each concurrent request.
const PLACES_PER_REQUEST: usize = 4;

impl WorkPrefetch {
    pub fn new() -> (Self, PrefetchOutlets) {
        let (announce, lanes) = mpsc::unbounded_channel();
        let (announce_flow, flow_lanes) = mpsc::unbounded_channel();
        let budget = MemoryBudget::shared();
        let odd_room = Arc::new(LaneCapacity::new(ODD_PLACES, &budget));
        let (all, all_flows) = (Mutex::default(), Mutex::default());
        let prefetch = Self {
            lanes: all,
            announce,
            flow_lanes: all_flows,
            announce_flow,
            odd_room,
            budget,
            is_divided: AtomicBool::new(false),
        };
        (prefetch, PrefetchOutlets { lanes, flow_lanes })
    }

    /// Returns the lane of an endpoint that may have `max_in_flight` concurrent requests. Creates
    /// it at the first call.
    pub fn open_lane(&self, endpoint: EndpointId, max_in_flight: usize) -> Arc<EndpointLane> {
        let places = max_in_flight * PLACES_PER_REQUEST;
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&endpoint) {
            lane.room.set_places(places);
            return Arc::clone(lane);
        }
        let share = LaneShare::new(self.is_divided());
        let new = EndpointLane::open(endpoint, LaneCapacity::new(places, &self.budget), share);
        let lane = Arc::clone(&new.lane);
        lanes.insert(endpoint, Arc::clone(&lane));
        drop(lanes);
        drop(self.announce.send(new));
        lane
    }

    /// Returns whether limits are divided among nodes.
    pub fn is_divided(&self) -> bool {
        self.is_divided.load(Ordering::Relaxed)
    }

    /// Records whether limits are divided among nodes.
    pub fn note_division(&self, is_divided: bool) {
        self.is_divided.store(is_divided, Ordering::Relaxed);
    }

    /// Removes the lane of a deleted endpoint and ends the task that reads it.
    pub fn remove_lane(&self, endpoint: EndpointId) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.remove(&endpoint) {
            lane.removed.cancel();
        }
    }

    pub fn find_lane(&self, endpoint: EndpointId) -> Option<Arc<EndpointLane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).map(Arc::clone)
    }

    pub fn lanes(&self) -> Vec<Arc<EndpointLane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Returns the lane of a flow. Creates it at the first call.
    pub fn open_flow_lane(&self, flow: FlowId) -> Arc<FlowLane> {
        let mut lanes = self.flow_lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&flow) {
            return Arc::clone(lane);
        }
        let new = FlowLane::open(flow, LaneCapacity::new(FLOW_PLACES, &self.budget));
        let lane = Arc::clone(&new.lane);
        lanes.insert(flow, Arc::clone(&lane));
        drop(lanes);
        drop(self.announce_flow.send(new));
        lane
    }

    pub fn find_flow_lane(&self, flow: FlowId) -> Option<Arc<FlowLane>> {
        self.flow_lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&flow).map(Arc::clone)
    }

    /// Removes the lanes of all other flows. Their readers see the end of the queue.
    pub fn keep_flow_lanes(&self, flows: impl Fn(FlowId) -> bool) {
        let mut lanes = self.flow_lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|flow, _| flows(*flow));
    }

    /// Returns the capacity for events that are planned one at a time.
    pub fn odd_room(&self) -> &Arc<LaneCapacity> {
        &self.odd_room
    }
}
