//! What is kept of each row that a source has read, so that its next run sees what is new, changed or
//! gone.
//!
//! Written by the group commit, after what follows from it was captured: a crash between the two has the
//! same events come again under the same ids, and they are recognised as repeats.

use super::batch::Batch;
use super::pool::{Pool, reading};
use super::value::Row;
use super::writer::Op;
use super::{Error, Journal, row, statements};
use crate::domain::hash::Hash;
use crate::domain::id::SourceId;
use tokio::sync::oneshot;

/// What is kept of a row without its content.
#[derive(Debug, Clone)]
pub struct RowHead {
    /// Its key.
    pub key: i64,
    /// Of its content.
    pub hash: Hash,
    /// How often it was seen with another content.
    pub revision: u32,
    /// What its source notes of it besides: what was told of it because of a date, or which row of that key it is.
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
type Whole = (i64, Vec<u8>, i32, String, String);

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

    /// The next keys that are kept, in order.
    pub async fn kept_keys(
        &self,
        source: SourceId,
        list: &str,
        above: i64,
        limit: usize,
    ) -> Result<Vec<i64>, Error> {
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
    ) -> Result<Vec<RowHead>, Error> {
        let wanted = wanted(keys);
        let text = match self.pool() {
            Pool::Sqlite { .. } => statements::SELECT_SOME_ROWS_SQLITE,
            Pool::Postgres { .. } => statements::SELECT_SOME_ROWS_POSTGRES,
        };
        let rows: Vec<Head> = reading!(self.pool(), |db| sqlx::query_as(text)
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
    ) -> Result<Vec<KeptRow>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = wanted(keys);
        let text = match self.pool() {
            Pool::Sqlite { .. } => statements::SELECT_SOME_CELLS_SQLITE,
            Pool::Postgres { .. } => statements::SELECT_SOME_CELLS_POSTGRES,
        };
        let rows: Vec<Whole> = reading!(self.pool(), |db| sqlx::query_as(text)
            .bind(source.uuid())
            .bind(list)
            .bind(wanted.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter().map(kept).collect()
    }

    /// Keeps rows, and forgets those that are gone, in one commit; `false` if this process has lost its hold
    /// of the source, and nothing was kept.
    pub async fn keep_rows(&self, changes: RowChanges) -> Result<bool, Error> {
        if changes.put.is_empty() && changes.gone.is_empty() {
            return Ok(true);
        }
        let (reply, answer) = oneshot::channel();
        let node = self.inner.node;
        self.submit(Op::Rows { changes: Box::new(changes), node, reply }).await?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

fn kept((key, hash, revision, marks, cells): Whole) -> Result<KeptRow, Error> {
    Ok(KeptRow { head: head((key, hash, revision, marks))?, cells })
}

/// Keys as both databases take a list of them: a JSON array.
fn wanted(keys: &[i64]) -> String {
    serde_json::to_string(keys).unwrap_or_default()
}

fn head((key, hash, revision, marks): Head) -> Result<RowHead, Error> {
    let hash = Hash::from_bytes(&hash)
        .ok_or_else(|| row::corrupt("source_row", "hash", &"it has not sixteen bytes"))?;
    Ok(RowHead { key, hash, revision: revision.unsigned_abs(), marks })
}

/// Writes what is to be kept, if the node holds the source.
pub(super) async fn write(
    tx: &mut Batch<'_>,
    changes: &RowChanges,
    node: i64,
) -> Result<bool, Error> {
    let source = vec![Row::new().bind(changes.source.uuid())];
    let holders: Vec<(i64,)> = tx.fetch(&statements::SOURCE_HOLDER, source).await?;
    if holders != [(node,)] {
        return Ok(false);
    }
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
    tx.run(&statements::DELETE_SOURCE_ROW, gone.collect()).await?;
    Ok(true)
}
