//! Counts what was exported and what was dropped.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of one signal since the start of the process.
#[derive(Debug, Default)]
pub struct ExportFigures {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl ExportFigures {
    /// Counts items that the receiver accepted.
    pub fn note_exported(&self, count: u64) {
        self.exported.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts items that did not fit into the queue, or that the receiver did not accept.
    pub fn note_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the number of exported items.
    pub fn count_exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Returns the number of dropped items.
    pub fn count_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
