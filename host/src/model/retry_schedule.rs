//! Computes when a failed delivery is retried.

use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// Longest wait that a receiver can ask for with `Retry-After`. A longer one counts as this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The largest share of a wait that jitter adds, unless an endpoint sets another.
pub const DEFAULT_JITTER: f64 = 0.1;

/// Longest time that jitter adds to a wait.
pub const MAX_JITTER: Duration = Duration::from_mins(1);

/// The waits before the further attempts, and how much they vary.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrySchedule {
    /// The waits before the second attempt, the third, and so on. After the last one the delivery
    /// is dead.
    pub steps: Vec<TimeSpan>,
    /// The largest share of each wait, 0 to 1, that is added to it at random, at most
    /// [`MAX_JITTER`]. A value out of range counts as the nearest bound.
    pub jitter: f64,
}

impl Default for RetrySchedule {
    /// Returns 30s, 1m, 5m, 15m, 1h, 6h, 12h, 24h: nine attempts over 43 h 21 min 30 s plus the
    /// jitter.
    fn default() -> Self {
        const SECONDS: [u64; 8] = [30, 60, 300, 900, 3_600, 21_600, 43_200, 86_400];
        let steps = SECONDS.into_iter().map(|s| TimeSpan::new(Duration::from_secs(s))).collect();
        Self { steps, jitter: DEFAULT_JITTER }
    }
}

impl RetrySchedule {
    /// Returns when to retry after `attempts` failed attempts (1 after the first), or `None` if the
    /// schedule is over.
    ///
    /// `retry_after` is the wait that the receiver asked for. It counts if it ends later than the
    /// schedule's wait, up to [`MAX_RETRY_AFTER`]. `random` is uniform in `0..1`; 0 adds no jitter.
    pub fn next(
        &self,
        attempts: u32,
        now: Timestamp,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Option<Timestamp> {
        let step = usize::try_from(attempts.max(1) - 1).ok()?;
        let wait = self.steps.get(step)?.get();
        let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        // Jitter is also added to the wait that the receiver asked for. Otherwise all deliveries
        // that failed together would be retried together.
        Some(now.after(wait.max(asked) + self.added(wait, random)))
    }

    /// Returns the jitter: any time from zero to the share of the wait, with equal probability, so
    /// that deliveries that failed together spread over all of it.
    fn added(&self, wait: Duration, random: f64) -> Duration {
        let jitter = self.jitter.clamp(0.0, 1.0);
        let most = Duration::try_from_secs_f64(wait.as_secs_f64() * jitter).unwrap_or_default();
        most.min(MAX_JITTER).mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn waits(schedule: &RetrySchedule, random: f64) -> Vec<u64> {
        (1..)
            .map_while(|attempts| schedule.next(attempts, NOW, None, random))
            .map(|due| due.since(NOW).as_secs())
            .collect()
    }

    #[test]
    fn the_default_makes_nine_attempts() {
        let expected = [30, 60, 300, 900, 3_600, 21_600, 43_200, 86_400];
        assert_eq!(waits(&RetrySchedule::default(), 0.0), expected);
        assert_eq!(expected.iter().sum::<u64>(), 43 * 3_600 + 21 * 60 + 30);
    }

    #[test]
    fn no_steps_mean_one_attempt() {
        let schedule = RetrySchedule { steps: Vec::new(), jitter: 0.0 };
        assert_eq!(schedule.next(1, NOW, Some(Duration::from_secs(9)), 0.5), None);
    }

    #[test]
    fn retry_after_counts_if_it_is_later_up_to_a_day() {
        let after = |seconds| {
            RetrySchedule::default().next(1, NOW, Some(Duration::from_secs(seconds)), 0.0).unwrap()
        };
        assert_eq!(after(5), NOW.after(Duration::from_secs(30)));
        assert_eq!(after(120), NOW.after(Duration::from_mins(2)));
        assert_eq!(after(u64::MAX), NOW.after(MAX_RETRY_AFTER));
    }

    #[test]
    fn jitter_adds_a_share_of_the_wait_and_at_most_a_minute() {
        let usual = RetrySchedule::default();
        assert_eq!(waits(&usual, 0.5).first(), Some(&31));
        assert_eq!(waits(&usual, 1.0), [33, 66, 330, 960, 3_660, 21_660, 43_260, 86_460]);
        let wide = RetrySchedule { jitter: 0.2, ..RetrySchedule::default() };
        assert_eq!(waits(&wide, 1.0).first(), Some(&36));
        for off in [0.0, f64::NAN] {
            let schedule = RetrySchedule { jitter: off, ..RetrySchedule::default() };
            assert_eq!(waits(&schedule, 1.0), waits(&usual, 0.0));
        }
    }

    proptest! {
        #[test]
        fn is_never_before_what_the_receiver_asked(
            attempts in 1..9_u32, asked in 0..86_400_u64, jitter in 0.0..=1.0, random in 0.0..1.0,
        ) {
            let schedule = RetrySchedule { jitter, ..RetrySchedule::default() };
            let due = schedule.next(attempts, NOW, Some(Duration::from_secs(asked)), random).unwrap();
            prop_assert!(due.since(NOW) >= Duration::from_secs(asked));
            prop_assert!(due.since(NOW) <= Duration::from_hours(48));
        }
    }
}
