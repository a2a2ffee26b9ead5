//! Housekeeping of the journal's own tables.

use super::pool::writing;
use super::{Error, Journal, statements};

impl Journal {
    /// Forgets the keys by which repeats are recognised once their 24 hours are over; how many.
    pub async fn forget_capture_keys(&self) -> Result<u64, Error> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        let rows = writing!(&mut tx, |db| sqlx::query(statements::FORGET_CAPTURE_KEYS)
            .bind(now.micros())
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        Ok(rows)
    }
}
