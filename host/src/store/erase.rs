//! Taking a record out of everything that is stored.
//!
//! SQLite overwrites what is deleted with zeros (`secure_delete`), so that it is not left in free
//! pages, and its log is copied into the file and emptied afterwards. On PostgreSQL the rows are
//! gone for every query at once; what `VACUUM`, the log and backups mean for their bytes is in
//! docs/retention.md.

use super::pool::{DatabasePool, WriteTransaction, reading, writing};
use super::{EventStore, StoreError, statements};
use crate::model::id::{EventId, SourceId};
use crate::model::record::record_ordinal;
use sqlx::types::Uuid;
use std::collections::BTreeSet;
use std::time::Duration;

/// Events that are looked at together.
const WINDOW: i64 = 20_000;
/// Events of one transaction.
const BATCH: usize = 50;
/// How often it is tried to empty SQLite's log, and the wait between two tries: somebody may be
/// reading it.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(200);

/// Which record is to be erased.
#[derive(Debug, Clone)]
pub struct RecordName {
    pub resource: String,
    /// Its id, as its source numbers it.
    pub resource_id: String,
    /// Its source; every source where this is not set.
    pub source: Option<String>,
}

/// The events of a record, and the sources that they and its state came from.
#[derive(Debug, Clone, Default)]
pub struct RecordTraces {
    pub events: Vec<EventId>,
    /// The names of the sources.
    pub sources: BTreeSet<String>,
}

/// A row that a source has kept.
#[derive(Debug, Clone)]
pub struct KeptPlace {
    pub source: SourceId,
    /// The list that the row stands in, or how its name begins.
    pub list: String,
    /// Whether that is the whole name.
    pub is_whole: bool,
    /// The row's key.
    pub key: i64,
    /// What is kept instead of its content.
    pub instead: String,
}

/// How much was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasedCounts {
    /// States of the record, one for each source.
    pub records: u64,
    pub events: u64,
    /// Runs of modules, waiting ones too.
    pub plans: u64,
    pub deliveries: u64,
    /// What modules made to be sent.
    pub messages: u64,
    pub attempts: u64,
    pub dead_letters: u64,
    /// Contents of rows that sources have kept.
    pub kept_rows: u64,
}

impl EventStore {
    /// Finds what is stored of a record. Every event is looked at, so this takes a while where
    /// there are millions.
    pub async fn find_traces(&self, name: &RecordName) -> Result<RecordTraces, StoreError> {
        let mut found = RecordTraces::default();
        let known: Vec<(String,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_RECORD_SOURCES)
                .bind(&name.resource)
                .bind(record_ordinal(&name.resource_id))
                .bind(&name.resource_id)
                .bind(name.source.as_deref())
                .fetch_all(db)
                .await?);
        found.sources.extend(known.into_iter().map(|(source,)| source));
        let (mut above, end) = (Uuid::nil(), Uuid::max());
        loop {
            let to: Option<(Uuid,)> =
                reading!(self.pool(), |db| sqlx::query_as(statements::EVENT_WINDOW)
                    .bind(above)
                    .bind(end)
                    .bind(WINDOW - 1)
                    .fetch_optional(db)
                    .await?);
            let rows: Vec<(Uuid, String)> =
                reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_EVENTS_OF_RECORD)
                    .bind(above)
                    .bind(to.map_or(end, |(to,)| to))
                    .bind(&name.resource)
                    .bind(&name.resource_id)
                    .bind(name.source.as_deref())
                    .fetch_all(db)
                    .await?);
            for (id, source) in rows {
                found.events.push(EventId::from_uuid(id));
                found.sources.insert(source);
            }
            match to {
                Some((to,)) => above = to,
                None => return Ok(found),
            }
        }
    }

    /// Whether a source keeps a row there, or a dead letter of it.
    pub async fn keeps_row(
        &self,
        place: &KeptPlace,
        resource_id: &str,
    ) -> Result<bool, StoreError> {
        let (count,): (i64,) =
            reading!(self.pool(), |db| sqlx::query_as(statements::COUNT_KEPT_ROWS)
                .bind(place.source.uuid())
                .bind(place.key)
                .bind(&place.list)
                .bind(i16::from(place.is_whole))
                .bind(resource_id)
                .fetch_one(db)
                .await?);
        Ok(count > 0)
    }

    /// How many deliveries of these events are being sent. What is in memory cannot be erased, but
    /// it is soon recorded.
    pub async fn count_being_sent(&self, events: &[EventId]) -> Result<u64, StoreError> {
        let mut being_sent = 0;
        for event in events {
            let (count,): (i64,) =
                reading!(self.pool(), |db| sqlx::query_as(statements::COUNT_BEING_SENT)
                    .bind(event.uuid())
                    .fetch_one(db)
                    .await?);
            being_sent += count.unsigned_abs();
        }
        Ok(being_sent)
    }

    /// Erases the state of a record and what was found of it; `None` if a delivery began to be sent
    /// meanwhile: then something is left, and it is to be asked again.
    pub async fn erase(
        &self,
        name: &RecordName,
        traces: &RecordTraces,
        rows: &[KeptPlace],
    ) -> Result<Option<ErasedCounts>, StoreError> {
        let mut erased = ErasedCounts::default();
        let mut tx = self.pool().begin().await?;
        erased.records = writing!(&mut tx, |db| sqlx::query(statements::ERASE_RECORD)
            .bind(&name.resource)
            .bind(record_ordinal(&name.resource_id))
            .bind(&name.resource_id)
            .bind(name.source.as_deref())
            .execute(db)
            .await?
            .rows_affected());
        for place in rows {
            erased.dead_letters +=
                writing!(&mut tx, |db| sqlx::query(statements::ERASE_ROW_LETTERS)
                    .bind(place.source.uuid())
                    .bind(&name.resource_id)
                    .bind(&place.list)
                    .bind(i16::from(place.is_whole))
                    .execute(&mut *db)
                    .await?
                    .rows_affected());
            erased.kept_rows += writing!(&mut tx, |db| sqlx::query(statements::ERASE_KEPT_ROW)
                .bind(place.source.uuid())
                .bind(place.key)
                .bind(&place.list)
                .bind(i16::from(place.is_whole))
                .bind(&place.instead)
                .execute(db)
                .await?
                .rows_affected());
        }
        tx.commit().await?;
        for batch in traces.events.chunks(BATCH) {
            let mut tx = self.pool().begin().await?;
            for event in batch {
                if !erase_event(&mut tx, *event, &mut erased).await? {
                    return Ok(None);
                }
            }
            tx.commit().await?;
        }
        Ok(Some(erased))
    }

    /// Copies SQLite's log into the file and empties it, so that nothing of what was erased is left
    /// there; `false` if it is being read all the time, when a later copying overwrites it, and on
    /// PostgreSQL, whose log is not ours.
    pub async fn empty_log(&self) -> Result<bool, StoreError> {
        if matches!(self.pool(), DatabasePool::Postgres { .. }) {
            return Ok(false);
        }
        for _ in 0..TRIES {
            if self.pool().empty_log_now().await? {
                return Ok(true);
            }
            tokio::time::sleep(WAIT).await;
        }
        Ok(false)
    }
}

/// Erases an event and all that followed from it; `false` if one of its deliveries is being sent.
async fn erase_event(
    tx: &mut WriteTransaction,
    event: EventId,
    erased: &mut ErasedCounts,
) -> Result<bool, StoreError> {
    let id = event.uuid();
    // What waits is held first, so that nobody begins to send it.
    writing!(tx, |db| {
        sqlx::query(statements::HOLD_DELIVERIES).bind(id).bind(0_i64).execute(&mut *db).await?;
    });
    let (being_sent,): (i64,) = writing!(tx, |db| sqlx::query_as(statements::COUNT_BEING_SENT)
        .bind(id)
        .fetch_one(&mut *db)
        .await?);
    if being_sent > 0 {
        return Ok(false);
    }
    let (mut waiting, mut keys) = (0, 0);
    for (text, count) in [
        (statements::ERASE_PLANNING, &mut waiting),
        (statements::ERASE_PLANS, &mut erased.plans),
        (statements::ERASE_DEAD_LETTERS, &mut erased.dead_letters),
        (statements::ERASE_MESSAGES, &mut erased.messages),
        (statements::ERASE_DEDUPE_KEYS, &mut keys),
        (statements::ERASE_ATTEMPTS, &mut erased.attempts),
        (statements::ERASE_DELIVERIES, &mut erased.deliveries),
        (statements::ERASE_EVENT, &mut erased.events),
    ] {
        *count +=
            writing!(tx, |db| sqlx::query(text).bind(id).execute(&mut *db).await?.rows_affected());
    }
    erased.plans += waiting;
    Ok(true)
}
