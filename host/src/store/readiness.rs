//! Proves that captures are possible: a write was just committed to the database that will be there
//! after a restart.
//!
//! `/readyz` needs no token, so a caller could ask for many writes. One proof a second serves all
//! callers of that second.

use super::commit::operation::WriteOperation;
use super::db::SqlQuery;
use super::write_health::NotReady;
use super::{EventStore, StoreError, statements};
use crate::error_chain::error_chain;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Time for which a proof is valid.
const FRESH: Duration = Duration::from_secs(1);
/// Time that a proof may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl EventStore {
    /// Commits a write and reads the newest pages, at most once a second.
    pub async fn prove_ready(&self) -> Result<(), NotReady> {
        let health = &self.inner.followers.write_health;
        let mut proof = self.inner.proof.lock().await;
        let has_recovered = health.take_recovery();
        let serves = |(at, proven): &(Instant, Result<(), NotReady>)| {
            at.elapsed() < FRESH && (proven.is_ok() || !has_recovered)
        };
        let known = proof.filter(serves).map(|(_, proven)| proven);
        let proven = match known {
            Some(proven) => proven,
            None => self.prove_write().await,
        };
        if known.is_none() {
            *proof = Some((Instant::now(), proven));
        }
        drop(proof);
        if self.pool().is_damaged() {
            return Err(NotReady::Damaged);
        }
        proven?;
        if self.pool().check_in_place().is_err() {
            return Err(NotReady::Unwritable);
        }
        if health.is_doubtful() { Err(NotReady::Doubtful) } else { Ok(()) }
    }

    async fn prove_write(&self) -> Result<(), NotReady> {
        let proven = async {
            let (reply, answer) = oneshot::channel();
            let (node, at) = (self.inner.node, self.clock().now().micros());
            self.submit_operation(WriteOperation::Prove { node, at, reply }).await?;
            answer.await.unwrap_or(Err(StoreError::Closed))?;
            self.read_newest().await
        };
        match tokio::time::timeout(PATIENCE, proven).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(error = %error_chain(&error), "the store is not ready");
                Err(NotReady::Unwritable)
            }
            Err(_) => {
                tracing::warn!(
                    seconds = PATIENCE.as_secs(),
                    "the database did not complete a write in time"
                );
                Err(NotReady::Unwritable)
            }
        }
    }

    /// Reads the newest page of each tree that captures write to, so that damage is found before a
    /// capture meets it.
    async fn read_newest(&self) -> Result<(), StoreError> {
        self.pool().fetch_all::<()>(SqlQuery::new(statements::READ_NEWEST)).await.map(drop)
    }
}
