//! `/deliveries`: where each stands, and bringing it on its way again.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::answer::{DataAnswer, ListAnswer, PageRequest, data_answer, list_page};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput};
use super::events::{id, time};
use super::problem::ApiProblem;
use super::trace::{DeliveryTrace, delivery_trace};
use super::{AppState, endpoints};
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

/// Deliveries that are called off in one transaction: few enough that captures are not held up.
const CHUNK: u32 = 200;

/// A delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Its id, the `webhook-id` on the wire.
    pub id: String,
    /// The event.
    pub event_id: String,
    /// The endpoint's id.
    pub endpoint_id: String,
    /// The endpoint's name; absent if it was deleted.
    pub endpoint: Option<String>,
    /// The flow that planned it; absent for an endpoint's own `events`.
    pub flow_id: Option<String>,
    /// The event type as it is sent.
    pub event_type: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Pending: when it will be sent. Leased: when the lease runs out.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
    /// Attempts made.
    pub attempt_count: u32,
    /// Deliveries collapsed into it.
    pub collapsed: u32,
    /// When it was planned.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub settled_at: Option<Timestamp>,
}

impl DeliveryView {
    /// A delivery with its endpoint's name.
    pub fn new(topology: &SettingsSnapshot, delivery: StoredDelivery) -> Self {
        let target = topology.find_endpoint(delivery.endpoint_id);
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
    /// 1, 2, …
    pub number: i32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: f64,
    /// The answer's status.
    #[serde(rename = "status")]
    pub response_status: Option<i16>,
    /// The class of the failure, if it failed.
    pub error_class: Option<String>,
    /// The failure in words.
    pub error: Option<String>,
    /// What was sent; values that operators set are masked.
    #[schema(value_type = Object)]
    pub request_headers: Option<Box<RawValue>>,
    /// What came back.
    #[schema(value_type = Option<Object>)]
    pub response_headers: Option<Box<RawValue>>,
    /// The first 16 KiB of the answer's body; bytes that are no UTF-8 are replaced.
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
            request_headers: RawValue::from_string(attempt.request_headers).ok(),
            response_headers: attempt.response_headers.and_then(|h| RawValue::from_string(h).ok()),
            response_body: attempt.response_body.map(|b| String::from_utf8_lossy(&b).into_owned()),
        }
    }
}

/// Which deliveries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Only to this endpoint, by id or name.
    pub endpoint: Option<String>,
    /// Only in this status.
    pub status: Option<DeliveryStatus>,
    /// Only of this event type.
    pub event_type: Option<String>,
    /// Dead letters only: only for this reason.
    pub reason: Option<String>,
    /// Made then or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Made earlier: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// Where to go on: `meta.next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many, 1 to 200; 50 where left out.
    pub limit: Option<String>,
}

impl DeliveryQuery {
    /// The page it asks for.
    pub fn page(&self) -> PageRequest {
        PageRequest { cursor: self.cursor.clone(), limit: self.limit.clone() }
    }

    /// What it chooses.
    pub fn filter(self, topology: &SettingsSnapshot) -> Result<DeliveryFilter, ApiProblem> {
        let texts = [("event_type", &self.event_type), ("reason", &self.reason)];
        check_storable(texts.map(|(name, text)| (name, text.as_deref())))?;
        let endpoint =
            self.endpoint.map(|text| endpoints::find_endpoint(topology, &text)).transpose()?;
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

/// Refuses to look for texts that no row can hold.
pub fn check_storable<'t>(
    texts: impl IntoIterator<Item = (&'t str, Option<&'t str>)>,
) -> Result<(), ApiProblem> {
    for (name, text) in texts {
        if text.is_some_and(|text| !is_storable(text)) {
            return Err(ApiProblem::fault(name, "holds U+0000, which no text here does"));
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
    let topology = app.live.current_settings();
    let pages = query.page();
    let (limit, after) = (pages.limit()?, pages.after()?);
    let found = app.journal.list_deliveries(&query.filter(&topology)?, after, limit).await?;
    Ok(list_page(&uri, found, |row| DeliveryView::new(&topology, row)))
}

async fn find_delivery(app: &AppState, text: &str) -> Result<StoredDelivery, ApiProblem> {
    let found = app.journal.find_delivery(id("delivery", text)?).await?;
    found.ok_or_else(|| ApiProblem::missing("delivery", text))
}

/// One delivery with every attempt.
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

/// Sends a delivery once more, under the same `webhook-id`.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/replay", tag = "deliveries", operation_id = "replay_delivery",
    params(("id" = String, Path)), responses((status = 202, body = DataAnswer<DeliveryView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn replay_delivery(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<DataAnswer<DeliveryView>>), ApiProblem> {
    let delivery = find_delivery(&app, &text).await?;
    let topology = app.live.current_settings();
    if topology.find_endpoint(delivery.endpoint_id).is_none() {
        return Err(ApiProblem::conflict("its endpoint was deleted; there is nowhere to send it"));
    }
    if !app.journal.replay_delivery(&delivery).await? {
        return Err(ApiProblem::conflict("it is being sent at this moment; look again shortly"));
    }
    Ok((
        StatusCode::ACCEPTED,
        data_answer(DeliveryView::new(&topology, find_delivery(&app, &text).await?)),
    ))
}

/// Which waiting deliveries to call off; at least one condition.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelFilter {
    /// Only to this endpoint, by id or name.
    pub endpoint: Option<String>,
    /// Only of this event type.
    pub event_type: Option<String>,
    /// Made then or later, RFC 3339.
    pub since: Option<String>,
    /// Made earlier, RFC 3339.
    pub until: Option<String>,
}

/// What to call off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// Which deliveries.
    pub filter: CancelFilter,
    /// Only counts them.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was called off.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelAnswer {
    /// Waiting deliveries that fitted.
    pub matched: u64,
    /// Those that were called off; others were being sent by then.
    pub cancelled: u64,
}

/// Calls off all deliveries that wait and fit a filter. Those that are being sent are left alone.
#[utoipa::path(post, path = "/api/v1/deliveries/cancel", tag = "deliveries", operation_id = "cancel_deliveries",
    request_body = CancelRequest, responses((status = 200, body = DataAnswer<CancelAnswer>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn cancel_deliveries(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    JsonInput(request): JsonInput<CancelRequest>,
) -> Result<Json<DataAnswer<CancelAnswer>>, ApiProblem> {
    let CancelFilter { endpoint, event_type, since, until } = request.filter;
    if [&endpoint, &event_type, &since, &until].iter().all(|condition| condition.is_none()) {
        let message = "name at least one of `endpoint`, `event_type`, `since` and `until`";
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

/// Calls off a delivery that waits.
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
