//! One run of a source: what it is given, what it keeps, how it ends.

use super::letters::{MOST_BAD, NotedLetter, RowLetters, list_name};
use super::{SourceContext, database, poll, rows, schedule};
use crate::error_chain::error_chain;
use crate::ingest::accept::{AcceptError, take_source_events};
use crate::ingest::incoming::IncomingEvent;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::fault::InputFault;
use crate::model::id::SourceId;
use crate::model::source::Source;
use crate::model::source_run::{RunProgress, RunReport};
use crate::settings::source_runtime::SourceRuntime;
use crate::store;
use crate::store::EventStore;
use crate::store::sources::SourceState;
use crate::store::{KeptRow, RowHead, RowLetter, RowsSetAside, SourceChanges};
use crate::time::timestamp::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Events that are captured together, with the rows that they follow from.
pub const EVENTS: usize = 200;
/// Rows that are kept together.
const ROWS: usize = 2_000;
/// Most rows of a source that are set aside.
const LETTERS: usize = 10_000;
/// Most warnings of one run.
const WARNINGS: usize = 20;

/// Why a run did not come to its end, and what to do: a sentence for an operator, without secrets.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct RunFailed {
    why: String,
    /// Whether the content of rows is to blame, so that other rows may be read.
    is_of_content: bool,
}

impl RunFailed {
    /// For that reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_of_content: false }
    }

    /// For that reason, which is in the content of rows.
    pub fn of_content(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_of_content: true }
    }

    /// Whether the content of rows is to blame.
    pub fn is_of_content(&self) -> bool {
        self.is_of_content
    }
}

impl From<store::StoreError> for RunFailed {
    fn from(error: store::StoreError) -> Self {
        Self::new(format!("what was read cannot be kept: {}", error_chain(&error)))
    }
}

/// What was found of a row.
#[derive(Debug)]
pub struct FoundRow {
    /// The row's key, as operators know it.
    pub row_id: String,
    /// Whether nobody knows of the row yet.
    pub is_new: bool,
    /// The events that follow.
    pub events: Vec<IncomingEvent>,
    /// What is kept of it from now on.
    pub keep: RowToStore,
}

impl FoundRow {
    /// Notes that a new row is not told, so that it is told as new once an event can be made of it.
    fn mark_untold(&mut self) {
        if let RowToStore::Row(row) = &mut self.keep
            && self.is_new
        {
            rows::UNTOLD.clone_into(&mut row.head.marks);
        }
    }
}

/// What is kept of a row from now on.
#[derive(Debug)]
pub enum RowToStore {
    /// The row as it is.
    Row(KeptRow),
    /// Nothing: the row with this key is gone.
    Nothing(i64),
}

/// A run that holds its source's lease.
#[derive(Debug)]
pub struct SourceRun {
    context: Arc<SourceContext>,
    inlet: Arc<SourceRuntime>,
    /// What the source remembered when it began, as JSON.
    pub memory: String,
    report: Mutex<RunReport>,
    letters: Mutex<RowLetters>,
    /// When it began.
    pub began: Timestamp,
}

impl SourceRun {
    pub fn new(
        context: &Arc<SourceContext>,
        inlet: &Arc<SourceRuntime>,
        state: Option<&SourceState>,
        began: Timestamp,
    ) -> Self {
        let old = state.map(|state| state.report.clone()).unwrap_or_default();
        let report = RunReport { rows: 0, events: 0, warnings: Vec::new(), progress: None, ..old };
        let memory = state.map_or_else(|| "{}".to_owned(), |state| state.memory.clone());
        Self {
            context: Arc::clone(context),
            inlet: Arc::clone(inlet),
            memory,
            report: Mutex::new(report),
            letters: Mutex::default(),
            began,
        }
    }

    /// Runs, and lets go of the source. A run that is told to stop ends where it waits: what it
    /// found until then is durable, the rest is found by the next.
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
                self.inlet.health.note_success(now);
            }
            Some(Err(failed)) => {
                let why = failed.to_string();
                tracing::warn!(source = self.source().settings.name, why, "a source's run failed");
                self.inlet.health.note_failure(&why, now);
                report.error = Some(why);
            }
            None => {}
        }
        if let Err(error) = self.journal().release_source(self.id(), &report).await {
            let error = error_chain(&error);
            tracing::warn!(error, "cannot say that a source's run is over");
        }
    }

    async fn run_source(&self) -> Result<(), RunFailed> {
        let letters = self.journal().list_row_letters(self.id(), LETTERS).await?;
        *self.lock_letters() = RowLetters::new(letters);
        let settings = &self.source().settings;
        if self.inlet.locked {
            return Err(RunFailed::new(
                "its secret cannot be read with this key: give `secret` again, or start with the key it was stored with",
            ));
        }
        match (&settings.poll, &settings.database, &settings.schedule) {
            (Some(poll), ..) => poll::run_poll(self, poll, &self.context.client).await,
            (_, Some(database), _) => database::run_database(self, database).await,
            (.., Some(schedule)) => schedule::run_schedule(self, schedule).await,
            _ => Ok(()),
        }
    }

    pub fn journal(&self) -> &EventStore {
        &self.context.journal
    }

    pub fn source(&self) -> &Source {
        &self.inlet.source
    }

    pub fn id(&self) -> SourceId {
        self.inlet.source.id
    }

    pub fn secret(&self) -> Option<&str> {
        self.inlet.secret()
    }

    fn lock_report(&self) -> MutexGuard<'_, RunReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_letters(&self) -> MutexGuard<'_, RowLetters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes rows that were read.
    pub fn read(&self, rows: usize) {
        self.lock_report().rows += rows as u64;
    }

    /// Notes what is worth knowing and does not stop it.
    pub fn add_warning(&self, what: String) {
        let warnings = &mut self.lock_report().warnings;
        if warnings.len() < WARNINGS {
            warnings.push(what);
        }
    }

    /// Notes how far it is, for those who look before it is kept.
    pub fn report_progress(&self, progress: RunProgress) {
        self.lock_report().progress = Some(progress);
    }

    /// Whether an event under a second name would reach anybody.
    pub fn is_asked_for_by_name(&self, event_type: &str) -> bool {
        let topology = self.context.live.current_settings();
        !topology.matches_by_name(&self.source().settings.name, event_type).is_empty()
    }

    /// Captures what was found, and keeps the rows that it follows from, some at a time: of each
    /// row all is durable at once, or nothing.
    pub async fn capture_rows(&self, list: &str, found: Vec<FoundRow>) -> Result<(), RunFailed> {
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            let mut events = Vec::new();
            let mut changes = self.changes_of_list(list);
            for mut one in found.by_ref().take(ROWS) {
                if let Some(why) = fault(&one) {
                    if self.note_invalid(&one, &why, &mut changes.aside) == NotedLetter::TooMany {
                        // The row is not kept, so that the next run looks at it again.
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

    /// Captures events, at most [`EVENTS`], and remembers what they follow from.
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

    fn changes_of_list(&self, list: &str) -> SourceChanges {
        let aside = RowsSetAside {
            list: list_name(list).to_owned(),
            at: self.now(),
            ..RowsSetAside::default()
        };
        SourceChanges { aside, ..SourceChanges::of(self.id(), self.began, list) }
    }

    fn now(&self) -> Timestamp {
        self.journal().clock().now()
    }

    /// Sets rows of a list aside.
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

    /// Forgets what is kept of the rows of a list of which a replay was asked for, so that they are
    /// told when they are read again. Rows that cannot be read are not kept.
    pub async fn forget_replayed(&self, list: &str) -> Result<(), RunFailed> {
        let mut changes = self.changes_of_list(list);
        changes.gone = {
            let letters = self.lock_letters();
            let replayed = letters.invalid_replayed(list_name(list)).into_iter();
            replayed.map(|one| rows::number(&one.row_id)).collect()
        };
        self.commit_changes(Vec::new(), changes).await
    }

    /// Marks the rows of a list of which a replay was asked for, so that they are told when they are
    /// read again: a row that was told before as changed, another one as new. Of what changed
    /// nothing is known, because what is kept is the state of which no event could be made.
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

    /// Ends a list: rows that could not be read before, and can be now or are gone, as far as
    /// `is_settled` says, have no dead letter any more.
    pub async fn settle_list(
        &self,
        list: &str,
        is_settled: impl Fn(&RowLetter) -> bool,
    ) -> Result<(), RunFailed> {
        let mut changes = self.changes_of_list(list);
        changes.aside.settled = self.lock_letters().settled(list_name(list), is_settled);
        // The replay of those has come to nothing.
        changes.aside.bad = {
            let letters = self.lock_letters();
            let failed = letters.invalid_replayed(list_name(list)).into_iter();
            failed.map(|one| BadRow::new(&one.row_id, one.reason, &one.detail)).collect()
        };
        self.commit_changes(Vec::new(), changes).await
    }

    /// The dead letters of a list of which a replay was asked for.
    pub fn replayed_rows(&self, list: &str) -> Vec<RowLetter> {
        let letters = self.lock_letters();
        let is_replayed =
            |one: &&RowLetter| one.list == list_name(list) && one.replayed_at.is_some();
        letters.known.values().filter(is_replayed).cloned().collect()
    }

    /// Notes that no event can be made of a row. One that is gone cannot be read again, so it
    /// leaves no dead letter.
    fn note_invalid(&self, found: &FoundRow, why: &str, aside: &mut RowsSetAside) -> NotedLetter {
        match found.keep {
            RowToStore::Row(_) => {
                self.note_bad(BadRow::new(&found.row_id, BadRowReason::Invalid, why), aside)
            }
            RowToStore::Nothing(_) => {
                self.add_warning(format!("that row {:?} is gone is left out: {why}", found.row_id));
                NotedLetter::Known
            }
        }
    }

    /// Notes that a row is bad, to be written where that is news and not too many rows of its list
    /// are.
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

    /// Fails where another process has taken the source over.
    async fn commit_changes(
        &self,
        events: Vec<IncomingEvent>,
        changes: SourceChanges,
    ) -> Result<(), RunFailed> {
        let topology = self.context.live.current_settings();
        let taken =
            take_source_events(self.journal(), &topology, &self.inlet, events, changes).await;
        let fresh = taken.map_err(refused)?.ok_or_else(lost)?;
        self.lock_report().events += fresh;
        Ok(())
    }

    /// Keeps what the source remembers from now on. Fails where another process has taken the
    /// source over.
    pub async fn keep_memory(&self, memory: &str) -> Result<(), RunFailed> {
        let report = self.lock_report().clone();
        if self.journal().keep_source(self.id(), memory, &report).await? {
            return Ok(());
        }
        Err(lost())
    }
}

/// Why no event can be made of a row, where that is so.
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
        AcceptError::Invalid(faults) => {
            let first = faults.into_iter().next().map(|fault| fault.message);
            RunFailed::new(
                first.unwrap_or_else(|| "the source does not take its events".to_owned()),
            )
        }
    }
}
