//! One table in one run: noting what is there, reading it all, and finding out what is gone.

use super::super::super::Failed;
use super::super::super::rows::{self, Fields, Happening, Row};
use super::super::super::run::{Found, Keep, Run};
use super::super::pace::{self, Pace};
use super::super::{Memory, OwnMemory};
use super::incoming;
use super::server::{Chunk, Server, Which, id};
use super::table::Table;
use crate::capture::incoming::Incoming;
use crate::domain::database::{Beginning, DatabaseSettings};
use crate::domain::event::Changes;
use crate::domain::hash::Hash;
use crate::journal::source_rows::{KeptRow, RowHead};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::time::Instant;

/// Rows of the first chunk; how many fit is known after it.
const FIRST: usize = 50;
/// Keys that are noted at once.
const KEYS: usize = 5_000;
/// Rows that are looked at together.
const BATCH: usize = 200;

/// One table in one run.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) run: &'a Run,
    pub(super) settings: &'a DatabaseSettings,
    pub(super) server: &'a mut Server,
    pub(super) memory: &'a mut Memory,
    pub(super) table: &'a Table,
}

impl Pass<'_> {
    fn known(&self) -> OwnMemory {
        self.memory.own.get(&self.table.list).copied().unwrap_or_default()
    }

    async fn remember(&mut self, known: OwnMemory) -> Result<(), Failed> {
        self.memory.own.insert(self.table.list.clone(), known);
        self.run.keep(&self.memory.text()).await
    }

    /// Notes which rows are there, of one moment: those are no news, and whatever comes after is.
    pub(super) async fn note(&mut self) -> Result<(), Failed> {
        let known = self.known();
        if known.begun {
            return Ok(());
        }
        let there = match self.settings.start {
            Beginning::Now => self.list_keys().await?,
            Beginning::Backfill => Vec::new(),
        };
        // What an earlier attempt noted that did not come to its end.
        for gone in self.missing(there).await? {
            let gone = gone.into_iter().map(|key| without_event(Keep::Nothing(key)));
            self.run.take(&self.table.list, gone.collect()).await?;
        }
        self.remember(OwnMemory { begun: true, ..known }).await
    }

    /// Keeps the keys of all rows, as they are at one moment; which those are.
    async fn list_keys(&mut self) -> Result<Vec<i64>, Failed> {
        self.server.hold().await?;
        let mut there = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let which = Which::Next(after.as_deref(), KEYS);
            let Chunk { rows, has_more, .. } = self.server.rows(self.table, which, true).await?;
            after = last(&rows, after.as_deref())?;
            there.extend(rows.iter().map(|row| row.key));
            let noted = rows.iter().map(|row| without_event(Keep::Row(self.noted(row))));
            self.run.take(&self.table.list, noted.collect()).await?;
            // Without a rest: a snapshot that is held long is a burden of its own.
            if !has_more {
                break;
            }
        }
        self.server.release().await?;
        Ok(there)
    }

    /// A row of which only the key is known.
    fn noted(&self, row: &Row) -> KeptRow {
        let head =
            RowHead { key: row.key, hash: Hash::default(), revision: 0, marks: String::new() };
        KeptRow { head, cells: self.key_of(row) }
    }

    /// What is kept of a row whose content is too long: its key.
    fn key_of(&self, row: &Row) -> String {
        let key = row.data.get(&self.table.key.name);
        key.map(|value| value.get().to_owned()).unwrap_or_default()
    }

    /// Reads every row, captures what follows, and then what is gone.
    pub(super) async fn read(&mut self) -> Result<(), Failed> {
        let mut pace = Pace::new(FIRST);
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let which = Which::Next(after.as_deref(), pace.rows());
            let chunk = self.server.rows(self.table, which, false).await?;
            let took = began.elapsed();
            let Chunk { rows, bytes, has_more } = chunk;
            pace.learn(rows.len(), bytes);
            self.run.read(rows.len());
            seen.extend(rows.iter().map(|row| row.key));
            after = last(&rows, after.as_deref())?;
            self.take(rows).await?;
            if !has_more {
                break;
            }
            // Those who look see how far it is, and another process that has taken the source over is found out.
            self.run.keep(&self.memory.text()).await?;
            pace::rest(self.settings.pause, took).await;
        }
        for gone in self.missing(seen).await? {
            self.forget(&gone).await?;
        }
        Ok(())
    }

    /// Captures what follows from rows that were read, and keeps them.
    async fn take(&mut self, rows: Vec<Row>) -> Result<(), Failed> {
        let list = self.table.list.as_str();
        let heads = rows::heads(self.run, list, rows.iter()).await?;
        let is_kept = |row: &Row| heads.get(&row.key).is_some_and(|head| head.hash == row.hash);
        let changed: Vec<Row> = rows.into_iter().filter(|row| !is_kept(row)).collect();
        for batch in changed.chunks(BATCH) {
            let keys: Vec<i64> = batch.iter().map(|row| row.key).collect();
            let kept = rows::kept(self.run, list, &keys).await?;
            let found = batch.iter().map(|row| self.found(row, kept.get(&row.key)));
            self.run.take(list, found.collect()).await?;
        }
        Ok(())
    }

    fn found(&self, row: &Row, old: Option<&KeptRow>) -> Found {
        let revision = rows::revision(old.map(|old| &old.head), self.known().new_revision);
        let events = self.event(row, old, revision).into_iter().collect();
        Found { events, keep: Keep::Row(rows::keep(row, revision, &self.key_of(row))) }
    }

    /// What follows from a row that is another than what is kept; nothing where it was only noted, or differs in what is not
    /// read any more.
    fn event(&self, row: &Row, old: Option<&KeptRow>, revision: u32) -> Option<Incoming> {
        let Some(old) = old else {
            return Some(self.told("created", row, revision, None));
        };
        if old.head.hash == Hash::default() {
            return None;
        }
        let changes = self.content(old).map(|content| rows::changes(&content, &row.data));
        if changes.as_ref().is_some_and(|Changes { changed, .. }| changed.is_empty()) {
            return None;
        }
        Some(self.told("updated", row, revision, changes.as_ref()))
    }

    /// What was kept of a row, without what is not read any more.
    fn content(&self, old: &KeptRow) -> Option<Fields> {
        let mut content = rows::content(old)?;
        content.retain(|field, _| !self.table.exclude.contains(field));
        Some(content)
    }

    fn told(&self, what: &str, row: &Row, revision: u32, changes: Option<&Changes>) -> Incoming {
        let Table { list, resource, .. } = self.table;
        let event_type = format!("{resource}.{what}");
        let (source, event_type) = (self.run.source(), event_type.as_str());
        let happening = Happening { source, list, resource, event_type, revision };
        incoming(happening, row, changes)
    }

    /// Keys of rows that are kept and are not among these, in batches.
    async fn missing(&self, mut seen: Vec<i64>) -> Result<Vec<Vec<i64>>, Failed> {
        seen.sort_unstable();
        let (run, list) = (self.run, &self.table.list);
        let (mut missing, mut above) = (Vec::new(), i64::MIN);
        loop {
            let kept = run.journal().kept_keys(run.id(), list, above, KEYS).await?;
            missing.extend(kept.iter().filter(|key| seen.binary_search(key).is_err()));
            match kept.last() {
                Some(greatest) if kept.len() == KEYS => above = *greatest,
                _ => break,
            }
        }
        Ok(missing.chunks(BATCH).map(<[i64]>::to_vec).collect())
    }

    /// Captures that rows are gone, unless the database has them after all, and forgets them.
    async fn forget(&mut self, keys: &[i64]) -> Result<(), Failed> {
        let kept = rows::kept(self.run, &self.table.list, keys).await?;
        let mut gone: Vec<(KeptRow, Row)> = kept
            .into_values()
            .filter_map(|old| self.as_known(&old).map(|row| (old, row)))
            .collect();
        let ids: Vec<String> = gone.iter().map(|(_, row)| row.id.clone()).collect();
        let there = self.server.existing(self.table, &ids).await?;
        let there: HashSet<String> = there.into_iter().collect();
        gone.retain(|(_, row)| !there.contains(&row.id));
        gone.sort_by_key(|(_, row)| row.key);
        // Before they are forgotten: one that comes again is another one.
        let known = self.known();
        let heads = gone.iter().map(|(old, _)| &old.head);
        let new_revision = rows::revision_after(known.new_revision, heads);
        if new_revision != known.new_revision {
            self.remember(OwnMemory { new_revision, ..known }).await?;
        }
        let found = gone.iter().map(|(old, row)| Found {
            events: vec![self.told("deleted", row, old.head.revision, None)],
            keep: Keep::Nothing(old.head.key),
        });
        self.run.take(&self.table.list, found.collect()).await
    }

    /// A row as it was last known: what was kept of it, or only its key.
    fn as_known(&self, old: &KeptRow) -> Option<Row> {
        let name = &self.table.key.name;
        let only_key = || {
            let key = RawValue::from_string(old.cells.clone()).ok()?;
            Some(Fields::from_iter([(name.clone(), key)]))
        };
        let data = self.content(old).or_else(only_key)?;
        let id = data.get(name).and_then(|value| id(self.table, value))?;
        Some(Row { hash: old.head.hash, ..Row::new(id, data) })
    }
}

fn without_event(keep: Keep) -> Found {
    Found { events: Vec::new(), keep }
}

/// The last of these rows; an error where it is none after the one before.
fn last(rows: &[Row], before: Option<&str>) -> Result<Option<String>, Failed> {
    let last = rows.last().map(|row| row.id.clone());
    if last.is_some() && last.as_deref() == before {
        return Err(Failed::new("its rows do not come in the order of their keys"));
    }
    Ok(last)
}
