//! One run over all tables.

use super::super::RunFailed;
use super::super::run::{FoundRow, SourceRun};
use super::chunk::{KeyChunk, RowResult};
use super::crm::{CrmConnection, DatabaseShape, KeyedRows};
use super::pace::{self, ReadPace};
use super::{CrmTime, DatabaseMemory, DerivedEvent, TableMemory};
use crate::crm::known::{KnownRows, RowReference};
use crate::crm::options::CrmOptions;
use crate::crm::row::CrmRow;
use crate::crm::snapshot::ColumnLayouts;
use crate::crm::tables::{self, CrmTable, WatchDepth};
use crate::model::database_source::{BackfillStart, DatabaseSettings};
use crate::model::source_run::RunProgress;
use crate::store::KeyRange;
use std::collections::BTreeMap;
use std::time::Instant;

/// Keys that are read at once where only those are.
const KEYS: usize = 10_000;

/// A run over all tables.
#[derive(Debug)]
pub struct CrmScan<'a> {
    pub run: &'a SourceRun,
    pub settings: &'a DatabaseSettings,
    pub crm: CrmConnection,
    pub shape: DatabaseShape,
    pub options: CrmOptions,
    pub time: CrmTime,
    pub memory: DatabaseMemory,
    /// Rows of small tables that many events look into.
    pub looked_into: Vec<(&'static str, CrmRow)>,
    /// Why tables could not be read.
    pub failed: Vec<String>,
}

impl CrmScan<'_> {
    /// Notes what is there, before anything is read that was not known before.
    pub async fn begin_scan(&mut self, tables: &[&'static CrmTable]) -> Result<(), RunFailed> {
        let mut is_new = false;
        for table in tables {
            if !self.memory.tables.contains_key(table.name) {
                let greatest = self.crm.greatest(table).await;
                let Some(greatest) = self.note_failure(table.name, greatest).await? else {
                    continue;
                };
                let first_to = greatest.unwrap_or(i64::MIN);
                let memory =
                    TableMemory { first_to, first_at: Some(i64::MIN), ..TableMemory::default() };
                self.memory.tables.insert(table.name.to_owned(), memory);
                is_new = true;
            }
        }
        for name in tables::LOOKED_INTO {
            let Some(table) = tables::find_table(name) else { continue };
            let rows = self.crm.all(&self.shape, table).await;
            let rows = self.note_failure(name, rows).await?.unwrap_or_default();
            self.looked_into.extend(rows.into_iter().map(|row| (*name, row)));
        }
        if is_new { self.keep().await } else { Ok(()) }
    }

    /// Notes why a table could not be read, so that the others are. Fails where no other could be
    /// read either.
    pub async fn note_failure<T>(
        &mut self,
        table: &str,
        done: Result<T, RunFailed>,
    ) -> Result<Option<T>, RunFailed> {
        let why = match done {
            Ok(done) => return Ok(Some(done)),
            Err(why) => why,
        };
        let why = format!("{}{table}: {why}", self.settings.prefix);
        if !self.failed.contains(&why) {
            self.failed.push(why);
        }
        if self.crm.give_up().await.is_err() {
            self.crm = CrmConnection::connect(self.settings, self.run.secret()).await?;
        }
        // Fails where another process has taken the source over.
        self.keep().await?;
        Ok(None)
    }

    async fn keep(&self) -> Result<(), RunFailed> {
        self.run.keep_memory(&self.memory.text()).await
    }

    /// Reads one of the tables.
    pub async fn read_table(
        &mut self,
        tables: &[&'static CrmTable],
        n: usize,
    ) -> Result<(), RunFailed> {
        let Some(table) = tables.get(n).copied() else { return Ok(()) };
        // Of one that could not be looked at before it is not known which rows are new.
        if !self.memory.tables.contains_key(table.name) {
            return Ok(());
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let name = format!("{}{}", self.settings.prefix, table.name);
        self.run.report_progress(RunProgress {
            table: name,
            done: count(n),
            of: count(tables.len()),
        });
        self.run.forget_replayed(table.name).await?;
        let (mut above, mut pace) = (i64::MIN, ReadPace::new(pace::ROWS));
        while above < i64::MAX {
            let began = Instant::now();
            let (found, range) = self.read(table, above, pace.rows()).await?;
            self.run.read(found.rows.len());
            pace.learn(found.rows.len(), found.bytes);
            let took = began.elapsed();
            let is_last = range.to == i64::MAX;
            self.capture_chunk(table, found.rows, range).await?;
            above = range.to;
            if !is_last {
                pace::rest(self.settings.pause, took).await;
            }
        }
        self.run.settle_list(table.name, |_| true).await
    }

    /// The next rows, and the keys that they are all of.
    async fn read(
        &mut self,
        table: &'static CrmTable,
        above: i64,
        limit: usize,
    ) -> Result<(KeyedRows, KeyRange), RunFailed> {
        let only_keys = only_keys(table);
        let is_whole = self.settings.start == BackfillStart::Backfill;
        let limit = if only_keys && !is_whole { KEYS } else { limit };
        let found = if only_keys {
            self.crm.keys(&self.shape, table, above, limit).await?
        } else {
            self.crm.chunk(&self.shape, table, above, limit).await?
        };
        let has_more = found.is_cut || found.rows.len() == limit;
        let last = found.rows.last_key_value().map(|(key, _)| *key).filter(|_| has_more);
        Ok((found, KeyRange { above, to: last.unwrap_or(i64::MAX) }))
    }

    /// Captures what follows from a chunk, and keeps its rows.
    async fn capture_chunk(
        &mut self,
        table: &'static CrmTable,
        rows: BTreeMap<i64, CrmRow>,
        range: KeyRange,
    ) -> Result<(), RunFailed> {
        let heads = self.run.journal().list_row_heads(self.run.id(), table.name, range).await?;
        let memory = self.memory.tables.get(table.name).cloned().unwrap_or_default();
        let is_backfill = self.settings.start == BackfillStart::Backfill;
        let mut chunk = KeyChunk::new(table, memory.clone(), is_backfill);
        chunk.pair(rows, heads);
        if only_keys(table) {
            let fresh = self.crm.with_keys(&self.shape, table, &chunk.fresh_keys()).await?;
            chunk.fill(fresh);
        }
        let kept = chunk.known_keys();
        let kept = self.run.journal().find_kept_rows(self.run.id(), table.name, &kept).await?;
        chunk.remember(kept);
        let now = self.time.now();
        let references = chunk.references(now, &self.options);
        let known = self.look_up(&references).await?;
        let outcome = chunk.derive(now, &self.options, &known);
        if outcome.memory != memory || memory.first_at.is_some() {
            self.memory.tables.insert(table.name.to_owned(), outcome.memory.clone());
            self.keep().await?;
        }
        let found = outcome.told.into_iter().map(|told| self.found_row(told));
        self.run.capture_rows(table.name, found.collect()).await?;
        self.move_on(table, outcome.memory, range.to);
        Ok(())
    }

    /// What is captured of what was told of a row: second names only where somebody asked for them.
    fn found_row(&self, told: RowResult) -> FoundRow {
        let asked = |event: &DerivedEvent| {
            event.alias_of.is_none() || self.run.is_asked_for_by_name(event.event_type)
        };
        let events = told.events.into_iter().filter(asked);
        let events = events.map(|event| super::incoming(event, self.run.source())).collect();
        // The marks of a CRM's rows are of the events that time brings.
        FoundRow { row_id: told.key.to_string(), is_new: false, events, keep: told.keep }
    }

    /// Notes how far the first run is, also where one that was cut off had come further. That is
    /// kept with the next chunk: by then this one is.
    fn move_on(&mut self, table: &'static CrmTable, memory: TableMemory, to: i64) {
        if let Some(at) = memory.first_at {
            let at = at.max(to);
            let first_at = (at < memory.first_to).then_some(at);
            self.memory.tables.insert(table.name.to_owned(), TableMemory { first_at, ..memory });
        }
    }

    /// What was asked for, from the database, else from what is kept.
    async fn look_up(&mut self, references: &[RowReference]) -> Result<KnownRows, RunFailed> {
        let mut known = KnownRows::default();
        for (name, row) in &self.looked_into {
            known.put_row(name, row.clone());
        }
        self.look_up_more(references, &mut known).await?;
        let further = known.further_references();
        self.look_up_more(&further, &mut known).await?;
        Ok(known)
    }

    async fn look_up_more(
        &mut self,
        references: &[RowReference],
        known: &mut KnownRows,
    ) -> Result<(), RunFailed> {
        if references.is_empty() {
            return Ok(());
        }
        for (reference, mut rows) in self.crm.look_up(&self.shape, references).await? {
            if rows.is_empty() {
                rows.extend(self.kept_row(&reference).await?);
            }
            known.put(reference, rows);
        }
        Ok(())
    }

    async fn kept_row(&self, reference: &RowReference) -> Result<Option<CrmRow>, RunFailed> {
        let table =
            tables::find_table(reference.table).filter(|table| table.key == reference.column);
        let (Some(table), Ok(key)) = (table, reference.value.parse::<i64>()) else {
            return Ok(None);
        };
        let kept = self.run.journal().find_kept_rows(self.run.id(), table.name, &[key]).await?;
        let layouts = self.memory.tables.get(table.name).map(|memory| memory.layouts.as_str());
        let layouts = ColumnLayouts::parse(table, layouts.unwrap_or_default());
        Ok(kept.first().map(|row| layouts.decode_row(table, &reference.value, &row.cells)))
    }

    /// Remembers that all tables are read; says which could not be.
    pub async fn end_scan(self) -> Result<(), RunFailed> {
        self.keep().await?;
        if self.failed.is_empty() { Ok(()) } else { Err(RunFailed::new(self.failed.join("; "))) }
    }
}

/// Whether rows that are known need not be read again.
fn only_keys(table: &CrmTable) -> bool {
    table.watch() == WatchDepth::Keys && !table.has_clock()
}
