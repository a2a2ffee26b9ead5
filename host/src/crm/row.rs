//! A row as the database gives it: columns in order, each a text or null.
//!
//! A row that was kept between two scans has the same form, except that of a long text only the
//! digest is left.

use std::borrow::Cow;

use super::lists;
use super::tables::ChildList;
use crate::crypto::digest::ShortDigest;
use crate::json::same_value::{is_same_moment, is_same_number, is_zero_date};

/// What a column of the database holds, as far as values are compared by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrmColumnKind {
    Number,
    /// Dates, with or without a time.
    Date,
    /// Anything else.
    Other,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellValue {
    /// No value.
    Null,
    /// The value as text.
    Text(String),
    /// The text of a value in a column of numbers.
    Number(String),
    /// Rows of another table as a JSON array.
    List(&'static ChildList, String),
    /// What is kept of a long text between two scans.
    Digest(ShortDigest),
}

impl CellValue {
    /// A value as the database sends it. A date without a day is none.
    pub fn read(value: Option<String>, kind: CrmColumnKind) -> Self {
        match (value, kind) {
            (Some(text), CrmColumnKind::Number) => Self::Number(text),
            (Some(text), CrmColumnKind::Date) if is_zero_date(&text) => Self::Null,
            (value, CrmColumnKind::Date | CrmColumnKind::Other | CrmColumnKind::Number) => {
                value.into()
            }
        }
    }

    /// The value, if it is there and known in full.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) | Self::List(_, text) => Some(text),
            Self::Null | Self::Digest(_) => None,
        }
    }

    /// Whether both hold the same value, also where one is written differently or only its digest
    /// was kept.
    pub fn same_as(&self, other: &Self) -> bool {
        if self == other || (self.is_nothing() && other.is_nothing()) {
            return true;
        }
        match (self, other) {
            (cell, Self::Digest(hash)) | (Self::Digest(hash), cell) => {
                // Digests of lists were made of their texts as they are, before 0.1.0 compared
                // values.
                let texts = [cell.text().map(Self::digest_of), cell.digest()];
                texts.contains(&Some(*hash))
            }
            (Self::List(list, one), Self::List(_, other)) => {
                lists::canonical(list, one) == lists::canonical(list, other)
            }
            (Self::Number(one), Self::Number(other) | Self::Text(other))
            | (Self::Text(other), Self::Number(one)) => is_same_number(one, other),
            (Self::Text(one), Self::Text(other)) => is_same_moment(one, other),
            _ => false,
        }
    }

    /// What is kept of the value instead of it.
    pub fn digest(&self) -> Option<ShortDigest> {
        match self {
            Self::List(list, text) => Some(Self::digest_of(&lists::canonical(list, text))),
            Self::Text(text) | Self::Number(text) => Some(Self::digest_of(text)),
            Self::Null | Self::Digest(_) => None,
        }
    }

    /// Whether it says that nothing is there, in one of the ways in which columns and their
    /// defaults do.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty() || is_zero_date(text),
            Self::Number(_) | Self::List(..) | Self::Digest(_) => false,
        }
    }

    /// Null, an empty text or `0`, by all of which the CRM says that nothing is set.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) | Self::Number(text) => text.is_empty() || text == "0",
            Self::List(..) | Self::Digest(_) => false,
        }
    }

    /// What is kept of a text that is too long to keep.
    pub fn digest_of(text: &str) -> ShortDigest {
        ShortDigest::of([text])
    }
}

/// A value as the database sends it. A zero date is not a date.
impl From<Option<String>> for CellValue {
    fn from(value: Option<String>) -> Self {
        match value {
            Some(text) if text != "0000-00-00" && text != "0000-00-00 00:00:00" => Self::Text(text),
            Some(_) | None => Self::Null,
        }
    }
}

/// Columns and their values, in the order in which they were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrmRow {
    cells: Vec<(Cow<'static, str>, CellValue)>,
}

impl CrmRow {
    /// Adds a column behind the others.
    pub fn push(&mut self, column: impl Into<Cow<'static, str>>, value: impl Into<CellValue>) {
        self.cells.push((column.into(), value.into()));
    }

    /// The value of a column; `None` where the row has no such column.
    pub fn get(&self, column: &str) -> Option<&CellValue> {
        self.cells.iter().find(|(name, _)| name == column).map(|(_, cell)| cell)
    }

    /// The text of a column; `None` where it is null, missing or not kept.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.get(column).and_then(CellValue::text)
    }

    /// Whether nothing is set in a column. One that the row does not have counts as such.
    pub fn is_empty(&self, column: &str) -> bool {
        self.get(column).is_none_or(CellValue::is_empty)
    }

    /// The columns with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Cow<'static, str>, &CellValue)> {
        self.cells.iter().map(|(column, cell)| (column, cell))
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        self.cells.iter().map(|(column, _)| column)
    }
}

impl<C: Into<Cow<'static, str>>, V: Into<CellValue>> FromIterator<(C, V)> for CrmRow {
    fn from_iter<I: IntoIterator<Item = (C, V)>>(cells: I) -> Self {
        let cells = cells.into_iter().map(|(column, value)| (column.into(), value.into()));
        Self { cells: cells.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_as_its_text() {
        let text = CellValue::Text("long".into());
        assert!(CellValue::Digest(CellValue::digest_of("long")).same_as(&text));
        assert!(!text.same_as(&CellValue::Digest(CellValue::digest_of("short"))));
    }

    #[test]
    fn a_value_that_is_written_differently_is_the_same() {
        let text = |text: &str| CellValue::Text(text.to_owned());
        let number = |text: &str| CellValue::Number(text.to_owned());
        for (one, other) in [
            (number("1.50"), number("1.5000")),
            (text("1"), number("1")),
            (CellValue::Null, text("")),
            (text("2026-11-00"), CellValue::Null),
            (text("2026-11-01 10:00:00"), text("2026-11-01 10:00:00.000")),
        ] {
            assert!(one.same_as(&other) && other.same_as(&one), "{one:?} {other:?}");
        }
        for (one, other) in [
            (text("1.50"), text("1.5000")),
            (text("007"), text("7")),
            (number("0"), CellValue::Null),
            (number("1"), number("2")),
            (text("a"), text("A")),
        ] {
            assert!(!one.same_as(&other) && !other.same_as(&one), "{one:?} {other:?}");
        }
    }

    #[test]
    fn zero_dates_are_null() {
        let zero = Some("2026-11-00".to_owned());
        assert_eq!(CellValue::read(zero.clone(), CrmColumnKind::Date), CellValue::Null);
        assert_ne!(CellValue::read(zero, CrmColumnKind::Other), CellValue::Null);
        assert_eq!(CellValue::from(Some("0000-00-00".to_owned())), CellValue::Null);
        assert_eq!(CellValue::from(Some("0000-00-00 00:00:00".to_owned())), CellValue::Null);
        assert_eq!(CellValue::from(Some("0".to_owned())), CellValue::Text("0".into()));
    }
}
