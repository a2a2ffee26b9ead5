//! `${NAME}` in a file for `waybill apply`: values that come from the environment.
//!
//! Values are filled in after the file is parsed, and only in texts. A value therefore never adds
//! a setting, and stays a text whatever it looks like.

use serde_json::Value;

/// Begins a variable.
const OPEN: &str = "${";
/// Stands for [`OPEN`] where no variable is meant.
const ESCAPED: &str = "$${";

/// Replaces the variables in all texts of a document. Returns what is wrong, each with its place.
/// The messages hold names of variables, but no values.
pub fn fill_variables(
    document: &mut Value,
    variable: &impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    fill_value(document, "", variable, &mut faults);
    faults
}

fn fill_value(
    value: &mut Value,
    place: &str,
    variable: &impl Fn(&str) -> Option<String>,
    faults: &mut Vec<String>,
) {
    match value {
        Value::String(text) if text.contains(OPEN) => match fill_text(text, variable) {
            Ok(filled) => *text = filled,
            Err(why) => faults.push(format!("{place}: {why}")),
        },
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                fill_value(item, &format!("{place}[{n}]"), variable, faults);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if place.is_empty() { "" } else { "." };
                fill_value(member, &format!("{place}{dot}{name}"), variable, faults);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn fill_text(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        let (before, found) = rest.split_at(at);
        filled.push_str(before);
        if let Some(after) = found.strip_prefix(ESCAPED) {
            filled.push_str(OPEN);
            rest = after;
        } else if let Some(after) = found.strip_prefix(OPEN) {
            let named = after.split_once('}').filter(|(name, _)| is_name(name));
            let (name, after) = named.ok_or_else(|| {
                format!("`{OPEN}` is not followed by a variable such as `{OPEN}NAME}}`; write `{ESCAPED}` for a plain `{OPEN}`")
            })?;
            let value = variable(name)
                .ok_or_else(|| format!("the environment variable {name} is not set"))?;
            if value.is_empty() {
                return Err(format!("the environment variable {name} is empty"));
            }
            filled.push_str(&value);
            rest = after;
        } else {
            filled.push('$');
            rest = found.get(1..).unwrap_or_default();
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Whether a text may name a variable. Names have no lower-case letters, so that `${id}`, a dollar
/// before a member of an event, is refused instead of filled in.
fn is_name(text: &str) -> bool {
    let is_part = |c: char| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit();
    text.chars().all(is_part) && text.starts_with(|c: char| !c.is_ascii_digit())
}

/// Escapes the texts of a document, so that [`fill_variables`] leaves them as they are now.
pub fn escape_variables(document: &mut Value) {
    match document {
        Value::String(text) if text.contains(OPEN) => *text = text.replace(OPEN, ESCAPED),
        Value::Array(items) => items.iter_mut().for_each(escape_variables),
        Value::Object(members) => members.values_mut().for_each(escape_variables),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("books.example".to_owned()),
            "ODD" => Some("a: [\"${HOST}\"]\n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn filled(text: &str) -> Result<String, String> {
        fill_text(text, environment)
    }

    #[test]
    fn variables_are_filled_in_once_and_stay_texts() {
        let mut document = json!({"endpoints": [{"url": "https://${HOST}/in?h=${HOST}", "n": 1}],
                                  "odd": "${ODD}", "${HOST}": null});
        assert_eq!(fill_variables(&mut document, &environment), [""; 0]);
        let wanted = json!({"endpoints": [{"url": "https://books.example/in?h=books.example", "n": 1}],
                            "odd": "a: [\"${HOST}\"]\n", "${HOST}": null});
        assert_eq!(document, wanted);
    }

    #[test]
    fn what_is_not_set_or_empty_is_refused_with_its_place() {
        let mut document =
            json!({"endpoints": [{"auth": {"token": "${EMPTY}"}, "url": "${MISSING}"}]});
        let mut faults = fill_variables(&mut document, &environment);
        faults.sort();
        assert_eq!(
            faults,
            [
                "endpoints[0].auth.token: the environment variable EMPTY is empty",
                "endpoints[0].url: the environment variable MISSING is not set",
            ]
        );
    }

    #[test]
    fn what_is_not_a_variable_is_refused() {
        for text in ["${id}", "${data.total}", "${}", "${HOST", "${1A}", "a ${HO ST}"] {
            assert!(filled(text).unwrap_err().contains("write `$${`"), "{text}");
        }
        for text in ["$", "$5", "{data.total}", "cost $ {x}", "$$"] {
            assert_eq!(filled(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn an_escaped_text_is_filled_to_itself() {
        for text in ["${HOST}", "$${HOST}", "$$${id}", "a $ b", "${", "x${y}${Z}"] {
            let mut value = json!({"a": [text]});
            escape_variables(&mut value);
            assert_eq!(fill_variables(&mut value, &environment), [""; 0], "{text}");
            assert_eq!(value, json!({"a": [text]}));
        }
    }
}
