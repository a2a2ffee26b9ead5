//! An error and its causes as text.

use std::error::Error;
use std::iter::successors;

/// Returns the messages of the error and of its causes, the outermost first.
pub fn error_messages(error: &dyn Error) -> impl Iterator<Item = String> {
    let causes = successors(error.source(), |cause| {
        let cause: &(dyn Error + 'static) = *cause;
        cause.source()
    });
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string))
}

/// Returns the messages of the error and of its causes in one line.
pub fn error_chain(error: &dyn Error) -> String {
    error_messages(error).collect::<Vec<_>>().join(": ")
}
