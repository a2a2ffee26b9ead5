//! A histogram of plain atomics. The library's histogram takes a lock for each value, and does not
//! expose its buckets, which health needs for percentiles.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds for requests to receivers, in seconds.
pub const REQUEST_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds for the time from the capture of an event to its delivery, in seconds.
pub const WAY_SECONDS: &[f64] =
    &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3_600.0, 21_600.0, 86_400.0];
/// Upper bounds for modules and commits, in seconds.
pub const SHORT_SECONDS: &[f64] =
    &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0];
/// Upper bounds for the number of operations in one transaction.
pub const GROUP_SIZES: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// The sum is stored in millionths, so that it is an integer.
const SCALE: f64 = 1e6;

/// Counts values by their size. Cheap to clone; all clones share their counts.
#[derive(Debug, Clone)]
pub struct AtomicHistogram(Arc<HistogramCells>);

#[derive(Debug)]
struct HistogramCells {
    bounds: &'static [f64],
    /// One count for each bound, and one for values above all bounds.
    counts: Vec<AtomicU64>,
    /// The sum of all values, in millionths.
    sum: AtomicU64,
}

impl AtomicHistogram {
    /// Makes an empty histogram. `bounds` must ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(HistogramCells { bounds, counts, sum: AtomicU64::new(0) }))
    }

    /// Counts a time span, in seconds.
    pub fn observe_span(&self, span: Duration) {
        self.observe(span.as_secs_f64());
    }

    /// Counts a value, which must not be negative.
    pub fn observe(&self, value: f64) {
        let cells = &*self.0;
        let place = cells.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = cells.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; a value that is too large saturates"
        )]
        let scaled = (value * SCALE) as u64;
        cells.sum.fetch_add(scaled, Ordering::Relaxed);
    }

    /// Returns how many values were counted.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Returns the lowest bound that covers this share of all counted values. `None` if nothing was
    /// counted, or if the share reaches beyond the highest bound.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let cells = &*self.0;
        let counts: Vec<u64> = cells.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bound, count) in cells.bounds.iter().zip(counts) {
            seen += count;
            if seen >= wanted {
                return Some(*bound);
            }
        }
        None
    }
}

impl TypedMetric for AtomicHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for AtomicHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let cells = &*self.0;
        let bounds = cells.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = cells.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a sum for a chart")]
        let sum = cells.sum.load(Ordering::Relaxed) as f64 / SCALE;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_bounds_of_buckets() {
        let histogram = AtomicHistogram::new(REQUEST_SECONDS);
        assert_eq!(histogram.percentile(50), None);
        for millis in [1, 4, 30, 40, 400] {
            histogram.observe_span(Duration::from_millis(millis));
        }
        assert_eq!(histogram.percentile(40), Some(0.005));
        assert_eq!(histogram.percentile(50), Some(0.05));
        assert_eq!(histogram.percentile(95), Some(0.5));
        histogram.observe(1_000.0);
        assert_eq!(histogram.percentile(100), None);
    }
}
