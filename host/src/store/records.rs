//! The latest state of every record, for those who poll.
//!
//! A row names the event that holds the record's state and is written in the commit that captures
//! the event, so a record is never older than what was acknowledged. The state itself is not
//! written twice.

use super::batch::WriteBatch;
use super::capture::EventCapture;
use super::pool::reading;
use super::value::BoundRow;
use super::{EventStore, StoreError, row, statements};
use crate::model::record::{Record, RecordOrder, RecordPosition, record_ordinal};
use crate::time::timestamp::Timestamp;
use futures_util::{Stream, TryStreamExt as _};
use sqlx::types::Uuid;
use std::collections::BTreeMap;

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct RecordFilter {
    pub resource: String,
    /// Only from this source.
    pub source: Option<String>,
    /// Only those heard of then or later.
    pub since: Option<Timestamp>,
    /// Whether `since` leaves so few that finding them and putting them in order is quicker than
    /// walking the list.
    pub is_narrow: bool,
}

/// Where a page of records begins.
#[derive(Debug, Clone, Copy)]
pub enum PageStart<'p> {
    /// So many records after the first of the list.
    Offset(u32),
    /// After this record, whether it is still there or not.
    After(&'p RecordPosition),
}

/// Most bytes of records that are read at once, unless a single one has more.
const PIECE: usize = 8 << 20;

/// Records that were read.
#[derive(Debug)]
pub struct RecordPiece {
    /// The records.
    pub rows: Vec<Record>,
    /// Whether reading ended because there were enough bytes: there are more records.
    pub is_cut: bool,
}

type RecordRow = (String, String, i64, i64, i64, String);

impl EventStore {
    /// Records in an order, from some place on.
    pub async fn records(
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
        let (rows, is_cut) = reading!(self.pool(), |db| {
            let mut query = sqlx::query_as(text)
                .bind(&filter.resource)
                .bind(filter.source.as_deref())
                .bind(filter.since.map_or(i64::MIN, Timestamp::micros))
                .bind(i64::from(limit))
                .bind(i64::from(offset));
            if let Some(after) = after {
                query = query.bind(after.ordinal).bind(&after.resource_id).bind(&after.source);
                query = if is_by_id { query } else { query.bind(after.at) };
            }
            read_piece(query.fetch(db)).await?
        });
        let rows: Result<Vec<Record>, StoreError> = rows.into_iter().map(record_changes).collect();
        Ok(RecordPiece { rows: rows?, is_cut })
    }

    /// The records of one id, at most `limit`: one for each source that has it, the one last heard
    /// of first.
    pub async fn records_of_id(
        &self,
        filter: &RecordFilter,
        resource_id: &str,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let rows: Vec<RecordRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_RECORD)
                .bind(&filter.resource)
                .bind(record_ordinal(resource_id))
                .bind(resource_id)
                .bind(filter.source.as_deref())
                .bind(i64::from(limit))
                .fetch_all(db)
                .await?);
        rows.into_iter().map(record_changes).collect()
    }

    /// How many records were deleted since then, counted up to `most`.
    pub async fn count_deleted_records(
        &self,
        filter: &RecordFilter,
        since: Timestamp,
        most: u32,
    ) -> Result<u32, StoreError> {
        let (count,): (i64,) =
            reading!(self.pool(), |db| sqlx::query_as(statements::COUNT_DELETED_RECORDS)
                .bind(since.micros())
                .bind(&filter.resource)
                .bind(filter.source.as_deref())
                .bind(i64::from(most))
                .fetch_one(db)
                .await?);
        Ok(u32::try_from(count).unwrap_or(most))
    }

    /// How many records there are, counted up to a bound.
    pub async fn count_records(&self, filter: &RecordFilter, most: u32) -> Result<u64, StoreError> {
        let (count,): (i64,) =
            reading!(self.pool(), |db| sqlx::query_as(statements::COUNT_RECORDS)
                .bind(&filter.resource)
                .bind(filter.source.as_deref())
                .bind(filter.since.map_or(i64::MIN, Timestamp::micros))
                .bind(i64::from(most))
                .fetch_one(db)
                .await?);
        Ok(count.unsigned_abs())
    }
}

/// Reads rows until they have enough bytes; whether that ended it.
async fn read_piece(
    mut rows: impl Stream<Item = Result<RecordRow, sqlx::Error>> + Unpin,
) -> Result<(Vec<RecordRow>, bool), sqlx::Error> {
    let (mut read, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row.5.len();
        if bytes > PIECE && !read.is_empty() {
            return Ok((read, true));
        }
        read.push(row);
    }
    Ok((read, false))
}

fn record_changes(
    (resource_id, source, ordinal, created_at, updated_at, data): RecordRow,
) -> Result<Record, StoreError> {
    Ok(Record {
        resource_id,
        source,
        ordinal,
        created_at: Timestamp::from_micros(created_at),
        updated_at: Timestamp::from_micros(updated_at),
        data: row::raw(data, "event", "data")?,
    })
}

/// Writes what the captures say of their records.
pub async fn write_states(
    tx: &mut WriteBatch<'_>,
    captures: &[&mut EventCapture],
) -> Result<(), StoreError> {
    let captures: Vec<&EventCapture> = captures.iter().map(|capture| &**capture).collect();
    tx.run(&statements::PUT_RECORD, rows(&captures)).await.map(drop)
}

/// A record's place: resource, ordinal, id and source.
type RecordPlace<'q> = (&'q str, i64, &'q str, &'q str);

/// What several captures say of one record.
struct RecordState {
    event: Uuid,
    whole: bool,
    /// When it was first heard of, where it is new.
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted: bool,
}

/// One row for each record, in one order everywhere, so that two writers cannot wait for each
/// other.
pub fn rows<'q>(captures: &[&'q EventCapture]) -> Vec<BoundRow<'q>> {
    let mut states: BTreeMap<RecordPlace<'q>, RecordState> = BTreeMap::new();
    for capture in captures {
        let Some((place, mut state)) = state(capture) else { continue };
        if let Some(known) = states.remove(&place) {
            state.created_at = known.created_at;
            if known.whole && !state.whole {
                (state.event, state.whole) = (known.event, true);
            }
        }
        states.insert(place, state);
    }
    states.into_iter().map(|(place, state)| record_row(place, &state)).collect()
}

fn state(capture: &EventCapture) -> Option<(RecordPlace<'_>, RecordState)> {
    let (change, event) = (capture.record?, &capture.event);
    let (resource, id) = (event.resource.as_deref()?, event.resource_id.as_deref()?);
    let state = RecordState {
        event: event.id.uuid(),
        whole: change.whole,
        created_at: event.received_at,
        updated_at: event.received_at,
        deleted: change.deleted,
    };
    Some(((resource, change.ordinal, id, event.source.as_str()), state))
}

fn record_row<'q>(
    (resource, ordinal, id, source): RecordPlace<'q>,
    state: &RecordState,
) -> BoundRow<'q> {
    let updated_at = state.updated_at.micros();
    BoundRow::new()
        .bind(resource)
        .bind(ordinal)
        .bind(id)
        .bind(source)
        .bind(state.event)
        .bind(i16::from(state.whole))
        .bind(state.created_at.micros())
        .bind(updated_at)
        .bind(state.deleted.then_some(updated_at))
}
