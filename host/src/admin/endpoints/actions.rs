//! The forms of an endpoint's page.

use crate::admin::call::{ActionResult, PageCall};
use crate::admin::endpoint_address;
use crate::admin::forms::FormFields;
use crate::admin::texts::{tell_millis, tell_number};
use crate::api::body::JsonInput;
use crate::api::deliveries::{CancelFilter, CancelRequest, cancel_deliveries};
use crate::api::endpoints::{EndpointTestRequest, test_endpoint, update_endpoint};
use crate::api::resource::entity_tag::IfMatch;
use axum::Json;
use axum::extract::Path;
use serde_json::{Map, Value};

/// Sends an example event now, and shows the answer.
pub async fn send_test(
    call: PageCall,
    Path(name): Path<String>,
    fields: FormFields,
) -> ActionResult {
    let request = JsonInput(EndpointTestRequest { event_type: fields.owned("event_type") });
    let principal = call.principal.clone();
    let Json(sent) = test_endpoint(call.state(), principal, Path(name.clone()), request).await?;
    let attempt = sent.data;
    let took = tell_millis(attempt.duration_ms);
    let notice = match (attempt.response_status, &attempt.error) {
        (Some(status), None) => format!("The test was answered {status} after {took}."),
        (Some(status), Some(error)) => {
            format!("The test failed with {status} after {took}: {error}")
        }
        (None, Some(error)) => format!("The test got no answer: {error}"),
        (None, None) => "The test got no answer.".to_owned(),
    };
    Ok(call.done(&endpoint_address(&name), notice))
}

/// Pauses an endpoint. Waiting deliveries stay. Events captured meanwhile make none.
pub async fn pause(call: PageCall, Path(name): Path<String>, _fields: FormFields) -> ActionResult {
    enable(&call, &name, false).await?;
    let notice = format!(
        "{name} is paused. Waiting deliveries are sent when you resume it. Events captured \
         meanwhile are not delivered to it, unless you replay them afterwards."
    );
    Ok(call.done(&endpoint_address(&name), notice))
}

/// Resumes an endpoint.
pub async fn resume(call: PageCall, Path(name): Path<String>, _fields: FormFields) -> ActionResult {
    enable(&call, &name, true).await?;
    let notice = format!(
        "{name} is resumed: waiting deliveries are sent now. If it needs events captured during \
         the pause, replay them."
    );
    Ok(call.done(&endpoint_address(&name), notice))
}

async fn enable(
    call: &PageCall,
    name: &str,
    enabled: bool,
) -> Result<(), crate::admin::call::PageProblem> {
    let wanted: Map<String, Value> =
        [("enabled".to_owned(), Value::Bool(enabled))].into_iter().collect();
    let principal = call.principal.clone();
    let path = Path(name.to_owned());
    drop(update_endpoint(call.state(), principal, path, IfMatch::ANY, JsonInput(wanted)).await?);
    Ok(())
}

/// Cancels all waiting deliveries.
pub async fn cancel_waiting(
    call: PageCall,
    Path(name): Path<String>,
    _fields: FormFields,
) -> ActionResult {
    let filter = CancelFilter { endpoint: Some(name.clone()), ..CancelFilter::default() };
    let request = JsonInput(CancelRequest { filter, dry_run: false });
    let Json(done) = cancel_deliveries(call.state(), call.principal.clone(), request).await?;
    let notice = format!(
        "{} called off.",
        tell_number(done.data.cancelled, "delivery was", "deliveries were")
    );
    Ok(call.done(&endpoint_address(&name), notice))
}
