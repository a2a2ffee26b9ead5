//! The nouns of Waybill as types, without I/O, clock or randomness.
//!
//! An [`event::Event`] is captured. A [`flow::Flow`] defines the modules that it passes and the
//! endpoints that it reaches. Each endpoint gets a [`delivery::NewDelivery`], and each try of a
//! delivery is a [`delivery::Attempt`]. The words are those of ARCHITECTURE.md; tables, JSON and
//! pages use the same ones.

pub mod alert;
pub mod alert_rule;
pub mod alert_step;
pub mod answer_event;
pub mod api_call;
pub mod attributes;
pub mod bad_row;
pub mod body_template;
pub mod capability_grants;
pub mod case_report;
pub mod cloud_events;
pub mod config_schema;
pub mod custom_table;
pub mod database_source;
pub mod delivery;
pub mod endpoint;
pub mod endpoint_auth;
pub mod endpoint_tls;
pub mod envelope;
pub mod event;
pub mod fair_share;
pub mod fault;
pub mod field_map;
pub mod flow;
pub mod grant_policy;
pub mod id;
pub mod message_mapping;
pub mod module_breaker;
pub mod module_manifest;
pub mod module_secret;
pub mod module_trial;
pub mod node_description;
pub mod oauth_settings;
pub mod path_template;
pub mod plan_effects;
pub mod poll_source;
pub mod private_values;
pub mod receiver_pace;
pub mod record;
pub mod record_fields;
pub mod redactor;
pub mod request_template;
pub mod retry_schedule;
pub mod rule_change;
pub mod schedule_source;
pub mod signature_rule;
pub mod signature_scheme;
pub mod secrets;
pub mod skipped_route;
pub mod source;
pub mod source_module;
pub mod source_run;
pub mod stream_source;
pub mod subject_health;
pub mod timing;
pub mod trace_context;
pub mod type_pattern;
pub mod webhook_source;
