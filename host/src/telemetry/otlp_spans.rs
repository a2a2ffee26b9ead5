//! Writes finished spans as a message of OTLP.

use super::otlp_messages::{
    ExportResource, ResourceSpans, ScopeSpans, SpanMessage, SpanStatus, TraceRequest,
    attribute_list, export_scope, key_value, text_value,
};
use super::span::{FinishedSpan, SpanKind};
use crate::time::timestamp::Timestamp;
use prost::Message as _;

/// `STATUS_CODE_ERROR`.
const FAILED: i32 = 2;
/// The flags that say that it is known whether the parent is of another system, and that it is.
const PARENT_KNOWN: u32 = 0x100;
const PARENT_REMOTE: u32 = 0x200;
/// The flag of W3C Trace Context. Spans that are not recorded are not exported.
const SAMPLED: u32 = 1;

/// Returns the bytes of an `ExportTraceServiceRequest`.
pub fn encode_spans(resource: &ExportResource, spans: Vec<FinishedSpan>) -> Vec<u8> {
    let spans = spans.into_iter().map(span_message).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(export_scope()), spans }];
    let resource = Some(resource.clone());
    TraceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }.encode_to_vec()
}

fn span_message(span: FinishedSpan) -> SpanMessage {
    let remote = if span.is_parent_remote { PARENT_REMOTE } else { 0 };
    let mut attributes = attribute_list(span.attributes);
    attributes.extend(span.failure.map(|class| key_value("error.type", text_value(class))));
    SpanMessage {
        trace_id: span.context.trace.bytes().to_vec(),
        span_id: span.context.span.bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        name: span.name.to_owned(),
        kind: match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
        start_time_unix_nano: unix_nanos(span.began),
        end_time_unix_nano: unix_nanos(span.ended.max(span.began)),
        attributes,
        status: span.failure.map(|class| SpanStatus { message: class.to_owned(), code: FAILED }),
        flags: SAMPLED | PARENT_KNOWN | remote,
    }
}

/// Returns nanoseconds since 1970.
pub fn unix_nanos(at: Timestamp) -> u64 {
    u64::try_from(at.micros()).unwrap_or_default().saturating_mul(1_000)
}
