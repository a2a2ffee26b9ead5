//! Forgetting what is over, some thousand rows at a time: a long transaction would hold up the
//! others.

use super::pool::writing;
use super::{EventStore, StoreError, statements};
use crate::model::id::{RequestId, SourceId};
use crate::time::timestamp::Timestamp;
use sqlx::types::Uuid;

/// Rows that one transaction forgets.
const ROWS: i64 = 5_000;

/// Whose, or up to when.
#[derive(Debug, Clone, Copy)]
enum ForgetBound {
    Id(Uuid),
    Time(Timestamp),
}

impl EventStore {
    /// Forgets the keys by which repeats are recognised once their 24 hours are over; how many.
    pub async fn forget_capture_keys(&self) -> Result<u64, StoreError> {
        self.forget(statements::FORGET_CAPTURE_KEYS, ForgetBound::Time(self.clock().now())).await
    }

    /// Forgets the dedupe keys whose time is over; how many.
    pub async fn forget_dedupe_keys(&self) -> Result<u64, StoreError> {
        self.forget(statements::FORGET_DEDUPE_KEYS, ForgetBound::Time(self.clock().now())).await
    }

    /// Forgets calls that began before a time; how many.
    pub async fn forget_calls(&self, before: Timestamp) -> Result<u64, StoreError> {
        let first = RequestId::first_at(before).uuid();
        self.forget(statements::FORGET_CALLS, ForgetBound::Id(first)).await
    }

    /// Forgets what was kept for a source that is deleted: its rows, those that were set aside,
    /// then itself.
    pub async fn forget_source(&self, source: SourceId) -> Result<(), StoreError> {
        self.forget(statements::FORGET_SOURCE_ROWS, ForgetBound::Id(source.uuid())).await?;
        self.forget(statements::FORGET_ROW_LETTERS, ForgetBound::Id(source.uuid())).await?;
        let mut tx = self.pool().begin().await?;
        writing!(&mut tx, |db| sqlx::query(statements::FORGET_SOURCE_STATE)
            .bind(source.uuid())
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }

    /// Runs a statement that takes a bound and a number of rows until there are no more; how many
    /// there were.
    async fn forget(&self, text: &'static str, bound: ForgetBound) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let mut tx = self.pool().begin().await?;
            let rows = writing!(&mut tx, |db| {
                let query = match bound {
                    ForgetBound::Id(id) => sqlx::query(text).bind(id),
                    ForgetBound::Time(time) => sqlx::query(text).bind(time.micros()),
                };
                query.bind(ROWS).execute(db).await?.rows_affected()
            });
            tx.commit().await?;
            forgotten += rows;
            if rows < ROWS.unsigned_abs() {
                return Ok(forgotten);
            }
            // Others that write have their turn.
            tokio::task::yield_now().await;
        }
    }
}
