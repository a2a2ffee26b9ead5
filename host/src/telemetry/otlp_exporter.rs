//! Sends what waits in a queue to an OTLP receiver, batch by batch.
//!
//! A batch that the receiver could not take is sent again a few times, as OTLP prescribes (section
//! "Failures"); meanwhile the queue fills and drops. One that it refuses is dropped at once. Both
//! are counted, and the log says once when it begins and once when it is over.

use super::export_queue::ExportQueue;
use super::otlp_messages::{ExportResource, ExportResponse};
use crate::net::http_client::{ClientReply, ClientRequest, DeliveryClient};
use crate::net::retry_after::retry_after;
use crate::time::clock::Clock;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use prost::Message as _;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest time that an item waits for further ones of its batch.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Waits between the tries of a batch.
const WAITS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// Longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Where an exporter sends batches.
#[derive(Debug)]
pub struct OtlpTarget {
    pub client: DeliveryClient,
    pub uri: Uri,
    /// Secrets are among them.
    pub headers: HeaderMap,
    pub resource: ExportResource,
    pub clock: Clock,
}

/// Exports one signal.
#[derive(Debug)]
pub struct OtlpExporter<T> {
    /// The word for what it exports: `spans` or `logs`.
    pub signal: &'static str,
    pub queue: Arc<ExportQueue<T>>,
    pub target: OtlpTarget,
    pub encode: fn(&ExportResource, Vec<T>) -> Vec<u8>,
    /// Whether the last batch was not taken.
    pub is_failing: AtomicBool,
}

/// The result of one request.
enum ExportOutcome {
    /// The receiver took the batch, but for this many items.
    Taken { rejected: u64 },
    /// The receiver will never take it.
    Refused(String),
    /// The receiver may take it later, and may have said when.
    NotNow { why: String, after: Option<Duration> },
}

impl<T: Send> OtlpExporter<T> {
    /// Exports until `stop`, and then what still waits.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            self.queue.wait_for_batch(INTERVAL, &stop).await;
            let is_last = stop.is_cancelled();
            while let Some((batch, is_complete)) = self.queue.take_batch() {
                self.export_batch(batch, &stop).await;
                // What came meanwhile waits for others, unless nothing more will come.
                if !is_complete && !is_last {
                    break;
                }
            }
            if is_last {
                return;
            }
        }
    }

    async fn export_batch(&self, batch: Vec<T>, stop: &CancellationToken) {
        let count = batch.len() as u64;
        let body = Bytes::from((self.encode)(&self.target.resource, batch));
        let figures = self.queue.figures();
        let mut waits = WAITS.into_iter();
        loop {
            match self.target.post(body.clone()).await {
                ExportOutcome::Taken { rejected } => {
                    let rejected = rejected.min(count);
                    figures.note_exported(count - rejected);
                    figures.note_dropped(rejected);
                    self.note_success();
                    return;
                }
                ExportOutcome::Refused(why) => {
                    figures.note_dropped(count);
                    self.note_failure(&why);
                    return;
                }
                ExportOutcome::NotNow { why, after } => {
                    self.note_failure(&why);
                    let wait = waits.next().filter(|_| !stop.is_cancelled());
                    let Some(wait) = wait else {
                        figures.note_dropped(count);
                        return;
                    };
                    let wait = after.unwrap_or(wait).min(LONGEST_WAIT);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    fn note_success(&self) {
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(signal = self.signal, "telemetry is exported again");
        }
    }

    fn note_failure(&self, why: &str) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            // The path is not logged, because some receivers have a secret in it.
            let host = self.target.uri.host();
            tracing::warn!(
                signal = self.signal,
                host,
                why,
                "cannot export telemetry; check telemetry.otlp_endpoint and its receiver. What does not fit into \
                 telemetry.max_queue is dropped (waybill_telemetry_dropped_total)"
            );
        }
    }
}

impl OtlpTarget {
    async fn post(&self, body: Bytes) -> ExportOutcome {
        let request = ClientRequest::post(self.uri.clone(), self.headers.clone(), body);
        match self.client.send(request, TIMEOUT, pending()).await {
            Some(Ok(reply)) => self.judge_reply(&reply),
            Some(Err(error)) => ExportOutcome::NotNow { why: error.detail, after: None },
            None => ExportOutcome::NotNow { why: "it was not sent".to_owned(), after: None },
        }
    }

    fn judge_reply(&self, reply: &ClientReply) -> ExportOutcome {
        let why = || format!("answered {}", reply.status);
        match reply.status {
            status if status.is_success() => {
                ExportOutcome::Taken { rejected: count_rejected(&reply.body) }
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let after = retry_after(&reply.headers, self.clock.wall());
                ExportOutcome::NotNow { why: why(), after }
            }
            _ => ExportOutcome::Refused(why()),
        }
    }
}

/// Returns how many items an answer says were not taken. Some receivers answer with another body.
fn count_rejected(body: &[u8]) -> u64 {
    let partial = ExportResponse::decode(body).ok().and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or_default())
}
