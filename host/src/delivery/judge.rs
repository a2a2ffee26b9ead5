//! Decides what follows from an attempt. This module is pure: it does no I/O and reads no clock.
//!
//! Any 2xx is a success, whatever its body. Every other result is a failed attempt and is retried
//! on the schedule. This includes redirects, 4xx and addresses that the policy forbids, because an
//! operator may mend each of them before the schedule ends. Two failures end a delivery at once:
//! `410 Gone` if the endpoint has `on_gone: "disable"`, and a template that cannot make a request
//! of the event, because it could not do so later either.
//!
//! A channel of another kind decides itself what its receiver's answer means
//! ([`ChannelOutcome`]). A delivery that it calls dead is not retried. The reason is `rejected`, or
//! the class of the failure if the endpoint's module is at fault.
//!
//! A `429`, or a `503` with `Retry-After`, asks the endpoint to wait. For up to [`MAX_HELD`] such
//! refusals use up no step of the schedule, so a receiver that is busy for an hour loses nothing.

use crate::channels::ChannelOutcome;
use crate::model::delivery::AttemptOutcome;
use crate::model::endpoint::OnGone;
use crate::model::retry_schedule::{MAX_RETRY_AFTER, RetrySchedule};
use crate::net::error_class::ErrorClass;
use crate::net::retry_after::retry_after;
use crate::time::timestamp::Timestamp;
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// How long refusals of one delivery do not count against its schedule, from the first refusal.
pub const MAX_HELD: Duration = Duration::from_hours(24);

/// The wait after a `429` without `Retry-After`.
const UNSTATED_WAIT: Duration = Duration::from_secs(1);

/// The answer to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptAnswer {
    /// The receiver answered with a status.
    Status {
        status: StatusCode,
        /// The wait that the receiver asked for ([`retry_after`]).
        retry_after: Option<Duration>,
    },
    /// No answer came.
    Failed(ErrorClass),
    /// A channel of another kind than `webhook` has judged the answer.
    Channel(ChannelOutcome),
}

impl AttemptAnswer {
    /// Reads the answer from a status and its headers.
    pub fn from_reply(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        Self::Status { status, retry_after: retry_after(headers, now) }
    }
}

/// How the endpoint of a delivery handles failures.
#[derive(Debug, Clone, Copy)]
pub struct FailurePolicy<'a> {
    /// When failed deliveries are retried.
    pub schedule: &'a RetrySchedule,
    /// What happens after a `410 Gone`.
    pub on_gone: OnGone,
}

/// The state of a delivery in its present round of retries.
#[derive(Debug, Clone, Copy)]
pub struct RetryRound {
    /// The number of attempts that count, including this one, from 1.
    pub attempts: u32,
    /// When the receiver first asked for time in this round.
    pub held_since: Option<Timestamp>,
}

/// A receiver's request to wait before the next delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverRefusal {
    /// The wait, if the receiver names one.
    pub asked: Option<Duration>,
}

/// The decision about a delivery after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptJudgement {
    /// The delivery's next state.
    pub outcome: AttemptOutcome,
    /// The class of the failure. `None` if the attempt succeeded.
    pub error_class: Option<ErrorClass>,
    /// Whether to disable the endpoint.
    pub disable_endpoint: bool,
    /// The receiver's request to wait. If set, the whole endpoint is held back.
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
    } else if let AttemptAnswer::Channel(ChannelOutcome::Dead { class }) = answer {
        AttemptOutcome::Dead {
            reason: if class.is_of_module() { class.as_str() } else { "rejected" },
        }
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

/// Returns the class of the failure, if the answer is one, and the wait that it asks for.
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

/// Returns the receiver's request to wait, if the answer is one.
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

/// Returns the outcome of a refused delivery, or `None` if the delivery was refused for longer than
/// [`MAX_HELD`].
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
    fn each_answer_has_its_outcome() {
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
    fn gone_ends_a_delivery_if_its_endpoint_says_so() {
        let gone = judged(status(410), 1, OnGone::Disable);
        assert_eq!(gone.outcome, AttemptOutcome::Dead { reason: "gone" });
        assert!(gone.disable_endpoint);
        assert!(!judged(status(404), 1, OnGone::Disable).disable_endpoint);
    }

    #[test]
    fn a_channel_decides_what_its_answers_mean() {
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
    fn a_template_that_fails_ends_a_delivery() {
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
    fn retry_after_is_obeyed_if_it_is_later() {
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
        // This also holds after the last step.
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
    fn error_classes_have_their_wire_names() {
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
                AttemptOutcome::Delivered => prop_assert!(false, "{} is not a success", code),
            }
        }
    }
}
