//! Expressions that compute a value of an event, for templates of requests.

use super::cel_value::WORK;
use super::compile::{CompiledExpression, ExpressionUse};
use super::event_subject::{EventSubject, SubjectValue};
use super::json_value::write_value;
use crate::json::canonical::{write_canonical, write_string};

/// A written expression that computes a value.
#[derive(Debug)]
pub struct ValueExpression(CompiledExpression);

/// What the expressions of one request may still cost. Together they may cost as much as one
/// condition, and write a bounded number of bytes.
#[derive(Debug)]
pub struct ValueBudget {
    work: usize,
    bytes: usize,
}

impl ValueBudget {
    /// For a request whose values have at most `bytes` bytes of JSON together.
    pub const fn new(bytes: usize) -> Self {
        Self { work: WORK, bytes }
    }
}

impl ValueExpression {
    /// Reads an expression that follows `skipped` characters of another text. An error names the
    /// line and the column in the whole text.
    pub fn read(text: &str, skipped: usize) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err(format!("line 1, column {}: an expression is missing", skipped + 1));
        }
        let padded = format!("{}{text}", " ".repeat(skipped));
        CompiledExpression::compile(&padded, ExpressionUse::Value).map(Self)
    }

    /// Appends the value as JSON. A value that is nothing but a member of the event keeps all
    /// digits of its numbers and the order of its members.
    pub fn write_json(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let before = out.len();
        let written = match self.find_member(subject) {
            Some(SubjectValue::Text(text)) => {
                write_string(text, out);
                Ok(())
            }
            Some(SubjectValue::Json(json)) => {
                write_canonical(json, out).map_err(|why| why.to_string())
            }
            None => self.compute(subject, budget, out),
        };
        written.map_err(|why| format!("{why} ({})", self.0.text))?;
        let left = budget.bytes.checked_sub(out.len() - before);
        budget.bytes =
            left.ok_or_else(|| format!("the request gets too long ({})", self.0.text))?;
        Ok(())
    }

    /// The value as a text: a text as it is, a number or a boolean as JSON has it, `None` for null.
    pub fn write_text(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
    ) -> Result<Option<String>, String> {
        let mut json = Vec::new();
        self.write_json(subject, budget, &mut json)?;
        let text = String::from_utf8(json).unwrap_or_default();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(&text)
                .map(Some)
                .map_err(|_opaque| format!("the text has half a character ({})", self.0.text)),
            Some(b'n') => Ok(None),
            Some(b'{') => Err(format!("it gives an object, not a text ({})", self.0.text)),
            Some(b'[') => Err(format!("it gives a list, not a text ({})", self.0.text)),
            Some(_) | None => Ok(Some(text)),
        }
    }

    /// The member that the expression names, where it does nothing else.
    fn find_member<'e>(&self, subject: &EventSubject<'e>) -> Option<SubjectValue<'e>> {
        let [path] = self.0.paths.as_slice() else { return None };
        if self.0.is_plain_path { subject.find(path.variable, &path.fields) } else { None }
    }

    fn compute(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let most = budget.bytes;
        let evaluation = self.0.evaluate(subject, budget.work, |value| {
            let mut json = Vec::new();
            write_value(value, most, &mut json).map(|()| json)
        });
        budget.work = evaluation.left;
        write_canonical(&String::from_utf8(evaluation.result?).unwrap_or_default(), out)
            .map_err(|why| why.to_string())
    }
}
