//! A chunk of a table's keys: what was read and what is kept, side by side. Nothing here waits for anything.

use super::Derived;
use crate::crm::derive::{self, Context, Derivation, Pass};
use crate::crm::due::Marks;
use crate::crm::known::{Known, Reference};
use crate::crm::options::Options;
use crate::crm::row::Row;
use crate::crm::snapshot::{self, Kept, Layouts};
use crate::crm::tables::Table;
use crate::domain::hash::Hash;
use crate::journal::source_rows::{KeptRow, RowHead};
use jiff::civil::DateTime;
use std::collections::BTreeMap;

/// What the first run is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    /// How far it is; none once it is done.
    pub(super) at: Option<i64>,
    /// The greatest key there was when it began.
    pub(super) to: i64,
    /// Whether what was there is captured.
    pub(super) is_backfill: bool,
}

impl First {
    /// What it means that a row with this key is not kept.
    fn pass(self, key: i64) -> Pass {
        let was_there = self.at.is_some_and(|at| key > at) && key <= self.to;
        match (was_there, self.is_backfill) {
            (false, _) => Pass::Changes,
            (true, true) => Pass::Backfill,
            (true, false) => Pass::Baseline,
        }
    }
}

/// A row that was read, that is kept, or both.
#[derive(Debug, Default)]
struct Pair {
    row: Option<Row>,
    hash: Hash,
    head: Option<RowHead>,
    /// What is kept of it in full, where it is another than what was read.
    kept: Option<KeptRow>,
}

impl Pair {
    /// Whether what was read is what is kept.
    fn is_same(&self) -> bool {
        self.row.is_some() && self.head.as_ref().is_some_and(|head| head.hash == self.hash)
    }

    fn marks(&self) -> Marks {
        self.head.as_ref().map(|head| Marks::decode(&head.marks)).unwrap_or_default()
    }
}

/// A chunk of a table's keys.
#[derive(Debug)]
pub(super) struct Chunk {
    table: &'static Table,
    layouts: Layouts,
    first: First,
    pairs: BTreeMap<i64, Pair>,
}

/// What follows from a chunk.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// By key, and for each in the order of the rules.
    pub(super) events: Vec<Derived>,
    pub(super) put: Vec<KeptRow>,
    pub(super) gone: Vec<i64>,
    /// All layouts, where a row had a new one.
    pub(super) layouts: Option<Layouts>,
}

impl Chunk {
    pub(super) fn new(table: &'static Table, layouts: Layouts, first: First) -> Self {
        Self { table, layouts, first, pairs: BTreeMap::new() }
    }

    /// Puts what was read and what is kept side by side. What needs no further look is dropped.
    pub(super) fn pair(&mut self, rows: BTreeMap<i64, Row>, heads: Vec<RowHead>) {
        for (key, row) in rows {
            let hash = snapshot::hash(self.table, &row);
            self.pairs.insert(key, Pair { row: Some(row), hash, ..Pair::default() });
        }
        for head in heads {
            let key = head.key;
            self.pairs.entry(key).or_default().head = Some(head);
        }
        let has_clock = self.table.has_clock();
        self.pairs.retain(|_, pair| has_clock || !pair.is_same());
    }

    /// Keys of rows that are read for the first time and of which something may follow.
    pub(super) fn fresh_keys(&self) -> Vec<i64> {
        let fresh = self.pairs.iter().filter(|(key, pair)| self.is_fresh(**key, pair));
        fresh.map(|(key, _)| *key).collect()
    }

    fn is_fresh(&self, key: i64, pair: &Pair) -> bool {
        pair.head.is_none() && self.pass(key, pair) != Pass::Baseline
    }

    /// Takes in rows of which only the key had been read. One that is gone since was never there.
    pub(super) fn fill(&mut self, mut rows: BTreeMap<i64, Row>) {
        for key in self.fresh_keys() {
            match (rows.remove(&key), self.pairs.get_mut(&key)) {
                (Some(row), Some(pair)) => pair.row = Some(row),
                _ => drop(self.pairs.remove(&key)),
            }
        }
    }

    /// Keys of rows of which more must be known than the hash.
    pub(super) fn known_keys(&self) -> Vec<i64> {
        let changed = self.pairs.iter().filter(|(_, pair)| pair.head.is_some() && !pair.is_same());
        changed.map(|(key, _)| *key).collect()
    }

    /// Takes in what is kept of those.
    pub(super) fn remember(&mut self, kept: Vec<KeptRow>) {
        for row in kept {
            if let Some(pair) = self.pairs.get_mut(&row.head.key) {
                pair.kept = Some(row);
            }
        }
    }

    fn pass(&self, key: i64, pair: &Pair) -> Pass {
        if pair.head.is_none() { self.first.pass(key) } else { Pass::Changes }
    }

    fn old(&self, key: i64, pair: &Pair) -> Option<Kept> {
        let kept = pair.kept.as_ref()?;
        let row = self.layouts.decode(self.table, &key.to_string(), &kept.cells);
        Some(Kept { revision: kept.head.revision, marks: Marks::decode(&kept.head.marks), row })
    }

    /// What the events need of other tables.
    pub(super) fn references(&self, now: DateTime, options: &Options) -> Vec<Reference> {
        let mut found = Vec::new();
        for (key, pair) in &self.pairs {
            match (&pair.row, pair.is_same()) {
                (Some(row), true) => {
                    let context = Context { now, options, pass: Pass::Changes };
                    let marks = pair.marks();
                    found.extend(derive::passing_references(self.table, row, &marks, &context));
                }
                // Nothing is told of what was there.
                (_, _) if self.pass(*key, pair) == Pass::Baseline => {}
                (row, _) => {
                    let old = self.old(*key, pair).map(|kept| kept.row);
                    found.extend(derive::references(self.table, old.as_ref(), row.as_ref()));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// What follows, and what to keep.
    pub(super) fn derive(mut self, now: DateTime, options: &Options, known: &Known) -> Outcome {
        let mut outcome = Outcome::default();
        let mut learned = false;
        for (key, pair) in std::mem::take(&mut self.pairs) {
            let pass = self.pass(key, &pair);
            let context = Context { now, options, pass };
            if pair.is_same() {
                self.pass_time(key, &pair, &context, known, &mut outcome);
            } else {
                learned |= self.observe(key, &pair, &context, known, &mut outcome);
            }
        }
        outcome.layouts = learned.then_some(self.layouts);
        outcome
    }

    /// A row that is new, changed or gone; whether its layout is a new one.
    fn observe(
        &mut self,
        key: i64,
        pair: &Pair,
        context: &Context<'_>,
        known: &Known,
        outcome: &mut Outcome,
    ) -> bool {
        let old = self.old(key, pair);
        let Derivation { events, marks } =
            derive::derive(self.table, old.as_ref(), pair.row.as_ref(), context, known);
        outcome.events.extend(events);
        let Some(row) = &pair.row else {
            outcome.gone.push(key);
            return false;
        };
        let kept = Kept::after(self.table, old.as_ref(), row, marks);
        let learned = self.layouts.learn(self.table, &kept.row);
        let marks = kept.marks.encode();
        let head = RowHead { key, hash: pair.hash, revision: kept.revision, marks };
        outcome.put.push(KeptRow { head, cells: Layouts::encode(self.table, &kept.row) });
        learned
    }

    /// A row that is as it was: only time has passed.
    fn pass_time(
        &self,
        key: i64,
        pair: &Pair,
        context: &Context<'_>,
        known: &Known,
        outcome: &mut Outcome,
    ) {
        let (Some(row), Some(head)) = (&pair.row, &pair.head) else { return };
        let marks = pair.marks();
        let found = derive::passing(self.table, row, head.revision, &marks, context, known);
        outcome.events.extend(found.events);
        if found.marks != marks {
            // The content is what is kept already; its hash says so.
            let kept = snapshot::reduce(self.table, row);
            let cells = Layouts::encode(self.table, &kept);
            let head = RowHead { key, marks: found.marks.encode(), ..head.clone() };
            outcome.put.push(KeptRow { head, cells });
        }
    }
}
