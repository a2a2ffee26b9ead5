//! Errors of the store, and the time at which a payload was pruned.

pub mod database_error;

pub use database_error::DatabaseError;

use crate::time::timestamp::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An error of the store, classified by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full or is busy. Nothing was written; try again later.
    #[error("the database does not accept writes at present")]
    Unavailable(#[source] Arc<DatabaseError>),
    /// The database refused this piece of data. Another try will fail too.
    #[error("the database refused the data")]
    Refused(#[source] Arc<DatabaseError>),
    /// Another transaction wrote the same rows at the same moment. Nothing was written. A retry
    /// succeeds, or finds that the event is a repeat.
    #[error("another transaction wrote the same rows at the same moment")]
    Raced,
    /// The database did not answer in time. The write may still be completed.
    #[error("the database did not confirm the write within {} seconds", .0.as_secs())]
    Late(Duration),
    /// The `Idempotency-Key` was used before with another request. Nothing of this request was
    /// written.
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// The event's payload was pruned, so it can be neither planned nor sent.
    #[error("the event's payload was pruned {}", .0)]
    PayloadPruned(PrunedPayload),
    /// Another object has this name.
    #[error("the name `{0}` is already in use")]
    NameTaken(String),
    /// Another request changed or deleted the same object at the same moment.
    #[error("another request changed or deleted `{0}` at the same moment")]
    ChangedMeanwhile(String),
    /// The object to change does not exist.
    #[error("there is no {0}")]
    Missing(String),
    /// A stored row is not valid. An operator should look at it.
    #[error("table {table}, column {column}: the stored value is not valid: {why}")]
    Corrupt { table: &'static str, column: &'static str, why: String },
    #[error("the database's schema could not be brought up to date")]
    Migration(#[source] Box<sqlx::migrate::MigrateError>),
    /// A newer version has changed the schema, and this version cannot use it.
    #[error(
        "the database was changed by a newer version of Waybill, and this version does not know migration \
         {migration}, which it needs: start the newer version again, or restore the backup from before it"
    )]
    NewerSchema { migration: i64 },
    /// The address is not the address of a database.
    #[error("`{given}` is not a database: use sqlite:FILE or postgres://USER@HOST/NAME")]
    Address {
        /// The given address, without a password.
        given: String,
    },
    /// The URL of a PostgreSQL database is not valid.
    #[error("the URL of the database is not valid: {why}")]
    WrongUrl {
        /// The invalid part, without a password.
        why: String,
    },
    /// Another server has locked the SQLite database.
    #[error(
        "the database {} is in use by another server; stop that one first, or give this one a database \
         of its own (servers can share PostgreSQL, and not SQLite)", path.display()
    )]
    InUse { path: PathBuf },
    /// A file of the database cannot be opened, or other users cannot be denied access to it.
    #[error("cannot open the database file {} with access for its owner only", path.display())]
    File {
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    #[error("the server is shutting down")]
    Closed,
}

/// When an event was captured, and when its payload was pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunedPayload {
    pub received_at: Timestamp,
    pub pruned_at: Timestamp,
}

impl std::fmt::Display for PrunedPayload {
    /// Writes `after 30 days`, or seconds if it was less than a day.
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
    /// Turns a refusal into [`StoreError::NameTaken`] if the database refused a duplicate name.
    /// Returns any other error unchanged.
    pub fn or_name_taken(self, name: &str) -> Self {
        let is_taken = matches!(&self, Self::Refused(cause) if cause.is_unique_violation());
        if is_taken { Self::NameTaken(name.to_owned()) } else { self }
    }
}
