//! Lines of the program's log on their way to an OTLP receiver.

use super::export_queue::ExportQueue;
use super::span::cut_text;
use crate::model::trace_context::TraceId;
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;
use std::fmt;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The beginning of the targets that are exported. Lines of libraries stay on standard error: those
/// of the HTTP client would be exported by the client and so make further ones.
const OWN_TARGETS: &str = "waybill";
/// Most fields of a line.
const MOST_FIELDS: usize = 32;
/// Longest text of a field, and longest message, in bytes.
const MAX_FIELD: usize = 1_024;
const MAX_MESSAGE: usize = 4_096;
/// The field with the trace of the event that a line is about.
const TRACE_FIELD: &str = "trace_id";

/// The lines that wait for their export.
pub type LogQueue = Arc<ExportQueue<LogEntry>>;

/// One line of the log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    pub at: Timestamp,
    pub level: Level,
    pub target: &'static str,
    pub message: String,
    pub fields: Vec<(&'static str, String)>,
    /// Number of fields that were left out.
    pub left_out: u32,
    /// The trace of the event that the line is about, if it is known.
    pub trace: Option<TraceId>,
}

/// Takes the lines of the log for export.
#[derive(Debug)]
pub struct LogExport {
    pub queue: LogQueue,
    pub clock: Clock,
}

impl<S: Subscriber> Layer<S> for LogExport {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with(OWN_TARGETS) {
            return;
        }
        let mut entry = LogEntry {
            at: self.clock.wall(),
            level: *metadata.level(),
            target: metadata.target(),
            message: String::new(),
            fields: Vec::new(),
            left_out: 0,
            trace: None,
        };
        event.record(&mut entry);
        self.queue.push(entry);
    }
}

impl LogEntry {
    fn note_field(&mut self, name: &'static str, text: String) {
        match name {
            "message" => self.message = cut_text(text, MAX_MESSAGE),
            TRACE_FIELD => self.trace = TraceId::parse(&text),
            _ if self.fields.len() < MOST_FIELDS => {
                self.fields.push((name, cut_text(text, MAX_FIELD)));
            }
            _ => self.left_out += 1,
        }
    }
}

impl Visit for LogEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note_field(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note_field(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn lines_are_taken_with_their_trace_and_within_bounds() {
        let queue: LogQueue = Arc::new(ExportQueue::with_capacity(10));
        let export = LogExport { queue: Arc::clone(&queue), clock: Clock::System };
        let subscriber = tracing_subscriber::registry().with(export);
        let trace = "0af7651916cd43dd8448eb211c80319c";
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(event = "evt_1", trace_id = %trace, count = 3, "it failed");
            tracing::info!(long = "x".repeat(MAX_FIELD * 2), "{}", "y".repeat(MAX_MESSAGE * 2));
            tracing::info!(target: "hyper::proto", "not ours");
        });
        let (entries, _) = queue.take_batch().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].level, entries[0].message.as_str()), (Level::WARN, "it failed"));
        assert_eq!(entries[0].trace.unwrap().to_string(), trace);
        let fields = [("event", "evt_1".to_owned()), ("count", "3".to_owned())];
        assert_eq!(entries[0].fields, fields);
        assert_eq!(entries[1].fields[0].1.len(), MAX_FIELD);
        assert_eq!(entries[1].message.len(), MAX_MESSAGE);
    }
}
