//! Housekeeping of the journal's own tables.

use super::pool::writing;
use super::{Error, Journal, statements};

/// Keys that one transaction forgets.
const FORGET: i64 = 5_000;

impl Journal {
    /// Forgets the keys by which repeats are recognised once their 24 hours are over, some thousand at a time; how many.
    pub async fn forget_capture_keys(&self) -> Result<u64, Error> {
        let now = self.clock().now();
        let mut forgotten = 0;
        loop {
            let mut tx = self.pool().begin().await?;
            let rows = writing!(&mut tx, |db| sqlx::query(statements::FORGET_CAPTURE_KEYS)
                .bind(now.micros())
                .bind(FORGET)
                .execute(db)
                .await?
                .rows_affected());
            tx.commit().await?;
            forgotten += rows;
            if rows < FORGET.unsigned_abs() {
                return Ok(forgotten);
            }
            // Others that write have their turn.
            tokio::task::yield_now().await;
        }
    }
}
