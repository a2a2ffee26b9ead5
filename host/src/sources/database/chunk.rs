//! Compares a chunk of rows as the database has them now with what the last run stored, and derives
//! events from the differences. This module does no I/O.

use super::super::rows;
use super::super::run::RowToStore;
use super::{DerivedEvent, TableMemory};
use crate::crm::derive::{self, RowDerivation, RuleContext, ScanPurpose};
use crate::crm::due::DueMarks;
use crate::crm::known::{KnownRows, RowReference};
use crate::crm::options::CrmOptions;
use crate::crm::row::CrmRow;
use crate::crm::snapshot::{self, ColumnLayouts, StoredSnapshot};
use crate::crm::tables::CrmTable;
use crate::crypto::digest::ShortDigest;
use crate::store::{KeptRow, RowHead};
use jiff::civil::DateTime;
use std::collections::BTreeMap;

/// A row that was read now, that was stored by an earlier run, or both.
#[derive(Debug, Default)]
struct RowPair {
    row: Option<CrmRow>,
    hash: ShortDigest,
    head: Option<RowHead>,
    /// The stored row in full. Only loaded if it differs from the row that was read.
    kept: Option<KeptRow>,
}

impl RowPair {
    /// Whether the row that was read equals the stored one.
    fn is_same(&self) -> bool {
        self.row.is_some() && self.head.as_ref().is_some_and(|head| head.hash == self.hash)
    }

    fn marks(&self) -> DueMarks {
        self.head.as_ref().map(|head| DueMarks::decode(&head.marks)).unwrap_or_default()
    }
}

/// The rows of one range of keys.
#[derive(Debug)]
pub struct KeyChunk {
    table: &'static CrmTable,
    layouts: ColumnLayouts,
    memory: TableMemory,
    /// Whether rows that existed before the first run are captured.
    is_backfill: bool,
    pairs: BTreeMap<i64, RowPair>,
}

/// The events of one row, and what to store of the row.
#[derive(Debug)]
pub struct RowResult {
    /// The row's key.
    pub key: i64,
    /// The events, in the order of the table's rules.
    pub events: Vec<DerivedEvent>,
    pub keep: RowToStore,
}

/// The events of a chunk, and what to store.
#[derive(Debug)]
pub struct ChunkOutcome {
    /// One result for each row that changed, ordered by key.
    pub told: Vec<RowResult>,
    /// The table's memory, which must be stored before the rows are.
    pub memory: TableMemory,
}

impl KeyChunk {
    pub fn new(table: &'static CrmTable, memory: TableMemory, is_backfill: bool) -> Self {
        let layouts = ColumnLayouts::parse(table, &memory.layouts);
        Self { table, layouts, memory, is_backfill, pairs: BTreeMap::new() }
    }

    /// Pairs the rows that were read with the stored ones. Drops pairs that cannot lead to an
    /// event.
    pub fn pair(&mut self, rows: BTreeMap<i64, CrmRow>, heads: Vec<RowHead>) {
        for (key, row) in rows {
            let hash = snapshot::hash_row(self.table, &row);
            self.pairs.insert(key, RowPair { row: Some(row), hash, ..RowPair::default() });
        }
        for head in heads {
            let key = head.key;
            self.pairs.entry(key).or_default().head = Some(head);
        }
        let has_clock = self.table.has_clock();
        self.pairs.retain(|_, pair| has_clock || !pair.is_same());
    }

    /// Returns the keys of rows that were never stored and that may lead to an event.
    pub fn fresh_keys(&self) -> Vec<i64> {
        let fresh = self.pairs.iter().filter(|(key, pair)| self.is_fresh(**key, pair));
        fresh.map(|(key, _)| *key).collect()
    }

    fn is_fresh(&self, key: i64, pair: &RowPair) -> bool {
        pair.head.is_none() && self.pass(key, pair) != ScanPurpose::Baseline
    }

    /// Adds the content of rows of which only the key had been read. A row that was deleted in the
    /// meantime counts as never seen.
    pub fn fill(&mut self, mut rows: BTreeMap<i64, CrmRow>) {
        for key in self.fresh_keys() {
            match (rows.remove(&key), self.pairs.get_mut(&key)) {
                (Some(row), Some(pair)) => pair.row = Some(row),
                _ => drop(self.pairs.remove(&key)),
            }
        }
    }

    /// Returns the keys of changed rows, whose stored content is needed to tell what changed.
    pub fn known_keys(&self) -> Vec<i64> {
        let changed = self.pairs.iter().filter(|(_, pair)| pair.head.is_some() && !pair.is_same());
        changed.map(|(key, _)| *key).collect()
    }

    /// Adds the stored content of those rows.
    pub fn remember(&mut self, kept: Vec<KeptRow>) {
        for row in kept {
            if let Some(pair) = self.pairs.get_mut(&row.head.key) {
                pair.kept = Some(row);
            }
        }
    }

    fn pass(&self, key: i64, pair: &RowPair) -> ScanPurpose {
        let TableMemory { first_at, first_to, .. } = self.memory;
        let was_there = first_at.is_some_and(|at| key > at) && key <= first_to;
        match (pair.head.is_none() && was_there, self.is_backfill) {
            (false, _) => ScanPurpose::Changes,
            (true, true) => ScanPurpose::Backfill,
            (true, false) => ScanPurpose::Baseline,
        }
    }

    fn old(&self, key: i64, pair: &RowPair) -> Option<StoredSnapshot> {
        let kept = pair.kept.as_ref()?;
        let row = self.layouts.decode_row(self.table, &key.to_string(), &kept.cells);
        Some(StoredSnapshot {
            revision: kept.head.revision,
            marks: DueMarks::decode(&kept.head.marks),
            row,
        })
    }

    /// Returns the rows of other tables that the events refer to.
    pub fn references(&self, now: DateTime, options: &CrmOptions) -> Vec<RowReference> {
        let mut found = Vec::new();
        for (key, pair) in &self.pairs {
            match (&pair.row, pair.is_same()) {
                (Some(row), true) => {
                    let context = self.context(now, options, ScanPurpose::Changes);
                    let marks = pair.marks();
                    found.extend(derive::passing_references(self.table, row, &marks, &context));
                }
                // Rows that existed before the first run lead to no event.
                (_, _) if self.pass(*key, pair) == ScanPurpose::Baseline => {}
                (row, _) => {
                    let old = self.old(*key, pair).map(|kept| kept.row);
                    found.extend(derive::change_references(self.table, old.as_ref(), row.as_ref()));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn context<'a>(
        &self,
        now: DateTime,
        options: &'a CrmOptions,
        pass: ScanPurpose,
    ) -> RuleContext<'a> {
        RuleContext { now, options, pass, new_revision: self.memory.new_revision }
    }

    /// Derives the events, and what to store.
    pub fn derive(
        mut self,
        now: DateTime,
        options: &CrmOptions,
        known: &KnownRows,
    ) -> ChunkOutcome {
        let mut told = Vec::new();
        let mut memory = self.memory.clone();
        for (key, pair) in std::mem::take(&mut self.pairs) {
            let context = self.context(now, options, self.pass(key, &pair));
            if pair.is_same() {
                told.extend(self.pass_time(key, &pair, &context, known));
            } else {
                told.push(self.observe(key, &pair, &context, known));
            }
            let gone = pair.head.filter(|_| pair.row.is_none());
            memory.new_revision = rows::revision_after(memory.new_revision, &gone);
        }
        memory.layouts = self.layouts.text();
        ChunkOutcome { told, memory }
    }

    /// Derives the events of a row that is new, changed or deleted.
    fn observe(
        &mut self,
        key: i64,
        pair: &RowPair,
        context: &RuleContext<'_>,
        known: &KnownRows,
    ) -> RowResult {
        let old = self.old(key, pair);
        let RowDerivation { events, marks } =
            derive::derive_events(self.table, old.as_ref(), pair.row.as_ref(), context, known);
        let Some(row) = &pair.row else {
            return RowResult { key, events, keep: RowToStore::Nothing(key) };
        };
        let kept = StoredSnapshot::of(self.table, row, context.revision(old.as_ref()), marks);
        self.layouts.learn_layout(self.table, &kept.row);
        let marks = kept.marks.encode();
        let head = RowHead { key, hash: pair.hash, revision: kept.revision, marks };
        let cells = ColumnLayouts::encode_row(self.table, &kept.row);
        RowResult { key, events, keep: RowToStore::Row(KeptRow { head, cells }) }
    }

    /// Derives the events of an unchanged row that follow from the passing of time, such as a due
    /// date. Returns `None` if there are none.
    fn pass_time(
        &self,
        key: i64,
        pair: &RowPair,
        context: &RuleContext<'_>,
        known: &KnownRows,
    ) -> Option<RowResult> {
        let (row, head) = (pair.row.as_ref()?, pair.head.as_ref()?);
        let marks = pair.marks();
        let RowDerivation { events, marks: now } =
            derive::passing(self.table, row, head.revision, &marks, context, known);
        if events.is_empty() && now == marks {
            return None;
        }
        // The hash is equal, so this encodes the same content as the stored row.
        let kept = snapshot::reduce_row(self.table, row);
        let cells = ColumnLayouts::encode_row(self.table, &kept);
        let head = RowHead { key, marks: now.encode(), ..head.clone() };
        Some(RowResult { key, events, keep: RowToStore::Row(KeptRow { head, cells }) })
    }
}
