//! Which values of an example a generator may vary, and how.

use serde_json::{Map, Value};

use super::source::{Field, Ordered, Scalar, Shape};

/// Pairs of a JSON pointer into the example and the name of a `Vary` of the library.
///
/// A field counts by its type (keys, amounts, mail addresses) or by its column name (names of people and companies, running
/// numbers). What is null, `0` or belongs to the staff stays as it is.
pub fn paths<'a>(
    resource: &str,
    fields: &Ordered<Field>,
    example: &Map<String, Value>,
    shape: &impl Fn(&str) -> Option<&'a Shape>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk("", resource, fields, example, shape, &mut found);
    found
}

fn walk<'a>(
    path: &str,
    resource: &str,
    fields: &Ordered<Field>,
    record: &Map<String, Value>,
    shape: &impl Fn(&str) -> Option<&'a Shape>,
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

fn nested(field: &Field) -> bool {
    matches!(field.kind.scalar, Scalar::Object | Scalar::List)
}

fn how(
    resource: &str,
    name: &str,
    field: &Field,
    text: &str,
    record: &Map<String, Value>,
) -> Option<&'static str> {
    let belongs_to = record.get("rel_type").and_then(Value::as_str).unwrap_or("row");
    match (field.kind.scalar, field.of.as_deref(), name) {
        (Scalar::Id, Some("staff"), _) => None,
        (Scalar::Id, Some(of), _) => Some(key(of)),
        (Scalar::Id, None, _) => Some(key(belongs_to)),
        (Scalar::Money, _, _) => Some("Money"),
        (Scalar::Email, _, _) if text.ends_with("@vendor.example") => None,
        (Scalar::Email, _, _) => Some("Email"),
        (Scalar::Int, _, "number") => Some("Row"),
        (Scalar::Text, _, "formatted_number") => Some("Printed"),
        (Scalar::Text, _, "company") => Some("Company"),
        (Scalar::Text, _, "website") => Some("Website"),
        (Scalar::Text, _, "firstname" | "acceptance_firstname") if resource != "staff" => {
            Some("First")
        }
        (Scalar::Text, _, "lastname" | "acceptance_lastname") if resource != "staff" => {
            Some("Last")
        }
        (Scalar::Text, _, "proposal_to") => Some("Person"),
        (Scalar::Text, _, "name") if matches!(resource, "lead" | "ticket") => Some("Person"),
        (Scalar::Text, _, "name" | "subject")
            if matches!(resource, "project" | "task" | "proposal") =>
        {
            Some("Title")
        }
        (Scalar::Text, _, "transactionid") => Some("Reference"),
        (_, _, _) => None,
    }
}

/// Customers and their contacts come from a small circle, everything else is new each time.
fn key(of: &str) -> &'static str {
    if matches!(of, "customer" | "contact") { "Circle" } else { "Row" }
}
