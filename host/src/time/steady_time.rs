//! A time that does not go back when the underlying clock is set back.

use crate::time::timestamp::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// By what part the time runs slower while the clock catches up: one tenth.
const SLOWER_BY: u32 = 10;
/// Threads that read the clock at the same moment see times up to this far apart, in microseconds.
const SAME: i64 = 10_000;
/// A clock that is set back by more than this was wrong for a long time. Its new time is used at
/// once.
const FAR: Duration = Duration::from_hours(24);

/// A clock reading that never goes back.
#[derive(Debug)]
pub struct SteadyTime {
    /// The latest time that was returned, in microseconds since 1970.
    latest: AtomicI64,
    /// Whether the clock is behind `latest`.
    behind: AtomicBool,
    /// The time and the monotonic clock's moment at which the clock was set back.
    anchor: Mutex<Option<(Timestamp, Instant)>>,
}

impl SteadyTime {
    pub const fn new() -> Self {
        Self {
            latest: AtomicI64::new(i64::MIN),
            behind: AtomicBool::new(false),
            anchor: Mutex::new(None),
        }
    }

    /// Returns the time for a clock reading. Only calls `monotonic` if the clock is behind.
    pub fn read(&self, wall: Timestamp, monotonic: impl FnOnce() -> Instant) -> Timestamp {
        let latest = self.latest.fetch_max(wall.micros(), Ordering::Relaxed);
        if wall.micros() < latest.saturating_sub(SAME) {
            return self.catch_up(wall, latest, monotonic());
        }
        if self.behind.load(Ordering::Relaxed) {
            self.behind.store(false, Ordering::Relaxed);
            *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Timestamp::from_micros(wall.micros().max(latest))
    }

    #[cold]
    fn catch_up(&self, wall: Timestamp, latest: i64, now: Instant) -> Timestamp {
        let latest = Timestamp::from_micros(latest);
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.since(wall) > FAR {
            *anchor = None;
            self.latest.store(wall.micros(), Ordering::Relaxed);
            tracing::warn!(%wall, "the clock was set back by more than a day: waits take longer by that time");
            return wall;
        }
        if anchor.is_none() {
            self.behind.store(true, Ordering::Relaxed);
            tracing::warn!(%wall, "the clock was set back: the time for waits runs a tenth slower until the clock has caught up");
        }
        let (began, at) = *anchor.get_or_insert((latest, now));
        let passed = now.saturating_duration_since(at);
        let slower = passed.saturating_sub(passed / SLOWER_BY);
        let told = began.after(slower).max(latest);
        self.latest.fetch_max(told.micros(), Ordering::Relaxed);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stretch_waits() {
        let (time, start) = (SteadyTime::new(), Instant::now());
        let read = |wall: Timestamp, passed: u64| time.read(wall, || start + secs(passed));
        assert_eq!(read(NOON, 0), NOON);
        // The clock is set back by an hour. A wait of 30 s then takes about 3 s longer.
        let back = NOON.before(secs(3_600));
        assert_eq!(read(back, 0), NOON);
        assert_eq!(read(back.after(secs(10)), 10), NOON.after(secs(9)));
        assert_eq!(read(back.after(secs(30)), 30), NOON.after(secs(27)));
        // Ten hours later the machine's clock has caught up.
        let later = back.after(secs(36_000));
        assert_eq!(read(later, 36_000), later);
        assert_eq!(read(later.after(secs(1)), 36_001), later.after(secs(1)));
        // The clock is set back again.
        assert_eq!(read(later.before(secs(60)), 36_002), later.after(secs(1)));
        assert_eq!(read(later.before(secs(50)), 36_012), later.after(secs(10)));
    }

    #[test]
    fn a_clock_that_is_set_forward_counts_at_once() {
        let (time, start) = (SteadyTime::new(), Instant::now());
        assert_eq!(time.read(NOON, || start), NOON);
        let later = NOON.after(secs(3_600));
        assert_eq!(time.read(later, || start), later);
        // A time that another thread read a moment ago is not a step back.
        assert_eq!(time.read(later.before(Duration::from_millis(1)), || start), later);
        assert!(!time.behind.load(Ordering::Relaxed));
    }

    #[test]
    fn a_clock_that_was_wrong_by_days_is_corrected_at_once() {
        let (time, start) = (SteadyTime::new(), Instant::now());
        assert_eq!(time.read(NOON.after(secs(900_000)), || start), NOON.after(secs(900_000)));
        assert_eq!(time.read(NOON, || start), NOON);
        assert_eq!(time.read(NOON.after(secs(1)), || start), NOON.after(secs(1)));
    }
}
