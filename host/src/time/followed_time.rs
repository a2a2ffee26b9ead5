//! Estimates the time of another machine's clock from occasional samples.
//!
//! A sample says what time it was at some moment between the request and the answer, so it may be
//! wrong by half of the round trip. The most exact of the latest samples is used, and this
//! machine's monotonic clock continues from it. This machine's wall clock is not used, because it
//! may be wrong or be set.

use crate::time::steady_time::SteadyTime;
use crate::time::timestamp::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Number of samples that are stored and compared.
const SAMPLES: usize = 16;
/// Most that two clocks drift apart: one part in 10,000, that is 100 ppm.
const DRIFT: u32 = 10_000;

/// One reading of the other clock.
#[derive(Debug, Clone, Copy)]
pub struct ClockSample {
    /// The time that the other clock returned.
    pub told: Timestamp,
    /// When the request was sent.
    pub asked: Instant,
    /// When the answer arrived.
    pub answered: Instant,
}

impl ClockSample {
    /// Returns the most that an estimate from this sample may be wrong at a later moment.
    fn error_at(&self, now: Instant) -> Duration {
        let round_trip = self.answered.saturating_duration_since(self.asked);
        round_trip / 2 + now.saturating_duration_since(self.answered) / DRIFT
    }

    /// Returns the other clock's estimated time at a moment of the monotonic clock.
    fn time_at(&self, moment: Instant) -> Timestamp {
        let middle = self.asked + self.answered.saturating_duration_since(self.asked) / 2;
        let later = moment.saturating_duration_since(middle);
        self.told.after(later).before(middle.saturating_duration_since(moment))
    }
}

/// An estimate of another clock, which improves with each sample.
#[derive(Debug)]
pub struct FollowedTime {
    /// The moment of the monotonic clock from which `at_origin` counts.
    origin: Instant,
    /// The other clock's time at `origin`, in microseconds since 1970.
    at_origin: AtomicI64,
    samples: Mutex<VecDeque<ClockSample>>,
    steady: SteadyTime,
}

impl FollowedTime {
    /// Starts to follow a clock, with its first sample.
    pub fn new(sample: ClockSample) -> Self {
        let origin = sample.answered;
        let at_origin = AtomicI64::new(sample.time_at(origin).micros());
        let samples = Mutex::new(VecDeque::from([sample]));
        Self { origin, at_origin, samples, steady: SteadyTime::new() }
    }

    /// Returns the other clock's time at a moment of the monotonic clock. The result never goes
    /// back.
    pub fn read(&self, moment: Instant) -> Timestamp {
        let passed = moment.saturating_duration_since(self.origin);
        let at_origin = Timestamp::from_micros(self.at_origin.load(Ordering::Relaxed));
        self.steady.read(at_origin.after(passed), || moment)
    }

    /// Adds a sample. Earlier samples that contradict it are dropped, because the other clock must
    /// have been set.
    pub fn note_sample(&self, sample: ClockSample) {
        let now = sample.answered;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.retain(|earlier| {
            let (one, other) = (earlier.time_at(now), sample.time_at(now));
            let apart = one.since(other).max(other.since(one));
            apart <= earlier.error_at(now) + sample.error_at(now)
        });
        samples.push_back(sample);
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
        let best = samples.iter().min_by_key(|sample| sample.error_at(now)).copied();
        drop(samples);
        let best = best.unwrap_or(sample);
        self.at_origin.store(best.time_at(self.origin).micros(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A sample of a clock with the right time. The request was sent `passed` after the start and
    /// took `round_trip`.
    fn sample(start: Instant, passed: Duration, round_trip: Duration) -> ClockSample {
        let asked = start + passed;
        let told = NOON.after(passed + round_trip / 2);
        ClockSample { told, asked, answered: asked + round_trip }
    }

    #[test]
    fn a_slow_sample_does_not_replace_a_quick_one() {
        let start = Instant::now();
        let time = FollowedTime::new(sample(start, millis(0), millis(2)));
        // The clock was read at the start of the round trip, so the estimate is half a second
        // behind.
        let late = ClockSample {
            told: NOON.after(millis(2_000)),
            asked: start + millis(2_000),
            answered: start + millis(3_000),
        };
        time.note_sample(late);
        assert_eq!(time.read(start + millis(4_000)), NOON.after(millis(4_000)));
    }

    #[test]
    fn a_clock_that_was_set_is_followed_at_once() {
        let start = Instant::now();
        let time = FollowedTime::new(sample(start, millis(0), millis(2)));
        let mut ahead = sample(start, millis(2_000), millis(10));
        ahead.told = ahead.told.after(millis(12_000));
        time.note_sample(ahead);
        assert_eq!(time.read(start + millis(4_000)), NOON.after(millis(16_000)));
        // After the other clock was set back, the time goes slower until that clock has caught up.
        time.note_sample(sample(start, millis(5_000), millis(2)));
        let then = time.read(start + millis(6_000));
        assert!(then >= NOON.after(millis(16_000)) && then < NOON.after(millis(18_000)), "{then}");
        assert_eq!(time.read(start + millis(200_000)), NOON.after(millis(200_000)));
    }

    #[test]
    fn two_machines_that_follow_one_clock_agree() {
        let start = Instant::now();
        let near = FollowedTime::new(sample(start, millis(0), millis(1)));
        let far = FollowedTime::new(sample(start, millis(700), millis(80)));
        let at = start + millis(9_000);
        assert_eq!(near.read(at), far.read(at));
    }
}
