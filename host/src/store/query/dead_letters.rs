//! Reads the dead-letter store.

use super::window::{ListPage, ListWindow, condition, until_id};
use crate::model::delivery::DeliveryStatus;
use crate::model::id::{DeadLetterId, DeliveryId, EndpointId, EventId, FlowId, SourceId};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::error::database_error::corrupt_value;
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use uuid::Uuid;

/// A dead letter as stored.
#[derive(Debug, Clone)]
pub struct StoredDeadLetter {
    pub id: DeadLetterId,
    pub subject: DeadSubject,
    /// The reason in a word.
    pub reason: String,
    /// The reason in a sentence.
    pub detail: String,
    /// Time of the failure.
    pub created_at: Timestamp,
    /// Start of a replay that has not ended yet.
    pub replayed_at: Option<Timestamp>,
}

/// The subject of a dead letter.
#[derive(Debug, Clone)]
pub enum DeadSubject {
    /// A delivery, or an event whose modules failed.
    Event(DeadEvent),
    /// A row of a source, for which there is no event.
    Row(DeadRow),
}

impl DeadSubject {
    /// Returns the flow that planned the delivery, or whose modules failed.
    pub const fn flow(&self) -> Option<FlowId> {
        match self {
            Self::Event(dead) => dead.flow_id,
            Self::Row(_) => None,
        }
    }

    /// Returns the delivery, if the subject is one.
    pub fn delivery(&self) -> Option<DeliveryId> {
        match self {
            Self::Event(dead) => dead.delivery.map(|(delivery, _)| delivery),
            Self::Row(_) => None,
        }
    }
}

/// A delivery that died, or an event whose modules failed.
#[derive(Debug, Clone)]
pub struct DeadEvent {
    pub event_id: EventId,
    pub event_type: String,
    /// The delivery and its endpoint. `None` if the event's modules failed.
    pub delivery: Option<(DeliveryId, EndpointId)>,
    /// The flow that planned the delivery, or whose modules failed.
    pub flow_id: Option<FlowId>,
}

/// A row that a source could not read or turn into an event.
#[derive(Debug, Clone)]
pub struct DeadRow {
    pub source_id: SourceId,
    /// The table or list of the row.
    pub list: String,
    /// The row's key, or its position.
    pub row_id: String,
    /// Whether its content is stored, so that it is replayed without being read again.
    pub has_content: bool,
}

/// A row that is set aside with its content.
#[derive(Debug, Clone)]
pub struct RowContent {
    pub id: DeadLetterId,
    pub list: String,
    pub row_id: String,
    pub row_at: Option<Timestamp>,
    pub content: String,
}

impl FromStoredRow for RowContent {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            list: row.get("list")?,
            row_id: row.get("row_id")?,
            row_at: row.get("row_at")?,
            content: row.get("content")?,
        })
    }
}

/// Selects dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Dead letters of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Dead letters of this source: its rows, and events with its name.
    pub source: Option<(SourceId, String)>,
    /// Dead letters of this kind: `delivery`, `event` or `row`.
    pub kind: Option<&'static str>,
    /// Dead letters whose delivery has this status. A delivery that is being replayed is not dead.
    pub status: Option<DeliveryStatus>,
    /// Dead letters of this event type.
    pub event_type: Option<String>,
    /// Dead letters with this reason.
    pub reason: Option<String>,
    /// Dead letters from this time or later.
    pub since: Option<Timestamp>,
    /// Dead letters from before this time.
    pub until: Option<Timestamp>,
}

impl DeadLetterFilter {
    /// Returns whether conditions other than `until` exclude rows.
    const fn is_narrow(&self) -> bool {
        self.endpoint.is_some()
            || self.source.is_some()
            || self.kind.is_some()
            || self.status.is_some()
            || self.event_type.is_some()
            || self.reason.is_some()
            || self.since.is_some()
    }

    /// Binds the conditions, in the order of the parameters of the statements.
    fn bind_to<'q>(&'q self, query: SqlQuery<'q>) -> SqlQuery<'q> {
        let (to, endpoint) = condition(self.endpoint.map(EndpointId::uuid));
        let source = self.source.as_ref().map(|(id, name)| (name.as_str(), *id));
        let (source_name, source_id) = source.unzip();
        query
            .bind(to)
            .bind(endpoint)
            .bind(self.event_type.as_deref())
            .bind(self.reason.as_deref())
            .bind(self.since)
            .bind(self.until)
            .bind(source_name)
            .bind(source_id)
            .bind(self.kind)
            .bind(self.status.map(DeliveryStatus::code))
    }
}

impl FromStoredRow for StoredDeadLetter {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            subject: DeadSubject::from_row(row)?,
            reason: row.get("reason")?,
            detail: row.get("detail")?,
            created_at: row.get("created_at")?,
            replayed_at: row.get("replayed_at")?,
        })
    }
}

/// Number of dead letters that need the same endpoint, flow or source for their replay.
#[derive(Debug, Clone)]
pub struct LetterCount {
    pub endpoint_id: Option<EndpointId>,
    pub flow_id: Option<FlowId>,
    pub source_id: Option<SourceId>,
    pub letters: u64,
}

impl FromStoredRow for LetterCount {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let letters: i64 = row.get("letters")?;
        Ok(Self {
            endpoint_id: row.get("endpoint_id")?,
            flow_id: row.get("flow_id")?,
            source_id: row.get("source_id")?,
            letters: letters.unsigned_abs(),
        })
    }
}

impl FromStoredRow for DeadSubject {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        if let Some(source_id) = row.get("source_id")? {
            let (list, row_id) = (row.get("list")?, row.get("row_id")?);
            let has_content: i32 = row.get("has_content")?;
            let has_content = has_content != 0;
            return Ok(Self::Row(DeadRow { source_id, list, row_id, has_content }));
        }
        let event_id: Option<EventId> = row.get("event_id")?;
        let event_id = event_id.ok_or_else(|| {
            corrupt_value("dead_letter", "event_id", &"the row has no event and no source")
        })?;
        let delivery: Option<DeliveryId> = row.get("delivery_id")?;
        Ok(Self::Event(DeadEvent {
            event_id,
            event_type: row.get("event_type")?,
            delivery: delivery.zip(row.get("endpoint_id")?),
            flow_id: row.get("flow_id")?,
        }))
    }
}

impl EventStore {
    /// Returns a page of dead letters, newest first, that are older than `before`.
    pub async fn list_dead_letters(
        &self,
        filter: &DeadLetterFilter,
        before: Option<DeadLetterId>,
        limit: u32,
    ) -> Result<ListPage<StoredDeadLetter, DeadLetterId>, StoreError> {
        // There is no lower bound, because a dead letter whose replay failed keeps its id and gets
        // a later time.
        let until = until_id(filter.until, |at| DeadLetterId::first_at(at).uuid());
        let bounds = before.map(DeadLetterId::uuid).into_iter().chain(until);
        let mut window = ListWindow::between(None, bounds);
        if filter.is_narrow() {
            window = self.cut_window(window, statements::DEAD_LETTER_FLOOR).await?;
        }
        let query = filter
            .bind_to(SqlQuery::new(statements::SELECT_DEAD_LETTERS))
            .bind(window.before)
            .bind(window.from)
            .bind(i64::from(limit) + 1);
        let rows = self.pool().fetch_all(query).await?;
        let page = window.page(rows, limit, |row: &StoredDeadLetter| row.id.uuid());
        Ok(page.with_ids(DeadLetterId::from_uuid))
    }

    /// Returns the number of matching dead letters that are not being replayed.
    pub async fn count_dead_letters(&self, filter: &DeadLetterFilter) -> Result<u64, StoreError> {
        let query = filter.bind_to(SqlQuery::new(statements::COUNT_DEAD_LETTERS));
        let count: i64 = self.pool().fetch_value(query).await?;
        Ok(count.unsigned_abs())
    }

    /// Counts the matching dead letters by the objects that their replay needs.
    pub async fn count_letter_subjects(
        &self,
        filter: &DeadLetterFilter,
    ) -> Result<Vec<LetterCount>, StoreError> {
        let query = filter.bind_to(SqlQuery::new(statements::COUNT_LETTER_SUBJECTS));
        self.pool().fetch_all(query).await
    }

    /// Returns rows of a source that are being replayed from their contents, at most `limit`.
    pub async fn list_replayed_rows(
        &self,
        source: SourceId,
        limit: i64,
    ) -> Result<Vec<RowContent>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_REPLAYED_ROWS).bind(source).bind(limit);
        self.pool().fetch_all(query.promptly()).await
    }

    /// Returns rows of a source that are set aside with their contents, at most `limit` after the
    /// given one.
    pub async fn list_row_contents(
        &self,
        source: SourceId,
        after: Option<DeadLetterId>,
        limit: i64,
    ) -> Result<Vec<RowContent>, StoreError> {
        let after = after.map_or(Uuid::nil(), DeadLetterId::uuid);
        let query = SqlQuery::new(statements::SELECT_ROW_CONTENTS);
        self.pool().fetch_all(query.bind(source).bind(limit).bind(after)).await
    }

    pub async fn find_dead_letter(
        &self,
        id: DeadLetterId,
    ) -> Result<Option<StoredDeadLetter>, StoreError> {
        self.pool().fetch_optional(SqlQuery::new(statements::SELECT_DEAD_LETTER).bind(id)).await
    }
}
