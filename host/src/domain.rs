//! The vocabulary: what everything else talks about, without I/O, clock or randomness.
//!
//! An [`event::Event`] is captured, a [`flow::Flow`] says which modules and endpoints it passes,
//! each endpoint gets a [`delivery::NewDelivery`], and each try of it is a [`delivery::Attempt`].
//! The words are the ones of ARCHITECTURE.md; tables, JSON and pages use the same.

pub mod attributes;
pub mod bad_row;
pub mod call;
pub mod cron;
pub mod database;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod field_map;
pub mod flow;
pub mod hash;
pub mod http_url;
pub mod id;
pub mod members;
pub mod own_table;
pub mod pace;
pub mod pattern;
pub mod poll;
pub mod private;
pub mod problem;
pub mod record;
pub mod redact;
pub mod retry;
pub mod run;
pub mod same_value;
pub mod schedule;
pub mod source;
pub mod span;
pub mod storable;
pub mod surrogates;
pub mod time;
pub mod timing;
pub mod webhook;
