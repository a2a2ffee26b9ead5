//! Errors of the databases and their drivers.

use super::StoreError;
use std::sync::Arc;
use std::time::Duration;

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// Every connection for reading stayed in use.
    #[error("no connection to the database was free within 3 seconds")]
    NoFreeConnection,
    /// The database did not answer within this time.
    #[error("the database did not answer within {} seconds", .0.as_secs())]
    TooSlow(Duration),
    #[error(
        "the database file or its log was removed or replaced while the server runs; put it back, \
         or restore a copy and start the server again"
    )]
    FileReplaced,
}

/// The classes of errors, by what a caller can do.
enum DatabaseErrorClass {
    /// The data itself was refused: a constraint, or a value that the database cannot hold.
    Refused,
    /// Another transaction conflicted. A retry succeeds.
    Raced,
    /// Pages of the database are damaged.
    Damaged,
    /// The database is away, full, read-only or busy. Try again later.
    Unavailable,
}

impl DatabaseError {
    fn class(&self) -> DatabaseErrorClass {
        match self {
            Self::Sqlite(error) => sqlite_class(error),
            Self::Postgres(error) => postgres_class(error),
            Self::NoFreeConnection | Self::FileReplaced | Self::TooSlow(_) => {
                DatabaseErrorClass::Unavailable
            }
        }
    }

    /// Returns whether a unique value, such as a name, already exists.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            // SQLITE_CONSTRAINT_PRIMARYKEY and SQLITE_CONSTRAINT_UNIQUE.
            Self::Sqlite(error) => {
                matches!(error.sqlite_error(), Some(code) if [1555, 2067].contains(&code.extended_code))
            }
            Self::Postgres(error) => error
                .as_database_error()
                .is_some_and(sqlx::error::DatabaseError::is_unique_violation),
            Self::NoFreeConnection | Self::FileReplaced | Self::TooSlow(_) => false,
        }
    }

    /// Returns whether the connection is gone or may still have an outstanding answer. A server
    /// that shuts down or ends the connection reports class 57, and PgBouncer without a server
    /// reports class 08.
    pub fn is_lost_connection(&self) -> bool {
        match self {
            Self::Postgres(error) => match error.as_database_error() {
                Some(answer) => answer
                    .code()
                    .is_some_and(|code| code.starts_with("57") || code.starts_with("08")),
                None => true,
            },
            Self::TooSlow(_) => true,
            Self::Sqlite(_) | Self::NoFreeConnection | Self::FileReplaced => false,
        }
    }

    /// Returns whether the server does not accept writes because it is a standby or read-only
    /// (25006).
    pub fn is_read_only(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| code == "25006")
    }

    pub fn is_damage(&self) -> bool {
        matches!(self.class(), DatabaseErrorClass::Damaged)
    }
}

fn sqlite_class(error: &rusqlite::Error) -> DatabaseErrorClass {
    use rusqlite::ErrorCode::{
        ConstraintViolation, DatabaseCorrupt, NotADatabase, TooBig, TypeMismatch,
    };
    match error.sqlite_error_code() {
        Some(ConstraintViolation | TooBig | TypeMismatch) => DatabaseErrorClass::Refused,
        Some(DatabaseCorrupt | NotADatabase) => DatabaseErrorClass::Damaged,
        Some(_) | None => DatabaseErrorClass::Unavailable,
    }
}

const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";
/// Allows at most one waiting delivery of a record at an endpoint that collapses. A violation means
/// that another delivery was inserted or released meanwhile.
const COLLAPSE_INDEX: &str = "delivery_collapse";

/// Classifies by the error codes in appendix A of PostgreSQL's manual: 22 data exception, 23
/// integrity constraint violation, 54 program limit exceeded, such as a text that is too long for
/// an index. XX001 and XX002 are damaged data and a damaged index.
fn postgres_class(error: &sqlx::Error) -> DatabaseErrorClass {
    let Some(answer) = error.as_database_error() else {
        let is_refused = matches!(error, sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_));
        return if is_refused {
            DatabaseErrorClass::Refused
        } else {
            DatabaseErrorClass::Unavailable
        };
    };
    let code = answer.code().unwrap_or_default();
    let is_race = matches!(&*code, SERIALIZATION_FAILURE | DEADLOCK)
        || answer.constraint() == Some(COLLAPSE_INDEX);
    if is_race {
        DatabaseErrorClass::Raced
    } else if matches!(&*code, "XX001" | "XX002") {
        DatabaseErrorClass::Damaged
    } else if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) {
        DatabaseErrorClass::Refused
    } else {
        DatabaseErrorClass::Unavailable
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error.class() {
            DatabaseErrorClass::Refused => Self::Refused(Arc::new(error)),
            DatabaseErrorClass::Raced => Self::Raced,
            DatabaseErrorClass::Damaged | DatabaseErrorClass::Unavailable => {
                Self::Unavailable(Arc::new(error))
            }
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// Returns the error for a stored value that is not valid.
pub fn corrupt_value(
    table: &'static str,
    column: &'static str,
    why: &dyn std::fmt::Display,
) -> StoreError {
    StoreError::Corrupt { table, column, why: why.to_string() }
}
