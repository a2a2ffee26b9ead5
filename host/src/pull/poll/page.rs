//! What an API answers with.
//!
//! Rows are found without reading them, and each is read by itself: one that is broken breaks no other.

use super::super::Failed;
use super::plan::Plan;
use crate::domain::members::{Members, scalar};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Keys under which such APIs give a list.
const PLACES: [&str; 4] = ["data", "results", "items", "records"];

/// Where such APIs say how many rows there are in all.
const TOTALS: [&str; 3] = ["/meta/total", "/total", "/meta/pagination/total"];

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    /// The rows as they are written.
    pub(super) rows: Vec<Box<RawValue>>,
    /// How many rows there are in all, if the API says so.
    pub(super) total: Option<u64>,
    /// How long the answer was.
    pub(super) bytes: usize,
}

impl Page {
    /// Reads an answer.
    pub(super) fn read(plan: &Plan, body: &[u8]) -> Result<Self, Failed> {
        let text = decode(body);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let answer: &RawValue = serde_json::from_str(text)
            .map_err(|error| Failed::new(format!("the API's answer is no JSON: {error}")))?;
        let total = TOTALS.iter().find_map(|place| scalar(at(answer, place)?)?.parse().ok());
        let rows = match &plan.rows {
            Some(place) => at(answer, place),
            None => find(answer, plan),
        };
        let rows = rows.and_then(|rows| serde_json::from_str(rows.get()).ok());
        let rows = rows.ok_or_else(|| {
            let place = plan.rows.as_deref().unwrap_or("the usual places");
            Failed::new(format!(
                "the API's answer holds no list at {place}; say where its rows stand by `rows` of the list"
            ))
        })?;
        Ok(Self { rows, total, bytes: body.len() })
    }
}

/// The text of an answer. Bytes that are not UTF-8 become half a character, so that the row that they stand in cannot be
/// read and the others can.
fn decode(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return text.into();
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push_str("\\ud800");
        }
    }
    text.into()
}

/// The value at a JSON pointer (RFC 6901).
fn at<'a>(value: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    let mut value = value;
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        value = if value.get().starts_with('[') {
            let members: Vec<&'a RawValue> = serde_json::from_str(value.get()).ok()?;
            members.get(name.parse::<usize>().ok()?).copied()?
        } else {
            Members::read(value.get()).ok()?.get(&name)?
        };
    }
    Some(value)
}

fn find<'a>(answer: &'a RawValue, plan: &Plan) -> Option<&'a RawValue> {
    if answer.get().starts_with('[') {
        return Some(answer);
    }
    let members = Members::read(answer.get()).ok()?;
    let name = plan.list.trim_matches('/').rsplit('/').next().unwrap_or_default();
    let under_name = name.replace('-', "_");
    let mut places = PLACES.iter().copied().chain([name, under_name.as_str()]);
    places.find_map(|place| members.get(place).filter(|found| found.get().starts_with('[')))
}
