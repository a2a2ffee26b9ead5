//! States with a sign, a word and a colour. Colour is never the only indication.

use super::ScreenLook;
use comfy_table::{Attribute, Cell, Color};

/// How much attention a state needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScreenTone {
    /// All is well.
    Good,
    /// Waits for its time, or runs.
    Waiting,
    /// Is tried again automatically, or deserves a check.
    Warning,
    /// Needs a person.
    Bad,
    /// Ended without a result.
    Quiet,
}

impl ScreenTone {
    /// Returns the sign before the word, and its substitute without UTF-8.
    const fn signs(self) -> (&'static str, &'static str) {
        match self {
            Self::Good => ("✓", "ok"),
            Self::Waiting => ("◷", ".."),
            Self::Warning => ("!", "!"),
            Self::Bad => ("✕", "XX"),
            Self::Quiet => ("⊘", "--"),
        }
    }

    /// Returns the sign that the terminal can show.
    pub const fn sign(self, look: ScreenLook) -> &'static str {
        let (sign, ascii) = self.signs();
        if look.has_signs { sign } else { ascii }
    }

    /// Returns the SGR code of its colour (ECMA-48, 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Waiting => "34",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Quiet => "2",
        }
    }

    /// Colours a text if colour is available.
    pub fn paint(self, text: &str, look: ScreenLook) -> String {
        if look.has_color {
            format!("\u{1b}[{}m{text}\u{1b}[0m", self.code())
        } else {
            text.to_owned()
        }
    }

    /// Colours a cell of a table if colour is available.
    pub fn cell(self, text: String, look: ScreenLook) -> Cell {
        let cell = Cell::new(text);
        if !look.has_color {
            return cell;
        }
        match self {
            Self::Good => cell.fg(Color::DarkGreen),
            Self::Waiting => cell.fg(Color::DarkBlue),
            Self::Warning => cell.fg(Color::DarkYellow),
            Self::Bad => cell.fg(Color::DarkRed),
            Self::Quiet => cell.add_attribute(Attribute::Dim),
        }
    }
}

/// Returns a delivery's status, or the kind of a gap, with its sign. `None` if it is unknown.
pub fn delivery_state(
    status: &str,
    attempts: u64,
    look: ScreenLook,
) -> Option<(ScreenTone, String)> {
    let (tone, signs) = match status {
        "delivered" => (ScreenTone::Good, ScreenTone::Good.signs()),
        "pending" if attempts > 0 => (ScreenTone::Warning, ("↻", "re")),
        "pending" | "leased" => (ScreenTone::Waiting, ScreenTone::Waiting.signs()),
        "dead" | "modules_failed" | "not_planned" | "unread_row" => {
            (ScreenTone::Bad, ScreenTone::Bad.signs())
        }
        "superseded" => (ScreenTone::Quiet, ("⋎", ">>")),
        "cancelled" => (ScreenTone::Quiet, ScreenTone::Quiet.signs()),
        "disabled" => (ScreenTone::Warning, ScreenTone::Warning.signs()),
        _ => return None,
    };
    let sign = if look.has_signs { signs.0 } else { signs.1 };
    Some((tone, format!("{sign} {status}")))
}
