//! `/modules/{name}/logs`: shows the latest log lines of a module on the node that answers.

use super::versions;
use crate::access::scope::Scope;
use crate::api::AppState;
use crate::api::answer::{DataAnswer, data_answer};
use crate::api::auth::CallPrincipal;
use crate::api::body::QueryInput;
use crate::api::problem::ApiProblem;
use crate::settings::module_logs::{FoundLines, KeptLine, MOST_LINES};
use crate::time::timestamp::Timestamp;
use crate::wasm::ModuleRole;
use crate::wasm::guest_log::LogLevel;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The lines to show.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Only lines of this time or later.
    #[serde(default)]
    pub since: Option<String>,
    /// Only lines after this number: `last` of the previous answer.
    #[serde(default)]
    pub after: Option<u64>,
    /// Largest number of lines, 1 to 1,000. Default: 200. Without `after`, these are the newest
    /// lines; with `after`, the oldest.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// The limit if the request has none.
const USUAL_LINES: usize = 200;

/// The latest log lines of a module on one node.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModuleLogAnswer {
    /// Id of the node that answers, as in the list of nodes. Each node numbers its own lines, from
    /// 1 after its start.
    pub node: String,
    /// Value of `after` for the next request: the number of the last line in this answer, or of the
    /// last line at all if there is none here.
    pub last: u64,
    /// Number of lines after `after` that are no longer kept.
    pub missed: u64,
    /// The lines, the oldest first.
    pub lines: Vec<LogLineView>,
}

/// One line that a module wrote.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogLineView {
    /// Number of the line on this node, from 1.
    pub number: u64,
    /// Time at which the run ended.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[schema(value_type = String)]
    pub level: LogLevel,
    /// Id of the event on which the module ran. Absent for the roles of sources, which make events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Name of the flow, or of the source.
    pub flow: String,
    /// Version of the module.
    pub version: u32,
    /// The role that wrote the line: `filter`, `transform`, `route`, `source` or `puller`.
    #[schema(value_type = String)]
    pub role: ModuleRole,
    /// The text.
    pub message: String,
    /// Names and values beside the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Vec<String>>)]
    pub fields: Vec<(String, String)>,
}

impl LogLineView {
    fn new(kept: KeptLine) -> Self {
        Self {
            number: kept.number,
            at: kept.at,
            level: kept.line.level,
            event_id: kept.event.map(|event| event.to_string()),
            flow: kept.flow.to_string(),
            version: kept.version,
            role: kept.role,
            message: kept.line.message,
            fields: kept.line.fields,
        }
    }
}

/// Shows the latest log lines of a module on live events, of the node that answers. Each node keeps
/// at most 1,000 lines and 256 KiB of a module, in memory only. Also needs the scope `events:read`,
/// because lines may quote events.
#[utoipa::path(get, path = "/api/v1/modules/{name}/logs", tag = "modules", operation_id = "list_module_logs",
    params(("name" = String, Path), LogQuery),
    responses((status = 200, body = DataAnswer<ModuleLogAnswer>), (status = 403, body = ApiProblem), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn list_module_logs(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(name): Path<String>,
    QueryInput(query): QueryInput<LogQuery>,
) -> Result<Json<DataAnswer<ModuleLogAnswer>>, ApiProblem> {
    if !principal.scopes().allows_scope(Scope::EventsRead) {
        let detail =
            "the lines of a module may quote events: they need the scope `events:read` too";
        return Err(ApiProblem::forbidden(detail));
    }
    let limit = query.limit.unwrap_or(USUAL_LINES);
    if !(1..=MOST_LINES).contains(&limit) {
        return Err(ApiProblem::fault("limit", format!("a number from 1 to {MOST_LINES}")));
    }
    let since = query.since.as_deref().map(Timestamp::parse_query).transpose();
    let since = since.map_err(|error| ApiProblem::fault("since", error.to_string()))?;
    versions(&app, &name).await?;
    let log = app.live.module_logs().find_log(&name);
    let found = log.map(|log| log.find_lines(query.after, since, limit)).unwrap_or_default();
    let FoundLines { lines, missed, last } = found;
    let lines = lines.into_iter().map(LogLineView::new).collect();
    Ok(data_answer(ModuleLogAnswer { node: app.journal.node_name(), last, missed, lines }))
}
