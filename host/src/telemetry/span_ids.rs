//! The ids of spans, computed from the ids of what they stand for.
//!
//! Any node can name the span of a capture, a plan or an attempt without asking for it. A stage
//! that is repeated after a crash has the same span again.

use crate::crypto::digest::ShortDigest;
use crate::model::id::{DeliveryId, EventId, FlowId};
use crate::model::trace_context::SpanId;

/// Returns the span of an event's capture.
pub fn capture_span(event: EventId) -> SpanId {
    span_of(&[b"capture", event.uuid().as_bytes()])
}

/// Returns the span of the run of a flow that ended with deliveries. There is one for an event and
/// a flow, because the attempts at the deliveries must find it. Where the event is planned again,
/// the span of that run has the same id.
pub fn plan_span(event: EventId, flow: FlowId) -> SpanId {
    span_of(&[b"plan", event.uuid().as_bytes(), flow.uuid().as_bytes()])
}

/// Returns the span of a run that failed: the number of the try, from 1.
pub fn failed_plan_span(event: EventId, flow: FlowId, number: i32) -> SpanId {
    let number = number.to_be_bytes();
    span_of(&[b"plan", event.uuid().as_bytes(), flow.uuid().as_bytes(), &number])
}

/// Returns the span of a module's call: its number in the plan, from 0.
pub fn module_span(plan: SpanId, number: usize) -> SpanId {
    span_of(&[b"module", &plan.bytes(), &(number as u64).to_be_bytes()])
}

/// Returns the span of an attempt: its number, from 1. After a crash an attempt may be made again
/// with the same number.
pub fn attempt_span(delivery: DeliveryId, number: i32) -> SpanId {
    span_of(&[b"attempt", delivery.uuid().as_bytes(), &number.to_be_bytes()])
}

fn span_of(parts: &[&[u8]]) -> SpanId {
    let digest = ShortDigest::of(parts);
    let start = digest.bytes().first_chunk().copied().unwrap_or_default();
    SpanId::new(u64::from_be_bytes(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_thing_has_the_same_span_and_others_have_others() {
        let (event, flow) = (EventId::generate(), FlowId::generate());
        let delivery = DeliveryId::generate();
        assert_eq!(capture_span(event), capture_span(event));
        let plan = plan_span(event, flow);
        let spans = [
            capture_span(event),
            capture_span(EventId::generate()),
            plan,
            failed_plan_span(event, flow, 1),
            failed_plan_span(event, flow, 2),
            module_span(plan, 0),
            module_span(plan, 1),
            attempt_span(delivery, 1),
            attempt_span(delivery, 2),
        ];
        assert_eq!(spans.iter().collect::<HashSet<_>>().len(), spans.len());
    }
}
