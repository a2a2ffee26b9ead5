//! Stores the answers of hosts to the requests of modules.
//!
//! An answer is stored before the module receives it. A module that runs again on the same event
//! therefore receives the same answer, even after a crash in between.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::error::database_error::corrupt_value;
use super::{EventStore, StoreError, statements};
use crate::model::id::{EventId, FlowId};

/// The stored answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleAnswer {
    /// Position of the request among those that the flow's modules make for the event, from 0.
    pub position: u32,
    /// SHA-256 of the request, in hex.
    pub request: String,
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
    /// Returns the answers that a flow's modules received for an event, in order.
    pub async fn list_module_answers(
        &self,
        event: EventId,
        flow: FlowId,
    ) -> Result<Vec<ModuleAnswer>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_MODULE_ANSWERS).bind(event).bind(flow);
        self.pool().fetch_all(query).await
    }

    /// Stores an answer and replaces an answer to another request at that position. Returns `false`
    /// without storing it if the event no longer waits for the flow's modules, for example after
    /// its erasure.
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
