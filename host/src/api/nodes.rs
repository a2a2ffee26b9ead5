//! `/nodes`: the processes that share the database.

use super::AppState;
use super::answer::{ListAnswer, whole_list};
use super::auth::CallPrincipal;
use super::problem::ApiProblem;
use crate::store::{NOTABLE_SKEW, RunningNode};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// A node: a process that uses the database.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeView {
    /// Id of the process, which is new at every start.
    pub id: String,
    /// The address and port on which it listens.
    pub address: Option<String>,
    /// Version of Waybill on the node.
    pub version: Option<String>,
    /// Start time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// Time of its last heartbeat, which it sends every two seconds. After ten seconds without one
    /// another node takes over its work, and it is no longer listed.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
    /// Milliseconds by which its clock is ahead of the database's; negative if it is behind. A node
    /// of an earlier version does not report it. More than 1,000 should be corrected, because
    /// receivers may refuse its signatures.
    pub clock_skew_ms: Option<i64>,
    /// Whether this node answers the request.
    pub answers: bool,
}

impl NodeView {
    fn new(node: RunningNode, answers: bool) -> Self {
        let RunningNode { id, seen_at, address, version, started_at, skew_us } = node;
        let clock_skew_ms = skew_us.map(|skew| skew / 1_000);
        let id = format!("{id:x}");
        Self { id, address, version, started_at, seen_at, clock_skew_ms, answers }
    }

    /// Returns whether its clock differs from the database's by more than a second.
    pub fn has_wrong_clock(&self) -> bool {
        self.clock_skew_ms.is_some_and(|skew| skew.saturating_mul(1_000).abs() > NOTABLE_SKEW)
    }
}

/// Lists the nodes that share the database, the oldest first. On SQLite there is one.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", operation_id = "list_nodes",
    responses((status = 200, body = ListAnswer<NodeView>), (status = 401, body = ApiProblem), (status = 403, body = ApiProblem),
        (status = 503, body = ApiProblem)))]
pub async fn list_nodes(
    State(app): State<AppState>,
    _caller: CallPrincipal,
) -> Result<Json<ListAnswer<NodeView>>, ApiProblem> {
    let nodes = app.journal.list_nodes().await?;
    Ok(whole_list(nodes.into_iter().map(|(node, answers)| NodeView::new(node, answers)).collect()))
}
