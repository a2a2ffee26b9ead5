//! Rebuilds the body that an attempt sent. The body is not stored: it is made again from the event,
//! the message of the modules, and the present settings of the endpoint. The record of the attempt
//! has the signatures, so if the same signatures result, the body is identical to the byte.

use super::AppState;
use super::auth::CallPrincipal;
use super::deliveries::AttemptView;
use super::events::{find_visible_event, id};
use super::problem::ApiProblem;
use crate::delivery::attempt::{DeliveryParcel, RemadeRequest, remake_request};
use crate::model::id::DeliveryId;
use crate::model::trace_context::{TRACE_PARENT, TRACE_STATE};
use crate::time::timestamp::Timestamp;
use serde_json::{Map, Value};

/// The header with the time that signatures include, in seconds.
const SIGNED_AT: &str = "webhook-timestamp";

/// A rebuilt body.
#[derive(Debug)]
pub struct RemadeBody {
    /// The body as text. Bytes that are not UTF-8 are replaced.
    pub text: String,
    pub content_type: String,
    /// Whether its signatures equal those that were sent, so that it is identical to the byte.
    pub is_proven: bool,
}

/// Rebuilds the body of an attempt.
pub async fn remake_body(
    app: &AppState,
    principal: &CallPrincipal,
    delivery: &str,
    attempt: &AttemptView,
) -> Result<RemadeBody, ApiProblem> {
    let delivery: DeliveryId = id("delivery", delivery)?;
    let stored = app.journal.find_delivery(delivery).await?;
    let stored = stored.ok_or_else(|| ApiProblem::missing("delivery", &delivery.to_string()))?;
    let event = find_visible_event(app, principal, &stored.event_id.to_string()).await?;
    let event = event.with_payload()?;
    let target = app.live.current_settings().find_endpoint(stored.endpoint_id).cloned();
    let target = target.ok_or_else(|| ApiProblem::conflict("its endpoint was deleted"))?;
    let contents = app.journal.find_delivery_contents(delivery).await?;
    let contents =
        contents.ok_or_else(|| ApiProblem::missing("delivery", &delivery.to_string()))?;
    let recorded = recorded_headers(attempt);
    let mut first = None;
    // A settled delivery no longer shows whether it was one that collapses.
    for collapsed in [None, Some(contents.collapsed)] {
        let parcel = DeliveryParcel {
            id: delivery,
            event: &event,
            message: contents.message.as_ref(),
            collapsed,
            number: attempt.number,
            signed_at: signed_at(&recorded).unwrap_or(attempt.at),
            permit: None,
            may_be_repeat: false,
            span: None,
        };
        let made = remake_request(&target, parcel).map_err(ApiProblem::conflict)?;
        if is_same(&recorded, &made) {
            return Ok(RemadeBody::of(&made, true));
        }
        first.get_or_insert(made);
    }
    first.map(|made| RemadeBody::of(&made, false)).ok_or_else(ApiProblem::internal)
}

fn recorded_headers(attempt: &AttemptView) -> Map<String, Value> {
    let recorded = attempt.request_headers.as_ref();
    recorded.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn signed_at(recorded: &Map<String, Value>) -> Option<Timestamp> {
    let seconds: i64 = recorded.get(SIGNED_AT)?.as_str()?.parse().ok()?;
    Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?))
}

/// Returns whether a request has the headers of the record, including its signatures. The headers
/// of the trace depend on whether spans were recorded at the time, and say nothing of the body.
fn is_same(recorded: &Map<String, Value>, made: &RemadeRequest) -> bool {
    let made: Map<String, Value> = serde_json::from_str(&made.headers).unwrap_or_default();
    let is_compared =
        |(name, _): &(&String, &Value)| ![TRACE_PARENT, TRACE_STATE].contains(&name.as_str());
    let count = |headers: &Map<String, Value>| headers.iter().filter(is_compared).count();
    let is_made = |(name, value): (&String, &Value)| made.get(name) == Some(value);
    count(recorded) > 0
        && count(recorded) == count(&made)
        && recorded.iter().filter(is_compared).all(is_made)
}

impl RemadeBody {
    fn of(made: &RemadeRequest, is_proven: bool) -> Self {
        Self {
            text: String::from_utf8_lossy(&made.body).into_owned(),
            content_type: made.content_type.clone(),
            is_proven,
        }
    }
}
