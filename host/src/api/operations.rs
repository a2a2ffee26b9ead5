//! `/endpoints/{id}/operations`: lists and runs the operations of an endpoint of kind `api`.

use super::AppState;
use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::body::JsonInput;
use super::dry_run::show_body;
use super::endpoints::{LOCKED, find_endpoint};
use super::problem::ApiProblem;
use crate::channels::api_channel::{ApiOperation, ApiOperations, OperationSettings};
use crate::crypto::digest::ShortDigest;
use crate::delivery::api_request::preview_operation;
use crate::delivery::attempt::{DeliveryParcel, MadeAttempt, make_attempt};
use crate::delivery::judge::RetryRound;
use crate::delivery::refresh_token::keep_refresh_token;
use crate::ingest::incoming::IncomingEvent;
use crate::model::attributes::OPERATION;
use crate::model::event::{DEFAULT_SOURCE, DeliveryMessage, Event, MAX_KEY};
use crate::model::id::{DeliveryId, EventId};
use crate::model::private_values::hide_settings;
use crate::net::error_class::ErrorClass;
use crate::settings::endpoint_runtime::EndpointRuntime;
use axum::Json;
use axum::extract::{Path, State};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::future::pending;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// The event type that an operation sees when a call runs it.
const RUN_TYPE: &str = "operation.run";

/// An operation of an endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationView {
    /// Name of the operation.
    name: String,
    /// Whether the endpoint defines at least part of it. Otherwise it comes from the preset.
    is_own: bool,
    /// Request of the operation, and the use of its answer. Secrets are masked.
    #[serde(flatten)]
    settings: OperationSettings,
}

impl OperationView {
    fn new(name: &str, operation: &ApiOperation) -> Self {
        let settings = mask_operation(&operation.settings).unwrap_or_default();
        Self { name: name.to_owned(), is_own: operation.is_own, settings }
    }
}

/// Masks values whose names mark them as secrets, such as a `token` in the query.
fn mask_operation(settings: &OperationSettings) -> Option<OperationSettings> {
    let mut value = serde_json::to_value(settings).ok()?;
    hide_settings(value.as_object_mut()?);
    serde_json::from_value(value).ok()
}

/// Options for running an operation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationRun {
    /// The `data` of the operation's expressions: any JSON value. Default: an empty object.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    /// The `id` of the operation's expressions. Default: the member `id` of the data.
    #[serde(default)]
    #[schema(max_length = 255)]
    id: Option<String>,
    /// Only shows the request, without secrets. Nothing is sent.
    #[serde(default)]
    dry_run: bool,
}

/// The request of an operation, without secrets.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationRequest {
    /// The method.
    method: String,
    /// The URL. Values of the query are masked.
    url: String,
    /// The headers. Values that the endpoint sets are masked.
    #[schema(value_type = Object)]
    headers: Option<Box<RawValue>>,
    /// The body. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    body: Option<Box<RawValue>>,
}

/// The result of an operation.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationOutcome {
    /// The request, for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<OperationRequest>,
    /// HTTP status of the answer. Absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Body of the answer: JSON, or a text; the first 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    body: Option<Box<RawValue>>,
    /// Class of the failure, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_class: Option<&'static str>,
    /// Description of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Duration in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
}

/// Lists the operations of an endpoint of kind `api`, by name.
#[utoipa::path(get, path = "/api/v1/endpoints/{id}/operations", tag = "endpoints", operation_id = "list_operations",
    params(("id" = String, Path)),
    responses((status = 200, body = ListAnswer<OperationView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn list_operations(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<ListAnswer<OperationView>>, ApiProblem> {
    let target = find_endpoint(&app.live.current_settings(), &id)?;
    let operations = find_operations(&target)?;
    let views = operations.list_operations().map(|(name, one)| OperationView::new(name, one));
    Ok(whole_list(views.collect()))
}

/// Runs an operation now and returns the result. Nothing is stored or tried again, and the answer
/// does not become an event.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/operations/{name}", tag = "endpoints", operation_id = "run_operation",
    params(("id" = String, Path), ("name" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Calls with the same key send the same `Idempotency-Key` to the API. If the operation has `again`, it is first asked whether an earlier call succeeded.")),
    request_body = OperationRun,
    responses((status = 200, body = DataAnswer<OperationOutcome>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn run_operation(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    JsonInput(run): JsonInput<OperationRun>,
) -> Result<Json<DataAnswer<OperationOutcome>>, ApiProblem> {
    let target = find_endpoint(&app.live.current_settings(), &id)?;
    let call = OperationCall::new(&target, &name, run.data, run.id, read_key(&headers)?)?;
    if run.dry_run {
        return Ok(data_answer(call.preview_call(&app)?));
    }
    let made = call.run_call(&app).await?.attempt;
    Ok(data_answer(OperationOutcome {
        request: None,
        status: made.response_status,
        body: made.response_body.as_deref().and_then(show_body),
        error_class: made.error_class,
        error: made.error,
        duration_ms: Some(made.duration.as_secs_f64() * 1e3),
    }))
}

fn find_operations(target: &EndpointRuntime) -> Result<&ApiOperations, ApiProblem> {
    target.operations().map_err(ApiProblem::conflict)
}

/// Returns the caller's `Idempotency-Key`.
pub fn read_key(headers: &HeaderMap) -> Result<Option<&str>, ApiProblem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= MAX_KEY);
    let fault = || ApiProblem::fault("Idempotency-Key", "1 to 255 visible ASCII characters");
    text.map(Some).ok_or_else(fault)
}

/// A call of an operation.
pub struct OperationCall<'a> {
    target: &'a Arc<EndpointRuntime>,
    operations: &'a ApiOperations,
    operation: &'a ApiOperation,
    /// The message with the name of the operation, as a module would set it.
    message: DeliveryMessage,
    event: Event,
    delivery: DeliveryId,
    /// Whether the caller may have made the same call before.
    may_be_repeat: bool,
}

impl<'a> OperationCall<'a> {
    /// Creates a call with data and a record id. With a key of the caller, each call has the same
    /// `Idempotency-Key` in its request.
    pub fn new(
        target: &'a Arc<EndpointRuntime>,
        name: &str,
        data: Option<Box<RawValue>>,
        id: Option<String>,
        key: Option<&str>,
    ) -> Result<Self, ApiProblem> {
        let operations = find_operations(target)?;
        let operation = operations.find_named(name).map_err(ApiProblem::not_found)?;
        if target.is_locked() {
            return Err(ApiProblem::conflict(LOCKED));
        }
        if !target.endpoint.settings.enabled {
            return Err(ApiProblem::conflict("the endpoint is disabled"));
        }
        let data = data.map_or_else(|| RawValue::from_string("{}".to_owned()), Ok);
        let data = data.map_err(|error| ApiProblem::unexpected(&error))?;
        let mut incoming = IncomingEvent { resource_id: id, ..IncomingEvent::new(RUN_TYPE, data) };
        incoming.complete();
        let faults = incoming.check();
        if !faults.is_empty() {
            return Err(ApiProblem::invalid(faults));
        }
        let delivery = key.map_or_else(DeliveryId::generate, |key| {
            let endpoint = target.endpoint.id.to_string();
            let digest = ShortDigest::of([endpoint.as_str(), name, key]);
            DeliveryId::from_uuid(Uuid::from_bytes(*digest.bytes()))
        });
        let attributes = vec![(OPERATION.to_owned(), name.to_owned())];
        Ok(Self {
            target,
            operations,
            operation,
            message: DeliveryMessage { attributes, ..DeliveryMessage::default() },
            event: make_event(incoming),
            delivery,
            may_be_repeat: key.is_some(),
        })
    }

    /// Returns the operation.
    pub const fn operation(&self) -> &ApiOperation {
        self.operation
    }

    /// Sets the id of a part of the record, such as one reply of a ticket. Templates read it as
    /// `attributes.part`.
    pub fn set_part(&mut self, part: &str) -> Result<(), ApiProblem> {
        if part.len() > MAX_KEY {
            return Err(ApiProblem::fault("part_id", format!("at most {MAX_KEY} bytes")));
        }
        let attributes = serde_json::value::to_raw_value(&json!({"part": part}));
        self.event.attributes = Some(attributes.map_err(|error| ApiProblem::unexpected(&error))?);
        Ok(())
    }

    fn make_parcel(&self, app: &AppState, may_be_repeat: bool) -> DeliveryParcel<'_> {
        let wall = app.journal.clock().wall();
        let parcel =
            DeliveryParcel::unrecorded(self.delivery, &self.event, Some(&self.message), wall);
        DeliveryParcel { may_be_repeat, ..parcel }
    }

    /// Returns the request, without secrets.
    fn preview_call(&self, app: &AppState) -> Result<OperationOutcome, ApiProblem> {
        let parcel = self.make_parcel(app, false);
        let shown = preview_operation(self.target, self.operations, parcel);
        let shown = shown.map_err(|why| ApiProblem::fault("data", why))?;
        let request = OperationRequest {
            method: shown.method.to_string(),
            url: shown.url,
            headers: RawValue::from_string(shown.headers).ok(),
            body: Some(shown.body.body).filter(|b| !b.is_empty()).and_then(|b| show_body(&b)),
        };
        Ok(OperationOutcome {
            request: Some(request),
            status: None,
            body: None,
            error_class: None,
            error: None,
            duration_ms: None,
        })
    }

    /// Runs the operation. If it fails and a repetition is safe, runs it once more immediately.
    pub async fn run_call(&self, app: &AppState) -> Result<MadeAttempt, ApiProblem> {
        let first = self.run_once(app, self.may_be_repeat).await?;
        match first.judgement.error_class {
            Some(class) if self.is_safe_after(class) => self.run_once(app, true).await,
            Some(_) | None => Ok(first),
        }
    }

    /// Returns whether the request may be repeated after a failure: it was not sent, it is
    /// idempotent, or the operation first checks whether it was done.
    fn is_safe_after(&self, class: ErrorClass) -> bool {
        let is_repeatable =
            self.operation.http_method().is_idempotent() || self.operation.settings.again.is_some();
        class == ErrorClass::Connect || (class == ErrorClass::ConnectionLost && is_repeatable)
    }

    async fn run_once(
        &self,
        app: &AppState,
        may_be_repeat: bool,
    ) -> Result<MadeAttempt, ApiProblem> {
        let (parcel, at) = (self.make_parcel(app, may_be_repeat), app.journal.clock().now());
        let round = RetryRound { attempts: 1, held_since: None };
        let made = make_attempt(&app.client, self.target, parcel, round, at, 0.0, pending()).await;
        keep_refresh_token(&app.live, self.target).await;
        made.ok_or_else(ApiProblem::internal)
    }
}

fn make_event(incoming: IncomingEvent) -> Event {
    let id = EventId::generate();
    Event {
        id,
        source: DEFAULT_SOURCE.to_owned(),
        event_type: incoming.event_type,
        resource: None,
        resource_id: incoming.resource_id,
        external_id: None,
        occurred_at: None,
        received_at: id.created_at(),
        attributes: None,
        changes: None,
        data: incoming.data,
    }
}
