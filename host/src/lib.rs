//! Waybill: events of a CRM in, signed deliveries out, the integrator's own WebAssembly in between.
//!
//! The way of one event, top to bottom:
//!
//! ```text
//!   capture ──► journal ──► plan ──► journal ──► deliver ──► journal
//! ```
//!
//! * [`capture`] reads what arrives and appends it; the caller hears of it after the commit.
//! * [`plan`] runs the modules of the flows that take it ([`wasm`]) and records what follows.
//! * [`deliver`] signs, sends and judges, and records the attempt.
//! * [`journal`] is the durable record in which they meet, and the only place that names the database.
//!
//! Around that: [`domain`] is the vocabulary, [`topology`] what operators set made ready for use,
//! [`api`] the REST API, [`admin`] the pages, [`cli`] the command line, [`catalog`] the event types, [`access`] who may do
//! what, [`sign`] signatures, [`crm`] what
//! follows from a CRM's tables, [`listener`] the connections. [`server::Server`] puts it all together.

pub mod access;
pub mod admin;
pub mod api;
pub mod capture;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crm;
pub mod deliver;
pub mod domain;
pub mod header_case;
pub mod journal;
pub mod listener;
pub mod plan;
mod private_file;
pub mod pull;
pub mod server;
pub mod sha256;
pub mod sign;
pub mod tend;
pub mod topology;
pub mod trust;
pub mod wasm;
