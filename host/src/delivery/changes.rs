//! The changes of an update as one endpoint gets them. The endpoint's field map applies to old
//! values as it does to new ones.

use crate::model::event::EventChanges;
use crate::model::field_map::{FieldMap, InvalidData};
use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};

/// The fields that changed and their old values, as JSON texts.
#[derive(Debug, PartialEq, Eq)]
pub struct SentChanges {
    /// The names of the fields, as a list.
    pub changed: String,
    /// The old values by name, as an object.
    pub previous: String,
}

/// Returns the changes to send for an event that is delivered as it was captured, with the
/// endpoint's field map applied.
pub fn sent_changes(
    changes: &RawValue,
    map: Option<&FieldMap>,
) -> Result<SentChanges, InvalidData> {
    let EventChanges { changed, mut previous } =
        serde_json::from_str(changes.get()).map_err(InvalidData::new)?;
    let Some(map) = map.filter(|map| !map.is_empty()) else {
        return Ok(SentChanges { changed: text(&changed), previous: text(&previous) });
    };
    let (mut names, mut values) = (Vec::new(), RawFields::new());
    for name in changed {
        let old = previous.swap_remove(&name);
        let is_kept = old.is_some();
        let Some((name, old)) = mapped(&name, old.unwrap_or_default(), map)? else { continue };
        if is_kept {
            values.insert(name.clone(), old);
        }
        names.push(name);
    }
    Ok(SentChanges { changed: text(&names), previous: text(&values) })
}

type RawFields = IndexMap<String, Box<RawValue>>;

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Returns a field's name and value after the field map, or `None` if the endpoint does not get the
/// field. A name with a dot leads into a nested object, at most one level deep.
fn mapped(
    name: &str,
    old: Box<RawValue>,
    map: &FieldMap,
) -> Result<Option<(String, Box<RawValue>)>, InvalidData> {
    let object = |name: &str, value: Box<RawValue>| {
        to_raw_value(&RawFields::from_iter([(name.to_owned(), value)])).map_err(InvalidData::new)
    };
    let (nested, depth) = match name.split_once('.') {
        Some((outer, inner)) => (object(outer, object(inner, old)?)?, 2),
        None => (object(name, old)?, 1),
    };
    let mut found = map.apply(&nested)?;
    let mut path = Vec::new();
    for _ in 0..depth {
        let Ok(object) = serde_json::from_str::<RawFields>(found.get()) else { return Ok(None) };
        let Some((part, inner)) = object.into_iter().next() else { return Ok(None) };
        path.push(part);
        found = inner;
    }
    Ok(Some((path.join("."), found)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes() -> Box<RawValue> {
        let changes = json!({"changed": ["total", "contact.email", "note"],
            "previous": {"total": "5.00", "contact.email": "a@example.com"}});
        to_raw_value(&changes).unwrap()
    }

    #[test]
    fn without_a_field_map_all_changes_are_sent() {
        let sent = sent_changes(&changes(), None).unwrap();
        assert_eq!(sent.changed, r#"["total","contact.email","note"]"#);
        assert_eq!(sent.previous, r#"{"total":"5.00","contact.email":"a@example.com"}"#);
    }

    #[test]
    fn old_numbers_keep_every_digit() {
        let text = r#"{"changed":["n"],"previous":{"n":12345678901234567890.10}}"#;
        let changes = RawValue::from_string(text.to_owned()).unwrap();
        let rename: FieldMap = serde_json::from_value(json!({"rename": {"n": "m"}})).unwrap();
        assert_eq!(
            sent_changes(&changes, None).unwrap().previous,
            r#"{"n":12345678901234567890.10}"#
        );
        let renamed = sent_changes(&changes, Some(&rename)).unwrap();
        assert_eq!(renamed.previous, r#"{"m":12345678901234567890.10}"#);
    }

    #[test]
    fn old_values_of_omitted_fields_are_omitted_too() {
        let map: FieldMap = serde_json::from_value(json!({"exclude": ["contact.email"],
            "rename": {"total": "amount"}}))
        .unwrap();
        let sent = sent_changes(&changes(), Some(&map)).unwrap();
        assert_eq!(sent.changed, r#"["amount","note"]"#);
        assert_eq!(sent.previous, r#"{"amount":"5.00"}"#);
        let deep = EventChanges { changed: vec![".".repeat(60_000)], previous: RawFields::new() };
        let deep = sent_changes(&to_raw_value(&deep).unwrap(), Some(&map)).unwrap();
        assert_eq!(deep.previous, "{}", "names of others do not make it dig");
        let map = serde_json::from_value(json!({"include": ["contact"]})).unwrap();
        let sent = sent_changes(&changes(), Some(&map)).unwrap();
        assert_eq!(sent.changed, r#"["contact.email"]"#);
    }
}
