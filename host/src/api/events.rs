//! `/events`: capturing, and looking at what was captured.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::answer::{DataAnswer, ListAnswer, PageRequest, data_answer, list_page};
use super::auth::CallPrincipal;
use super::body::{BoundedBody, JsonInput, QueryInput, pay_for_copy};
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
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// What a captured event is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub struct EventReceipt {
    /// The event's id; the first one's if this is a repeat.
    pub id: String,
    /// Whether it is a repeat within 24 hours, which caused nothing.
    pub duplicate: bool,
    /// What became of the deliveries to `immediate` endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<ImmediateDelivery>,
}

/// A delivery that the request waited for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImmediateDelivery {
    /// Its id.
    pub id: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// Where it stands; `pending` if it failed and will be tried again, or the wait was too short.
    pub status: DeliveryStatus,
    /// The answer's status.
    pub response_status: Option<u16>,
    /// How long the first attempt took.
    pub duration_ms: Option<f64>,
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: EventId,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The source's name.
    pub source: String,
    /// What kind of thing it is about.
    pub resource: Option<String>,
    /// Which one.
    pub resource_id: Option<String>,
    /// The id the source gave it.
    pub external_id: Option<String>,
    /// When it happened, as the source says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub occurred_at: Option<Timestamp>,
    /// When it was captured.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// CloudEvents extension attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Box<RawValue>>,
    /// What an update changed, where the source tells: the fields, and their old values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub changes: Option<Box<RawValue>>,
    /// The data as it was captured; null once it is pruned.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// When the data was pruned, because it was older than `retention.payloads`. The event cannot
    /// be replayed any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub payload_pruned_at: Option<Timestamp>,
    /// How many flows and endpoints took it when it was captured.
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

/// What `POST /events` takes: one such object, or an array of them. CloudEvents are taken too, by
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
    /// The id the source gave it, by which repeats are recognised for 24 hours.
    id: Option<String>,
    /// The source's name; `api` where left out.
    source: Option<String>,
    /// What kind of thing it is about; the type's first segment where left out.
    resource: Option<String>,
    /// Which one; the data's key field where left out.
    resource_id: Option<String>,
    /// When it happened.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<String>,
}

/// Captures one event or an array of them. Answered once they are durable.
#[utoipa::path(post, path = "/api/v1/events", tag = "events", operation_id = "capture_events",
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeat of the same request with the same key within 24 hours is answered with the first event's id; another request with that key is refused with 422.")),
    request_body(content = NewEvent, description = "One event, an array of up to `server.max_batch`, or CloudEvents (structured, binary, batched)."),
    responses((status = 202, body = DataAnswer<EventReceipt>, description = "Durable. An array is answered with an array, in order."),
        (status = 400, body = ApiProblem), (status = 413, body = ApiProblem), (status = 415, body = ApiProblem),
        (status = 422, body = ApiProblem), (status = 503, body = ApiProblem, description = "Nothing was stored; `Retry-After` says when to try again.")))]
pub async fn capture_events(
    State(app): State<AppState>,
    principal: CallPrincipal,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Result<Response, ApiProblem> {
    let server = &app.config.server;
    let body = decompress_body(&headers, &body, server.max_body)?;
    let _paid = pay_for_copy(&app, &body, true).await?;
    let mut events = read_events(&headers, &body, server.max_batch)?;
    let topology = app.live.current_settings();
    for event in &mut events.events {
        admit_sources(&principal, &topology, event)?;
    }
    let key = request_key(&headers, &body)?;
    let wait = app.config.immediate.wait.get();
    let accepted =
        accept_events(&app.journal, &topology, events.events, EventSender::Token(key), wait).await;
    let accepted = accepted.map_err(|refused| match refused {
        AcceptError::Invalid(faults) => ApiProblem::invalid(faults),
        AcceptError::Journal(error) => error.into(),
    })?;
    let mut receipts: Vec<EventReceipt> =
        accepted.into_iter().map(|accepted| make_receipt(&topology, accepted)).collect();
    let status = StatusCode::ACCEPTED;
    match receipts.pop() {
        Some(receipt) if !events.many => Ok((status, data_answer(receipt)).into_response()),
        last => {
            receipts.extend(last);
            Ok((status, data_answer(receipts)).into_response())
        }
    }
}

/// Refuses an event that the token may not send: of another table, of another source, or of a source
/// whose webhooks prove who sends them. An event that names no source gets the only one of its token.
fn admit_sources(
    principal: &CallPrincipal,
    topology: &SettingsSnapshot,
    event: &mut IncomingEvent,
) -> Result<(), ApiProblem> {
    if principal.token().is_limited() {
        // A type of another table is not made one of its own by what the event says of itself.
        let kind = event.resource_of_type();
        principal.check_table(kind)?;
        principal.check_table(event.resource.as_deref().or(kind))?;
        event.source = principal.source(event.source.as_deref())?.map(str::to_owned);
    }
    let name = event.source.as_deref().unwrap_or(DEFAULT_SOURCE);
    let webhook = topology.find_source(name).and_then(|source| source.settings.webhook.as_ref());
    if webhook.is_some_and(WebhookSettings::proves_sender) {
        let detail = format!(
            "source `{name}` takes verified webhooks at /in/{name} only; push events under another source"
        );
        return Err(ApiProblem::forbidden(detail));
    }
    Ok(())
}

/// The request's `Idempotency-Key`, bound to what the request holds: its body, and the headers in which
/// CloudEvents have their attributes.
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

/// What a captured event is answered with.
pub fn make_receipt(topology: &SettingsSnapshot, accepted: AcceptedEvent) -> EventReceipt {
    let name = |id| {
        topology.find_endpoint(id).map(|t| t.endpoint.settings.name.clone()).unwrap_or_default()
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

/// Which events to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only this event type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Only from this source.
    pub source: Option<String>,
    /// Only about this kind of resource.
    pub resource: Option<String>,
    /// Only about this resource.
    pub resource_id: Option<String>,
    /// Captured then or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Captured earlier: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// Where to go on: `meta.next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many, 1 to 200; 50 where left out.
    pub limit: Option<String>,
}

/// A time in a query, in any spelling.
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

/// An id in a path; one that cannot be an id names nothing.
pub fn id<I: std::str::FromStr>(what: &str, text: &str) -> Result<I, ApiProblem> {
    text.parse().map_err(|_no_id| ApiProblem::missing(what, text))
}

/// Everything about one event: what the modules said, and every delivery with its attempts.
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

/// A stored event that the caller may see; any other is to it as if it did not exist.
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

/// Which deliveries of an event are sent again. Where nothing is said, the event is planned again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventReplay {
    /// Only those to this endpoint, by id or name.
    endpoint: Option<String>,
    /// Only those that are dead, or whose last attempt failed.
    #[serde(default)]
    failed_only: bool,
}

/// What a replay began.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replayed)]
pub struct ReplayedEvent {
    /// The event.
    pub id: String,
    /// Flows whose modules are run again.
    pub flows: usize,
    /// New deliveries of flows and endpoints without modules.
    pub deliveries: usize,
    /// Deliveries that are sent again under their own `webhook-id`.
    pub resent: usize,
}

/// Plans an event again, with the flows, endpoints and modules that are active now: every endpoint
/// gets it under a new `webhook-id`. With `endpoint` or `failed_only`, sends those deliveries of it
/// again that fit, each under the `webhook-id` that it had.
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

/// Sends deliveries of an event again; how many.
async fn resend_event(
    app: &AppState,
    event: EventId,
    wanted: &EventReplay,
) -> Result<usize, ApiProblem> {
    let topology = app.live.current_settings();
    let target = wanted
        .endpoint
        .as_ref()
        .map(|text| endpoints::find_endpoint(&topology, text))
        .transpose()?;
    let fits = |delivery: &StoredDelivery| {
        let there = match &target {
            Some(target) => target.endpoint.id == delivery.endpoint_id,
            None => topology.find_endpoint(delivery.endpoint_id).is_some(),
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
        let detail =
            "no delivery of this event fits, or those that do are being sent at this moment";
        return Err(ApiProblem::conflict(detail));
    }
    Ok(resent)
}

fn has_failed(delivery: &StoredDelivery) -> bool {
    let waits_for_retry = delivery.status == DeliveryStatus::Pending && delivery.attempts > 0;
    delivery.status == DeliveryStatus::Dead || waits_for_retry
}
