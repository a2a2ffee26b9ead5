//! The record of calls: who called what, from where, and what came of it.
//!
//! A call is noted in memory and rides along with the next commit: at once when [`BATCH`] have come
//! together, else within a second ([`crate::tend`]). What changed a setting is on record before it is
//! answered. So a crash loses a second of reading and capturing calls at most, and no commit is made
//! for one call.
//!
//! Memory is bounded: while the database is away [`MOST`] calls are kept, and the oldest beyond that
//! are let go, which is logged.

use crate::domain::call::{Call, TokenUsage};
use crate::journal::Journal;
use crate::journal::audit::Notes;
use std::sync::{Mutex, PoisonError};

/// Calls that are written together.
const BATCH: usize = 512;
/// Most calls that wait.
const MOST: usize = 65_536;

/// Calls on their way to the journal.
#[derive(Debug)]
pub struct Audit {
    journal: Journal,
    /// Whether any are kept.
    on: bool,
    waiting: Mutex<Vec<Call>>,
}

impl Audit {
    /// A record in that journal, or none.
    pub fn new(journal: Journal, on: bool) -> Self {
        Self { journal, on, waiting: Mutex::default() }
    }

    /// Whether calls are kept.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Notes a call.
    pub fn note(&self, call: Call) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(call);
        let full = waiting.len() >= BATCH && waiting.len().is_multiple_of(BATCH);
        let calls = full.then(|| std::mem::take(&mut *waiting));
        drop(waiting);
        if let Some(calls) = calls {
            self.send(Notes { calls, usages: Vec::new() });
        }
    }

    /// Has everything written with the next commit, and how tokens are being used.
    pub fn write(&self, usages: Vec<TokenUsage>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = std::mem::take(&mut *waiting);
        drop(waiting);
        if !calls.is_empty() || !usages.is_empty() {
            self.send(Notes { calls, usages });
        }
    }

    fn send(&self, notes: Notes) {
        // What a full queue does not take waits here; a token's state is written at its next use.
        let Err(notes) = self.journal.note(notes) else { return };
        let mut calls = notes.calls;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        calls.append(&mut waiting);
        let lost = calls.len().saturating_sub(MOST);
        calls.drain(..lost);
        *waiting = calls;
        drop(waiting);
        if lost > 0 {
            tracing::error!(lost, "the audit misses calls: the database takes no writes");
        }
    }
}
