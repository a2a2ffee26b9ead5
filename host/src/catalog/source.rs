//! The format of the files under `host/catalog`, which are read at build time.
//!
//! There is one file for each resource, named after it, and `shapes.toml` for records that are
//! nested in others. In a file, `[fields]` lists the fields of a record, `[example]` gives one
//! plausible record, and `[events.NAME]` describes an event and states only its differences. Every
//! database scalar is a JSON string in the data of an event, as the CRM's REST interfaces send it,
//! so every value in an example is quoted.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::{Map, Value};

/// A map that preserves the order of the file.
#[derive(Debug, Clone)]
pub struct OrderedMap<T>(pub Vec<(String, T)>);

impl<T> Default for OrderedMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> OrderedMap<T> {
    /// Returns the entry with this name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the entries in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrderedMap<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapEntries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for MapEntries<T> {
            type Value = OrderedMap<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(OrderedMap(entries))
            }
        }
        deserializer.deserialize_map(MapEntries(PhantomData))
    }
}

/// One resource file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceFile {
    /// Name of the resource. The file has the same name, and every event name begins with it.
    pub resource: String,
    /// Describes the resource in a sentence.
    pub about: String,
    /// Field that identifies a record. `None` if the events carry data of different shapes.
    pub key: Option<String>,
    /// Columns of the CRM's table that no event may carry.
    #[serde(default)]
    pub sensitive: Vec<String>,
    /// The fields of a record.
    #[serde(default)]
    pub fields: OrderedMap<CatalogField>,
    /// One plausible record. An omitted nullable field is null.
    #[serde(default)]
    pub example: Map<String, Value>,
    /// The events, by the part of their name after the resource.
    pub events: OrderedMap<CatalogEvent>,
}

/// A record that is nested in others, defined in `shapes.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordShape {
    /// Describes the record in a sentence.
    pub about: String,
    /// Field that identifies the record, if there is one.
    pub key: Option<String>,
    /// Columns that no event may carry.
    #[serde(default)]
    pub sensitive: Vec<String>,
    /// The fields of the record.
    #[serde(default)]
    pub fields: OrderedMap<CatalogField>,
    /// One plausible record.
    #[serde(default)]
    pub example: Map<String, Value>,
}

/// One field of a record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogField {
    /// `id`, `int`, `flag`, `choice`, `money`, `decimal`, `date`, `datetime`, `unix`, `email`,
    /// `text`, `object`, `list` or `map`. A `?` at the end says that the value may be null.
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// The resource that an `id` refers to, or the shape of an `object` or of the elements of a
    /// `list`.
    pub of: Option<String>,
    /// The meaning of each value of a `choice`.
    #[serde(default)]
    pub values: OrderedMap<String>,
    /// Describes the field, if its name does not say enough.
    pub about: Option<String>,
}

/// One event of a resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEvent {
    /// Says in a sentence what happened.
    pub about: String,
    /// Other names in the catalogue for the same fact.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Shape of the data, if it is not the resource's own record.
    pub data: Option<String>,
    /// Fields in addition to the record's. They are required unless nullable.
    #[serde(default)]
    pub adds: OrderedMap<CatalogField>,
    /// A field whose change is the event. The data then also contains `old_FIELD` and `new_FIELD`.
    pub changes: Option<String>,
    /// The value of that field in the example before the change.
    pub from: Option<String>,
    /// Fields that are null in the example.
    #[serde(default)]
    pub omit: Vec<String>,
    /// Members of the example that differ from the resource's example or are added to it.
    #[serde(default)]
    pub example: Map<String, Value>,
}

/// The type of a field, and whether it may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldKind {
    /// The type without the question mark.
    pub scalar: ScalarKind,
    /// Whether the value may be null.
    pub nullable: bool,
}

/// The type of a value. See [`CatalogField::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// Key of a row.
    Id,
    /// Whole number.
    Int,
    /// `0` or `1`.
    Flag,
    /// One of [`CatalogField::values`].
    Choice,
    /// Amount with two decimal places.
    Money,
    /// Another number with two decimal places.
    Decimal,
    /// `YYYY-MM-DD`.
    Date,
    /// `YYYY-MM-DD HH:MM:SS` in the CRM's local time.
    DateTime,
    /// Seconds since 1970.
    Unix,
    /// Email address.
    Email,
    /// Any text.
    Text,
    /// A nested record.
    Object,
    /// A list of nested records.
    List,
    /// Texts by names that the catalogue does not list, such as custom fields.
    Map,
}

const SCALARS: [(&str, ScalarKind); 14] = [
    ("id", ScalarKind::Id),
    ("int", ScalarKind::Int),
    ("flag", ScalarKind::Flag),
    ("choice", ScalarKind::Choice),
    ("money", ScalarKind::Money),
    ("decimal", ScalarKind::Decimal),
    ("date", ScalarKind::Date),
    ("datetime", ScalarKind::DateTime),
    ("unix", ScalarKind::Unix),
    ("email", ScalarKind::Email),
    ("text", ScalarKind::Text),
    ("object", ScalarKind::Object),
    ("list", ScalarKind::List),
    ("map", ScalarKind::Map),
];

impl TryFrom<String> for FieldKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, nullable) = text.strip_suffix('?').map_or((text.as_str(), false), |n| (n, true));
        let scalar = SCALARS.iter().find(|(known, _)| *known == name).map(|(_, scalar)| *scalar);
        let names = || SCALARS.map(|(known, _)| known).join(", ");
        let scalar = scalar.ok_or_else(|| format!("type {text:?} is not one of {}", names()))?;
        Ok(Self { scalar, nullable })
    }
}
