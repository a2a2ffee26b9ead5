//! Reads events and the plans of their flows.

use super::stored_event::StoredEvent;
use super::stored_json::{read_optional_packed_raw, read_raw};
use super::window::{ListPage, ListWindow, since_id, until_id};
use crate::model::id::{EventId, FlowId};
use crate::store::db::{FromStoredRow, SqlQuery, StoredRow};
use crate::store::{EventStore, StoreError, statements};
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use std::ops::ControlFlow;
use uuid::Uuid;

/// Selects events.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Events of this type.
    pub event_type: Option<String>,
    /// Events from this source.
    pub source: Option<String>,
    /// Events about this kind of resource.
    pub resource: Option<String>,
    /// Events about this resource.
    pub resource_id: Option<String>,
    /// Events captured at this time or later.
    pub since: Option<Timestamp>,
    /// Events captured before this time.
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// Returns whether conditions other than the time exclude rows.
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
    /// The flow. `None` if the entry is about an endpoint's own `events`.
    pub flow_id: Option<FlowId>,
    pub at: Timestamp,
    /// The steps of the modules, as a JSON list.
    pub steps: Box<RawValue>,
    /// The drafts and dispatches that the modules returned, as a JSON list. `None` if there were
    /// none, if the event's payload was pruned, and for plans of an earlier version.
    pub contents: Option<Box<RawValue>>,
}

/// A flow that has not planned an event yet.
#[derive(Debug, Clone)]
pub struct WaitingPlan {
    pub flow_id: FlowId,
    /// Time at which its modules run, or at which the lease ends.
    pub due_at: Timestamp,
    /// Whether the modules are running.
    pub running: bool,
    /// Failed tries so far.
    pub attempts: u32,
    /// Number of times that the process died, or may have died, while they ran.
    pub deaths: u32,
}

/// Largest payload of one page of events in bytes, unless a single event has more.
const PAGE_BYTES: usize = 4 << 20;

/// Events that were read for a page.
#[derive(Default)]
struct EventRows {
    rows: Vec<StoredEvent>,
    bytes: usize,
    /// Number of rows in the page, if their payloads limit it.
    fitting: Option<u32>,
}

impl EventRows {
    fn add(&mut self, row: StoredEvent) -> ControlFlow<()> {
        self.bytes += row.event.size();
        let is_over = self.bytes > PAGE_BYTES && !self.rows.is_empty();
        self.rows.push(row);
        if is_over {
            // The last row only shows that there are more.
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
            contents: read_optional_packed_raw(row, "plan", "contents")?,
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
    /// Returns a page of events, newest first, that are older than `before`. The page is shorter if
    /// the payloads are large.
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

    pub async fn find_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.pool().fetch_optional(SqlQuery::new(statements::SELECT_EVENT).bind(id)).await
    }

    /// Returns the runs of modules on an event.
    pub async fn list_plan_runs(&self, id: EventId) -> Result<Vec<PlanRun>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_PLANS).bind(id)).await
    }

    /// Returns the flows that have not planned an event yet.
    pub async fn list_waiting_plans(&self, id: EventId) -> Result<Vec<WaitingPlan>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_EVENT_PLANNING).bind(id)).await
    }
}
