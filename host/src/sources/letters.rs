//! The rows of a source that are set aside as dead letters, as one run knows them.

use crate::model::bad_row::{BadRow, BadRowReason};
use crate::store::RowLetter;
use std::collections::{HashMap, HashSet};

/// Most rows of one list that one run sets aside. If there are more, the list is at fault, not its
/// rows.
pub const MOST_BAD: usize = 100;

/// The rows that earlier runs and this run set aside.
#[derive(Debug, Default)]
pub struct RowLetters {
    /// The dead letters of earlier runs, by list and row.
    pub known: HashMap<(String, String), RowLetter>,
    /// The rows that this run set aside, by list.
    bad: HashMap<String, HashSet<String>>,
}

/// What to do with a bad row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotedLetter {
    /// Write a dead letter.
    News,
    /// Nothing: its dead letter exists.
    Known,
    /// Give up the list, because too many of its rows are bad.
    TooMany,
}

impl RowLetters {
    pub fn new(letters: Vec<RowLetter>) -> Self {
        let place = |one: &RowLetter| (one.list.clone(), one.row_id.clone());
        let known = letters.into_iter().map(|one| (place(&one), one)).collect();
        Self { known, bad: HashMap::new() }
    }

    /// Records a bad row. A row that still cannot be read is news only if its replay was requested,
    /// because that replay has failed now. A row of which no valid event can be made is only
    /// checked when its content has changed, so it is always news.
    pub fn note(&mut self, list: &str, bad: &BadRow) -> NotedLetter {
        let of_list = self.bad.entry(list.to_owned()).or_default();
        if of_list.contains(&bad.row_id) {
            return NotedLetter::Known;
        }
        if of_list.len() >= MOST_BAD {
            return NotedLetter::TooMany;
        }
        of_list.insert(bad.row_id.clone());
        let known = self.known.get(&(list.to_owned(), bad.row_id.clone()));
        let is_known =
            known.is_some_and(|one| one.detail == bad.detail && one.replayed_at.is_none());
        if is_known && bad.reason == BadRowReason::Unreadable {
            NotedLetter::Known
        } else {
            NotedLetter::News
        }
    }

    /// Whether a row that is captured now was set aside before. Forgets its dead letter.
    pub fn settle(&mut self, list: &str, row_id: &str) -> bool {
        !self.known.is_empty() && self.known.remove(&(list.to_owned(), row_id.to_owned())).is_some()
    }

    /// Returns the rows of a list that gave no valid event and whose replay was requested.
    pub fn invalid_replayed(&self, list: &str) -> Vec<&RowLetter> {
        let is_one = |one: &&RowLetter| {
            one.list == list
                && one.reason == BadRowReason::Invalid
                && one.replayed_at.is_some()
                && self.bad.get(list).is_none_or(|bad| !bad.contains(&one.row_id))
        };
        self.known.values().filter(is_one).collect()
    }

    /// Returns the rows of a list that could not be read before and that this run could read or did
    /// not find, as far as `is_settled` agrees. Forgets their dead letters.
    pub fn settled(&mut self, list: &str, is_settled: impl Fn(&RowLetter) -> bool) -> Vec<String> {
        let bad = self.bad.get(list);
        let is_good = |one: &&RowLetter| {
            one.list == list
                && one.reason == BadRowReason::Unreadable
                && bad.is_none_or(|bad| !bad.contains(&one.row_id))
                && is_settled(one)
        };
        let settled: Vec<String> =
            self.known.values().filter(is_good).map(|one| one.row_id.clone()).collect();
        for row_id in &settled {
            self.known.remove(&(list.to_owned(), row_id.clone()));
        }
        settled
    }
}

/// Returns the name of a list for operators. For a custom table that is the table's name without
/// the name of its key column.
pub fn list_name(list: &str) -> &str {
    let table = list.strip_prefix("own ").and_then(|own| own.split_once('\u{1f}'));
    table.map_or(list, |(table, _)| table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(row_id: &str, detail: &str) -> BadRow {
        BadRow::new(row_id, BadRowReason::Unreadable, detail)
    }

    fn letter(row_id: &str, detail: &str) -> RowLetter {
        let (list, row_id, detail) = ("t".to_owned(), row_id.to_owned(), detail.to_owned());
        let reason = BadRowReason::Unreadable;
        RowLetter { list, row_id, reason, detail, row_at: None, replayed_at: None }
    }

    #[test]
    fn a_row_is_news_once_and_settled_when_it_is_not_bad_any_more() {
        let mut letters =
            RowLetters::new(vec![letter("1", "x"), letter("2", "x"), letter("3", "x")]);
        assert_eq!(letters.note("t", &bad("1", "x")), NotedLetter::Known);
        assert_eq!(letters.note("t", &bad("2", "y")), NotedLetter::News);
        assert_eq!(letters.note("t", &bad("9", "x")), NotedLetter::News);
        assert_eq!(letters.note("t", &bad("9", "x")), NotedLetter::Known);
        assert_eq!(letters.settled("u", |_| true), [""; 0]);
        assert_eq!(letters.settled("t", |_| true), ["3"]);
        assert_eq!(letters.settled("t", |_| true), [""; 0]);
        for n in 0..MOST_BAD {
            letters.note("many", &bad(&n.to_string(), "x"));
        }
        assert_eq!(letters.note("many", &bad("one more", "x")), NotedLetter::TooMany);
    }

    #[test]
    fn lists_are_called_as_operators_know_them() {
        assert_eq!(list_name("own sales.orders\u{1f}id"), "sales.orders");
        assert_eq!(list_name("invoices"), "invoices");
    }
}
