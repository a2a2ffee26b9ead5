//! Derives events from the change of a row.
//!
//! This module reads no clock, no database and nothing random. The same change always gives the
//! same events with the same ids, so a run that is repeated after a crash repeats no event.

use jiff::civil::DateTime;
use serde_json::{Map, Value};

use super::change::RowChange;
use super::data;
use super::due::{self, DueMarks, DueVerdict};
use super::known::{KnownRows, RowReference};
use super::lists;
use super::options::CrmOptions;
use super::row::{CellValue, CrmRow};
use super::rules::{ChangeCondition, EventRule, RuleData};
use super::snapshot::{self, StoredSnapshot};
use super::tables::CrmTable;
use crate::crypto::digest::ShortDigest;

/// The purpose of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanPurpose {
    /// The first scan, which stores the existing rows and derives no events from them.
    Baseline,
    /// The first scan of a source that wants existing rows, too. Each row leads to the events of a
    /// new row.
    Backfill,
    /// Every later scan.
    Changes,
}

/// What the rules may use besides the row.
#[derive(Debug, Clone, Copy)]
pub struct RuleContext<'a> {
    /// The present time in the CRM's time zone, as in the CRM's own columns.
    pub now: DateTime,
    /// The CRM's own settings.
    pub options: &'a CrmOptions,
    /// The purpose of the scan.
    pub pass: ScanPurpose,
    /// The revision of a row that is not stored yet. It is above those of all deleted rows, because
    /// one of them may have had the same key.
    pub new_revision: u32,
}

impl RuleContext<'_> {
    /// Returns the number of a row's new state.
    pub fn revision(&self, old: Option<&StoredSnapshot>) -> u32 {
        old.map_or(self.new_revision, |kept| kept.revision.wrapping_add(1))
    }
}

/// An event that follows from a change.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedEvent {
    pub event_type: &'static str,
    /// The event type of which this one is an alias. An alias is captured only if somebody
    /// subscribes to it.
    pub alias_of: Option<&'static str>,
    /// The resource that the event is about, such as `invoice`.
    pub resource: &'static str,
    /// The key of that record.
    pub resource_id: String,
    /// The data, as the catalogue describes it.
    pub data: Map<String, Value>,
    /// The fields that an update changed. If the row is the member `contact` of the data, a field
    /// is called `contact.email`.
    pub changed: Vec<String>,
    /// The old values of these fields. Long texts are missing, because they are not stored.
    pub previous: Map<String, Value>,
    /// The id. The same occurrence always gets the same id, and no other occurrence gets it.
    pub id: String,
}

/// The events of a row, and its new marks.
#[derive(Debug, Default)]
pub struct RowDerivation {
    /// The events, in the order of the rules.
    pub events: Vec<DerivedEvent>,
    /// What to store about events that depend on a date.
    pub marks: DueMarks,
}

/// Returns the rows of other tables that [`derive_events()`] needs for a change.
pub fn change_references(
    table: &'static CrmTable,
    old: Option<&CrmRow>,
    new: Option<&CrmRow>,
) -> Vec<RowReference> {
    let Some(change) = RowChange::between(old, new) else { return Vec::new() };
    let happens =
        |rule: &&EventRule| rule.when.iter().any(|when| change.is(when, table) || when.is_clock());
    let rules = table.rules.iter().filter(happens);
    let mut found: Vec<RowReference> =
        rules.flat_map(|rule| data::row_references(rule, table, change.row())).collect();
    found.sort();
    found.dedup();
    found
}

/// Returns the rows of other tables that [`passing`] needs for an unchanged row. There are none for
/// nearly every row.
pub fn passing_references(
    table: &'static CrmTable,
    row: &CrmRow,
    marks: &DueMarks,
    context: &RuleContext<'_>,
) -> Vec<RowReference> {
    let change = RowChange::Same(row);
    let is_near = |rule: &&EventRule| {
        rule.when.iter().any(|when| is_near(when, rule, change, marks, context))
    };
    table
        .rules
        .iter()
        .filter(is_near)
        .flat_map(|rule| data::row_references(rule, table, row))
        .collect()
}

/// Whether the date of a rule may have come.
fn is_near(
    when: &ChangeCondition,
    rule: &EventRule,
    change: RowChange<'_>,
    marks: &DueMarks,
    context: &RuleContext<'_>,
) -> bool {
    if let ChangeCondition::Due(due) = when {
        return due::judge_due(due, rule.event, change, marks, context) != DueVerdict::Wait;
    }
    *when == ChangeCondition::Unanswered && due::is_ripe(change.row(), rule.event, marks, context)
}

/// Derives the events of a row that is new, changed or deleted.
pub fn derive_events(
    table: &'static CrmTable,
    old: Option<&StoredSnapshot>,
    new: Option<&CrmRow>,
    context: &RuleContext<'_>,
    known: &KnownRows,
) -> RowDerivation {
    let Some(change) = RowChange::between(old.map(|kept| &kept.row), new) else {
        return RowDerivation::default();
    };
    let revision = context.revision(old);
    let marks = old.map(|kept| kept.marks.clone()).unwrap_or_default();
    ChangeInContext { table, change, revision, context, known }.run(marks)
}

/// Derives the events of an unchanged row that follow from a date. `revision` and `marks` are those
/// of the stored row.
pub fn passing(
    table: &'static CrmTable,
    row: &CrmRow,
    revision: u32,
    marks: &DueMarks,
    context: &RuleContext<'_>,
    known: &KnownRows,
) -> RowDerivation {
    ChangeInContext { table, change: RowChange::Same(row), revision, context, known }
        .run(marks.clone())
}

/// A change, with everything that its rules may use.
struct ChangeInContext<'a> {
    table: &'static CrmTable,
    change: RowChange<'a>,
    revision: u32,
    context: &'a RuleContext<'a>,
    known: &'a KnownRows,
}

impl ChangeInContext<'_> {
    fn run(&self, mut marks: DueMarks) -> RowDerivation {
        let mut events = Vec::new();
        for rule in self.table.rules {
            if let Some(evidence) = self.evidence(rule, &mut marks) {
                events.extend(self.tell(rule, &evidence));
            }
        }
        RowDerivation { events, marks }
    }

    /// Returns the value that proves that the rule's event occurred, or `None` if it did not.
    fn evidence(&self, rule: &EventRule, marks: &mut DueMarks) -> Option<String> {
        rule.when.iter().find_map(|when| {
            let occurred = match self.verdict(when, rule.event, marks) {
                Some(verdict) => settle(verdict, rule.event, marks),
                None => self.happened(when),
            };
            occurred.then(|| self.value_of(when))
        })
    }

    /// Returns the verdict of a condition that depends on time, or `None` for other conditions.
    fn verdict(&self, when: &ChangeCondition, event: &str, marks: &DueMarks) -> Option<DueVerdict> {
        if let ChangeCondition::Due(due) = when {
            return Some(due::judge_due(due, event, self.change, marks, self.context));
        }
        (*when == ChangeCondition::Unanswered).then(|| self.judge_attempt(event, marks))
    }

    /// Whether the change fulfils the condition, in a scan of this purpose.
    fn happened(&self, when: &ChangeCondition) -> bool {
        let counts = match self.context.pass {
            ScanPurpose::Baseline => false,
            ScanPurpose::Backfill => matches!(when, ChangeCondition::New(_)),
            ScanPurpose::Changes => true,
        };
        counts && self.change.is(when, self.table)
    }

    fn judge_attempt(&self, event: &str, marks: &DueMarks) -> DueVerdict {
        let row = self.change.row();
        let is_there = !matches!(self.change, RowChange::Gone(_));
        if is_there && due::is_ripe(row, event, marks, self.context) {
            return due::judge_attempt(row, self.known, self.context.pass);
        }
        DueVerdict::Wait
    }

    /// Returns the value that distinguishes this occurrence from the one that a later scan would
    /// have found in its place, with other content.
    fn value_of(&self, when: &ChangeCondition) -> String {
        let row = self.change.row();
        let named = |column| format!("{column}={}", row.text(column).unwrap_or_default());
        match *when {
            ChangeCondition::New(_) | ChangeCondition::CompletesMilestone => String::new(),
            ChangeCondition::Gone | ChangeCondition::Updated => {
                snapshot::hash_row(self.table, row).to_string()
            }
            ChangeCondition::Changed(column)
            | ChangeCondition::Renewed(column)
            | ChangeCondition::Leaves(column, _)
            | ChangeCondition::Turns(column, ..)
            | ChangeCondition::Becomes(column, _)
            | ChangeCondition::Set(column)
            | ChangeCondition::SetLater(column) => named(column),
            ChangeCondition::Due(due) => named(due.date),
            ChangeCondition::Unanswered => named("created_at"),
        }
    }

    fn tell(&self, rule: &EventRule, evidence: &str) -> Option<DerivedEvent> {
        let told = data::event_data(rule, self.table, self.change, self.known)?;
        let field = rule.data.field();
        let name =
            |column: &str| field.map_or_else(|| column.to_owned(), |f| format!("{f}.{column}"));
        let (mut changed, mut previous) = (Vec::new(), Map::new());
        for (column, old) in self.changed(rule).into_iter().flat_map(|column| self.fields(column)) {
            changed.push(name(&column));
            previous.extend(old.map(|old| (name(&column), old)));
        }
        Some(DerivedEvent {
            event_type: rule.event,
            alias_of: rule.alias_of,
            resource: rule.resource(),
            previous,
            changed,
            id: self.id(rule, told.occurrence.as_deref(), evidence),
            resource_id: told.resource_id,
            data: told.data,
        })
    }

    /// Returns the changed columns for an event. Ignored columns count only if the rule names them.
    fn changed(&self, rule: &EventRule) -> Vec<&str> {
        let is_named = |column: &str| rule.when.iter().any(|when| when.names(column));
        let is_about = |column: &&str| !self.table.ignored.contains(column) || is_named(column);
        let columns = self.change.columns(self.table).into_iter().filter(is_about);
        if matches!(rule.data, RuleData::Milestone) { Vec::new() } else { columns.collect() }
    }

    /// Returns the fields that a changed column stands for: the column itself, or its custom fields
    /// that changed. Each has its old value, if that is stored.
    fn fields(&self, column: &str) -> Vec<(String, Option<Value>)> {
        let cells = self.change.both().map(|(old, new)| (old.get(column), new.get(column)));
        match cells {
            Some((Some(CellValue::List(list, old)), Some(CellValue::List(_, new))))
                if list.form.holds_custom_fields() =>
            {
                let fields = lists::changed_fields(list, (old, new), self.known).into_iter();
                fields.map(|(field, old)| (format!("{column}.{field}"), old)).collect()
            }
            Some((Some(old), _)) => vec![(column.to_owned(), self.value(column, old))],
            _ => vec![(column.to_owned(), None)],
        }
    }

    fn value(&self, column: &str, old: &CellValue) -> Option<Value> {
        match old {
            CellValue::Null => Some(Value::Null),
            CellValue::Digest(_) => None,
            CellValue::Text(text) | CellValue::Number(text) | CellValue::List(_, text) => {
                Some(match self.table.list(column) {
                    Some(list) => lists::value(list, text, self.known),
                    None => text.as_str().into(),
                })
            }
        }
    }

    /// Makes the id from the row, its revision and the value that proves the occurrence. If the
    /// same value, or a row with the same key, comes back later, the revision is another one.
    fn id(&self, rule: &EventRule, occurrence: Option<&str>, evidence: &str) -> String {
        let row = self.change.row();
        let text = |column: Option<&str>| column.and_then(|c| row.text(c)).unwrap_or_default();
        let revision = self.revision.to_string();
        let of_row = [
            self.table.name,
            text(Some(self.table.key)),
            text(self.table.created),
            &revision,
            evidence,
        ];
        let which: &[&str] = match &occurrence {
            Some(occurrence) => &[*occurrence],
            None => &of_row,
        };
        ShortDigest::of([rule.event].iter().chain(which)).to_string()
    }
}

/// Applies a verdict to the marks. Returns whether the event occurred.
fn settle(verdict: DueVerdict, event: &str, marks: &mut DueMarks) -> bool {
    match verdict {
        DueVerdict::Wait => false,
        DueVerdict::Note(mark) => {
            marks.set(event, mark);
            false
        }
        DueVerdict::Tell(mark) => {
            marks.set(event, mark);
            true
        }
    }
}
