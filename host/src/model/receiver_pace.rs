//! Learns how fast a receiver accepts requests from its refusals (`429`, `503` with `Retry-After`).
//!
//! A refusal holds back the whole endpoint for as long as the receiver asks. The rate that the
//! receiver accepts is the number of requests it accepted, divided by the time up to the end of
//! that hold: 5 requests in 50 ms and then `Retry-After: 1` make 4.8 requests a second. From then
//! on requests are sent one by one at that rate. From [`STEADY`] after the hold on, the rate grows
//! by [`GROWTH`] a second until a request is refused again. A pause without requests counts as
//! growth for at most [`REST`] or two turns, because an endpoint without requests learns nothing.
//!
//! If the receiver accepted nothing since the last hold, the rate is at most one request in the
//! time of the new hold. The rate is not halved at each such refusal: when it was, an outage of
//! 20 s with `Retry-After: 1` reduced it to one request a day.
//!
//! All times are of the monotonic clock, so a step of the wall clock neither lengthens nor ends a
//! hold.

use crate::model::retry_schedule::MAX_RETRY_AFTER;
use std::time::{Duration, Instant};

/// The hold after a refusal without a time. It doubles at each further one, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// Longest hold that the receiver did not ask for.
const LONGEST: Duration = Duration::from_mins(1);
/// Time for which the learnt rate stays constant after a hold.
const STEADY: Duration = Duration::from_secs(10);
/// The share by which the rate grows in each second after that.
const GROWTH: f64 = 0.05;
/// The shortest time that a hold counts for, so that `Retry-After: 0` leads to a rate too.
const SHORTEST: Duration = Duration::from_millis(100);
/// Time for which a learnt rate applies after the last refusal.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Pause between two requests after which counting starts again.
const REST: Duration = Duration::from_secs(2);
/// Time by which a turn may begin early because the previous one was late. Timers wake up late by
/// up to this.
const SLACK: Duration = Duration::from_millis(10);

/// The learnt pace of one receiver.
#[derive(Debug, Default)]
pub struct ReceiverPace {
    /// Time since which requests go to this receiver, if they went to another one before.
    since: Option<Instant>,
    held_until: Option<Instant>,
    /// Time of the refusal. A refusal of a request that was sent before it tells nothing new.
    refused_at: Option<Instant>,
    /// The rate in requests per second, including growth up to `grown_at`.
    rate: Option<f64>,
    grown_at: Option<Instant>,
    /// The rate before the refusal, until a request begins after it. Until then the number of
    /// accepted requests is not final, because answers arrive in any order.
    learning: Option<PaceLearning>,
    next_turn: Option<Instant>,
    /// The number of requests accepted since `counted_from`.
    taken: u32,
    counted_from: Option<Instant>,
    last_turn: Option<Instant>,
    /// The number of consecutive refusals without a time.
    unstated: u32,
}

/// The counts at a refusal.
#[derive(Debug, Clone, Copy)]
struct PaceLearning {
    rate_before: Option<f64>,
}

impl ReceiverPace {
    /// Creates the pace of a receiver that replaces another one.
    pub fn starting_at(since: Instant) -> Self {
        Self { since: Some(since), ..Self::default() }
    }

    /// Returns the rest of the hold, or `None` if the endpoint is not held back.
    pub fn remaining_hold(&self, now: Instant) -> Option<Duration> {
        let left = self.held_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Returns the learnt rate in requests per second, with its growth up to now.
    pub fn learnt_rate(&self, now: Instant) -> Option<f64> {
        let (rate, refused) = (self.rate?, self.refused_at?);
        if now.saturating_duration_since(refused) >= FORGOTTEN {
            return None;
        }
        let steady = self.held_until.map_or(refused, |held| held.max(refused)) + STEADY;
        let from = self.grown_at.map_or(steady, |grown| grown.max(steady));
        let grown = now.saturating_duration_since(from).min(longest_rest(rate));
        Some(rate * (1.0 + GROWTH * grown.as_secs_f64()))
    }

    /// Returns how long the next request must wait.
    pub fn time_to_next_request(&self, now: Instant) -> Duration {
        let turn = self.next_turn.filter(|_| self.learnt_rate(now).is_some());
        let turn = turn.map_or(Duration::ZERO, |turn| turn.saturating_duration_since(now));
        turn.max(self.remaining_hold(now).unwrap_or_default())
    }

    /// Records that a request begins.
    pub fn begin_request(&mut self, now: Instant) {
        if self.learning.take().is_some() {
            self.counted_from = None;
        }
        let rate = self.learnt_rate(now);
        (self.rate, self.grown_at) = (rate, Some(now));
        let rest = rate.map_or(REST, longest_rest);
        let rested = self.last_turn.is_none_or(|last| now.saturating_duration_since(last) > rest);
        if rested || self.counted_from.is_none() {
            self.counted_from = Some(now);
            self.taken = 0;
        }
        self.last_turn = Some(now);
        self.next_turn = rate.map(|rate| {
            let earliest = now.checked_sub(SLACK).unwrap_or(now);
            let turn = self.next_turn.map_or(now, |turn| turn.max(earliest)) + per(rate);
            turn.min(now + self.longest_wait())
        });
    }

    /// Returns the longest wait between two requests: the last hold, or [`LONGEST`] after a shorter
    /// one. A wait is fixed when it begins, so growth of the rate in the meantime does not shorten
    /// it.
    fn longest_wait(&self) -> Duration {
        let hold = self.held_until.zip(self.refused_at);
        hold.map_or(LONGEST, |(until, refused)| {
            until.saturating_duration_since(refused).max(LONGEST)
        })
    }

    /// Records that the receiver accepted a request, whatever it answered.
    pub fn note_acceptance(&mut self, begun: Instant) {
        self.unstated = 0;
        let before = self.refused_at.is_some_and(|refused| begun <= refused);
        if before && self.learning.is_none() {
            return;
        }
        self.taken = self.taken.saturating_add(1);
        if before {
            self.learn_rate();
        }
    }

    /// Records that the receiver refused a request that began at `begun` and asked for a wait.
    /// Returns how long the endpoint is held back from now on.
    pub fn note_refusal(
        &mut self,
        begun: Instant,
        now: Instant,
        asked: Option<Duration>,
    ) -> Duration {
        let known = self.refused_at.is_some_and(|refused| begun <= refused);
        let hold = match asked {
            Some(asked) => asked.min(MAX_RETRY_AFTER),
            None if known => Duration::ZERO,
            None => self.next_unstated(),
        };
        if !known {
            self.learning = Some(PaceLearning { rate_before: self.learnt_rate(now) });
            self.refused_at = Some(now);
            self.next_turn = None;
        }
        self.hold_until(now + hold);
        self.learn_rate();
        self.remaining_hold(now).unwrap_or_default()
    }

    /// Holds the endpoint back for a time that another process, or an earlier one, was asked to
    /// wait. A hold that was read before this receiver replaced another one belongs to the other
    /// one and is ignored.
    pub fn hold_for(&mut self, read_from: Instant, now: Instant, left: Duration) {
        if self.since.is_none_or(|since| read_from >= since) {
            self.hold_until(now + left.min(MAX_RETRY_AFTER));
        }
    }

    fn hold_until(&mut self, until: Instant) {
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }

    fn next_unstated(&mut self) -> Duration {
        let hold = FIRST.saturating_mul(1 << self.unstated.min(6)).min(LONGEST);
        self.unstated += 1;
        hold
    }

    /// Computes the rate from the requests that were accepted up to the end of the hold.
    fn learn_rate(&mut self) {
        let (Some(learning), Some(refused)) = (self.learning, self.refused_at) else { return };
        let until = self.held_until.unwrap_or(refused).max(refused + SHORTEST);
        let hold = until.saturating_duration_since(refused).as_secs_f64();
        let counted = until.saturating_duration_since(self.counted_from.unwrap_or(refused));
        self.rate = Some(match (self.taken, learning.rate_before) {
            (0, rate) => rate.map_or(1.0 / hold, |rate| rate.min(1.0 / hold)),
            (taken, _) => f64::from(taken) / counted.as_secs_f64(),
        });
    }
}

/// Returns the longest pause between two requests at a rate that does not restart the counting.
fn longest_rest(rate: f64) -> Duration {
    REST.max(per(rate) * 2)
}

/// Returns the time between two requests at a rate.
fn per(rate: f64) -> Duration {
    Duration::try_from_secs_f64(1.0 / rate).unwrap_or(MAX_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Simulates a receiver that accepts `limit` requests in each second and answers the others
    /// with 429 and `Retry-After: 1`, for `seconds`, with a sender of `at_once` concurrent
    /// requests.
    fn taken_and_refused(limit: u32, at_once: u32, seconds: u64) -> (u32, u32, ReceiverPace) {
        let start = Instant::now();
        let (mut pace, mut taken, mut refused) = (ReceiverPace::default(), 0, 0);
        let (mut second, mut in_second) = (0, 0);
        for tick in 0..seconds * 1_000 {
            let now = start + ms(tick);
            if tick / 1_000 > second {
                (second, in_second) = (tick / 1_000, 0);
            }
            let mut begun = 0;
            while begun < at_once && pace.time_to_next_request(now).is_zero() {
                pace.begin_request(now);
                begun += 1;
            }
            for _ in 0..begun {
                if in_second < limit {
                    in_second += 1;
                    taken += 1;
                    pace.note_acceptance(now);
                } else {
                    refused += 1;
                    pace.note_refusal(now, now, Some(ms(1_000)));
                }
            }
        }
        (taken, refused, pace)
    }

    #[test]
    fn the_rate_of_a_receiver_is_learnt() {
        let (taken, refused, pace) = taken_and_refused(5, 96, 20);
        assert!(taken >= 75, "{taken} of 100 that it would have taken");
        assert!(refused < 110, "{refused} were refused: hardly more than the first rush");
        let rate = pace.learnt_rate(Instant::now()).unwrap();
        assert!((4.0..=5.5).contains(&rate), "{rate}");
    }

    #[test]
    fn a_rate_grows_after_a_while_without_refusals() {
        let start = Instant::now();
        let mut pace = ReceiverPace::default();
        pace.begin_request(start);
        pace.note_refusal(start, start, Some(ms(1_000)));
        assert_eq!(pace.learnt_rate(start), Some(1.0));
        // The hold of one second, followed by `STEADY`.
        let steady = start + ms(11_000);
        pace.begin_request(steady);
        pace.note_acceptance(steady);
        assert_eq!(pace.learnt_rate(steady), Some(1.0));
        assert_eq!(pace.learnt_rate(steady + ms(1_000)), Some(1.0 + GROWTH));
        let rested = steady + ms(60_000);
        assert_eq!(pace.learnt_rate(rested), Some(1.0 + GROWTH * 2.0), "a rest counts as 2 s");
        pace.begin_request(rested);
        assert_eq!(pace.learnt_rate(rested), Some(1.0 + GROWTH * 2.0));
        assert_eq!(pace.learnt_rate(start + FORGOTTEN), None);
    }

    /// Returns how long the second request waits after an outage in which the receiver refused
    /// every request and asked for that time.
    fn wait_after_outage(outage: Duration, asked: Option<Duration>) -> Duration {
        let start = Instant::now();
        let (mut pace, mut now) = (ReceiverPace::default(), start);
        while now < start + outage {
            pace.begin_request(now);
            pace.note_refusal(now, now, asked);
            now += pace.time_to_next_request(now);
        }
        pace.begin_request(now);
        pace.note_acceptance(now);
        pace.time_to_next_request(now)
    }

    #[test]
    fn an_outage_full_of_refusals_does_not_stall_the_requests_after_it() {
        let (second, minute) = (ms(1_000), Duration::from_mins(1));
        for (outage, asked, longest) in [
            (second * 20, Some(second), second),
            (minute * 5, Some(minute), minute),
            (minute * 5, None, LONGEST),
        ] {
            let wait = wait_after_outage(outage, asked);
            assert!(wait <= longest, "{wait:?} after {outage:?} of refusals with {asked:?}");
        }
    }

    #[test]
    fn refusals_of_requests_in_flight_are_one_refusal() {
        let start = Instant::now();
        let mut pace = ReceiverPace::default();
        for _ in 0..3 {
            pace.begin_request(start);
        }
        assert_eq!(pace.note_refusal(start, start + ms(10), None), FIRST);
        assert_eq!(pace.note_refusal(start, start + ms(20), None), ms(990));
        assert_eq!(pace.note_refusal(start, start + ms(30), Some(ms(5_000))), ms(5_000));
        assert!(
            pace.learnt_rate(start).is_some_and(|rate| rate < 0.21),
            "nothing was taken in 5 s"
        );
        let next = start + ms(6_000);
        assert_eq!(pace.remaining_hold(next), None);
        pace.begin_request(next);
        assert_eq!(pace.note_refusal(next, next, None), FIRST * 2, "the next one waits longer");
    }

    #[test]
    fn requests_accepted_before_the_refusal_was_known_count() {
        let start = Instant::now();
        let mut pace = ReceiverPace::default();
        for _ in 0..6 {
            pace.begin_request(start);
        }
        pace.note_refusal(start, start, Some(ms(1_000)));
        for _ in 0..5 {
            pace.note_acceptance(start);
        }
        assert_eq!(pace.learnt_rate(start), Some(5.0));
        pace.begin_request(start + ms(1_000));
        pace.note_acceptance(start);
        assert_eq!(
            pace.learnt_rate(start),
            Some(5.0),
            "a late answer says nothing of the next second"
        );
    }

    #[test]
    fn a_hold_that_was_read_before_the_receiver_changed_is_not_applied() {
        let start = Instant::now();
        let hour = Duration::from_hours(1);
        let mut pace = ReceiverPace::starting_at(start + ms(1));
        pace.hold_for(start, start + ms(2), hour);
        assert_eq!(pace.remaining_hold(start + ms(2)), None);
        pace.hold_for(start + ms(2), start + ms(3), hour);
        assert_eq!(pace.remaining_hold(start + ms(3)), Some(hour));
        let mut first = ReceiverPace::default();
        first.hold_for(start, start, hour);
        assert_eq!(first.remaining_hold(start), Some(hour));
    }

    #[test]
    fn a_hold_is_a_day_at_most() {
        let now = Instant::now();
        let mut pace = ReceiverPace::default();
        assert_eq!(pace.note_refusal(now, now, Some(Duration::MAX)), MAX_RETRY_AFTER);
        assert_eq!(pace.time_to_next_request(now), MAX_RETRY_AFTER);
    }
}
