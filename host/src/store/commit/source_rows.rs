//! Writes the rows that a source has read.
//!
//! They are written together with the events that follow from them, and only while the process
//! holds the source. Either everything is durable or nothing, so the captured events and the rows
//! that count as read never differ.

use super::audit_notes::AuditNotes;
use crate::crypto::digest::ShortDigest;
use crate::model::bad_row::BadRow;
use crate::model::id::{DeadLetterId, SourceId};
use crate::store::db::{BoundRow, FromStoredRow, StoredRow, WriteTransaction};
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::HashSet;

/// The stored data of a row without its content.
#[derive(Debug, Clone)]
pub struct RowHead {
    pub key: i64,
    /// Hash of the row's content.
    pub hash: ShortDigest,
    /// Number of the row's state. It grows by one whenever the content changes.
    pub revision: u32,
    /// Further notes of the source: the date-dependent events that were emitted for this row.
    pub marks: String,
}

/// A stored row.
#[derive(Debug, Clone)]
pub struct KeptRow {
    /// All stored data except the content.
    pub head: RowHead,
    /// The stored part of the row's content.
    pub cells: String,
}

/// The changes of a source's stored rows.
#[derive(Debug)]
pub struct SourceChanges {
    pub source: SourceId,
    /// Start of the run that must hold the source.
    pub run: Timestamp,
    /// The table or list of the rows.
    pub list: String,
    /// New and changed rows.
    pub put: Vec<KeptRow>,
    /// Keys of deleted rows.
    pub gone: Vec<i64>,
    /// The new memory of the source. `None` leaves it unchanged.
    pub memory: Option<String>,
    /// Changes of the rows that are set aside.
    pub aside: RowsSetAside,
    /// Audited calls of the requests that are captured.
    pub calls: AuditNotes,
}

/// Rows of a list that become dead letters, and rows that no longer are.
#[derive(Debug, Default)]
pub struct RowsSetAside {
    /// The list's name as operators know it.
    pub list: String,
    /// Bad rows, each once.
    pub bad: Vec<BadRow>,
    /// Names of rows that are good again, or deleted.
    pub settled: Vec<String>,
    /// Time of the finding.
    pub at: Timestamp,
}

impl SourceChanges {
    /// Returns an empty set of changes to one list, found by the run that began at the given time.
    pub fn of(source: SourceId, run: Timestamp, list: &str) -> Self {
        let (put, gone, aside) = (Vec::new(), Vec::new(), RowsSetAside::default());
        let calls = AuditNotes::default();
        Self { source, run, list: list.to_owned(), put, gone, memory: None, aside, calls }
    }

    /// Returns how many rows this writes.
    pub fn rows(&self) -> usize {
        let aside = self.aside.bad.len() + self.aside.settled.len();
        let calls = self.calls.calls.len();
        self.put.len() + self.gone.len() + usize::from(self.memory.is_some()) + aside + calls
    }
}

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

/// Returns those of the runs that hold their sources, and locks the sources until the end of the
/// transaction.
pub async fn held_runs(
    tx: &mut WriteTransaction<'_>,
    runs: &[RunKey],
) -> Result<HashSet<RunKey>, StoreError> {
    let sources = runs.iter().map(|run| BoundRow::new().bind(run.source)).collect();
    let holders: Vec<RunKey> = tx.fetch_bulk(&statements::SOURCE_HOLDERS, sources).await?;
    Ok(holders.into_iter().filter(|holder| runs.contains(holder)).collect())
}

/// Writes the changes of a source's stored rows.
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

/// Stores the rows that are set aside and deletes those that no longer are.
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
            .bind(bad.content.as_deref())
    });
    tx.execute_bulk(&statements::PUT_ROW_LETTER, bad.collect()).await?;
    let settled = aside
        .settled
        .iter()
        .map(|row_id| BoundRow::new().bind(source).bind(list).bind(row_id.as_str()));
    tx.execute_bulk(&statements::DELETE_ROW_LETTER, settled.collect()).await.map(drop)
}
