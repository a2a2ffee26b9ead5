//! Retention periods that no operator sets.

use std::time::Duration;

/// Time for which a repeat of an event is recognised by its keys.
pub const REPEATS_RECOGNISED_FOR: Duration = Duration::from_hours(24);
