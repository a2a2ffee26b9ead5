//! The exporters of this process: opened with the server, and flushed when it has stopped.

use super::export_queue::ExportQueue;
use super::log_entry::LogQueue;
use super::otlp_exporter::{OtlpExporter, OtlpTarget};
use super::otlp_logs::encode_logs;
use super::otlp_messages::{ExportResource, key_value, text_value};
use super::otlp_spans::encode_spans;
use super::span_recorder::SpanRecorder;
use crate::config::{HiddenText, TelemetrySection};
use crate::net::http_client::DeliveryClient;
use crate::net::http_url::read_http_url;
use crate::time::clock::Clock;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The words for the signals in the metrics and the log.
const SPANS: &str = "spans";
const LOGS: &str = "logs";
/// Longest time that a stop waits for the last exports.
const FLUSH: Duration = Duration::from_secs(5);

/// A signal, with the number of items that were exported and dropped.
pub type SignalCounts = (&'static str, u64, u64);

/// What is set for exports, ready for use.
#[derive(Debug)]
pub struct ExportSettings {
    /// The URL without a slash at its end.
    base: String,
    headers: HeaderMap,
    resource: ExportResource,
    traces: bool,
    ratio: f64,
    capacity: usize,
}

impl ExportSettings {
    /// Reads the settings. Returns `None` if nothing is exported. `node` tells this process from
    /// others of the same service.
    pub fn read(section: &TelemetrySection, node: i64) -> Option<Self> {
        let base = section.otlp_endpoint.as_ref()?.expose().trim_end_matches('/').to_owned();
        let header = |(name, value): (&String, &HiddenText)| {
            let mut value = HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((name.parse::<HeaderName>().ok()?, value))
        };
        let mut headers: HeaderMap = section.otlp_headers.iter().filter_map(header).collect();
        let content_type = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, content_type);
        let resource = ExportResource {
            attributes: vec![
                key_value("service.name", text_value(section.service_name.as_str())),
                key_value("service.version", text_value(env!("CARGO_PKG_VERSION"))),
                key_value("service.instance.id", text_value(format!("{node:016x}"))),
            ],
        };
        let (traces, ratio, capacity) = (section.traces, section.sample_ratio, section.max_queue);
        Some(Self { base, headers, resource, traces, ratio, capacity })
    }

    fn target(&self, client: &DeliveryClient, clock: &Clock, path: &str) -> Option<OtlpTarget> {
        let uri: Uri = read_http_url(&format!("{}{path}", self.base)).ok()?;
        let (headers, resource) = (self.headers.clone(), self.resource.clone());
        Some(OtlpTarget { client: client.clone(), uri, headers, resource, clock: clock.clone() })
    }
}

/// The running exporters.
#[derive(Debug, Default)]
pub struct RunningExports {
    recorder: Option<Arc<SpanRecorder>>,
    logs: Option<LogQueue>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl RunningExports {
    /// Starts the exporters. `logs` are the lines of the log, if they are to be exported.
    pub fn start(
        settings: &ExportSettings,
        client: &DeliveryClient,
        clock: &Clock,
        logs: Option<LogQueue>,
    ) -> Self {
        let mut exports = Self::default();
        if settings.traces
            && let Some(target) = settings.target(client, clock, "/v1/traces")
        {
            let queue = Arc::new(ExportQueue::with_capacity(settings.capacity));
            let recorder = SpanRecorder::new(Arc::clone(&queue), settings.ratio, clock.clone());
            exports.recorder = Some(Arc::new(recorder));
            exports.spawn(SPANS, queue, target, encode_spans);
        }
        if let (Some(queue), Some(target)) = (logs, settings.target(client, clock, "/v1/logs")) {
            exports.logs = Some(Arc::clone(&queue));
            exports.spawn(LOGS, queue, target, encode_logs);
        }
        exports
    }

    fn spawn<T: Send + 'static>(
        &self,
        signal: &'static str,
        queue: Arc<ExportQueue<T>>,
        target: OtlpTarget,
        encode: fn(&ExportResource, Vec<T>) -> Vec<u8>,
    ) {
        let is_failing = AtomicBool::default();
        let exporter = OtlpExporter { signal, queue, target, encode, is_failing };
        self.tasks.spawn(exporter.run(self.stop.clone()));
    }

    /// Returns the recorder of spans, if they are exported.
    pub fn recorder(&self) -> Option<Arc<SpanRecorder>> {
        self.recorder.clone()
    }

    /// Returns the counts of both signals, zero for one that is not exported.
    pub fn count_signals(&self) -> [SignalCounts; 2] {
        let spans = self.recorder.as_ref().map(|recorder| recorder.figures());
        let logs = self.logs.as_ref().map(|queue| queue.figures());
        [(SPANS, spans), (LOGS, logs)].map(|(signal, figures)| {
            let counts = figures.map(|one| (one.count_exported(), one.count_dropped()));
            let (exported, dropped) = counts.unwrap_or_default();
            (signal, exported, dropped)
        })
    }

    /// Sends what still waits, for at most [`FLUSH`].
    pub async fn finish(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(FLUSH, self.tasks.wait()).await.is_err() {
            tracing::warn!("not all telemetry was exported before the stop");
        }
    }
}
