//! Fields of records by which modules find them.

use super::capability_grants::{CapabilityGrants, RecordIndex};
use crate::json::pointer::take_step;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// Longest value that is indexed, in bytes.
pub const MAX_INDEXED: usize = 255;

/// The indexed fields, by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexedFields(BTreeMap<String, BTreeSet<String>>);

impl IndexedFields {
    /// Returns the fields that any of these grants use.
    pub fn of<'g>(grants: impl Iterator<Item = &'g CapabilityGrants>) -> Self {
        let mut fields = Self::default();
        for RecordIndex { resource, field } in
            grants.flat_map(|grants| &grants.records).flat_map(|records| &records.indexes)
        {
            fields.0.entry(resource.clone()).or_default().insert(field.clone());
        }
        fields
    }

    /// Returns all indexed fields.
    pub fn pairs(&self) -> BTreeSet<RecordIndex> {
        let pair = |resource: &String, field: &String| RecordIndex {
            resource: resource.clone(),
            field: field.clone(),
        };
        let of_one = |(resource, fields): (&String, &BTreeSet<String>)| {
            fields.iter().map(|field| pair(resource, field)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_one).collect()
    }

    /// Returns the indexed fields of a record with their values. Costs nothing if the resource has
    /// no indexed field.
    pub fn find_values(&self, resource: Option<&str>, data: &RawValue) -> Vec<(String, String)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let Some(fields) = resource.and_then(|resource| self.0.get(resource)) else {
            return Vec::new();
        };
        let value = |field: &String| Some((field.clone(), read_field(data, field)?));
        fields.iter().filter_map(value).collect()
    }
}

/// Returns the value of a field in the form for comparisons: a string unchanged, any other value as
/// JSON text. `None` if it is absent, null or too long.
pub fn read_field(data: &RawValue, field: &str) -> Option<String> {
    let found = field.split('.').try_fold(data, take_step)?.get();
    if found == "null" {
        return None;
    }
    let text =
        if found.starts_with('"') { serde_json::from_str(found).ok()? } else { found.to_owned() };
    (text.len() <= MAX_INDEXED && !text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(resource: &str, field: &str) -> CapabilityGrants {
        let index = serde_json::json!({"resource": resource, "field": field});
        serde_json::from_value(serde_json::json!({"records": {"indexes": [index]}})).unwrap()
    }

    #[test]
    fn values_are_compared_as_text() {
        let data = r#"{"email": "a@example.com", "n": 7.50, "address": {"zip": "1"}, "no": null}"#;
        let data: Box<RawValue> = serde_json::from_str(data).unwrap();
        assert_eq!(read_field(&data, "email").as_deref(), Some("a@example.com"));
        assert_eq!(read_field(&data, "n").as_deref(), Some("7.50"));
        assert_eq!(read_field(&data, "address.zip").as_deref(), Some("1"));
        assert_eq!(read_field(&data, "no"), None);
        assert_eq!(read_field(&data, "other"), None);
    }

    #[test]
    fn only_fields_that_are_asked_for_are_indexed() {
        let asked =
            [grants("contact", "email"), grants("lead", "phone"), CapabilityGrants::default()];
        let fields = IndexedFields::of(asked.iter());
        assert_eq!(fields.pairs().len(), 2);
        let data: Box<RawValue> = serde_json::from_str(r#"{"email": "a", "phone": "1"}"#).unwrap();
        let found = fields.find_values(Some("contact"), &data);
        assert_eq!(found, [("email".to_owned(), "a".to_owned())]);
        assert!(fields.find_values(Some("invoice"), &data).is_empty());
        assert!(IndexedFields::default().find_values(Some("contact"), &data).is_empty());
    }
}
