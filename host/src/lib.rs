//! Waybill: events of a CRM in, signed deliveries out, the integrator's own WebAssembly in between.
//!
//! The path of one event, from left to right:
//!
//! ```text
//!   ingest ──► store ──► pipeline ──► store ──► delivery ──► store
//! ```
//!
//! * [`ingest`] reads a request and appends its events. The caller gets an answer after the commit.
//! * [`pipeline`] runs the modules of the flows that match an event ([`wasm`]) and records the
//!   deliveries that result.
//! * [`delivery`] signs and sends a delivery, judges the answer and records the attempt.
//! * [`store`] is the durable record through which these stages hand work to each other. It is the
//!   only place that knows Waybill's own database.
//!
//! # Layers
//!
//! The modules below are listed from the ground up. A module uses only modules that stand above it
//! in this list, so no two modules use each other. The test `layers` reads this list and every path
//! in the source, and fails with the line that breaks the rule.

// What is public inside the crate stays inside it: the modules are `pub(crate)`, so the compiler
// still reports unused items.
#![allow(unreachable_pub, reason = "visibility ends at the modules of this file")]
#![allow(missing_docs, reason = "this is a program; the guest SDK documents everything")]

// Ground: values and protocols, without any knowledge of Waybill's own nouns.
pub(crate) mod error_chain;
pub(crate) mod time;
pub(crate) mod json;
pub(crate) mod crypto;
pub(crate) mod net;
pub(crate) mod expression;

// Nouns: what operators configure, what is captured, what is delivered.
pub(crate) mod model;
pub(crate) mod signing;
pub(crate) mod catalog;
pub(crate) mod config;

// State: figures, the database, who may use it, and the settings as the stages use them.
pub(crate) mod metrics;
pub(crate) mod telemetry;
pub(crate) mod store;
pub(crate) mod access;
pub(crate) mod wasm;
pub(crate) mod channels;
pub(crate) mod settings;

// Stages: each reads work from the store and writes its results there.
pub(crate) mod ingest;
pub(crate) mod pipeline;
pub(crate) mod delivery;
pub(crate) mod crm;
pub(crate) mod sources;
pub(crate) mod health;
pub(crate) mod completeness;
pub(crate) mod alerts;
pub(crate) mod maintenance;

// Surface: how people and other programs reach the stages.
pub(crate) mod api;
pub(crate) mod trials;
pub(crate) mod admin;
pub(crate) mod mcp;
pub(crate) mod listener;
pub(crate) mod server;
pub(crate) mod cli;

pub use cli::backup::run_backup;
pub use cli::demo::run_demo;
pub use cli::doctor::run_doctor;
pub use cli::key::run_key;
pub use cli::{
    CliCommand, CliError, CommandLine, CommandScreen, ServeArgs, run_command, wants_json,
};
pub use config::Config;
pub use error_chain::error_messages;
pub use server::{Server, ServerError};
pub use telemetry::log_output::{start_command_log, start_server_log};
pub use time::clock::Clock;
pub use wasm::{ModuleLimits, compile_child};

/// What `cargo xtask bench` measures by direct calls.
pub mod benchmark {
    pub use crate::access::grant::{GrantIssuer, ShownGrant, TokenGrant};
    pub use crate::access::scope::{RouteNeed, Scope, ScopeSet};
    pub use crate::access::token::{
        ApiToken, StoredToken, TokenDigest, TokenSettings, generate_token, token_digest,
    };
    pub use crate::model::id::TokenId;
}
