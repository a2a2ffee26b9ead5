//! The rows of a site, and what a question finds among them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

use super::dialect::Dialect;
use super::time;

/// The columns by which Data Builder filters, in the order in which it looks for them.
pub const TIME_COLUMNS: [&str; 7] = [
    "dateadded",
    "datecreated",
    "date_created",
    "last_updated",
    "datemodified",
    "updated_at",
    "created_at",
];

/// Lists of rows. Each row has a key, by which a test changes or removes it.
#[derive(Debug)]
pub struct Rows {
    dialect: Dialect,
    ahead: i64,
    lists: BTreeMap<String, Vec<(String, Value)>>,
}

/// A question to a list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// Only rows that are not older.
    pub(super) since: Option<i64>,
    /// How many rows to pass over.
    pub(super) skip: usize,
    /// How many to give.
    pub(super) take: usize,
}

impl Rows {
    /// No rows, in a site whose clock is so many seconds ahead of UTC.
    pub(super) fn new(dialect: Dialect, ahead: i64) -> Self {
        Self { dialect, ahead, lists: BTreeMap::new() }
    }

    /// Adds a row, or puts it in the place of the one that has this key.
    pub fn put(&mut self, list: &str, key: impl ToString + Copy, row: Value) {
        let (rows, key) = (self.lists.entry(list.to_owned()).or_default(), key.to_string());
        match rows.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = row,
            None => rows.push((key, row)),
        }
    }

    /// Takes a row away.
    pub fn remove(&mut self, list: &str, key: impl ToString + Copy) {
        let key = key.to_string();
        self.lists.entry(list.to_owned()).or_default().retain(|(known, _)| *known != key);
    }

    /// The rows that a question finds, and how many there are beside skipped and left ones.
    pub(super) fn find(&self, list: &str, wanted: Wanted) -> (Vec<Value>, usize) {
        let rows = self.lists.get(list).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<(Option<i64>, usize, &Value)> = rows
            .iter()
            .enumerate()
            .map(|(n, (_, row))| (self.time_of(list, row), n, row))
            .filter(|(at, ..)| wanted.since.is_none_or(|since| at.is_none_or(|at| at >= since)))
            .collect();
        match self.dialect {
            Dialect::Custom => found.sort_by_key(|(at, n, _)| (*at, *n)),
            Dialect::DataBuilder | Dialect::Themesic => {
                found.sort_by_key(|(at, n, _)| Reverse((*at, *n)));
            }
            Dialect::Perfexapi => found.sort_by_key(|(_, n, _)| Reverse(*n)),
        }
        let total = found.len();
        let page = found.into_iter().skip(wanted.skip).take(wanted.take);
        (page.map(|(.., row)| row.clone()).collect(), total)
    }

    /// The time of a row, by the column that this kind of site looks at.
    fn time_of(&self, list: &str, row: &Value) -> Option<i64> {
        let column = self.dialect.time_column(list);
        let columns = column.as_ref().map_or(&TIME_COLUMNS[..], std::slice::from_ref);
        let value = columns.iter().find_map(|column| row.get(column))?;
        let text = value.as_str().and_then(|text| time::unix(text, self.ahead));
        text.or_else(|| value.as_i64())
    }
}
