//! The results of recent writes, and why the store may not be ready.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time after a failed write during which the store counts as not ready, unless another write
/// succeeds. A full disk may still accept the small write of a proof.
const DOUBT: Duration = Duration::from_secs(10);

/// Why the store is not ready. Anybody can read these texts, so they name no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The database is away, full or read-only.
    #[error("the database does not accept writes; the log says why")]
    Unwritable,
    #[error("the last write to the database failed; the log says why")]
    Doubtful,
    /// Pages of the database are damaged.
    #[error("the database is damaged: stop the server and restore a copy")]
    Damaged,
}

/// The time and result of the last proof.
pub type ReadinessProof = Option<(Instant, Result<(), NotReady>)>;

#[derive(Debug, Default)]
pub struct WriteHealth {
    failed_at: Mutex<Option<Instant>>,
    /// Whether a commit succeeded since the last proof. A failed proof is then out of date.
    has_recovered: AtomicBool,
}

impl WriteHealth {
    /// Records whether a commit of work succeeded.
    pub fn note_commit(&self, is_ok: bool) {
        let mut failed_at = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        *failed_at = (!is_ok).then(Instant::now);
        self.has_recovered.store(is_ok, Ordering::Relaxed);
    }

    /// Returns whether a write failed recently and none has succeeded since.
    pub fn is_doubtful(&self) -> bool {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| at.elapsed() < DOUBT)
    }

    /// Returns whether a commit succeeded since the last call.
    pub fn take_recovery(&self) -> bool {
        self.has_recovered.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_casts_doubt_until_one_succeeds() {
        let health = WriteHealth::default();
        assert!(!health.is_doubtful());
        health.note_commit(false);
        assert!(health.is_doubtful());
        health.note_commit(true);
        assert!(!health.is_doubtful());
    }
}
