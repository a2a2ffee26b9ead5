//! Decides when another request may be sent to an endpoint: by its limit of requests at once, its
//! rate limit, and its receiver's pace.

use super::places::{EndpointPlaces, RequestPlace, RequestPlaces};
use super::rate_gate::RateGate;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::prefetch::{EndpointLane, LaneShare, SharedSlot};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Deliveries wait in the table, not in memory, for a hold that is longer than this.
const LONG_HOLD: Duration = Duration::from_secs(5);

/// The right to send one request. Dropping it ends the right.
#[derive(Debug)]
pub struct SendTurn {
    _permit: OwnedSemaphorePermit,
    _place: RequestPlace,
    _slot: Option<SharedSlot>,
    /// When the turn began.
    pub begun: Instant,
}

/// The receiver asked for so much time that deliveries should not wait for it in memory.
#[derive(Debug)]
pub struct HeldBack {
    /// The rest of the hold.
    pub left: Duration,
}

/// Hands out the turns of one endpoint, one after the other.
#[derive(Debug)]
pub struct EndpointTurns {
    permits: Arc<Semaphore>,
    size: usize,
    /// Whether all nodes together keep to the number of requests at once.
    is_shared: bool,
    rate: Option<RateGate>,
    places: Arc<RequestPlaces>,
    own: EndpointPlaces,
}

impl EndpointTurns {
    pub fn new(places: Arc<RequestPlaces>) -> Self {
        let (permits, own) = (Arc::new(Semaphore::new(0)), EndpointPlaces::default());
        Self { permits, size: 0, is_shared: false, rate: None, places, own }
    }

    /// Adapts the turns to the present settings of the endpoint.
    pub fn adapt(&mut self, target: &EndpointRuntime) {
        self.resize(target.max_in_flight);
        self.is_shared = target.shares_requests();
        let limit = target.endpoint.settings.rate_limit;
        if self.rate.as_ref().map(|rate| rate.limit) != limit {
            self.rate = limit.map(RateGate::new);
        }
    }

    fn resize(&mut self, size: usize) {
        if size > self.size {
            self.permits.add_permits(size - self.size);
            self.size = size;
        } else {
            self.size -= self.permits.forget_permits(self.size - size);
        }
    }

    /// Waits for the next turn. Giving up the wait uses up nothing.
    ///
    /// The place is taken last, so an endpoint that waits for its rate holds none. When it was
    /// taken
    /// first, 288 endpoints that waited for their rates held all places of a process with 1,024
    /// open
    /// files.
    pub async fn next(&self, lane: &EndpointLane) -> Result<SendTurn, HeldBack> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        let permit = permit.expect("the semaphore is never closed");
        loop {
            let mut wait = time_to_turn(lane, Instant::now())?;
            if wait.is_zero() {
                let place = self.places.take_place(&self.own).await;
                // The receiver may have refused another request during the wait for the place.
                let now = Instant::now();
                wait = time_to_turn(lane, now)?;
                if wait.is_zero() && self.is_shared && !lane.share.has_free_slot() {
                    wait = LONG_HOLD;
                }
                if wait.is_zero() {
                    // The rate is asked once the place is held, so that a request it lets through
                    // is sent at once.
                    wait = self.take_of_rate(&lane.share, now);
                }
                if wait.is_zero() {
                    let Ok(slot) = self.take_shared(&lane.share) else { continue };
                    lane.lock_pace().begin_request(now);
                    return Ok(SendTurn {
                        _permit: permit,
                        _place: place,
                        _slot: slot,
                        begun: now,
                    });
                }
            }
            // In the meantime a refusal may turn this into a long hold, and another share into a
            // short wait.
            tokio::select! {
                () = tokio::time::sleep(wait.min(LONG_HOLD)) => {}
                () = lane.share.changed.notified() => {}
            }
        }
    }

    /// Counts a request against this node's share of the requests at once, if they are shared.
    fn take_shared(&self, share: &Arc<LaneShare>) -> Result<Option<SharedSlot>, NoShare> {
        if !self.is_shared {
            return Ok(None);
        }
        share.take_slot().map(Some).ok_or(NoShare)
    }

    /// Takes one request from the rate limit, or returns the time until one is allowed.
    fn take_of_rate(&self, share: &LaneShare, now: Instant) -> Duration {
        self.rate.as_ref().map_or(Duration::ZERO, |rate| rate.take(share.rate(), now))
    }
}

/// All requests of this node's share are in flight.
struct NoShare;

/// Returns how long the receiver's pace makes the next request wait.
fn time_to_turn(lane: &EndpointLane, now: Instant) -> Result<Duration, HeldBack> {
    let pace = lane.lock_pace();
    match pace.remaining_hold(now).filter(|left| *left > LONG_HOLD) {
        Some(left) => Err(HeldBack { left }),
        None => Ok(pace.time_to_next_request(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::RateLimit;
    use crate::model::id::EndpointId;
    use crate::store::prefetch::LaneCapacity;
    use crate::store::prefetch::lane_capacity::MemoryBudget;
    use futures_util::FutureExt as _;

    fn open_lane() -> Arc<EndpointLane> {
        let room = LaneCapacity::new(1, &MemoryBudget::shared());
        EndpointLane::open(EndpointId::generate(), room, LaneShare::new(false)).lane
    }

    fn turns_of(places: &Arc<RequestPlaces>, limit: Option<RateLimit>) -> EndpointTurns {
        let mut turns = EndpointTurns::new(Arc::clone(places));
        turns.resize(2);
        turns.rate = limit.map(RateGate::new);
        turns
    }

    #[tokio::test]
    async fn an_endpoint_that_waits_for_its_rate_holds_no_place() {
        let places = RequestPlaces::new(1);
        let slow = turns_of(&places, Some(RateLimit { per_second: 0.001, burst: 1 }));
        let (slow_lane, other_lane) = (open_lane(), open_lane());
        drop(slow.next(&slow_lane).await.unwrap());
        let mut waiting = Box::pin(slow.next(&slow_lane));
        assert!(waiting.as_mut().now_or_never().is_none());
        let other = turns_of(&places, None);
        assert!(other.next(&other_lane).now_or_never().is_some(), "the only place is free");
    }

    #[tokio::test]
    async fn a_wait_for_a_place_uses_up_nothing_of_the_rate() {
        let places = RequestPlaces::new(1);
        let slow = turns_of(&places, Some(RateLimit { per_second: 0.001, burst: 1 }));
        let (slow_lane, other_lane) = (open_lane(), open_lane());
        let other = turns_of(&places, None);
        let held = other.next(&other_lane).await.unwrap();
        assert!(slow.next(&slow_lane).now_or_never().is_none(), "the other has the only place");
        drop(held);
        assert!(slow.next(&slow_lane).now_or_never().is_some(), "its one request is left");
    }

    #[tokio::test]
    async fn a_request_waits_for_this_nodes_share_of_requests_at_once() {
        let (places, lane) = (RequestPlaces::new(8), open_lane());
        let mut turns = turns_of(&places, None);
        turns.is_shared = true;
        lane.share.set_slots(1);
        let held = turns.next(&lane).await.unwrap();
        let mut waiting = Box::pin(turns.next(&lane));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        let held = waiting.await.unwrap();
        let mut waiting = Box::pin(turns.next(&lane));
        assert!(waiting.as_mut().now_or_never().is_none());
        lane.share.set_slots(2);
        drop((waiting.await.unwrap(), held));
    }

    #[tokio::test]
    async fn a_hold_that_began_during_the_wait_for_a_place_is_obeyed() {
        let places = RequestPlaces::new(1);
        let (lane, other_lane) = (open_lane(), open_lane());
        let (turns, other) = (turns_of(&places, None), turns_of(&places, None));
        let held = other.next(&other_lane).await.unwrap();
        let mut waiting = Box::pin(turns.next(&lane));
        assert!(waiting.as_mut().now_or_never().is_none());
        let now = Instant::now();
        lane.lock_pace().note_refusal(now, now, Some(LONG_HOLD * 2));
        drop(held);
        assert!(waiting.now_or_never().is_some_and(|turn| turn.is_err()));
    }
}
