//! Whether captures can be promised: a write was just committed to the database that will be there
//! after a restart.
//!
//! `/readyz` needs no token, so proofs are rare: one a second serves all who ask in that second.

use super::pool::reading;
use super::{EventStore, StoreError, statements, writer};
use crate::error_chain::error_chain;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a proof serves.
const FRESH: Duration = Duration::from_secs(1);
/// How long a proof may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a failed write the journal counts as not ready, unless another write succeeds. A
/// disk that is full may still take the small write of a proof.
const DOUBT: Duration = Duration::from_secs(10);

/// Whether the database ever said that its pages are damaged. For the whole process, which has one
/// journal, because errors are converted where no journal is at hand.
static DAMAGED: AtomicBool = AtomicBool::new(false);

/// Why the journal is not ready. The texts are for everybody: they name no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The database is away, full or read-only.
    #[error("the database takes no writes; the log says why")]
    Unwritable,
    /// The last write failed a moment ago.
    #[error("the last write to the database failed; the log says why")]
    Doubtful,
    /// Pages of the database are damaged.
    #[error("the database is damaged: stop the server and restore a copy")]
    Damaged,
}

/// What is known of recent writes.
#[derive(Debug, Default)]
pub struct WriteHealth {
    failed_at: Mutex<Option<Instant>>,
    /// Whether a commit succeeded since the last proof: one that failed is out of date then.
    is_outdated: AtomicBool,
    proof: tokio::sync::Mutex<Option<(Instant, Result<(), NotReady>)>>,
}

impl WriteHealth {
    /// Notes what became of a commit of work.
    pub fn note_commit(&self, is_ok: bool) {
        let mut failed_at = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        *failed_at = (!is_ok).then(Instant::now);
        self.is_outdated.store(is_ok, Ordering::Relaxed);
    }

    fn is_doubtful(&self) -> bool {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| at.elapsed() < DOUBT)
    }
}

/// Notes an error code of the database that says that its pages are damaged: SQLite's `CORRUPT`
/// (11) and `NOTADB` (26), with extended codes above, and PostgreSQL's `XX001` and `XX002`.
pub fn note_code(code: &str) {
    let sqlite = code.parse::<u32>().ok().filter(|_| code.len() < 5).map(|code| code & 0xff);
    if matches!(sqlite, Some(11 | 26)) || matches!(code, "XX001" | "XX002") {
        note_damage();
    }
}

/// Notes that pages of the database are damaged. Only a restart with a sound file ends that.
pub fn note_damage() {
    if !DAMAGED.swap(true, Ordering::Relaxed) {
        tracing::error!(
            "the database says that it is damaged: stop the server, restore a copy, start again"
        );
    }
}

impl EventStore {
    /// Commits a write and reads the newest pages, at most once a second.
    pub async fn prove_ready(&self) -> Result<(), NotReady> {
        let health = &self.inner.write_health;
        let mut proof = health.proof.lock().await;
        let is_outdated = health.is_outdated.swap(false, Ordering::Relaxed);
        let serves = |(at, proven): &(Instant, Result<(), NotReady>)| {
            at.elapsed() < FRESH && (proven.is_ok() || !is_outdated)
        };
        let known = proof.filter(serves).map(|(_, proven)| proven);
        let proven = match known {
            Some(proven) => proven,
            None => self.prove().await,
        };
        if known.is_none() {
            *proof = Some((Instant::now(), proven));
        }
        drop(proof);
        if DAMAGED.load(Ordering::Relaxed) {
            return Err(NotReady::Damaged);
        }
        proven?;
        if self.pool().check_in_place().is_err() {
            return Err(NotReady::Unwritable);
        }
        if health.is_doubtful() { Err(NotReady::Doubtful) } else { Ok(()) }
    }

    async fn prove(&self) -> Result<(), NotReady> {
        let proven = async {
            let (reply, answer) = oneshot::channel();
            let (node, at) = (self.inner.node, self.clock().now().micros());
            self.submit(writer::WriteOperation::Prove { node, at, reply }).await?;
            answer.await.unwrap_or(Err(StoreError::Closed))?;
            self.read_newest().await
        };
        match tokio::time::timeout(PATIENCE, proven).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(error = %error_chain(&error), "the journal is not ready");
                Err(NotReady::Unwritable)
            }
            Err(_) => {
                tracing::warn!(seconds = PATIENCE.as_secs(), "the database took no write in time");
                Err(NotReady::Unwritable)
            }
        }
    }

    /// Reads the newest page of each tree that captures write to: damage shows before a capture
    /// meets it.
    async fn read_newest(&self) -> Result<(), StoreError> {
        type Newest = (Option<i64>, Option<i64>, Option<i64>, Option<i64>);
        let _newest: Newest = reading!(self.pool(), |db| {
            sqlx::query_as(statements::READ_NEWEST).fetch_one(db).await?
        });
        Ok(())
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
