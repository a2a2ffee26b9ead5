//! Rows of a source that cannot be read, or of which no event can be made.

use crate::time::timestamp::Timestamp;

/// Longest name of a row, and longest description of what is wrong with it, in characters.
const LONGEST: (usize, usize) = (255, 2_000);

/// Why a row is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRowReason {
    /// The database or the API does not give it in a form that can be read.
    Unreadable,
    /// It can be read, and no valid event can be made of it.
    Invalid,
}

impl BadRowReason {
    /// The word for it in a dead letter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "row_unreadable",
            Self::Invalid => "row_invalid",
        }
    }

    /// The reason behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Unreadable, Self::Invalid].into_iter().find(|reason| reason.as_str() == word)
    }
}

/// A row that is set aside, so that it does not stop the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its key; where the key cannot be read, where it stands.
    pub row_id: String,
    /// Why, in a word.
    pub reason: BadRowReason,
    /// Why, in a sentence.
    pub detail: String,
    /// When the row is from, where it says so.
    pub row_at: Option<Timestamp>,
}

impl BadRow {
    /// A row of that name, with that wrong. What neither database stores is replaced, and long
    /// texts are cut.
    pub fn new(row_id: &str, reason: BadRowReason, detail: &str) -> Self {
        let (longest_id, longest_detail) = LONGEST;
        let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Self {
            row_id: row_id.chars().map(shown).take(longest_id).collect(),
            reason,
            detail: detail.chars().map(shown).take(longest_detail).collect(),
            row_at: None,
        }
    }
}
