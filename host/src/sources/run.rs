//! One run of a source, from taking up what the last run stored to releasing the lease.

use super::letters::{MOST_BAD, NotedLetter, RowLetters, list_name};
use super::{SourceContext, database, poll, puller, rows, schedule, stream};
use crate::error_chain::error_chain;
use crate::ingest::accept::{AcceptError, take_source_events};
use crate::ingest::incoming::IncomingEvent;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::fault::InputFault;
use crate::model::id::SourceId;
use crate::model::source::Source;
use crate::model::source_run::{RunProgress, RunReport};
use crate::model::timing::SourceTiming;
use crate::settings::SettingsSnapshot;
use crate::settings::source_runtime::{SourceHealth, SourceRuntime};
use crate::store;
use crate::store::EventStore;
use crate::store::sources::SourceState;
use crate::store::{KeptRow, RowHead, RowLetter, RowsSetAside, SourceChanges};
use crate::time::timestamp::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Most events that are captured in one commit, together with the rows that caused them.
pub const EVENTS: usize = 200;
/// Most rows that are stored in one commit.
const ROWS: usize = 2_000;
/// Most dead letters of rows that a run looks at.
const LETTERS: usize = 10_000;
/// Most warnings of one run.
const WARNINGS: usize = 20;

/// Why a run failed and what to do about it: a sentence for an operator, without secrets.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct RunFailed {
    why: String,
    /// Whether the content of a row caused the failure, so that other rows can still be read.
    is_of_content: bool,
}

impl RunFailed {
    /// A failure that concerns the whole table or list.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_of_content: false }
    }

    /// A failure that the content of a row caused.
    pub fn of_content(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_of_content: true }
    }

    /// Whether the content of a row caused the failure.
    pub fn is_of_content(&self) -> bool {
        self.is_of_content
    }
}

impl From<store::StoreError> for RunFailed {
    fn from(error: store::StoreError) -> Self {
        Self::new(format!("cannot store what was read: {}", error_chain(&error)))
    }
}

/// The events of one row, and what to store of the row.
#[derive(Debug)]
pub struct FoundRow {
    /// The row's key as text.
    pub row_id: String,
    /// Whether no event about this row was captured yet.
    pub is_new: bool,
    /// The events to capture.
    pub events: Vec<IncomingEvent>,
    /// What to store of the row.
    pub keep: RowToStore,
}

impl FoundRow {
    /// Marks a new row as not captured, so that it counts as new again once a valid event can be
    /// made of it.
    fn mark_untold(&mut self) {
        if let RowToStore::Row(row) = &mut self.keep
            && self.is_new
        {
            rows::UNTOLD.clone_into(&mut row.head.marks);
        }
    }
}

/// What to store of a row.
#[derive(Debug)]
pub enum RowToStore {
    /// The row as it is.
    Row(KeptRow),
    /// Nothing, because the row with this key was deleted.
    Nothing(i64),
}

/// A run that holds the lease of its source.
#[derive(Debug)]
pub struct SourceRun {
    context: Arc<SourceContext>,
    runtime: Arc<SourceRuntime>,
    /// What the last run left behind for this one, as JSON.
    pub memory: String,
    report: Mutex<RunReport>,
    letters: Mutex<RowLetters>,
    /// When the run began.
    pub began: Timestamp,
}

impl SourceRun {
    pub fn new(
        context: &Arc<SourceContext>,
        runtime: &Arc<SourceRuntime>,
        state: Option<&SourceState>,
        began: Timestamp,
    ) -> Self {
        let old = state.map(|state| state.report.clone()).unwrap_or_default();
        let report = RunReport { rows: 0, events: 0, warnings: Vec::new(), progress: None, ..old };
        let memory = state.map_or_else(|| "{}".to_owned(), |state| state.memory.clone());
        Self {
            context: Arc::clone(context),
            runtime: Arc::clone(runtime),
            memory,
            report: Mutex::new(report),
            letters: Mutex::default(),
            began,
        }
    }

    /// Runs the source, then releases its lease. A run that is told to stop ends at its next wait.
    /// What it committed until then stays, and the next run finds the rest.
    pub async fn run_and_release(self, stop: &CancellationToken) {
        let outcome = tokio::select! {
            outcome = self.run_source() => Some(outcome),
            () = stop.cancelled() => None,
        };
        let now = self.journal().clock().now();
        let mut report = self.lock_report().clone();
        report.finished_at = outcome.as_ref().map(|_| now).or(report.finished_at);
        report.progress = None;
        match outcome {
            Some(Ok(())) => {
                report.complete_until = Some(self.began);
                report.error = None;
                self.runtime.health.note_success(now);
            }
            Some(Err(failed)) => {
                let why = failed.to_string();
                tracing::warn!(source = self.source().settings.name, why, "a source's run failed");
                self.runtime.health.note_failure(&why, now);
                report.error = Some(why);
                if matches!(self.runtime.timing, Some(SourceTiming::Always)) {
                    report.failures = report.failures.saturating_add(1);
                }
            }
            None => {}
        }
        if let Err(error) = self.journal().release_source(self.id(), &report).await {
            let error = error_chain(&error);
            tracing::warn!(error, "cannot release a source after its run; its lease has to expire");
        }
    }

    async fn run_source(&self) -> Result<(), RunFailed> {
        let letters = self.journal().list_row_letters(self.id(), LETTERS).await?;
        *self.lock_letters() = RowLetters::new(letters);
        let settings = &self.source().settings;
        if self.runtime.locked {
            return Err(RunFailed::new(
                "the source's secret was stored with another key: set `secret` again, or start with that key",
            ));
        }
        if let Some(talk) = self.context.pull_talk(&self.runtime, true) {
            return Box::pin(puller::run_puller(self, talk)).await;
        }
        match (&settings.poll, &settings.database, &settings.schedule) {
            (Some(poll), ..) => poll::run_poll(self, poll, &self.context.client).await,
            (_, Some(database), _) => database::run_database(self, database).await,
            (.., Some(schedule)) => schedule::run_schedule(self, schedule).await,
            _ => Box::pin(stream::run_stream(self, &self.context.client)).await,
        }
    }

    pub fn journal(&self) -> &EventStore {
        &self.context.journal
    }

    /// Returns the settings as they are now.
    pub fn current_settings(&self) -> Arc<SettingsSnapshot> {
        self.context.live.current_settings()
    }

    /// Returns how the source is doing since the server started.
    pub fn health(&self) -> &SourceHealth {
        &self.runtime.health
    }

    pub fn source(&self) -> &Source {
        &self.runtime.source
    }

    pub fn id(&self) -> SourceId {
        self.runtime.source.id
    }

    pub fn secret(&self) -> Option<&str> {
        self.runtime.secret()
    }

    /// Returns the report of the run, for a short time.
    pub fn lock_report(&self) -> MutexGuard<'_, RunReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_letters(&self) -> MutexGuard<'_, RowLetters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts rows that were read.
    pub fn read(&self, rows: usize) {
        self.lock_report().rows += rows as u64;
    }

    /// Adds a warning to the report of the run. Further warnings are left out after the twentieth.
    pub fn add_warning(&self, what: String) {
        let warnings = &mut self.lock_report().warnings;
        if warnings.len() < WARNINGS {
            warnings.push(what);
        }
    }

    /// Sets the progress that the API shows.
    pub fn report_progress(&self, progress: RunProgress) {
        self.lock_report().progress = Some(progress);
    }

    /// Whether an endpoint or a flow subscribes to this alias of an event type.
    pub fn is_asked_for_by_name(&self, event_type: &str) -> bool {
        let snapshot = self.context.live.current_settings();
        !snapshot.matches_by_name(&self.source().settings.name, event_type).is_empty()
    }

    /// Captures events and stores the rows that caused them, in several commits. The events of a
    /// row and the row itself are always in the same commit.
    pub async fn capture_rows(&self, list: &str, found: Vec<FoundRow>) -> Result<(), RunFailed> {
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            let mut events = Vec::new();
            let mut changes = self.changes_of_list(list);
            for mut one in found.by_ref().take(ROWS) {
                if let Some(why) = fault(&one) {
                    if self.note_invalid(&one, &why, &mut changes.aside) == NotedLetter::TooMany {
                        // This row is not stored, so the next run looks at it again.
                        self.commit_changes(events, changes).await?;
                        return Err(too_many_rows(&one.row_id, &why));
                    }
                    one.mark_untold();
                } else {
                    if self.lock_letters().settle(&changes.aside.list, &one.row_id) {
                        changes.aside.settled.push(one.row_id);
                    }
                    events.extend(one.events);
                }
                match one.keep {
                    RowToStore::Row(row) => changes.put.push(row),
                    RowToStore::Nothing(key) => changes.gone.push(key),
                }
                if events.len() >= EVENTS {
                    break;
                }
            }
            self.commit_changes(events, changes).await?;
        }
        Ok(())
    }

    /// Captures events, at most [`EVENTS`] or those of one call of a module, and stores the source's memory in the same commit.
    pub async fn take_and_remember(
        &self,
        events: Vec<IncomingEvent>,
        memory: &str,
    ) -> Result<(), RunFailed> {
        let memory = Some(memory.to_owned());
        let changes = SourceChanges { memory, ..self.changes_of_list("") };
        let is_sound = |event: &IncomingEvent| {
            let fault = event.check().into_iter().next();
            if let Some(InputFault { path, message }) = &fault {
                self.add_warning(format!("{} is left out: {path}: {message}", event.event_type));
            }
            fault.is_none()
        };
        self.commit_changes(events.into_iter().filter(is_sound).collect(), changes).await
    }

    /// Returns changes of a list that change nothing yet.
    pub fn changes_of_list(&self, list: &str) -> SourceChanges {
        let aside = RowsSetAside {
            list: list_name(list).to_owned(),
            at: self.now(),
            ..RowsSetAside::default()
        };
        SourceChanges { aside, ..SourceChanges::of(self.id(), self.began, list) }
    }

    pub fn now(&self) -> Timestamp {
        self.journal().clock().now()
    }

    /// Writes a dead letter for each of these rows. Fails if the run has set aside too many rows of
    /// the list.
    pub async fn set_aside(&self, list: &str, bad: Vec<BadRow>) -> Result<(), RunFailed> {
        let mut changes = self.changes_of_list(list);
        let mut too_many = None;
        for one in bad {
            let failed = too_many_rows(&one.row_id, &one.detail);
            if self.note_bad(one, &mut changes.aside) == NotedLetter::TooMany {
                too_many = Some(failed);
            }
        }
        self.commit_changes(Vec::new(), changes).await?;
        too_many.map_or(Ok(()), Err)
    }

    /// Forgets the stored state of rows whose replay was requested, so that the run captures them
    /// again. Rows that cannot be read have no stored state.
    pub async fn forget_replayed(&self, list: &str) -> Result<(), RunFailed> {
        let mut changes = self.changes_of_list(list);
        changes.gone = {
            let letters = self.lock_letters();
            let replayed = letters.invalid_replayed(list_name(list)).into_iter();
            replayed.map(|one| rows::number(&one.row_id)).collect()
        };
        self.commit_changes(Vec::new(), changes).await
    }

    /// Marks rows whose replay was requested, so that the run captures them again: as changed if an
    /// event about the row was captured before, else as new. The event cannot say what changed,
    /// because the stored state is the one of which no event could be made.
    pub async fn reopen_replayed(&self, list: &str) -> Result<(), RunFailed> {
        let keys: Vec<i64> = {
            let letters = self.lock_letters();
            let replayed = letters.invalid_replayed(list_name(list)).into_iter();
            replayed.map(|one| rows::number(&one.row_id)).collect()
        };
        let heads = self.journal().find_row_heads(self.id(), list, &keys).await?;
        let (untold, told): (Vec<RowHead>, Vec<RowHead>) =
            heads.into_iter().partition(rows::is_untold);
        let mut changes = self.changes_of_list(list);
        changes.gone = untold.into_iter().map(|head| head.key).collect();
        changes.put = told.into_iter().map(rows::reopened).collect();
        self.commit_changes(Vec::new(), changes).await
    }

    /// Ends a list. Removes the dead letters of rows that could not be read before and that can be
    /// read now or were deleted, as far as `is_settled` agrees.
    pub async fn settle_list(
        &self,
        list: &str,
        is_settled: impl Fn(&RowLetter) -> bool,
    ) -> Result<(), RunFailed> {
        let mut changes = self.changes_of_list(list);
        changes.aside.settled = self.lock_letters().settled(list_name(list), is_settled);
        // These rows were replayed and still give no valid event.
        changes.aside.bad = {
            let letters = self.lock_letters();
            let failed = letters.invalid_replayed(list_name(list)).into_iter();
            failed.map(|one| BadRow::new(&one.row_id, one.reason, &one.detail)).collect()
        };
        self.commit_changes(Vec::new(), changes).await
    }

    /// Returns the dead letters of a list whose replay was requested.
    pub fn replayed_rows(&self, list: &str) -> Vec<RowLetter> {
        let letters = self.lock_letters();
        let is_replayed =
            |one: &&RowLetter| one.list == list_name(list) && one.replayed_at.is_some();
        letters.known.values().filter(is_replayed).cloned().collect()
    }

    /// Records that no valid event can be made of a row. A deleted row cannot be read again, so it
    /// gets a warning instead of a dead letter.
    fn note_invalid(&self, found: &FoundRow, why: &str, aside: &mut RowsSetAside) -> NotedLetter {
        match found.keep {
            RowToStore::Row(_) => {
                self.note_bad(BadRow::new(&found.row_id, BadRowReason::Invalid, why), aside)
            }
            RowToStore::Nothing(_) => {
                self.add_warning(format!(
                    "the deletion of row {:?} was not reported: {why}",
                    found.row_id
                ));
                NotedLetter::Known
            }
        }
    }

    /// Records a bad row. It is written only if it is news and the list does not have too many bad
    /// rows already.
    fn note_bad(&self, bad: BadRow, aside: &mut RowsSetAside) -> NotedLetter {
        let noted = self.lock_letters().note(&aside.list, &bad);
        if noted == NotedLetter::Known {
            return noted;
        }
        let BadRow { row_id, detail, .. } = &bad;
        self.add_warning(format!("row {row_id:?} of {} is set aside: {detail}", aside.list));
        if noted == NotedLetter::News {
            aside.bad.push(bad);
        }
        noted
    }

    /// Commits events and changes. Fails if another process has taken over the source.
    pub async fn commit_changes(
        &self,
        events: Vec<IncomingEvent>,
        changes: SourceChanges,
    ) -> Result<(), RunFailed> {
        let snapshot = self.context.live.current_settings();
        let taken =
            take_source_events(self.journal(), &snapshot, &self.runtime, events, changes).await;
        let fresh = taken.map_err(refused)?.ok_or_else(lost)?;
        self.lock_report().events += fresh;
        Ok(())
    }

    /// Stores the source's memory. Fails if another process has taken over the source.
    pub async fn keep_memory(&self, memory: &str) -> Result<(), RunFailed> {
        let report = self.lock_report().clone();
        if self.journal().keep_source(self.id(), memory, &report).await? {
            return Ok(());
        }
        Err(lost())
    }
}

/// Returns why one of the row's events is not valid, or `None` if all are.
fn fault(found: &FoundRow) -> Option<String> {
    found.events.iter().find_map(|event| {
        let InputFault { path, message } = event.check().into_iter().next()?;
        Some(format!("{}: {path}: {message}", event.event_type))
    })
}

fn too_many_rows(row_id: &str, why: &str) -> RunFailed {
    RunFailed::new(format!(
        "more than {MOST_BAD} rows cannot be read; the last is row {row_id:?}: {why}"
    ))
}

fn lost() -> RunFailed {
    RunFailed::new("another node runs this source now")
}

fn refused(refused: AcceptError) -> RunFailed {
    match refused {
        AcceptError::Journal(error) => error.into(),
        AcceptError::Log(refusal) => RunFailed::new(refusal.to_string()),
        AcceptError::Invalid(faults) => {
            let first = faults.into_iter().next().map(|fault| fault.message);
            RunFailed::new(
                first.unwrap_or_else(|| "the source does not take its events".to_owned()),
            )
        }
    }
}
