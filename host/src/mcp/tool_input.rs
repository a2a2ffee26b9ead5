//! Arguments of tools. The schemas that clients see are generated from these types.

use super::tool_answer::MOST_ROWS;
use super::tool_failure::ToolFailure;
use crate::api::body::parse_json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Reads the arguments of a call. A failure names the wrong argument.
pub fn read_input<T: DeserializeOwned>(given: &Value) -> Result<T, ToolFailure> {
    Ok(parse_json(given.to_string().as_bytes())?)
}

/// Returns how many rows a call asks for, at most [`MOST_ROWS`].
pub fn read_limit(limit: Option<usize>) -> Result<usize, ToolFailure> {
    match limit.unwrap_or(MOST_ROWS) {
        0 => Err(ToolFailure::wrong_argument("`limit` must be at least 1")),
        limit => Ok(limit.min(MOST_ROWS)),
    }
}

/// No arguments.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

/// Selects one event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventInput {
    /// Id of the event, `evt_…`.
    pub event_id: String,
}

/// Selects events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSearch {
    /// Events of this type, such as `invoice.paid`.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Events of the source with this name.
    pub source: Option<String>,
    /// Events about this kind of record, such as `invoice`.
    pub resource: Option<String>,
    /// Events about the record with this id.
    pub resource_id: Option<String>,
    /// Events captured at this time or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Events captured before this time: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// `next_cursor` of the previous answer, for the next page.
    pub cursor: Option<String>,
    /// Number of events, 1 to 20. Default: 20.
    pub limit: Option<usize>,
}

/// Selects failures.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureSearch {
    /// Failures of the endpoint with this name.
    pub endpoint: Option<String>,
}

/// Selects one attempt of a delivery.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttemptInput {
    /// Id of the delivery, `dlv_…`.
    pub delivery_id: String,
    /// Number of the attempt, from 1. Default: the last attempt.
    pub number: Option<u64>,
}

/// Selects dead letters. An empty object selects all.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterChoice {
    /// Dead letters of this endpoint, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Dead letters of this source, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Dead letters of this kind: `delivery`, `event` or `row`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Dead letters with this event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Dead letters with this reason, such as `retries_exhausted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Dead letters created at this time or later: RFC 3339, or Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Dead letters created before this time: RFC 3339, or Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Selects dead letters to preview.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterPreview {
    /// Filter of dead letters. Default: all.
    #[serde(default)]
    #[schema(inline)]
    pub filter: LetterChoice,
}

/// Selects dead letters to replay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LettersReplay {
    /// `filter` of the preview's answer, unchanged.
    #[schema(inline)]
    pub filter: LetterChoice,
    /// `count` of the preview's answer. If the number has changed since, nothing is replayed.
    pub count: u64,
    /// Replays per second, at least 0.001. Default: without a limit.
    pub per_second: Option<f64>,
}

/// Selects one endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointInput {
    /// Name or id of the endpoint.
    pub endpoint: String,
}

/// A trial of module versions on recent events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BacktestInput {
    /// Name or id of the flow.
    pub flow: String,
    /// Module versions to run instead of the flow's own, by module name: `{"hot-leads": 3}`.
    pub modules: BTreeMap<String, u32>,
    /// Number of the flow's newest events, 1 to 20. Default: 20.
    pub last: Option<usize>,
}

/// A request that the receiver of an endpoint got.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureInput {
    /// Name or id of the endpoint whose stored secret should have signed the request. The secret
    /// itself is never given or returned.
    pub endpoint: String,
    /// Headers of the request, by name.
    pub headers: BTreeMap<String, String>,
    /// Body of the request as received. `show_attempt` and the receiver's log have it.
    pub body: String,
    /// Time for which to check: RFC 3339, or Unix seconds. Default: now. The timestamp of a request
    /// is accepted for five minutes, so give the time of receipt for a captured request.
    pub at: Option<String>,
}

/// A configuration to compare with the present settings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigPlan {
    /// The document that `waybill apply` accepts, as JSON: `sources`, `endpoints`, `flows`,
    /// `modules`, `tokens`, `prune`.
    #[schema(value_type = Object)]
    pub document: Map<String, Value>,
}
