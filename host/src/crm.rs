//! The pure core of the database source: which events follow from which changes of the CRM's
//! tables.
//!
//! ```text
//!   rows of a chunk ──► snapshot::hash ──► as kept?  ──► yes: derive::passing   (only time can have brought something)
//!   (tables, lists)                                  └──► no:  derive::derive    ──► events, and what to keep of the row
//! ```
//!
//! * [`tables`] says what is read, [`rules`] what follows from it: both are data.
//! * [`lists`] makes the rows that belong to a record one column of it.
//! * [`snapshot`] is what is kept of a row between two scans.
//! * [`mod@derive`] compares and tells; [`due`] judges dates; [`known`] is what was looked up for
//!   the data.
//!
//! For each table of [`tables::ALL`], in that order, and each chunk of its keys, the caller
//!
//! 1. reads the rows and the members of their lists in one read-only snapshot of the database, and
//!    what is kept for those keys;
//! 2. pairs them by key: rows with another hash, rows without anything kept, and what is kept
//!    without a row in the chunk's range of keys;
//! 3. looks up what [`derive::change_references`] and, for unchanged rows of tables with a clock,
//!    [`derive::passing_references`] name;
//! 4. has [`derive::derive_events`] and [`derive::passing`] tell the events;
//! 5. captures the events and keeps the new state of the rows ([`snapshot::StoredSnapshot::of`], or
//!    the marks alone) in one commit, after the layouts.
//!
//! The caller is the source that reads a CRM's database, `crate::sources`.
//!
//! No I/O, no clock, no randomness. Time comes in as [`derive::RuleContext`], rows of other tables
//! as [`known::KnownRows`].

pub mod change;
pub mod data;
pub mod derive;
pub mod due;
pub mod known;
pub mod lists;
pub mod options;
pub mod row;
pub mod rules;
pub mod snapshot;
pub mod tables;

#[cfg(test)]
mod tests;
