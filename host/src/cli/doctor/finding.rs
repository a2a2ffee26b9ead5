//! The finding of a check.

use serde_json::{Value, json};

use crate::cli::screen::ScreenLook;
use crate::cli::screen::state::StateTone;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    Well,
    /// The server runs, but something should be corrected.
    Warning,
    /// The server does not start, or will not work.
    Failed,
}

/// One line of the doctor's table.
#[derive(Debug)]
pub struct Finding {
    pub check: &'static str,
    pub result: CheckResult,
    pub found: String,
    pub next: Option<String>,
}

impl Finding {
    pub fn well(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, result: CheckResult::Well, found: found.into(), next: None }
    }

    pub fn warning(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        let next = Some(next.into());
        Self { check, result: CheckResult::Warning, found: found.into(), next }
    }

    pub fn failed(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { result: CheckResult::Failed, ..Self::warning(check, found, next) }
    }

    /// Returns the finding for programs.
    pub fn to_json(&self) -> Value {
        let result = match self.result {
            CheckResult::Well => "well",
            CheckResult::Warning => "warning",
            CheckResult::Failed => "failed",
        };
        json!({"check": self.check, "result": result, "found": self.found, "next": self.next})
    }

    /// Returns the finding for people: one line, and the next step on a second line.
    pub fn text(&self, look: ScreenLook) -> String {
        let tone = match self.result {
            CheckResult::Well => StateTone::Good,
            CheckResult::Warning => StateTone::Warning,
            CheckResult::Failed => StateTone::Bad,
        };
        let head = tone.paint(&format!("{:<2} {:<14}", tone.sign(look), self.check), look);
        let arrow = if look.has_signs { "→" } else { "->" };
        let next = self.next.as_ref().map(|next| {
            format!("\n{:18}{}", "", StateTone::Quiet.paint(&format!("{arrow} {next}"), look))
        });
        format!("{head} {}{}", self.found, next.unwrap_or_default())
    }
}
