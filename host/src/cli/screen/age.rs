//! Times in tables, relative to now.

use crate::time::timestamp::Timestamp;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Formats a span in one or two units: `12s`, `36m`, `3h18`, `2d`.
pub fn short_span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ ..MINUTE => format!("{seconds}s"),
        seconds @ MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{}h{:02}", seconds / HOUR, seconds % HOUR / MINUTE),
        seconds => format!("{}d", seconds / DAY),
    }
}

/// Formats a time relative to `now`: `36m ago`, `in 45m`.
pub fn relative_time(time: Timestamp, now: Timestamp) -> String {
    if time > now {
        return format!("in {}", short_span(time.since(now)));
    }
    format!("{} ago", short_span(now.since(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (3 * 3_600 + 18 * 60, "3h18"),
            (3_660, "1h01"),
            (2 * 86_400 + 5, "2d"),
        ] {
            assert_eq!(short_span(Duration::from_secs(seconds)), text);
        }
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        assert_eq!(relative_time(now.before(Duration::from_mins(3)), now), "3m ago");
        assert_eq!(relative_time(now.after(Duration::from_mins(3)), now), "in 3m");
    }
}
