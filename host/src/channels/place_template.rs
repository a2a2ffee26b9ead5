//! Subjects, topics and routing keys with values of the event: `crm.{type}.{id}`.
//!
//! Characters of a value that have a meaning to a queue are percent-encoded, so no event can choose
//! another subject than the one the operator wrote. The dots of an event type stay, because they
//! separate the parts of a subject as they separate those of a type.

use crate::model::envelope::EnvelopeMessage;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Longest template and longest rendered place, in bytes. AMQP allows routing keys of at most 255
/// bytes.
pub const MAX_PLACE: usize = 255;

/// Written in place of a value that the event does not have.
const ABSENT: &str = "-";

/// The separators and wildcards of NATS, MQTT and AMQP. `$` begins names that brokers reserve.
const MEANINGFUL: &AsciiSet =
    &CONTROLS.add(b' ').add(b'%').add(b'*').add(b'>').add(b'#').add(b'+').add(b'/').add(b'$');

/// The characters to encode in a value that forms one part of a place.
const ONE_PART: &AsciiSet = &MEANINGFUL.add(b'.');

/// A template of a place with values of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceTemplate(Vec<PlacePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum PlacePart {
    Literal(String),
    Value(PlaceValue),
}

/// The value that a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceValue {
    EventType,
    Source,
    Resource,
    RecordId,
    /// The day on which the event happened, in UTC.
    Date,
    /// The hour of that day, `00` to `23`.
    Hour,
}

impl PlaceValue {
    fn named(name: &str) -> Option<Self> {
        match name {
            "type" => Some(Self::EventType),
            "source" => Some(Self::Source),
            "resource" => Some(Self::Resource),
            "id" => Some(Self::RecordId),
            "date" => Some(Self::Date),
            "hour" => Some(Self::Hour),
            _ => None,
        }
    }

    /// Returns the characters to encode in the value.
    const fn meaningful(self) -> &'static AsciiSet {
        match self {
            Self::EventType => MEANINGFUL,
            Self::Source | Self::Resource | Self::RecordId | Self::Date | Self::Hour => ONE_PART,
        }
    }

    fn of<'a>(self, message: &EnvelopeMessage<'a>) -> &'a str {
        let value = match self {
            Self::EventType => Some(message.event_type),
            Self::Source => Some(message.source),
            Self::Resource => message.resource,
            Self::RecordId => message.resource_id,
            Self::Date => message.timestamp.get(..10),
            Self::Hour => message.timestamp.get(11..13),
        };
        value.filter(|value| !value.is_empty()).unwrap_or(ABSENT)
    }
}

impl PlaceTemplate {
    /// Parses a template. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_PLACE {
            return Err(format!("must have 1 to {MAX_PLACE} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            push_literal(&mut parts, literal)?;
            let (name, after) = after.split_once('}').ok_or("a `{` is not closed")?;
            let value = PlaceValue::named(name).ok_or_else(|| {
                format!("`{{{name}}}` is not a placeholder; the placeholders are {{type}}, {{source}}, {{resource}}, {{id}}, {{date}} and {{hour}}")
            })?;
            parts.push(PlacePart::Value(value));
            rest = after;
        }
        push_literal(&mut parts, rest)?;
        Ok(Self(parts))
    }

    /// Renders the place of a delivery. Fails if it is longer than [`MAX_PLACE`].
    pub fn render(&self, message: &EnvelopeMessage<'_>) -> Result<String, String> {
        self.write(|value, place| {
            place.extend(utf8_percent_encode(value.of(message), value.meaningful()));
        })
    }

    /// Renders a text whose characters have no meaning to a broker, such as the key of a record.
    pub fn render_plain(&self, message: &EnvelopeMessage<'_>) -> Result<String, String> {
        self.write(|value, text| text.push_str(value.of(message)))
    }

    fn write(&self, write: impl Fn(PlaceValue, &mut String)) -> Result<String, String> {
        let mut place = String::new();
        for part in &self.0 {
            match part {
                PlacePart::Literal(literal) => place.push_str(literal),
                PlacePart::Value(value) => write(*value, &mut place),
            }
        }
        if place.len() > MAX_PLACE {
            return Err(format!("`{place}` has more than {MAX_PLACE} bytes"));
        }
        Ok(place)
    }
}

fn push_literal(parts: &mut Vec<PlacePart>, literal: &str) -> Result<(), String> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"{}*>#+".contains(c);
    if let Some(odd) = literal.chars().find(|c| !is_plain(*c)) {
        return Err(format!(
            "contains {odd:?}; wildcards, spaces and control characters are not allowed"
        ));
    }
    if parts.is_empty() && (literal.starts_with('$') || literal.starts_with("_INBOX")) {
        return Err("begins with a name that servers reserve".to_owned());
    }
    if !literal.is_empty() {
        parts.push(PlacePart::Literal(literal.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> EnvelopeMessage<'static> {
        EnvelopeMessage {
            event_type: "invoice.paid",
            source: "my crm",
            resource: Some("invoice"),
            resource_id: Some("a.b/*>#+ %ü"),
            timestamp: "2026-03-01T09:30:00.123Z",
            ..EnvelopeMessage::default()
        }
    }

    fn place(template: &str) -> Result<String, String> {
        PlaceTemplate::parse(template)?.render(&message())
    }

    #[test]
    fn values_of_the_event_do_not_change_the_structure_of_a_place() {
        assert_eq!(place("crm.{type}").unwrap(), "crm.invoice.paid");
        assert_eq!(place("{source}/{resource}").unwrap(), "my%20crm/invoice");
        assert_eq!(place("x.{id}").unwrap(), "x.a%2Eb%2F%2A%3E%23%2B%20%25%C3%BC");
        assert_eq!(place("{date}/{hour}").unwrap(), "2026-03-01/09");
        assert_eq!(place("plain").unwrap(), "plain");
        let without = EnvelopeMessage { resource_id: None, ..message() };
        assert_eq!(PlaceTemplate::parse("x.{id}").unwrap().render(&without).unwrap(), "x.-");
    }

    #[test]
    fn an_event_cannot_reach_reserved_names() {
        let odd = EnvelopeMessage { event_type: "$JS.API.STREAM.DELETE.x", ..message() };
        let rendered = PlaceTemplate::parse("{type}").unwrap().render(&odd).unwrap();
        assert_eq!(rendered, "%24JS.API.STREAM.DELETE.x");
        for template in ["$JS.API.STREAM.DELETE.x", "$SYS/x", "_INBOX.x"] {
            assert!(place(template).unwrap_err().contains("servers reserve"), "{template}");
        }
    }

    #[test]
    fn invalid_templates_are_refused_with_a_reason() {
        for (template, word) in [
            ("", "1 to 255"),
            ("a.*", "wildcards"),
            ("a b", "spaces"),
            ("a.{data}", "not a placeholder"),
            ("a.{type", "not closed"),
            ("a.}", "wildcards"),
            ("a/#", "wildcards"),
        ] {
            let why = place(template).unwrap_err();
            assert!(why.contains(word), "{template}: {why}");
        }
        let text = "x".repeat(300);
        let long = EnvelopeMessage { resource_id: Some(&text), ..message() };
        assert!(PlaceTemplate::parse("{id}").unwrap().render(&long).is_err());
    }
}
