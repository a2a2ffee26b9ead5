//! Selects and renames the fields of an event's data that an endpoint gets.
//!
//! A path is field names with dots between them (`client.address.city`). A path applies to every
//! element of an array it meets: `items.rate` names the rate of every item. A path that finds
//! nothing is not a fault, because events differ.
//!
//! First `include` keeps the fields that it names, or everything if it is empty. Then `exclude`
//! removes fields, and `rename` gives fields new names. A new name is one field name, not a path,
//! so
//! a field stays in its object and at its position. It replaces a field that already had the new
//! name. All paths, including those of `rename`, use the names of the event.
//!
//! Values that no path goes into are passed on as they are written, so no number loses a digit. If
//! an included path leads further but the value is not an object (a text in place of a client, a
//! number among items), the path does not name the value, and the value is not sent. Data that is
//! neither an object nor an array passes unchanged.

use crate::model::fault::InputFault;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Most paths in one field map.
const MAX_PATHS: usize = 500;
/// Longest path or new name, in bytes.
const MAX_PATH: usize = 255;

/// Selects which fields of the data are sent, and under which names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldMap {
    /// Paths of the fields to keep. If empty, all fields are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["id", "client.company", "items.rate"]))]
    pub include: Vec<String>,
    /// Paths of the fields to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["client.password"]))]
    pub exclude: Vec<String>,
    /// New names of fields, by the path of the field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"client.company": "customer"}))]
    pub rename: BTreeMap<String, String>,
}

/// The data is not JSON.
#[derive(Debug, thiserror::Error)]
#[error("the data is not valid JSON")]
pub struct InvalidData(#[source] serde_json::Error);

impl InvalidData {
    /// Creates the error for a reason.
    pub fn new(why: serde_json::Error) -> Self {
        Self(why)
    }
}

impl FieldMap {
    /// Whether the map changes nothing.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.rename.is_empty()
    }

    /// Returns the faults of the map.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let lists = [("include", &self.include), ("exclude", &self.exclude)];
        for (list, paths) in lists {
            for (index, path) in paths.iter().enumerate() {
                check_path(path, &format!("{list}[{index}]"), &mut faults);
            }
        }
        for (path, name) in &self.rename {
            check_path(path, &format!("rename.{path}"), &mut faults);
            if name.is_empty() || name.len() > MAX_PATH || name.contains('.') {
                let why =
                    format!("the new name is one field name of 1 to {MAX_PATH} bytes without dots");
                faults.push(InputFault::new(format!("rename.{path}"), why));
            }
        }
        if self.include.len() + self.exclude.len() + self.rename.len() > MAX_PATHS {
            faults.push(InputFault::new("", format!("at most {MAX_PATHS} paths in all")));
        }
        faults
    }

    /// Applies the map to data. Changed parts are written without white space.
    pub fn apply(&self, data: &RawValue) -> Result<Box<RawValue>, InvalidData> {
        let plan = FieldRule::of(self);
        let mapped = plan.apply(data, self.include.is_empty()).map_err(InvalidData)?;
        mapped.map_or_else(
            || Ok(data.to_owned()),
            |text| RawValue::from_string(text).map_err(InvalidData),
        )
    }
}

fn check_path(path: &str, place: &str, faults: &mut Vec<InputFault>) {
    let why = if path.is_empty() {
        "a path is empty; name a field".to_owned()
    } else if path.len() > MAX_PATH {
        format!("a path has at most {MAX_PATH} bytes")
    } else if path.split('.').any(str::is_empty) {
        format!("`{path}` has an empty part; write field names with one dot between them")
    } else if path.contains(['[', ']', '*']) {
        format!(
            "`{path}` must not contain `[`, `]` or `*`; a path applies to every element of an array by itself"
        )
    } else {
        return;
    };
    faults.push(InputFault::new(place, why));
}

/// The rules for one field and the fields below it.
#[derive(Debug, Default)]
struct FieldRule<'a> {
    include: bool,
    exclude: bool,
    rename: Option<&'a str>,
    below: BTreeMap<&'a str, Self>,
}

type FieldRules<'a> = IndexMap<String, &'a RawValue>;

impl<'a> FieldRule<'a> {
    fn of(map: &'a FieldMap) -> Self {
        let mut root = Self::default();
        for path in &map.include {
            root.at(path).include = true;
        }
        for path in &map.exclude {
            root.at(path).exclude = true;
        }
        for (path, name) in &map.rename {
            root.at(path).rename = Some(name);
        }
        root
    }

    fn at(&mut self, path: &'a str) -> &mut Self {
        path.split('.').fold(self, |rule, name| rule.below.entry(name).or_default())
    }

    /// Applies the rules below to a value. Returns `None` if they do not change it. `kept` says
    /// that the value is kept as a whole, because an ancestor is included or there is no `include`.
    fn apply(&self, value: &RawValue, kept: bool) -> Result<Option<String>, serde_json::Error> {
        if self.below.is_empty() {
            return Ok(None);
        }
        match value.get().as_bytes().first() {
            Some(b'{') => self.apply_object(value, kept).map(Some),
            Some(b'[') => self.apply_array(value, kept).map(Some),
            _ => Ok(None),
        }
    }

    fn apply_array(&self, value: &RawValue, kept: bool) -> Result<String, serde_json::Error> {
        let elements: Vec<&RawValue> = serde_json::from_str(value.get())?;
        let named = |element: &&RawValue| kept || is_container(element);
        let mapped = elements.into_iter().filter(named).map(|element| {
            let changed = self.apply(element, kept)?;
            Ok(changed.unwrap_or_else(|| element.get().to_owned()))
        });
        Ok(format!("[{}]", mapped.collect::<Result<Vec<_>, serde_json::Error>>()?.join(",")))
    }

    fn apply_object(&self, value: &RawValue, kept: bool) -> Result<String, serde_json::Error> {
        let fields: FieldRules<'_> = serde_json::from_str(value.get())?;
        let mut renamed: IndexMap<&str, String> = IndexMap::with_capacity(fields.len());
        for (name, value) in &fields {
            let Some(text) = self.field(name, value, kept)? else { continue };
            let new_name = self.below.get(name.as_str()).and_then(|rule| rule.rename);
            // A field that is renamed to this name replaces the field that has it.
            let taken = new_name.is_none() && self.renames_to(name, &fields, kept);
            if !taken {
                renamed.insert(new_name.unwrap_or(name), text);
            }
        }
        write_object(&renamed)
    }

    /// Returns the value of a field, or `None` if the field is not sent.
    fn field(
        &self,
        name: &str,
        value: &RawValue,
        kept: bool,
    ) -> Result<Option<String>, serde_json::Error> {
        let Some(rule) = self.below.get(name) else {
            return Ok(kept.then(|| value.get().to_owned()));
        };
        let kept_below = kept || rule.include;
        if !rule.passes(kept) || !(kept_below || is_container(value)) {
            return Ok(None);
        }
        let changed = rule.apply(value, kept_below)?;
        Ok(Some(changed.unwrap_or_else(|| value.get().to_owned())))
    }

    /// Whether the field is sent: it is not excluded, and it, an ancestor or something in it is
    /// included.
    fn passes(&self, kept: bool) -> bool {
        !self.exclude && (kept || self.includes_any())
    }

    fn includes_any(&self) -> bool {
        self.include || self.below.values().any(Self::includes_any)
    }

    /// Whether another field is sent under this name.
    fn renames_to(&self, name: &str, fields: &FieldRules<'_>, kept: bool) -> bool {
        self.below.iter().any(|(old, rule)| {
            rule.rename == Some(name)
                && *old != name
                && fields.contains_key(*old)
                && rule.passes(kept)
        })
    }
}

fn is_container(value: &RawValue) -> bool {
    value.get().starts_with(['{', '['])
}

fn write_object(fields: &IndexMap<&str, String>) -> Result<String, serde_json::Error> {
    let mut text = String::from("{");
    for (name, value) in fields {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name)?);
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(json: serde_json::Value) -> FieldMap {
        serde_json::from_value(json).unwrap()
    }

    fn applied(map_json: serde_json::Value, data: &str) -> String {
        let data = RawValue::from_string(data.to_owned()).unwrap();
        map(map_json).apply(&data).unwrap().get().to_owned()
    }

    const INVOICE: &str = r#"{"id":17,"client":{"company":"Acme","password":"x","address":{"city":"Bonn","zip":"53111"}},
        "items":[{"rate":100.00,"qty":1},{"rate":12345678901234567890,"note":"n"},7],"total":"1.50"}"#;

    #[test]
    fn an_empty_map_changes_nothing() {
        assert!(FieldMap::default().is_empty());
        assert_eq!(applied(json!({}), INVOICE), INVOICE);
    }

    #[test]
    fn include_keeps_only_what_it_names() {
        assert_eq!(
            applied(json!({"include": ["id", "total", "absent"]}), INVOICE),
            r#"{"id":17,"total":"1.50"}"#
        );
        assert_eq!(
            applied(json!({"include": ["client.address.city", "items.rate"]}), INVOICE),
            r#"{"client":{"address":{"city":"Bonn"}},"items":[{"rate":100.00},{"rate":12345678901234567890}]}"#
        );
        assert_eq!(
            applied(json!({"include": ["id.x", "client.company.y"]}), INVOICE),
            r#"{"client":{}}"#
        );
    }

    #[test]
    fn exclude_removes_fields_that_include_keeps() {
        assert_eq!(
            applied(
                json!({"include": ["client"], "exclude": ["client.password", "client.address.zip"]}),
                INVOICE
            ),
            r#"{"client":{"company":"Acme","address":{"city":"Bonn"}}}"#
        );
        assert_eq!(
            applied(json!({"exclude": ["client", "items"]}), INVOICE),
            r#"{"id":17,"total":"1.50"}"#
        );
        assert_eq!(applied(json!({"include": ["id"], "exclude": ["id"]}), INVOICE), "{}");
    }

    #[test]
    fn rename_keeps_the_position_and_applies_to_arrays() {
        assert_eq!(
            applied(
                json!({"include": ["id", "items"], "rename": {"id": "number", "items.rate": "price"}}),
                INVOICE
            ),
            r#"{"number":17,"items":[{"price":100.00,"qty":1},{"price":12345678901234567890,"note":"n"},7]}"#
        );
    }

    #[test]
    fn renames_below_a_renamed_field_use_the_old_path() {
        assert_eq!(
            applied(json!({"rename": {"a": "x", "a.b": "y"}}), r#"{"a":{"b":1,"c":2}}"#),
            r#"{"x":{"y":1,"c":2}}"#
        );
    }

    #[test]
    fn a_new_name_replaces_the_field_that_had_it_and_names_can_be_swapped() {
        assert_eq!(applied(json!({"rename": {"a": "b"}}), r#"{"a":1,"b":2}"#), r#"{"b":1}"#);
        assert_eq!(applied(json!({"rename": {"b": "a"}}), r#"{"a":1,"b":2}"#), r#"{"a":2}"#);
        assert_eq!(
            applied(json!({"rename": {"a": "b", "b": "a"}}), r#"{"a":1,"b":2}"#),
            r#"{"b":1,"a":2}"#
        );
        assert_eq!(
            applied(json!({"exclude": ["a"], "rename": {"a": "b"}}), r#"{"a":1,"b":2}"#),
            r#"{"b":2}"#
        );
    }

    #[test]
    fn data_that_is_not_an_object_passes() {
        assert_eq!(applied(json!({"exclude": ["a"]}), "[1,2]"), "[1,2]");
        assert_eq!(applied(json!({"include": ["a"]}), r#""text""#), r#""text""#);
        assert_eq!(applied(json!({"include": ["a"]}), r#"[{"a":1,"b":2},3]"#), r#"[{"a":1}]"#);
    }

    #[test]
    fn names_with_escapes_are_found_and_written_back() {
        assert_eq!(applied(json!({"rename": {"é": "\"q\""}}), r#"{"\u00e9":1}"#), r#"{"\"q\"":1}"#);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error =
            serde_json::from_value::<FieldMap>(json!({"includes": []})).unwrap_err().to_string();
        assert!(
            error.contains(
                "unknown field `includes`, expected one of `include`, `exclude`, `rename`"
            ),
            "{error}"
        );
    }

    #[test]
    fn bad_paths_are_named_with_their_place() {
        let faults = map(json!({
            "include": ["ok", "", "a..b"], "exclude": ["items[0].x", ".a"], "rename": {"a": "", "b": "x.y", "c.": "d"}
        }))
        .check();
        let places: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            places,
            [
                "include[1]",
                "include[2]",
                "exclude[0]",
                "exclude[1]",
                "rename.a",
                "rename.b",
                "rename.c."
            ]
        );
        assert!(faults[2].message.contains("every element of an array by itself"));
        let many = FieldMap { include: vec!["a".to_owned(); MAX_PATHS + 1], ..FieldMap::default() };
        assert_eq!(many.check().len(), 1);
        assert_eq!(map(json!({"include": ["a.b"], "rename": {"a.b": "c"}})).check(), []);
    }
}
