//! What an API answers with.

use super::super::Failed;
use super::plan::Plan;
use serde_json::Value;

/// Keys under which such APIs give a list.
const PLACES: [&str; 4] = ["data", "results", "items", "records"];

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) rows: Vec<Value>,
    /// How many rows there are in all, if the API says so.
    pub(super) total: Option<u64>,
    /// How long the answer was.
    pub(super) bytes: usize,
}

impl Page {
    /// Reads an answer.
    pub(super) fn read(plan: &Plan, body: &[u8]) -> Result<Self, Failed> {
        let mut answer: Value = serde_json::from_slice(body)
            .map_err(|error| Failed::new(format!("the API's answer is no JSON: {error}")))?;
        let total = ["/meta/total", "/total", "/meta/pagination/total"]
            .iter()
            .find_map(|place| answer.pointer(place))
            .and_then(|total| total.as_u64().or_else(|| total.as_str()?.parse().ok()));
        let rows = match &plan.rows {
            Some(place) => answer.pointer_mut(place).map(Value::take),
            None => find(&mut answer, plan),
        };
        let Some(Value::Array(rows)) = rows else {
            let place = plan.rows.as_deref().unwrap_or("the usual places");
            return Err(Failed::new(format!(
                "the API's answer holds no list at {place}; say where its rows stand by `rows` of the list"
            )));
        };
        Ok(Self { rows, total, bytes: body.len() })
    }
}

fn find(answer: &mut Value, plan: &Plan) -> Option<Value> {
    if answer.is_array() {
        return Some(answer.take());
    }
    let name = plan.list.trim_matches('/').rsplit('/').next().unwrap_or_default();
    let places = PLACES.iter().copied().map(str::to_owned);
    let mut places = places.chain([name.to_owned(), name.replace('-', "_")]);
    places
        .find_map(|place| answer.get_mut(&place).filter(|found| found.is_array()).map(Value::take))
}
