//! What is kept of each row that a source has read, so that its next run sees what is new, changed or
//! gone.
//!
//! Written by the group commit, after what follows from it was captured: a crash between the two has the
//! same events come again under the same ids, and they are recognised as repeats.

use super::batch::Batch;
use super::pool::reading;
use super::value::Row;
use super::writer::Op;
use super::{Error, Journal, row, statements};
use crate::domain::hash::Hash;
use crate::domain::id::SourceId;
use std::collections::HashSet;
use tokio::sync::oneshot;

/// As many rows are looked up one by one; more of them as a range.
const FEW: usize = 16;

/// What is kept of a row without its content.
#[derive(Debug, Clone)]
pub struct RowHead {
    /// Its key.
    pub key: i64,
    /// Of its content.
    pub hash: Hash,
    /// How often it was seen with another content.
    pub revision: u32,
    /// What was told of it because of a date.
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

/// What is to be kept of one list from now on.
#[derive(Debug)]
pub struct RowChanges {
    /// The source.
    pub source: SourceId,
    /// The table or list.
    pub list: String,
    /// New and changed rows.
    pub put: Vec<KeptRow>,
    /// Keys of rows that are gone.
    pub gone: Vec<i64>,
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

type Head = (i64, Vec<u8>, i32, String);

impl Journal {
    /// What is kept of a range of rows without their contents, by key.
    pub async fn row_heads(
        &self,
        source: SourceId,
        list: &str,
        range: KeyRange,
    ) -> Result<Vec<RowHead>, Error> {
        let rows: Vec<Head> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_SOURCE_ROWS)
                .bind(source.uuid())
                .bind(list)
                .bind(range.above)
                .bind(range.to)
                .fetch_all(db)
                .await?);
        rows.into_iter().map(head).collect()
    }

    /// What is kept of a range of rows, by key.
    pub async fn kept_rows(
        &self,
        source: SourceId,
        list: &str,
        range: KeyRange,
    ) -> Result<Vec<KeptRow>, Error> {
        let rows: Vec<(i64, Vec<u8>, i32, String, String)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_SOURCE_CELLS)
                .bind(source.uuid())
                .bind(list)
                .bind(range.above)
                .bind(range.to)
                .fetch_all(db)
                .await?);
        let kept = |(key, hash, revision, marks, cells)| {
            Ok(KeptRow { head: head((key, hash, revision, marks))?, cells })
        };
        rows.into_iter().map(kept).collect()
    }

    /// What is kept of certain rows, by key.
    pub async fn kept_rows_of(
        &self,
        source: SourceId,
        list: &str,
        keys: &[i64],
    ) -> Result<Vec<KeptRow>, Error> {
        let (Some(least), Some(most)) = (keys.iter().min(), keys.iter().max()) else {
            return Ok(Vec::new());
        };
        if keys.len() > FEW {
            let range = KeyRange { above: least.saturating_sub(1), to: *most };
            let mut kept = self.kept_rows(source, list, range).await?;
            let wanted: HashSet<&i64> = keys.iter().collect();
            kept.retain(|row| wanted.contains(&row.head.key));
            return Ok(kept);
        }
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let range = KeyRange { above: key.saturating_sub(1), to: *key };
            found.extend(self.kept_rows(source, list, range).await?);
        }
        Ok(found)
    }

    /// Keeps rows, and forgets those that are gone, in one commit.
    pub async fn keep_rows(&self, changes: RowChanges) -> Result<(), Error> {
        if changes.put.is_empty() && changes.gone.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.submit(Op::Rows { changes: Box::new(changes), reply }).await?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

fn head((key, hash, revision, marks): Head) -> Result<RowHead, Error> {
    let hash = Hash::from_bytes(&hash)
        .ok_or_else(|| row::corrupt("source_row", "hash", &"it has not sixteen bytes"))?;
    Ok(RowHead { key, hash, revision: revision.unsigned_abs(), marks })
}

/// Writes what is to be kept.
pub(super) async fn write(tx: &mut Batch<'_>, changes: &RowChanges) -> Result<(), Error> {
    let place = || Row::new().bind(changes.source.uuid()).bind(changes.list.as_str());
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
    tx.run(&statements::DELETE_SOURCE_ROW, gone.collect()).await
}
