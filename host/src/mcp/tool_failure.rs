//! Why a tool failed, in words with a next step.

use crate::api::problem::ApiProblem;
use http::StatusCode;
use serde_json::Value;
use std::fmt;

/// Longest detail that a failure repeats, in characters: a problem may name a whole document.
const LONGEST_DETAIL: usize = 2_000;

/// A tool's call that failed.
#[derive(Debug, Clone)]
pub struct ToolFailure {
    /// The status that the REST API gives such a failure.
    status: StatusCode,
    what: String,
    next: &'static str,
}

impl ToolFailure {
    /// An argument that makes no sense.
    pub fn wrong_argument(what: impl Into<String>) -> Self {
        Self::with_status(StatusCode::UNPROCESSABLE_ENTITY, what.into())
    }

    /// What is there has changed since it was looked at.
    pub fn changed(what: impl Into<String>, next: &'static str) -> Self {
        Self { status: StatusCode::CONFLICT, what: what.into(), next }
    }

    /// There is no such thing.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::with_status(StatusCode::NOT_FOUND, what.into())
    }

    /// There is too much to read.
    pub fn too_much() -> Self {
        let what = "the answer is too long to be read here".to_owned();
        Self { next: "narrow the search", ..Self::with_status(StatusCode::PAYLOAD_TOO_LARGE, what) }
    }

    /// A problem document of the REST API.
    pub fn of_problem(status: StatusCode, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let faults = problem.get("errors").and_then(Value::as_array).into_iter().flatten();
        let faults = faults.map(|fault| (text(fault, "path"), text(fault, "message")));
        Self::in_words(status, text(&problem, "detail"), faults)
    }

    fn in_words(
        status: StatusCode,
        detail: String,
        faults: impl Iterator<Item = (String, String)>,
    ) -> Self {
        let mut what = detail;
        for (path, message) in faults.filter(|(path, _)| !path.is_empty()) {
            let line = format!("{path}: {message}");
            if !what.contains(&line) {
                what = format!("{what}; {line}");
            }
        }
        Self::with_status(status, what.chars().take(LONGEST_DETAIL).collect())
    }

    fn with_status(status: StatusCode, what: String) -> Self {
        let next = match status.as_u16() {
            403 => {
                "do without it, or ask a person for a token that may; do not look for another way"
            }
            404 => "look for the right name or id with overview, find_events, failures or sources",
            409 | 412 => "look again at what is there, and call once more if it is still wanted",
            400 | 422 => "mend the argument and call again",
            429 | 503 => "wait a few seconds and call again",
            _ => "tell a person; the server's log tells more",
        };
        Self { status, what, next }
    }

    /// The status for the audit.
    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for ToolFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. Next: {}.", self.what.trim_end_matches('.'), self.next)
    }
}

impl From<ApiProblem> for ToolFailure {
    fn from(problem: ApiProblem) -> Self {
        let status = StatusCode::from_u16(problem.status);
        let faults = problem.errors.into_iter().map(|fault| (fault.path, fault.message));
        Self::in_words(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), problem.detail, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_words_with_a_next_step() {
        let problem =
            br#"{"detail":"2 fields are wrong","errors":[{"path":"limit","message":"1 to 20"}]}"#;
        let failure = ToolFailure::of_problem(StatusCode::UNPROCESSABLE_ENTITY, problem);
        let expected =
            "2 fields are wrong; limit: 1 to 20. Next: mend the argument and call again.";
        assert_eq!(failure.to_string(), expected);
        let failure = ToolFailure::from(ApiProblem::fault("limit", "1 to 20"));
        assert_eq!(failure.to_string(), "limit: 1 to 20. Next: mend the argument and call again.");
        let long = ToolFailure::wrong_argument("x");
        assert_eq!(long.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
