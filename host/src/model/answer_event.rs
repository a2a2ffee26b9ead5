//! What a receiver answered, where that becomes an event.

use super::attributes::{CAUSED_BY, HOPS};
use super::id::DeliveryId;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

/// The event that a receiver's answer becomes.
#[derive(Debug)]
pub struct AnswerEvent {
    pub event_type: String,
    /// The name of the endpoint that was answered.
    pub source: String,
    /// The kind of record that it is about; that of its type where it is `None`.
    pub resource: Option<String>,
    /// The id that the receiver gave, if the answer holds one.
    pub resource_id: Option<String>,
    /// `request_id`, `status`, `id`, `body` and `repeated`.
    pub data: Box<RawValue>,
    /// The delivery that was answered.
    pub caused_by: DeliveryId,
    /// How often the first event of the chain was delivered and captured again, this time included.
    pub hops: u32,
}

impl AnswerEvent {
    /// Its attributes, as a JSON object.
    pub fn attributes(&self) -> Option<Box<RawValue>> {
        to_raw_value(&json!({ HOPS: self.hops, CAUSED_BY: self.caused_by })).ok()
    }
}
