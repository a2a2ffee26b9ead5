//! What the store cannot do, and when a payload was pruned.

pub mod database_error;

pub use database_error::DatabaseError;

use crate::time::timestamp::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the journal cannot do, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full or busy. Nothing was written; try again later.
    #[error("the database does not take writes at present")]
    Unavailable(#[source] Arc<DatabaseError>),
    /// The database refused this piece of data. Trying again will not help.
    #[error("the database refused the data")]
    Refused(#[source] Arc<DatabaseError>),
    /// Another transaction wrote the same rows at the same moment. Nothing was written; written
    /// again, it succeeds, or is a repeat.
    #[error("another transaction wrote the same rows at the same moment")]
    Raced,
    /// The database did not answer in time. What was to be written may be written yet.
    #[error("the database did not confirm the write within {} seconds", .0.as_secs())]
    Late(Duration),
    /// A request's `Idempotency-Key` came with another request before. Nothing of it was written.
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// The event's payload is pruned: there is nothing left to plan or to send.
    #[error("the event's payload was pruned {}", .0)]
    PayloadPruned(PrunedPayload),
    /// A name is taken.
    #[error("the name `{0}` is taken")]
    NameTaken(String),
    /// What is to be changed was changed or deleted by another request at the same moment.
    #[error("`{0}` was changed or deleted at the same moment")]
    ChangedMeanwhile(String),
    /// What is to be changed does not exist.
    #[error("there is no {0}")]
    Missing(String),
    /// A stored row does not make sense. An operator should look at it.
    #[error("table {table}, column {column}: the stored value makes no sense: {why}")]
    Corrupt {
        table: &'static str,
        column: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The database's schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migration(#[source] Box<sqlx::migrate::MigrateError>),
    /// A newer version has changed the schema so that this one cannot use it.
    #[error(
        "the database was changed by a newer version of Waybill, and this version does not know migration \
         {migration}, which it needs: start the newer version again, or restore the backup from before it"
    )]
    NewerSchema { migration: i64 },
    /// The address of the database makes no sense.
    #[error("`{given}` is not a database: use sqlite:FILE or postgres://USER@HOST/NAME")]
    Address {
        /// What was given, without a password.
        given: String,
    },
    /// The URL of a PostgreSQL database cannot be read.
    #[error("the URL of the database is wrong: {why}")]
    WrongUrl {
        /// Which part, without a password.
        why: String,
    },
    /// Another server has locked the SQLite database.
    #[error(
        "the database {} is in use by another server; stop that one first, or give this one a database \
         of its own (servers can share PostgreSQL, and not SQLite)", path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A file of the database cannot be opened, or kept from others.
    #[error("cannot open the database file {} for its owner alone", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closed,
}

/// That and when an event lost its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunedPayload {
    /// When the event was captured.
    pub received_at: Timestamp,
    /// When the payload was pruned.
    pub pruned_at: Timestamp,
}

impl std::fmt::Display for PrunedPayload {
    /// `after 30 days`, or in a shorter time the seconds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        let seconds = self.pruned_at.since(self.received_at).as_secs();
        match seconds / DAY {
            0 => write!(f, "after {seconds} seconds"),
            1 => f.write_str("after 1 day"),
            days => write!(f, "after {days} days"),
        }
    }
}

impl StoreError {
    /// The same error, or that a name is taken where that is what the database refused.
    pub fn or_name_taken(self, name: &str) -> Self {
        let is_taken = matches!(&self, Self::Refused(cause) if cause.is_unique_violation());
        if is_taken { Self::NameTaken(name.to_owned()) } else { self }
    }
}
