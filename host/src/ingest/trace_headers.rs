//! Keeps the trace context of a request with its events.
//!
//! An event's own extension attribute goes before the header of its request: it names the trace in
//! which the event came about, and events of a batch may belong to different traces. A context that
//! is not valid does not count, as W3C Trace Context demands, and never refuses an event.

use super::incoming::IncomingEvent;
use crate::ingest::event_body::BodyError;
use crate::model::trace_context::{BroughtContext, TRACE_PARENT, TRACE_STATE};
use http::{HeaderMap, HeaderName};
use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};

const PARENT_HEADER: HeaderName = HeaderName::from_static(TRACE_PARENT);
const STATE_HEADER: HeaderName = HeaderName::from_static(TRACE_STATE);

/// Returns the context of a request's headers.
pub fn of_request(headers: &HeaderMap) -> Option<BroughtContext> {
    let parent = headers.get(PARENT_HEADER)?.to_str().ok()?;
    // Of two parents, neither is known to be the right one (section 3.2).
    if headers.get_all(PARENT_HEADER).iter().nth(1).is_some() {
        return None;
    }
    let states = headers.get_all(STATE_HEADER).iter();
    let states: Option<Vec<&str>> = states.map(|value| value.to_str().ok()).collect();
    let state = states.map(|states| states.join(","));
    BroughtContext::parse(parent, state.as_deref())
}

/// Adds the context of its request to an event that brings none of its own.
pub fn note_context(
    event: &mut IncomingEvent,
    of_request: Option<&BroughtContext>,
) -> Result<(), BodyError> {
    let Some(context) = of_request else { return Ok(()) };
    if BroughtContext::read(event.attributes.as_deref()).is_some() {
        return Ok(());
    }
    let malformed = |error: serde_json::Error| BodyError::Malformed(error.to_string());
    let text = event.attributes.as_ref().map_or("{}", |attributes| attributes.get());
    // Attributes are copied as texts, so that no number loses a digit.
    let mut attributes: IndexMap<String, Box<RawValue>> =
        serde_json::from_str(text).map_err(malformed)?;
    let parent = to_raw_value(&context.span.to_string()).map_err(malformed)?;
    attributes.insert(TRACE_PARENT.to_owned(), parent);
    if let Some(state) = &context.state {
        attributes.insert(TRACE_STATE.to_owned(), to_raw_value(state).map_err(malformed)?);
    } else {
        // A state belongs to the parent that it came with.
        drop(attributes.shift_remove(TRACE_STATE));
    }
    event.attributes = Some(to_raw_value(&attributes).map_err(malformed)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OF_EVENT: &str = "00-1bf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-00";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn noted(attributes: Option<&str>, headers: &HeaderMap) -> Option<String> {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let mut event = IncomingEvent {
            attributes: attributes.map(raw),
            ..IncomingEvent::new("a.b", RawValue::NULL.to_owned())
        };
        note_context(&mut event, of_request(headers).as_ref()).unwrap();
        event.attributes.map(|attributes| attributes.get().to_owned())
    }

    #[test]
    fn a_header_is_kept_unless_the_event_has_its_own() {
        let sent = headers(&[("traceparent", OF_HEADER), ("tracestate", "a=1")]);
        let kept = format!(r#"{{"traceparent":"{OF_HEADER}","tracestate":"a=1"}}"#);
        assert_eq!(noted(None, &sent).as_deref(), Some(kept.as_str()));
        let own = format!(r#"{{"n":1.50,"traceparent":"{OF_EVENT}"}}"#);
        assert_eq!(noted(Some(&own), &sent).as_deref(), Some(own.as_str()));
        let beside = noted(Some(r#"{"n":1.50,"traceparent":"x","tracestate":"b=2"}"#), &sent);
        let kept = format!(r#"{{"n":1.50,"traceparent":"{OF_HEADER}","tracestate":"a=1"}}"#);
        assert_eq!(beside.as_deref(), Some(kept.as_str()));
        assert_eq!(noted(None, &headers(&[])), None);
    }

    #[test]
    fn headers_that_are_not_valid_do_not_count() {
        let twice = headers(&[("traceparent", OF_HEADER), ("traceparent", OF_EVENT)]);
        assert_eq!(noted(None, &twice), None);
        assert_eq!(noted(None, &headers(&[("traceparent", "nonsense")])), None);
        let states = [("traceparent", OF_HEADER), ("tracestate", "a=1"), ("tracestate", "b=2")];
        assert!(noted(None, &headers(&states)).unwrap().contains(r#""tracestate":"a=1,b=2""#));
    }
}
