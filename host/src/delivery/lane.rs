//! The queue of one endpoint. A leased delivery is sent as soon as the endpoint's limits allow it.

use super::attempt::{self, DeliveryParcel, MadeAttempt};
use super::dispatcher::LaneContext;
use super::judge::RetryRound;
use super::refresh_token::keep_refresh_token;
use super::turn::{EndpointTurns, HeldBack, SendTurn};
use crate::ingest::answer_capture::capture_answer;
use crate::model::delivery::{AttemptOutcome, WorkLease};
use crate::model::endpoint::DeliveryMode;
use crate::model::id::{DeliveryId, EndpointId};
use crate::model::receiver_pace::ReceiverPace;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::live::LiveSettings;
use crate::store::prefetch::{EndpointLane, LeasedDelivery, NewLane};
use crate::store::{SettledAttempt, StoreError};
use crate::time::timestamp::Timestamp;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
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

/// Makes an attempt with the settings in force when its request begins, and records it.
async fn send_delivery(
    context: &LaneContext,
    lane: &EndpointLane,
    turn: &SendTurn,
    leased: LeasedDelivery,
) {
    let Some((target, made)) = make_attempt(context, lane.endpoint, &leased).await else {
        let (now, lease) = (context.journal.clock().now(), [(leased.id, leased.lease)]);
        if let Err(error) = context.journal.release_deliveries(&lease, now).await {
            tracing::warn!(delivery = %leased.id, %error, "cannot release a delivery; it becomes due when its lease ends");
        }
        return;
    };
    if made.judgement.disable_endpoint {
        disable_endpoint(&context.live, &target).await;
    }
    keep_refresh_token(&context.live, &target).await;
    let outcome = tell_pace(&context.live, lane, turn, &target, &made);
    count_attempt(context, &target, &leased, &made, &outcome);
    let answer = made.answer.map(|answer| {
        let settings = context.live.current_settings();
        Box::new(capture_answer(&context.journal, &settings, *answer))
    });
    let message_type = leased.message.as_ref().and_then(|m| m.event_type.clone());
    let settled = SettledAttempt {
        delivery: leased.id,
        event: leased.event.id,
        event_type: message_type.unwrap_or_else(|| leased.event.event_type.clone()),
        endpoint: target.endpoint.id,
        ordered: target.endpoint.settings.ordered,
        immediate: target.endpoint.settings.mode == DeliveryMode::Immediate,
        round_from: leased.round_from,
        held_since: leased.held_since,
        lease: leased.lease,
        _slot: leased.slot,
        attempt: made.attempt,
        outcome,
        answer,
    };
    if let Err(error) = context.journal.record_attempt(settled).await {
        tracing::warn!(delivery = %leased.id, %error, "an attempt was not recorded and will be made again");
    }
}

fn count_attempt(
    context: &LaneContext,
    target: &EndpointRuntime,
    leased: &LeasedDelivery,
    made: &MadeAttempt,
    outcome: &AttemptOutcome,
) {
    let attempt = &made.attempt;
    target.figures.note_attempt(made.judgement.error_class, attempt.duration);
    match outcome {
        AttemptOutcome::Delivered => {
            let way = attempt.at.after(attempt.duration).since(leased.event.received_at);
            context.journal.metrics().store.way_seconds.observe_span(way);
        }
        AttemptOutcome::Dead { .. } => target.figures.note_death(),
        AttemptOutcome::Retry { .. } | AttemptOutcome::HeldBack { .. } => {}
    }
}

/// Makes an attempt and returns it with the settings it used. Returns `None` if the endpoint does
/// not accept deliveries now, or if another node has taken the delivery over.
async fn make_attempt(
    context: &LaneContext,
    endpoint: EndpointId,
    leased: &LeasedDelivery,
) -> Option<(Arc<EndpointRuntime>, MadeAttempt)> {
    let number = leased.attempts + 1;
    let attempts = (number - leased.round_from).unsigned_abs();
    let round = RetryRound { attempts, held_since: leased.held_since };
    let permit = context.journal.send_permit(leased.lease);
    loop {
        let is_held = tokio::select! {
            biased;
            is_held = context.journal.confirm_lease(leased.lease) => is_held,
            () = context.stop.cancelled() => false,
        };
        if !is_held {
            return None;
        }
        let beginning = context.live.begin(endpoint)?;
        let target = Arc::clone(&beginning.target);
        let at = context.journal.clock().now();
        // This future is polled whenever the request makes progress, so it needs no timer: a
        // request that makes no progress is not sent.
        let doubt =
            poll_fn(
                |_| {
                    if context.journal.doubts_leases() { Poll::Ready(()) } else { Poll::Pending }
                },
            );
        let withdrawn = async {
            tokio::select! {
                biased;
                () = doubt => {}
                () = beginning.withdrawn() => {}
            }
        };
        let random = rand::random();
        let parcel = DeliveryParcel {
            id: leased.id,
            event: &leased.event,
            message: leased.message.as_deref(),
            collapsed: leased.collapsed,
            number,
            signed_at: context.journal.clock().wall(),
            permit: permit.as_ref(),
            may_be_repeat: leased.claimed || number > 1,
        };
        let made =
            attempt::make_attempt(&context.client, &target, parcel, round, at, random, withdrawn);
        if let Some(made) = made.await {
            return Some((target, made));
        }
    }
}

/// Records in the receiver's pace how it took the request, and returns the outcome of the delivery.
/// A delivery that was held back becomes due when its endpoint's hold ends.
fn tell_pace(
    live: &LiveSettings,
    lane: &EndpointLane,
    turn: &SendTurn,
    called: &EndpointRuntime,
    made: &MadeAttempt,
) -> AttemptOutcome {
    let mut pace = lane.lock_pace();
    // Checked under the same lock under which the lane forgets the pace after a change of the URL,
    // so anything recorded here about the old receiver is forgotten there.
    let is_moved = has_moved(live, called);
    let left = match made.judgement.refusal {
        Some(refusal) if !is_moved => pace.note_refusal(turn.begun, Instant::now(), refusal.asked),
        None if !is_moved && has_answered(made) => {
            pace.note_acceptance(turn.begun);
            Duration::ZERO
        }
        Some(_) | None => Duration::ZERO,
    };
    drop(pace);
    let ended = made.attempt.at.after(made.attempt.duration);
    match &made.judgement.outcome {
        // Due at once, because the receiver at the new URL has not asked for time.
        AttemptOutcome::HeldBack { since, .. } if is_moved => {
            AttemptOutcome::HeldBack { at: ended, since: *since }
        }
        AttemptOutcome::HeldBack { at, since } => {
            AttemptOutcome::HeldBack { at: (*at).max(ended.after(left)), since: *since }
        }
        outcome @ (AttemptOutcome::Delivered
        | AttemptOutcome::Retry { .. }
        | AttemptOutcome::Dead { .. }) => outcome.clone(),
    }
}

/// Whether the receiver answered at all. Some kinds of endpoints have no status.
fn has_answered(made: &MadeAttempt) -> bool {
    made.attempt.response_status.is_some() || made.judgement.outcome == AttemptOutcome::Delivered
}

/// Whether the endpoint was deleted or has another URL than the one that was called.
fn has_moved(live: &LiveSettings, called: &EndpointRuntime) -> bool {
    let current = live.current_settings();
    let target = current.find_endpoint(called.endpoint.id);
    target.is_none_or(|target| target.endpoint.settings.url != called.endpoint.settings.url)
}

async fn disable_endpoint(live: &LiveSettings, called: &EndpointRuntime) {
    let (name, url) = (&called.endpoint.settings.name, &called.endpoint.settings.url);
    match live.disable_endpoint(called.endpoint.id, url).await {
        Ok(true) => {
            tracing::warn!(endpoint = name, "answered 410 Gone: the endpoint is disabled");
        }
        Ok(false) => {
            tracing::info!(
                endpoint = name,
                "answered 410 Gone at an earlier URL; the endpoint stays enabled"
            );
        }
        Err(error) => tracing::error!(endpoint = name, %error, "cannot disable the endpoint"),
    }
}
