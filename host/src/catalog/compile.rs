//! Compiles the catalogue files to event types: checks them, and derives the schema and the example
//! of each event.
//!
//! This module runs in the build script. A mistake in a file stops the build with a message that
//! names the file, the event and the remedy. The library only compiles it for its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::schema;
use super::source::{
    CatalogEvent, CatalogField, FieldKind, OrderedMap, RecordShape, ResourceFile, ScalarKind,
};
use super::value::{is_valid_value, meant};
use super::vary;

/// A mistake in a catalogue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogProblem {
    /// Name of the file under `host/catalog`.
    pub file: String,
    /// The event, record or field with the mistake.
    pub place: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for CatalogProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host/catalog/{}: {}: {}", self.file, self.place, self.message)
    }
}

/// An event type with its schema and example derived.
#[derive(Debug)]
pub struct CompiledEventType {
    /// Full name, such as `invoice.paid`.
    pub name: String,
    /// Resource, such as `invoice`.
    pub resource: String,
    /// Says what happened.
    pub description: String,
    /// Field of the data that identifies the record.
    pub key: String,
    /// Other names for the same fact.
    pub aliases: Vec<String>,
    /// JSON Schema (2020-12) of the data.
    pub schema: Value,
    /// The example's data.
    pub example: Value,
    /// Values of the example that a generator may vary: JSON pointer and name of the
    /// `SampleVariation`.
    pub vary: Vec<(String, String)>,
}

/// Compiles the files, given as name and text. Returns every event type sorted by name, or all
/// mistakes in the files.
pub fn compile_catalog(
    files: &[(String, String)],
) -> Result<Vec<CompiledEventType>, Vec<CatalogProblem>> {
    let mut problems = Vec::new();
    let (shapes, resources) = read_files(files, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let book = ShapeBook { shapes };
    for (name, shape) in &book.shapes {
        book.check_shape(name, shape, &mut problems);
    }
    let mut compiled = Vec::new();
    for (file, resource) in &resources {
        for (name, event) in resource.events.iter() {
            let place =
                CatalogPlace { file: file.clone(), place: format!("{}.{name}", resource.resource) };
            compiled.extend(book.event(&place, resource, name, event, &mut problems));
        }
    }
    compiled.sort_by(|a, b| a.name.cmp(&b.name));
    check_aliases(&compiled, &mut problems);
    if problems.is_empty() { Ok(compiled) } else { Err(problems) }
}

/// The file and the event that a message names.
struct CatalogPlace {
    file: String,
    place: String,
}

impl CatalogPlace {
    fn problem(&self, message: impl Into<String>) -> CatalogProblem {
        CatalogProblem {
            file: self.file.clone(),
            place: self.place.clone(),
            message: message.into(),
        }
    }
}

type ShapesByName = BTreeMap<String, (String, RecordShape)>;

/// Parses the files. Returns all shapes with the file that defines them, and all resources. Every
/// resource is also a shape.
fn read_files(
    files: &[(String, String)],
    problems: &mut Vec<CatalogProblem>,
) -> (ShapesByName, Vec<(String, ResourceFile)>) {
    let mut shapes = ShapesByName::new();
    let mut resources = Vec::new();
    for (name, text) in files {
        let place = CatalogPlace { file: name.clone(), place: "whole file".into() };
        if name == "shapes.toml" {
            match toml::from_str::<OrderedMap<RecordShape>>(text) {
                Ok(read) => {
                    shapes.extend(read.0.into_iter().map(|(k, shape)| (k, (name.clone(), shape))));
                }
                Err(error) => problems.push(place.problem(error.to_string())),
            }
            continue;
        }
        match toml::from_str::<ResourceFile>(text) {
            Ok(file) if format!("{}.toml", file.resource) != *name => problems.push(
                place.problem(format!("resource is {:?}; name the file after it", file.resource)),
            ),
            Ok(file) => {
                shapes.insert(file.resource.clone(), (name.clone(), shape_of(&file)));
                resources.push((name.clone(), file));
            }
            Err(error) => problems.push(place.problem(error.to_string())),
        }
    }
    (shapes, resources)
}

fn shape_of(file: &ResourceFile) -> RecordShape {
    RecordShape {
        about: file.about.clone(),
        key: file.key.clone(),
        sensitive: file.sensitive.clone(),
        fields: file.fields.clone(),
        example: file.example.clone(),
    }
}

fn check_aliases(compiled: &[CompiledEventType], problems: &mut Vec<CatalogProblem>) {
    let names: BTreeSet<&str> = compiled.iter().map(|event| event.name.as_str()).collect();
    for event in compiled {
        let place =
            CatalogPlace { file: format!("{}.toml", event.resource), place: event.name.clone() };
        for alias in event.aliases.iter().filter(|alias| !names.contains(alias.as_str())) {
            problems
                .push(place.problem(format!("alias {alias:?} is not an event of the catalogue")));
        }
    }
    for pair in compiled.windows(2) {
        if let [one, other] = pair
            && one.name == other.name
        {
            let place =
                CatalogPlace { file: format!("{}.toml", one.resource), place: one.name.clone() };
            problems.push(place.problem("the catalogue has this name twice"));
        }
    }
}

/// All shapes by name, with the checks that need them.
struct ShapeBook {
    shapes: ShapesByName,
}

impl ShapeBook {
    fn shape(&self, name: &str) -> Option<&RecordShape> {
        self.shapes.get(name).map(|(_, shape)| shape)
    }

    /// Checks the fields of a shape, and its example against them.
    fn check_shape(
        &self,
        name: &str,
        (file, shape): &(String, RecordShape),
        found: &mut Vec<CatalogProblem>,
    ) {
        let place = CatalogPlace { file: file.clone(), place: format!("{name}.fields") };
        if let Some(key) = shape.key.as_deref().filter(|key| shape.fields.get(key).is_none()) {
            found.push(place.problem(format!("key {key:?} is not a field")));
        }
        for (field, spec) in shape.fields.iter() {
            if shape.sensitive.iter().any(|column| column == field) {
                found.push(place.problem(format!("{field} is sensitive and must not be sent")));
            }
            self.check_field(&place, field, spec, found);
        }
        if found.is_empty() {
            let place = CatalogPlace { file: file.clone(), place: format!("{name}.example") };
            let example = self.complete(shape, &Map::new());
            self.check_record(&place, "", &shape.fields, &example, found);
        }
    }

    fn check_field(
        &self,
        place: &CatalogPlace,
        name: &str,
        field: &CatalogField,
        found: &mut Vec<CatalogProblem>,
    ) {
        let FieldKind { scalar, .. } = field.kind;
        let of = field.of.as_deref();
        let known = of.is_some_and(|of| self.shape(of).is_some());
        let nested = matches!(scalar, ScalarKind::Object | ScalarKind::List);
        if !is_word(name) {
            found.push(place.problem(format!("field {name:?} is not a lower-case word")));
        }
        if nested && of.is_none() {
            found.push(place.problem(format!("{name} needs of = \"SHAPE\"")));
        }
        if let Some(of) = of.filter(|_| !known) {
            found.push(
                place.problem(format!("{name} is of {of:?}, which is not a resource or shape")),
            );
        }
        if (scalar == ScalarKind::Choice) == field.values.0.is_empty() {
            found.push(place.problem(format!(
                "{name}: a choice must have values, and no other type may have them"
            )));
        }
    }

    /// Compiles one event. Adds its mistakes to `found`.
    fn event(
        &self,
        place: &CatalogPlace,
        file: &ResourceFile,
        name: &str,
        event: &CatalogEvent,
        found: &mut Vec<CatalogProblem>,
    ) -> Option<CompiledEventType> {
        let before = found.len();
        let data = event.data.as_deref().unwrap_or(&file.resource);
        let Some(shape) = self.shape(data) else {
            found.push(place.problem(format!("data = {data:?} is not a resource or shape")));
            return None;
        };
        if !is_word(name) {
            found.push(place.problem("the name is not lower-case words joined by underscores"));
        }
        let fields = self.event_fields(place, shape, event, found);
        if found.len() > before {
            return None;
        }
        let example = self.event_example(place, shape, &fields, event, found);
        self.check_record(place, "", &fields, &example, found);
        let required = required(shape, event);
        let full = format!("{}.{name}", file.resource);
        let schema =
            schema::of_event(&full, &event.about, &fields, &required, &|of| self.shape(of));
        (found.len() == before).then(|| CompiledEventType {
            name: full,
            resource: file.resource.clone(),
            description: event.about.clone(),
            key: shape.key.clone().unwrap_or_default(),
            aliases: event.aliases.clone(),
            schema,
            vary: vary::varying_paths(data, &fields, &example, &|of| self.shape(of)),
            example: Value::Object(example),
        })
    }

    /// Returns the record's fields and the fields that the event adds.
    fn event_fields(
        &self,
        place: &CatalogPlace,
        shape: &RecordShape,
        event: &CatalogEvent,
        found: &mut Vec<CatalogProblem>,
    ) -> OrderedMap<CatalogField> {
        let mut fields = shape.fields.clone();
        for (name, field) in event.adds.iter() {
            self.check_field(place, name, field, found);
            if fields.get(name).is_some() || shape.sensitive.iter().any(|column| column == name) {
                found.push(place.problem(format!("adds.{name} is a column of the record already")));
            }
            fields.0.push((name.to_owned(), field.clone()));
        }
        if let Some(changed) = &event.changes {
            match shape.fields.get(changed) {
                Some(field) => fields.0.extend(old_and_new(changed, field)),
                None => found.push(place.problem(format!("changes = {changed:?} is not a field"))),
            }
        }
        fields
    }

    fn event_example(
        &self,
        place: &CatalogPlace,
        shape: &RecordShape,
        fields: &OrderedMap<CatalogField>,
        event: &CatalogEvent,
        found: &mut Vec<CatalogProblem>,
    ) -> Map<String, Value> {
        let mut given = event.example.clone();
        if let Some(changed) = &event.changes {
            match (&event.from, given.get(changed).cloned()) {
                (Some(from), Some(to)) => {
                    given.insert(format!("old_{changed}"), Value::String(from.clone()));
                    given.insert(format!("new_{changed}"), to);
                }
                (_, _) => found.push(place.problem(format!(
                    "changes = {changed:?} also needs from = \"OLD\" and example.{changed} = \"NEW\""
                ))),
            }
        }
        let whole = RecordShape { fields: fields.clone(), ..shape.clone() };
        let mut example = self.complete(&whole, &given);
        for name in &event.omit {
            match example.get_mut(name) {
                Some(value) => *value = Value::Null,
                None => {
                    found.push(place.problem(format!("omit names {name:?}, which is not a field")));
                }
            }
        }
        example
    }

    /// Returns the shape's example with `given` laid over it, in the order of the fields. A
    /// nullable field without a value becomes null. A nested record without a value becomes the
    /// example of its shape. Unknown members are appended, so that the check reports them.
    fn complete(&self, shape: &RecordShape, given: &Map<String, Value>) -> Map<String, Value> {
        let mut record = Map::new();
        for (name, field) in shape.fields.iter() {
            let value = given.get(name).or_else(|| shape.example.get(name));
            if let Some(value) = self.complete_value(field, value) {
                record.insert(name.to_owned(), value);
            }
        }
        let strangers = given.iter().chain(&shape.example);
        for (name, value) in strangers.filter(|(name, _)| shape.fields.get(name).is_none()) {
            record.insert(name.clone(), value.clone());
        }
        record
    }

    fn complete_value(&self, field: &CatalogField, value: Option<&Value>) -> Option<Value> {
        let inner = field.of.as_deref().and_then(|of| self.shape(of));
        match (field.kind.scalar, inner, value) {
            (ScalarKind::Object, Some(shape), Some(Value::Object(given))) => {
                Some(Value::Object(self.complete(shape, given)))
            }
            (ScalarKind::Object, Some(shape), None) if !field.kind.nullable => {
                Some(Value::Object(self.complete(shape, &Map::new())))
            }
            (ScalarKind::List, Some(shape), Some(Value::Array(given))) => {
                let elements = given.iter().filter_map(Value::as_object);
                Some(elements.map(|one| Value::Object(self.complete(shape, one))).collect())
            }
            (_, _, Some(value)) => Some(value.clone()),
            (_, _, None) => field.kind.nullable.then_some(Value::Null),
        }
    }

    /// Checks that every field has a value of its type and that the record has no other member.
    fn check_record(
        &self,
        place: &CatalogPlace,
        path: &str,
        fields: &OrderedMap<CatalogField>,
        record: &Map<String, Value>,
        found: &mut Vec<CatalogProblem>,
    ) {
        for name in record.keys().filter(|name| fields.get(name).is_none()) {
            found.push(place.problem(format!("example {path}{name} is not a field of the record")));
        }
        for (name, field) in fields.iter() {
            let path = format!("{path}{name}");
            match record.get(name) {
                None => found.push(place.problem(format!("the example lacks {path}"))),
                Some(value) => self.check_value(place, &path, field, value, found),
            }
        }
    }

    fn check_value(
        &self,
        place: &CatalogPlace,
        path: &str,
        field: &CatalogField,
        value: &Value,
        found: &mut Vec<CatalogProblem>,
    ) {
        let fields = field.of.as_deref().and_then(|of| self.shape(of)).map(|shape| &shape.fields);
        let below = format!("{path}.");
        match (field.kind.scalar, fields, value) {
            (ScalarKind::Object, Some(fields), Value::Object(record)) => {
                self.check_record(place, &below, fields, record, found);
            }
            (ScalarKind::List, Some(fields), Value::Array(records)) => {
                for record in records.iter().filter_map(Value::as_object) {
                    self.check_record(place, &below, fields, record, found);
                }
            }
            (ScalarKind::Map, _, Value::Object(texts)) if texts.values().all(Value::is_string) => {}
            (_, _, Value::Null) if field.kind.nullable => {}
            (_, _, Value::String(text)) if is_valid_value(field, text) => {}
            (_, _, _) => found.push(
                place.problem(format!("example {path} is {value}; expected {}", meant(field))),
            ),
        }
    }
}

/// Returns the names that the data must have: the record's key and the fields that the event adds.
fn required(shape: &RecordShape, event: &CatalogEvent) -> Vec<String> {
    let added = event.adds.iter().filter(|(_, field)| !field.kind.nullable);
    let changed = event.changes.iter().flat_map(|c| [format!("old_{c}"), format!("new_{c}")]);
    shape.key.iter().cloned().chain(added.map(|(name, _)| name.to_owned())).chain(changed).collect()
}

fn old_and_new(name: &str, field: &CatalogField) -> [(String, CatalogField); 2] {
    let about = |text: &str| Some(format!("{name} {text} the change."));
    [
        (format!("old_{name}"), CatalogField { about: about("before"), ..field.clone() }),
        (format!("new_{name}"), CatalogField { about: about("after"), ..field.clone() }),
    ]
}

/// Whether a text consists of lower-case letters, digits and underscores and begins with a letter.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
