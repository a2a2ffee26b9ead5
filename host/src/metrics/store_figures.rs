//! Figures of the stages and of the database.

use super::histogram::{AtomicHistogram, GROUP_SIZES, SHORT_SECONDS, WAY_SECONDS};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The operations that the stages recorded since the start.
#[derive(Debug)]
pub struct StoreFigures {
    pub captured: Counter,
    pub duplicates: Counter,
    /// Events that the capture log acknowledged to this node's callers.
    pub logged: Counter,
    /// Requests that the capture log did not acknowledge.
    pub log_refused: Counter,
    /// Messages of the capture log that the journal has not taken, as the node that takes them last
    /// saw.
    pub log_waiting: Gauge,
    /// Flows and endpoints that match an event but did not get it, because they are disabled or
    /// their `where` excluded it.
    pub suppressed: Counter,
    pub planned: Counter,
    pub delivered: Counter,
    pub failed: Counter,
    pub dead: Counter,
    /// Seconds from the capture of an event to its delivery.
    pub way_seconds: AtomicHistogram,
    pub commits: Counter,
    pub failed_commits: Counter,
    pub commit_seconds: AtomicHistogram,
    pub commit_operations: AtomicHistogram,
    /// Deliveries that were claimed from the table.
    pub claimed: Counter,
    /// Processes that share the database, including this one.
    pub nodes: Gauge,
}

impl StoreFigures {
    /// Returns a count of everything recorded since the start. The count grows whenever a page
    /// could show something new. Commits are not part of it, because reading a page causes some.
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
            duplicates: counter("waybill_events_duplicate", "Duplicate events recognised"),
            logged: counter(
                "waybill_events_logged",
                "Events that the capture log acknowledged to callers of this node",
            ),
            log_refused: counter(
                "waybill_capture_log_refused",
                "Requests that the capture log did not acknowledge",
            ),
            log_waiting: Gauge::default(),
            suppressed: counter(
                "waybill_matches_suppressed",
                "Flows and endpoints that match an event but did not get it, because they are disabled or their where excluded it",
            ),
            planned: counter("waybill_plans_recorded", "Module runs recorded"),
            delivered: counter("waybill_deliveries_delivered", "Deliveries that arrived"),
            failed: counter("waybill_attempts_failed", "Attempts that failed"),
            dead: counter("waybill_deliveries_dead", "Deliveries that became dead letters"),
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
        let help = "Messages of the capture log that this node has still to take";
        registry.register("waybill_capture_log_waiting", help, figures.log_waiting.clone());
        let help = "Processes that share the database";
        registry.register("waybill_nodes", help, figures.nodes.clone());
        figures
    }
}
