//! Forgetting what is over, some thousand rows at a time: a long transaction would hold up the
//! others.

use super::db::SqlQuery;
use super::db::bound_value::BoundValue;
use super::{EventStore, StoreError, statements};
use crate::model::id::{RequestId, SourceId};
use crate::time::timestamp::Timestamp;

/// Rows that one transaction forgets.
const ROWS: i64 = 5_000;

impl EventStore {
    /// Forgets the keys by which repeats are recognised once their 24 hours are over; how many.
    pub async fn forget_capture_keys(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_CAPTURE_KEYS, self.clock().now().into()).await
    }

    /// Forgets the dedupe keys whose time is over; how many.
    pub async fn forget_dedupe_keys(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_DEDUPE_KEYS, self.clock().now().into()).await
    }

    /// Forgets what modules remembered until a time that is over; how many keys.
    pub async fn forget_state(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_STATE, self.clock().now().into()).await
    }

    /// Forgets the indexed fields of records that are gone; how many.
    pub async fn forget_record_fields(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_RECORD_FIELDS, self.clock().now().into()).await
    }

    /// Cancels what is open at endpoints that are gone; how many.
    pub async fn cancel_orphans(&self) -> Result<u64, StoreError> {
        let cancel = self.pool().choose_statement(
            statements::CANCEL_ORPHANS_SQLITE,
            statements::CANCEL_ORPHANS_POSTGRES,
        );
        self.forget_rows(cancel, self.clock().now().into()).await
    }

    /// Forgets calls that began before a time; how many.
    pub async fn forget_calls(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_CALLS, RequestId::first_at(before).into()).await
    }

    /// Forgets what was kept for sources that are deleted; how many there were.
    pub async fn forget_deleted_sources(&self) -> Result<usize, StoreError> {
        let query = SqlQuery::new(statements::SELECT_DELETED_SOURCES);
        let deleted: Vec<SourceId> = self.pool().fetch_values(query).await?;
        for source in &deleted {
            self.forget_source(*source).await?;
        }
        Ok(deleted.len())
    }

    /// Forgets what was kept for a source that is deleted: its rows, those that were set aside,
    /// then itself.
    pub async fn forget_source(&self, source: SourceId) -> Result<(), StoreError> {
        self.forget_rows(statements::FORGET_SOURCE_ROWS, source.into()).await?;
        self.forget_rows(statements::FORGET_ROW_LETTERS, source.into()).await?;
        let forget = SqlQuery::new(statements::FORGET_SOURCE_STATE).bind(source);
        self.pool().execute(forget).await.map(drop)
    }

    /// Runs a statement that takes a time or an id and a number of rows until no row is left; how
    /// many there were.
    async fn forget_rows(
        &self,
        text: &'static str,
        bound: BoundValue<'static>,
    ) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let rows = self.pool().execute(SqlQuery::new(text).bind(bound).bind(ROWS)).await?;
            forgotten += rows;
            if rows < ROWS.unsigned_abs() {
                return Ok(forgotten);
            }
            // Others that write have their turn.
            tokio::task::yield_now().await;
        }
    }
}
