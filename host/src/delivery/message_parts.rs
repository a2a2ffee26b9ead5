//! The parts of a delivery's message, with the strings that are made for one delivery.

use super::attempt::DeliveryParcel;
use super::changes::{self, SentChanges};
use crate::model::attributes::SentWith;
use crate::model::envelope::EnvelopeMessage;
use crate::model::event::DeliveryMessage;
use crate::model::field_map::{FieldMap, InvalidData};
use serde_json::value::RawValue;

/// Owns the strings that an [`EnvelopeMessage`] borrows.
#[derive(Debug)]
pub struct MessageParts<'a> {
    parcel: DeliveryParcel<'a>,
    /// The delivery's id.
    id: &'a str,
    sent_with: &'a SentWith,
    /// The data after the field map, if the endpoint has one.
    mapped: Option<Box<RawValue>>,
    changes: Option<SentChanges>,
    captured_id: String,
    draft_id: Option<String>,
    timestamp: String,
    trace_parent: Option<String>,
}

impl<'a> MessageParts<'a> {
    /// Prepares the parts. Fails if the data does not fit the field map.
    pub fn new(
        map: Option<&FieldMap>,
        parcel: DeliveryParcel<'a>,
        id: &'a str,
        sent_with: &'a SentWith,
    ) -> Result<Self, InvalidData> {
        let event = parcel.event;
        let own_data = own_data(parcel.message);
        let mapped = match map {
            Some(map) if !map.is_empty() => Some(map.apply(own_data.unwrap_or(&event.data))?),
            Some(_) | None => None,
        };
        let changes = match &event.changes {
            // The changes do not describe data that a module made, nor the last of several
            // collapsed events.
            Some(changes) if own_data.is_none() && parcel.collapsed.is_none() => {
                Some(changes::sent_changes(changes, map)?)
            }
            Some(_) | None => None,
        };
        Ok(Self {
            parcel,
            id,
            sent_with,
            mapped,
            changes,
            captured_id: event.id.to_string(),
            draft_id: parcel.message.and_then(|m| m.event_id).map(|id| id.to_string()),
            timestamp: event.time().to_string(),
            trace_parent: parcel.trace_context(sent_with).map(|context| context.to_string()),
        })
    }

    /// Returns the message.
    pub fn message(&self) -> EnvelopeMessage<'_> {
        let (event, message, sent_with) = (self.parcel.event, self.parcel.message, self.sent_with);
        let own_data = own_data(message);
        let data = self.mapped.as_deref().unwrap_or(own_data.unwrap_or(&event.data));
        let resource_id = message.and_then(|m| m.resource_id.as_deref());
        let is_retyped = message.is_some_and(|message| message.event_type.is_some());
        // The content type and the schema describe only the data as it was captured.
        let is_as_captured =
            self.mapped.is_none() && own_data.is_none_or(|own| own.get() == event.data.get());
        EnvelopeMessage {
            delivery_id: self.id,
            event_id: self.draft_id.as_ref().unwrap_or(&self.captured_id),
            parent_id: self.draft_id.as_ref().map(|_| self.captured_id.as_str()),
            event_type: self.parcel.event_type(),
            timestamp: &self.timestamp,
            source: &event.source,
            resource: event.resource.as_deref(),
            resource_id: resource_id.or(event.resource_id.as_deref()),
            data: data.get(),
            changed: self.changes.as_ref().map(|sent| sent.changed.as_str()),
            previous: self.changes.as_ref().map(|sent| sent.previous.as_str()),
            collapsed: self.parcel.collapsed.map(i32::unsigned_abs),
            sent_type: sent_with.event_type.as_deref().filter(|_| !is_retyped),
            subject: sent_with.subject.as_deref().filter(|_| resource_id.is_none()),
            content_type: sent_with.content_type.as_deref().filter(|_| is_as_captured),
            schema: sent_with.schema.as_deref().filter(|_| is_as_captured),
            is_base64: sent_with.is_base64 && is_as_captured,
            hops: Some(sent_with.hops.saturating_add(1)),
            extensions: event.attributes.as_ref().map(|a| a.get()),
            attributes: message.map(|m| m.attributes.as_slice()).unwrap_or_default(),
            trace_parent: self.trace_parent.as_deref(),
            trace_state: sent_with.trace.as_ref().and_then(|trace| trace.state.as_deref()),
        }
    }
}

/// Returns the data that a module or a route set instead of the event's.
fn own_data(message: Option<&DeliveryMessage>) -> Option<&RawValue> {
    message.and_then(|message| message.data.as_deref())
}
