//! Stops loops: an endpoint that feeds its own source would turn one event into thousands.
//!
//! Every delivery has a header that says how often its event was delivered and captured again. A
//! request with that header, or with the CloudEvents attribute of the same meaning, is captured
//! with the count. If the count is too high, it is refused.

use super::incoming::IncomingEvent;
use crate::ingest::event_body::BodyError;
use crate::model::attributes::{HOPS, HOPS_HEADER, MAX_HOPS, hops};
use crate::model::fault::InputFault;
use http::HeaderMap;
use indexmap::IndexMap;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// Returns the number of hops in a request's header, or 0 if there is none.
pub fn of_request(headers: &HeaderMap) -> Result<u32, BodyError> {
    let Some(value) = headers.get(HOPS_HEADER) else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| {
        BodyError::Invalid(vec![InputFault::new(HOPS_HEADER, "is not a whole number from 0")])
    })
}

/// Adds the number of hops to an event's attributes: the higher of the request's number and the one
/// in the event's own attributes. Fails if it is too high.
pub fn note_hops(event: &mut IncomingEvent, of_request: u32) -> Result<(), BodyError> {
    if of_request == 0 && event.attributes.is_none() {
        return Ok(());
    }
    let attributes = event.attributes.as_ref();
    let read = attributes.map(|attributes| serde_json::from_str(attributes.get()));
    // Attributes are copied as texts, so that no number loses a digit.
    let mut attributes: IndexMap<String, Box<RawValue>> = read
        .transpose()
        .map_err(|error| BodyError::Malformed(error.to_string()))?
        .unwrap_or_default();
    let given = attributes.get(HOPS);
    let given: Option<Value> = given.and_then(|given| serde_json::from_str(given.get()).ok());
    let own = given.as_ref().map_or(Some(0), hops).ok_or_else(|| {
        BodyError::Invalid(vec![InputFault::new(HOPS, "is not a whole number from 0")])
    })?;
    let all = own.max(of_request);
    if all > MAX_HOPS {
        return Err(BodyError::Loop(all));
    }
    if all > 0 && given != Some(all.into()) {
        let malformed = |error: serde_json::Error| BodyError::Malformed(error.to_string());
        attributes.insert(HOPS.to_owned(), to_raw_value(&all).map_err(malformed)?);
        event.attributes = Some(to_raw_value(&attributes).map_err(malformed)?);
    }
    Ok(())
}
