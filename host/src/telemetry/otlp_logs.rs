//! Writes lines of the log as a message of OTLP.

use super::log_entry::LogEntry;
use super::otlp_messages::{
    ExportResource, LogMessage, LogsRequest, ResourceLogs, ScopeLogs, export_scope, key_value,
    text_value,
};
use super::otlp_spans::unix_nanos;
use prost::Message as _;
use tracing::Level;

/// Returns the bytes of an `ExportLogsServiceRequest`.
pub fn encode_logs(resource: &ExportResource, entries: Vec<LogEntry>) -> Vec<u8> {
    let log_records = entries.into_iter().map(log_message).collect();
    let scope_logs = vec![ScopeLogs { scope: Some(export_scope()), log_records }];
    let resource = Some(resource.clone());
    LogsRequest { resource_logs: vec![ResourceLogs { resource, scope_logs }] }.encode_to_vec()
}

fn log_message(entry: LogEntry) -> LogMessage {
    let at = unix_nanos(entry.at);
    let target = key_value("log.target", text_value(entry.target));
    let fields = entry.fields.into_iter().map(|(name, text)| key_value(name, text_value(text)));
    LogMessage {
        time_unix_nano: at,
        observed_time_unix_nano: at,
        severity_number: severity_number(entry.level),
        severity_text: entry.level.as_str().to_owned(),
        body: Some(text_value(entry.message)),
        attributes: std::iter::once(target).chain(fields).collect(),
        dropped_attributes_count: entry.left_out,
        trace_id: entry.trace.map(|trace| trace.bytes().to_vec()).unwrap_or_default(),
    }
}

/// Returns the first number of the level's range (OpenTelemetry, log data model).
const fn severity_number(level: Level) -> i32 {
    match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}
