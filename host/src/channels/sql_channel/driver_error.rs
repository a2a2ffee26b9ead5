//! The meaning of a database's errors, and of the driver's errors, for a delivery.

use super::sql_publisher::WriteFailure;
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::net::error_class::ErrorClass;
use std::io::ErrorKind;

/// The reason why a database refused a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFault {
    WrongLogin,
    NoDatabase,
    NotPermitted,
    NoTable,
    /// A row is to be replaced, but no unique constraint has exactly the columns of `keys`.
    NoUniqueKey,
    BadStatement,
    /// The referenced row may be written later.
    NoReference,
    /// The database will never accept these values.
    BadValues,
    Other,
}

impl DatabaseFault {
    const fn explain(self) -> &'static str {
        match self {
            Self::WrongLogin => "the database refused the user: check `username` and `password`",
            Self::NoDatabase => "the database of `url` does not exist",
            Self::NotPermitted => {
                "the user may not do this: grant INSERT, and UPDATE for rows that are replaced"
            }
            Self::NoTable => "a table or a column does not exist",
            Self::NoUniqueKey => "`keys` needs a unique constraint on exactly these columns",
            Self::BadStatement => "the database does not understand the statement",
            Self::NoReference => "a referenced row does not exist yet",
            Self::BadValues => "the database rejects these values",
            Self::Other => "the database refused the write",
        }
    }

    /// Returns the outcome of a write that failed with this error of the database.
    pub fn judge(self, error: &sqlx::Error) -> PublishOutcome {
        let message = error.as_database_error().map_or("", |error| error.message());
        let why = format!("{} ({message})", self.explain());
        if self == Self::BadValues {
            PublishOutcome::dead(why)
        } else {
            PublishOutcome::TryAgain(PublishError::refused(why))
        }
    }
}

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
