//! Comparing fields of records, whose scalars are mostly texts.

use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// A comparison of a field with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldCondition {
    pub field: String,
    pub test: FieldTest,
    pub value: String,
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldTest {
    Is,
    IsNot,
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl FieldTest {
    /// The comparison of a word such as `gte`.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Is,
            "ne" => Self::IsNot,
            "gt" => Self::Above,
            "gte" => Self::AtLeast,
            "lt" => Self::Below,
            "lte" => Self::AtMost,
            _ => return None,
        })
    }

    fn fits(self, ordering: Ordering) -> bool {
        match self {
            Self::Is => ordering.is_eq(),
            Self::IsNot => ordering.is_ne(),
            Self::Above => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
            Self::Below => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
        }
    }
}

impl FieldCondition {
    /// Whether a record fits all of them.
    pub fn all(conditions: &[Self], record: &Map<String, Value>) -> bool {
        conditions.iter().all(|condition| condition.fits(record))
    }

    /// A field that is missing or null fits nothing but being something else.
    fn fits(&self, record: &Map<String, Value>) -> bool {
        match record.get(&self.field).and_then(text) {
            Some(text) => self.test.fits(compare_values(&text, &self.value)),
            None => self.test == FieldTest::IsNot,
        }
    }
}

/// A scalar as a text.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "1" } else { "0" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// As numbers where both are, else as texts.
fn compare_values(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        (_, _) => a.cmp(b),
    }
}

/// The order of two records by fields, each ascending or descending; records without one come last.
pub fn compare_by(
    fields: &[(String, bool)],
    a: &Map<String, Value>,
    b: &Map<String, Value>,
) -> Ordering {
    let by = |(field, descends): &(String, bool)| match (
        a.get(field).and_then(text),
        b.get(field).and_then(text),
    ) {
        (Some(a), Some(b)) if *descends => compare_values(&b, &a),
        (Some(a), Some(b)) => compare_values(&a, &b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    fields.iter().map(by).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}
