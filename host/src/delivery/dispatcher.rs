//! Runs a lane for each endpoint, and looks for due work in the table that memory does not know of.

use super::lane;
use super::places::RequestPlaces;
use super::sharing::LimitSharing;
use crate::net::http_client::DeliveryClient;
use crate::settings::live::LiveSettings;
use crate::store::prefetch::NewLane;
use crate::store::{EventStore, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the table is searched for due deliveries. Deliveries that another node or a dead
/// process left behind wait at most this long.
const PATROL: Duration = Duration::from_millis(500);

/// The services that all lanes share.
#[derive(Debug)]
pub struct LaneContext {
    /// The store, for claims and records.
    pub journal: EventStore,
    /// The current settings, with the endpoints.
    pub live: LiveSettings,
    /// The client that sends requests.
    pub client: DeliveryClient,
    /// Bounds the requests in flight, over all endpoints.
    pub places: Arc<RequestPlaces>,
    /// Tracks the lanes and their attempts, so that shutdown can wait for them.
    pub tasks: TaskTracker,
    /// Tells the lanes to stop.
    pub stop: CancellationToken,
}

/// Starts a lane for each endpoint as it appears, and the background tasks of all lanes. Returns
/// when `stop` is cancelled.
pub async fn run_dispatcher(
    context: Arc<LaneContext>,
    mut lanes: mpsc::UnboundedReceiver<NewLane>,
) {
    // Reads the holds before the first request, so that a receiver that asked the last process for
    // time is left alone.
    if let Err(error) = look_around(&context).await {
        tracing::warn!(%error, "cannot read from the database which receivers asked for time");
    }
    // Divides the limits before the first request, because other nodes may already use all that an
    // endpoint accepts.
    let mut sharing = LimitSharing::new(Arc::clone(&context));
    sharing.divide_once().await;
    context.tasks.spawn(sharing.run());
    context.tasks.spawn(sweep_lanes(Arc::clone(&context)));
    loop {
        tokio::select! {
            new = lanes.recv() => match new {
                Some(new) => drop(context.tasks.spawn(lane::run_lane(Arc::clone(&context), new))),
                None => return,
            },
            () = context.stop.cancelled() => return,
        }
    }
}

/// Looks for due work every [`PATROL`].
async fn sweep_lanes(context: Arc<LaneContext>) {
    let mut tick = tokio::time::interval(PATROL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = context.stop.cancelled() => return,
        }
        if let Err(error) = look_around(&context).await {
            tracing::warn!(%error, "cannot read from the database which deliveries are due");
        }
    }
}

/// Tells the lanes about holds and due deliveries in the table that they may not know of.
async fn look_around(context: &LaneContext) -> Result<(), StoreError> {
    let prefetch = context.journal.prefetch();
    let read_from = Instant::now();
    for (endpoint, until) in context.journal.list_holds().await? {
        if let Some(lane) = prefetch.find_lane(endpoint) {
            let left = until.since(context.journal.clock().now());
            lane.lock_pace().hold_for(read_from, Instant::now(), left);
        }
    }
    for (endpoint, at) in context.journal.list_next_due().await? {
        if let Some(lane) = prefetch.find_lane(endpoint) {
            lane.note_due(at);
            if at <= context.journal.clock().now() {
                lane.room.wake_claimer();
            }
        }
    }
    Ok(())
}
