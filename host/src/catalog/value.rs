//! What a value of an example must look like, by the type of its field.

use super::source::{Field, Scalar};

/// Is `text` a value of that field?
pub fn fits(field: &Field, text: &str) -> bool {
    match field.kind.scalar {
        Scalar::Id | Scalar::Int | Scalar::Unix => {
            like(text.strip_prefix('-').unwrap_or(text), "9+")
        }
        Scalar::Flag => matches!(text, "0" | "1"),
        Scalar::Choice => field.values.get(text).is_some(),
        Scalar::Money | Scalar::Decimal => like(text.strip_prefix('-').unwrap_or(text), "9+.99"),
        Scalar::Date => like(text, "9999-99-99"),
        Scalar::DateTime => like(text, "9999-99-99 99:99:99"),
        Scalar::Email => text.is_empty() || text.contains('@'),
        Scalar::Text => true,
        Scalar::Object | Scalar::List | Scalar::Map => false,
    }
}

/// Does `text` have the form of `picture`, where `9` is a digit and `9+` at its start digits?
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

/// What would be right, in words.
pub fn meant(field: &Field) -> String {
    match field.kind.scalar {
        Scalar::Id | Scalar::Int => "a whole number in quotes".into(),
        Scalar::Unix => "seconds since 1970 in quotes".into(),
        Scalar::Flag => "\"0\" or \"1\"".into(),
        Scalar::Choice => {
            let values: Vec<String> =
                field.values.iter().map(|(value, what)| format!("{value:?} ({what})")).collect();
            format!("one of {}", values.join(", "))
        }
        Scalar::Money | Scalar::Decimal => "a number with two places in quotes".into(),
        Scalar::Date => "YYYY-MM-DD".into(),
        Scalar::DateTime => "YYYY-MM-DD HH:MM:SS".into(),
        Scalar::Email => "a mail address".into(),
        Scalar::Text => "a text in quotes".into(),
        Scalar::Object => "a table".into(),
        Scalar::List => "a list of tables".into(),
        Scalar::Map => "a table of texts".into(),
    }
}
