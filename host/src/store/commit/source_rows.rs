//! Writing what a source keeps of the rows that it has read.
//!
//! It is written together with the events that follow from it, and only while the process holds the
//! source: either all of it is durable or nothing, so the events that were captured and the rows
//! that count as read never differ.

use crate::crypto::digest::ShortDigest;
use crate::model::bad_row::BadRow;
use crate::model::id::{DeadLetterId, SourceId};
use crate::store::db::{BoundRow, FromStoredRow, StoredRow, WriteTransaction};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::HashSet;

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

/// A run of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunKey {
    pub source: SourceId,
    /// The process that runs it.
    pub node: i64,
    pub started_at: Timestamp,
}

impl FromStoredRow for RunKey {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            source: row.get("source_id")?,
            node: row.get("node")?,
            started_at: row.get("started_at")?,
        })
    }
}

/// Those of the runs that hold their sources, and will until the transaction is over.
pub async fn held_runs(
    tx: &mut WriteTransaction<'_>,
    runs: &[RunKey],
) -> Result<HashSet<RunKey>, StoreError> {
    let sources = runs.iter().map(|run| BoundRow::new().bind(run.source)).collect();
    let holders: Vec<RunKey> = tx.fetch_bulk(&statements::SOURCE_HOLDERS, sources).await?;
    Ok(holders.into_iter().filter(|holder| runs.contains(holder)).collect())
}

/// Writes what is to be kept.
pub async fn write_source_rows(
    tx: &mut WriteTransaction<'_>,
    changes: &SourceChanges,
) -> Result<(), StoreError> {
    let source = changes.source;
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
    tx.execute_bulk(&statements::PUT_SOURCE_ROW, put.collect()).await?;
    let gone = changes.gone.iter().map(|key| place().bind(*key));
    tx.execute_bulk(&statements::DELETE_SOURCE_ROW, gone.collect()).await?;
    write_rows_set_aside(tx, source, &changes.aside).await?;
    let memory =
        changes.memory.iter().map(|memory| BoundRow::new().bind(source).bind(memory.as_str()));
    tx.execute_bulk(&statements::KEEP_SOURCE_MEMORY, memory.collect()).await.map(drop)
}

/// Writes which rows are set aside, and forgets those that are not any more.
async fn write_rows_set_aside(
    tx: &mut WriteTransaction<'_>,
    source: SourceId,
    aside: &RowsSetAside,
) -> Result<(), StoreError> {
    let list = aside.list.as_str();
    let bad = aside.bad.iter().map(|bad| {
        BoundRow::new()
            .bind(DeadLetterId::generate())
            .bind(source)
            .bind(list)
            .bind(bad.row_id.as_str())
            .bind(bad.row_at)
            .bind(bad.reason.as_str())
            .bind(bad.detail.as_str())
            .bind(aside.at)
    });
    tx.execute_bulk(&statements::PUT_ROW_LETTER, bad.collect()).await?;
    let settled = aside
        .settled
        .iter()
        .map(|row_id| BoundRow::new().bind(source).bind(list).bind(row_id.as_str()));
    tx.execute_bulk(&statements::DELETE_ROW_LETTER, settled.collect()).await.map(drop)
}
