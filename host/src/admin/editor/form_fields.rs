//! Makes the fields of a form from the schema of its settings. Every part that the REST API
//! describes gets a field, with the same description as its hint.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How a field is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldShape {
    Text,
    Number,
    /// Yes or no.
    Switch,
    /// One of these values.
    Choice(Vec<String>),
    /// Any of these values.
    Several(Vec<String>),
    /// A list of texts, one on each line.
    Lines,
    /// Texts by name, one on each line as `name: text`.
    Pairs,
    /// Any other value, as JSON.
    Json,
    /// A list of objects, each with these fields.
    Rows(Vec<FormField>),
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormField {
    /// The path of its value in the settings, such as `retry.schedule`. In a row, the path below
    /// the row.
    pub path: String,
    pub label: String,
    pub hint: String,
    pub example: Option<String>,
    pub is_required: bool,
    /// Whether "not set" and an empty list are different values.
    pub is_nullable: bool,
    pub shape: FieldShape,
}

impl FormField {
    /// Returns the top-level field of the settings to which this field belongs.
    pub fn top(&self) -> &str {
        self.path.split('.').next().unwrap_or_default()
    }

    /// Returns the same field in a row of a list.
    #[must_use]
    pub fn in_row(&self, list: &str, row: usize) -> Self {
        Self { path: format!("{list}[{row}].{}", self.path), ..self.clone() }
    }

    /// Whether leading and trailing spaces in the text are significant.
    pub fn keeps_spaces(&self) -> bool {
        self.path.ends_with("prefix")
    }

    /// Offers values for a field that the schema only describes as a text or a list of texts.
    pub fn offer(&mut self, values: &[String]) {
        if self.shape == FieldShape::Text {
            self.shape = FieldShape::Choice(values.to_vec());
        } else if self.shape == FieldShape::Lines {
            self.shape = FieldShape::Several(values.to_vec());
        }
    }
}

/// Returns the fields of settings in the order of their schema.
pub fn fields_of<T: ToSchema>() -> Vec<FormField> {
    let mut named = Vec::new();
    T::schemas(&mut named);
    let json = |schema: &utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>| {
        serde_json::to_value(schema).unwrap_or_default()
    };
    let named = named.iter().map(|(name, schema)| (name.clone(), json(schema))).collect();
    let mut fields = Vec::new();
    SchemaReader { named }.read_object(&json(&T::schema()), "", true, &mut fields);
    fields
}

/// Returns the fields for the object at this path of the settings, in the order of its schema.
pub fn fields_below(path: &str, schema: &Value) -> Vec<FormField> {
    let mut fields = Vec::new();
    let reader = SchemaReader { named: BTreeMap::new() };
    reader.read_object(schema, path, true, &mut fields);
    for field in &mut fields {
        let inner = field.path.get(path.len() + 1..).unwrap_or_default();
        field.label = match inner {
            "tls" | "html" | "cc" | "bcc" | "qos" => inner.to_uppercase(),
            _ => first_upper(&inner.replace('_', " ").replace('.', ", ")),
        };
    }
    fields
}

/// Deepest nesting of settings that is read.
const DEEPEST: usize = 6;

struct SchemaReader {
    /// The schemas to which others refer, by name.
    named: BTreeMap<String, Value>,
}

impl SchemaReader {
    /// Reads the fields of an object. `is_required` says whether the object itself is required.
    fn read_object(
        &self,
        schema: &Value,
        path: &str,
        is_required: bool,
        fields: &mut Vec<FormField>,
    ) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let required = schema.get("required").and_then(Value::as_array);
        for (name, property) in properties {
            let is_named = required.is_some_and(|names| names.iter().any(|known| known == name));
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.read_property(property, path, is_required && is_named, fields);
        }
    }

    fn read_property(
        &self,
        property: &Value,
        path: String,
        is_required: bool,
        fields: &mut Vec<FormField>,
    ) {
        let (schema, description, may_be_absent) = self.resolve(property);
        let is_required = is_required && !may_be_absent;
        let has_fields = schema.get("properties").is_some();
        if has_fields && path.split('.').count() < DEEPEST {
            self.read_object(&schema, &path, is_required, fields);
            return;
        }
        let example = schema.get("example").map(tell_example);
        fields.push(FormField {
            label: label_of(&path),
            hint: description.replace('\n', " "),
            example,
            is_required,
            is_nullable: may_be_absent,
            shape: self.shape_of(&schema),
            path,
        });
    }

    /// Returns the schema of a property, its description, and whether it may be null.
    fn resolve(&self, property: &Value) -> (Value, String, bool) {
        let mut schema = property.clone();
        let mut description = None;
        let mut may_be_absent = false;
        for _ in 0..DEEPEST {
            let own = schema.get("description").and_then(Value::as_str).map(str::to_owned);
            description = description.or(own);
            let choices = schema.get("oneOf").and_then(Value::as_array);
            let is_null = |choice: &&Value| choice.get("type").is_some_and(|kind| kind == "null");
            if let Some(choices) = choices.filter(|choices| choices.iter().any(|c| is_null(&c))) {
                may_be_absent = true;
                let other = choices.iter().find(|choice| !is_null(choice)).cloned();
                schema = other.unwrap_or_default();
                continue;
            }
            let reference = schema.get("$ref").and_then(Value::as_str);
            let name = reference.and_then(|reference| reference.rsplit('/').next());
            match name.and_then(|name| self.named.get(name)) {
                Some(found) => schema = found.clone(),
                None => break,
            }
        }
        may_be_absent |= types_of(&schema).contains(&"null");
        (schema, description.unwrap_or_default(), may_be_absent)
    }

    fn shape_of(&self, schema: &Value) -> FieldShape {
        if let Some(values) = enum_of(schema) {
            return FieldShape::Choice(values);
        }
        let types = types_of(schema);
        match types.iter().find(|kind| **kind != "null") {
            Some(&"string") => FieldShape::Text,
            Some(&("integer" | "number")) => FieldShape::Number,
            Some(&"boolean") => FieldShape::Switch,
            Some(&"array") => self.list_shape(schema.get("items").unwrap_or(&Value::Null)),
            Some(&"object") => {
                let (values, _, _) =
                    self.resolve(schema.get("additionalProperties").unwrap_or(&Value::Null));
                if types_of(&values) == ["string"] { FieldShape::Pairs } else { FieldShape::Json }
            }
            Some(_) | None => FieldShape::Json,
        }
    }

    fn list_shape(&self, items: &Value) -> FieldShape {
        let (items, _, _) = self.resolve(items);
        if let Some(values) = enum_of(&items) {
            return FieldShape::Several(values);
        }
        if items.get("properties").is_some() {
            let mut fields = Vec::new();
            self.read_object(&items, "", true, &mut fields);
            return FieldShape::Rows(fields);
        }
        if types_of(&items) == ["string"] { FieldShape::Lines } else { FieldShape::Json }
    }
}

fn enum_of(schema: &Value) -> Option<Vec<String>> {
    let values = schema.get("enum")?.as_array()?;
    Some(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Returns the types of a schema. OpenAPI writes them as one text or as a list.
fn types_of(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(_) | None => Vec::new(),
    }
}

fn tell_example(example: &Value) -> String {
    match example {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(tell_example).collect::<Vec<_>>().join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => example.to_string(),
    }
}

/// Words in place of parts of paths that do not read well.
const WORDS: [(&str, &str); 11] = [
    ("tls", "TLS"),
    ("ca", "CA"),
    ("url", "URL"),
    ("where", "condition"),
    ("on_gone", "after 410 Gone"),
    ("from", "networks"),
    ("id", "ID"),
    ("hmac", "HMAC"),
    ("paypal", "PayPal"),
    ("events", "event types"),
    ("cron", "cron expression"),
];

/// Returns the label of a path: `rate_limit.per_second` becomes `Rate limit, per second`.
pub fn label_of(path: &str) -> String {
    let word = |part: &str| {
        let known = WORDS.iter().find(|(name, _)| *name == part);
        known.map_or_else(|| part.replace('_', " "), |(_, word)| (*word).to_owned())
    };
    let label = path.split('.').map(word).collect::<Vec<_>>().join(", ");
    first_upper(&label)
}

fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

/// Returns the value at a path of settings.
pub fn value_at<'v>(settings: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(settings, |value, part| value.get(part))
}

/// Sets the value at a path. Creates the objects on the path that do not exist.
pub fn put_at(settings: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(settings.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = settings.entry(first.to_owned()).or_insert_with(|| Map::new().into());
            if let Value::Object(inner) = inner {
                put_at(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::token::TokenSettings;
    use crate::model::endpoint::EndpointSettings;
    use crate::model::flow::FlowSettings;
    use crate::model::source::SourceSettings;

    fn shape(fields: &[FormField], path: &str) -> FieldShape {
        let found = fields.iter().find(|field| field.path == path);
        found.unwrap_or_else(|| panic!("no field {path} in {fields:#?}")).shape.clone()
    }

    #[test]
    fn each_part_of_an_endpoint_has_a_field() {
        let fields = fields_of::<EndpointSettings>();
        let modes = ["immediate", "smart", "async"].map(str::to_owned).to_vec();
        assert_eq!(shape(&fields, "mode"), FieldShape::Choice(modes));
        assert_eq!(shape(&fields, "retry.schedule"), FieldShape::Lines);
        assert_eq!(shape(&fields, "rate_limit.per_second"), FieldShape::Number);
        assert_eq!(shape(&fields, "headers"), FieldShape::Pairs);
        assert_eq!(shape(&fields, "field_map"), FieldShape::Json);
        assert_eq!(shape(&fields, "enabled"), FieldShape::Switch);
        let required: Vec<_> =
            fields.iter().filter(|f| f.is_required).map(FormField::top).collect();
        assert_eq!(required, ["name", "url"]);
        let rate = fields.iter().find(|field| field.path == "rate_limit.per_second").unwrap();
        assert_eq!(rate.label, "Rate limit, per second");
        assert!(rate.hint.starts_with("Requests per second"));
    }

    #[test]
    fn lists_of_objects_are_rows_and_nested_settings_have_paths() {
        let FieldShape::Rows(module) = shape(&fields_of::<FlowSettings>(), "modules") else {
            panic!("modules are rows")
        };
        let names: Vec<_> = module.iter().map(FormField::top).collect();
        assert_eq!(names, ["name", "version", "config", "when_open"]);
        let fields = fields_of::<SourceSettings>();
        assert_eq!(shape(&fields, "webhook.hmac.header"), FieldShape::Text);
        assert_eq!(shape(&fields, "webhook.rename"), FieldShape::Pairs);
        assert!(matches!(shape(&fields, "webhook.scheme"), FieldShape::Choice(_)));
        assert!(matches!(shape(&fields, "poll.lists"), FieldShape::Rows(_)));
        assert_eq!(shape(&fields_of::<TokenSettings>(), "rate"), FieldShape::Number);
    }

    #[test]
    fn a_value_is_set_at_its_path() {
        let mut settings = Map::new();
        put_at(&mut settings, "retry.jitter", 0.into());
        put_at(&mut settings, "retry.schedule", "x".into());
        let settings = Value::Object(settings);
        assert_eq!(settings, serde_json::json!({"retry": {"jitter": 0, "schedule": "x"}}));
        assert_eq!(value_at(&settings, "retry.jitter"), Some(&Value::from(0)));
    }
}
