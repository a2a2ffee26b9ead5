//! Event types and the patterns that choose among them: `invoice.paid`, `invoice.*`, `*`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The prefix of the types of Waybill's own events.
pub const OWN_TYPES: &str = "waybill.";

/// Longest event type, in bytes.
pub const MAX_EVENT_TYPE: usize = 128;

/// The text is not a pattern of event types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an event pattern: use an exact type (`invoice.paid`), a prefix (`invoice.*`) or `*`"
)]
pub struct InvalidPattern {
    given: String,
}

/// A pattern that selects event types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypePattern {
    /// `*`: every type except Waybill's own, such as `waybill.alert.firing`. A receiver of a CRM's
    /// events has not asked for notices to its operators.
    Any,
    /// `invoice.*`: every type that begins with `invoice.`. The text includes the final dot.
    Prefix(String),
    /// `invoice.paid`: exactly this type.
    Exact(String),
}

/// Whether `text` is a dotted name: two or more segments of `[A-Za-z0-9_-]` joined by dots, at
/// most [`MAX_EVENT_TYPE`] bytes (Standard Webhooks 1.0, "type", plus `-`).
pub fn is_event_type(text: &str) -> bool {
    let mut segments = 0;
    text.len() <= MAX_EVENT_TYPE
        && text.split('.').all(|segment| {
            segments += 1;
            !segment.is_empty()
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
        && segments >= 2
}

impl TypePattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let invalid = || InvalidPattern { given: text.to_owned() };
        match text.strip_suffix('*') {
            None if is_event_type(text) => Ok(Self::Exact(text.to_owned())),
            Some(prefix) if prefix.ends_with('.') && is_event_type(&format!("{prefix}x")) => {
                Ok(Self::Prefix(prefix.to_owned()))
            }
            None | Some(_) => Err(invalid()),
        }
    }

    /// Whether the pattern selects an event type.
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Any => !event_type.starts_with(OWN_TYPES),
            Self::Prefix(prefix) => event_type.starts_with(prefix.as_str()),
            Self::Exact(name) => event_type == name,
        }
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

impl Serialize for TypePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TypePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_event_types() {
        let matches =
            |pattern: &str, name: &str| TypePattern::parse(pattern).unwrap().matches(name);
        assert!(matches("*", "invoice.paid"));
        assert!(!matches("*", "waybill.alert.firing"));
        assert!(matches("waybill.alert.*", "waybill.alert.firing"));
        assert!(matches("invoice.*", "invoice.paid"));
        assert!(matches("a.b.*", "a.b.c"));
        assert!(!matches("invoice.*", "invoices.paid"));
        assert!(matches("invoice.paid", "invoice.paid"));
        assert!(!matches("invoice.paid", "invoice.paid2"));
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for text in ["", "invoice", "*.paid", "invoice*", "in voice.paid", ".x", "a..b", "a.**"] {
            assert!(TypePattern::parse(text).is_err(), "{text}");
        }
    }
}
