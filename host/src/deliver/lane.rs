//! One endpoint's queue, concurrency and rate.

use super::attempt::{self, Parcel};
use super::dispatcher::Context;
use crate::domain::endpoint::RateLimit;
use crate::journal::Settled;
use crate::journal::handover::{Lane, Leased, NewLane};
use crate::topology::target::Target;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What a lease must still hold beyond the time-out of the attempt it is used for.
const FRESH: Duration = Duration::from_secs(5);
/// The wait after the database could not be asked.
const PAUSE: Duration = Duration::from_secs(1);

struct Runner {
    context: Arc<Context>,
    lane: Arc<Lane>,
    permits: Arc<Semaphore>,
    size: usize,
    limit: Option<(RateLimit, DefaultDirectRateLimiter)>,
}

/// Runs a lane until its endpoint is deleted or the server stops; then gives back what it holds.
pub async fn run(context: Arc<Context>, NewLane { lane, mut queue }: NewLane) {
    let permits = Arc::new(Semaphore::new(0));
    let stop = context.stop.clone();
    let mut runner = Runner { context, lane, permits, size: 0, limit: None };
    loop {
        let due = runner.next_claim();
        tokio::select! {
            leased = queue.recv() => match leased {
                Some(leased) => runner.handle(leased).await,
                None => return,
            },
            () = runner.lane.room.wake.notified() => runner.claim_due().await,
            () = sleep(due) => runner.claim_due().await,
            () = stop.cancelled() => break,
        }
    }
    runner.give_back(&mut queue).await;
}

/// Sleeps that long, or for ever.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// What an idle lane does with what it cannot send.
enum Ready {
    Go(Arc<Target>, OwnedSemaphorePermit),
    NotNow,
}

impl Runner {
    fn target(&self) -> Option<Arc<Target>> {
        self.context.live.current().endpoint(self.lane.endpoint).cloned()
    }

    /// How long until the table holds something due; `None` if nothing is known to be.
    fn next_claim(&self) -> Option<Duration> {
        let target = self.target()?;
        if !target.may_send() || self.lane.room.is_full() {
            return None;
        }
        let due = self.lane.next_due()?;
        Some(due.since(self.context.journal.clock().now()))
    }

    async fn claim_due(&mut self) {
        let now = self.context.journal.clock().now();
        let due = self.lane.next_due().is_some_and(|at| at <= now) || self.lane.room.overflowed();
        let Some(target) = self.target() else { return };
        if !due || !target.may_send() || self.lane.room.is_full() {
            return;
        }
        let ordered = target.endpoint.settings.ordered;
        match self.context.journal.claim(&self.lane, ordered, target.hold()).await {
            Ok(claimed) => {
                // What is due but held back by an earlier one of its record is looked for again when
                // that one is settled, or at the next patrol.
                let stuck = claimed.is_empty() && self.lane.next_due().is_some_and(|at| at <= now);
                if stuck {
                    self.lane.set_next_due(None);
                }
                for leased in claimed {
                    self.lane.push(leased);
                }
            }
            Err(error) => {
                tracing::warn!(endpoint = %self.lane.endpoint, %error, "cannot claim deliveries");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn handle(&mut self, leased: Leased) {
        let stop = self.context.stop.clone();
        let ready = tokio::select! {
            ready = self.ready() => ready,
            () = stop.cancelled() => Ready::NotNow,
        };
        let now = self.context.journal.clock().now();
        match ready {
            Ready::Go(target, permit) if leased.lease.until > now.after(target.timeout + FRESH) => {
                let context = Arc::clone(&self.context);
                // Boxed: a task's future is moved several times before it runs, and this one is large.
                self.context.tasks.spawn(Box::pin(async move {
                    send(&context, &target, leased).await;
                    drop(permit);
                }));
            }
            Ready::Go(..) | Ready::NotNow => self.release(leased).await,
        }
    }

    /// Waits until the endpoint may be sent another request.
    async fn ready(&mut self) -> Ready {
        let Some(target) = self.target() else { return Ready::NotNow };
        let settings = &target.endpoint.settings;
        if !target.may_send() {
            return Ready::NotNow;
        }
        self.resize(target.max_in_flight);
        if self.limit.as_ref().map(|(limit, _)| *limit) != settings.rate_limit {
            self.limit = settings.rate_limit.and_then(|limit| Some((limit, limiter(limit)?)));
        }
        if let Some((_, limiter)) = &self.limit {
            limiter.until_ready().await;
        }
        match Arc::clone(&self.permits).acquire_owned().await {
            Ok(permit) => Ready::Go(target, permit),
            Err(_closed) => Ready::NotNow,
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

    async fn release(&self, leased: Leased) {
        let now = self.context.journal.clock().now();
        if let Err(error) = self.context.journal.release(leased.id, leased.lease, now).await {
            tracing::warn!(delivery = %leased.id, %error, "cannot give a delivery back; its lease will run out");
        }
    }

    async fn give_back(&self, queue: &mut mpsc::UnboundedReceiver<Leased>) {
        queue.close();
        while let Some(leased) = queue.recv().await {
            self.release(leased).await;
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

async fn send(context: &Context, target: &Target, leased: Leased) {
    let at = context.journal.clock().now();
    let number = leased.attempts + 1;
    let in_round = (number - leased.round_from).unsigned_abs();
    let parcel = Parcel {
        id: leased.id,
        event: &leased.event,
        message: leased.message.as_deref(),
        collapsed: leased.collapsed,
        number,
    };
    let made = attempt::make(&context.client, target, parcel, in_round, at, rand::random()).await;
    if made.judgement.disable_endpoint {
        disable(context, target).await;
    }
    let message_type = leased.message.as_ref().and_then(|m| m.event_type.clone());
    let settled = Settled {
        delivery: leased.id,
        event: leased.event.id,
        event_type: message_type.unwrap_or_else(|| leased.event.event_type.clone()),
        endpoint: target.endpoint.id,
        ordered: target.endpoint.settings.ordered,
        replayed: leased.round_from > 0,
        lease: leased.lease,
        slot: leased.slot,
        attempt: made.attempt,
        outcome: made.judgement.outcome,
    };
    if let Err(error) = context.journal.settle(settled).await {
        tracing::warn!(delivery = %leased.id, %error, "an attempt was not recorded and will be made again");
    }
}

async fn disable(context: &Context, target: &Target) {
    tracing::warn!(
        endpoint = target.endpoint.settings.name,
        "answered 410 Gone: the endpoint is disabled"
    );
    if let Err(error) = context.live.disable_endpoint(target).await {
        tracing::error!(endpoint = target.endpoint.settings.name, %error, "cannot disable the endpoint");
    }
}
