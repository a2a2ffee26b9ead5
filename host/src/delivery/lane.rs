//! The queue of one endpoint. A leased delivery is sent as soon as the endpoint's limits allow it.

use super::dispatcher::LaneContext;
use super::leased_attempt::send_delivery;
use super::turn::{EndpointTurns, HeldBack, SendTurn};
use crate::model::delivery::WorkLease;
use crate::model::id::DeliveryId;
use crate::model::receiver_pace::ReceiverPace;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::StoreError;
use crate::store::prefetch::{EndpointLane, LeasedDelivery, NewLane};
use crate::time::timestamp::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How much longer a lease must be valid than the time-out of the attempt that uses it.
const FRESH: Duration = Duration::from_secs(5);
/// How often a delivery that waits for its turn checks whether this node still has a share of the
/// endpoint's limit.
const SHARE_CHECK: Duration = Duration::from_secs(1);
/// The pause after a failed claim.
const PAUSE: Duration = Duration::from_secs(1);

struct LaneRunner {
    context: Arc<LaneContext>,
    lane: Arc<EndpointLane>,
    turns: EndpointTurns,
    /// The URL for which the receiver's pace was learnt.
    url: Option<String>,
    /// Whether the lane has claimed in order, so that blocked deliveries may be parked.
    is_ordered: bool,
    changes: watch::Receiver<i64>,
}

/// Runs a lane until its endpoint is deleted or the server stops, then releases the deliveries that
/// it holds.
pub async fn run_lane(context: Arc<LaneContext>, NewLane { lane, mut queue }: NewLane) {
    let stop = context.stop.clone();
    let turns = EndpointTurns::new(Arc::clone(&context.places));
    let changes = context.live.changes();
    let mut runner = LaneRunner { context, lane, turns, url: None, is_ordered: false, changes };
    loop {
        let due = runner.next_claim();
        tokio::select! {
            leased = queue.recv() => match leased {
                Some(leased) => runner.handle_delivery(leased, &mut queue).await,
                None => return,
            },
            () = runner.lane.room.wake.notified() => runner.claim_due().await,
            () = sleep(due) => runner.claim_due().await,
            _ = runner.changes.changed() => runner.adapt_to_settings().await,
            () = runner.lane.removed.cancelled() => break,
            () = stop.cancelled() => break,
        }
    }
    queue.close();
    let held = drain_queue(&mut queue);
    runner.release_deliveries(held).await;
}

/// Sleeps for a time, or for ever if there is none.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Returns all deliveries that are in the queue now.
fn drain_queue(queue: &mut mpsc::UnboundedReceiver<LeasedDelivery>) -> Vec<LeasedDelivery> {
    std::iter::from_fn(|| queue.try_recv().ok()).collect()
}

/// Whether a delivery may be sent now.
enum SendReadiness {
    Go(SendTurn),
    /// The endpoint is deleted or disabled, the lease is nearly over, or the server is stopping.
    NotNow,
    /// Other nodes use all requests that the endpoint may have at once.
    Elsewhere,
    /// The receiver asked for time until then.
    Later(Timestamp),
}

impl LaneRunner {
    fn now(&self) -> Timestamp {
        self.context.journal.clock().now()
    }

    fn find_target(&self) -> Option<Arc<EndpointRuntime>> {
        self.context.live.sendable(self.lane.endpoint)
    }

    /// Adapts the lane to the present settings of its endpoint.
    async fn adapt_to_settings(&mut self) {
        let Some(target) = self.find_target() else { return };
        self.turns.adapt(&target);
        if self.is_ordered && !target.endpoint.settings.ordered {
            self.is_ordered = false;
            self.unpark_all().await;
        }
        let url = &target.endpoint.settings.url;
        if self.url.as_ref() == Some(url) {
            return;
        }
        if self.url.replace(url.clone()).is_some() {
            self.forget_receiver().await;
        }
    }

    async fn unpark_all(&self) {
        let endpoint = self.lane.endpoint;
        if let Err(error) = self.context.journal.unpark_endpoint(endpoint).await {
            tracing::warn!(%endpoint, %error,
                "cannot release the deliveries that waited for their order; they become due within an hour");
        }
    }

    /// Forgets the holds and the pace of the receiver at the last URL, because they do not apply to
    /// the receiver at the new one.
    async fn forget_receiver(&self) {
        let (journal, endpoint) = (&self.context.journal, self.lane.endpoint);
        // The last attempts may contain a hold and may not be written yet. If the database is away,
        // this waits, but the server can still stop.
        tokio::select! {
            () = journal.flush_writes() => {}
            () = self.context.stop.cancelled() => {}
        }
        if let Err(error) = journal.lift_hold(endpoint).await {
            tracing::warn!(%endpoint, %error, "cannot end a hold");
        }
        // This comes last and carries the time, so a hold that the patrol read before the holds
        // were lifted is not restored.
        *self.lane.lock_pace() = ReceiverPace::starting_at(Instant::now());
    }

    /// Returns the time until the next claim, or `None` if the lane knows of no due delivery.
    fn next_claim(&self) -> Option<Duration> {
        let target = self.find_target()?;
        if self.lane.room.is_full() || !target.has_share() {
            return None;
        }
        let due = self.lane.next_due()?.since(self.now());
        Some(due.max(self.lane.lock_pace().remaining_hold(Instant::now()).unwrap_or_default()))
    }

    async fn claim_due(&mut self) {
        let now = self.now();
        let due =
            self.lane.next_due().is_some_and(|at| at <= now) || self.lane.room.has_overflowed();
        let Some(target) = self.find_target() else { return };
        let held = self.lane.lock_pace().remaining_hold(Instant::now()).is_some();
        if !due || held || self.lane.room.is_full() || !target.has_share() {
            return;
        }
        let ordered = target.endpoint.settings.ordered;
        self.is_ordered |= ordered;
        match self.context.journal.claim_deliveries(&self.lane, ordered, target.hold()).await {
            Ok(claimed) => {
                // Due deliveries that an earlier one of their record holds back are looked for
                // again when that one is settled, or at the next patrol.
                let stuck = claimed.is_empty() && self.lane.next_due().is_some_and(|at| at <= now);
                if stuck {
                    self.lane.set_next_due(None);
                }
                for leased in claimed {
                    self.lane.push_delivery(leased);
                }
            }
            Err(error) => {
                tracing::warn!(endpoint = %self.lane.endpoint, %error, "cannot claim deliveries");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn handle_delivery(
        &mut self,
        leased: LeasedDelivery,
        queue: &mut mpsc::UnboundedReceiver<LeasedDelivery>,
    ) {
        let stop = self.context.stop.clone();
        let ready = tokio::select! {
            ready = self.wait_until_ready(&leased) => ready,
            () = stop.cancelled() => SendReadiness::NotNow,
        };
        match ready {
            SendReadiness::Go(turn) => {
                let (context, lane) = (Arc::clone(&self.context), Arc::clone(&self.lane));
                // Boxed because this future is large, and a task's future is moved several times
                // before it runs.
                self.context.tasks.spawn(Box::pin(async move {
                    send_delivery(&context, &lane, &turn, leased).await;
                    drop(turn);
                }));
            }
            SendReadiness::NotNow => self.release_deliveries(vec![leased]).await,
            SendReadiness::Elsewhere => {
                let mut unsent = drain_queue(queue);
                unsent.push(leased);
                self.release_deliveries(unsent).await;
            }
            // The deliveries that are queued behind it must wait as long.
            SendReadiness::Later(until) => {
                let mut held = drain_queue(queue);
                held.push(leased);
                self.hold_deliveries(held, until).await;
            }
        }
    }

    /// Waits until another request may be sent to the endpoint. Uses the settings in force at the
    /// end of the wait.
    async fn wait_until_ready(&mut self, leased: &LeasedDelivery) -> SendReadiness {
        loop {
            self.changes.mark_unchanged();
            self.adapt_to_settings().await;
            let Some(target) = self.find_target() else { return SendReadiness::NotNow };
            if !target.has_share() {
                return SendReadiness::Elsewhere;
            }
            let usable = leased.lease.until.since(self.now().after(target.timeout + FRESH));
            if usable.is_zero() {
                return SendReadiness::NotNow;
            }
            tokio::select! {
                biased;
                turn = self.turns.next(&self.lane) => return match turn {
                    Ok(turn) => SendReadiness::Go(turn),
                    Err(HeldBack { left }) => SendReadiness::Later(self.now().after(left)),
                },
                _ = self.changes.changed() => {}
                // Other nodes may have taken this node's share in the meantime.
                () = tokio::time::sleep(SHARE_CHECK.min(usable)), if target.shares_requests() => {}
                () = tokio::time::sleep(usable) => return SendReadiness::NotNow,
            }
        }
    }

    async fn release_deliveries(&self, unsent: Vec<LeasedDelivery>) {
        let leases = leases_of(&unsent);
        if leases.is_empty() {
            return;
        }
        let due = self.now();
        let released = self.context.journal.release_deliveries(&leases, due).await;
        self.note_release(released, due);
    }

    /// Releases deliveries and makes them due when the receiver's hold ends.
    async fn hold_deliveries(&self, unsent: Vec<LeasedDelivery>, until: Timestamp) {
        let leases = leases_of(&unsent);
        let held = self.context.journal.hold_deliveries(&leases, until).await;
        self.note_release(held, until);
    }

    fn note_release(&self, released: Result<(), StoreError>, due: Timestamp) {
        if let Err(error) = released {
            tracing::warn!(endpoint = %self.lane.endpoint, %error,
                "cannot release deliveries; they become due when their leases end");
        }
        self.lane.note_due(due);
    }
}

fn leases_of(unsent: &[LeasedDelivery]) -> Vec<(DeliveryId, WorkLease)> {
    unsent.iter().map(|one| (one.id, one.lease)).collect()
}
