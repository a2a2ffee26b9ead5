//! Renders texts that operators write with members of the event in braces: `Invoice {data.number}
//! is paid`.
//!
//! Members are named as in `where`. Each value is escaped for the place that the text goes to, so
//! the content of an event is never interpreted as markup there.

use super::event_subject::{EventSubject, EventVariable, SubjectValue};
use serde_json::Value;

/// Longest template, in bytes.
pub const MAX_TEMPLATE: usize = 16_384;
/// Longest value of one member in a text, in characters. A longer value is cut and ends with
/// [`CUT_MARK`].
const MAX_VALUE: usize = 4_096;
/// Marks the end of a text that was cut.
pub const CUT_MARK: char = '…';

/// A template, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate {
    parts: Vec<TextPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TextPart {
    Written(String),
    Member { variable: EventVariable, fields: Vec<String> },
}

impl TextTemplate {
    /// Reads a template. `{{` and `}}` stand for single braces. The error names the line and the
    /// column.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEMPLATE {
            return Err(format!("a template has at most {MAX_TEMPLATE} bytes"));
        }
        let (mut parts, mut written, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, found) = rest.split_at(at);
            written.push_str(before);
            let place = || describe_place(text, text.len() - found.len());
            if let Some(after) = found.strip_prefix("{{") {
                written.push('{');
                rest = after;
            } else if let Some(after) = found.strip_prefix("}}") {
                written.push('}');
                rest = after;
            } else if let Some((name, after)) = found.get(1..).and_then(|t| t.split_once('}')) {
                if found.starts_with('}') {
                    return Err(format!("{}: `}}` stands without `{{`; write `}}}}`", place()));
                }
                parts.push(TextPart::Written(std::mem::take(&mut written)));
                parts.push(read_member(name).map_err(|why| format!("{}: {why}", place()))?);
                rest = after;
            } else {
                return Err(format!(
                    "{}: a brace stands alone; write members in braces, and `{{{{` for a brace",
                    place()
                ));
            }
        }
        written.push_str(rest);
        parts.push(TextPart::Written(written));
        parts.retain(|part| !matches!(part, TextPart::Written(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// Whether the text depends on the event.
    pub fn has_members(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, TextPart::Member { .. }))
    }

    /// Renders the text for an event. `escape` makes a value safe for the place that the text goes
    /// to. A missing or null member becomes an empty text.
    pub fn render(&self, subject: &EventSubject<'_>, escape: impl Fn(&str) -> String) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                TextPart::Written(written) => text.push_str(written),
                TextPart::Member { variable, fields } => {
                    let value = subject.find(*variable, fields).map(show_value);
                    text.push_str(&escape(&value.unwrap_or_default()));
                }
            }
        }
        text
    }
}

fn describe_place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

fn read_member(name: &str) -> Result<TextPart, String> {
    let mut names = name.trim().split('.');
    let first = names.next().unwrap_or_default();
    let Some(variable) = EventVariable::named(first) else {
        let known: Vec<&str> = EventVariable::ALL.iter().map(|(name, _)| *name).collect();
        return Err(format!("`{first}` is not known; the variables are {}", known.join(", ")));
    };
    let fields: Vec<String> = names.map(str::to_owned).collect();
    let is_name = |field: &String| {
        !field.is_empty() && field.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    match fields.iter().find(|field| !is_name(field)) {
        Some(field) => Err(format!("`{field}` is not the name of a member, such as data.total")),
        None => Ok(TextPart::Member { variable, fields }),
    }
}

/// Formats a value for people: a string without quotes, null as nothing, an object or a list as
/// JSON.
pub fn show_value(value: SubjectValue<'_>) -> String {
    let text = match value {
        SubjectValue::Text(text) => text.to_owned(),
        SubjectValue::Json(json) => match serde_json::from_str(json) {
            Ok(Value::String(text)) => text,
            Ok(Value::Null) | Err(_) => String::new(),
            Ok(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                json.to_owned()
            }
        },
    };
    cut_text(&text, MAX_VALUE)
}

/// Cuts a text to at most `most` characters. If something was cut off, the last one is
/// [`CUT_MARK`].
pub fn cut_text(text: &str, most: usize) -> String {
    if text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain([CUT_MARK]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    fn render(template: &str, data: &str) -> String {
        let subject = EventSubject {
            event_type: "invoice.paid",
            source: "crm",
            resource: Some("invoice"),
            record_id: None,
            data,
            changes: None,
            attributes: None,
            members: OnceLock::new(),
        };
        TextTemplate::read(template).unwrap().render(&subject, |text| text.replace('<', "&lt;"))
    }

    #[test]
    fn members_are_replaced_by_their_values() {
        let data = r#"{"number":"A<1","total":12.50,"client":{"name":"Ö"},"none":null}"#;
        for (template, text) in [
            ("{type}: {data.number}", "invoice.paid: A&lt;1"),
            ("<b>{data.total}</b> {{x}}", "<b>12.50</b> {x}"),
            ("{data.client.name}/{data.missing}/{data.none}/{id}", "Ö///"),
            ("{data.client}", r#"{"name":"Ö"}"#),
            ("", ""),
        ] {
            assert_eq!(render(template, data), text, "{template}");
        }
    }

    #[test]
    fn a_fault_states_its_line_and_column() {
        for (template, fault) in [
            ("a {data.x", "line 1, column 3: a brace stands alone"),
            ("a\nb }", "line 2, column 3: a brace stands alone"),
            ("a } b }", "line 1, column 3: `}` stands without"),
            ("{total}", "line 1, column 1: `total` is not known"),
            ("{data..x}", "line 1, column 1: `` is not the name"),
            ("{data.a + 1}", "line 1, column 1: `a + 1` is not the name"),
        ] {
            let why = TextTemplate::read(template).unwrap_err();
            assert!(why.starts_with(fault), "{template}: {why}");
        }
    }

    #[test]
    fn a_cut_text_ends_with_the_mark() {
        assert_eq!(cut_text("abc", 3), "abc");
        assert_eq!(cut_text("abcd", 3), "ab…");
        assert_eq!(cut_text("äöüß", 2), "ä…");
    }
}
