//! The parts of the program that follow the commits.

use super::capture::{CaptureReceipt, EventCapture};
use crate::metrics::ServerMetrics;
use crate::store::prefetch::WorkPrefetch;
use crate::store::presence::OtherNodes;
use crate::store::watch::EventWatchers;
use crate::store::write_health::WriteHealth;
use crate::telemetry::span::SpanKind;
use crate::telemetry::span_recorder::SpanRecorder;
use std::sync::{Arc, OnceLock};

/// The followers that the writers inform after a commit.
#[derive(Debug)]
pub struct CommitFollowers {
    /// Receives work for the next stage.
    pub prefetch: WorkPrefetch,
    /// Requests that wait for the outcome of their event.
    pub watchers: EventWatchers,
    /// Nodes that may have such requests.
    pub others: OtherNodes,
    pub metrics: ServerMetrics,
    pub write_health: WriteHealth,
    /// Records the spans of captures, if spans are exported.
    pub spans: OnceLock<Arc<SpanRecorder>>,
}

impl CommitFollowers {
    /// Records the spans of events that have just become durable.
    pub fn trace_captures(
        &self,
        captures: &[EventCapture],
        receipts: &[CaptureReceipt],
        kind: SpanKind,
    ) {
        let Some(recorder) = self.spans.get() else { return };
        let fresh = captures.iter().zip(receipts).filter(|(_, receipt)| !receipt.duplicate);
        for (capture, _) in fresh {
            recorder.record_capture(&capture.event, capture.matched, kind);
        }
    }
}
