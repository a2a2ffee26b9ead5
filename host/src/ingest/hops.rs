//! Loops: an endpoint that feeds its own source makes one event into thousands.
//!
//! Every delivery says in a header how often its event was delivered and captured again. What comes
//! in with that header, or with the CloudEvents attribute of the same meaning, is captured with the
//! count, and refused once it is too high.

use super::incoming::IncomingEvent;
use crate::ingest::event_body::BodyError;
use crate::model::attributes::{HOPS, HOPS_HEADER, MAX_HOPS, hops};
use crate::model::fault::InputFault;
use http::HeaderMap;
use indexmap::IndexMap;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// The hops that a request says; none where it says nothing.
pub fn of_request(headers: &HeaderMap) -> Result<u32, BodyError> {
    let Some(value) = headers.get(HOPS_HEADER) else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| {
        BodyError::Invalid(vec![InputFault::new(HOPS_HEADER, "is not a whole number from 0")])
    })
}

/// Notes the hops of an event: those of its request, or those of its own attributes if these are
/// more. Refuses it if they are too many.
pub fn note_hops(event: &mut IncomingEvent, of_request: u32) -> Result<(), BodyError> {
    if of_request == 0 && event.attributes.is_none() {
        return Ok(());
    }
    let attributes = event.attributes.as_ref();
    let read = attributes.map(|attributes| serde_json::from_str(attributes.get()));
    // Attributes are moved as they are written, so that no number loses a digit.
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
