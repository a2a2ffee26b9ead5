//! What is counted of the stages and of the database.

use super::histogram::{AtomicHistogram, GROUP_SIZES, SHORT_SECONDS, WAY_SECONDS};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the stages recorded since the start.
#[derive(Debug)]
pub struct StoreFigures {
    pub captured: Counter,
    pub duplicates: Counter,
    /// Flows and endpoints that did not take an event that they would have taken: they are
    /// disabled, or their `where` kept it back.
    pub suppressed: Counter,
    pub planned: Counter,
    pub delivered: Counter,
    pub failed: Counter,
    pub dead: Counter,
    /// From the capture of an event to a delivery of it.
    pub way_seconds: AtomicHistogram,
    pub commits: Counter,
    pub failed_commits: Counter,
    pub commit_seconds: AtomicHistogram,
    pub commit_operations: AtomicHistogram,
    /// Deliveries that were claimed from the table.
    pub claimed: Counter,
    /// Processes that share the database, this one included.
    pub nodes: Gauge,
}

impl StoreFigures {
    /// Counts everything that was recorded since the start. It grows whenever a page could show
    /// something new. Commits are left out, because reading a page causes some.
    pub fn count_recorded(&self) -> u64 {
        let recorded = [
            &self.captured,
            &self.duplicates,
            &self.planned,
            &self.delivered,
            &self.failed,
            &self.dead,
        ];
        recorded.into_iter().map(Counter::get).sum()
    }

    pub fn register(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let figures = Self {
            captured: counter("waybill_events_captured", "Events captured"),
            duplicates: counter("waybill_events_duplicate", "Repeats recognised"),
            suppressed: counter(
                "waybill_matches_suppressed",
                "Flows and endpoints that did not take an event because they are disabled or their where kept it back",
            ),
            planned: counter("waybill_plans_recorded", "Module runs recorded"),
            delivered: counter("waybill_deliveries_delivered", "Deliveries made"),
            failed: counter("waybill_attempts_failed", "Attempts that failed"),
            dead: counter("waybill_deliveries_dead", "Deliveries that died"),
            commits: counter("waybill_commits", "Transactions of the writers"),
            failed_commits: counter("waybill_commits_failed", "Transactions that failed"),
            claimed: counter("waybill_deliveries_claimed", "Deliveries claimed from the table"),
            way_seconds: AtomicHistogram::new(WAY_SECONDS),
            commit_seconds: AtomicHistogram::new(SHORT_SECONDS),
            commit_operations: AtomicHistogram::new(GROUP_SIZES),
            nodes: Gauge::default(),
        };
        let help = "Time from the capture of an event to its delivery";
        registry.register("waybill_delivery_way_seconds", help, figures.way_seconds.clone());
        let help = "How long transactions of the writers took";
        registry.register("waybill_commit_seconds", help, figures.commit_seconds.clone());
        let help = "Operations that one transaction of the writers held";
        registry.register("waybill_commit_operations", help, figures.commit_operations.clone());
        let help = "Processes that share the database";
        registry.register("waybill_nodes", help, figures.nodes.clone());
        figures
    }
}
