//! Counters of what the journal recorded since the start.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was recorded since the start.
#[derive(Debug, Default)]
pub struct StoreFigures {
    pub captured: AtomicU64,
    pub duplicates: AtomicU64,
    pub planned: AtomicU64,
    pub delivered: AtomicU64,
    pub failed: AtomicU64,
    pub dead: AtomicU64,
    pub commits: AtomicU64,
}

impl StoreFigures {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Name, meaning and value of each.
    pub fn list(&self) -> [(&'static str, &'static str, u64); 7] {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("waybill_events_captured_total", "Events captured.", value(&self.captured)),
            ("waybill_events_duplicate_total", "Repeats recognised.", value(&self.duplicates)),
            ("waybill_plans_recorded_total", "Module runs recorded.", value(&self.planned)),
            ("waybill_deliveries_delivered_total", "Deliveries made.", value(&self.delivered)),
            ("waybill_attempts_failed_total", "Attempts that failed.", value(&self.failed)),
            ("waybill_deliveries_dead_total", "Deliveries that died.", value(&self.dead)),
            ("waybill_commits_total", "Transactions of the writers.", value(&self.commits)),
        ]
    }
}
