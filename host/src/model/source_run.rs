//! Reports about the runs of a source.

use super::id::SourceId;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id under which the position in the capture log is stored. No operator makes this source, but
/// it is held and written as others are.
pub const CAPTURE_LOG: SourceId =
    SourceId::from_uuid(Uuid::from_u128(0x7761_7962_696c_8c00_8000_6361_7074_7572));

/// The state of a source's present run, or the result of its last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = Report)]
pub struct RunReport {
    /// Time at which the last run ended, whether it succeeded or failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Time at which the last successful run began. All changes before that time are captured.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub complete_until: Option<Timestamp>,
    /// The number of rows that this run has read.
    pub rows: u64,
    /// The number of events that this run has captured.
    pub events: u64,
    /// Failure of the last run, and the next step.
    pub error: Option<String>,
    /// Problems that do not stop the source but should be known.
    pub warnings: Vec<String>,
    /// The progress of the present run.
    pub progress: Option<RunProgress>,
    /// Position of a source that consumes messages in its stream or queue.
    pub stream: Option<StreamPosition>,
    /// Consecutive failed runs. Only sources that run all the time count them.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The position of a source in its stream or queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct StreamPosition {
    /// Messages that wait at the broker. Null if the broker did not say.
    pub waiting: Option<u64>,
    /// The last message that was captured or set aside: its sequence in a stream of NATS. In a
    /// queue, its `message-id` or a digest of it.
    pub last: Option<String>,
    /// Time at which that message was published, if the broker states it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_at: Option<Timestamp>,
}

/// The progress of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Progress)]
pub struct RunProgress {
    /// The table or list that is being read now.
    pub table: String,
    /// The number of tables or lists that are done.
    pub done: u32,
    /// The number of all tables or lists.
    pub of: u32,
}
