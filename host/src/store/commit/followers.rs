//! Who hears of a commit once it is durable.

use crate::metrics::ServerMetrics;
use crate::store::prefetch::WorkPrefetch;
use crate::store::presence::OtherNodes;
use crate::store::watch::EventWatchers;
use crate::store::write_health::WriteHealth;

/// What the writers tell of their commits.
#[derive(Debug)]
pub struct CommitFollowers {
    /// Takes what is ready for the next stage.
    pub prefetch: WorkPrefetch,
    /// Requests that wait for what becomes of their event.
    pub watchers: EventWatchers,
    /// Nodes that may have such requests.
    pub others: OtherNodes,
    pub metrics: ServerMetrics,
    pub write_health: WriteHealth,
}
