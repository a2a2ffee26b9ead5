//! Events, and what their flows did.

use super::stored_event::StoredEvent;
use super::stored_json::{read_optional_raw, read_raw};
use super::window::{ListPage, ListWindow, since_id, until_id};
use crate::model::id::{EventId, FlowId};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use std::ops::ControlFlow;
use uuid::Uuid;

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only this event type.
    pub event_type: Option<String>,
    /// Only from this source.
    pub source: Option<String>,
    /// Only about this kind of resource.
    pub resource: Option<String>,
    /// Only about this resource.
    pub resource_id: Option<String>,
    /// Captured then or later.
    pub since: Option<Timestamp>,
    /// Captured earlier.
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// Whether rows are left out for another reason than their time.
    const fn is_narrow(&self) -> bool {
        self.event_type.is_some()
            || self.source.is_some()
            || self.resource.is_some()
            || self.resource_id.is_some()
    }
}

/// One run of a flow's modules on an event.
#[derive(Debug, Clone)]
pub struct PlanRun {
    /// The flow; `None` where it is about an endpoint's own `events`.
    pub flow_id: Option<FlowId>,
    /// When.
    pub at: Timestamp,
    /// What the modules said, as a JSON list.
    pub steps: Box<RawValue>,
    /// The drafts and dispatches that they returned, as a JSON list. `None` where there were none,
    /// where the event's payload was pruned, and of plans of an earlier version.
    pub contents: Option<Box<RawValue>>,
}

/// A flow that has yet to deal with an event.
#[derive(Debug, Clone)]
pub struct WaitingPlan {
    pub flow_id: FlowId,
    /// When its modules run, or the lease on that runs out.
    pub due_at: Timestamp,
    /// Whether they are running.
    pub running: bool,
    /// Failed tries so far.
    pub attempts: u32,
    /// How often the process died, or may have, while they ran.
    pub deaths: u32,
}

/// Most bytes of payload on one page of events, unless a single one has more.
const PAGE_BYTES: usize = 4 << 20;

/// Events that were read for a page.
#[derive(Default)]
struct EventRows {
    rows: Vec<StoredEvent>,
    bytes: usize,
    /// How many rows the page has, where their payloads end it.
    fitting: Option<u32>,
}

impl EventRows {
    fn add(&mut self, row: StoredEvent) -> ControlFlow<()> {
        self.bytes += row.event.size();
        let is_over = self.bytes > PAGE_BYTES && !self.rows.is_empty();
        self.rows.push(row);
        if is_over {
            // The last one only says that there is more.
            self.fitting = u32::try_from(self.rows.len() - 1).ok();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl FromStoredRow for PlanRun {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let flow: Uuid = row.get("flow_id")?;
        Ok(Self {
            flow_id: (!flow.is_nil()).then(|| FlowId::from_uuid(flow)),
            at: row.get("at")?,
            steps: read_raw(row, "plan", "steps")?,
            contents: read_optional_raw(row, "plan", "contents")?,
        })
    }
}

impl FromStoredRow for WaitingPlan {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let (attempts, deaths): (i32, i32) = (row.get("attempts")?, row.get("deaths")?);
        Ok(Self {
            flow_id: row.get("flow_id")?,
            due_at: row.get("due_at")?,
            running: row.get("running")?,
            attempts: attempts.unsigned_abs(),
            deaths: deaths.unsigned_abs(),
        })
    }
}

impl EventStore {
    /// A page of events, newest first, older than `before`. It is shorter where their payloads are
    /// large.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<ListPage<StoredEvent, EventId>, StoreError> {
        let first_at = |at| EventId::first_at(at).uuid();
        let until = until_id(filter.until, first_at);
        let bounds = before.map(EventId::uuid).into_iter().chain(until);
        let mut window = ListWindow::between(since_id(filter.since, first_at), bounds);
        if filter.is_narrow() {
            window = self.cut_window(window, statements::EVENT_FLOOR).await?;
        }
        let query = SqlQuery::new(statements::SELECT_EVENTS)
            .bind(window.before)
            .bind(window.from)
            .bind(filter.event_type.as_deref())
            .bind(filter.source.as_deref())
            .bind(filter.resource.as_deref())
            .bind(filter.resource_id.as_deref())
            .bind(filter.since)
            .bind(filter.until)
            .bind(i64::from(limit) + 1);
        let read = self.pool().fetch_while(query, EventRows::default(), EventRows::add).await?;
        let limit = read.fitting.map_or(limit, |fitting| fitting.min(limit));
        let page = window.page(read.rows, limit, |row| row.event.id.uuid());
        Ok(page.with_ids(EventId::from_uuid))
    }

    /// One event.
    pub async fn find_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.pool().fetch_optional(SqlQuery::new(statements::SELECT_EVENT).bind(id)).await
    }

    /// What the modules said of an event, run by run.
    pub async fn list_plan_runs(&self, id: EventId) -> Result<Vec<PlanRun>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_PLANS).bind(id)).await
    }

    /// The flows that have yet to deal with an event.
    pub async fn list_waiting_plans(&self, id: EventId) -> Result<Vec<WaitingPlan>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_EVENT_PLANNING).bind(id)).await
    }
}
