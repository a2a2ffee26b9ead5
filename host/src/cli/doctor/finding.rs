//! The finding of a check.

use serde_json::{Value, json};

use crate::cli::screen::ScreenLook;
use crate::cli::screen::state::ScreenTone;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckVerdict {
    Well,
    /// The server runs, but something should be corrected.
    Warning,
    /// The server does not start, or will not work.
    Failed,
}

/// One line of the doctor's table.
#[derive(Debug)]
pub struct CheckFinding {
    pub check: &'static str,
    pub result: CheckVerdict,
    pub found: String,
    pub next: Option<String>,
}

impl CheckFinding {
    pub fn well(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, result: CheckVerdict::Well, found: found.into(), next: None }
    }

    pub fn warning(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        let next = Some(next.into());
        Self { check, result: CheckVerdict::Warning, found: found.into(), next }
    }

    pub fn failed(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { result: CheckVerdict::Failed, ..Self::warning(check, found, next) }
    }

    /// Returns the finding for programs.
    pub fn to_json(&self) -> Value {
        let result = match self.result {
            CheckVerdict::Well => "well",
            CheckVerdict::Warning => "warning",
            CheckVerdict::Failed => "failed",
        };
        json!({"check": self.check, "result": result, "found": self.found, "next": self.next})
    }

    /// Returns the finding for people: one line, and the next step on a second line.
    pub fn text(&self, look: ScreenLook) -> String {
        let tone = match self.result {
            CheckVerdict::Well => ScreenTone::Good,
            CheckVerdict::Warning => ScreenTone::Warning,
            CheckVerdict::Failed => ScreenTone::Bad,
        };
        let head = tone.paint(&format!("{:<2} {:<14}", tone.sign(look), self.check), look);
        let arrow = if look.has_signs { "→" } else { "->" };
        let next = self.next.as_ref().map(|next| {
            format!("\n{:18}{}", "", ScreenTone::Quiet.paint(&format!("{arrow} {next}"), look))
        });
        format!("{head} {}{}", self.found, next.unwrap_or_default())
    }
}
