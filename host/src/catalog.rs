//! The catalogue of event types: the events that a CRM can report, each with a description, a JSON
//! Schema and an example.
//!
//! The build script checks the files under `host/catalog` and embeds the result, so nothing is
//! parsed at startup and a wrong file never ships. An event of an unknown type is still accepted,
//! unless its source is strict. [`Catalog::nearest`] then suggests the name that the sender
//! probably meant.

use std::fmt;

use indexmap::IndexMap;
use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::model::event::EventChanges;

#[cfg(test)]
pub mod compile;
pub mod paths;
pub mod sample;
#[cfg(test)]
pub mod schema;
#[cfg(test)]
pub mod source;
#[cfg(test)]
pub mod value;
#[cfg(test)]
pub mod vary;

pub use paths::{resource_at, resource_of_operation};
pub use sample::sample;

static CATALOG: Catalog =
    Catalog { event_types: include!(concat!(env!("OUT_DIR"), "/catalog.rs")) };

/// Returns the catalogue of this build.
pub fn get() -> &'static Catalog {
    &CATALOG
}

/// Every known event type, sorted by name.
#[derive(Debug)]
pub struct Catalog {
    event_types: &'static [EventType],
}

impl Catalog {
    /// Returns all event types, sorted by name.
    pub fn event_types(&self) -> &'static [EventType] {
        self.event_types
    }

    /// Returns the event type with exactly this name.
    pub fn find(&self, name: &str) -> Option<&'static EventType> {
        let index = self.event_types.binary_search_by(|known| known.name.cmp(name)).ok()?;
        self.event_types.get(index)
    }

    /// Returns the known name that is most similar to `name`, for "did you mean". Returns `None` if
    /// no name is similar enough.
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        let likeness = |known: &EventType| strsim::jaro_winkler(known.name, name);
        let scored = self.event_types.iter().map(|known| (likeness(known), known.name));
        let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.filter(|(likeness, _)| *likeness > 0.85).map(|(_, name)| name)
    }
}

/// One event type. It serialises to the answer of `GET /api/v1/event-types/{name}`.
pub struct EventType {
    /// Dotted name of the resource and what happened to it, such as `invoice.paid`.
    pub name: &'static str,
    /// The resource that the event is about, such as `invoice`.
    pub resource: &'static str,
    /// Says in a sentence or two what happened.
    pub description: &'static str,
    /// Field of the data that identifies the record. Empty if no field does.
    pub key: &'static str,
    /// Other names in the catalogue for the same fact.
    pub aliases: &'static [&'static str],
    schema: &'static str,
    example: &'static str,
    vary: &'static [(&'static str, SampleVariation)],
}

impl EventType {
    /// Returns the JSON Schema (2020-12) of the event's `data`, as JSON text.
    #[cfg(test)]
    pub fn schema_text(&self) -> &'static str {
        self.schema
    }

    /// Returns the example's `data` as JSON text.
    pub fn example_text(&self) -> &'static str {
        self.example
    }

    /// Returns the JSON Schema (2020-12) of the event's `data`.
    pub fn schema(&self) -> Value {
        serde_json::from_str(self.schema).unwrap_or_default()
    }

    /// Returns the example's `data`.
    pub fn example(&self) -> Value {
        serde_json::from_str(self.example).unwrap_or_default()
    }

    /// Returns the example as a body for `POST /api/v1/events`.
    pub fn example_event(&self) -> Value {
        let data = self.example();
        let id = self.resource_id(&data);
        json!({ "type": self.name, "resource_id": id, "data": data })
    }

    /// Returns the changes of the example, if the event is about a change: the fields that differ
    /// from the example of the record's creation, with their values there.
    pub fn example_changes(&self) -> Option<EventChanges> {
        let created = get().find(&format!("{}.created", self.resource))?.example();
        let example = self.example();
        let mut previous = IndexMap::new();
        for (name, value) in example.as_object()? {
            let old = example.get(format!("old_{name}")).or_else(|| created.get(name));
            if let Some(old) = old.filter(|old| *old != value) {
                previous.insert(name.clone(), to_raw_value(old).ok()?);
            }
        }
        let changed: Vec<String> = previous.keys().cloned().collect();
        (!changed.is_empty()).then_some(EventChanges { changed, previous })
    }

    /// Returns the value of the key field in the data of an event, for its `resource_id`.
    pub fn resource_id(&self, data: &Value) -> Option<String> {
        match data.get(self.key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventType").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = |text| serde_json::from_str::<&RawValue>(text).map_err(S::Error::custom);
        let changes = self.example_changes();
        let fields = if changes.is_some() { 7 } else { 6 };
        let mut event = serializer.serialize_struct("EventType", fields)?;
        event.serialize_field("name", self.name)?;
        event.serialize_field("resource", self.resource)?;
        event.serialize_field("description", self.description)?;
        event.serialize_field("aliases", self.aliases)?;
        event.serialize_field("schema", raw(self.schema)?)?;
        event.serialize_field("example", raw(self.example)?)?;
        if let Some(changes) = changes {
            event.serialize_field("example_changes", &changes)?;
        }
        event.end()
    }
}

/// How to vary a value of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SampleVariation {
    /// A key or running number that is new in every sample.
    Row,
    /// A key of a customer or contact, from a small set.
    Circle,
    /// An amount of money.
    Money,
    /// A formatted running number, such as `INV-000128`.
    Printed,
    /// A company's name.
    Company,
    /// A company's website.
    Website,
    /// A first name.
    First,
    /// A last name.
    Last,
    /// A first and last name.
    Person,
    /// The email address of the sample's person at the sample's company.
    Email,
    /// The title of a piece of work.
    Title,
    /// The reference of a payment.
    Reference,
}

#[cfg(test)]
mod tests;
