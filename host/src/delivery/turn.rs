//! When an endpoint may be sent another request: its requests at once, its rate, and what its
//! receiver said.

use super::places::{EndpointPlaces, RequestPlace, RequestPlaces};
use crate::model::endpoint::RateLimit;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::store::prefetch::EndpointLane;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A hold that is longer than this is waited for in the table, not in memory.
const LONG_HOLD: Duration = Duration::from_secs(5);

/// The right to send one request, until it is dropped.
#[derive(Debug)]
pub struct SendTurn {
    _permit: OwnedSemaphorePermit,
    _place: RequestPlace,
    /// When it began.
    pub begun: Instant,
}

/// The receiver asked for so much time that nothing should wait for it in memory.
#[derive(Debug)]
pub struct HeldBack {
    /// How long.
    pub left: Duration,
}

/// Gives the turns of one endpoint, one after the other.
#[derive(Debug)]
pub struct EndpointTurns {
    permits: Arc<Semaphore>,
    size: usize,
    limit: Option<(RateLimit, DefaultDirectRateLimiter)>,
    places: Arc<RequestPlaces>,
    own: EndpointPlaces,
}

impl EndpointTurns {
    pub fn new(places: Arc<RequestPlaces>) -> Self {
        let (permits, own) = (Arc::new(Semaphore::new(0)), EndpointPlaces::default());
        Self { permits, size: 0, limit: None, places, own }
    }

    /// Takes up what is set now.
    pub fn adapt(&mut self, target: &EndpointRuntime) {
        self.resize(target.max_in_flight);
        let limit = target.endpoint.settings.rate_limit;
        if self.limit.as_ref().map(|(limit, _)| *limit) != limit {
            self.limit = limit.and_then(|limit| Some((limit, limiter(limit)?)));
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

    /// Waits for the next turn. Nothing is used up if the wait is given up.
    pub async fn next(&self, lane: &EndpointLane) -> Result<SendTurn, HeldBack> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        let permit = permit.expect("the semaphore is never closed");
        let place = self.places.take_place(&self.own).await;
        loop {
            let now = Instant::now();
            if let Some(left) =
                lane.lock_pace().remaining_hold(now).filter(|left| *left > LONG_HOLD)
            {
                return Err(HeldBack { left });
            }
            let wait = lane.lock_pace().time_to_next_request(now);
            let wait = if wait.is_zero() { self.take_of_rate() } else { wait };
            if wait.is_zero() {
                lane.lock_pace().begin_request(now);
                return Ok(SendTurn { _permit: permit, _place: place, begun: now });
            }
            // A refusal that comes meanwhile may make this a long hold.
            tokio::time::sleep(wait.min(LONG_HOLD)).await;
        }
    }

    /// Takes one of the requests that the rate limit allows, or tells how long until there is one.
    fn take_of_rate(&self) -> Duration {
        let Some((_, limiter)) = &self.limit else { return Duration::ZERO };
        match limiter.check() {
            Ok(()) => Duration::ZERO,
            Err(later) => later.wait_time_from(DefaultClock::default().now()),
        }
    }
}

fn limiter(limit: RateLimit) -> Option<DefaultDirectRateLimiter> {
    let period = Duration::try_from_secs_f64(1.0 / limit.per_second).ok()?;
    let burst = NonZeroU32::new(limit.burst)?;
    Some(RateLimiter::direct(
        Quota::with_period(period.max(Duration::from_nanos(1)))?.allow_burst(burst),
    ))
}
