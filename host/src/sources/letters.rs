//! Which rows of a source are set aside, as one run knows it.

use crate::model::bad_row::{BadRow, BadRowReason};
use crate::store::RowLetter;
use std::collections::{HashMap, HashSet};

/// Most rows of one list that one run sets aside. More are a fault of the list, not of rows.
pub const MOST_BAD: usize = 100;

/// Rows that were set aside before, and by this run.
#[derive(Debug, Default)]
pub struct RowLetters {
    /// By list and row.
    pub known: HashMap<(String, String), RowLetter>,
    /// Those of this run, by list.
    bad: HashMap<String, HashSet<String>>,
}

/// What noting a bad row comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotedLetter {
    /// It is to be written.
    News,
    /// It is written already.
    Known,
    /// Too many rows of the list are bad.
    TooMany,
}

impl RowLetters {
    pub fn new(letters: Vec<RowLetter>) -> Self {
        let place = |one: &RowLetter| (one.list.clone(), one.row_id.clone());
        let known = letters.into_iter().map(|one| (place(&one), one)).collect();
        Self { known, bad: HashMap::new() }
    }

    /// Notes a bad row. One that still cannot be read is news only where a replay was asked for,
    /// which has failed then. One of which no event can be made is looked at again only when its
    /// content is another.
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

    /// Whether a row that is told now was set aside before. It is forgotten here.
    pub fn settle(&mut self, list: &str, row_id: &str) -> bool {
        !self.known.is_empty() && self.known.remove(&(list.to_owned(), row_id.to_owned())).is_some()
    }

    /// Rows of a list of which no event could be made, and of which a replay was asked for.
    pub fn invalid_replayed(&self, list: &str) -> Vec<&RowLetter> {
        let is_one = |one: &&RowLetter| {
            one.list == list
                && one.reason == BadRowReason::Invalid
                && one.replayed_at.is_some()
                && self.bad.get(list).is_none_or(|bad| !bad.contains(&one.row_id))
        };
        self.known.values().filter(is_one).collect()
    }

    /// Rows of a list that could not be read before and were not met unreadable by this run, as far
    /// as the test says so. They are forgotten here.
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

/// A list as operators know it: of a table of its own, the table's name without the key that its
/// rows are kept under.
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
