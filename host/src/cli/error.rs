//! Errors of commands, and the next step for each.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments are not valid together. Exit status 2.
    #[error("{0}")]
    Usage(String),
    /// An operation failed. Contains the reason, and the next step if there is one.
    #[error("{what}{}", next_step(next.as_deref()))]
    Failed {
        what: String,
        /// The next step.
        next: Option<String>,
    },
    /// A file cannot be read or written.
    #[error("cannot {} {}", doing, path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The server answered with a problem document.
    #[error("{0}")]
    Problem(Box<ProblemDocument>),
    /// No server answers at the URL.
    #[error("no answer from {server}{}", next_step(Some(START)))]
    Unreachable {
        server: String,
        /// The error of the connection.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// The exit status: 1, unless the command has its own status for this.
        exit_status: u8,
    },
    /// The output already describes the fault.
    #[error("the output describes the fault")]
    Reported,
    /// The output cannot be written, for example because a pipe is closed.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

/// Next step if no server answers.
const START: &str =
    "start the server with `waybill serve`, or name another with --server or WAYBILL_URL";

fn next_step(next: Option<&str>) -> String {
    next.map(|next| format!("\nnext: {next}")).unwrap_or_default()
}

impl CliError {
    /// Returns 2 for bad usage and otherwise 1, unless the command has its own status.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable { exit_status, .. } => *exit_status,
            Self::Failed { .. }
            | Self::File { .. }
            | Self::Problem(_)
            | Self::Reported
            | Self::Output(_) => 1,
        }
    }

    /// Returns the error for programs: `error` with `message`, the exit status, the causes, and the
    /// next step or the server's problem document if there is one.
    pub fn to_json(&self) -> Value {
        let causes: Vec<String> = crate::error_chain::error_messages(self).skip(1).collect();
        let mut error = json!({"message": self.message(), "exit_status": self.exit_code()});
        let mut add = |key: &str, value: Value| {
            if let Some(members) = error.as_object_mut().filter(|_| !value.is_null()) {
                members.insert(key.to_owned(), value);
            }
        };
        add("causes", if causes.is_empty() { Value::Null } else { json!(causes) });
        add("next", self.next().map_or(Value::Null, Value::from));
        if let Self::Problem(problem) = self {
            add("problem", serde_json::to_value(problem).unwrap_or_default());
        }
        json!({ "error": error })
    }

    /// Returns the description without the next step.
    fn message(&self) -> String {
        match self {
            Self::Failed { what, .. } => what.clone(),
            Self::Problem(problem) => problem.title.clone(),
            Self::Unreachable { server, .. } => format!("no answer from {server}"),
            Self::Usage(_) | Self::File { .. } | Self::Reported | Self::Output(_) => {
                self.to_string()
            }
        }
    }

    /// Returns the next step.
    fn next(&self) -> Option<&str> {
        match self {
            Self::Failed { next, .. } => next.as_deref(),
            Self::Problem(problem) => problem.next(),
            Self::Unreachable { .. } => Some(START),
            Self::Usage(_) | Self::File { .. } | Self::Reported | Self::Output(_) => None,
        }
    }

    /// Returns an error without a next step.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), next: None }
    }

    /// Returns an error with a next step.
    pub fn with_next(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), next: Some(next.into()) }
    }

    /// Returns a function for `map_err` after reading `path`.
    pub fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing: "read", path: path.to_owned(), source }
    }

    /// Returns a function for `map_err` after writing `path`.
    pub fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing: "write", path: path.to_owned(), source }
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ProblemDocument {
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Description of this occurrence.
    pub detail: String,
    /// Faults of the input, with their places.
    pub errors: Vec<ProblemFault>,
    /// `X-Request-Id` of the answer, for a search in the server's log.
    #[serde(skip_deserializing)]
    pub request_id: Option<String>,
}

/// One fault of the input.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ProblemFault {
    /// Dotted path of the faulty member.
    pub path: String,
    /// The fault and its correction.
    pub message: String,
}

impl fmt::Display for ProblemDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.title, self.status)?;
        // With a single fault the server's detail mostly repeats it.
        let repeats = self.errors.iter().any(|fault| self.detail.ends_with(&fault.message));
        if !self.detail.is_empty() && !repeats {
            write!(f, "\n  {}", self.detail)?;
        }
        for fault in &self.errors {
            let path = if fault.path.is_empty() { "input" } else { &fault.path };
            write!(f, "\n  {path}: {}", fault.message)?;
        }
        if let Some(next) = self.next() {
            write!(f, "\nnext: {next}")?;
        }
        if let Some(id) = self.request_id.as_deref().filter(|_| self.status >= 500) {
            write!(f, "\nrequest: {id}")?;
        }
        Ok(())
    }
}

impl ProblemDocument {
    /// Returns the next step if the status determines it.
    const fn next(&self) -> Option<&'static str> {
        match self.status {
            401 => Some(
                "give a token with --token or WAYBILL_TOKEN; the server prints the first one at its first start",
            ),
            403 => Some("use a token with the right to do this"),
            404 => Some("see what there is with the `list` command of the same kind"),
            409 => Some("check the present state with `show`, then decide"),
            413 => Some(
                "send less in one request, or have the server's operator raise the limit: server.max_body, or \
                 modules.max_component for a module",
            ),
            400 | 422 => Some("correct the input as said above and run the command again"),
            429 | 503 => Some("try again in a moment"),
            500..=599 => Some("look for the request in the server's log"),
            _ => None,
        }
    }
}
