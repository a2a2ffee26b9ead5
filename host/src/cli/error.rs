//! Why a command failed, and what to do next.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not make sense together. Exit status 2.
    #[error("{0}")]
    Usage(String),
    /// Something did not work; the text says what, and the next step where there is one.
    #[error("{what}{}", next_step(next.as_deref()))]
    Failed {
        what: String,
        /// What to do about it.
        next: Option<String>,
    },
    /// A file cannot be read or written.
    #[error("cannot {} {}", doing, path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server answered with a problem document.
    #[error("{0}")]
    Problem(Box<ProblemDocument>),
    /// Nobody answers there.
    #[error("no answer from {server}{}", next_step(Some(START)))]
    Unreachable {
        /// Its URL.
        server: String,
        /// What went wrong on the way.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// The exit status: 1, unless the command has one of its own for this.
        exit_status: u8,
    },
    /// The output says what is wrong already.
    #[error("the output says what is wrong")]
    Reported,
    /// The output is gone, as when a pipe is closed.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

/// What to do where no server answers.
const START: &str =
    "start the server with `waybill serve`, or name another with --server or WAYBILL_URL";

fn next_step(next: Option<&str>) -> String {
    next.map(|next| format!("\nnext: {next}")).unwrap_or_default()
}

impl CliError {
    /// 2 for bad usage, else 1, unless the command has statuses of its own.
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

    /// The error for programs: `error` with `message`, the exit status, the causes, and the next
    /// step or the server's problem document where there is one.
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

    /// What went wrong, without the next step.
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

    /// What can be done about it.
    fn next(&self) -> Option<&str> {
        match self {
            Self::Failed { next, .. } => next.as_deref(),
            Self::Problem(problem) => problem.next(),
            Self::Unreachable { .. } => Some(START),
            Self::Usage(_) | Self::File { .. } | Self::Reported | Self::Output(_) => None,
        }
    }

    /// Something failed, and that is all there is to say.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), next: None }
    }

    /// Something failed, and this can be done about it.
    pub fn with_next(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), next: Some(next.into()) }
    }

    /// For `map_err` on reading `path`.
    pub fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing: "read", path: path.to_owned(), source }
    }

    /// For `map_err` on writing `path`.
    pub fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing: "write", path: path.to_owned(), source }
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ProblemDocument {
    /// What kind of problem it is, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// What is wrong in the input, and where.
    pub errors: Vec<ProblemFault>,
    /// `X-Request-Id` of the answer, for the server's log.
    #[serde(skip_deserializing)]
    pub request_id: Option<String>,
}

/// One thing that is wrong in the input.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ProblemFault {
    /// Where, dotted.
    pub path: String,
    /// What, and what would be right.
    pub message: String,
}

impl fmt::Display for ProblemDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.title, self.status)?;
        // With a single fault the server's detail mostly says no more than the fault.
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
    /// What to do, where the status says it.
    const fn next(&self) -> Option<&'static str> {
        match self.status {
            401 => Some(
                "give a token with --token or WAYBILL_TOKEN; the server prints the first one at its first start",
            ),
            403 => Some("use a token that may do this"),
            404 => Some("see what there is with the `list` command of the same kind"),
            409 => Some("look at the present state with `show`, then decide"),
            413 => Some("send less at once, or raise server.max_body"),
            400 | 422 => Some("mend the input as said above and run the command again"),
            429 | 503 => Some("try again in a moment"),
            500..=599 => Some("look for the request in the server's log"),
            _ => None,
        }
    }
}
