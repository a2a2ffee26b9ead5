//! Searches records for a text, as PerfexAPI's `search` does.

use crate::json::members::{JsonMembers, scalar_text};
use serde_json::{Map, Value};

/// A text to find in any field of a record, whatever its case is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSearch {
    /// The text in lower case.
    wanted: String,
}

impl FieldSearch {
    /// Creates a search for a text.
    pub fn new(text: &str) -> Self {
        Self { wanted: text.to_lowercase() }
    }

    /// Returns whether a record holds the text. Objects and lists in it are not searched.
    pub fn finds_in(&self, record: &str) -> bool {
        JsonMembers::read(record).is_ok_and(|members| {
            let mut texts = members.iter().filter_map(|(_, value)| scalar_text(value));
            texts.any(|text| self.is_in(&text))
        })
    }

    /// Returns whether one of these fields holds the text.
    pub fn finds_in_fields(&self, fields: &Map<String, Value>) -> bool {
        fields.values().filter_map(Value::as_str).any(|text| self.is_in(text))
    }

    fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_any_field_in_either_case() {
        let record =
            r#"{"id":"17","company":"B\u00d6HME GmbH","total":480.25,"items":[{"name":"Lamp"}]}"#;
        for (wanted, is_found) in
            [("böhme", true), ("480.2", true), ("17", true), ("lamp", false), ("company", false)]
        {
            assert_eq!(FieldSearch::new(wanted).finds_in(record), is_found, "{wanted}");
        }
        assert!(!FieldSearch::new("x").finds_in("17"));
    }
}
