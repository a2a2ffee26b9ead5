//! Computes figures from the sent and arrived events.

use crate::load::Sent;
use crate::sink::Sink;
use crate::table::{Measure, Target};

/// Returns the times of acknowledgement and delivery: post to 202, and post to the arrival of the
/// whole delivery.
pub(super) fn latencies(
    case: &'static str,
    sent: &Sent,
    sink: &Sink,
    first: usize,
) -> Vec<Measure> {
    let mut acknowledged = sent.acknowledged.clone();
    let mut delivered = sink.book.latencies(first);
    vec![
        Measure::new(case, "acknowledged p50", "ms", percentile(&mut acknowledged, 0.5)),
        Measure::new(case, "acknowledged p99", "ms", percentile(&mut acknowledged, 0.99)),
        Measure::new(case, "delivered p50", "ms", percentile(&mut delivered, 0.5)),
        Measure::new(case, "delivered p99", "ms", percentile(&mut delivered, 0.99)),
    ]
}

/// Returns the counts that must be zero, and duplicates, which at-least-once delivery allows only
/// after a crash.
pub(super) fn faults(case: &'static str, sink: &Sink, owed: u64) -> Vec<Measure> {
    let book = &sink.book;
    let missing = owed.saturating_sub(book.unique());
    let none = |what, count| {
        Measure::new(case, what, "deliveries", float(count)).against(Target::AtMost(0.0))
    };
    vec![
        none("missing", missing),
        none("duplicates", book.duplicates()),
        none("bad signatures", book.bad()),
        Measure::new(case, "signatures verified", "deliveries", float(book.verified())),
    ]
}

/// Computes a percentile by nearest rank: the smallest value with at least this share of all values
/// at or below it. Takes microseconds and returns milliseconds; 0 without values.
pub(super) fn percentile(micros: &mut [u32], share: f64) -> f64 {
    micros.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank between 0 and a number of events far below 2^52"
    )]
    let rank = (share * micros.len() as f64).ceil() as usize;
    let value = micros.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    f64::from(value) / 1e3
}

/// Converts a count to a figure.
#[expect(clippy::cast_precision_loss, reason = "counts and microseconds far below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut values: Vec<u32> = (1..=100).rev().map(|v| v * 1000).collect();
        let of = |values: &mut Vec<u32>, share| percentile(values, share);
        assert!((of(&mut values, 0.5) - 50.0).abs() < 1e-9);
        assert!((of(&mut values, 0.99) - 99.0).abs() < 1e-9);
        assert!(percentile(&mut [], 0.5).abs() < 1e-9);
    }
}
