//! Rows of a source that cannot be read or cannot become an event.

use crate::time::timestamp::Timestamp;

/// Longest name of a row and longest description of its fault, in characters.
const LONGEST: (usize, usize) = (255, 2_000);

/// The reason why a row is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRowReason {
    /// The database or the API returned a form that cannot be read.
    Unreadable,
    /// The row was read, but no valid event can be made of it.
    Invalid,
}

impl BadRowReason {
    /// Returns the word for dead letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "row_unreadable",
            Self::Invalid => "row_invalid",
        }
    }

    /// Returns the reason with this word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Unreadable, Self::Invalid].into_iter().find(|reason| reason.as_str() == word)
    }
}

/// A row that was set aside so that it does not stop the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Key of the row, or its position if the key cannot be read.
    pub row_id: String,
    /// The reason as a word.
    pub reason: BadRowReason,
    /// The reason in a sentence.
    pub detail: String,
    /// The time of the row, if it has one.
    pub row_at: Option<Timestamp>,
    /// Its content, with which it can be replayed although nobody can read it again.
    pub content: Option<String>,
}

impl BadRow {
    /// Creates a row with a name and a fault. Control characters, which not every database can
    /// store, are replaced, and long texts are cut.
    pub fn new(row_id: &str, reason: BadRowReason, detail: &str) -> Self {
        let (longest_id, longest_detail) = LONGEST;
        let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Self {
            row_id: row_id.chars().map(shown).take(longest_id).collect(),
            reason,
            detail: detail.chars().map(shown).take(longest_detail).collect(),
            row_at: None,
            content: None,
        }
    }
}
