//! The rows of a site, and queries over them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

use super::dialect::Dialect;
use super::time;

/// The columns by which Data Builder filters, in the order of its search.
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

/// A query of a list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// Excludes older rows.
    pub(super) since: Option<i64>,
    /// Number of rows to skip.
    pub(super) skip: usize,
    /// Number of rows to return.
    pub(super) take: usize,
}

impl Rows {
    /// Creates an empty site whose clock is `ahead` seconds ahead of UTC.
    pub(super) fn new(dialect: Dialect, ahead: i64) -> Self {
        Self { dialect, ahead, lists: BTreeMap::new() }
    }

    /// Adds a row, or replaces the row with this key.
    pub fn put(&mut self, list: &str, key: impl ToString + Copy, row: Value) {
        let (rows, key) = (self.lists.entry(list.to_owned()).or_default(), key.to_string());
        match rows.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = row,
            None => rows.push((key, row)),
        }
    }

    /// Removes a row.
    pub fn remove(&mut self, list: &str, key: impl ToString + Copy) {
        let key = key.to_string();
        self.lists.entry(list.to_owned()).or_default().retain(|(known, _)| *known != key);
    }

    /// Returns the rows that a query finds, and the total number without paging.
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

    /// Returns the time of a row, from the column that this kind of site uses.
    fn time_of(&self, list: &str, row: &Value) -> Option<i64> {
        let column = self.dialect.time_column(list);
        let columns = column.as_ref().map_or(&TIME_COLUMNS[..], std::slice::from_ref);
        let value = columns.iter().find_map(|column| row.get(column))?;
        let text = value.as_str().and_then(|text| time::unix(text, self.ahead));
        text.or_else(|| value.as_i64())
    }
}
