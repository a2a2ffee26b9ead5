//! Questions to JetStream's API (docs.nats.io, "JetStream wire API reference").

use super::nats_line::NatsLine;
use crate::channels::publish::PublishError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// There is no such stream (nats-server, `errors.json`).
pub const NO_STREAM: i64 = 10_059;

/// An answer of the API that says why not.
#[derive(Debug)]
pub struct ApiRefusal {
    pub code: i64,
    pub why: String,
}

/// A stream, as the API describes it.
#[derive(Debug, Deserialize)]
pub struct StreamInfo {
    /// When the stream was made, as the server writes it.
    pub created: String,
    #[serde(default)]
    pub config: Map<String, Value>,
    pub state: StreamState,
}

/// What a stream holds.
#[derive(Debug, Deserialize)]
pub struct StreamState {
    #[serde(default)]
    pub last_seq: u64,
    /// The number of messages of each subject that was asked for.
    #[serde(default)]
    pub subjects: BTreeMap<String, u64>,
}

/// Asks the API. The inner error is its refusal.
pub async fn ask_api(
    line: &mut NatsLine,
    what: &str,
    body: &[u8],
    limit: Duration,
) -> Result<Result<Value, ApiRefusal>, PublishError> {
    let answer = line.ask(&format!("$JS.API.{what}"), body, limit).await?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|_opaque| {
        PublishError::protocol("JetStream answered something that is not JSON")
    })?;
    let Some(error) = answer.get("error") else { return Ok(Ok(answer)) };
    let code = error.get("err_code").and_then(Value::as_i64).unwrap_or_default();
    let why = error.get("description").and_then(Value::as_str).unwrap_or("it refused");
    Ok(Err(ApiRefusal { code, why: why.to_owned() }))
}

/// Reads an answer of the API.
pub fn read_answer<T: DeserializeOwned>(answer: Value) -> Result<T, PublishError> {
    let unexpected =
        |why| PublishError::protocol(format!("JetStream answered in an unknown form: {why}"));
    serde_json::from_value(answer).map_err(unexpected)
}
