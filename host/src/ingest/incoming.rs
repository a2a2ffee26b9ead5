//! An event as a caller gives it, and the rules it must keep.

use super::record_id::RecordId;
use crate::catalog;
use crate::model::event::MAX_KEY;
use crate::model::fault::InputFault;
use crate::model::type_pattern::{MAX_EVENT_TYPE, is_event_type};
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;

/// How deep JSON may nest, arrays and objects counted.
pub const MAX_DEPTH: usize = 100;

/// An event as a caller gives it.
#[derive(Debug, Clone)]
pub struct IncomingEvent {
    pub event_type: String,
    /// Any JSON value, byte for byte as it came.
    pub data: Box<RawValue>,
    /// The id the source gave it.
    pub id: Option<String>,
    /// Whether that is the id of the whole request, which all of its events share.
    pub shares_id: bool,
    /// The source's name.
    pub source: Option<String>,
    /// What kind of thing it is about.
    pub resource: Option<String>,
    /// Which one.
    pub resource_id: Option<String>,
    /// Whether an `id` in the data may be the record's, where `resource_id` is not given.
    pub data_names_record: bool,
    /// When it happened.
    pub occurred_at: Option<Timestamp>,
    /// CloudEvents extension attributes, as a JSON object.
    pub attributes: Option<Box<RawValue>>,
    /// What changed, where the source tells.
    pub changes: Option<Box<RawValue>>,
    /// Whether the type is a second name of another event that is captured too, so that only those
    /// get it who asked for it by name.
    pub second_name: bool,
}

impl IncomingEvent {
    /// An event of which nothing else is known.
    pub fn new(event_type: impl Into<String>, data: Box<RawValue>) -> Self {
        Self {
            event_type: event_type.into(),
            data,
            id: None,
            shares_id: false,
            source: None,
            resource: None,
            resource_id: None,
            data_names_record: true,
            occurred_at: None,
            attributes: None,
            changes: None,
            second_name: false,
        }
    }

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if !is_event_type(&self.event_type) {
            let message = format!(
                "`{}` is not an event type: use a dotted name such as `invoice.paid`, at most \
                 {MAX_EVENT_TYPE} letters, digits, `_` or `-` and dots between them",
                shorten(&self.event_type)
            );
            faults.push(InputFault::new("type", message));
        }
        let keys = [
            ("id", &self.id),
            ("source", &self.source),
            ("resource", &self.resource),
            ("resource_id", &self.resource_id),
        ];
        for (path, key) in keys {
            if key.as_ref().is_some_and(|text| !is_key(text)) {
                let message = format!("1 to {MAX_KEY} bytes without control characters");
                faults.push(InputFault::new(path, message));
            }
        }
        if nests_deeper(self.data.get(), MAX_DEPTH) {
            faults.push(InputFault::new("data", format!("nests deeper than {MAX_DEPTH} levels")));
        }
        faults
    }

    /// The resource that its type is about, whatever it says of itself.
    pub fn resource_of_type(&self) -> Option<&str> {
        let known = catalog::get().find(&self.event_type);
        known.map(|known| known.resource).or_else(|| self.event_type.split('.').next())
    }

    /// Fills in what the catalogue and the data say: the resource, and which one. For a type that
    /// is not in the catalogue that is the type's first segment, and the data's `id`. Answers
    /// whether the data may hold the whole record: it does not where it names the record as a
    /// hook's argument.
    pub fn complete(&mut self) -> bool {
        if self.resource.is_none() {
            self.resource = self.resource_of_type().map(str::to_owned);
        }
        if self.resource_id.is_some() {
            return true;
        }
        let data = self.data.get();
        let found = match catalog::get().find(&self.event_type) {
            Some(known) => RecordId::of_catalogued(known.name, known.resource, known.key, data),
            None => RecordId::of_other(data).filter(|_| self.data_names_record),
        };
        let found = found.filter(|found| is_key(&found.id));
        let holds_record = found.as_ref().is_none_or(|found| !found.is_argument);
        self.resource_id = found.map(|found| found.id);
        holds_record
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_KEY && !text.chars().any(char::is_control)
}

/// The first characters of a text that may be long.
pub fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Whether valid JSON nests deeper than `most`.
pub fn nests_deeper(json: &str, most: usize) -> bool {
    // What has no more brackets than that, in texts or not, need not be looked at one by one.
    let opens = json.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    opens > most && is_deeper(json, most)
}

fn is_deeper(json: &str, most: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_ignores_brackets_in_texts() {
        assert!(!nests_deeper(r#"{"a":"[[[[\"[["}"#, 1));
        assert!(nests_deeper(r#"{"a":[1]}"#, 1));
    }
}
