//! Faults of an input, each with its place and a message that says how to correct it.

use crate::expression::check_where;
use serde::Serialize;

/// A fault in an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Fault)]
pub struct InputFault {
    /// Place in the input, with dots between names and `[n]` for positions in lists:
    /// `events[2].type`.
    pub path: String,
    /// The fault and its correction.
    pub message: String,
}

impl InputFault {
    /// Creates a fault at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// Returns the same fault with its path below `outer`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => outer.to_owned(),
            inner if inner.starts_with('[') => format!("{outer}{inner}"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }
}

/// Checks the condition of a `where`.
pub fn check_condition(text: Option<&str>) -> Option<InputFault> {
    check_where(text).err().map(|message| InputFault::new("where", message))
}

/// The longest name of a source, endpoint, flow or module, in bytes.
pub const MAX_NAME: usize = 100;

/// Checks a name that people give: 1 to [`MAX_NAME`] letters, digits, `.`, `_`, `-` or spaces,
/// beginning with a letter or digit.
pub fn check_name(name: &str) -> Result<(), InputFault> {
    let fits = name.len() <= MAX_NAME
        && name.chars().next().is_some_and(char::is_alphanumeric)
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ' '));
    if fits {
        return Ok(());
    }
    Err(InputFault::new(
        "name",
        format!(
            "a name has 1 to {MAX_NAME} letters, digits, `.`, `_`, `-` or spaces and begins with \
             a letter or digit"
        ),
    ))
}
