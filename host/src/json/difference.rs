//! Lists the differences between two JSON values, member by member.

use serde_json::Value;
use std::fmt;

/// Longest value in the text of a difference, in characters. The rest is cut off.
const SHOWN: usize = 80;

/// One difference. `path` is written as people write it: `client.address[0].city`.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueChange<'v> {
    Added { path: String, value: &'v Value },
    Removed { path: String, value: &'v Value },
    Changed { path: String, before: &'v Value, after: &'v Value },
}

impl fmt::Display for ValueChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { path, value } => write!(f, "+ {path}: {}", shorten(value)),
            Self::Removed { path, value } => write!(f, "- {path}: {}", shorten(value)),
            Self::Changed { path, before, after } => {
                write!(f, "~ {path}: {} → {}", shorten(before), shorten(after))
            }
        }
    }
}

/// Returns the value as JSON text, cut to [`SHOWN`] characters.
fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Returns the differences in the order of the members of `after`, then the removed members.
/// Elements of arrays are compared by index.
pub fn compare_values<'v>(before: &'v Value, after: &'v Value) -> Vec<ValueChange<'v>> {
    let mut changes = Vec::new();
    compare_at(String::new(), before, after, &mut changes);
    changes
}

fn compare_at<'v>(
    path: String,
    before: &'v Value,
    after: &'v Value,
    changes: &mut Vec<ValueChange<'v>>,
) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let below = |name: &str| {
                if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
            };
            for (name, value) in new {
                compare_member(below(name), old.get(name), Some(value), changes);
            }
            for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
                compare_member(below(name), Some(value), None, changes);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for n in 0..old.len().max(new.len()) {
                compare_member(format!("{path}[{n}]"), old.get(n), new.get(n), changes);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            let path = if path.is_empty() { "the whole value".to_owned() } else { path };
            changes.push(ValueChange::Changed { path, before, after });
        }
    }
}

fn compare_member<'v>(
    path: String,
    before: Option<&'v Value>,
    after: Option<&'v Value>,
    changes: &mut Vec<ValueChange<'v>>,
) {
    match (before, after) {
        (Some(before), Some(after)) => compare_at(path, before, after, changes),
        (None, Some(value)) => changes.push(ValueChange::Added { path, value }),
        (Some(value), None) => changes.push(ValueChange::Removed { path, value }),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        compare_values(before, after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn members_are_added_changed_and_removed_by_path() {
        let before =
            json!({"id": 1, "client": {"name": "A", "vat": null}, "items": [{"rate": 1}, 2]});
        let after = json!({"id": 1, "client": {"name": "B"}, "items": [{"rate": 3}], "total": "9"});
        let expected = [
            r#"~ client.name: "A" → "B""#,
            "- client.vat: null",
            "~ items[0].rate: 1 → 3",
            "- items[1]: 2",
            r#"+ total: "9""#,
        ];
        assert_eq!(lines(&before, &after), expected);
    }

    #[test]
    fn equal_values_have_no_differences() {
        let value = json!({"a": [1, {"b": null}]});
        assert!(compare_values(&value, &value.clone()).is_empty());
        assert!(compare_values(&json!(null), &json!(null)).is_empty());
    }

    #[test]
    fn a_value_of_another_type_is_reported_as_one_change() {
        assert_eq!(lines(&json!({"a": 1}), &json!([1])), [r#"~ the whole value: {"a":1} → [1]"#]);
        assert_eq!(lines(&json!({"a": 1}), &json!({"a": {}})), ["~ a: 1 → {}"]);
    }

    #[test]
    fn long_values_are_shortened() {
        let line = lines(&json!({}), &json!({"a": "é".repeat(1_000)})).remove(0);
        assert!(line.ends_with('…') && line.chars().count() < 100, "{line}");
    }
}
