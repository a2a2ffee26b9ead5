//! A row as the database gives it: columns in order, each a text or null.
//!
//! A row that was kept between two scans has the same form, except that of a long text only the digest is left.

use std::borrow::Cow;

use crate::domain::hash::Hash;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// No value.
    Null,
    /// The value as text, whatever its type in the database.
    Text(String),
    /// What is kept of a long text between two scans.
    Digest(Hash),
}

impl Cell {
    /// The value, if it is there and known in full.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Digest(_) => None,
        }
    }

    /// Whether both hold the same value, also where of one only the digest was kept.
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(text), Self::Digest(hash)) | (Self::Digest(hash), Self::Text(text)) => {
                Self::digest_of(text) == *hash
            }
            _ => self == other,
        }
    }

    /// Null, an empty text or `0`, by all of which the CRM says that nothing is set.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty() || text == "0",
            Self::Digest(_) => false,
        }
    }

    /// What is kept of a text that is too long to keep.
    pub fn digest_of(text: &str) -> Hash {
        Hash::of([text])
    }
}

/// A value as the database sends it. A zero date is no date.
impl From<Option<String>> for Cell {
    fn from(value: Option<String>) -> Self {
        match value {
            Some(text) if text != "0000-00-00" && text != "0000-00-00 00:00:00" => Self::Text(text),
            Some(_) | None => Self::Null,
        }
    }
}

/// Columns and their values, in the order in which they were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    cells: Vec<(Cow<'static, str>, Cell)>,
}

impl Row {
    /// Adds a column behind the others.
    pub fn push(&mut self, column: impl Into<Cow<'static, str>>, value: impl Into<Cell>) {
        self.cells.push((column.into(), value.into()));
    }

    /// The value of a column; `None` where the row has no such column.
    pub fn get(&self, column: &str) -> Option<&Cell> {
        self.cells.iter().find(|(name, _)| name == column).map(|(_, cell)| cell)
    }

    /// The text of a column; `None` where it is null, missing or not kept.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.get(column).and_then(Cell::text)
    }

    /// Whether nothing is set in a column. One that the row does not have counts as such.
    pub fn is_empty(&self, column: &str) -> bool {
        self.get(column).is_none_or(Cell::is_empty)
    }

    /// The columns with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Cow<'static, str>, &Cell)> {
        self.cells.iter().map(|(column, cell)| (column, cell))
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        self.cells.iter().map(|(column, _)| column)
    }
}

impl<C: Into<Cow<'static, str>>, V: Into<Cell>> FromIterator<(C, V)> for Row {
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
        let text = Cell::Text("long".into());
        assert!(Cell::Digest(Cell::digest_of("long")).same_as(&text));
        assert!(!text.same_as(&Cell::Digest(Cell::digest_of("short"))));
    }

    #[test]
    fn zero_dates_are_null() {
        assert_eq!(Cell::from(Some("0000-00-00".to_owned())), Cell::Null);
        assert_eq!(Cell::from(Some("0000-00-00 00:00:00".to_owned())), Cell::Null);
        assert_eq!(Cell::from(Some("0".to_owned())), Cell::Text("0".into()));
    }
}
