//! Finds the values of an example that a generator may vary.

use serde_json::{Map, Value};

use super::source::{CatalogField, OrderedMap, RecordShape, ScalarKind};

/// Returns pairs of a JSON pointer into the example and the name of a `SampleVariation` of the
/// library.
///
/// A field is varied because of its type (keys, amounts, email addresses) or its column name (names
/// of people and companies, running numbers). Values that are null, empty or `0`, and values of the
/// CRM's staff, stay unchanged.
pub fn varying_paths<'a>(
    resource: &str,
    fields: &OrderedMap<CatalogField>,
    example: &Map<String, Value>,
    shape: &impl Fn(&str) -> Option<&'a RecordShape>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk("", resource, fields, example, shape, &mut found);
    found
}

fn walk<'a>(
    path: &str,
    resource: &str,
    fields: &OrderedMap<CatalogField>,
    record: &Map<String, Value>,
    shape: &impl Fn(&str) -> Option<&'a RecordShape>,
    found: &mut Vec<(String, String)>,
) {
    for (name, field) in fields.iter() {
        let path = format!("{path}/{name}");
        let of = field.of.as_deref().unwrap_or_default();
        let inner = shape(of).filter(|_| nested(field));
        match (record.get(name), inner) {
            (Some(Value::Object(below)), Some(inner)) => {
                walk(&path, of, &inner.fields, below, shape, found);
            }
            (Some(Value::Array(all)), Some(inner)) => {
                for (index, below) in all.iter().enumerate() {
                    if let Value::Object(below) = below {
                        walk(&format!("{path}/{index}"), of, &inner.fields, below, shape, found);
                    }
                }
            }
            (Some(Value::String(text)), _) if !text.is_empty() && text != "0" => {
                if let Some(how) = how(resource, name, field, text, record) {
                    found.push((path, how.to_owned()));
                }
            }
            (_, _) => {}
        }
    }
}

fn nested(field: &CatalogField) -> bool {
    matches!(field.kind.scalar, ScalarKind::Object | ScalarKind::List)
}

fn how(
    resource: &str,
    name: &str,
    field: &CatalogField,
    text: &str,
    record: &Map<String, Value>,
) -> Option<&'static str> {
    let belongs_to = record.get("rel_type").and_then(Value::as_str).unwrap_or("row");
    match (field.kind.scalar, field.of.as_deref(), name) {
        (ScalarKind::Id, Some("staff"), _) => None,
        (ScalarKind::Id, Some(of), _) => Some(key(of)),
        (ScalarKind::Id, None, _) => Some(key(belongs_to)),
        (ScalarKind::Money, _, _) => Some("Money"),
        (ScalarKind::Email, _, _) if text.ends_with("@vendor.example") => None,
        (ScalarKind::Email, _, _) => Some("Email"),
        (ScalarKind::Int, _, "number") => Some("Row"),
        (ScalarKind::Text, _, "formatted_number") => Some("Printed"),
        (ScalarKind::Text, _, "company") => Some("Company"),
        (ScalarKind::Text, _, "website") => Some("Website"),
        (ScalarKind::Text, _, "firstname" | "acceptance_firstname") if resource != "staff" => {
            Some("First")
        }
        (ScalarKind::Text, _, "lastname" | "acceptance_lastname") if resource != "staff" => {
            Some("Last")
        }
        (ScalarKind::Text, _, "proposal_to") => Some("Person"),
        (ScalarKind::Text, _, "name") if matches!(resource, "lead" | "ticket") => Some("Person"),
        (ScalarKind::Text, _, "name" | "subject")
            if matches!(resource, "project" | "task" | "proposal") =>
        {
            Some("Title")
        }
        (ScalarKind::Text, _, "transactionid") => Some("Reference"),
        (_, _, _) => None,
    }
}

/// Returns how to vary a key: customers and their contacts come from a small set, all other keys
/// are new each time.
fn key(of: &str) -> &'static str {
    if matches!(of, "customer" | "contact") { "Circle" } else { "Row" }
}
