//! A finished span, as the stages hand it to the recorder.

use crate::model::trace_context::{SpanContext, SpanId};
use crate::time::timestamp::Timestamp;

/// Longest text of an attribute, in bytes. Longer ones are cut.
pub const MAX_TEXT: usize = 256;

/// The role of a span in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside of Waybill.
    Internal,
    /// A request that Waybill received.
    Server,
    /// A request that Waybill sent.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    Text(String),
    Number(i64),
}

/// The attributes of a span. Names follow OpenTelemetry's semantic conventions where there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanAttributes(pub Vec<(&'static str, AttributeValue)>);

impl SpanAttributes {
    /// Adds a text, cut to [`MAX_TEXT`] bytes.
    #[must_use]
    pub fn with_text(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.0.push((name, AttributeValue::Text(cut_text(text.into(), MAX_TEXT))));
        self
    }

    /// Adds a text if there is one.
    #[must_use]
    pub fn with_optional_text(self, name: &'static str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.with_text(name, text),
            None => self,
        }
    }

    #[must_use]
    pub fn with_number(mut self, name: &'static str, number: impl Into<i64>) -> Self {
        self.0.push((name, AttributeValue::Number(number.into())));
        self
    }
}

/// Cuts a text to at most `most` bytes, between two characters.
pub fn cut_text(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

/// A finished span.
#[derive(Debug, Clone)]
pub struct FinishedSpan {
    pub context: SpanContext,
    /// The span that caused it. `None` for the first of a trace.
    pub parent: Option<SpanId>,
    /// Whether the parent is a span of another system.
    pub is_parent_remote: bool,
    pub name: &'static str,
    pub kind: SpanKind,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub attributes: SpanAttributes,
    /// The class of the failure, if it failed.
    pub failure: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        let long = SpanAttributes::default().with_text("a", "\u{fc}".repeat(MAX_TEXT));
        let (_, AttributeValue::Text(text)) = &long.0[0] else { panic!("a text") };
        assert_eq!(text.len(), MAX_TEXT);
        assert_eq!(cut_text("a\u{fc}".to_owned(), 2), "a");
    }
}
