//! Where the log goes: standard error, as text or JSON, and an OTLP receiver.

use super::export_queue::ExportQueue;
use super::log_entry::{LogExport, LogQueue};
use crate::config::{Config, LogFormat};
use crate::time::clock::Clock;
use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// The target of the lines about requests.
pub const ACCESS_TARGET: &str = "waybill::access";

/// Starts the log of a server. Returns the queue of the lines to export, for the server.
pub fn start_server_log(config: &Config) -> Option<LogQueue> {
    let telemetry = &config.telemetry;
    let is_exported = telemetry.logs && telemetry.otlp_endpoint.is_some();
    let queue: Option<LogQueue> =
        is_exported.then(|| Arc::new(ExportQueue::with_capacity(telemetry.max_queue)));
    start_log(config.log_filter.as_deref(), config.log.format, queue.clone());
    queue
}

/// Starts the log of a command.
pub fn start_command_log(filter: &str) {
    start_log(Some(filter), LogFormat::Text, None);
}

fn start_log(filter: Option<&str>, format: LogFormat, export: Option<LogQueue>) {
    let filter =
        EnvFilter::try_new(filter.unwrap_or("info")).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let export = export.map(|queue| LogExport { queue, clock: Clock::System });
    tracing_subscriber::registry().with(filter).with(lines).with(export).init();
}
