//! Explains where and why a text is not a valid expression.

use cel::parser::ParseError;

/// Longest piece of the text in a message, in characters.
const MAX_SHOWN: usize = 24;

/// A line and a column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextPlace {
    pub line: usize,
    pub column: usize,
}

impl TextPlace {
    /// Returns the place of the character that begins at this byte.
    pub fn of_byte(text: &str, start: usize) -> Self {
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        Self { line, column }
    }

    /// Returns a message with this place, the text there and what is wrong.
    pub fn describe(self, text: &str, what: &str) -> String {
        let Self { line, column } = self;
        let rest = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let rest: String = rest.chars().skip(column.saturating_sub(1)).collect();
        let rest = rest.trim();
        if rest.is_empty() {
            return format!("line {line}, column {column}, at the end: {what}");
        }
        let shown: String = rest.chars().take(MAX_SHOWN).collect();
        let more = if shown.len() < rest.len() { "…" } else { "" };
        format!("line {line}, column {column}, at `{shown}{more}`: {what}")
    }
}

/// Returns the parser's first fault as a message.
pub fn explain_errors(text: &str, errors: &[ParseError]) -> String {
    let told = |error: &&ParseError| !error.msg.starts_with("Incomplete ");
    let Some(first) = errors.iter().find(told).or_else(|| errors.first()) else {
        return "this is not an expression".to_owned();
    };
    if first.msg.contains("Recursion limit") {
        return "the expression is nested too deeply".to_owned();
    }
    let number = |position: isize| usize::try_from(position).unwrap_or_default().max(1);
    let place = TextPlace { line: number(first.pos.0), column: number(first.pos.1) };
    place.describe(text, &explain(&first.msg))
}

fn explain(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let found = |start: &str| message.strip_prefix(start).and_then(quoted);
    if message.starts_with("mismatched input '<EOF>'") {
        return "a value is missing".to_owned();
    }
    if let Some(wrong) = found("token recognition error at: ") {
        return misread(wrong.trim());
    }
    if let Some(missing) = found("missing ") {
        return format!("`{missing}` is missing");
    }
    let places = ["mismatched input ", "extraneous input ", "no viable alternative at input "];
    if let Some(wrong) = places.into_iter().find_map(found) {
        return misread(wrong);
    }
    message.to_owned()
}

/// Returns the text between the first quotation mark and the one that closes it.
fn quoted(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('\'')?;
    let end =
        rest.find("' expecting").or_else(|| rest.find("' at ")).or_else(|| rest.rfind('\''))?;
    rest.get(..end)
}

fn misread(wrong: &str) -> String {
    let instead = match wrong.to_lowercase().as_str() {
        "=" | "===" => "==",
        "and" | "&" => "&&",
        "or" | "|" => "||",
        "not" => "!",
        "=>" => ">=",
        "=<" => "<=",
        "<>" => "!=",
        _ if wrong.starts_with(['\'', '"']) => return "a text is not closed".to_owned(),
        _ => return format!("`{wrong}` does not fit here"),
    };
    format!("`{wrong}` is not an operator; write `{instead}`")
}
