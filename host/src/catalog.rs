//! The catalogue of event types: what a CRM can report, with description, JSON Schema and example
//! of each.
//!
//! Read from the files under `host/catalog`, checked by the build script and embedded, so nothing
//! is parsed at the start and a wrong file never ships. An event whose type is not in the catalogue
//! is still accepted, unless its source is strict; [`Catalog::nearest`] then tells the sender which
//! name was probably meant.

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

pub use paths::resource_at;
pub use sample::sample;

static CATALOG: Catalog =
    Catalog { event_types: include!(concat!(env!("OUT_DIR"), "/catalog.rs")) };

/// The catalogue of this build.
pub fn get() -> &'static Catalog {
    &CATALOG
}

/// Every known event type, sorted by name.
#[derive(Debug)]
pub struct Catalog {
    event_types: &'static [EventType],
}

impl Catalog {
    /// All event types, sorted by name.
    pub fn event_types(&self) -> &'static [EventType] {
        self.event_types
    }

    /// The event type of exactly that name.
    pub fn find(&self, name: &str) -> Option<&'static EventType> {
        let index = self.event_types.binary_search_by(|known| known.name.cmp(name)).ok()?;
        self.event_types.get(index)
    }

    /// The known name most like `name`, if one is like it at all: for "did you mean".
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        let likeness = |known: &EventType| strsim::jaro_winkler(known.name, name);
        let scored = self.event_types.iter().map(|known| (likeness(known), known.name));
        let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.filter(|(likeness, _)| *likeness > 0.85).map(|(_, name)| name)
    }
}

/// One event type. Serialised as `GET /api/v1/event-types/{name}` answers it.
pub struct EventType {
    /// Dotted name: the resource and what happened, such as `invoice.paid`.
    pub name: &'static str,
    /// What the event is about, such as `invoice`.
    pub resource: &'static str,
    /// What happened, in a sentence or two.
    pub description: &'static str,
    /// Field of the data that identifies the record; empty where none does.
    pub key: &'static str,
    /// Other names in the catalogue for the same fact.
    pub aliases: &'static [&'static str],
    schema: &'static str,
    example: &'static str,
    vary: &'static [(&'static str, Vary)],
}

impl EventType {
    /// JSON Schema (2020-12) of the event's `data`, as JSON text.
    #[cfg(test)]
    pub fn schema_text(&self) -> &'static str {
        self.schema
    }

    /// The `data` of one such event, as JSON text.
    pub fn example_text(&self) -> &'static str {
        self.example
    }

    /// JSON Schema (2020-12) of the event's `data`.
    pub fn schema(&self) -> Value {
        serde_json::from_str(self.schema).unwrap_or_default()
    }

    /// The `data` of one such event.
    pub fn example(&self) -> Value {
        serde_json::from_str(self.example).unwrap_or_default()
    }

    /// One such event as `POST /api/v1/events` takes it.
    pub fn example_event(&self) -> Value {
        let data = self.example();
        let id = self.resource_id(&data);
        json!({ "type": self.name, "resource_id": id, "data": data })
    }

    /// What changed for the example, where the event is about a change: the fields that have
    /// another value than in the example of the record's creation, and that value.
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

    /// The value of the key field in such data, as `resource_id` of an event.
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

/// How a value of an example may be varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vary {
    /// A key or running number that is new each time.
    Row,
    /// A key of a customer or contact, out of a small circle.
    Circle,
    /// An amount.
    Money,
    /// A running number in print.
    Printed,
    /// A company's name.
    Company,
    /// A company's site.
    Website,
    /// First name.
    First,
    /// Last name.
    Last,
    /// First and last name.
    Person,
    /// Mail address of that person at that company.
    Email,
    /// Title of a piece of work.
    Title,
    /// Reference of a payment.
    Reference,
}

#[cfg(test)]
mod tests;
