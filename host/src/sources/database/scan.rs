//! One run over all tables of a CRM.

use super::super::RunFailed;
use super::super::run::{FoundRow, SourceRun};
use super::chunk::{KeyChunk, RowResult};
use super::crm::{CrmConnection, DatabaseShape, KeyedRows};
use super::pace::{self, ReadPace};
use super::row_by_row;
use super::{CrmTime, DatabaseMemory, DerivedEvent, TableMemory};
use crate::crm::known::{KnownRows, RowReference};
use crate::crm::options::CrmOptions;
use crate::crm::row::CrmRow;
use crate::crm::snapshot::ColumnLayouts;
use crate::crm::tables::{self, CrmTable, WatchDepth};
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::database_source::{BackfillStart, DatabaseSettings};
use crate::model::source_run::RunProgress;
use crate::store::KeyRange;
use std::collections::BTreeMap;
use std::time::Instant;

/// How many keys are read at once from tables of which only keys are read.
const KEYS: usize = 10_000;

/// The state of one run.
#[derive(Debug)]
pub struct CrmScan<'a> {
    pub run: &'a SourceRun,
    pub settings: &'a DatabaseSettings,
    pub crm: CrmConnection,
    pub shape: DatabaseShape,
    pub options: CrmOptions,
    pub time: CrmTime,
    pub memory: DatabaseMemory,
    /// The rows of small tables that most events refer to, such as currencies. Read once for a run.
    pub looked_into: Vec<(&'static str, CrmRow)>,
    /// One sentence for each table that could not be read.
    pub failed: Vec<String>,
}

impl CrmScan<'_> {
    /// Stores the greatest key of each table that is read for the first time, so that later rows
    /// count as new. Also reads the small tables that events refer to.
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

    /// Records why a table could not be read, and lets the run go on with the other tables. Fails
    /// if the database cannot be reached any more.
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
        // Fails if another process has taken over the source.
        self.keep().await?;
        Ok(None)
    }

    async fn keep(&self) -> Result<(), RunFailed> {
        self.run.keep_memory(&self.memory.text()).await
    }

    /// Reads one table, chunk by chunk, and captures what changed.
    pub async fn read_table(
        &mut self,
        tables: &[&'static CrmTable],
        n: usize,
    ) -> Result<(), RunFailed> {
        let Some(table) = tables.get(n).copied() else { return Ok(()) };
        // `begin_scan` could not read this table, so it is not known which of its rows are new.
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
            self.run.read(found.rows.len() + found.bad.len());
            pace.learn(found.rows.len(), found.bytes);
            let took = began.elapsed();
            let is_last = range.to == i64::MAX;
            self.capture_chunk(table, found, range).await?;
            above = range.to;
            if !is_last {
                pace::rest(self.settings.pause, took).await;
            }
        }
        self.run.settle_list(table.name, |_| true).await
    }

    /// Reads the rows with the next keys. Also returns the range of keys that these rows cover.
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
            self.crm.keys(&self.shape, table, above, limit).await
        } else {
            self.crm.chunk(&self.shape, table, above, limit).await
        };
        let found = match found {
            Err(why) if why.is_of_content() => {
                let limit = limit.min(row_by_row::MOST_ROWS);
                row_by_row::read_next(&mut self.crm, &self.shape, table, above, limit).await?
            }
            found => found?,
        };
        let has_more = found.is_cut || found.rows.len() == limit;
        let last = found.last_key().filter(|_| has_more);
        Ok((found, KeyRange { above, to: last.unwrap_or(i64::MAX) }))
    }

    /// Captures the events of a chunk, and stores its rows.
    async fn capture_chunk(
        &mut self,
        table: &'static CrmTable,
        found: KeyedRows,
        range: KeyRange,
    ) -> Result<(), RunFailed> {
        let KeyedRows { rows, mut bad, .. } = found;
        let mut heads = self.run.journal().list_row_heads(self.run.id(), table.name, range).await?;
        let memory = self.memory.tables.get(table.name).cloned().unwrap_or_default();
        let is_backfill = self.settings.start == BackfillStart::Backfill;
        let mut chunk = KeyChunk::new(table, memory.clone(), is_backfill);
        // A row that cannot be read was not deleted.
        heads.retain(|head| !bad.contains_key(&head.key));
        chunk.pair(rows, heads);
        if only_keys(table) {
            let fresh = chunk.fresh_keys();
            let fresh = row_by_row::read_these(&mut self.crm, &self.shape, table, &fresh).await?;
            chunk.fill(fresh.rows);
            bad.extend(fresh.bad);
        }
        self.set_aside(table, bad).await?;
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

    async fn set_aside(
        &self,
        table: &'static CrmTable,
        bad: BTreeMap<i64, String>,
    ) -> Result<(), RunFailed> {
        if bad.is_empty() {
            return Ok(());
        }
        let bad = bad
            .iter()
            .map(|(key, why)| BadRow::new(&key.to_string(), BadRowReason::Unreadable, why));
        self.run.set_aside(table.name, bad.collect()).await
    }

    /// Makes the result of a row ready to be captured. Alias events are left out unless an endpoint
    /// or a flow subscribes to them.
    fn found_row(&self, told: RowResult) -> FoundRow {
        let asked = |event: &DerivedEvent| {
            event.alias_of.is_none() || self.run.is_asked_for_by_name(event.event_type)
        };
        let events = told.events.into_iter().filter(asked);
        let events = events.map(|event| super::incoming(event, self.run.source())).collect();
        // `is_new` belongs to custom tables. The marks of a CRM's row stand for events that were
        // sent because of a date.
        FoundRow { row_id: told.key.to_string(), is_new: false, events, keep: told.keep }
    }

    /// Records how far the first run has come; a run that was interrupted may have come further
    /// before. The record is stored with the next chunk, after this chunk itself.
    fn move_on(&mut self, table: &'static CrmTable, memory: TableMemory, to: i64) {
        if let Some(at) = memory.first_at {
            let at = at.max(to);
            let first_at = (at < memory.first_to).then_some(at);
            self.memory.tables.insert(table.name.to_owned(), TableMemory { first_at, ..memory });
        }
    }

    /// Finds the rows that events refer to: in the database or, if they were deleted there, among
    /// the stored rows.
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

    /// Ends the run. Fails with one sentence for each table that could not be read.
    pub async fn end_scan(self) -> Result<(), RunFailed> {
        self.keep().await?;
        if self.failed.is_empty() { Ok(()) } else { Err(RunFailed::new(self.failed.join("; "))) }
    }
}

/// Whether only keys are read, because changes of a stored row lead to no event.
fn only_keys(table: &CrmTable) -> bool {
    table.watch() == WatchDepth::Keys && !table.has_clock()
}
