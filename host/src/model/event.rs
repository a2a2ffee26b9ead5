//! Events: captured facts, immutable from then on.

use super::alert::NOTICE_SOURCE;
use super::id::{EndpointId, EventId};
use super::type_pattern::OWN_TYPES;
use crate::expression::event_subject::EventSubject;
use crate::time::timestamp::Timestamp;
use indexmap::IndexMap;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::OnceLock;

/// The longest source name, external id, resource name or resource id, in bytes.
pub const MAX_KEY: usize = 255;

/// What a source calls itself when a caller names none.
pub const DEFAULT_SOURCE: &str = "api";

/// One captured fact.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id here.
    pub id: EventId,
    /// The name of the source it came from.
    pub source: String,
    /// The event type, a dotted name such as `invoice.paid`.
    pub event_type: String,
    /// What kind of thing it is about, such as `invoice`.
    pub resource: Option<String>,
    /// Which one, as the source numbers them.
    pub resource_id: Option<String>,
    /// The id the source gave it, by which repeats are recognised.
    pub external_id: Option<String>,
    /// When it happened, as the source says.
    pub occurred_at: Option<Timestamp>,
    /// When it was captured.
    pub received_at: Timestamp,
    /// What the source says beside the data, such as CloudEvents extension attributes: a JSON
    /// object.
    pub attributes: Option<Box<RawValue>>,
    /// What changed, where the source tells: a [`EventChanges`] as JSON.
    pub changes: Option<Box<RawValue>>,
    /// The data, byte for byte as it was captured: any JSON value.
    pub data: Box<RawValue>,
}

impl Event {
    /// Names the record this event is about, for collapsing and ordering; `None` when the event
    /// does not say which one.
    pub fn record_key(&self) -> Option<String> {
        record_key(&self.source, self.resource.as_deref(), self.resource_id.as_deref())
    }

    /// Whether it is a notice about an endpoint, which must not get it: what is broken cannot carry
    /// the news of it, and each failure would make more.
    pub fn is_notice_about(&self, endpoint: EndpointId) -> bool {
        self.is_notice()
            && self.resource.as_deref() == Some("endpoint")
            && self.resource_id.as_ref().is_some_and(|id| *id == endpoint.to_string())
    }

    /// Whether it comes from Waybill itself.
    pub fn is_notice(&self) -> bool {
        self.source == NOTICE_SOURCE && self.event_type.starts_with(OWN_TYPES)
    }

    /// What its payload takes in memory, in bytes.
    pub fn size(&self) -> usize {
        let length =
            |json: &Option<Box<RawValue>>| json.as_ref().map_or(0, |json| json.get().len());
        self.data.get().len() + length(&self.attributes) + length(&self.changes)
    }

    /// The event as expressions see it.
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

    /// When it happened: as the source says, else when it was captured.
    pub fn time(&self) -> Timestamp {
        self.occurred_at.unwrap_or(self.received_at)
    }
}

/// What an update changed.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct EventChanges {
    /// The fields with another content; a dot leads into an object of the data.
    pub changed: Vec<String>,
    /// The old values of those, as far as they were kept, and as they were written: no number loses
    /// a digit.
    pub previous: IndexMap<String, Box<RawValue>>,
}

/// What an event changed, as modules read it.
#[derive(Debug, serde::Deserialize)]
pub struct ReadChanges<'a> {
    /// The fields with another content.
    #[serde(borrow)]
    pub changed: Vec<Cow<'a, str>>,
    /// Their old values, a JSON object.
    #[serde(borrow)]
    pub previous: &'a RawValue,
}

impl ReadChanges<'_> {
    /// The names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.changed.iter().map(|name| &**name)
    }
}

/// One text for one resource record of one source. The separator cannot stand in its parts.
pub fn record_key(
    source: &str,
    resource: Option<&str>,
    resource_id: Option<&str>,
) -> Option<String> {
    resource_id.map(|id| format!("{source}\u{1f}{}\u{1f}{id}", resource.unwrap_or("")))
}

/// What a delivery sends when that is not the event as captured: a module's draft, or a route's
/// own payload.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct DeliveryMessage {
    /// The id of the draft, or of the delivery's own payload; the captured event's where it is
    /// `None`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_id: Option<EventId>,
    /// The event type to send; the captured event's where it is `None`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_type: Option<String>,
    /// The resource id to send; the captured event's where it is `None`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource_id: Option<String>,
    /// Attributes the module set, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub attributes: Vec<(String, String)>,
    /// The data to send: any JSON value; the captured event's where it is `None`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Box<RawValue>>,
}

impl DeliveryMessage {
    /// The message as expressions see it: what it does not set is the event's. `attributes` are
    /// those of [`Self::merged_attributes`].
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

    /// The event's attributes with those of the message over them, as a JSON object; `None` where
    /// the message sets none.
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

    /// What it takes in memory and in the database, in bytes, roughly.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.as_ref().map_or(0, |data| data.get().len()) + attributes.sum::<usize>()
    }
}

/// An event's attributes as modules read them: a text as it is, any other value as its JSON text.
/// Names whose value is null are left out, and so are all of an object that cannot be read.
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
