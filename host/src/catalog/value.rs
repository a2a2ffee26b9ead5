//! Checks the form of a value in an example by the type of its field.

use super::source::{CatalogField, ScalarKind};

/// Whether `text` is a valid value of the field.
pub fn is_valid_value(field: &CatalogField, text: &str) -> bool {
    match field.kind.scalar {
        ScalarKind::Id | ScalarKind::Int | ScalarKind::Unix => {
            like(text.strip_prefix('-').unwrap_or(text), "9+")
        }
        ScalarKind::Flag => matches!(text, "0" | "1"),
        ScalarKind::Choice => field.values.get(text).is_some(),
        ScalarKind::Money | ScalarKind::Decimal => {
            like(text.strip_prefix('-').unwrap_or(text), "9+.99")
        }
        ScalarKind::Date => like(text, "9999-99-99"),
        ScalarKind::DateTime => like(text, "9999-99-99 99:99:99"),
        ScalarKind::Email => text.is_empty() || text.contains('@'),
        ScalarKind::Text => true,
        ScalarKind::Object | ScalarKind::List | ScalarKind::Map => false,
    }
}

/// Whether `text` has the form of `picture`. In the picture, `9` is a digit, and `9+` at its start
/// is one or more digits.
fn like(text: &str, picture: &str) -> bool {
    let (text, picture) = match picture.strip_prefix("9+") {
        Some(rest) => {
            let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
            if digits.len() == text.len() {
                return false;
            }
            (digits, rest)
        }
        None => (text, picture),
    };
    text.len() == picture.len()
        && text.bytes().zip(picture.bytes()).all(|(c, p)| match p {
            b'9' => c.is_ascii_digit(),
            other => c == other,
        })
}

/// Describes a valid value of the field, for a message.
pub fn meant(field: &CatalogField) -> String {
    match field.kind.scalar {
        ScalarKind::Id | ScalarKind::Int => "a whole number in quotes".into(),
        ScalarKind::Unix => "seconds since 1970 in quotes".into(),
        ScalarKind::Flag => "\"0\" or \"1\"".into(),
        ScalarKind::Choice => {
            let values: Vec<String> =
                field.values.iter().map(|(value, what)| format!("{value:?} ({what})")).collect();
            format!("one of {}", values.join(", "))
        }
        ScalarKind::Money | ScalarKind::Decimal => {
            "a number with two decimal places in quotes".into()
        }
        ScalarKind::Date => "YYYY-MM-DD".into(),
        ScalarKind::DateTime => "YYYY-MM-DD HH:MM:SS".into(),
        ScalarKind::Email => "an email address".into(),
        ScalarKind::Text => "a text in quotes".into(),
        ScalarKind::Object => "a table".into(),
        ScalarKind::List => "a list of tables".into(),
        ScalarKind::Map => "a table of texts".into(),
    }
}
