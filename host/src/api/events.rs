//! `/events`: captures events and shows captured ones.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::answer::{DataAnswer, ListAnswer, PageRequest, data_answer, list_page};
use super::auth::CallPrincipal;
use super::body::{BoundedBody, JsonInput, QueryInput, pay_for_copy};
use super::logged_call::{CallBeginning, capture_place, is_new, mark_logged};
use super::problem::ApiProblem;
use super::{AppState, endpoints, trace};
use crate::crypto::digest::ShortDigest;
use crate::ingest::accept::{AcceptError, AcceptedEvent, EventSender, RequestKey, accept_events};
use crate::ingest::body::decompress_body;
use crate::ingest::event_body::read_events;
use crate::ingest::incoming::IncomingEvent;
use crate::model::cloud_events;
use crate::model::delivery::DeliveryStatus;
use crate::model::event::DEFAULT_SOURCE;
use crate::model::id::EventId;
use crate::model::webhook_source::WebhookSettings;
use crate::settings::SettingsSnapshot;
use crate::store::{EventFilter, StoredDelivery, StoredEvent};
use crate::time::timestamp::Timestamp;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// The answer to a captured event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub struct EventReceipt {
    /// Id of the event. For a repeat, the id of the first event.
    pub id: String,
    /// Whether the event is a repeat within 24 hours. A repeat has no consequences.
    pub duplicate: bool,
    /// Results of the deliveries to `immediate` endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<ImmediateDelivery>,
}

/// A delivery whose first attempt the request waited for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImmediateDelivery {
    /// Id of the delivery.
    pub id: String,
    /// Name of the endpoint.
    pub endpoint: String,
    /// Status of the delivery. `pending` if the attempt failed and will be repeated, or if the wait
    /// ended first.
    pub status: DeliveryStatus,
    /// HTTP status of the answer.
    pub response_status: Option<u16>,
    /// Duration of the first attempt in milliseconds.
    pub duration_ms: Option<f64>,
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Id of the event.
    #[schema(value_type = String)]
    pub id: EventId,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Name of the source.
    pub source: String,
    /// Kind of record that the event is about, such as `invoice`.
    pub resource: Option<String>,
    /// Id of that record.
    pub resource_id: Option<String>,
    /// Id that the source gave the event.
    pub external_id: Option<String>,
    /// Time of the event, as the source states it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub occurred_at: Option<Timestamp>,
    /// Time of the capture.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// CloudEvents extension attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Box<RawValue>>,
    /// Changed fields with their old values. Absent unless the source states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub changes: Option<Box<RawValue>>,
    /// The data as captured. Null once it is pruned.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// Time at which the data was pruned, because it was older than `retention.payloads`. The event
    /// can no longer be replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub payload_pruned_at: Option<Timestamp>,
    /// Number of flows and endpoints that accepted the event at its capture.
    pub matched: u16,
}

impl From<StoredEvent> for EventView {
    fn from(StoredEvent { event, matched, pruned }: StoredEvent) -> Self {
        Self {
            id: event.id,
            event_type: event.event_type,
            source: event.source,
            resource: event.resource,
            resource_id: event.resource_id,
            external_id: event.external_id,
            occurred_at: event.occurred_at,
            received_at: event.received_at,
            attributes: event.attributes,
            changes: event.changes,
            data: event.data,
            payload_pruned_at: pruned.map(|pruned| pruned.pruned_at),
            matched,
        }
    }
}

/// The body of `POST /events`: one event, or an array of events. CloudEvents are recognised by
/// their content types or `ce-` headers.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "only described; capture::read reads the body")]
pub struct NewEvent {
    /// The event type, a dotted name.
    #[serde(rename = "type")]
    #[schema(example = "invoice.paid")]
    event_type: String,
    /// Any JSON value.
    #[schema(value_type = serde_json::Value)]
    data: serde_json::Value,
    /// Id that the source gives the event. Repeats are recognised by it for 24 hours.
    id: Option<String>,
    /// Name of the source. Default: `api`.
    source: Option<String>,
    /// Kind of record that the event is about. Default: the first segment of the type.
    resource: Option<String>,
    /// Id of that record. Default: the key field of the data.
    resource_id: Option<String>,
    /// Time of the event.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<String>,
}

/// Captures one event or an array of events. Answers once they are durable.
#[utoipa::path(post, path = "/api/v1/events", tag = "events", operation_id = "capture_events",
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeat of the same request with the same key within 24 hours is answered with the first event's id; another request with that key is refused with 422.")),
    request_body(content = NewEvent, description = "One event, an array of up to `server.max_batch`, or CloudEvents (structured, binary, batched)."),
    responses((status = 202, body = DataAnswer<EventReceipt>, description = "Durable. An array is answered with an array, in order."),
        (status = 400, body = ApiProblem), (status = 413, body = ApiProblem), (status = 415, body = ApiProblem),
        (status = 422, body = ApiProblem), (status = 503, body = ApiProblem, description = "Nothing was stored; `Retry-After` says when to try again.")))]
pub async fn capture_events(
    State(app): State<AppState>,
    principal: CallPrincipal,
    call: Option<Extension<CallBeginning>>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Result<Response, ApiProblem> {
    let server = &app.config.server;
    let body = decompress_body(&headers, &body, server.max_body)?;
    let _paid = pay_for_copy(&app, &body, true).await?;
    let mut events = read_events(&headers, &body, server.max_batch)?;
    let snapshot = app.live.current_settings();
    for event in &mut events.events {
        admit_sources(&principal, &snapshot, event)?;
    }
    let key = request_key(&headers, &body)?;
    let wait = app.config.immediate.wait.get();
    let status = StatusCode::ACCEPTED;
    let place = capture_place(&app, call.map(|Extension(call)| call), status);
    let has_call = place.call.is_some();
    let sender = EventSender::Token(key);
    let accepted = accept_events(place, &snapshot, events.events, sender, wait).await;
    let accepted = accepted.map_err(|refused| match refused {
        AcceptError::Invalid(faults) => ApiProblem::invalid(faults),
        AcceptError::Journal(error) => error.into(),
        AcceptError::Log(refusal) => refusal.into(),
    })?;
    let is_logged = has_call && is_new(&accepted);
    let mut receipts: Vec<EventReceipt> =
        accepted.into_iter().map(|accepted| make_receipt(&snapshot, accepted)).collect();
    let mut response = match receipts.pop() {
        Some(receipt) if !events.many => (status, data_answer(receipt)).into_response(),
        last => {
            receipts.extend(last);
            (status, data_answer(receipts)).into_response()
        }
    };
    mark_logged(&mut response, is_logged);
    Ok(response)
}

/// Fails if the token may not send the event: it is about another table, names another source, or
/// names a source whose webhooks are signed. An event without a source gets the only source of its
/// token.
fn admit_sources(
    principal: &CallPrincipal,
    snapshot: &SettingsSnapshot,
    event: &mut IncomingEvent,
) -> Result<(), ApiProblem> {
    if principal.token().is_limited() {
        // An event's own `resource` does not make a type of another table permitted.
        let kind = event.resource_of_type();
        principal.check_table(kind)?;
        principal.check_table(event.resource.as_deref().or(kind))?;
        event.source = principal.source(event.source.as_deref())?.map(str::to_owned);
    }
    let name = event.source.as_deref().unwrap_or(DEFAULT_SOURCE);
    let webhook = snapshot.find_source(name).and_then(|source| source.settings.webhook.as_ref());
    if webhook.is_some_and(WebhookSettings::proves_sender) {
        let detail = format!(
            "source `{name}` takes verified webhooks at /in/{name} only; push events under another source"
        );
        return Err(ApiProblem::forbidden(detail));
    }
    Ok(())
}

/// Returns the request's `Idempotency-Key` with a digest of the body and of the headers that hold
/// attributes of CloudEvents.
fn request_key<'h>(
    headers: &'h HeaderMap,
    body: &[u8],
) -> Result<Option<RequestKey<'h>>, ApiProblem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= 255);
    let key = text
        .ok_or_else(|| ApiProblem::fault("Idempotency-Key", "1 to 255 visible ASCII characters"))?;
    let is_event = |name: &HeaderName| {
        *name == header::CONTENT_TYPE || name.as_str().starts_with(cloud_events::HEADER_PREFIX)
    };
    let mut attributes: Vec<[&[u8]; 2]> = headers
        .iter()
        .filter(|(name, _)| is_event(name))
        .map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()])
        .collect();
    attributes.sort_unstable();
    let parts = [key.as_bytes(), body].into_iter().chain(attributes.into_iter().flatten());
    Ok(Some(RequestKey { key, request: ShortDigest::of(parts) }))
}

/// The answer to a captured event.
pub fn make_receipt(snapshot: &SettingsSnapshot, accepted: AcceptedEvent) -> EventReceipt {
    let name = |id| {
        snapshot.find_endpoint(id).map(|t| t.endpoint.settings.name.clone()).unwrap_or_default()
    };
    let deliveries = accepted.immediate.into_iter().map(|delivery| ImmediateDelivery {
        id: delivery.id.to_string(),
        endpoint: name(delivery.endpoint),
        status: delivery.status,
        response_status: delivery.response_status,
        duration_ms: delivery.duration.map(|d| d.as_secs_f64() * 1e3),
    });
    let deliveries = deliveries.collect();
    EventReceipt {
        id: accepted.receipt.id.to_string(),
        duplicate: accepted.receipt.duplicate,
        deliveries,
    }
}

/// Selects events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Events of this type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Events of this source.
    pub source: Option<String>,
    /// Events about this kind of record.
    pub resource: Option<String>,
    /// Events about the record with this id.
    pub resource_id: Option<String>,
    /// Events captured at this time or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Events captured before this time: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// The `meta.next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of events, 1 to 200. Default: 50.
    pub limit: Option<String>,
}

/// Reads a time in a query: RFC 3339, or Unix seconds.
pub fn time(path: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiProblem> {
    let parse =
        |text| Timestamp::parse_query(text).map_err(|e| ApiProblem::fault(path, e.to_string()));
    text.map(parse).transpose()
}

/// Lists events, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", operation_id = "list_events", params(EventQuery),
    responses((status = 200, body = ListAnswer<EventView>), (status = 422, body = ApiProblem)))]
pub async fn list_events(
    State(app): State<AppState>,
    principal: CallPrincipal,
    uri: Uri,
    QueryInput(query): QueryInput<EventQuery>,
) -> Result<Json<ListAnswer<EventView>>, ApiProblem> {
    principal.check_table(query.resource.as_deref())?;
    let source = principal.source(query.source.as_deref())?.map(str::to_owned);
    let pages = PageRequest { cursor: query.cursor, limit: query.limit };
    let filter = EventFilter {
        event_type: query.event_type,
        source,
        resource: query.resource,
        resource_id: query.resource_id,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
    };
    let limit = pages.limit()?;
    let found = app.journal.list_events(&filter, pages.after()?, limit).await?;
    Ok(list_page(&uri, found, EventView::from))
}

/// Reads an id in a path. Fails with 404 for a text that cannot be an id.
pub fn id<I: std::str::FromStr>(what: &str, text: &str) -> Result<I, ApiProblem> {
    text.parse().map_err(|_no_id| ApiProblem::missing(what, text))
}

/// Returns one event with the results of its modules and every delivery with its attempts.
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "events", operation_id = "show_event",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<trace::EventTrace>), (status = 404, body = ApiProblem)))]
pub async fn show_event(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<Json<DataAnswer<trace::EventTrace>>, ApiProblem> {
    let event = find_visible_event(&app, &principal, &text).await?;
    Ok(data_answer(trace::build_trace(&app, event).await?))
}

/// Returns a stored event. Fails with 404 if the caller may not see it, as if it did not exist.
pub async fn find_visible_event(
    app: &AppState,
    principal: &CallPrincipal,
    text: &str,
) -> Result<StoredEvent, ApiProblem> {
    let event = app.journal.find_event(id("event", text)?).await?;
    let token = principal.token();
    let event = event.filter(|stored| {
        token.may_touch(stored.event.resource.as_deref()) && token.may_name(&stored.event.source)
    });
    event.ok_or_else(|| ApiProblem::missing("event", text))
}

/// Selects deliveries of an event to send again. Without a field the event is planned again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventReplay {
    /// Deliveries to this endpoint, by id or name.
    endpoint: Option<String>,
    /// Only deliveries that are dead, or whose last attempt failed.
    #[serde(default)]
    failed_only: bool,
}

/// The work that a replay began.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replayed)]
pub struct ReplayedEvent {
    /// Id of the event.
    pub id: String,
    /// Number of flows whose modules run again.
    pub flows: usize,
    /// Number of new deliveries, of flows and endpoints without modules.
    pub deliveries: usize,
    /// Number of deliveries that are sent again with their own `webhook-id`.
    pub resent: usize,
}

/// Plans an event again with the present flows, endpoints and modules. Every endpoint gets it with
/// a new `webhook-id`. With `endpoint` or `failed_only`, matching deliveries are sent again
/// instead, each with its own `webhook-id`.
#[utoipa::path(post, path = "/api/v1/events/{id}/replay", tag = "events", operation_id = "replay_event",
    params(("id" = String, Path)), request_body = EventReplay,
    responses((status = 202, body = DataAnswer<ReplayedEvent>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem)))]
pub async fn replay_event(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
    JsonInput(wanted): JsonInput<EventReplay>,
) -> Result<(StatusCode, Json<DataAnswer<ReplayedEvent>>), ApiProblem> {
    let stored = app.journal.find_event(id("event", &text)?).await?;
    let event = stored.ok_or_else(|| ApiProblem::missing("event", &text))?.with_payload()?;
    if wanted.endpoint.is_some() || wanted.failed_only {
        let resent = resend_event(&app, event.id, &wanted).await?;
        let replayed = ReplayedEvent { id: text, flows: 0, deliveries: 0, resent };
        return Ok((StatusCode::ACCEPTED, data_answer(replayed)));
    }
    let matches = app.live.current_settings().matches(&event.source, &event.event_type);
    let matches = matches.admit(&event);
    let flows: Vec<_> = matches.flows.iter().map(|route| route.flow.id).collect();
    app.journal.replan_event(&event, &flows).await?;
    let drafts = matches.drafts(&app.journal, &event);
    let replayed =
        ReplayedEvent { id: text, flows: flows.len(), deliveries: drafts.len(), resent: 0 };
    app.journal.add_deliveries(&event, drafts).await?;
    Ok((StatusCode::ACCEPTED, data_answer(replayed)))
}

/// Sends deliveries of an event again. Returns their number.
async fn resend_event(
    app: &AppState,
    event: EventId,
    wanted: &EventReplay,
) -> Result<usize, ApiProblem> {
    let snapshot = app.live.current_settings();
    let target = wanted
        .endpoint
        .as_ref()
        .map(|text| endpoints::find_endpoint(&snapshot, text))
        .transpose()?;
    let fits = |delivery: &StoredDelivery| {
        let there = match &target {
            Some(target) => target.endpoint.id == delivery.endpoint_id,
            None => snapshot.find_endpoint(delivery.endpoint_id).is_some(),
        };
        there && (!wanted.failed_only || has_failed(delivery))
    };
    let mut resent = 0;
    for delivery in
        app.journal.list_deliveries_of_event(event).await?.iter().filter(|one| fits(one))
    {
        // A newer delivery of the record took the place of one that was superseded.
        if delivery.status != DeliveryStatus::Superseded
            && app.journal.replay_delivery(delivery).await?
        {
            resent += 1;
        }
    }
    if resent == 0 {
        let detail = "no delivery of this event matches, or the matching ones are being sent now";
        return Err(ApiProblem::conflict(detail));
    }
    Ok(resent)
}

fn has_failed(delivery: &StoredDelivery) -> bool {
    let waits_for_retry = delivery.status == DeliveryStatus::Pending && delivery.attempts > 0;
    delivery.status == DeliveryStatus::Dead || waits_for_retry
}
