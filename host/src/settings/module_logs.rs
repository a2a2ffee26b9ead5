//! The latest log lines of modules on this node: a bounded ring for each module that flows run.
//!
//! The trace of an event keeps its lines in the database. The ring lets an operator follow a module
//! while it works. It is in memory only, so it is empty after a start.

use super::ModuleStage;
use crate::model::id::EventId;
use crate::time::timestamp::Timestamp;
use crate::wasm::guest_log::clip;
use crate::wasm::{LogLine, ModuleRole, ModuleStep};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest number of lines that are kept of a module.
pub const MOST_LINES: usize = 1_000;
/// Largest total size of the lines that are kept of a module, in bytes.
pub const MOST_BYTES: usize = 256 << 10;
/// Largest size of a line's text, in bytes. The rest is cut.
const LONGEST_LINE: usize = 8 << 10;

/// One line that a module wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLine {
    /// Number of the line in this log, from 1.
    pub number: u64,
    pub at: Timestamp,
    /// The event on which the module ran. `None` in a source, which makes events.
    pub event: Option<EventId>,
    /// Name of the flow, or of the source.
    pub flow: Arc<str>,
    pub version: u32,
    pub role: ModuleRole,
    pub line: LogLine,
}

/// The origin of the lines of a run.
#[derive(Debug, Clone)]
pub struct LineOrigin<'o> {
    pub at: Timestamp,
    pub event: Option<EventId>,
    pub flow: &'o str,
    pub version: u32,
}

/// The lines that a request selects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoundLines {
    /// The oldest first.
    pub lines: Vec<KeptLine>,
    /// Number of lines after the requested number that are no longer kept.
    pub missed: u64,
    /// Number after which the next request continues.
    pub last: u64,
}

/// The log of one module.
#[derive(Debug, Default)]
pub struct ModuleLog(Mutex<LineRing>);

#[derive(Debug, Default)]
struct LineRing {
    lines: VecDeque<KeptLine>,
    bytes: usize,
    /// Number of the last line that was written. 0 before the first.
    last: u64,
}

impl ModuleLog {
    fn lock(&self) -> MutexGuard<'_, LineRing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the lines of a run. Takes the lock only if the run wrote any.
    pub fn keep_run(&self, steps: &[ModuleStep], origin: &LineOrigin<'_>) {
        if steps.iter().all(|step| step.logs.is_empty()) {
            return;
        }
        let flow: Arc<str> = Arc::from(origin.flow);
        let mut ring = self.lock();
        for step in steps {
            for line in &step.logs {
                ring.push(step.role, line, &flow, origin);
            }
        }
    }

    /// Returns the newest `limit` lines. With `after`, returns the oldest `limit` lines after that
    /// number instead, so that the next call can continue from the last one.
    pub fn find_lines(
        &self,
        after: Option<u64>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> FoundLines {
        let ring = self.lock();
        // A higher number comes from a log that was forgotten since, so every line is new.
        let after = after.filter(|after| *after <= ring.last);
        let is_wanted = |kept: &&KeptLine| {
            after.is_none_or(|after| kept.number > after)
                && since.is_none_or(|since| kept.at >= since)
        };
        let wanted = ring.lines.iter().filter(is_wanted);
        let lines: Vec<KeptLine> = if after.is_some() {
            wanted.take(limit).cloned().collect()
        } else {
            let skipped = wanted.clone().count().saturating_sub(limit);
            wanted.skip(skipped).cloned().collect()
        };
        let oldest = ring.lines.front().map_or(ring.last + 1, |kept| kept.number);
        let missed = after.map_or(0, |after| oldest.saturating_sub(after.saturating_add(1)));
        let last = lines.last().map_or(ring.last, |kept| kept.number);
        FoundLines { lines, missed, last }
    }
}

impl LineRing {
    fn push(&mut self, role: ModuleRole, line: &LogLine, flow: &Arc<str>, origin: &LineOrigin<'_>) {
        let message = clip(&line.message, LONGEST_LINE).to_owned();
        let mut line = LogLine { level: line.level, message, fields: line.fields.clone() };
        if line.size() > MOST_BYTES {
            line.fields.clear();
        }
        self.last += 1;
        self.bytes += line.size();
        let LineOrigin { at, event, version, .. } = *origin;
        let (number, flow) = (self.last, Arc::clone(flow));
        self.lines.push_back(KeptLine { number, at, event, flow, version, role, line });
        while self.lines.len() > MOST_LINES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.line.size();
        }
    }
}

/// The logs of this node's modules, by name.
#[derive(Debug, Default)]
pub struct LogBook(Mutex<HashMap<String, Arc<ModuleLog>>>);

impl LogBook {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<ModuleLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the log of a module. Creates it if it does not exist.
    pub fn open_log(&self, module: &str) -> Arc<ModuleLog> {
        Arc::clone(self.lock().entry(module.to_owned()).or_default())
    }

    /// Returns the log of a module that flows run.
    pub fn find_log(&self, module: &str) -> Option<Arc<ModuleLog>> {
        self.lock().get(module).cloned()
    }

    /// Forgets the logs of modules that none of these stages names.
    pub fn keep_used(&self, stages: &[&ModuleStage]) {
        let used: HashSet<&str> = stages.iter().map(|stage| stage.settings.name.as_str()).collect();
        self.lock().retain(|name, _| used.contains(name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::RoleVerdict;
    use crate::wasm::guest_log::LogLevel;

    fn step(messages: &[&str]) -> ModuleStep {
        let line = |message: &&str| LogLine {
            level: LogLevel::Info,
            message: (*message).to_owned(),
            fields: Vec::new(),
        };
        ModuleStep {
            role: ModuleRole::Filter,
            verdict: RoleVerdict::Kept,
            reason: None,
            micros: 1,
            logs: messages.iter().map(line).collect(),
        }
    }

    fn keep(log: &ModuleLog, second: i64, messages: &[&str]) {
        let at = Timestamp::from_micros(second * 1_000_000);
        let event = EventId::from_uuid(uuid::Uuid::nil());
        let event = Some(event);
        log.keep_run(&[step(messages)], &LineOrigin { at, event, flow: "f", version: 1 });
    }

    fn texts(found: &FoundLines) -> Vec<&str> {
        found.lines.iter().map(|kept| kept.line.message.as_str()).collect()
    }

    #[test]
    fn the_newest_lines_are_shown_and_a_follower_goes_on_after_the_last() {
        let log = ModuleLog::default();
        keep(&log, 1, &["a", "b"]);
        keep(&log, 2, &["c"]);
        let found = log.find_lines(None, None, 2);
        assert_eq!((texts(&found), found.last), (vec!["b", "c"], 3));
        assert_eq!(texts(&log.find_lines(Some(1), None, 1)), ["b"]);
        assert_eq!(texts(&log.find_lines(Some(3), None, 9)), [""; 0]);
        let since = Some(Timestamp::from_micros(2_000_000));
        assert_eq!(texts(&log.find_lines(None, since, 9)), ["c"]);
        let later = Some(Timestamp::from_micros(3_000_000));
        assert_eq!(log.find_lines(None, later, 9).last, 3);
    }

    #[test]
    fn a_follower_of_a_log_that_was_forgotten_begins_again() {
        let log = ModuleLog::default();
        keep(&log, 1, &["a", "b"]);
        let found = log.find_lines(Some(99), None, 9);
        assert_eq!((texts(&found), found.missed, found.last), (vec!["a", "b"], 0, 2));
    }

    #[test]
    fn lines_and_bytes_are_bounded_and_a_follower_learns_what_it_missed() {
        let log = ModuleLog::default();
        for _ in 0..MOST_LINES + 5 {
            keep(&log, 1, &["x"]);
        }
        let found = log.find_lines(Some(2), None, usize::MAX);
        assert_eq!((found.lines.len(), found.missed), (MOST_LINES, 3));
        let text = "y".repeat(LONGEST_LINE * 2);
        for _ in 0..100 {
            keep(&log, 1, &[&text]);
        }
        let found = log.find_lines(None, None, usize::MAX);
        assert!(found.lines.iter().all(|kept| kept.line.message.len() <= LONGEST_LINE));
        let bytes: usize = found.lines.iter().map(|kept| kept.line.size()).sum();
        assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    }
}
