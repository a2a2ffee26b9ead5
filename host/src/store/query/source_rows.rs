//! Reads the stored rows of sources, so that the next run of a source can find new, changed and
//! deleted rows.

use crate::crypto::digest::ShortDigest;
use crate::model::bad_row::BadRowReason;
use crate::model::id::SourceId;
use crate::store::commit::source_rows::{KeptRow, RowHead};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::error::database_error::corrupt_value;
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;

/// A row of a source that was set aside.
#[derive(Debug, Clone)]
pub struct RowLetter {
    /// The list's name as operators know it.
    pub list: String,
    /// The row's key, or its position.
    pub row_id: String,
    /// Reason for setting it aside.
    pub reason: BadRowReason,
    /// Description of the fault.
    pub detail: String,
    /// Time of the row, if it has one.
    pub row_at: Option<Timestamp>,
    /// Time at which a replay was requested that has not ended yet.
    pub replayed_at: Option<Timestamp>,
}

/// Keys of a part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange {
    /// Exclusive lower bound.
    pub above: i64,
    /// Inclusive upper bound.
    pub to: i64,
}

impl KeyRange {
    /// Every key.
    pub const ALL: Self = Self { above: i64::MIN, to: i64::MAX };
}

impl FromStoredRow for RowHead {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let hash: Vec<u8> = row.get("hash")?;
        let hash = ShortDigest::from_bytes(&hash).ok_or_else(|| {
            corrupt_value("source_row", "hash", &"it does not have sixteen bytes")
        })?;
        let revision: i32 = row.get("revision")?;
        let (key, marks) = (row.get("row_key")?, row.get("marks")?);
        Ok(Self { key, hash, revision: revision.unsigned_abs(), marks })
    }
}

impl FromStoredRow for KeptRow {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { head: RowHead::from_row(row)?, cells: row.get("cells")? })
    }
}

impl FromStoredRow for RowLetter {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let reason: String = row.get("reason")?;
        let reason = BadRowReason::named(&reason).ok_or_else(|| {
            corrupt_value("dead_letter", "reason", &"it is not a reason for a row")
        })?;
        Ok(Self {
            list: row.get("list")?,
            row_id: row.get("row_id")?,
            reason,
            detail: row.get("detail")?,
            row_at: row.get("row_at")?,
            replayed_at: row.get("replayed_at")?,
        })
    }
}

impl EventStore {
    /// Returns a range of stored rows without their contents, by key.
    pub async fn list_row_heads(
        &self,
        source: SourceId,
        list: &str,
        range: KeyRange,
    ) -> Result<Vec<RowHead>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_SOURCE_ROWS)
            .bind(source)
            .bind(list)
            .bind(range.above)
            .bind(range.to);
        self.pool().fetch_all(query).await
    }

    /// Returns the next stored keys, in order.
    pub async fn list_kept_keys(
        &self,
        source: SourceId,
        list: &str,
        above: i64,
        limit: usize,
    ) -> Result<Vec<i64>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_SOURCE_KEYS)
            .bind(source)
            .bind(list)
            .bind(above)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.pool().fetch_values(query).await
    }

    /// Returns certain stored rows without their contents, by key.
    pub async fn find_row_heads(
        &self,
        source: SourceId,
        list: &str,
        keys: &[i64],
    ) -> Result<Vec<RowHead>, StoreError> {
        let text = self.pool().choose_statement(
            statements::SELECT_SOME_ROWS_SQLITE,
            statements::SELECT_SOME_ROWS_POSTGRES,
        );
        let wanted = json_array(keys);
        let query = SqlQuery::new(text).bind(source).bind(list).bind(&wanted);
        self.pool().fetch_all(query).await
    }

    /// Returns certain stored rows, by key.
    pub async fn find_kept_rows(
        &self,
        source: SourceId,
        list: &str,
        keys: &[i64],
    ) -> Result<Vec<KeptRow>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let text = self.pool().choose_statement(
            statements::SELECT_SOME_CELLS_SQLITE,
            statements::SELECT_SOME_CELLS_POSTGRES,
        );
        let wanted = json_array(keys);
        let query = SqlQuery::new(text).bind(source).bind(list).bind(&wanted);
        self.pool().fetch_all(query).await
    }

    /// Returns rows of a source that are set aside, at most `limit`.
    pub async fn list_row_letters(
        &self,
        source: SourceId,
        limit: usize,
    ) -> Result<Vec<RowLetter>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_ROW_LETTERS)
            .bind(source)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.pool().fetch_all(query).await
    }
}

/// Returns keys as a JSON list, which both databases can read.
fn json_array(keys: &[i64]) -> String {
    serde_json::Value::from(keys).to_string()
}
