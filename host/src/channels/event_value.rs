//! Finds values of an event by their place, for the columns of a table or a CSV file.

use crate::json::pointer::take_step;
use crate::model::envelope::EnvelopeMessage;
use serde_json::value::RawValue;

/// Longest text of a place, in bytes.
const MAX_TEXT: usize = 255;

/// The place of a value in a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventPlace {
    DeliveryId,
    EventId,
    EventType,
    Source,
    Resource,
    RecordId,
    /// The time of the event.
    Time,
    /// The field names that lead to a value in the data. Empty for the whole data.
    Data(Vec<String>),
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventValue {
    /// The value does not exist or is null.
    Absent,
    /// A text.
    Text(String),
    /// A number or a boolean, as its JSON literal.
    Literal(String),
    /// An object or an array, as JSON.
    Json(String),
}

impl EventPlace {
    /// Parses a place. The error lists the valid ones.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = match text {
            "delivery_id" => Self::DeliveryId,
            "event_id" => Self::EventId,
            "type" => Self::EventType,
            "source" => Self::Source,
            "resource" => Self::Resource,
            "id" => Self::RecordId,
            "time" => Self::Time,
            "data" => Self::Data(Vec::new()),
            _ => {
                let path = text.strip_prefix("data.").filter(|_| text.len() <= MAX_TEXT);
                let names: Vec<String> =
                    path.unwrap_or_default().split('.').map(str::to_owned).collect();
                if names.iter().any(String::is_empty) {
                    return Err(format!(
                        "`{text}` is not a place of an event; the places are type, source, resource, id, time, \
                         event_id, delivery_id, data and data.FIELD"
                    ));
                }
                Self::Data(names)
            }
        };
        Ok(known)
    }

    /// Finds the value in a delivery.
    pub fn find(&self, message: &EnvelopeMessage<'_>) -> EventValue {
        let text = |text: &str| EventValue::Text(text.to_owned());
        match self {
            Self::DeliveryId => text(message.delivery_id),
            Self::EventId => text(message.event_id),
            Self::EventType => text(message.event_type),
            Self::Source => text(message.source),
            Self::Resource => message.resource.map_or(EventValue::Absent, text),
            Self::RecordId => message.resource_id.map_or(EventValue::Absent, text),
            Self::Time => text(message.timestamp),
            Self::Data(names) => find_data(message.data, names),
        }
    }
}

fn find_data(data: &str, names: &[String]) -> EventValue {
    let Ok(data) = serde_json::from_str::<&RawValue>(data) else { return EventValue::Absent };
    match names.iter().try_fold(data, |value, name| take_step(value, name)) {
        Some(value) => EventValue::read(value),
        None => EventValue::Absent,
    }
}

impl EventValue {
    fn read(value: &RawValue) -> Self {
        let json = value.get();
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(json).map_or(Self::Absent, Self::Text),
            Some(b'{' | b'[') => Self::Json(json.to_owned()),
            Some(b'n') | None => Self::Absent,
            Some(_) => Self::Literal(json.to_owned()),
        }
    }

    /// Returns the value as JSON.
    pub fn to_json(&self) -> String {
        match self {
            Self::Absent => "null".to_owned(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Literal(json) | Self::Json(json) => json.clone(),
        }
    }

    /// Returns the value as a text, or `None` if it is absent.
    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Text(text) | Self::Literal(text) | Self::Json(text) => Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &str) -> EventValue {
        let message = EnvelopeMessage {
            event_type: "invoice.paid",
            resource_id: Some("17"),
            data: r#"{"total": 10.10, "client": {"name": "Ü \"x\""}, "lines": [1], "gone": null, "ok": true, "a~b": 1}"#,
            ..EnvelopeMessage::default()
        };
        EventPlace::parse(place).unwrap().find(&message)
    }

    #[test]
    fn values_are_found_and_numbers_lose_no_digit() {
        assert_eq!(found("type"), EventValue::Text("invoice.paid".to_owned()));
        assert_eq!(found("data.total"), EventValue::Literal("10.10".to_owned()));
        assert_eq!(found("data.client.name"), EventValue::Text("Ü \"x\"".to_owned()));
        assert_eq!(found("data.client.name").to_json(), r#""Ü \"x\"""#);
        assert_eq!(found("data.lines"), EventValue::Json("[1]".to_owned()));
        assert_eq!(found("data.ok").into_text().as_deref(), Some("true"));
        for absent in ["resource", "data.gone", "data.no", "data.total.x"] {
            assert_eq!(found(absent), EventValue::Absent, "{absent}");
        }
    }

    #[test]
    fn an_unknown_place_is_refused() {
        for text in ["", "payload", "data.", "data..x", "where"] {
            assert!(EventPlace::parse(text).unwrap_err().contains("data.FIELD"), "{text}");
        }
    }
}
