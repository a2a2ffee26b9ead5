//! The configuration of a module, and the JSON Schema for it in the module's manifest.
//!
//! `jsonschema` checks it as draft 2020-12. The author of a schema is not trusted, so a schema may
//! not use references (`$ref` could form a circle), and its patterns run on an engine without
//! backtracking. An object that lists its `properties` allows no others unless
//! `additionalProperties` or `patternProperties` permits them.

use super::fault::InputFault;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most memory that a pattern may take when it is compiled, in bytes.
const PATTERN_BYTES: usize = 64 << 10;
/// Most faults that one answer lists.
const MOST_FAULTS: usize = 20;
/// Keywords that refer to other schemas.
const REFERENCES: [&str; 5] = ["$ref", "$dynamicRef", "$recursiveRef", "$id", "$vocabulary"];

/// A JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigSchema(pub Value);

impl ConfigSchema {
    /// Checks that the schema can be used.
    pub fn check(&self) -> Result<(), InputFault> {
        self.compile().map(drop)
    }

    /// Returns the faults of a configuration. No message quotes a value, because it may be a
    /// secret.
    pub fn check_config(&self, config: &BTreeMap<String, Value>) -> Vec<InputFault> {
        let validator = match self.compile() {
            Ok(validator) => validator,
            Err(fault) => return vec![fault],
        };
        let config = Value::Object(config.clone().into_iter().collect());
        let mut faults = Vec::new();
        find_unknown_keys(&self.0, &config, "", &mut faults);
        faults.extend(validator.iter_errors(&config).filter_map(|error| read_error(&error)));
        faults.sort_by(|one, other| one.path.cmp(&other.path));
        faults.truncate(MOST_FAULTS);
        faults
    }

    /// Returns the configuration with the schema's defaults for absent keys.
    pub fn fill_defaults(&self, config: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
        let mut filled: Map<String, Value> = config.clone().into_iter().collect();
        fill_object(&self.0, &mut filled);
        filled.into_iter().collect()
    }

    fn compile(&self) -> Result<Validator, InputFault> {
        if let Some(keyword) = find_reference(&self.0) {
            let message = format!(
                "`{keyword}` is not supported here: write the referenced schema in its place"
            );
            return Err(InputFault::new("", message));
        }
        let mut schema = self.0.clone();
        if let Some(members) = schema.as_object_mut() {
            members.remove("$schema");
        }
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES);
        let compiled = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(patterns)
            .build(&schema);
        compiled.map_err(|error| {
            let place = dotted_path(error.instance_path().as_str());
            InputFault::new(place, format!("it is not a JSON Schema: {error}"))
        })
    }
}

/// Finds a reference at any depth. A property may have the name of such a keyword too, but that is
/// not worth a finer check.
fn find_reference(schema: &Value) -> Option<&'static str> {
    match schema {
        Value::Object(members) => {
            let found = REFERENCES.into_iter().find(|keyword| members.contains_key(*keyword));
            found.or_else(|| members.values().find_map(find_reference))
        }
        Value::Array(items) => items.iter().find_map(find_reference),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Unknown keys are reported by [`find_unknown_keys`], which suggests the nearest known one.
fn read_error(error: &ValidationError<'_>) -> Option<InputFault> {
    use jsonschema::error::ValidationErrorKind;
    if matches!(error.kind(), ValidationErrorKind::AdditionalProperties { .. }) {
        return None;
    }
    let place = dotted_path(error.instance_path().as_str());
    Some(InputFault::new(place, error.masked_with("the value").to_string()))
}

fn find_unknown_keys(schema: &Value, value: &Value, place: &str, faults: &mut Vec<InputFault>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let Some(members) = value.as_object() else { return };
    let is_open =
        schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false))
            || schema.get("patternProperties").is_some();
    for (key, member) in members {
        let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        match properties.get(key) {
            Some(schema) => find_unknown_keys(schema, member, &inner, faults),
            None if is_open => {}
            None => faults.push(InputFault::new(inner, unknown_key(key, properties))),
        }
    }
}

fn unknown_key(key: &str, properties: &Map<String, Value>) -> String {
    let scored = properties.keys().map(|known| (strsim::jaro_winkler(known, key), known));
    match scored.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((_, nearest)) => {
            format!("the module does not know this key; the nearest known one is `{nearest}`")
        }
        None => "the module has no configuration".to_owned(),
    }
}

fn fill_object(schema: &Value, members: &mut Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, schema) in properties.into_iter().flatten() {
        match members.get_mut(key) {
            Some(Value::Object(inner)) => fill_object(schema, inner),
            Some(_) => {}
            None => {
                if let Some(default) = schema.get("default") {
                    members.insert(key.clone(), default.clone());
                }
            }
        }
    }
}

/// Converts a JSON Pointer to the form of faults' paths: `poll.lists[0].path`.
pub fn dotted_path(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1);
    let mut path = String::new();
    for part in parts.map(|part| part.replace("~1", "/").replace("~0", "~")) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            path.extend(["[", &part, "]"]);
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> ConfigSchema {
        ConfigSchema(json!({
            "type": "object",
            "required": ["destination"],
            "properties": {
                "threshold": {"type": "number", "minimum": 0, "default": 1000},
                "destination": {"type": "string"},
                "owners": {"type": "array", "items": {"type": "string"}},
                "by": {"type": "object", "properties": {"field": {"type": "string", "default": "id"}}},
            },
        }))
    }

    fn config(value: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_fault_has_its_place_and_no_value() {
        let given = config(json!({"threshold": "s3cret", "destination": "x", "owners": [1]}));
        let faults = schema().check_config(&given);
        let places: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(places, ["owners[0]", "threshold"], "{faults:?}");
        assert!(!format!("{faults:?}").contains("s3cret"), "{faults:?}");
        let faults = schema().check_config(&config(json!({})));
        assert!(faults[0].message.contains("destination"), "{faults:?}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let given = config(json!({"treshold": 5, "destination": "x", "by": {"feild": "a"}}));
        let faults = schema().check_config(&given);
        let told: Vec<(&str, bool)> = faults
            .iter()
            .map(|f| {
                (
                    f.path.as_str(),
                    f.message.contains("`threshold`") || f.message.contains("`field`"),
                )
            })
            .collect();
        assert_eq!(told.len(), 2, "{faults:?}");
        assert!(
            told.contains(&("treshold", true)) && told.contains(&("by.feild", true)),
            "{faults:?}"
        );
        let open = ConfigSchema(json!({"properties": {"a": {}}, "additionalProperties": true}));
        assert!(open.check_config(&config(json!({"b": 1}))).is_empty());
    }

    #[test]
    fn defaults_are_filled_in() {
        let filled = schema().fill_defaults(&config(json!({"destination": "x", "by": {}})));
        assert_eq!(filled.get("threshold"), Some(&json!(1000)));
        assert_eq!(filled.get("by"), Some(&json!({"field": "id"})));
        assert_eq!(filled.get("destination"), Some(&json!("x")));
        assert!(!filled.contains_key("owners"));
    }

    #[test]
    fn a_schema_that_refers_or_backtracks_is_refused_or_harmless() {
        for refers in [json!({"$ref": "#"}), json!({"properties": {"a": {"$dynamicRef": "#x"}}})] {
            let fault = ConfigSchema(refers).check().unwrap_err();
            assert!(fault.message.contains("is not supported"), "{fault:?}");
        }
        let slow = ConfigSchema(json!({"properties": {"a": {"pattern": "^(x+x+)+y$"}}}));
        let faults = slow.check_config(&config(json!({"a": "x".repeat(20_000)})));
        assert_eq!(faults.len(), 1, "{faults:?}");
        let large = ConfigSchema(json!({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}));
        assert!(large.check().is_err());
    }
}
