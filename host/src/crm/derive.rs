//! From a change of a row to the events that follow.
//!
//! Nothing here reads a clock, a database or anything random: the same change gives the same events with the same ids, before and after a crash.

use jiff::civil::DateTime;
use serde_json::{Map, Value};

use super::change::Change;
use super::data;
use super::due::{self, Marks, Verdict};
use super::known::{Known, Reference};
use super::lists;
use super::options::Options;
use super::row::{Cell, Row};
use super::rules::{Data, Rule, When};
use super::snapshot::{self, Kept};
use super::tables::Table;
use crate::crypto::digest::Hash;

/// What a scan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The first one: what is there is noted, and nothing follows from it.
    Baseline,
    /// The first one, where the caller wants what is there already: each row gives what a new row gives, and no more.
    Backfill,
    /// Every later one.
    Changes,
}

/// What the rules may know besides the row.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time, in the time zone of the CRM, as its own columns have it.
    pub now: DateTime,
    /// What the CRM's settings say.
    pub options: &'a Options,
    /// What the scan is for.
    pub pass: Pass,
    /// The revision of a row that is not kept: above that of any row that is gone and may have had its key.
    pub new_revision: u32,
}

impl Context<'_> {
    /// Which of its states a row is in.
    pub fn revision(&self, old: Option<&Kept>) -> u32 {
        old.map_or(self.new_revision, |kept| kept.revision.wrapping_add(1))
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// The event type.
    pub event_type: &'static str,
    /// The event type of which this one is a second name, to be sent only to those who asked for it.
    pub alias_of: Option<&'static str>,
    /// What the event is about, such as `invoice`.
    pub resource: &'static str,
    /// The key of that record.
    pub resource_id: String,
    /// The data, as the catalogue describes it.
    pub data: Map<String, Value>,
    /// On an update, the fields with another content; `contact.email` where the row is the field `contact` of the data.
    pub changed: Vec<String>,
    /// The old values of those. A long text is not kept, and is missing here.
    pub previous: Map<String, Value>,
    /// The same for the same occurrence, also after a crash, and for no other.
    pub id: String,
}

/// What follows from a row.
#[derive(Debug, Default)]
pub struct Derivation {
    /// The events, in the order of the rules.
    pub events: Vec<Derived>,
    /// What is to be remembered of the events that time brings.
    pub marks: Marks,
}

/// What the events of a change would need of other tables, for [`derive()`].
pub fn references(table: &'static Table, old: Option<&Row>, new: Option<&Row>) -> Vec<Reference> {
    let Some(change) = Change::between(old, new) else { return Vec::new() };
    let happens =
        |rule: &&Rule| rule.when.iter().any(|when| change.is(when, table) || when.is_clock());
    let rules = table.rules.iter().filter(happens);
    let mut found: Vec<Reference> =
        rules.flat_map(|rule| data::references(rule, table, change.row())).collect();
    found.sort();
    found.dedup();
    found
}

/// What the events that time brings to an unchanged row would need of other tables, for [`passing`]. None for nearly every row.
pub fn passing_references(
    table: &'static Table,
    row: &Row,
    marks: &Marks,
    context: &Context<'_>,
) -> Vec<Reference> {
    let change = Change::Same(row);
    let is_near =
        |rule: &&Rule| rule.when.iter().any(|when| is_near(when, rule, change, marks, context));
    table.rules.iter().filter(is_near).flat_map(|rule| data::references(rule, table, row)).collect()
}

/// Whether time may have brought the event.
fn is_near(
    when: &When,
    rule: &Rule,
    change: Change<'_>,
    marks: &Marks,
    context: &Context<'_>,
) -> bool {
    if let When::Due(due) = when {
        return due::judge(due, rule.event, change, marks, context) != Verdict::Wait;
    }
    *when == When::Unanswered && due::is_ripe(change.row(), rule.event, marks, context)
}

/// What follows from a row that is new, changed or gone.
pub fn derive(
    table: &'static Table,
    old: Option<&Kept>,
    new: Option<&Row>,
    context: &Context<'_>,
    known: &Known,
) -> Derivation {
    let Some(change) = Change::between(old.map(|kept| &kept.row), new) else {
        return Derivation::default();
    };
    let revision = context.revision(old);
    let marks = old.map(|kept| kept.marks.clone()).unwrap_or_default();
    Deriving { table, change, revision, context, known }.run(marks)
}

/// What time brings to a row that is as it was. `revision` and `marks` are those of the kept row.
pub fn passing(
    table: &'static Table,
    row: &Row,
    revision: u32,
    marks: &Marks,
    context: &Context<'_>,
    known: &Known,
) -> Derivation {
    Deriving { table, change: Change::Same(row), revision, context, known }.run(marks.clone())
}

/// A change and all that is known of it.
struct Deriving<'a> {
    table: &'static Table,
    change: Change<'a>,
    revision: u32,
    context: &'a Context<'a>,
    known: &'a Known,
}

impl Deriving<'_> {
    fn run(&self, mut marks: Marks) -> Derivation {
        let mut events = Vec::new();
        for rule in self.table.rules {
            if let Some(evidence) = self.evidence(rule, &mut marks) {
                events.extend(self.tell(rule, &evidence));
            }
        }
        Derivation { events, marks }
    }

    /// Whether the event occurred, and by what: the new value that it came with.
    fn evidence(&self, rule: &Rule, marks: &mut Marks) -> Option<String> {
        rule.when.iter().find_map(|when| {
            let occurred = match self.verdict(when, rule.event, marks) {
                Some(verdict) => settle(verdict, rule.event, marks),
                None => self.happened(when),
            };
            occurred.then(|| self.value_of(when))
        })
    }

    /// What is to be done if the rule waits for time to pass.
    fn verdict(&self, when: &When, event: &str, marks: &Marks) -> Option<Verdict> {
        if let When::Due(due) = when {
            return Some(due::judge(due, event, self.change, marks, self.context));
        }
        (*when == When::Unanswered).then(|| self.judge_attempt(event, marks))
    }

    /// Whether the change is what the rule waits for, in a pass of this kind.
    fn happened(&self, when: &When) -> bool {
        let counts = match self.context.pass {
            Pass::Baseline => false,
            Pass::Backfill => matches!(when, When::New(_)),
            Pass::Changes => true,
        };
        counts && self.change.is(when, self.table)
    }

    fn judge_attempt(&self, event: &str, marks: &Marks) -> Verdict {
        let row = self.change.row();
        let is_there = !matches!(self.change, Change::Gone(_));
        if is_there && due::is_ripe(row, event, marks, self.context) {
            return due::judge_attempt(row, self.known, self.context.pass);
        }
        Verdict::Wait
    }

    /// What tells this occurrence from one that came of another content, had the scan been later.
    fn value_of(&self, when: &When) -> String {
        let row = self.change.row();
        let named = |column| format!("{column}={}", row.text(column).unwrap_or_default());
        match *when {
            When::New(_) | When::CompletesMilestone => String::new(),
            When::Gone | When::Updated => snapshot::hash(self.table, row).to_string(),
            When::Changed(column)
            | When::Renewed(column)
            | When::Leaves(column, _)
            | When::Turns(column, ..)
            | When::Becomes(column, _)
            | When::Set(column)
            | When::SetLater(column) => named(column),
            When::Due(due) => named(due.date),
            When::Unanswered => named("created_at"),
        }
    }

    fn tell(&self, rule: &Rule, evidence: &str) -> Option<Derived> {
        let told = data::tell(rule, self.table, self.change, self.known)?;
        let field = rule.data.field();
        let name =
            |column: &str| field.map_or_else(|| column.to_owned(), |f| format!("{f}.{column}"));
        let (mut changed, mut previous) = (Vec::new(), Map::new());
        for (column, old) in self.changed(rule).into_iter().flat_map(|column| self.fields(column)) {
            changed.push(name(&column));
            previous.extend(old.map(|old| (name(&column), old)));
        }
        Some(Derived {
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

    /// The columns with another content, for an event about them. Those that are ignored matter only to an event that names them.
    fn changed(&self, rule: &Rule) -> Vec<&str> {
        let is_named = |column: &str| rule.when.iter().any(|when| when.names(column));
        let is_about = |column: &&str| !self.table.ignored.contains(column) || is_named(column);
        let columns = self.change.columns(self.table).into_iter().filter(is_about);
        if matches!(rule.data, Data::Milestone) { Vec::new() } else { columns.collect() }
    }

    /// The fields that a changed column stands for, each with its old value as far as that was kept: the column itself, or
    /// those of its custom fields that changed.
    fn fields(&self, column: &str) -> Vec<(String, Option<Value>)> {
        let cells = self.change.both().map(|(old, new)| (old.get(column), new.get(column)));
        match cells {
            Some((Some(Cell::List(list, old)), Some(Cell::List(_, new)))) if list.are_fields => {
                let fields = lists::changed_fields(list, (old, new), self.known).into_iter();
                fields.map(|(field, old)| (format!("{column}.{field}"), old)).collect()
            }
            Some((Some(old), _)) => vec![(column.to_owned(), self.value(column, old))],
            _ => vec![(column.to_owned(), None)],
        }
    }

    fn value(&self, column: &str, old: &Cell) -> Option<Value> {
        match old {
            Cell::Null => Some(Value::Null),
            Cell::Digest(_) => None,
            Cell::Text(text) | Cell::Number(text) | Cell::List(_, text) => {
                Some(match self.table.list(column) {
                    Some(list) => lists::value(list, text, self.known),
                    None => text.as_str().into(),
                })
            }
        }
    }

    /// The row, which of its states, and the value that the event came with. A value that comes back later comes with another revision, and
    /// so does a row that is put back under its old key.
    fn id(&self, rule: &Rule, occurrence: Option<&str>, evidence: &str) -> String {
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
        Hash::of([rule.event].iter().chain(which)).to_string()
    }
}

/// Remembers what the verdict says; whether the event is to be told.
fn settle(verdict: Verdict, event: &str, marks: &mut Marks) -> bool {
    match verdict {
        Verdict::Wait => false,
        Verdict::Note(mark) => {
            marks.set(event, mark);
            false
        }
        Verdict::Tell(mark) => {
            marks.set(event, mark);
            true
        }
    }
}
