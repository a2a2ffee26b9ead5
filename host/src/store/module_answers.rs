//! What hosts answered to requests of modules.
//!
//! An answer is stored before the module sees it, so a module that runs again on the same event sees
//! what it saw before, whatever crashed in between.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::error::database_error::corrupt_value;
use super::{EventStore, StoreError, statements};
use crate::model::id::{EventId, FlowId};

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleAnswer {
    /// Which request of the flow's modules on the event it answers: 0, 1, …
    pub position: u32,
    /// SHA-256 of the request, in hex.
    pub request: String,
    /// The answer as JSON.
    pub answer: String,
}

impl FromStoredRow for ModuleAnswer {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let position: i32 = row.get("position")?;
        let position = u32::try_from(position)
            .map_err(|why| corrupt_value("module_answer", "position", &why))?;
        Ok(Self { position, request: row.get("request")?, answer: row.get("answer")? })
    }
}

impl EventStore {
    /// The answers that a flow's modules had on an event, in their order.
    pub async fn list_module_answers(
        &self,
        event: EventId,
        flow: FlowId,
    ) -> Result<Vec<ModuleAnswer>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_MODULE_ANSWERS).bind(event).bind(flow);
        self.pool().fetch_all(query).await
    }

    /// Stores an answer, in the place of one that another request had at that position. Whether it
    /// was stored: not where the event no longer waits for the flow's modules, as after its
    /// erasure.
    pub async fn add_module_answer(
        &self,
        event: EventId,
        flow: FlowId,
        answer: &ModuleAnswer,
    ) -> Result<bool, StoreError> {
        let query = SqlQuery::new(statements::UPSERT_MODULE_ANSWER)
            .bind(event)
            .bind(flow)
            .bind(i32::try_from(answer.position).unwrap_or(i32::MAX))
            .bind(&answer.request)
            .bind(&answer.answer)
            .bind(self.clock().now());
        Ok(self.pool().execute(query).await? == 1)
    }
}
