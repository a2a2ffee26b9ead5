//! `/nodes`: which processes share the database.

use super::AppState;
use super::answer::{ListAnswer, whole_list};
use super::auth::CallPrincipal;
use super::problem::ApiProblem;
use crate::store::RunningNode;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// A node: a process that uses the database.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeView {
    /// Made anew at every start.
    pub id: String,
    /// The address and port that it listens on.
    pub address: Option<String>,
    /// The version of Waybill that it runs.
    pub version: Option<String>,
    /// When it was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it last said that it is there, which it does every two seconds. After ten seconds of silence
    /// another node takes over what it held, and it is listed no more.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
    /// Whether it is the node that answers.
    pub answers: bool,
}

impl NodeView {
    fn new(node: RunningNode, answers: bool) -> Self {
        let RunningNode { id, seen_at, address, version, started_at } = node;
        Self { id: format!("{id:x}"), address, version, started_at, seen_at, answers }
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
