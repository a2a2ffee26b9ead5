//! Bodies that operators write: a JSON value with expressions in place of some strings.
//!
//! A string that begins with `=` is a CEL expression over the event. Everything else is sent as it
//! is written. A template is parsed once into pieces of JSON with expressions between them.

use crate::expression::event_subject::EventSubject;
use crate::expression::value_expression::{ValueBudget, ValueExpression};
use crate::json::canonical::{write_canonical, write_string};
use crate::model::fault::InputFault;
use serde_json::Value;

/// The first character of a string that is an expression.
const EXPRESSION: char = '=';
/// Longest template, in bytes of JSON.
const MAX_TEMPLATE: usize = 64 * 1024;
/// Most expressions of one template.
const MAX_EXPRESSIONS: usize = 200;
/// Deepest nesting of a template.
const MAX_LEVELS: usize = 32;

/// A value that cannot be computed for an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{place}` cannot be computed: {why}")]
pub struct TemplateFault {
    /// The part of the template, such as `body.lead.name`.
    pub place: String,
    pub why: String,
}

/// A template of a body, rendered for each event.
#[derive(Debug, Default)]
pub struct BodyTemplate {
    parts: Vec<BodyPart>,
}

#[derive(Debug)]
enum BodyPart {
    Json(Vec<u8>),
    Computed(TemplateValue),
}

/// An expression at its place in a template.
#[derive(Debug)]
pub struct TemplateValue {
    place: String,
    expression: Box<ValueExpression>,
}

impl TemplateValue {
    /// Parses an expression that follows `skipped` characters of the text at a place.
    pub fn read(text: &str, skipped: usize, place: String) -> Result<Self, InputFault> {
        match ValueExpression::read(text, skipped) {
            Ok(expression) => Ok(Self { place, expression: Box::new(expression) }),
            Err(why) => Err(InputFault::new(place, why)),
        }
    }

    /// Parses a string of a template. Returns `None` if it does not begin with `=` and so is not an
    /// expression.
    pub fn read_marked(text: &str, place: &str) -> Option<Result<Self, InputFault>> {
        let expression = text.strip_prefix(EXPRESSION)?;
        Some(Self::read(expression, 1, place.to_owned()))
    }

    /// Computes the value as a text, or `None` if it is null.
    pub fn write_text(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
    ) -> Result<Option<String>, TemplateFault> {
        self.expression.write_text(subject, budget).map_err(|why| self.fault(why))
    }

    /// Returns a fault of this value.
    pub fn fault(&self, why: impl Into<String>) -> TemplateFault {
        TemplateFault { place: self.place.clone(), why: why.into() }
    }
}

impl BodyTemplate {
    /// Parses a template. The faults name the places of the expressions that cannot be parsed.
    pub fn read(body: &Value) -> Result<Self, Vec<InputFault>> {
        if body.to_string().len() > MAX_TEMPLATE {
            return Err(vec![InputFault::new("body", format!("at most {MAX_TEMPLATE} bytes"))]);
        }
        let mut reader = BodyReader::default();
        reader.read_value(body, "body", 0);
        reader.flush();
        if reader.expressions > MAX_EXPRESSIONS {
            let why = format!("at most {MAX_EXPRESSIONS} expressions");
            reader.faults.push(InputFault::new("body", why));
        }
        let BodyReader { parts, faults, .. } = reader;
        if faults.is_empty() { Ok(Self { parts }) } else { Err(faults) }
    }

    /// Renders the body for an event, in the canonical form of JSON.
    pub fn render(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
    ) -> Result<Vec<u8>, TemplateFault> {
        let mut json = Vec::new();
        for part in &self.parts {
            match part {
                BodyPart::Json(text) => json.extend_from_slice(text),
                BodyPart::Computed(value) => {
                    let written = value.expression.write_json(subject, budget, &mut json);
                    written.map_err(|why| value.fault(why))?;
                }
            }
        }
        let mut body = Vec::new();
        // Each part is JSON, but the whole may be nested too deeply.
        write_canonical(&String::from_utf8(json).unwrap_or_default(), &mut body)
            .map_err(|why| TemplateFault { place: "body".to_owned(), why: why.to_string() })?;
        Ok(body)
    }
}

#[derive(Default)]
struct BodyReader {
    parts: Vec<BodyPart>,
    json: Vec<u8>,
    faults: Vec<InputFault>,
    expressions: usize,
}

impl BodyReader {
    fn flush(&mut self) {
        if !self.json.is_empty() {
            self.parts.push(BodyPart::Json(std::mem::take(&mut self.json)));
        }
    }

    fn read_value(&mut self, value: &Value, place: &str, level: usize) {
        if level > MAX_LEVELS {
            let why = format!("nested deeper than {MAX_LEVELS} levels");
            self.faults.push(InputFault::new(place, why));
            return;
        }
        match value {
            Value::String(text) => self.read_text(text, place),
            Value::Array(items) => self.read_list(items, place, level),
            Value::Object(members) => {
                self.json.push(b'{');
                for (n, (name, member)) in members.iter().enumerate() {
                    if n > 0 {
                        self.json.push(b',');
                    }
                    write_string(name, &mut self.json);
                    self.json.push(b':');
                    self.read_value(member, &format!("{place}.{name}"), level + 1);
                }
                self.json.push(b'}');
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.json.extend_from_slice(value.to_string().as_bytes());
            }
        }
    }

    fn read_list(&mut self, items: &[Value], place: &str, level: usize) {
        self.json.push(b'[');
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                self.json.push(b',');
            }
            self.read_value(item, &format!("{place}[{n}]"), level + 1);
        }
        self.json.push(b']');
    }

    fn read_text(&mut self, text: &str, place: &str) {
        if !text.starts_with(EXPRESSION) {
            write_string(text, &mut self.json);
            return;
        }
        self.expressions += 1;
        // A template with too many expressions is refused as a whole, so the rest need not be
        // parsed, which costs up to 1 ms each.
        if self.expressions > MAX_EXPRESSIONS {
            return;
        }
        match TemplateValue::read_marked(text, place) {
            Some(Ok(value)) => {
                self.flush();
                self.parts.push(BodyPart::Computed(value));
            }
            Some(Err(fault)) => self.faults.push(fault),
            None => {}
        }
    }
}
