//! Reads one custom table in one run: records the existing keys at the first run, reads all rows,
//! and finds deleted rows.

use super::super::super::RunFailed;
use super::super::super::rows::{self, RowFields, RowHappening, SourceRow};
use super::super::super::run::{FoundRow, RowToStore, SourceRun};
use super::super::pace::{self, ReadPace};
use super::super::{DatabaseMemory, OwnMemory};
use super::careful;
use super::held::{HeldRows, RowNews};
use super::incoming;
use super::moves::{self, MovedRow};
use super::server::{CustomConnection, RowChunk, UnreadableRow, id};
use super::table::ReadableTable;
use crate::crypto::digest::ShortDigest;
use crate::ingest::incoming::IncomingEvent;
use crate::json::same_value::TextValues;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::database_source::{BackfillStart, DatabaseSettings};
use crate::model::event::EventChanges;
use crate::store::{KeptRow, RowHead};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::time::Instant;

/// How many rows the first chunk has. The size of later chunks follows from the size of its rows.
const FIRST: usize = 50;
/// How many keys are read at once.
const KEYS: usize = 5_000;
/// How many changed rows are compared with their stored contents at once.
const BATCH: usize = 200;

/// How many rows with changed unique values are ordered together.
const MOVES: usize = 500;

/// One table in one run.
#[derive(Debug)]
pub struct TablePass<'a> {
    pub run: &'a SourceRun,
    pub settings: &'a DatabaseSettings,
    pub server: &'a mut CustomConnection,
    pub memory: &'a mut DatabaseMemory,
    pub table: &'a ReadableTable,
}

impl TablePass<'_> {
    fn read_memory(&self) -> OwnMemory {
        self.memory.own.get(&self.table.list).copied().unwrap_or_default()
    }

    async fn keep_memory(&mut self, known: OwnMemory) -> Result<(), RunFailed> {
        self.memory.own.insert(self.table.list.clone(), known);
        self.run.keep_memory(&self.memory.text()).await
    }

    /// At the first run, stores the keys of all rows that exist at one moment. These rows are not
    /// new; every later row is.
    pub async fn record_keys(&mut self) -> Result<(), RunFailed> {
        let known = self.read_memory();
        if known.begun {
            return Ok(());
        }
        let there = match self.settings.start {
            BackfillStart::Now => self.list_keys().await?,
            BackfillStart::Backfill => Vec::new(),
        };
        // Forgets keys that an interrupted attempt stored and that no longer exist.
        for gone in self.find_missing_keys(there).await? {
            let gone = gone.into_iter().map(|key| without_event(RowToStore::Nothing(key)));
            self.run.capture_rows(&self.table.list, gone.collect()).await?;
        }
        self.keep_memory(OwnMemory { begun: true, ..known }).await
    }

    /// Stores the keys of all rows as of one moment, and returns them.
    async fn list_keys(&mut self) -> Result<Vec<i64>, RunFailed> {
        self.server.hold_snapshot().await?;
        let mut there = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let chunk =
                careful::next(self.server, self.table, after.as_deref(), KEYS, true).await?;
            after = last(&chunk, after.as_deref())?;
            let RowChunk { rows, has_more, .. } = chunk;
            there.extend(rows.iter().map(|row| row.key));
            let noted = rows.iter().map(|row| without_event(RowToStore::Row(self.row_of_key(row))));
            self.run.capture_rows(&self.table.list, noted.collect()).await?;
            // No pause between chunks, because a long snapshot is a burden for the server, too.
            if !has_more {
                break;
            }
        }
        self.server.release_snapshot().await?;
        Ok(there)
    }

    /// Makes what is stored of a row of which only the key was read.
    fn row_of_key(&self, row: &SourceRow) -> KeptRow {
        let head = RowHead {
            key: row.key,
            hash: ShortDigest::default(),
            revision: 0,
            marks: String::new(),
        };
        KeptRow { head, cells: self.key_of(row) }
    }

    /// Returns the key as it is stored in place of a content that is too long.
    fn key_of(&self, row: &SourceRow) -> String {
        let key = row.data.get(&self.table.key.name);
        key.map(|value| value.get().to_owned()).unwrap_or_default()
    }

    /// Reads every row and captures events: first changes, then deletions, then rows that may take
    /// the place of deleted ones.
    pub async fn read(&mut self) -> Result<(), RunFailed> {
        self.run.reopen_replayed(&self.table.list).await?;
        let mut pace = ReadPace::new(FIRST);
        let mut seen = Vec::new();
        let mut held = HeldRows::new(self.has_kept_rows().await?);
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let asked = after.as_deref();
            let chunk = careful::next(self.server, self.table, asked, pace.rows(), false).await?;
            let took = began.elapsed();
            after = last(&chunk, asked)?;
            let RowChunk { rows, bad, bytes, has_more, .. } = chunk;
            pace.learn(rows.len(), bytes);
            self.run.read(rows.len() + bad.len());
            seen.extend(rows.iter().map(|row| row.key));
            seen.extend(bad.iter().filter_map(|bad| bad.id.as_deref()).map(rows::number));
            self.set_aside(bad).await?;
            self.capture_rows(&rows, &mut held).await?;
            if !has_more {
                break;
            }
            if held.is_full() {
                let there = self.with_keys_after(&seen, after.clone()).await?;
                self.forget_missing(there).await?;
                self.capture_held_rows(std::mem::take(&mut held)).await?;
            }
            // This shows the progress, and it fails if another process has taken over the source.
            self.run.keep_memory(&self.memory.text()).await?;
            pace::rest(self.settings.pause, took).await;
        }
        self.forget_missing(seen).await?;
        self.capture_held_rows(held).await?;
        self.run.settle_list(&self.table.list, |_| true).await
    }

    async fn set_aside(&self, bad: Vec<UnreadableRow>) -> Result<(), RunFailed> {
        let bad = bad.iter().map(|bad| BadRow::new(&bad.place, BadRowReason::Unreadable, &bad.why));
        self.run.set_aside(&self.table.list, bad.collect()).await
    }

    /// Whether any row of the table is stored. If not, no row can have been deleted.
    async fn has_kept_rows(&self) -> Result<bool, RunFailed> {
        let (run, list) = (self.run, &self.table.list);
        Ok(!run.journal().list_kept_keys(run.id(), list, i64::MIN, 1).await?.is_empty())
    }

    /// Returns these keys and the keys of all rows after the row `after`.
    async fn with_keys_after(
        &mut self,
        seen: &[i64],
        mut after: Option<String>,
    ) -> Result<Vec<i64>, RunFailed> {
        let mut keys = seen.to_vec();
        loop {
            let chunk =
                careful::next(self.server, self.table, after.as_deref(), KEYS, true).await?;
            keys.extend(chunk.rows.iter().map(|row| row.key));
            after = last(&chunk, after.as_deref())?;
            if !chunk.has_more {
                return Ok(keys);
            }
        }
    }

    /// Captures the events of rows that do not have to wait for deletions, and stores those rows.
    async fn capture_rows(
        &mut self,
        rows: &[SourceRow],
        held: &mut HeldRows,
    ) -> Result<(), RunFailed> {
        let list = self.table.list.as_str();
        let heads = rows::read_heads(self.run, list, rows.iter()).await?;
        let is_kept =
            |row: &SourceRow| heads.get(&row.key).is_some_and(|head| head.hash == row.hash);
        let changed: Vec<&SourceRow> = rows.iter().filter(|row| !is_kept(row)).collect();
        for batch in changed.chunks(BATCH) {
            let keys: Vec<i64> = batch.iter().map(|row| row.key).collect();
            let kept = rows::read_kept(self.run, list, &keys).await?;
            let mut found = Vec::new();
            for row in batch {
                let news = self.compare_row(row, kept.get(&row.key));
                if !held.keeps_back(self.table, row, &news) {
                    found.push(self.found_row(row, &news));
                }
            }
            self.run.capture_rows(list, found).await?;
        }
        Ok(())
    }

    /// Reads the rows that had to wait again, and captures their events.
    async fn capture_held_rows(&mut self, held: HeldRows) -> Result<(), RunFailed> {
        self.read_again(&held.moved, MOVES).await?;
        self.read_again(&held.came, FIRST).await
    }

    /// Reads rows again and captures their events, beginning with `first` rows at once. The ids
    /// must be in the order of the keys.
    async fn read_again(&mut self, ids: &[String], first: usize) -> Result<(), RunFailed> {
        let mut chunk_size = ReadPace::new(first);
        let mut rest = ids;
        while !rest.is_empty() {
            let asked = rest.get(..chunk_size.rows()).unwrap_or(rest);
            let RowChunk { rows, bad, last_id, bytes, has_more } =
                careful::these(self.server, self.table, asked).await?;
            chunk_size.learn(rows.len(), bytes);
            let last = last_id.filter(|_| has_more);
            let place = last.and_then(|last| asked.iter().position(|id| *id == last));
            self.set_aside(bad).await?;
            rest = rest.get(place.map_or(asked.len(), |place| place + 1)..).unwrap_or_default();
            self.take_in_order(rows).await?;
        }
        Ok(())
    }

    /// Captures the events of rows. A row that gives up a value of a unique index comes before the
    /// row that takes it.
    async fn take_in_order(&mut self, rows: Vec<SourceRow>) -> Result<(), RunFailed> {
        let list = self.table.list.as_str();
        let keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
        let mut kept = rows::read_kept(self.run, list, &keys).await?;
        let (mut moves, mut found) = (Vec::new(), Vec::new());
        for row in rows {
            match kept.remove(&row.key) {
                Some(old) if !rows::is_untold(&old.head) => {
                    let before = self.kept_fields(&old).unwrap_or_default();
                    moves.push(MovedRow { row, old, before });
                }
                _ => found.push(self.found_row(&row, &RowNews::Came)),
            }
        }
        let told =
            |one: &MovedRow| self.found_row(&one.row, &self.compare_row(&one.row, Some(&one.old)));
        let mut all: Vec<FoundRow> =
            moves::order_moves(self.table, moves).iter().map(told).collect();
        all.append(&mut found);
        self.run.capture_rows(list, all).await
    }

    /// Compares a row with its stored state.
    fn compare_row<'a>(&self, row: &SourceRow, old: Option<&'a KeptRow>) -> RowNews<'a> {
        let Some(old) = old.filter(|old| !rows::is_untold(&old.head)) else { return RowNews::Came };
        if old.head.hash == ShortDigest::default() {
            return RowNews::Nothing(old);
        }
        let changes = |content| rows::changes(&content, &row.data, TextValues::AreTexts);
        match self.kept_fields(old).map(changes) {
            Some(changes) if changes.changed.is_empty() => RowNews::Nothing(old),
            changes => RowNews::Changed(old, changes),
        }
    }

    fn found_row(&self, row: &SourceRow, news: &RowNews<'_>) -> FoundRow {
        let old = match news {
            RowNews::Came => None,
            RowNews::Changed(old, _) | RowNews::Nothing(old) => Some(&old.head),
        };
        let revision = rows::revision(old, self.read_memory().new_revision);
        let event = match news {
            RowNews::Came => Some(self.make_event("created", row, revision, None)),
            RowNews::Changed(_, changes) => {
                Some(self.make_event("updated", row, revision, changes.as_ref()))
            }
            RowNews::Nothing(_) => None,
        };
        let keep = RowToStore::Row(rows::keep(row, revision, &self.key_of(row)));
        let is_new = matches!(news, RowNews::Came);
        FoundRow { row_id: row.id.clone(), is_new, events: event.into_iter().collect(), keep }
    }

    /// Returns the stored content of a row without the columns that are excluded now.
    fn kept_fields(&self, old: &KeptRow) -> Option<RowFields> {
        let mut content = rows::content(old)?;
        content.retain(|field, _| !self.table.exclude.contains(field));
        Some(content)
    }

    fn make_event(
        &self,
        what: &str,
        row: &SourceRow,
        revision: u32,
        changes: Option<&EventChanges>,
    ) -> IncomingEvent {
        let ReadableTable { list, resource, .. } = self.table;
        let event_type = format!("{resource}.{what}");
        let (source, event_type) = (self.run.source(), event_type.as_str());
        let happening = RowHappening { source, list, resource, event_type, revision };
        incoming(happening, row, changes)
    }

    /// Returns the keys of stored rows that are not among these, in batches.
    async fn find_missing_keys(&self, mut seen: Vec<i64>) -> Result<Vec<Vec<i64>>, RunFailed> {
        seen.sort_unstable();
        let (run, list) = (self.run, &self.table.list);
        let (mut missing, mut above) = (Vec::new(), i64::MIN);
        loop {
            let kept = run.journal().list_kept_keys(run.id(), list, above, KEYS).await?;
            missing.extend(kept.iter().filter(|key| seen.binary_search(key).is_err()));
            match kept.last() {
                Some(greatest) if kept.len() == KEYS => above = *greatest,
                _ => break,
            }
        }
        Ok(missing.chunks(BATCH).map(<[i64]>::to_vec).collect())
    }

    /// Captures the deletion of stored rows that are not among these.
    async fn forget_missing(&mut self, seen: Vec<i64>) -> Result<(), RunFailed> {
        for gone in self.find_missing_keys(seen).await? {
            self.capture_deletions(&gone).await?;
        }
        Ok(())
    }

    /// Captures that rows were deleted and forgets them. Rows that exist after all are left out.
    async fn capture_deletions(&mut self, keys: &[i64]) -> Result<(), RunFailed> {
        let kept = rows::read_kept(self.run, &self.table.list, keys).await?;
        let mut gone: Vec<(KeptRow, SourceRow)> = kept
            .into_values()
            .filter_map(|old| self.as_known(&old).map(|row| (old, row)))
            .collect();
        let ids: Vec<String> = gone.iter().map(|(_, row)| row.id.clone()).collect();
        let there = careful::existing(self.server, self.table, &ids).await?;
        let there: HashSet<String> = there.into_iter().collect();
        gone.retain(|(_, row)| !there.contains(&row.id));
        gone.sort_by_key(|(_, row)| row.key);
        // Stored before the rows are forgotten: a row that gets the same key later is another row,
        // and its events need other ids.
        let known = self.read_memory();
        let heads = gone.iter().map(|(old, _)| &old.head);
        let new_revision = rows::revision_after(known.new_revision, heads);
        if new_revision != known.new_revision {
            self.keep_memory(OwnMemory { new_revision, ..known }).await?;
        }
        let found = gone.iter().map(|(old, row)| FoundRow {
            row_id: row.id.clone(),
            is_new: false,
            events: vec![self.make_event("deleted", row, old.head.revision, None)],
            keep: RowToStore::Nothing(old.head.key),
        });
        self.run.capture_rows(&self.table.list, found.collect()).await
    }

    /// Returns a row as it was last stored: its content, or only its key.
    fn as_known(&self, old: &KeptRow) -> Option<SourceRow> {
        let name = &self.table.key.name;
        let only_key = || {
            let key = RawValue::from_string(old.cells.clone()).ok()?;
            Some(RowFields::from_iter([(name.clone(), key)]))
        };
        let data = self.kept_fields(old).or_else(only_key)?;
        let id = data.get(name).and_then(|value| id(self.table, value))?;
        Some(SourceRow { hash: old.head.hash, ..SourceRow::new(id, data) })
    }
}

fn without_event(keep: RowToStore) -> FoundRow {
    FoundRow { row_id: String::new(), is_new: false, events: Vec::new(), keep }
}

/// Returns the id of the chunk's last row. Fails if it is the same as that of the previous chunk.
fn last(chunk: &RowChunk, before: Option<&str>) -> Result<Option<String>, RunFailed> {
    let last = chunk.last_id.clone();
    if last.is_some() && last.as_deref() == before {
        return Err(RunFailed::new("its rows do not come in the order of their keys"));
    }
    Ok(last)
}
