//! The failure of a tool, in words with a next step.

use crate::api::problem::ApiProblem;
use http::StatusCode;
use serde_json::Value;
use std::fmt;

/// Longest detail that a failure repeats, in characters. A problem's detail may quote a whole
/// document.
const LONGEST_DETAIL: usize = 2_000;

/// A tool call that failed.
#[derive(Debug, Clone)]
pub struct ToolFailure {
    /// The status with which the REST API reports such a failure.
    status: StatusCode,
    what: String,
    next: &'static str,
}

impl ToolFailure {
    /// An argument is invalid.
    pub fn wrong_argument(what: impl Into<String>) -> Self {
        Self::with_status(StatusCode::UNPROCESSABLE_ENTITY, what.into())
    }

    /// The state has changed since the caller read it.
    pub fn changed(what: impl Into<String>, next: &'static str) -> Self {
        Self { status: StatusCode::CONFLICT, what: what.into(), next }
    }

    /// The named object does not exist.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::with_status(StatusCode::NOT_FOUND, what.into())
    }

    /// The answer is longer than a tool reads.
    pub fn too_much() -> Self {
        let what = "the answer is too long".to_owned();
        Self { next: "narrow the search", ..Self::with_status(StatusCode::PAYLOAD_TOO_LARGE, what) }
    }

    /// Reads a problem document of the REST API.
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
                "do without it, or ask a person for a token with this right; do not try another way"
            }
            404 => "find the right name or id with overview, find_events, failures or sources",
            409 | 412 => "check the present state, and call again if still needed",
            400 | 422 => "correct the argument and call again",
            429 | 503 => "wait a few seconds and call again",
            _ => "tell a person; the server's log has the details",
        };
        Self { status, what, next }
    }

    /// Returns the status for the audit.
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
            "2 fields are wrong; limit: 1 to 20. Next: correct the argument and call again.";
        assert_eq!(failure.to_string(), expected);
        let failure = ToolFailure::from(ApiProblem::fault("limit", "1 to 20"));
        assert_eq!(
            failure.to_string(),
            "limit: 1 to 20. Next: correct the argument and call again."
        );
        let long = ToolFailure::wrong_argument("x");
        assert_eq!(long.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
