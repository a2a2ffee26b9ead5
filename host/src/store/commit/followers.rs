//! The parts of the program that follow the commits.

use crate::metrics::ServerMetrics;
use crate::store::prefetch::WorkPrefetch;
use crate::store::presence::OtherNodes;
use crate::store::watch::EventWatchers;
use crate::store::write_health::WriteHealth;

/// The followers that the writers inform after a commit.
#[derive(Debug)]
pub struct CommitFollowers {
    /// Receives work for the next stage.
    pub prefetch: WorkPrefetch,
    /// Requests that wait for the outcome of their event.
    pub watchers: EventWatchers,
    /// Nodes that may have such requests.
    pub others: OtherNodes,
    pub metrics: ServerMetrics,
    pub write_health: WriteHealth,
}
