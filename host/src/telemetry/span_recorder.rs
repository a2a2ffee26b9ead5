//! Decides whose spans are recorded, and queues them.

use super::export_figures::ExportFigures;
use super::export_queue::ExportQueue;
use super::span::{FinishedSpan, SpanAttributes, SpanKind};
use super::span_ids::{attempt_span, capture_span};
use crate::json::members::JsonMembers;
use crate::model::attributes::CAUSED_BY;
use crate::model::event::Event;
use crate::model::id::{DeliveryId, EventId};
use crate::model::trace_context::{BroughtContext, SpanContext, SpanId, TraceId};
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Records spans. There is one only if spans are exported.
#[derive(Debug)]
pub struct SpanRecorder {
    queue: Arc<ExportQueue<FinishedSpan>>,
    sampler: EventSampler,
    clock: Clock,
}

/// The trace of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracedEvent {
    pub trace: TraceId,
    /// The sender's span, if the event brought a context.
    pub sender: Option<SpanId>,
    pub is_sampled: bool,
}

impl TracedEvent {
    /// Returns the context of a span of this trace.
    pub const fn context(&self, span: SpanId) -> SpanContext {
        SpanContext { trace: self.trace, span, is_sampled: self.is_sampled }
    }
}

impl SpanRecorder {
    /// Makes a recorder. `ratio` is the share of events to record, 0 to 1.
    pub fn new(queue: Arc<ExportQueue<FinishedSpan>>, ratio: f64, clock: Clock) -> Self {
        Self { queue, sampler: EventSampler::new(ratio), clock }
    }

    /// Returns the trace of an event. An event that brought a context is recorded if its sender
    /// recorded it; of the others, a share is.
    pub fn trace_event(&self, event: &Event) -> TracedEvent {
        if let Some(BroughtContext { span, .. }) = BroughtContext::read(event.attributes.as_deref())
        {
            let (trace, sender) = (span.trace, Some(span.span));
            return TracedEvent { trace, sender, is_sampled: span.is_sampled };
        }
        let trace = TraceId::of_event_id(event.id);
        TracedEvent { trace, sender: None, is_sampled: self.sampler.takes(trace) }
    }

    /// Returns the context of an attempt, which its receiver continues.
    pub fn attempt_context(&self, event: &Event, delivery: DeliveryId, number: i32) -> SpanContext {
        self.trace_event(event).context(attempt_span(delivery, number))
    }

    /// Returns the time for waits, which is that of all stored times.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns how many spans were exported and dropped.
    pub fn figures(&self) -> &ExportFigures {
        self.queue.figures()
    }

    /// Queues a span, if its trace is recorded.
    pub fn record(&self, span: FinishedSpan) {
        if span.context.is_sampled {
            self.queue.push(span);
        }
    }

    /// Records that an event was captured, which has just become durable.
    pub fn record_capture(&self, event: &Event, matched: usize, kind: SpanKind) {
        let traced = self.trace_event(event);
        if !traced.is_sampled {
            return;
        }
        self.record(FinishedSpan {
            context: traced.context(capture_span(event.id)),
            parent: traced.sender,
            is_parent_remote: traced.sender.is_some(),
            name: "capture",
            kind,
            began: event.received_at,
            ended: self.now(),
            attributes: describe_event(event)
                .with_number("waybill.matched", i64::try_from(matched).unwrap_or(i64::MAX)),
            failure: None,
        });
    }
}

/// Returns the attributes that say what an event is. Ids that a source gave are left out, because
/// they may name people.
fn describe_event(event: &Event) -> SpanAttributes {
    SpanAttributes::default()
        .with_text("cloudevents.event_id", event.id.to_string())
        .with_text("cloudevents.event_type", event.event_type.as_str())
        .with_text("cloudevents.event_source", event.source.as_str())
        .with_optional_text("waybill.resource", event.resource.as_deref())
        .with_optional_text("waybill.caused_by", find_cause(event.attributes.as_deref()).as_deref())
}

/// Returns the id of what caused an event that Waybill made itself. A sender may have set the
/// attribute too, so nothing but an id is taken.
fn find_cause(attributes: Option<&RawValue>) -> Option<String> {
    let text = attributes?.get();
    memchr::memmem::find(text.as_bytes(), CAUSED_BY.as_bytes())?;
    let cause = JsonMembers::read(text).ok()?.get(CAUSED_BY)?;
    let cause: String = serde_json::from_str(cause.get()).ok()?;
    let is_id = cause.parse::<EventId>().is_ok() || cause.parse::<DeliveryId>().is_ok();
    is_id.then_some(cause)
}

/// Takes a share of the traces. Every node takes the same ones.
#[derive(Debug)]
struct EventSampler {
    /// A trace is taken if its number is below this one of 2^32.
    below: u64,
}

impl EventSampler {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product is 0 to 2^32"
    )]
    fn new(ratio: f64) -> Self {
        Self { below: (ratio.clamp(0.0, 1.0) * 4_294_967_296.0) as u64 }
    }

    /// The last 32 bits of an event's id are random (RFC 9562, section 5.7).
    fn takes(&self, trace: TraceId) -> bool {
        let [.., a, b, c, d] = trace.bytes();
        u64::from(u32::from_be_bytes([a, b, c, d])) < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::super::span::AttributeValue;
    use super::*;

    fn taken(ratio: f64) -> usize {
        let sampler = EventSampler::new(ratio);
        let ids = (0..4_000_u128).map(|n| n * 0x9e37_79b9_7f4a_7c15);
        let traces =
            ids.map(|n| TraceId::of_event_id(EventId::from_uuid(uuid::Uuid::from_u128(n))));
        traces.filter(|trace| sampler.takes(*trace)).count()
    }

    #[test]
    fn a_ratio_takes_its_share() {
        assert_eq!((taken(0.0), taken(1.0)), (0, 4_000));
        assert!((800..1_200).contains(&taken(0.25)), "{}", taken(0.25));
    }

    #[test]
    fn the_sender_decides_about_its_trace() {
        let queue = Arc::new(ExportQueue::with_capacity(10));
        let recorder = SpanRecorder::new(Arc::clone(&queue), 0.0, Clock::System);
        let mut event = Event {
            id: EventId::generate(),
            source: "crm".to_owned(),
            event_type: "invoice.paid".to_owned(),
            resource: None,
            resource_id: None,
            external_id: None,
            occurred_at: None,
            received_at: Clock::System.now(),
            attributes: None,
            changes: None,
            data: RawValue::NULL.to_owned(),
        };
        recorder.record_capture(&event, 1, SpanKind::Server);
        assert!(queue.take_batch().is_none());
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let cause = DeliveryId::generate().to_string();
        let attributes = format!(r#"{{"traceparent":"{sent}","waybill-caused-by":"{cause}"}}"#);
        event.attributes = RawValue::from_string(attributes).ok();
        recorder.record_capture(&event, 1, SpanKind::Server);
        let (spans, _) = queue.take_batch().unwrap();
        assert_eq!(spans[0].context.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(spans[0].parent.unwrap().to_string(), "b7ad6b7169203331");
        let cause = ("waybill.caused_by", AttributeValue::Text(cause));
        assert!(spans[0].attributes.0.contains(&cause));
        let other = RawValue::from_string(r#"{"waybill-caused-by":"s3cret"}"#.to_owned()).unwrap();
        assert_eq!(find_cause(Some(&other)), None);
    }
}
