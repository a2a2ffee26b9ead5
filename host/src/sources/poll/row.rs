//! Rows of a polled list: their ids, times and contents.

use super::super::RunFailed;
use super::super::letters::MOST_BAD;
use super::super::rows::{RowFields, SourceRow};
use super::moment;
use super::page::PolledPage;
use super::plan::ListPlan;
use crate::json::members::{JsonMembers, scalar_text};
use crate::json::surrogates::replace_lone_surrogates;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::time::timestamp::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// Fields that tell the time of a row, in the order in which Data Builder looks for them.
const TIMESTAMPS: [&str; 7] = [
    "dateadded",
    "datecreated",
    "date_created",
    "last_updated",
    "datemodified",
    "updated_at",
    "created_at",
];
/// Fields that tell when a row was created.
const CREATIONS: [&str; 4] = ["dateadded", "datecreated", "date_created", "created_at"];
/// Fields of a CRM that are never passed on: passwords, keys, signatures, IP addresses of visitors.
const SENSITIVE: [&str; 17] = [
    "acceptance_ip",
    "email_verification_key",
    "google_auth_secret",
    "hash",
    "host",
    "imap_username",
    "last_ip",
    "new_pass_key",
    "password",
    "short_link",
    "signature",
    "stripe_id",
    "stripe_plan_id",
    "stripe_subscription_id",
    "ticketkey",
    "token",
    "two_factor_auth_code",
];

#[derive(Debug, Clone)]
pub struct PolledRow {
    pub row: SourceRow,
    /// The time of the row.
    pub at: Option<Timestamp>,
    /// The time of creation, if the row has a field for it.
    pub made: Option<Timestamp>,
}

/// The text of a row with its id and time, by which rows are ordered. The text is parsed when the
/// row is processed.
#[derive(Debug)]
pub struct UnreadRow {
    id: Box<str>,
    key: i64,
    /// When it is from.
    at: Option<Timestamp>,
    text: Box<RawValue>,
}

/// The rows of a list in one run. A row that was read several times is there once, as it was read
/// last.
#[derive(Debug, Default)]
pub struct PolledRows {
    by_key: HashMap<i64, UnreadRow>,
    /// Rows that cannot be read, by id.
    bad: BTreeMap<String, BadRow>,
    /// The memory that the rows take, in bytes.
    held: usize,
    /// The number of rows without an id.
    odd: usize,
}

/// What a page added to the rows of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddedRows {
    /// The number of rows on the page.
    pub count: usize,
    /// The number of rows that this run had not read before.
    pub fresh: usize,
    /// The times of the newest and the oldest row of the page, if all rows have a time and the
    /// newest comes first.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// The most memory that the rows of one list may take in one run, in bytes.
const MOST: usize = 96 * 1024 * 1024;
/// The memory that a row takes besides its text and its id, in bytes.
const OVERHEAD: usize = 192;
/// The largest tree into which a row is parsed, in bytes. Only rows of a megabyte or more come
/// near.
const LARGEST_TREE: usize = 32 * 1024 * 1024;
/// The approximate memory that each value of a tree takes, in bytes.
const TREE_NODE: usize = 72;

impl PolledRows {
    /// Adds the rows of a page. `others` are held in memory at the same time, so they count too.
    pub fn add(
        &mut self,
        plan: &ListPlan,
        page: &PolledPage,
        others: &Self,
    ) -> Result<AddedRows, RunFailed> {
        let mut added = AddedRows::default();
        let mut times = Vec::new();
        added.count = page.each_row(|text| {
            let row = match UnreadRow::read(plan, text) {
                Ok(Some(row)) => row,
                Ok(None) => {
                    self.odd += 1;
                    return Ok(());
                }
                Err(why) => {
                    let bad = bad_row(plan, text, &why);
                    added.fresh += usize::from(self.bad.insert(bad.row_id.clone(), bad).is_none());
                    return self.check(others);
                }
            };
            times.push(row.at);
            added.fresh += usize::from(self.insert(row));
            self.check(others)
        })?;
        let times: Option<Vec<Timestamp>> = times.into_iter().collect();
        let times = times.filter(|times| times.is_sorted_by(|newer, older| newer >= older));
        added.span = times.and_then(|times| times.first().copied().zip(times.last().copied()));
        Ok(added)
    }

    fn check(&self, others: &Self) -> Result<(), RunFailed> {
        if self.bad.len() > MOST_BAD {
            return Err(too_many(self.bad.values()));
        }
        if self.held + others.held <= MOST {
            return Ok(());
        }
        let most = MOST >> 20;
        Err(RunFailed::new(format!(
            "one run would hold more than {most} MiB of rows; begin later by `start`, or poll more often"
        )))
    }

    /// Adds a row. Returns whether this run had not read it before.
    fn insert(&mut self, row: UnreadRow) -> bool {
        self.held += row.cost();
        let before = self.by_key.insert(row.key, row);
        self.held -= before.as_ref().map_or(0, UnreadRow::cost);
        before.is_none()
    }

    /// Adds the rows of another pass.
    pub fn extend(&mut self, other: Self) {
        self.odd = self.odd.max(other.odd);
        self.bad.extend(other.bad);
        for row in other.by_key.into_values() {
            self.insert(row);
        }
    }

    /// Whether a second pass of the same size would exceed the memory bound.
    pub const fn is_large(&self) -> bool {
        self.held > MOST / 2
    }

    pub fn len(&self) -> usize {
        self.by_key.len() + self.bad.len()
    }

    /// Returns the rows that cannot be read.
    pub fn bad_rows(&self) -> Vec<BadRow> {
        self.bad.values().cloned().collect()
    }

    /// Returns the ids of the rows that can be read.
    pub fn good_ids(&self) -> impl Iterator<Item = &str> {
        self.by_key.values().map(|row| &*row.id)
    }

    /// Explains why rows without an id were left out, if there were any. Fails if every row was.
    pub fn explain_left_out(&self, plan: &ListPlan) -> Result<Option<String>, RunFailed> {
        if self.odd == 0 {
            return Ok(None);
        }
        let (odd, fields) = (self.odd, plan.keys.join(" or "));
        let what = format!(
            "{}: {odd} rows are no objects, or have no field {fields}, and are left out; say which field \
             identifies a row by `key` of the list",
            plan.list
        );
        if self.len() == 0 { Err(RunFailed::new(what)) } else { Ok(Some(what)) }
    }

    /// Returns the time of the newest row.
    pub fn newest_time(&self) -> Option<Timestamp> {
        self.by_key.values().filter_map(|row| row.at).max()
    }

    /// Returns the rows ordered by time, and by id where times are equal.
    pub fn oldest_first(self) -> Vec<UnreadRow> {
        let mut rows: Vec<UnreadRow> = self.by_key.into_values().collect();
        rows.sort_unstable_by_key(|row| (row.at, row.key));
        rows
    }
}

/// Splits rows into batches of at most `most` rows and `bytes` of text. Each has at least one row.
pub fn batches(
    rows: &[UnreadRow],
    most: usize,
    bytes: usize,
) -> impl Iterator<Item = &[UnreadRow]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |row: &&UnreadRow| {
            size += row.text.get().len();
            size <= bytes
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1).min(rest.len());
        let (batch, left) = rest.split_at(count);
        rest = left;
        (!batch.is_empty()).then_some(batch)
    })
}

impl UnreadRow {
    /// Reads a row's id and time. Returns `None` if the row has no id.
    fn read(plan: &ListPlan, text: &RawValue) -> Result<Option<Self>, serde_json::Error> {
        let unread = |row: PolledRow| Self {
            key: row.row.key,
            id: row.row.id.into(),
            at: row.at,
            text: text.to_owned(),
        };
        Ok(PolledRow::read(plan, text.get())?.map(unread))
    }

    /// Parses the row.
    pub fn open(&self, plan: &ListPlan) -> Option<PolledRow> {
        PolledRow::read(plan, self.text.get()).ok().flatten()
    }

    fn cost(&self) -> usize {
        self.text.get().len() + self.id.len() + OVERHEAD
    }
}

/// Describes a row that cannot be read: by its id if that can be read, else by its first
/// characters.
fn bad_row(plan: &ListPlan, row: &RawValue, why: &serde_json::Error) -> BadRow {
    let mended = replace_lone_surrogates(row.get());
    let members = JsonMembers::read(&mended).ok();
    let member = |name: &str| members.as_ref().and_then(|members| members.get(name));
    let id = plan.keys.iter().find_map(|key| scalar_text(member(key)?).filter(|id| !id.is_empty()));
    let beginning = || mended.chars().take(60).collect();
    let detail = format!("it cannot be read: {why}");
    let bad = BadRow::new(&id.unwrap_or_else(beginning), BadRowReason::Unreadable, &detail);
    let time = |field: &str| {
        moment::read_moment(&serde_json::from_str(member(field)?.get()).ok()?, &plan.zone)
    };
    let row_at = match &plan.timestamp {
        Some(field) => time(field),
        None => TIMESTAMPS.iter().copied().find_map(time),
    };
    BadRow { row_at, ..bad }
}

fn too_many<'a>(bad: impl Iterator<Item = &'a BadRow>) -> RunFailed {
    let last = bad.last().map(|bad| format!("row {}: {}", bad.row_id, bad.detail));
    let last = last.unwrap_or_default();
    RunFailed::new(format!("more than {MOST_BAD} of its rows cannot be read; the last: {last}"))
}

impl PolledRow {
    fn read(plan: &ListPlan, json: &str) -> Result<Option<Self>, serde_json::Error> {
        let values = json.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
        if json.len() + values * TREE_NODE > LARGEST_TREE {
            return Ok(None);
        }
        let Value::Object(data) = serde_json::from_str(json)? else { return Ok(None) };
        Ok(Self::of(plan, data))
    }

    fn of(plan: &ListPlan, mut data: Map<String, Value>) -> Option<Self> {
        if plan.is_crm {
            data.retain(|field, _| !SENSITIVE.contains(&field.as_str()));
        }
        let id = plan.keys.iter().find_map(|key| text(data.get(key)?))?;
        let time = |field: &str| moment::read_moment(data.get(field)?, &plan.zone);
        let at = match &plan.timestamp {
            Some(field) => time(field),
            None => TIMESTAMPS.iter().copied().find_map(time),
        };
        let made = CREATIONS.iter().copied().find_map(time);
        let written = |(field, value)| (field, to_raw_value(&value).unwrap_or_default());
        let data: RowFields = data.into_iter().map(written).collect();
        Some(Self { row: SourceRow::new(id, data), at, made })
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}
