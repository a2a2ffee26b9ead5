//! Events that receivers' answers become.

use super::attributes::{CAUSED_BY, HOPS};
use super::id::DeliveryId;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

/// The event that a receiver's answer becomes.
#[derive(Debug)]
pub struct AnswerEvent {
    pub event_type: String,
    /// Name of the endpoint that got the answer.
    pub source: String,
    /// Kind of record that the event is about. `None` for the first segment of the type.
    pub resource: Option<String>,
    /// Id of the record in the receiver, if the answer holds one.
    pub resource_id: Option<String>,
    /// A JSON object with `request_id`, `status`, `id`, `body` and `repeated`.
    pub data: Box<RawValue>,
    /// The delivery that got the answer.
    pub caused_by: DeliveryId,
    /// Number of times that the first event of the chain was delivered and captured again, this
    /// time included.
    pub hops: u32,
}

impl AnswerEvent {
    /// Returns the attributes of the event as a JSON object.
    pub fn attributes(&self) -> Option<Box<RawValue>> {
        to_raw_value(&json!({ HOPS: self.hops, CAUSED_BY: self.caused_by })).ok()
    }
}
