//! A source in memory: scans as the host is to, with the state encoded between two scans as it
//! would be stored.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;

use super::fixture;
use super::sql::Database;
use crate::crm::derive::{self, DerivedEvent, RowDerivation, RuleContext, ScanPurpose};
use crate::crm::due::DueMarks;
use crate::crm::known::{KnownRows, RowReference};
use crate::crm::lists;
use crate::crm::options::CrmOptions;
use crate::crm::row::CrmRow;
use crate::crm::snapshot::{self, ColumnLayouts, StoredSnapshot};
use crate::crm::tables::{self, ChildList, CrmTable};
use crate::crypto::digest::ShortDigest;

/// What is stored of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub hash: ShortDigest,
    pub revision: u32,
    pub marks: String,
    pub cells: String,
}

/// The state of a source: rows by table and key, and layouts by table.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub rows: BTreeMap<(&'static str, String), Stored>,
    layouts: BTreeMap<&'static str, String>,
}

/// A CRM and what is known of it.
#[derive(Debug, Clone)]
pub struct Source {
    pub database: Database,
    pub state: State,
    pub now: DateTime,
    pub options: CrmOptions,
}

impl Source {
    /// With the fixture's tables and first rows, not scanned yet.
    pub fn new() -> Self {
        let mut database = Database::create(&fixture::read("schema.sql"));
        database.run(&fixture::at(&fixture::read("baseline.sql"), fixture::NOW));
        let options = CrmOptions::default();
        Self { database, state: State::default(), now: fixture::NOW, options }
    }

    /// With the first scan done.
    pub fn scanned() -> Self {
        let mut source = Self::new();
        assert_eq!(source.scan(ScanPurpose::Baseline), [], "nothing follows from the first scan");
        source
    }

    /// Scans every table; the events in order.
    pub fn scan(&mut self, pass: ScanPurpose) -> Vec<DerivedEvent> {
        tables::ALL.iter().flat_map(|table| self.scan_table(table, pass)).collect()
    }

    fn scan_table(&mut self, table: &'static CrmTable, pass: ScanPurpose) -> Vec<DerivedEvent> {
        let rows = self.read(table, &[]);
        let of_table = self.state.rows.keys().filter(|(name, _)| *name == table.name);
        let mut keys: BTreeSet<String> = of_table.map(|(_, key)| key.clone()).collect();
        let rows: BTreeMap<String, CrmRow> =
            rows.into_iter().map(|row| (row.text(table.key).unwrap().to_owned(), row)).collect();
        keys.extend(rows.keys().cloned());
        keys.iter().flat_map(|key| self.observe(table, key, rows.get(key), pass)).collect()
    }

    fn observe(
        &mut self,
        table: &'static CrmTable,
        key: &str,
        row: Option<&CrmRow>,
        pass: ScanPurpose,
    ) -> Vec<DerivedEvent> {
        let stored = self.state.rows.get(&(table.name, key.to_owned())).cloned();
        let same = row.zip(stored.as_ref());
        if let Some((row, stored)) =
            same.filter(|(row, s)| s.hash == snapshot::hash_row(table, row))
        {
            return self.pass_time(table, key, row, stored, pass);
        }
        let old = stored.as_ref().map(|stored| self.kept(table, key, stored));
        let references = derive::change_references(table, old.as_ref().map(|kept| &kept.row), row);
        let known = self.look_up(&references);
        let context = RuleContext { now: self.now, options: &self.options, pass, new_revision: 0 };
        let RowDerivation { events, marks } =
            derive::derive_events(table, old.as_ref(), row, &context, &known);
        match row {
            Some(row) => {
                let revision = context.revision(old.as_ref());
                self.store(table, key, row, &StoredSnapshot::of(table, row, revision, marks));
            }
            None => drop(self.state.rows.remove(&(table.name, key.to_owned()))),
        }
        events
    }

    fn pass_time(
        &mut self,
        table: &'static CrmTable,
        key: &str,
        row: &CrmRow,
        stored: &Stored,
        pass: ScanPurpose,
    ) -> Vec<DerivedEvent> {
        if !table.has_clock() {
            return Vec::new();
        }
        let context = RuleContext { now: self.now, options: &self.options, pass, new_revision: 0 };
        let marks = DueMarks::decode(&stored.marks);
        let references = derive::passing_references(table, row, &marks, &context);
        let known = self.look_up(&references);
        let found = derive::passing(table, row, stored.revision, &marks, &context, &known);
        let place = self.state.rows.get_mut(&(table.name, key.to_owned())).unwrap();
        place.marks = found.marks.encode();
        found.events
    }

    fn store(&mut self, table: &'static CrmTable, key: &str, row: &CrmRow, kept: &StoredSnapshot) {
        let text = self.state.layouts.entry(table.name).or_default();
        let mut layouts = ColumnLayouts::parse(table, text);
        if layouts.learn_layout(table, &kept.row) {
            *text = layouts.text();
        }
        let stored = Stored {
            hash: snapshot::hash_row(table, row),
            revision: kept.revision,
            marks: kept.marks.encode(),
            cells: ColumnLayouts::encode_row(table, &kept.row),
        };
        self.state.rows.insert((table.name, key.to_owned()), stored);
    }

    fn kept(&self, table: &'static CrmTable, key: &str, stored: &Stored) -> StoredSnapshot {
        let layouts = self.state.layouts.get(table.name).map(String::as_str).unwrap_or_default();
        let row = ColumnLayouts::parse(table, layouts).decode_row(table, key, &stored.cells);
        StoredSnapshot { revision: stored.revision, marks: DueMarks::decode(&stored.marks), row }
    }

    /// Rows of a table with their lists.
    fn read(&self, table: &'static CrmTable, is: &[(&str, &str)]) -> Vec<CrmRow> {
        let name = format!("tbl{}", table.name);
        let columns = table.columns_in(&self.database.columns(&name));
        let columns: Vec<&str> = columns.iter().map(AsRef::as_ref).collect();
        let mut rows = self.database.select(&name, &columns, is);
        for row in &mut rows {
            let key = row.text(table.key).unwrap().to_owned();
            for list in table.lists {
                lists::attach_lists(list, row, self.members(list, &key));
            }
        }
        rows
    }

    /// The rows of a list that belong to the record with this key.
    fn members(&self, list: &ChildList, key: &str) -> Vec<CrmRow> {
        let name = format!("tbl{}", list.table);
        let Some(through) = &list.through else {
            let is: Vec<_> = [(list.parent, key)].into_iter().chain(list.of.to_vec()).collect();
            return self.database.select(&name, list.columns, &is);
        };
        let between = format!("tbl{}", through.table);
        let (of_between, of_list): (Vec<_>, Vec<_>) =
            list.of.iter().copied().partition(|(column, _)| {
                self.database.columns(&between).iter().any(|c| c == column)
            });
        let is: Vec<_> = [(list.parent, key)].into_iter().chain(of_between).collect();
        let lines = self.database.select(&between, &[through.key], &is);
        let of_line = |line: &CrmRow| {
            let line = line.text(through.key).unwrap().to_owned();
            let is: Vec<_> =
                [(through.column, line.as_str())].into_iter().chain(of_list.clone()).collect();
            self.database.select(&name, list.columns, &is)
        };
        lines.iter().flat_map(of_line).collect()
    }

    /// What was asked for, from the database, else from what is kept.
    fn look_up(&self, references: &[RowReference]) -> KnownRows {
        let mut known = KnownRows::default();
        for name in tables::LOOKED_INTO {
            self.read(tables::find_table(name).unwrap(), &[])
                .into_iter()
                .for_each(|row| known.put_row(name, row));
        }
        for reference in references {
            self.look_up_one(reference, &mut known);
        }
        for reference in known.further_references() {
            self.look_up_one(&reference, &mut known);
        }
        known
    }

    fn look_up_one(&self, reference: &RowReference, known: &mut KnownRows) {
        let table = tables::find_table(reference.table).unwrap();
        let mut rows = self.read(table, &[(reference.column, &reference.value)]);
        if rows.is_empty() && reference.column == table.key {
            let stored = self.state.rows.get(&(table.name, reference.value.clone()));
            let kept = stored.map(|stored| self.kept(table, &reference.value, stored));
            rows.extend(kept.map(|kept| kept.row));
        }
        known.put(reference.clone(), rows);
    }
}

/// `type#resource_id` of each event, sorted.
pub fn names(events: &[DerivedEvent]) -> Vec<String> {
    let name = |event: &DerivedEvent| format!("{}#{}", event.event_type, event.resource_id);
    let mut names: Vec<String> = events.iter().map(name).collect();
    names.sort();
    names
}
