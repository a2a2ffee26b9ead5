//! Deletes expired data, a few thousand rows at a time, because a long transaction would delay the
//! others.

use super::db::SqlQuery;
use super::db::bound_value::BoundValue;
use super::{EventStore, StoreError, statements};
use crate::model::id::{RequestId, SourceId};
use crate::model::source_run::CAPTURE_LOG;
use crate::time::timestamp::Timestamp;

/// Number of rows that one transaction deletes.
const ROWS: i64 = 5_000;

impl EventStore {
    /// Deletes the keys of repeats after their 24 hours. Returns how many.
    pub async fn forget_capture_keys(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_CAPTURE_KEYS, self.clock().now().into()).await
    }

    /// Deletes expired dedupe keys. Returns how many.
    pub async fn forget_dedupe_keys(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_DEDUPE_KEYS, self.clock().now().into()).await
    }

    /// Deletes expired keys of module state. Returns how many.
    pub async fn forget_state(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_STATE, self.clock().now().into()).await
    }

    /// Deletes the indexed fields of records that are gone. Returns how many.
    pub async fn forget_record_fields(&self) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_RECORD_FIELDS, self.clock().now().into()).await
    }

    /// Cancels the open deliveries of endpoints that are gone. Returns how many.
    pub async fn cancel_orphans(&self) -> Result<u64, StoreError> {
        let cancel = self.pool().choose_statement(
            statements::CANCEL_ORPHANS_SQLITE,
            statements::CANCEL_ORPHANS_POSTGRES,
        );
        self.forget_rows(cancel, self.clock().now().into()).await
    }

    /// Deletes calls that began before the given time. Returns how many.
    pub async fn forget_calls(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.forget_rows(statements::FORGET_CALLS, RequestId::first_at(before).into()).await
    }

    /// Deletes the data of deleted sources. Returns the number of these sources.
    pub async fn forget_deleted_sources(&self) -> Result<usize, StoreError> {
        let query = SqlQuery::new(statements::SELECT_DELETED_SOURCES);
        let mut deleted: Vec<SourceId> = self.pool().fetch_values(query).await?;
        // The position in the capture log belongs to no source of the settings.
        deleted.retain(|source| *source != CAPTURE_LOG);
        for source in &deleted {
            self.forget_source(*source).await?;
        }
        Ok(deleted.len())
    }

    /// Deletes the data of one deleted source: first its rows, then its dead letters, last its
    /// state.
    pub async fn forget_source(&self, source: SourceId) -> Result<(), StoreError> {
        self.forget_rows(statements::FORGET_SOURCE_ROWS, source.into()).await?;
        self.forget_rows(statements::FORGET_ROW_LETTERS, source.into()).await?;
        let forget = SqlQuery::new(statements::FORGET_SOURCE_STATE).bind(source);
        self.pool().execute(forget).await.map(drop)
    }

    /// Runs a statement that takes a time or an id and a number of rows until no row is left.
    /// Returns how many rows it deleted.
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
            // Lets other writers have their turn.
            tokio::task::yield_now().await;
        }
    }
}
