//! Runs a lane for each endpoint, and looks for work that memory does not know of.

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

/// How often the table is asked what is due: what another node or a dead process left behind waits
/// no longer than this.
const PATROL: Duration = Duration::from_millis(500);

/// What lanes share.
#[derive(Debug)]
pub struct LaneContext {
    /// The record.
    pub journal: EventStore,
    /// The endpoints.
    pub live: LiveSettings,
    /// Sends requests.
    pub client: DeliveryClient,
    /// Requests that may be under way at once, to all endpoints together.
    pub places: Arc<RequestPlaces>,
    /// Attempts under way.
    pub tasks: TaskTracker,
    /// Ends the lanes.
    pub stop: CancellationToken,
}

/// Runs until told to stop.
pub async fn run_dispatcher(
    context: Arc<LaneContext>,
    mut lanes: mpsc::UnboundedReceiver<NewLane>,
) {
    // Before the first request: a receiver that was refusing when the last process ended is held
    // back.
    if let Err(error) = look_around(&context).await {
        tracing::warn!(%error, "cannot ask the database which receivers asked for time");
    }
    // Before the first request, too: other nodes may use all that an endpoint takes.
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

async fn sweep_lanes(context: Arc<LaneContext>) {
    let mut tick = tokio::time::interval(PATROL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = context.stop.cancelled() => return,
        }
        if let Err(error) = look_around(&context).await {
            tracing::warn!(%error, "cannot ask the database what is due");
        }
    }
}

/// Tells the lanes what the table knows and memory may not.
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
