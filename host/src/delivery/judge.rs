//! What follows from an attempt: a pure table.
//!
//! Any 2xx is success, whatever its body. Everything else is a failed attempt and is tried again on
//! the schedule, a redirect, an address the policy forbids and a 4xx included: an operator may mend
//! each of them before the schedule is over. Two things end a delivery early: a `410 Gone` where its
//! endpoint says `on_gone: "disable"`, and a template that gives no request for its event, which it
//! would not give later either.
//!
//! A channel of another kind says itself what its receiver's answer means ([`ChannelOutcome`]).
//! What it calls dead is not tried again.
//!
//! A `429`, and a `503` with `Retry-After`, ask the endpoint to wait. For up to [`MAX_HELD`] they
//! use up no step of the schedule: a receiver that is busy for an hour loses nothing.

use crate::channels::ChannelOutcome;
use crate::model::delivery::AttemptOutcome;
use crate::model::endpoint::OnGone;
use crate::model::retry_schedule::{MAX_RETRY_AFTER, RetrySchedule};
use crate::net::error_class::ErrorClass;
use crate::net::retry_after::retry_after;
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// How long refusals of one delivery do not count against its schedule, from the first one on.
pub const MAX_HELD: Duration = Duration::from_hours(24);

/// The wait after a `429` that names none.
const UNSTATED_WAIT: Duration = Duration::from_secs(1);

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptAnswer {
    /// A status came.
    Status {
        status: StatusCode,
        /// The wait the receiver asked for ([`retry_after`]).
        retry_after: Option<Duration>,
    },
    /// None did.
    Failed(ErrorClass),
    /// A channel of another kind than `webhook` says what it means.
    Channel(ChannelOutcome),
}

impl AttemptAnswer {
    /// The answer that a status and its headers are.
    pub fn from_reply(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        Self::Status { status, retry_after: retry_after(headers, now) }
    }
}

/// How a delivery's endpoint wants failures handled.
#[derive(Debug, Clone, Copy)]
pub struct FailurePolicy<'a> {
    /// When failed deliveries are tried again.
    pub schedule: &'a RetrySchedule,
    /// What a `410 Gone` does.
    pub on_gone: OnGone,
}

/// Where a delivery stands in the present round of its schedule.
#[derive(Debug, Clone, Copy)]
pub struct RetryRound {
    /// Attempts that count, this one included: 1 for the first.
    pub attempts: u32,
    /// When its receiver first asked for time in this round.
    pub held_since: Option<Timestamp>,
}

/// A receiver that asks for time before the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverRefusal {
    /// How long, if it says so.
    pub asked: Option<Duration>,
}

/// What follows from an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptJudgement {
    /// The delivery's next state.
    pub outcome: AttemptOutcome,
    /// Why the attempt failed, if it did.
    pub error_class: Option<ErrorClass>,
    /// Whether the endpoint is to be disabled.
    pub disable_endpoint: bool,
    /// Whether the endpoint is to be held back.
    pub refusal: Option<ReceiverRefusal>,
}

/// Judges an attempt. `random` is uniform in `0..1`.
pub fn judge_answer(
    answer: AttemptAnswer,
    round: RetryRound,
    policy: FailurePolicy<'_>,
    now: Timestamp,
    random: f64,
) -> AttemptJudgement {
    let (error_class, retry_after) = read_answer(answer);
    let refusal = refusal(answer);
    let gone = AttemptAnswer::Status { status: StatusCode::GONE, retry_after };
    let disable_endpoint = answer == gone && policy.on_gone == OnGone::Disable;
    let outcome = if error_class.is_none() {
        AttemptOutcome::Delivered
    } else if disable_endpoint {
        AttemptOutcome::Dead { reason: "gone" }
    } else if let AttemptAnswer::Channel(ChannelOutcome::Dead { .. }) = answer {
        AttemptOutcome::Dead { reason: "rejected" }
    } else if error_class == Some(ErrorClass::Template) {
        AttemptOutcome::Dead { reason: "template" }
    } else if let Some(held_back) = refusal.and_then(|refusal| held_back(refusal, round, now)) {
        held_back
    } else {
        match policy.schedule.next(round.attempts, now, retry_after, random) {
            Some(at) => AttemptOutcome::Retry { at },
            None => AttemptOutcome::Dead { reason: "retries_exhausted" },
        }
    };
    AttemptJudgement { outcome, error_class, disable_endpoint, refusal }
}

/// Why an answer is a failure, if it is one, and the wait that it asks for.
fn read_answer(answer: AttemptAnswer) -> (Option<ErrorClass>, Option<Duration>) {
    match answer {
        AttemptAnswer::Status { status, retry_after } => {
            (ErrorClass::of_status(status), retry_after)
        }
        AttemptAnswer::Failed(class) | AttemptAnswer::Channel(ChannelOutcome::Dead { class }) => {
            (Some(class), None)
        }
        AttemptAnswer::Channel(ChannelOutcome::Delivered) => (None, None),
        AttemptAnswer::Channel(ChannelOutcome::Again { class, after }) => (Some(class), after),
        AttemptAnswer::Channel(ChannelOutcome::HeldBack { class, asked }) => (Some(class), asked),
    }
}

/// The refusal that an answer is, if it is one.
fn refusal(answer: AttemptAnswer) -> Option<ReceiverRefusal> {
    match answer {
        AttemptAnswer::Status { status: StatusCode::TOO_MANY_REQUESTS, retry_after } => {
            Some(ReceiverRefusal { asked: retry_after })
        }
        AttemptAnswer::Status {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: asked @ Some(_),
        } => Some(ReceiverRefusal { asked }),
        AttemptAnswer::Channel(ChannelOutcome::HeldBack { asked, .. }) => {
            Some(ReceiverRefusal { asked })
        }
        AttemptAnswer::Status { .. } | AttemptAnswer::Failed(_) | AttemptAnswer::Channel(_) => None,
    }
}

/// What a refusal makes of a delivery; nothing where it has been refused for too long.
fn held_back(
    refusal: ReceiverRefusal,
    round: RetryRound,
    now: Timestamp,
) -> Option<AttemptOutcome> {
    let since = round.held_since.unwrap_or(now);
    let wait = refusal.asked.unwrap_or(UNSTATED_WAIT).min(MAX_RETRY_AFTER);
    (now.since(since) < MAX_HELD).then(|| AttemptOutcome::HeldBack { at: now.after(wait), since })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(784_111_777_000_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn status(code: u16) -> AttemptAnswer {
        AttemptAnswer::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None }
    }

    fn judged(answer: AttemptAnswer, attempts: u32, on_gone: OnGone) -> AttemptJudgement {
        let round = RetryRound { attempts, held_since: None };
        judge_answer(
            answer,
            round,
            FailurePolicy { schedule: &RetrySchedule::default(), on_gone },
            NOW,
            0.0,
        )
    }

    #[test]
    fn the_table() {
        let retry = |seconds| AttemptOutcome::Retry { at: NOW.after(Duration::from_secs(seconds)) };
        let dead = || AttemptOutcome::Dead { reason: "retries_exhausted" };
        for (answer, attempts, class, outcome) in [
            (status(200), 1, None, AttemptOutcome::Delivered),
            (status(204), 9, None, AttemptOutcome::Delivered),
            (status(299), 1, None, AttemptOutcome::Delivered),
            (status(101), 1, Some("protocol"), retry(30)),
            (status(301), 1, Some("redirect"), retry(30)),
            (status(304), 2, Some("redirect"), retry(60)),
            (status(400), 8, Some("client_error"), retry(86_400)),
            (status(410), 1, Some("client_error"), retry(30)),
            (status(500), 9, Some("server_error"), dead()),
            (status(600), 1, Some("protocol"), retry(30)),
            (AttemptAnswer::Failed(ErrorClass::Timeout), 3, Some("timeout"), retry(300)),
            (
                AttemptAnswer::Failed(ErrorClass::AddressForbidden),
                1,
                Some("address_forbidden"),
                retry(30),
            ),
            (AttemptAnswer::Failed(ErrorClass::Tls), 100, Some("tls"), dead()),
        ] {
            let judgement = judged(answer, attempts, OnGone::Retry);
            assert_eq!(judgement.error_class.map(ErrorClass::as_str), class, "{answer:?}");
            assert_eq!(judgement.outcome, outcome, "{answer:?}");
            assert!(!judgement.disable_endpoint);
        }
    }

    #[test]
    fn gone_ends_a_delivery_where_its_endpoint_says_so() {
        let gone = judged(status(410), 1, OnGone::Disable);
        assert_eq!(gone.outcome, AttemptOutcome::Dead { reason: "gone" });
        assert!(gone.disable_endpoint);
        assert!(!judged(status(404), 1, OnGone::Disable).disable_endpoint);
    }

    #[test]
    fn a_channel_says_what_its_answers_mean() {
        let class = ErrorClass::Rejected;
        let judge = |outcome| judged(AttemptAnswer::Channel(outcome), 1, OnGone::Disable);
        assert_eq!(judge(ChannelOutcome::Delivered).outcome, AttemptOutcome::Delivered);
        let dead = judge(ChannelOutcome::Dead { class });
        assert_eq!(dead.outcome, AttemptOutcome::Dead { reason: "rejected" });
        assert!(!dead.disable_endpoint && dead.error_class == Some(class));
        let after = Some(Duration::from_secs(90));
        let again = judge(ChannelOutcome::Again { class: ErrorClass::Deferred, after });
        assert_eq!(again.outcome, AttemptOutcome::Retry { at: NOW.after(Duration::from_secs(90)) });
        let held = judge(ChannelOutcome::HeldBack { class, asked: after });
        assert_eq!(held.refusal, Some(ReceiverRefusal { asked: after }));
        let at = NOW.after(Duration::from_secs(90));
        assert_eq!(held.outcome, AttemptOutcome::HeldBack { at, since: NOW });
    }

    #[test]
    fn a_template_that_gives_no_request_ends_a_delivery() {
        let judgement = judged(AttemptAnswer::Failed(ErrorClass::Template), 1, OnGone::Retry);
        assert_eq!(judgement.outcome, AttemptOutcome::Dead { reason: "template" });
        let waiting = judged(AttemptAnswer::Failed(ErrorClass::Auth), 1, OnGone::Retry);
        assert!(matches!(waiting.outcome, AttemptOutcome::Retry { .. }));
    }

    fn answered(code: u16, seconds: Option<u64>) -> AttemptAnswer {
        let status = StatusCode::from_u16(code).unwrap();
        AttemptAnswer::Status { status, retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn retry_after_is_obeyed_where_it_is_later() {
        let due = |seconds| judged(answered(500, Some(seconds)), 1, OnGone::Retry).outcome;
        assert_eq!(due(10), AttemptOutcome::Retry { at: NOW.after(Duration::from_secs(30)) });
        assert_eq!(due(90), AttemptOutcome::Retry { at: NOW.after(Duration::from_secs(90)) });
    }

    #[test]
    fn a_refusal_uses_up_no_step_of_the_schedule() {
        let held = |seconds| AttemptOutcome::HeldBack {
            at: NOW.after(Duration::from_secs(seconds)),
            since: NOW,
        };
        // Also after the last step.
        for attempts in [1, 9, 100] {
            for (answer, asked, wait) in [
                (answered(429, Some(7)), Some(7), 7),
                (answered(429, None), None, 1),
                (answered(503, Some(0)), Some(0), 0),
                (answered(429, Some(999_999)), Some(999_999), 86_400),
            ] {
                let judgement = judged(answer, attempts, OnGone::Retry);
                assert_eq!(judgement.outcome, held(wait), "{answer:?}");
                let refusal = ReceiverRefusal { asked: asked.map(Duration::from_secs) };
                assert_eq!(judgement.refusal, Some(refusal));
            }
        }
        let unavailable = judged(answered(503, None), 1, OnGone::Retry);
        assert_eq!(unavailable.refusal, None);
        assert!(matches!(unavailable.outcome, AttemptOutcome::Retry { .. }));
    }

    #[test]
    fn refusals_count_against_the_schedule_after_a_day() {
        let refused = |hours, attempts| {
            let held_since = Some(NOW.before(Duration::from_hours(hours)));
            let policy =
                FailurePolicy { schedule: &RetrySchedule::default(), on_gone: OnGone::Retry };
            judge_answer(
                answered(429, Some(5)),
                RetryRound { attempts, held_since },
                policy,
                NOW,
                0.0,
            )
        };
        assert!(matches!(refused(23, 9).outcome, AttemptOutcome::HeldBack { .. }));
        let at = NOW.after(Duration::from_secs(30));
        assert_eq!(refused(24, 1).outcome, AttemptOutcome::Retry { at });
        assert_eq!(refused(24, 9).outcome, AttemptOutcome::Dead { reason: "retries_exhausted" });
        assert!(refused(24, 1).refusal.is_some(), "the endpoint is held back all the same");
    }

    #[test]
    fn classes_are_named_alike_everywhere() {
        for class in [ErrorClass::ConnectionLost, ErrorClass::AddressForbidden, ErrorClass::Dns] {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }

    proptest! {
        #[test]
        fn a_failure_is_retried_in_the_future_or_dead(code in 300..600_u16, attempts in 1..20_u32) {
            match judged(status(code), attempts, OnGone::Retry).outcome {
                AttemptOutcome::Retry { at } => prop_assert!(attempts <= 8 && at > NOW),
                AttemptOutcome::HeldBack { .. } => prop_assert!(code == 429),
                AttemptOutcome::Dead { .. } => prop_assert!(attempts > 8),
                AttemptOutcome::Delivered => prop_assert!(false, "{} is no success", code),
            }
        }
    }
}
