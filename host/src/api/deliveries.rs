//! `/deliveries`: the status of deliveries, and their replay.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::answer::{DataAnswer, ListAnswer, PageRequest, data_answer, list_page};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput};
use super::events::{id, time};
use super::problem::ApiProblem;
use super::trace::{DeliveryTrace, delivery_trace};
use super::{AppState, endpoints};
use crate::delivery::exchange_record::find_receiver_id;
use crate::json::storable::is_storable;
use crate::model::delivery::DeliveryStatus;
use crate::model::id::DeliveryId;
use crate::settings::SettingsSnapshot;
use crate::store::{DeliveryFilter, RecordedAttempt, StoredDelivery};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// Number of deliveries that are cancelled in one transaction, small enough not to delay captures.
const CHUNK: u32 = 200;

/// A delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Id of the delivery, which is the `webhook-id` on the wire.
    pub id: String,
    /// Id of the event.
    pub event_id: String,
    /// Id of the endpoint.
    pub endpoint_id: String,
    /// Name of the endpoint. Absent if it was deleted.
    pub endpoint: Option<String>,
    /// The flow that planned it. Absent for an endpoint's own `events`.
    pub flow_id: Option<String>,
    /// The event type as it is sent.
    pub event_type: String,
    /// Status of the delivery.
    pub status: DeliveryStatus,
    /// For a pending delivery, the time at which it will be sent. For a leased one, the end of the
    /// lease.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
    /// Number of attempts made.
    pub attempt_count: u32,
    /// Number of deliveries collapsed into it.
    pub collapsed: u32,
    /// Time of planning.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Time at which the delivery ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub settled_at: Option<Timestamp>,
}

impl DeliveryView {
    /// Adds the endpoint's name to a delivery.
    pub fn new(snapshot: &SettingsSnapshot, delivery: StoredDelivery) -> Self {
        let target = snapshot.find_endpoint(delivery.endpoint_id);
        Self {
            id: delivery.id.to_string(),
            event_id: delivery.event_id.to_string(),
            endpoint_id: delivery.endpoint_id.to_string(),
            endpoint: target.map(|t| t.endpoint.settings.name.clone()),
            flow_id: delivery.flow_id.map(|id| id.to_string()),
            event_type: delivery.event_type,
            status: delivery.status,
            due_at: delivery.due_at,
            attempt_count: delivery.attempts,
            collapsed: delivery.collapsed,
            created_at: delivery.created_at,
            settled_at: delivery.settled_at,
        }
    }
}

/// An attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    /// Number of the attempt, from 1.
    pub number: i32,
    /// Start time.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Duration in milliseconds.
    pub duration_ms: f64,
    /// HTTP status of the answer.
    #[serde(rename = "status")]
    pub response_status: Option<i16>,
    /// Class of the failure, if it failed.
    pub error_class: Option<String>,
    /// Description of the failure.
    pub error: Option<String>,
    /// Headers of the request. Values that operators set are masked.
    #[schema(value_type = Object)]
    pub request_headers: Option<Box<RawValue>>,
    /// Headers of the answer.
    #[schema(value_type = Option<Object>)]
    pub response_headers: Option<Box<RawValue>>,
    /// The name or id that the receiver gave to what it made of the delivery. Only for endpoints of
    /// kind `module` whose module tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver_id: Option<String>,
    /// The first 16 KiB of the answer's body. Bytes that are not UTF-8 are replaced.
    pub response_body: Option<String>,
}

impl From<RecordedAttempt> for AttemptView {
    fn from(attempt: RecordedAttempt) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a duration of 2^53 µs is 285 years")]
        let duration_ms = attempt.duration_us as f64 / 1e3;
        Self {
            number: attempt.number,
            at: Timestamp::from_micros(attempt.at),
            duration_ms,
            response_status: attempt.response_status,
            error_class: attempt.error_class,
            error: attempt.error,
            receiver_id: attempt.response_headers.as_deref().and_then(find_receiver_id),
            request_headers: RawValue::from_string(attempt.request_headers).ok(),
            response_headers: attempt.response_headers.and_then(|h| RawValue::from_string(h).ok()),
            response_body: attempt.response_body.map(|b| String::from_utf8_lossy(&b).into_owned()),
        }
    }
}

/// Selects deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Deliveries to this endpoint, by id or name.
    pub endpoint: Option<String>,
    /// Deliveries in this status.
    pub status: Option<DeliveryStatus>,
    /// Deliveries of this event type.
    pub event_type: Option<String>,
    /// Dead letters with this reason. Not for deliveries.
    pub reason: Option<String>,
    /// Deliveries made at this time or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Deliveries made before this time: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// The `meta.next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of deliveries, 1 to 200. Default: 50.
    pub limit: Option<String>,
}

impl DeliveryQuery {
    /// Returns the requested page.
    pub fn page(&self) -> PageRequest {
        PageRequest { cursor: self.cursor.clone(), limit: self.limit.clone() }
    }

    /// Returns the filter of the store.
    pub fn filter(self, snapshot: &SettingsSnapshot) -> Result<DeliveryFilter, ApiProblem> {
        let texts = [("event_type", &self.event_type), ("reason", &self.reason)];
        check_storable(texts.map(|(name, text)| (name, text.as_deref())))?;
        let endpoint =
            self.endpoint.map(|text| endpoints::find_endpoint(snapshot, &text)).transpose()?;
        Ok(DeliveryFilter {
            endpoint: endpoint.map(|target| target.endpoint.id),
            status: self.status,
            event_type: self.event_type,
            reason: self.reason,
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
        })
    }
}

/// Fails for texts that no row can hold, so that they are not searched for.
pub fn check_storable<'t>(
    texts: impl IntoIterator<Item = (&'t str, Option<&'t str>)>,
) -> Result<(), ApiProblem> {
    for (name, text) in texts {
        if text.is_some_and(|text| !is_storable(text)) {
            return Err(ApiProblem::fault(name, "contains U+0000, which cannot be stored"));
        }
    }
    Ok(())
}

/// Lists deliveries, newest first.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "deliveries", operation_id = "list_deliveries", params(DeliveryQuery),
    responses((status = 200, body = ListAnswer<DeliveryView>), (status = 422, body = ApiProblem)))]
pub async fn list_deliveries(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    uri: Uri,
    QueryInput(query): QueryInput<DeliveryQuery>,
) -> Result<Json<ListAnswer<DeliveryView>>, ApiProblem> {
    let snapshot = app.live.current_settings();
    let pages = query.page();
    let (limit, after) = (pages.limit()?, pages.after()?);
    let found = app.journal.list_deliveries(&query.filter(&snapshot)?, after, limit).await?;
    Ok(list_page(&uri, found, |row| DeliveryView::new(&snapshot, row)))
}

async fn find_delivery(app: &AppState, text: &str) -> Result<StoredDelivery, ApiProblem> {
    let found = app.journal.find_delivery(id("delivery", text)?).await?;
    found.ok_or_else(|| ApiProblem::missing("delivery", text))
}

/// Returns one delivery with every attempt.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "deliveries", operation_id = "show_delivery",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<DeliveryTrace>), (status = 404, body = ApiProblem)))]
pub async fn show_delivery(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<Json<DataAnswer<DeliveryTrace>>, ApiProblem> {
    let delivery = find_delivery(&app, &text).await?;
    Ok(data_answer(delivery_trace(&app, &app.live.current_settings(), delivery).await?))
}

/// Sends a delivery again, with the same `webhook-id`.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/replay", tag = "deliveries", operation_id = "replay_delivery",
    params(("id" = String, Path)), responses((status = 202, body = DataAnswer<DeliveryView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn replay_delivery(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<DataAnswer<DeliveryView>>), ApiProblem> {
    let delivery = find_delivery(&app, &text).await?;
    let snapshot = app.live.current_settings();
    if snapshot.find_endpoint(delivery.endpoint_id).is_none() {
        return Err(ApiProblem::conflict("its endpoint was deleted; there is nowhere to send it"));
    }
    if !app.journal.replay_delivery(&delivery).await? {
        return Err(ApiProblem::conflict("it is being sent now; try again shortly"));
    }
    Ok((
        StatusCode::ACCEPTED,
        data_answer(DeliveryView::new(&snapshot, find_delivery(&app, &text).await?)),
    ))
}

/// Selects waiting deliveries to cancel. Needs at least one condition.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelFilter {
    /// Deliveries to this endpoint, by id or name.
    pub endpoint: Option<String>,
    /// Deliveries of this event type.
    pub event_type: Option<String>,
    /// Deliveries made at this time or later, RFC 3339.
    pub since: Option<String>,
    /// Deliveries made before this time, RFC 3339.
    pub until: Option<String>,
}

/// Selects the deliveries to cancel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The filter.
    pub filter: CancelFilter,
    /// Only counts them.
    #[serde(default)]
    pub dry_run: bool,
}

/// The result of a cancellation.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelAnswer {
    /// Number of matching deliveries that were waiting.
    pub matched: u64,
    /// Number of cancelled deliveries. Others were being sent by then.
    pub cancelled: u64,
}

/// Cancels all waiting deliveries that match a filter. Deliveries that are being sent are not
/// cancelled.
#[utoipa::path(post, path = "/api/v1/deliveries/cancel", tag = "deliveries", operation_id = "cancel_deliveries",
    request_body = CancelRequest, responses((status = 200, body = DataAnswer<CancelAnswer>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn cancel_deliveries(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    JsonInput(request): JsonInput<CancelRequest>,
) -> Result<Json<DataAnswer<CancelAnswer>>, ApiProblem> {
    let CancelFilter { endpoint, event_type, since, until } = request.filter;
    if [&endpoint, &event_type, &since, &until].iter().all(|condition| condition.is_none()) {
        let message = "set at least one of `endpoint`, `event_type`, `since` and `until`";
        return Err(ApiProblem::fault("filter", message));
    }
    let status = Some(DeliveryStatus::Pending);
    let query = DeliveryQuery { endpoint, status, event_type, since, until, ..Default::default() };
    let filter = query.filter(&app.live.current_settings())?;
    let (mut matched, mut cancelled) = (0, 0);
    let mut before: Option<DeliveryId> = None;
    loop {
        let found = app.journal.list_deliveries(&filter, before, CHUNK).await?;
        matched += found.rows.len() as u64;
        if !request.dry_run {
            let ids: Vec<DeliveryId> = found.rows.iter().map(|row| row.id).collect();
            cancelled += app.journal.cancel_deliveries(&ids).await?;
        }
        before = found.next;
        if before.is_none() {
            break;
        }
    }
    Ok(data_answer(CancelAnswer { matched, cancelled }))
}

/// Cancels a waiting delivery.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/cancel", tag = "deliveries", operation_id = "cancel_delivery",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<DeliveryView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn cancel_delivery(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<Json<DataAnswer<DeliveryView>>, ApiProblem> {
    let delivery = find_delivery(&app, &text).await?;
    if app.journal.cancel_deliveries(&[delivery.id]).await? == 0 {
        let detail = format!(
            "only a pending delivery can be cancelled; this one is {}",
            delivery.status.as_str()
        );
        return Err(ApiProblem::conflict(detail));
    }
    Ok(data_answer(DeliveryView::new(
        &app.live.current_settings(),
        find_delivery(&app, &text).await?,
    )))
}
