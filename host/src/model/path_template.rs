//! Paths that operators write, with expressions in braces: `/leads/{data.id}/notes`.

use crate::expression::event_subject::EventSubject;
use crate::expression::value_expression::ValueBudget;
use crate::model::body_template::{TemplateFault, TemplateValue};
use crate::model::fault::InputFault;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// Longest template, in bytes.
const MAX_PATH: usize = 2_048;
/// The place of a path's faults.
const PLACE: &str = "path";
/// The characters to encode in a computed value: all but the unreserved ones (RFC 3986, section
/// 2.3).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The characters to encode in a written path, as in the URL Standard.
const WRITTEN: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A template of a path to append to the path of a URL, rendered for each event.
#[derive(Debug)]
pub struct PathTemplate {
    parts: Vec<PathPart>,
}

#[derive(Debug)]
enum PathPart {
    Written(String),
    Computed(TemplateValue),
}

/// Percent-encodes a value for one segment of a path, or for a name or a value of a query.
pub fn encode_component(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

impl PathTemplate {
    /// Parses a template. The faults give the column.
    pub fn read(text: &str) -> Result<Self, Vec<InputFault>> {
        let fault = |why: &str| Err(vec![InputFault::new(PLACE, why)]);
        if text.len() > MAX_PATH {
            return fault("a path has at most 2048 bytes");
        }
        if !text.starts_with('/') {
            return fault("a path begins with `/`; it is appended to the path of `url`");
        }
        let (mut parts, mut faults, mut rest, mut column) = (Vec::new(), Vec::new(), text, 0);
        while let Some((written, after)) = rest.split_once('{') {
            parts.push(PathPart::Written(written.to_owned()));
            column += written.chars().count() + 1;
            let Some(end) = find_end(after) else {
                let why = format!("line 1, column {column}, at `{{`: `}}` is missing");
                faults.push(InputFault::new(PLACE, why));
                rest = "";
                break;
            };
            let (expression, tail) = after.split_at(end);
            match TemplateValue::read(expression, column, PLACE.to_owned()) {
                Ok(value) => parts.push(PathPart::Computed(value)),
                Err(fault) => faults.push(fault),
            }
            column += expression.chars().count() + 1;
            rest = tail.strip_prefix('}').unwrap_or_default();
        }
        parts.push(PathPart::Written(rest.to_owned()));
        faults.extend(parts.iter().filter_map(check_written));
        encode_written(&mut parts);
        if faults.is_empty() { Ok(Self { parts }) } else { Err(faults) }
    }

    /// Renders the path for an event, percent-encoded. Fails if a computed part is empty, or if a
    /// segment is `.` or `..`.
    pub fn render(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
    ) -> Result<String, TemplateFault> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                PathPart::Written(text) => path.push_str(text),
                PathPart::Computed(value) => {
                    let text = value.write_text(subject, budget)?.unwrap_or_default();
                    // `/leads/` without an id would name the list of all leads.
                    if text.is_empty() {
                        return Err(value.fault("a part of the path is null or empty"));
                    }
                    path.push_str(&encode_component(&text));
                }
            }
        }
        if path.split('/').any(is_dots) {
            let why = "a part of the path is `.` or `..`, which would lead to another path";
            return Err(TemplateFault { place: PLACE.to_owned(), why: why.to_owned() });
        }
        Ok(path)
    }
}

/// Whether a segment of a path leads to another path.
fn is_dots(part: &str) -> bool {
    matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

fn check_written(part: &PathPart) -> Option<InputFault> {
    let PathPart::Written(text) = part else { return None };
    let why = if text.contains(['?', '#']) {
        "a path has no `?` or `#`; name the members of the query in `query`"
    } else if text.contains('}') {
        "`}` stands without `{`; write expressions in braces"
    } else if text.chars().any(char::is_control) {
        "a path has no line breaks or control characters"
    } else {
        return None;
    };
    Some(InputFault::new(PLACE, why))
}

fn encode_written(parts: &mut [PathPart]) {
    for part in parts {
        if let PathPart::Written(text) = part {
            *text = utf8_percent_encode(text, WRITTEN).to_string();
        }
    }
}

/// Returns the offset of the brace that ends an expression. Skips braces and quoted texts inside
/// the expression.
fn find_end(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut is_escaped) = (0_usize, None, false);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (Some(_) | None, _) => {}
        }
    }
    None
}
