//! The form of the files under `host/catalog`, as they are read at build time.
//!
//! One file for each resource, named after it, and `shapes.toml` for the records that stand inside
//! others. ARCHITECTURE of a file: `[fields]` lists what a record holds, `[example]` gives one
//! plausible record, `[events.NAME]` says what an event means and only what is special about it.
//! Every database scalar is a JSON string in the data of an event, as the CRM's REST interfaces
//! send it, so every value in an example is quoted.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::{Map, Value};

/// A map that keeps the order of the file.
#[derive(Debug, Clone)]
pub struct OrderedMap<T>(pub Vec<(String, T)>);

impl<T> Default for OrderedMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> OrderedMap<T> {
    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Entries in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrderedMap<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
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
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// One resource file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceFile {
    /// Name of the resource; the file bears it too, and every event begins with it.
    pub resource: String,
    /// What the resource is, in a sentence.
    pub about: String,
    /// Field that identifies a record; none where every event has data of another shape.
    pub key: Option<String>,
    /// Columns of the CRM's table that no event may carry.
    #[serde(default)]
    pub sensitive: Vec<String>,
    /// What a record holds.
    #[serde(default)]
    pub fields: OrderedMap<CatalogField>,
    /// One plausible record; a nullable field left out is null.
    #[serde(default)]
    pub example: Map<String, Value>,
    /// Events by the part of their name after the resource.
    pub events: OrderedMap<CatalogEvent>,
}

/// A record that stands inside others, in `shapes.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordShape {
    /// What the record is, in a sentence.
    pub about: String,
    /// Field that identifies it, if one does.
    pub key: Option<String>,
    /// Columns that no event may carry.
    #[serde(default)]
    pub sensitive: Vec<String>,
    /// What it holds.
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
    /// `text`, `object`, `list` or `map`; a `?` after it says that the value may be null.
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// The resource an `id` points to, or the shape of an `object` or of the elements of a `list`.
    pub of: Option<String>,
    /// What the values of a `choice` mean.
    #[serde(default)]
    pub values: OrderedMap<String>,
    /// What the field says, where its name does not.
    pub about: Option<String>,
}

/// One event of a resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEvent {
    /// What happened, in a sentence.
    pub about: String,
    /// Other names in the catalogue for the same fact.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Shape of the data, where it is not the resource's own record.
    pub data: Option<String>,
    /// Fields beyond the record; they must be present unless nullable.
    #[serde(default)]
    pub adds: OrderedMap<CatalogField>,
    /// A field whose change is the event: the data then also holds `old_FIELD` and `new_FIELD`.
    pub changes: Option<String>,
    /// The example's value of that field before the change.
    pub from: Option<String>,
    /// Fields that are null in the example.
    #[serde(default)]
    pub omit: Vec<String>,
    /// What the example has beyond, or other than, the resource's.
    #[serde(default)]
    pub example: Map<String, Value>,
}

/// The type of a field and whether it may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FieldKind {
    /// The type without the question mark.
    pub scalar: ScalarKind,
    /// May the value be null?
    pub nullable: bool,
}

/// What a value is; see [`CatalogField::kind`].
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
    /// Amount with two places.
    Money,
    /// Other number with two places.
    Decimal,
    /// `YYYY-MM-DD`.
    Date,
    /// `YYYY-MM-DD HH:MM:SS`, local time of the CRM.
    DateTime,
    /// Seconds since 1970.
    Unix,
    /// Mail address.
    Email,
    /// Any text.
    Text,
    /// A record inside the record.
    Object,
    /// Records inside the record.
    List,
    /// Texts by names that no catalogue knows.
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
        let scalar = scalar.ok_or_else(|| format!("type {text:?} is none of {}", names()))?;
        Ok(Self { scalar, nullable })
    }
}
