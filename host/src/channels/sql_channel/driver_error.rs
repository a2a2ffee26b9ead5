//! Classifies errors of the driver that are not the database's own answer.

use super::sql_publisher::WriteFailure;
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::net::error_class::ErrorClass;
use std::io::ErrorKind;

/// Classifies an error after which the connection cannot be used.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants")]
pub fn explain_driver(error: &sqlx::Error) -> WriteFailure {
    let (class, what) = match error {
        // The driver reports a refused certificate as this error.
        sqlx::Error::Io(why) if why.kind() == ErrorKind::InvalidData => (
            ErrorClass::Tls,
            "the database's certificate is not trusted: check `ca` and the host of `url`",
        ),
        sqlx::Error::Io(why) if why.kind() == ErrorKind::ConnectionRefused => {
            (ErrorClass::Connect, "the database refuses connections: check `url`")
        }
        sqlx::Error::Io(_) => {
            (ErrorClass::ConnectionLost, "the database cannot be reached, or the connection broke")
        }
        sqlx::Error::Tls(_) => {
            (ErrorClass::Tls, "the connection could not be encrypted: check `tls` and `ca`")
        }
        _ => (ErrorClass::Protocol, "the database's answer cannot be used"),
    };
    let why = PublishError::new(class, format!("{what} ({error})"));
    WriteFailure { outcome: PublishOutcome::TryAgain(why), is_lost: true }
}
