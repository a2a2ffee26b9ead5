//! The black-box suite: one program, so that everything is linked once.
//!
//! Tests that touch storage run on both databases. Tests that only check answers run on SQLite.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed; a key that JSON lacks is null"
)]

mod access;
mod alerts;
mod at_rest;
mod audit;
mod automations;
mod billing_modules;
mod bounds;
mod breaker;
mod capabilities;
mod capture;
mod capture_log;
mod channels;
mod completeness;
mod configuration;
mod connections;
mod crash;
mod crm;
mod dead_letters;
mod delivery;
mod dry_run;
mod email;
mod endpoint_auth;
mod endpoint_changes;
mod failover;
mod failures;
mod files;
mod filters;
mod frozen_interface;
mod golden_cases;
mod guides;
mod hostile_components;
mod javascript;
mod kinds;
mod languages;
mod layers;
mod libraries;
mod lost_key;
mod manifests;
mod mcp;
mod metrics;
mod modes;
mod module_cases;
mod module_endpoints;
mod module_logs;
mod module_pullers;
mod module_sources;
mod modules;
mod n8n;
mod nodes;
mod oauth;
mod objects;
mod operations;
mod outage;
mod own_tables;
mod pages;
mod planning;
mod poll;
mod pooler;
mod program;
mod pulled;
mod queues;
mod receive;
mod records;
mod refusals;
mod replays;
mod retention;
mod schedule;
mod secrets;
mod sql_tables;
mod storable;
mod streams;
mod support;
mod telemetry;
mod templates;
mod tidy;
mod tls;
mod trials;
mod version_figures;
