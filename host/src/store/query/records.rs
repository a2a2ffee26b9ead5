//! Reads the latest state of records, for clients that poll.

use super::stored_json;
use crate::model::record::{Record, RecordOrder, RecordPosition, record_ordinal};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::ops::ControlFlow;

/// Selects records.
#[derive(Debug, Clone, Default)]
pub struct RecordFilter {
    pub resource: String,
    /// Records from this source.
    pub source: Option<String>,
    /// Records whose last event came at this time or later.
    pub since: Option<Timestamp>,
    /// Whether `since` leaves so few records that finding and sorting them is faster than walking
    /// the list.
    pub is_narrow: bool,
}

/// The start of a page of records.
#[derive(Debug, Clone, Copy)]
pub enum PageStart<'p> {
    /// The number of records to skip from the start of the list.
    Offset(u32),
    /// The record after which the page begins. It need not exist any more.
    After(&'p RecordPosition),
}

/// Largest number of bytes that are read at once, unless a single record has more.
const PIECE: usize = 8 << 20;

/// Records that were read together.
#[derive(Debug, Default)]
pub struct RecordPiece {
    pub rows: Vec<Record>,
    /// Whether reading ended because of the size, so that there are more records.
    pub is_cut: bool,
    bytes: usize,
}

impl FromStoredRow for Record {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            resource_id: row.get("resource_id")?,
            source: row.get("source")?,
            ordinal: row.get("ordinal")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            data: stored_json::read_packed_raw(row, "event", "data")?,
        })
    }
}

impl RecordPiece {
    /// Adds a record, unless the size limit is reached.
    fn add(&mut self, record: Record) -> ControlFlow<()> {
        self.bytes += record.data.get().len();
        if self.bytes > PIECE && !self.rows.is_empty() {
            self.is_cut = true;
            return ControlFlow::Break(());
        }
        self.rows.push(record);
        ControlFlow::Continue(())
    }
}

impl EventStore {
    /// Returns records in an order, from a start on.
    pub async fn list_records(
        &self,
        filter: &RecordFilter,
        order: RecordOrder,
        start: PageStart<'_>,
        limit: u32,
    ) -> Result<RecordPiece, StoreError> {
        let (first, after) = match order {
            RecordOrder::Created if filter.is_narrow => (
                statements::SELECT_FEW_RECORDS_CREATED,
                statements::SELECT_FEW_RECORDS_CREATED_AFTER,
            ),
            RecordOrder::Created => {
                (statements::SELECT_RECORDS_CREATED, statements::SELECT_RECORDS_CREATED_AFTER)
            }
            RecordOrder::Newest => {
                (statements::SELECT_RECORDS_NEWEST, statements::SELECT_RECORDS_NEWEST_AFTER)
            }
            RecordOrder::Oldest => {
                (statements::SELECT_RECORDS_OLDEST, statements::SELECT_RECORDS_OLDEST_AFTER)
            }
            RecordOrder::Id => {
                (statements::SELECT_RECORDS_BY_ID, statements::SELECT_RECORDS_BY_ID_AFTER)
            }
            RecordOrder::IdDescending => (
                statements::SELECT_RECORDS_BY_ID_DESCENDING,
                statements::SELECT_RECORDS_BY_ID_DESCENDING_AFTER,
            ),
        };
        let (text, offset, after) = match start {
            PageStart::Offset(offset) => (first, offset, None),
            PageStart::After(position) => (after, 0, Some(position)),
        };
        let is_by_id = matches!(order, RecordOrder::Id | RecordOrder::IdDescending);
        let mut query = SqlQuery::new(text)
            .bind(&filter.resource)
            .bind(filter.source.as_deref())
            .bind(filter.since.map_or(i64::MIN, Timestamp::micros))
            .bind(i64::from(limit))
            .bind(i64::from(offset));
        if let Some(after) = after {
            query = query.bind(after.ordinal).bind(&after.resource_id).bind(&after.source);
            query = if is_by_id { query } else { query.bind(after.at) };
        }
        self.pool().fetch_while(query, RecordPiece::default(), RecordPiece::add).await
    }

    /// Returns the records with an id, at most `limit`: one for each source that has it, the most
    /// recent first.
    pub async fn find_records(
        &self,
        filter: &RecordFilter,
        resource_id: &str,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_RECORD)
            .bind(&filter.resource)
            .bind(record_ordinal(resource_id))
            .bind(resource_id)
            .bind(filter.source.as_deref())
            .bind(i64::from(limit));
        self.pool().fetch_all(query).await
    }

    /// Counts the records that were deleted since the given time. The count stops at `most`.
    pub async fn count_deleted_records(
        &self,
        filter: &RecordFilter,
        since: Timestamp,
        most: u32,
    ) -> Result<u32, StoreError> {
        let query = SqlQuery::new(statements::COUNT_DELETED_RECORDS)
            .bind(since)
            .bind(&filter.resource)
            .bind(filter.source.as_deref())
            .bind(i64::from(most));
        let count: i64 = self.pool().fetch_value(query).await?;
        Ok(u32::try_from(count).unwrap_or(most))
    }

    /// Counts the selected records. The count stops at `most`.
    pub async fn count_records(&self, filter: &RecordFilter, most: u32) -> Result<u64, StoreError> {
        let query = SqlQuery::new(statements::COUNT_RECORDS)
            .bind(&filter.resource)
            .bind(filter.source.as_deref())
            .bind(filter.since.map_or(i64::MIN, Timestamp::micros))
            .bind(i64::from(most));
        let count: i64 = self.pool().fetch_value(query).await?;
        Ok(count.unsigned_abs())
    }
}
