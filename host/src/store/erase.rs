//! Erases a record from everything that is stored.
//!
//! SQLite overwrites deleted data with zeros (`secure_delete`), so it does not remain in free
//! pages. Afterwards its log is copied into the file and emptied. On PostgreSQL the rows are gone
//! for every query at once; docs/retention.md explains the effect of `VACUUM`, the log and backups
//! on their bytes.

use super::db::{FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use super::{EventStore, StoreError, statements};
use crate::model::event::record_key;
use crate::model::id::{DeadLetterId, EventId, SourceId};
use crate::model::record::record_ordinal;
use crate::model::source_run::CAPTURE_LOG;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ops::AddAssign;
use uuid::Uuid;

/// Number of events that are examined together.
const WINDOW: i64 = 20_000;
/// Number of events in one transaction.
const BATCH: usize = 50;
/// Number of contents of dead letters that are examined together.
const CONTENTS: i64 = 64;

/// Names the record to erase.
#[derive(Debug, Clone)]
pub struct RecordName {
    pub resource: String,
    /// The record's id in its source.
    pub resource_id: String,
    /// The source of the record. `None` means every source.
    pub source: Option<String>,
}

/// The events of a record, and the sources of these events and of its state.
#[derive(Debug, Clone, Default)]
pub struct RecordTraces {
    pub events: Vec<EventId>,
    pub sources: BTreeSet<String>,
    /// Events of the capture log that are set aside with their contents.
    pub set_aside: Vec<DeadLetterId>,
}

/// The place of a row that a source has stored.
#[derive(Debug, Clone)]
pub struct KeptPlace {
    pub source: SourceId,
    /// The name of the row's list, or the beginning of that name.
    pub list: String,
    /// Whether `list` is the whole name.
    pub is_whole: bool,
    /// The list's name as operators know it. The row's dead letters are stored under this name.
    pub shown_list: String,
    pub key: i64,
    /// The text that replaces the row's content.
    pub instead: String,
}

/// Numbers of erased rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasedCounts {
    /// States of the record, one for each source.
    pub records: u64,
    pub events: u64,
    /// Runs of modules, including those that were waiting.
    pub plans: u64,
    pub deliveries: u64,
    /// Messages that modules made for sending.
    pub messages: u64,
    pub attempts: u64,
    pub dead_letters: u64,
    /// Contents of rows that sources have stored.
    pub kept_rows: u64,
    /// Values in the state of modules.
    pub state: u64,
}

impl AddAssign for ErasedCounts {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.events += more.events;
        self.plans += more.plans;
        self.deliveries += more.deliveries;
        self.messages += more.messages;
        self.attempts += more.attempts;
        self.dead_letters += more.dead_letters;
        self.kept_rows += more.kept_rows;
        self.state += more.state;
    }
}

/// An event of the record, and the name of its source.
struct ErasedEvent {
    id: EventId,
    source: String,
}

impl FromStoredRow for ErasedEvent {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { id: row.get("id")?, source: row.get("source")? })
    }
}

impl EventStore {
    /// Finds everything that is stored about a record. Reads every event, so it takes long where
    /// there are millions.
    pub async fn find_traces(&self, name: &RecordName) -> Result<RecordTraces, StoreError> {
        let mut found = RecordTraces::default();
        let query = SqlQuery::new(statements::SELECT_RECORD_SOURCES)
            .bind(&name.resource)
            .bind(record_ordinal(&name.resource_id))
            .bind(&name.resource_id)
            .bind(name.source.as_deref());
        found.sources.extend(self.pool().fetch_values::<String>(query).await?);
        let (mut above, end) = (Uuid::nil(), Uuid::max());
        loop {
            let query =
                SqlQuery::new(statements::EVENT_WINDOW).bind(above).bind(end).bind(WINDOW - 1);
            let to: Option<Uuid> = self.pool().find_value(query).await?;
            let query = SqlQuery::new(statements::SELECT_EVENTS_OF_RECORD)
                .bind(above)
                .bind(to.unwrap_or(end))
                .bind(&name.resource)
                .bind(&name.resource_id)
                .bind(name.source.as_deref());
            let events: Vec<ErasedEvent> = self.pool().fetch_all(query).await?;
            for ErasedEvent { id, source } in events {
                found.events.push(id);
                found.sources.insert(source);
            }
            match to {
                Some(to) => above = to,
                None => break,
            }
        }
        self.find_set_aside(name, &mut found).await?;
        Ok(found)
    }

    /// Finds the events of a record that are set aside with their contents.
    async fn find_set_aside(
        &self,
        name: &RecordName,
        found: &mut RecordTraces,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rows = self.list_row_contents(CAPTURE_LOG, after, CONTENTS).await?;
            for row in &rows {
                let sources = sources_in_content(&row.content, name);
                if !sources.is_empty() {
                    found.set_aside.push(row.id);
                    found.sources.extend(sources);
                }
            }
            match rows.last() {
                Some(last) => after = Some(last.id),
                None => return Ok(()),
            }
        }
    }

    /// Returns whether a source stores the row at this place, or a dead letter of it.
    pub async fn keeps_row(
        &self,
        place: &KeptPlace,
        resource_id: &str,
    ) -> Result<bool, StoreError> {
        let query = SqlQuery::new(statements::COUNT_KEPT_ROWS)
            .bind(place.source)
            .bind(place.key)
            .bind(&place.list)
            .bind(i16::from(place.is_whole))
            .bind(resource_id)
            .bind(&place.shown_list);
        let count: i64 = self.pool().fetch_value(query).await?;
        Ok(count > 0)
    }

    /// Returns the names of the lists of which a source stores rows.
    pub async fn list_kept_lists(&self, source: SourceId) -> Result<Vec<String>, StoreError> {
        let mut lists: Vec<String> = Vec::new();
        loop {
            let last = lists.last().map_or("", String::as_str);
            let query = SqlQuery::new(statements::NEXT_SOURCE_LIST).bind(source).bind(last);
            match self.pool().find_value(query).await? {
                Some(next) => lists.push(next),
                None => return Ok(lists),
            }
        }
    }

    /// Returns how many deliveries of these events are being sent. A delivery in memory cannot be
    /// erased, but its outcome is recorded soon.
    pub async fn count_being_sent(&self, events: &[EventId]) -> Result<u64, StoreError> {
        let mut being_sent = 0;
        for event in events {
            let query = SqlQuery::new(statements::COUNT_BEING_SENT).bind(*event);
            let count: i64 = self.pool().fetch_value(query).await?;
            being_sent += count.unsigned_abs();
        }
        Ok(being_sent)
    }

    /// Erases the state of a record and its traces. Returns `None` if the sending of a delivery
    /// began meanwhile; then part of the record remains, and the caller must ask again.
    pub async fn erase_record(
        &self,
        name: &RecordName,
        traces: &RecordTraces,
        rows: &[KeptPlace],
    ) -> Result<Option<ErasedCounts>, StoreError> {
        let (name, rows) = (name.clone(), rows.to_vec());
        let state = self
            .pool()
            .write(move |tx| Box::pin(async move { erase_state(tx, &name, &rows).await }));
        let mut erased = state.await?;
        for letter in &traces.set_aside {
            let delete = SqlQuery::new(statements::DELETE_DEAD_LETTER).bind(*letter);
            erased.dead_letters += self.pool().execute(delete).await?;
        }
        for batch in traces.events.chunks(BATCH) {
            let batch = batch.to_vec();
            let events = self
                .pool()
                .write(move |tx| Box::pin(async move { erase_events(tx, &batch).await }));
            match events.await {
                Ok(more) => erased += more,
                Err(StoreError::Raced) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(erased))
    }
}

/// Returns the sources of the record's events in a captured request.
fn sources_in_content(content: &str, name: &RecordName) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct RequestEvents {
        events: Vec<RequestEvent>,
    }
    #[derive(Deserialize)]
    struct RequestEvent {
        source: String,
        resource: Option<String>,
        resource_id: Option<String>,
    }
    let is_of_record = |event: &RequestEvent| {
        event.resource.as_ref() == Some(&name.resource)
            && event.resource_id.as_ref() == Some(&name.resource_id)
            && name.source.as_ref().is_none_or(|source| *source == event.source)
    };
    let request: Result<RequestEvents, _> = serde_json::from_str(content);
    let events = request.map(|request| request.events).unwrap_or_default();
    events.into_iter().filter(is_of_record).map(|event| event.source).collect()
}

/// Erases the state of a record and the rows that sources store of it.
async fn erase_state(
    tx: &mut WriteTransaction<'_>,
    name: &RecordName,
    rows: &[KeptPlace],
) -> Result<ErasedCounts, StoreError> {
    let mut erased = ErasedCounts::default();
    let record = SqlQuery::new(statements::ERASE_RECORD)
        .bind(&name.resource)
        .bind(record_ordinal(&name.resource_id))
        .bind(&name.resource_id)
        .bind(name.source.as_deref());
    erased.records = tx.execute(record).await?;
    let fields = SqlQuery::new(statements::ERASE_RECORD_FIELDS)
        .bind(&name.resource)
        .bind(record_ordinal(&name.resource_id))
        .bind(&name.resource_id)
        .bind(name.source.as_deref());
    tx.execute(fields).await?;
    let (resource, id) = (Some(name.resource.as_str()), Some(name.resource_id.as_str()));
    let source = name.source.as_deref();
    let scope = source.and_then(|source| record_key(source, resource, id)).unwrap_or_default();
    let ending = record_key("", resource, id).filter(|_| source.is_none());
    let state = SqlQuery::new(statements::ERASE_STATE_OF_RECORD);
    erased.state = tx.execute(state.bind(&scope).bind(ending.as_deref())).await?;
    for place in rows {
        let letters = SqlQuery::new(statements::ERASE_ROW_LETTERS)
            .bind(place.source)
            .bind(&name.resource_id)
            .bind(&place.shown_list);
        erased.dead_letters += tx.execute(letters).await?;
        let kept = SqlQuery::new(statements::ERASE_KEPT_ROW)
            .bind(place.source)
            .bind(place.key)
            .bind(&place.list)
            .bind(i16::from(place.is_whole))
            .bind(&place.instead);
        erased.kept_rows += tx.execute(kept).await?;
    }
    Ok(erased)
}

/// Erases events and all their consequences. Returns [`StoreError::Raced`] if one of their
/// deliveries is being sent; the transaction is then rolled back, and waiting deliveries go on
/// waiting.
async fn erase_events(
    tx: &mut WriteTransaction<'_>,
    events: &[EventId],
) -> Result<ErasedCounts, StoreError> {
    let mut erased = ErasedCounts::default();
    for event in events {
        erase_event(tx, *event, &mut erased).await?;
    }
    Ok(erased)
}

/// Number of deliveries of an event that are being sent.
struct BeingSent(i64);

impl FromStoredRow for BeingSent {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        row.get("value").map(Self)
    }
}

/// Erases an event and all its consequences, unless one of its deliveries is being sent.
async fn erase_event(
    tx: &mut WriteTransaction<'_>,
    event: EventId,
    erased: &mut ErasedCounts,
) -> Result<(), StoreError> {
    // Waiting deliveries are cancelled first, so that nobody begins to send them.
    let hold = SqlQuery::new(statements::HOLD_DELIVERIES).bind(event).bind(0_i64);
    tx.execute(hold).await?;
    let query = SqlQuery::new(statements::COUNT_BEING_SENT).bind(event);
    let being_sent: Option<BeingSent> = tx.fetch_optional(query).await?;
    if being_sent.is_some_and(|BeingSent(count)| count > 0) {
        return Err(StoreError::Raced);
    }
    let (mut waiting, mut keys, mut names, mut answers) = (0, 0, 0, 0);
    for (text, count) in [
        (statements::ERASE_PLANNING, &mut waiting),
        (statements::ERASE_PLANS, &mut erased.plans),
        (statements::ERASE_MODULE_ANSWERS, &mut answers),
        (statements::ERASE_DEAD_LETTERS, &mut erased.dead_letters),
        (statements::ERASE_MESSAGES, &mut erased.messages),
        (statements::ERASE_DEDUPE_KEYS, &mut keys),
        (statements::ERASE_CANCEL_KEYS, &mut names),
        (statements::ERASE_STATE_OF_EVENT, &mut erased.state),
        (statements::ERASE_ATTEMPTS, &mut erased.attempts),
        (statements::ERASE_DELIVERIES, &mut erased.deliveries),
        (statements::ERASE_EVENT, &mut erased.events),
    ] {
        *count += tx.execute(SqlQuery::new(text).bind(event)).await?;
    }
    erased.plans += waiting;
    Ok(())
}
