//! What tools take. The schema that a client sees is made from these types.

use super::tool_answer::MOST_ROWS;
use super::tool_failure::ToolFailure;
use crate::api::body::parse_json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Reads the arguments of a call; a failure names the one that is wrong.
pub fn read_input<T: DeserializeOwned>(given: &Value) -> Result<T, ToolFailure> {
    Ok(parse_json(given.to_string().as_bytes())?)
}

/// How many rows a call wants, at most [`MOST_ROWS`].
pub fn read_limit(limit: Option<usize>) -> Result<usize, ToolFailure> {
    match limit.unwrap_or(MOST_ROWS) {
        0 => Err(ToolFailure::wrong_argument("`limit` is at least 1")),
        limit => Ok(limit.min(MOST_ROWS)),
    }
}

/// Nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

/// One event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventInput {
    /// The event's id, `evt_…`.
    pub event_id: String,
}

/// Which events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSearch {
    /// Only this event type, such as `invoice.paid`.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Only from this source, by name.
    pub source: Option<String>,
    /// Only about this kind of resource, such as `invoice`.
    pub resource: Option<String>,
    /// Only about the resource with this id.
    pub resource_id: Option<String>,
    /// Captured then or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Captured earlier: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// `next_cursor` of the answer before, to go on from there.
    pub cursor: Option<String>,
    /// How many, 1 to 20; 20 where left out.
    pub limit: Option<usize>,
}

/// Which failures.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureSearch {
    /// Only of this endpoint, by name.
    pub endpoint: Option<String>,
}

/// One attempt of a delivery.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttemptInput {
    /// The delivery's id, `dlv_…`.
    pub delivery_id: String,
    /// The attempt's number, from 1; the last where left out.
    pub number: Option<u64>,
}

/// Which dead letters. An empty object means all.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterChoice {
    /// Only to this endpoint, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Only of this source, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only of this kind: `delivery`, `event` or `row`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only of this event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Only for this reason, such as `retries_exhausted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Died then or later: RFC 3339, or Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Died earlier: RFC 3339, or Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Which dead letters to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterPreview {
    /// Which dead letters; all where left out.
    #[serde(default)]
    #[schema(inline)]
    pub filter: LetterChoice,
}

/// Which dead letters to replay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LettersReplay {
    /// `filter` of the preview's answer, as it is.
    #[schema(inline)]
    pub filter: LetterChoice,
    /// `count` of the preview's answer. Where it does not fit any more, nothing is replayed.
    pub count: u64,
    /// How many a second, at least 0.001; all at once where left out.
    pub per_second: Option<f64>,
}

/// One endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointInput {
    /// The endpoint's name or id.
    pub endpoint: String,
}

/// What to try on recent events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BacktestInput {
    /// The flow's name or id.
    pub flow: String,
    /// Versions to run in the place of the flow's own, by the module's name: `{"hot-leads": 3}`.
    pub modules: BTreeMap<String, u32>,
    /// How many of the newest events that the flow takes, 1 to 20; 20 where left out.
    pub last: Option<usize>,
}

/// A request that an endpoint's receiver got.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureInput {
    /// The name or id of the endpoint with whose stored secret the request should be signed. The
    /// secret itself is never given or returned.
    pub endpoint: String,
    /// The request's headers by name.
    pub headers: BTreeMap<String, String>,
    /// The request's body, as it was received. `show_attempt` and the receiver's log have it.
    pub body: String,
    /// Check as of that time: RFC 3339, or Unix seconds. Now where left out; a captured request
    /// grows too old after five minutes.
    pub at: Option<String>,
}

/// A configuration to compare with what is set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigPlan {
    /// The document that `waybill apply` takes, as JSON: `sources`, `endpoints`, `flows`,
    /// `modules`, `tokens`, `prune`.
    #[schema(value_type = Object)]
    pub document: Map<String, Value>,
}
