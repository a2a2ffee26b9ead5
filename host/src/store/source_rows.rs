//! What is kept of each row that a source has read, so that its next run sees what is new, changed
//! or gone.
//!
//! Written by the group commit, together with the events that follow from it, and only while the
//! process holds the source: either all of it is durable or nothing, so what was told and what is
//! known to be told never differ.

use super::batch::WriteBatch;
use super::pool::{DatabasePool, reading};
use super::value::BoundRow;
use super::writer::WriteOperation;
use super::{CaptureReceipt, EventCapture, EventStore, StoreError, row, statements};
use crate::crypto::digest::ShortDigest;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::id::{DeadLetterId, SourceId};
use crate::time::timestamp::Timestamp;
use sqlx::types::Uuid;
use std::collections::HashSet;
use tokio::sync::oneshot;

/// What is kept of a row without its content.
#[derive(Debug, Clone)]
pub struct RowHead {
    pub key: i64,
    /// Of its content.
    pub hash: ShortDigest,
    /// Which of its states this is: one more for each other content that it was seen with.
    pub revision: u32,
    /// What its source notes of it besides: what was told of it because of a date.
    pub marks: String,
}

/// What is kept of a row.
#[derive(Debug, Clone)]
pub struct KeptRow {
    /// All but its content.
    pub head: RowHead,
    /// Its content, as far as it is kept.
    pub cells: String,
}

/// What a source keeps from now on.
#[derive(Debug)]
pub struct SourceChanges {
    pub source: SourceId,
    /// When the run began that must hold the source.
    pub run: Timestamp,
    /// The table or list that the rows stand in.
    pub list: String,
    /// New and changed rows.
    pub put: Vec<KeptRow>,
    /// Keys of rows that are gone.
    pub gone: Vec<i64>,
    /// What it remembers, where that is to be another than before.
    pub memory: Option<String>,
    /// Rows that are set aside.
    pub aside: RowsSetAside,
}

/// Rows of a list that are set aside as dead letters, and rows that no longer are.
#[derive(Debug, Default)]
pub struct RowsSetAside {
    /// The list as operators know it.
    pub list: String,
    /// Rows that are bad, each once.
    pub bad: Vec<BadRow>,
    /// Names of rows that are good again, or gone.
    pub settled: Vec<String>,
    /// When that was found.
    pub at: Timestamp,
}

/// A row of a source that was set aside before.
#[derive(Debug, Clone)]
pub struct RowLetter {
    /// The list as operators know it.
    pub list: String,
    /// The row's key, or where it stands.
    pub row_id: String,
    /// Why it was set aside.
    pub reason: BadRowReason,
    /// What was wrong with it.
    pub detail: String,
    /// When the row is from, where it says so.
    pub row_at: Option<Timestamp>,
    /// When a replay of it was asked for that has not ended yet.
    pub replayed_at: Option<Timestamp>,
}

impl SourceChanges {
    /// Nothing yet, of one list, found by the run that began then.
    pub fn of(source: SourceId, run: Timestamp, list: &str) -> Self {
        let (put, gone, aside) = (Vec::new(), Vec::new(), RowsSetAside::default());
        Self { source, run, list: list.to_owned(), put, gone, memory: None, aside }
    }

    /// How many rows it writes.
    pub fn rows(&self) -> usize {
        let aside = self.aside.bad.len() + self.aside.settled.len();
        self.put.len() + self.gone.len() + usize::from(self.memory.is_some()) + aside
    }
}

/// Keys of a part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange {
    /// Keys above this one.
    pub above: i64,
    /// Up to this one.
    pub to: i64,
}

impl KeyRange {
    /// Every key.
    pub const ALL: Self = Self { above: i64::MIN, to: i64::MAX };
}

type LetterRow = (String, String, String, String, Option<i64>, Option<i64>);
type StoredRowHead = (i64, Vec<u8>, i32, String);
type WholeRow = (i64, Vec<u8>, i32, String, String);

impl EventStore {
    /// What is kept of a range of rows without their contents, by key.
    pub async fn row_heads(
        &self,
        source: SourceId,
        list: &str,
        range: KeyRange,
    ) -> Result<Vec<RowHead>, StoreError> {
        let rows: Vec<StoredRowHead> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_SOURCE_ROWS)
                .bind(source.uuid())
                .bind(list)
                .bind(range.above)
                .bind(range.to)
                .fetch_all(db)
                .await?);
        rows.into_iter().map(head).collect()
    }

    /// The next keys that are kept, in order.
    pub async fn kept_keys(
        &self,
        source: SourceId,
        list: &str,
        above: i64,
        limit: usize,
    ) -> Result<Vec<i64>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<(i64,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_SOURCE_KEYS)
                .bind(source.uuid())
                .bind(list)
                .bind(above)
                .bind(limit)
                .fetch_all(db)
                .await?);
        Ok(rows.into_iter().map(|(key,)| key).collect())
    }

    /// What is kept of certain rows without their contents, by key.
    pub async fn some_row_heads(
        &self,
        source: SourceId,
        list: &str,
        keys: &[i64],
    ) -> Result<Vec<RowHead>, StoreError> {
        let wanted = wanted(keys);
        let text = match self.pool() {
            DatabasePool::Sqlite { .. } => statements::SELECT_SOME_ROWS_SQLITE,
            DatabasePool::Postgres { .. } => statements::SELECT_SOME_ROWS_POSTGRES,
        };
        let rows: Vec<StoredRowHead> = reading!(self.pool(), |db| sqlx::query_as(text)
            .bind(source.uuid())
            .bind(list)
            .bind(wanted.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter().map(head).collect()
    }

    /// What is kept of certain rows, by key.
    pub async fn some_kept_rows(
        &self,
        source: SourceId,
        list: &str,
        keys: &[i64],
    ) -> Result<Vec<KeptRow>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = wanted(keys);
        let text = match self.pool() {
            DatabasePool::Sqlite { .. } => statements::SELECT_SOME_CELLS_SQLITE,
            DatabasePool::Postgres { .. } => statements::SELECT_SOME_CELLS_POSTGRES,
        };
        let rows: Vec<WholeRow> = reading!(self.pool(), |db| sqlx::query_as(text)
            .bind(source.uuid())
            .bind(list)
            .bind(wanted.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter().map(kept).collect()
    }

    /// Rows of a source that are set aside, at most so many.
    pub async fn row_letters(
        &self,
        source: SourceId,
        limit: usize,
    ) -> Result<Vec<RowLetter>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<LetterRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_ROW_LETTERS)
                .bind(source.uuid())
                .bind(limit)
                .fetch_all(db)
                .await?);
        let time = |micros: Option<i64>| micros.map(Timestamp::from_micros);
        let letter = |(list, row_id, reason, detail, row_at, replayed_at): LetterRow| {
            let reason = BadRowReason::named(&reason).ok_or_else(|| {
                row::corrupt_value("dead_letter", "reason", &"it is not of a row")
            })?;
            let (row_at, replayed_at) = (time(row_at), time(replayed_at));
            Ok(RowLetter { list, row_id, reason, detail, row_at, replayed_at })
        };
        rows.into_iter().map(letter).collect()
    }

    /// Appends the events that a run of a source found, and keeps what they follow from, in one
    /// commit. `None` if the run has lost its hold of the source: then nothing is written.
    pub async fn take(
        &self,
        captures: Vec<EventCapture>,
        changes: SourceChanges,
    ) -> Result<Option<Vec<CaptureReceipt>>, StoreError> {
        if captures.is_empty() && changes.rows() == 0 {
            return Ok(Some(Vec::new()));
        }
        let (reply, answer) = oneshot::channel();
        let node = self.inner.node;
        self.submit(WriteOperation::Take { captures, changes: Box::new(changes), node, reply })
            .await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

fn kept((key, hash, revision, marks, cells): WholeRow) -> Result<KeptRow, StoreError> {
    Ok(KeptRow { head: head((key, hash, revision, marks))?, cells })
}

/// Keys as both databases take a list of them: a JSON array.
fn wanted(keys: &[i64]) -> String {
    serde_json::to_string(keys).unwrap_or_default()
}

fn head((key, hash, revision, marks): StoredRowHead) -> Result<RowHead, StoreError> {
    let hash = ShortDigest::from_bytes(&hash)
        .ok_or_else(|| row::corrupt_value("source_row", "hash", &"it has not sixteen bytes"))?;
    Ok(RowHead { key, hash, revision: revision.unsigned_abs(), marks })
}

/// A run: of which source, by which process, since when.
pub type RunKey = (Uuid, i64, i64);

/// Those of the runs that hold their sources, and will until the transaction is over.
pub async fn held_runs(
    tx: &mut WriteBatch<'_>,
    runs: &[RunKey],
) -> Result<HashSet<RunKey>, StoreError> {
    let sources = runs.iter().map(|(source, ..)| BoundRow::new().bind(*source)).collect();
    let holders: Vec<RunKey> = tx.fetch(&statements::SOURCE_HOLDERS, sources).await?;
    Ok(holders.into_iter().filter(|holder| runs.contains(holder)).collect())
}

/// Writes what is to be kept.
pub async fn write_source_rows(
    tx: &mut WriteBatch<'_>,
    changes: &SourceChanges,
) -> Result<(), StoreError> {
    let source = changes.source.uuid();
    let place = || BoundRow::new().bind(source).bind(changes.list.as_str());
    let put = changes.put.iter().map(|kept| {
        let KeptRow { head, cells } = kept;
        place()
            .bind(head.key)
            .bind(head.hash.bytes().as_slice())
            .bind(i64::from(head.revision))
            .bind(head.marks.as_str())
            .bind(cells.as_str())
    });
    tx.run(&statements::PUT_SOURCE_ROW, put.collect()).await?;
    let gone = changes.gone.iter().map(|key| place().bind(*key));
    tx.run(&statements::DELETE_SOURCE_ROW, gone.collect()).await?;
    write_aside(tx, source, &changes.aside).await?;
    let memory =
        changes.memory.iter().map(|memory| BoundRow::new().bind(source).bind(memory.as_str()));
    tx.run(&statements::KEEP_SOURCE_MEMORY, memory.collect()).await.map(drop)
}

/// Writes which rows are set aside, and forgets those that are not any more.
async fn write_aside(
    tx: &mut WriteBatch<'_>,
    source: Uuid,
    aside: &RowsSetAside,
) -> Result<(), StoreError> {
    let list = aside.list.as_str();
    let bad = aside.bad.iter().map(|bad| {
        BoundRow::new()
            .bind(DeadLetterId::generate().uuid())
            .bind(source)
            .bind(list)
            .bind(bad.row_id.as_str())
            .bind(bad.row_at.map(Timestamp::micros))
            .bind(bad.reason.as_str())
            .bind(bad.detail.as_str())
            .bind(aside.at.micros())
    });
    tx.run(&statements::PUT_ROW_LETTER, bad.collect()).await?;
    let settled = aside
        .settled
        .iter()
        .map(|row_id| BoundRow::new().bind(source).bind(list).bind(row_id.as_str()));
    tx.run(&statements::DELETE_ROW_LETTER, settled.collect()).await.map(drop)
}
