//! Computes values from events, for the templates of requests.

use super::cel_value::WORK;
use super::compile::{CompiledExpression, ExpressionUse};
use super::event_subject::{EventSubject, SubjectValue};
use super::json_value::write_value;
use crate::json::canonical::{write_canonical, write_string};

/// A compiled expression that computes a value.
#[derive(Debug)]
pub struct ValueExpression(CompiledExpression);

/// The remaining budget of all expressions of one request. Together they may cause as much work as
/// one condition, and write a bounded number of bytes.
#[derive(Debug)]
pub struct ValueBudget {
    work: usize,
    bytes: usize,
}

impl ValueBudget {
    /// Makes the budget of a request whose values have at most `bytes` bytes of JSON together.
    pub const fn new(bytes: usize) -> Self {
        Self { work: WORK, bytes }
    }
}

impl ValueExpression {
    /// Reads an expression that follows `skipped` characters of another text. The error names the
    /// line and the column in the whole text.
    pub fn read(text: &str, skipped: usize) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err(format!("line 1, column {}: an expression is missing", skipped + 1));
        }
        let padded = format!("{}{text}", " ".repeat(skipped));
        CompiledExpression::compile(&padded, ExpressionUse::Value).map(Self)
    }

    /// Appends the value as JSON. If the expression is only a member of the event, its numbers keep
    /// all digits and its members keep their order.
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
            left.ok_or_else(|| format!("the request becomes too long ({})", self.0.text))?;
        Ok(())
    }

    /// Returns the value as text: a string without quotes, a number or a boolean as in JSON, `None`
    /// for null. Fails for an object or a list.
    pub fn write_text(
        &self,
        subject: &EventSubject<'_>,
        budget: &mut ValueBudget,
    ) -> Result<Option<String>, String> {
        let mut json = Vec::new();
        self.write_json(subject, budget, &mut json)?;
        let text = String::from_utf8(json).unwrap_or_default();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(&text).map(Some).map_err(|_opaque| {
                format!("the text contains half of a surrogate pair ({})", self.0.text)
            }),
            Some(b'n') => Ok(None),
            Some(b'{') => Err(format!("the result is an object, not a text ({})", self.0.text)),
            Some(b'[') => Err(format!("the result is a list, not a text ({})", self.0.text)),
            Some(_) | None => Ok(Some(text)),
        }
    }

    /// Returns the member that the expression names, if the expression is only that path.
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
