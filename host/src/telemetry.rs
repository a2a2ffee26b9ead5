//! Traces and logs for OpenTelemetry, exported by OTLP over HTTP (protobuf).
//!
//! Each event has one trace: a span `capture`, a span `plan` for each run of a flow with one
//! `module` below it for each call, and a span `attempt` for each attempt at a delivery. The ids of
//! trace and spans are computed from the ids of what they stand for ([`span_ids`]), so spans of
//! several nodes and of processes before and after a crash belong together, and nothing is stored.
//!
//! ```text
//!   stage ─► SpanRecorder ─┐
//!                          ├─► ExportQueue (bounded, drops and counts) ─► OtlpExporter ─► receiver
//!   log   ─► LogExport ────┘
//! ```
//!
//! A stage only pushes into a queue in memory. Whether the receiver is slow, broken or away makes
//! no difference to it. Spans hold no payloads, no headers and no query values.

pub mod export_figures;
pub mod export_queue;
pub mod log_entry;
pub mod log_output;
pub mod otlp_exporter;
pub mod otlp_logs;
pub mod otlp_messages;
pub mod otlp_spans;
pub mod running_exports;
pub mod span;
pub mod span_ids;
pub mod span_recorder;
