//! Makes one attempt at a leased delivery of a lane, and records its result.

use super::attempt::{self, DeliveryParcel, MadeAttempt};
use super::attempt_spans::{next_attempt_context, record_attempt_span};
use super::dispatcher::LaneContext;
use super::judge::RetryRound;
use super::refresh_token::keep_refresh_token;
use super::turn::SendTurn;
use crate::ingest::answer_capture::capture_answer;
use crate::model::answer_event::AnswerEvent;
use crate::model::attributes::SentWith;
use crate::model::delivery::AttemptOutcome;
use crate::model::endpoint::DeliveryMode;
use crate::model::id::EndpointId;
use crate::model::plan_effects::EmittedFact;
use crate::model::trace_context::TraceId;
use crate::settings::emitted_facts::FactOrigin;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::settings::live::LiveSettings;
use crate::store::prefetch::{EndpointLane, LeasedDelivery};
use crate::store::{EventCapture, SettledAttempt};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Makes an attempt with the settings in force when its request begins, and records it.
pub async fn send_delivery(
    context: &LaneContext,
    lane: &EndpointLane,
    turn: &SendTurn,
    leased: LeasedDelivery,
) {
    let Some((target, made)) = make_attempt(context, lane.endpoint, &leased).await else {
        let (now, lease) = (context.journal.clock().now(), [(leased.id, leased.lease)]);
        if let Err(error) = context.journal.release_deliveries(&lease, now).await {
            let trace_id = TraceId::of_event(&leased.event);
            tracing::warn!(delivery = %leased.id, %trace_id, %error, "cannot release a delivery; it becomes due when its lease ends");
        }
        return;
    };
    if made.judgement.disable_endpoint {
        disable_endpoint(&context.live, &target).await;
    }
    keep_refresh_token(&context.live, &target).await;
    let outcome = update_pace(&context.live, lane, turn, &target, &made);
    count_attempt(context, &target, &leased, &made, &outcome);
    if let Some(recorder) = context.journal.span_recorder() {
        let settings = context.live.current_settings();
        record_attempt_span(recorder, &settings, &target, &leased, &made, &outcome);
    }
    let answers = capture_answers(context, &target, &leased, (made.answer, made.facts));
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
        _slot: Some(leased.slot),
        attempt: made.attempt,
        packed: None,
        outcome,
        answers,
    };
    if let Err(error) = context.journal.record_attempt(settled).await {
        let trace_id = TraceId::of_event(&leased.event);
        tracing::warn!(delivery = %leased.id, %trace_id, %error, "an attempt was not recorded; the delivery will be sent again");
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
            span: next_attempt_context(context.journal.span_recorder(), leased),
        };
        let made =
            attempt::make_attempt(&context.client, &target, parcel, round, at, random, withdrawn);
        if let Some(made) = made.await {
            return Some((target, made));
        }
    }
}

/// Makes the captures of the events that the answer to an attempt becomes.
fn capture_answers(
    context: &LaneContext,
    target: &EndpointRuntime,
    leased: &LeasedDelivery,
    (answer, facts): (Option<Box<AnswerEvent>>, Vec<EmittedFact>),
) -> Vec<EventCapture> {
    if answer.is_none() && facts.is_empty() {
        return Vec::new();
    }
    let settings = context.live.current_settings();
    let hops = SentWith::read(leased.event.attributes.as_deref()).hops;
    let origin = FactOrigin {
        source: &target.endpoint.settings.name,
        scope: target.endpoint.id.to_string(),
        time: leased.event.time(),
        received_at: leased.id.created_at(),
        caused_by: leased.id.to_string(),
        hops: hops.saturating_add(1),
    };
    let mut answers = origin.capture_facts(&context.journal, &settings, facts);
    answers.extend(answer.map(|answer| capture_answer(&context.journal, &settings, *answer)));
    answers
}

/// Records in the receiver's pace how it took the request, and returns the outcome of the delivery.
/// A delivery that was held back becomes due when its endpoint's hold ends.
fn update_pace(
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
