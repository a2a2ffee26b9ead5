//! Events: captured facts, which never change.

use super::alert::NOTICE_SOURCE;
use super::id::{EndpointId, EventId};
use super::type_pattern::OWN_TYPES;
use crate::expression::event_subject::EventSubject;
use crate::time::timestamp::Timestamp;
use indexmap::IndexMap;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::OnceLock;

/// Longest source name, external id, resource name or resource id, in bytes.
pub const MAX_KEY: usize = 255;

/// Name of the source of events that name none.
pub const DEFAULT_SOURCE: &str = "api";

/// A captured event.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: EventId,
    /// Name of the source.
    pub source: String,
    /// Type of the event, a dotted name such as `invoice.paid`.
    pub event_type: String,
    /// Kind of record that the event is about, such as `invoice`.
    pub resource: Option<String>,
    /// Id of that record in the source.
    pub resource_id: Option<String>,
    /// Id that the source gave the event. Repeats are recognised by it.
    pub external_id: Option<String>,
    /// Time of the event, as the source states it.
    pub occurred_at: Option<Timestamp>,
    /// Time of the capture.
    pub received_at: Timestamp,
    /// Properties that the source states beside the data, such as CloudEvents extension attributes:
    /// a JSON object.
    pub attributes: Option<Box<RawValue>>,
    /// Changed fields, if the source states them: an [`EventChanges`] as JSON.
    pub changes: Option<Box<RawValue>>,
    /// Data, byte for byte as captured: any JSON value.
    pub data: Box<RawValue>,
}

impl Event {
    /// Returns a key of the record that this event is about, for collapsing and ordering. `None` if
    /// the event has no record.
    pub fn record_key(&self) -> Option<String> {
        record_key(&self.source, self.resource.as_deref(), self.resource_id.as_deref())
    }

    /// Whether it is a notice about this endpoint. Such a notice must not go to the endpoint: it is
    /// broken and cannot deliver the notice, and each failure would cause further notices.
    pub fn is_notice_about(&self, endpoint: EndpointId) -> bool {
        self.is_notice()
            && self.resource.as_deref() == Some("endpoint")
            && self.resource_id.as_ref().is_some_and(|id| *id == endpoint.to_string())
    }

    /// Whether the event is a notice of Waybill itself.
    pub fn is_notice(&self) -> bool {
        self.source == NOTICE_SOURCE && self.event_type.starts_with(OWN_TYPES)
    }

    /// Returns the size of the payload in memory, in bytes.
    pub fn size(&self) -> usize {
        let length =
            |json: &Option<Box<RawValue>>| json.as_ref().map_or(0, |json| json.get().len());
        self.data.get().len() + length(&self.attributes) + length(&self.changes)
    }

    /// Returns the event as expressions see it.
    pub fn subject(&self) -> EventSubject<'_> {
        EventSubject {
            event_type: &self.event_type,
            source: &self.source,
            resource: self.resource.as_deref(),
            record_id: self.resource_id.as_deref(),
            data: self.data.get(),
            changes: self.changes.as_deref().map(RawValue::get),
            attributes: self.attributes.as_deref().map(RawValue::get),
            members: OnceLock::new(),
        }
    }

    /// Returns the time of the event, or the time of its capture if the source states none.
    pub fn time(&self) -> Timestamp {
        self.occurred_at.unwrap_or(self.received_at)
    }
}

/// The changes of an update.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct EventChanges {
    /// Names of the changed fields. A dot leads into an object of the data.
    pub changed: Vec<String>,
    /// Old values of those fields, as far as they are known. They stay as written, so that no
    /// number loses a digit.
    pub previous: IndexMap<String, Box<RawValue>>,
}

/// The changes of an event, as modules read them.
#[derive(Debug, serde::Deserialize)]
pub struct ReadChanges<'a> {
    /// Names of the changed fields.
    #[serde(borrow)]
    pub changed: Vec<Cow<'a, str>>,
    /// Their old values, a JSON object.
    #[serde(borrow)]
    pub previous: &'a RawValue,
}

impl ReadChanges<'_> {
    /// Returns the names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.changed.iter().map(|name| &**name)
    }
}

/// Returns one text for one record of one source. The separator cannot be part of a name.
pub fn record_key(
    source: &str,
    resource: Option<&str>,
    resource_id: Option<&str>,
) -> Option<String> {
    resource_id.map(|id| format!("{source}\u{1f}{}\u{1f}{id}", resource.unwrap_or("")))
}

/// The message of a delivery, if it is not the event as captured: a module's draft, or a route's
/// own payload.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct DeliveryMessage {
    /// Id of the draft or of the delivery's own payload. `None` for the captured event's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_id: Option<EventId>,
    /// Event type to send. `None` for the captured event's type.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_type: Option<String>,
    /// Record id to send. `None` for the captured event's record id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource_id: Option<String>,
    /// Attributes that the module set, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub attributes: Vec<(String, String)>,
    /// Data to send: any JSON value. `None` for the captured event's data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Box<RawValue>>,
}

impl DeliveryMessage {
    /// Returns the message as expressions see it. Absent parts are those of the event. `attributes`
    /// are those of [`Self::merged_attributes`].
    pub fn subject<'a>(
        &'a self,
        event: &'a Event,
        attributes: Option<&'a str>,
    ) -> EventSubject<'a> {
        let mut subject = event.subject();
        if let Some(event_type) = &self.event_type {
            subject.event_type = event_type;
        }
        if let Some(data) = &self.data {
            subject.data = data.get();
        }
        subject.record_id = self.resource_id.as_deref().or(subject.record_id);
        subject.attributes = attributes.or(subject.attributes);
        subject
    }

    /// Returns the event's attributes, replaced by those of the message, as a JSON object. `None`
    /// if the message sets none.
    pub fn merged_attributes(&self, event: &Event) -> Option<String> {
        if self.attributes.is_empty() {
            return None;
        }
        let own = event.attributes.as_deref().map_or("{}", RawValue::get);
        let mut merged: IndexMap<String, serde_json::Value> =
            serde_json::from_str(own).unwrap_or_default();
        for (name, value) in &self.attributes {
            drop(merged.insert(name.clone(), value.as_str().into()));
        }
        serde_json::to_string(&merged).ok()
    }

    /// Returns the approximate size in memory and in the database, in bytes.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.as_ref().map_or(0, |data| data.get().len()) + attributes.sum::<usize>()
    }
}

/// Returns an event's attributes as modules read them: strings unchanged, other values as JSON
/// text. Leaves out null values. Returns nothing if the object cannot be read.
pub fn attribute_texts(attributes: &RawValue) -> Vec<(String, String)> {
    use serde_json::Value;
    let object: IndexMap<String, Value> =
        serde_json::from_str(attributes.get()).unwrap_or_default();
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(value.to_string())
        }
    };
    object.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
}
