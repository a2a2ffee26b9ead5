//! What became of the events of a day at each endpoint, so that every gap has a name.
//!
//! ```text
//!   events of the day, in order ──► deliveries, waiting plans, dead letters, trace ──► one outcome for each event
//!   (a thousand at a time)                                                             and endpoint
//! ```
//!
//! Nothing is stored: an answer is read from the rows that delivering wrote anyway, within a bound
//! ([`stretch::MOST_EVENTS`]). An event has exactly one outcome at an endpoint, so the counts add
//! up to the number of captured events.
//!
//! Which events an endpoint takes follows from the present settings. Why one was not sent follows
//! from its trace, which says what the settings of that time did. docs/completeness.md says what
//! this proves and what it cannot prove.

pub mod endpoint_routes;
pub mod event_outcome;
pub mod outcome_reader;
pub mod reached_records;
pub mod resend;
pub mod stretch;
pub mod tally;
pub mod trace_reading;
pub mod unread_rows;
pub mod utc_day;
