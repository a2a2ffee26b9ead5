//! Describes in words how a condition judged an event.

use super::check::EventPath;
use super::event_subject::{EventSubject, SubjectValue};
use cel::ExecutionError;
use cel::common::types::CelBool;
use cel::common::value::Val;

/// Longest expression in a message, in characters.
const MAX_TEXT: usize = 300;
/// Longest value in a message, in characters.
const MAX_VALUE: usize = 60;
/// Most values in a message.
const MAX_VALUES: usize = 8;

/// Whether an event meets a condition. If not, holds the sentence for its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhereVerdict {
    Met,
    Unmet(String),
    /// The condition could not be evaluated. This counts as false.
    Failed(String),
}

impl WhereVerdict {
    /// Returns why the event does not pass, if it does not.
    pub fn into_reason(self) -> Option<String> {
        match self {
            Self::Met => None,
            Self::Unmet(reason) | Self::Failed(reason) => Some(reason),
        }
    }
}

/// Reads the result of a condition. Fails if it is neither true nor false.
pub fn read_result(value: &dyn Val) -> Result<bool, String> {
    let Some(result) = value.downcast_ref::<CelBool>() else {
        let kind = value.get_type().name();
        return Err(format!("the result is neither true nor false, but a value of type {kind}"));
    };
    Ok(*result.inner())
}

/// Joins the words of a text on one line, and cuts it to [`MAX_TEXT`] characters.
pub fn on_one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    shorten(&words.join(" "), MAX_TEXT)
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Lists the values that decided: ` (data.total = "900.00")`.
pub fn describe_values(subject: &EventSubject<'_>, paths: &[EventPath], seen: &[usize]) -> String {
    let seen = seen.iter().filter_map(|place| paths.get(*place));
    let mut values: Vec<String> =
        seen.flat_map(|path| describe_path(subject, path)).take(MAX_VALUES + 1).collect();
    if values.len() > MAX_VALUES {
        values.truncate(MAX_VALUES);
        values.push("…".to_owned());
    }
    if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) }
}

fn describe_path(subject: &EventSubject<'_>, path: &EventPath) -> Vec<String> {
    if path.is_whole {
        return vec![format!(
            "{} = {}",
            path.name,
            show(subject.find(path.variable, &path.fields))
        )];
    }
    let member = |name: &String| {
        let mut fields = path.fields.clone();
        fields.push(name.clone());
        subject.find(path.variable, &fields)
    };
    let picked = path.picked.iter();
    let picked = picked.map(|name| format!("{}[{name:?}] = {}", path.name, show(member(name))));
    let tested = path.tested.iter().filter(|name| !path.picked.contains(name));
    let tested = tested.map(|name| {
        let state = if member(name).is_some() { "exists" } else { "is missing" };
        format!("{}.{name} {state}", path.name)
    });
    picked.chain(tested).collect()
}

fn show(value: Option<SubjectValue<'_>>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(SubjectValue::Text(text)) => shorten(&format!("{text:?}"), MAX_VALUE),
        Some(SubjectValue::Json(json)) => shorten(json, MAX_VALUE),
    }
}

/// Explains an error of the evaluation.
#[expect(clippy::wildcard_enum_match_arm, reason = "errors of the crate that no operator meets")]
pub fn explain_error(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("no such key `{name}`"),
        ExecutionError::NoSuchOverload(found) => {
            explain_types(found.function(), found.argument_types())
        }
        ExecutionError::UnsupportedBinaryOperator(operator, one, other) => {
            let types = [one, other].map(|value| value.type_of().to_string());
            explain_types(operator, &types)
        }
        ExecutionError::FunctionError { function, message } => {
            shorten(&format!("`{function}`: {message}"), MAX_TEXT)
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "a division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "the list has no such element".to_owned(),
        other => shorten(&other.to_string(), MAX_TEXT),
    }
}

fn explain_types(function: &str, types: &[String]) -> String {
    let operator = match function {
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        "_[_]" => "[]",
        named => named.trim_matches(['_', '@']),
    };
    let is = |kind: &str| types.iter().any(|known| known == kind);
    let hint = if is("string") && (is("int") || is("double") || is("uint")) {
        "; `double(…)` converts a text to a number"
    } else {
        ""
    };
    format!("`{operator}` does not take {}{hint}", types.join(" and "))
}
