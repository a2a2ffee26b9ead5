//! An event as a caller sends it, and the rules that it must keep.

use super::record_id::RecordId;
use crate::catalog;
use crate::model::alert::NOTICE_SOURCE;
use crate::model::event::MAX_KEY;
use crate::model::fault::InputFault;
use crate::model::type_pattern::{MAX_EVENT_TYPE, OWN_TYPES, is_event_type};
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;

/// How deep arrays and objects of JSON may be nested.
pub const MAX_DEPTH: usize = 100;

/// An event as a caller sends it.
#[derive(Debug, Clone)]
pub struct IncomingEvent {
    pub event_type: String,
    /// Any JSON value, byte for byte as it was received.
    pub data: Box<RawValue>,
    /// The source's id of the event.
    pub id: Option<String>,
    /// Whether `id` belongs to the whole request, so that all events of the request share it.
    pub shares_id: bool,
    /// The name of the source.
    pub source: Option<String>,
    /// The kind of record that the event is about, such as `invoice`.
    pub resource: Option<String>,
    /// The id of the record that the event is about.
    pub resource_id: Option<String>,
    /// Whether the member `id` of the data may be taken for a missing `resource_id`.
    pub data_names_record: bool,
    /// When the event happened.
    pub occurred_at: Option<Timestamp>,
    /// CloudEvents extension attributes, as a JSON object.
    pub attributes: Option<Box<RawValue>>,
    /// What an update changed, if the source tells.
    pub changes: Option<Box<RawValue>>,
    /// Whether the type is an alias of another event that is captured, too. If so, the event goes
    /// only to endpoints and flows that subscribe to the alias by its name.
    pub second_name: bool,
}

impl IncomingEvent {
    /// Makes an event of its type and data.
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

    /// Returns the faults of the event.
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

    /// Returns the faults of an event whose type or source is kept for Waybill's own notices. With
    /// both, it would read as an alert.
    pub fn check_reserved(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if self.event_type.starts_with(OWN_TYPES) {
            let message =
                format!("types that begin with `{OWN_TYPES}` are kept for Waybill's own events");
            faults.push(InputFault::new("type", message));
        }
        if self.source.as_deref() == Some(NOTICE_SOURCE) {
            let message = format!("the source `{NOTICE_SOURCE}` is kept for Waybill's own events");
            faults.push(InputFault::new("source", message));
        }
        faults
    }

    /// Returns the resource of the event's type, whatever `resource` says.
    pub fn resource_of_type(&self) -> Option<&str> {
        let known = catalog::get().find(&self.event_type);
        known.map(|known| known.resource).or_else(|| self.event_type.split('.').next())
    }

    /// Fills in the resource and its id from the catalogue and the data. For a type that is not in
    /// the catalogue, these are the type's first segment and the member `id` of the data. Returns
    /// whether the data may contain the whole record. It does not if it names the record as a
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

/// Returns the first 60 characters of a text.
pub fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Whether valid JSON is nested deeper than `most` levels.
pub fn nests_deeper(json: &str, most: usize) -> bool {
    // A text with no more opening brackets than `most` cannot be nested deeper, so the slow check
    // is skipped.
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
    fn types_and_the_source_of_notices_are_reserved() {
        let event = |event_type: &str, source: Option<&str>| {
            let data = RawValue::NULL.to_owned();
            let source = source.map(str::to_owned);
            IncomingEvent { source, ..IncomingEvent::new(event_type, data) }
        };
        let places = |event: IncomingEvent| {
            event.check_reserved().into_iter().map(|fault| fault.path).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(places(event("waybill.alert.firing", Some("crm"))), ["type"]);
        assert_eq!(places(event("invoice.paid", Some("waybill"))), ["source"]);
        assert_eq!(places(event("waybill.a", Some("waybill"))), ["type", "source"]);
        assert_eq!(places(event("waybills.created", Some("waybill-2"))), none);
        assert_eq!(places(event("invoice.paid", None)), none);
    }

    #[test]
    fn depth_ignores_brackets_in_texts() {
        assert!(!nests_deeper(r#"{"a":"[[[[\"[["}"#, 1));
        assert!(nests_deeper(r#"{"a":[1]}"#, 1));
    }
}
