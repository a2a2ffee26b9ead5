//! How a run of a source goes.

use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// How the last run of a source went, or how the present one goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = Report)]
pub struct RunReport {
    /// When the last run ended, well or badly.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// When the last run began that came to its end: what happened before that is captured.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub complete_until: Option<Timestamp>,
    /// Rows read in this run.
    pub rows: u64,
    /// Events captured in this run.
    pub events: u64,
    /// Why the last run did not come to its end, and what to do.
    pub error: Option<String>,
    /// What does not stop it, and is worth knowing.
    pub warnings: Vec<String>,
    /// How far the present run is.
    pub progress: Option<RunProgress>,
    /// Where a source that takes messages stands in its stream or queue.
    pub stream: Option<StreamPosition>,
    /// Runs that failed one after the other. Only sources that run all the time count them.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Where a source stands in its stream or queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct StreamPosition {
    /// Messages that wait at the broker; null where it did not say.
    pub waiting: Option<u64>,
    /// The last message that was captured or set aside: its sequence in a stream of NATS; in a queue
    /// its `message-id`, or a digest of it.
    pub last: Option<String>,
    /// When that message was published, as far as the broker says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_at: Option<Timestamp>,
}

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Progress)]
pub struct RunProgress {
    /// The table or list that is being read.
    pub table: String,
    /// Tables that are done.
    pub done: u32,
    /// Tables in all.
    pub of: u32,
}
