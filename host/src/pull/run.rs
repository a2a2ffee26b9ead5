//! One run of a source: what it is given, what it keeps, how it ends.

use super::{Context, database, poll, schedule};
use crate::capture::accept::{Refused, take};
use crate::capture::incoming::Incoming;
use crate::domain::id::SourceId;
use crate::domain::problem::Fault;
use crate::domain::run::{Progress, Report};
use crate::domain::source::Source;
use crate::domain::time::Timestamp;
use crate::journal::source_rows::{KeptRow, SourceChanges};
use crate::journal::sources::SourceState;
use crate::journal::{self, Journal};
use crate::topology::inlet::Inlet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Events that are captured together, with the rows that they follow from.
pub(super) const EVENTS: usize = 200;
/// Rows that are kept together.
const ROWS: usize = 2_000;
/// Most warnings of one run.
const WARNINGS: usize = 20;

/// Why a run did not come to its end, and what to do: a sentence for an operator, without secrets.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl Failed {
    /// For that reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl From<journal::Error> for Failed {
    fn from(error: journal::Error) -> Self {
        Self(format!("what was read cannot be kept: {}", journal::chain(&error)))
    }
}

/// What was found of a row.
#[derive(Debug)]
pub(super) struct Found {
    /// The events that follow.
    pub(super) events: Vec<Incoming>,
    /// What is kept of it from now on.
    pub(super) keep: Keep,
}

/// What is kept of a row from now on.
#[derive(Debug)]
pub(super) enum Keep {
    /// The row as it is.
    Row(KeptRow),
    /// Nothing: the row with this key is gone.
    Nothing(i64),
}

/// A run that holds its source's lease.
#[derive(Debug)]
pub(super) struct Run {
    context: Arc<Context>,
    inlet: Arc<Inlet>,
    /// What the source remembered when it began, as JSON.
    pub(super) memory: String,
    report: Mutex<Report>,
    /// When it began.
    pub(super) began: Timestamp,
}

impl Run {
    pub(super) fn new(
        context: &Arc<Context>,
        inlet: &Arc<Inlet>,
        state: Option<&SourceState>,
        began: Timestamp,
    ) -> Self {
        let old = state.map(|state| state.report.clone()).unwrap_or_default();
        let report = Report { rows: 0, events: 0, warnings: Vec::new(), progress: None, ..old };
        let memory = state.map_or_else(|| "{}".to_owned(), |state| state.memory.clone());
        Self {
            context: Arc::clone(context),
            inlet: Arc::clone(inlet),
            memory,
            report: Mutex::new(report),
            began,
        }
    }

    /// Runs, and lets go of the source. A run that is told to stop ends where it waits: what it found until then is
    /// durable, the rest is found by the next.
    pub(super) async fn finish(self, stop: &CancellationToken) {
        let outcome = tokio::select! {
            outcome = self.work() => Some(outcome),
            () = stop.cancelled() => None,
        };
        let now = self.journal().clock().now();
        let mut report = self.report().clone();
        report.finished_at = outcome.as_ref().map(|_| now).or(report.finished_at);
        report.progress = None;
        match outcome {
            Some(Ok(())) => {
                report.complete_until = Some(self.began);
                report.error = None;
                self.inlet.health.succeeded(now);
            }
            Some(Err(Failed(why))) => {
                tracing::warn!(source = self.source().settings.name, why, "a source's run failed");
                self.inlet.health.failed(&why, now);
                report.error = Some(why);
            }
            None => {}
        }
        if let Err(error) = self.journal().release_source(self.id(), &report).await {
            let error = journal::chain(&error);
            tracing::warn!(error, "cannot say that a source's run is over");
        }
    }

    async fn work(&self) -> Result<(), Failed> {
        let settings = &self.source().settings;
        if self.inlet.locked {
            return Err(Failed::new(
                "its secret cannot be read with this key: give `secret` again, or start with the key it was stored with",
            ));
        }
        match (&settings.poll, &settings.database, &settings.schedule) {
            (Some(poll), ..) => poll::run(self, poll, &self.context.client).await,
            (_, Some(database), _) => database::run(self, database).await,
            (.., Some(schedule)) => schedule::run(self, schedule).await,
            _ => Ok(()),
        }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.context.journal
    }

    pub(super) fn source(&self) -> &Source {
        &self.inlet.source
    }

    pub(super) fn id(&self) -> SourceId {
        self.inlet.source.id
    }

    pub(super) fn secret(&self) -> Option<&str> {
        self.inlet.secret()
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes rows that were read.
    pub(super) fn read(&self, rows: usize) {
        self.report().rows += rows as u64;
    }

    /// Notes what is worth knowing and does not stop it.
    pub(super) fn warn(&self, what: String) {
        let warnings = &mut self.report().warnings;
        if warnings.len() < WARNINGS {
            warnings.push(what);
        }
    }

    /// Notes how far it is, for those who look before it is kept.
    pub(super) fn progress(&self, progress: Progress) {
        self.report().progress = Some(progress);
    }

    /// Whether an event under a second name would reach anybody.
    pub(super) fn is_asked_for_by_name(&self, event_type: &str) -> bool {
        let topology = self.context.live.current();
        !topology.matches_by_name(&self.source().settings.name, event_type).is_empty()
    }

    /// Captures what was found, and keeps the rows that it follows from, some at a time: of each row all is durable at
    /// once, or nothing.
    pub(super) async fn take(&self, list: &str, found: Vec<Found>) -> Result<(), Failed> {
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            let mut events = Vec::new();
            let mut changes = self.changes(list);
            for one in found.by_ref().take(ROWS) {
                events.extend(one.events);
                match one.keep {
                    Keep::Row(row) => changes.put.push(row),
                    Keep::Nothing(key) => changes.gone.push(key),
                }
                if events.len() >= EVENTS {
                    break;
                }
            }
            self.commit(events, changes).await?;
        }
        Ok(())
    }

    /// Captures events, at most [`EVENTS`], and remembers what they follow from.
    pub(super) async fn take_and_remember(
        &self,
        events: Vec<Incoming>,
        memory: &str,
    ) -> Result<(), Failed> {
        let memory = Some(memory.to_owned());
        let changes = SourceChanges { memory, ..self.changes("") };
        self.commit(events, changes).await
    }

    fn changes(&self, list: &str) -> SourceChanges {
        SourceChanges::of(self.id(), self.began, list)
    }

    /// Fails where another process has taken the source over.
    async fn commit(&self, events: Vec<Incoming>, changes: SourceChanges) -> Result<(), Failed> {
        let topology = self.context.live.current();
        let events = self.sound(events);
        let taken = take(self.journal(), &topology, &self.inlet, events, changes).await;
        let fresh = taken.map_err(refused)?.ok_or_else(lost)?;
        self.report().events += fresh;
        Ok(())
    }

    /// Events that can be captured. What is wrong with others is told, and they are left out, or they would hold up all that
    /// come after them for ever.
    fn sound(&self, events: Vec<Incoming>) -> Vec<Incoming> {
        let mut sound = Vec::with_capacity(events.len());
        for event in events {
            match event.check().into_iter().next() {
                None => sound.push(event),
                Some(fault) => {
                    let id: String =
                        event.resource_id.unwrap_or_default().chars().take(60).collect();
                    let Fault { path, message } = fault;
                    self.warn(format!(
                        "{} of {id:?} is left out: {path}: {message}",
                        event.event_type
                    ));
                }
            }
        }
        sound
    }

    /// Keeps what the source remembers from now on. Fails where another process has taken the source over.
    pub(super) async fn keep(&self, memory: &str) -> Result<(), Failed> {
        let report = self.report().clone();
        if self.journal().keep_source(self.id(), memory, &report).await? {
            return Ok(());
        }
        Err(lost())
    }
}

fn lost() -> Failed {
    Failed::new("another node runs this source now")
}

fn refused(refused: Refused) -> Failed {
    match refused {
        Refused::Journal(error) => error.into(),
        Refused::Invalid(faults) => {
            let first = faults.into_iter().next().map(|fault| fault.message);
            Failed::new(first.unwrap_or_else(|| "the source does not take its events".to_owned()))
        }
    }
}
