//! An endpoint's rate limit, by the generic cell rate algorithm (ITU-T I.371). This node's share of
//! the rate may change between requests; requests that were let through still count.

use crate::model::endpoint::RateLimit;
use crate::store::prefetch::WHOLE_RATE;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait that is returned. A gate of which this node has no share is asked again after it.
const LONGEST: Duration = Duration::from_mins(1);

/// Lets requests through at a limited rate.
#[derive(Debug)]
pub struct RateGate {
    pub limit: RateLimit,
    /// When the rate has made up for all requests that were let through.
    paid_at: Mutex<Option<Instant>>,
}

impl RateGate {
    /// Creates a gate that has let nothing through yet.
    pub const fn new(limit: RateLimit) -> Self {
        Self { limit, paid_at: Mutex::new(None) }
    }

    /// Lets one request through and returns zero, or returns the time until the next request may be
    /// sent. `share` is this node's share in thousandths of the rate.
    pub fn take(&self, share: u32, now: Instant) -> Duration {
        let share = f64::from(share) / f64::from(WHOLE_RATE);
        let Ok(period) = Duration::try_from_secs_f64(1.0 / (self.limit.per_second * share)) else {
            return LONGEST;
        };
        let ahead = (f64::from(self.limit.burst) * share - 1.0).max(0.0);
        let allowed = Duration::try_from_secs_f64(period.as_secs_f64() * ahead).unwrap_or(LONGEST);
        let mut paid_at = self.lock();
        let due = paid_at.unwrap_or(now).max(now);
        let wait = due.saturating_duration_since(now).saturating_sub(allowed);
        if wait.is_zero() {
            *paid_at = due.checked_add(period);
        }
        wait.min(LONGEST)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.paid_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the requests that go through within a time, with one attempt every millisecond.
    fn count(gate: &RateGate, share: u32, from: Instant, millis: u64) -> usize {
        let moments = (0..millis).map(|n| from + Duration::from_millis(n));
        moments.filter(|now| gate.take(share, *now).is_zero()).count()
    }

    #[test]
    fn a_burst_goes_through_at_once_and_then_the_rate_holds() {
        let gate = RateGate::new(RateLimit { per_second: 10.0, burst: 5 });
        let start = Instant::now();
        assert_eq!((0..9).filter(|_| gate.take(1_000, start).is_zero()).count(), 5);
        assert_eq!(gate.take(1_000, start), Duration::from_millis(100));
        assert_eq!(count(&gate, 1_000, start, 10_001), 100);
    }

    #[test]
    fn three_shares_add_up_to_one_rate() {
        let start = Instant::now();
        let gates: Vec<_> =
            (0..3).map(|_| RateGate::new(RateLimit { per_second: 10.0, burst: 1 })).collect();
        let sent: usize = gates.iter().map(|gate| count(gate, 333, start, 10_000)).sum();
        assert!((99..=103).contains(&sent), "{sent}");
    }

    #[test]
    fn a_changed_share_gives_no_second_burst() {
        let gate = RateGate::new(RateLimit { per_second: 10.0, burst: 1 });
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let sent: usize = (0..10)
            .map(|n| count(&gate, if n % 2 == 0 { 900 } else { 100 }, second(n), 1_000))
            .sum();
        assert!((48..=52).contains(&sent), "{sent}");
    }

    #[test]
    fn without_a_share_nothing_goes_through() {
        let gate = RateGate::new(RateLimit { per_second: 10.0, burst: 1 });
        assert_eq!(gate.take(0, Instant::now()), LONGEST);
    }
}
