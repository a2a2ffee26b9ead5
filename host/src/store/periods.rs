//! How long the store remembers what no operator sets.

use std::time::Duration;

/// How long a repeat of an event is recognised by its keys.
pub const REPEATS_RECOGNISED_FOR: Duration = Duration::from_hours(24);
