//! `/dead-letters`: work that is not tried again automatically, and its replay.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

pub mod bulk_replay;

use super::AppState;
use super::answer::{DataAnswer, ListAnswer, PageRequest, data_answer, list_page};
use super::auth::CallPrincipal;
use super::body::{JsonInput, QueryInput};
use super::deliveries::check_storable;
use super::events::{EventView, id, time};
use super::export::stream_lines;
use super::problem::ApiProblem;
use super::trace::{DeliveryTrace, delivery_trace, flow_name};
use super::{endpoints, sources};
use crate::access::scope::Scope;
use crate::model::delivery::DeliveryStatus;
use crate::model::event::DeliveryMessage;
use crate::model::id::{DeadLetterId, EndpointId, FlowId, SourceId};
use crate::model::source::{Source, SourceKind};
use crate::model::source_run::CAPTURE_LOG;
use crate::settings::SettingsSnapshot;
use crate::store::ListPage;
use crate::store::{DeadEvent, DeadLetterFilter, DeadRow, DeadSubject, StoredDeadLetter};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// Number of dead letters in one transaction.
const CHUNK: u32 = 200;

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterView {
    /// Id of the dead letter.
    pub id: String,
    /// `delivery`: a delivery that died. `event`: an event whose modules failed. `row`: a row of a
    /// source that cannot be read, or from which no event can be made.
    pub kind: &'static str,
    /// Id of the event. Null for a row, which has no event.
    pub event_id: Option<String>,
    /// The event type. Null for a row.
    pub event_type: Option<String>,
    /// Id of the delivery that died.
    pub delivery_id: Option<String>,
    /// Id of the delivery's endpoint.
    pub endpoint_id: Option<String>,
    /// Name of the delivery's endpoint.
    pub endpoint: Option<String>,
    /// Name of the flow whose modules failed.
    pub flow: Option<String>,
    /// Id of the row's source.
    pub source_id: Option<String>,
    /// Name of the row's source. Null if it was deleted.
    pub source: Option<String>,
    /// The table or list of the row.
    pub list: Option<String>,
    /// The row's key, or its position if the key cannot be read.
    pub row: Option<String>,
    /// The reason in a word.
    pub reason: String,
    /// The reason in a sentence.
    pub detail: String,
    /// Time of the failure.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Start of a replay that has not ended yet. The dead letter is deleted when the replay
    /// succeeds.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub replayed_at: Option<Timestamp>,
}

impl DeadLetterView {
    fn new(snapshot: &SettingsSnapshot, stored: StoredDeadLetter) -> Self {
        let view = Self {
            id: stored.id.to_string(),
            kind: "row",
            event_id: None,
            event_type: None,
            delivery_id: None,
            endpoint_id: None,
            endpoint: None,
            flow: None,
            source_id: None,
            source: None,
            list: None,
            row: None,
            reason: stored.reason,
            detail: stored.detail,
            created_at: stored.created_at,
            replayed_at: stored.replayed_at,
        };
        match stored.subject {
            DeadSubject::Event(dead) => view.of_event(snapshot, dead),
            DeadSubject::Row(dead) => view.of_row(snapshot, dead),
        }
    }

    fn of_event(self, snapshot: &SettingsSnapshot, dead: DeadEvent) -> Self {
        let target = dead.delivery.and_then(|(_, endpoint)| snapshot.find_endpoint(endpoint));
        Self {
            kind: if dead.delivery.is_some() { "delivery" } else { "event" },
            event_id: Some(dead.event_id.to_string()),
            event_type: Some(dead.event_type),
            delivery_id: dead.delivery.map(|(id, _)| id.to_string()),
            endpoint_id: dead.delivery.map(|(_, endpoint)| endpoint.to_string()),
            endpoint: target.map(|t| t.endpoint.settings.name.clone()),
            flow: dead.flow_id.map(|id| flow_name(snapshot, id)),
            ..self
        }
    }

    fn of_row(self, snapshot: &SettingsSnapshot, dead: DeadRow) -> Self {
        Self {
            source_id: Some(dead.source_id.to_string()),
            source: find_source(snapshot, dead.source_id).map(|found| found.settings.name.clone()),
            list: Some(dead.list),
            row: Some(dead.row_id),
            ..self
        }
    }
}

fn find_source(snapshot: &SettingsSnapshot, id: SourceId) -> Option<&Source> {
    snapshot.sources().find(|source| source.id == id)
}

/// The subject of a dead letter.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterKind {
    /// A delivery that died.
    Delivery,
    /// An event whose modules failed.
    Event,
    /// A row of a source.
    Row,
}

impl DeadLetterKind {
    /// Returns the word for this kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Event => "event",
            Self::Row => "row",
        }
    }
}

/// Selects dead letters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadLetterQuery {
    /// Dead letters of this endpoint, by id or name.
    pub endpoint: Option<String>,
    /// Dead letters of this source, by id or name: its rows, and those of its events.
    pub source: Option<String>,
    /// Dead letters of this kind.
    pub kind: Option<DeadLetterKind>,
    /// Dead letters whose delivery has this status. A delivery that is being replayed is not
    /// `dead`.
    pub status: Option<DeliveryStatus>,
    /// Dead letters of this event type.
    pub event_type: Option<String>,
    /// Dead letters with this reason.
    pub reason: Option<String>,
    /// Dead letters from this time or later: RFC 3339, or Unix seconds.
    pub since: Option<String>,
    /// Dead letters from before this time: RFC 3339, or Unix seconds.
    pub until: Option<String>,
    /// The `meta.next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Number of dead letters, 1 to 200. Default: 50.
    pub limit: Option<String>,
}

impl DeadLetterQuery {
    /// Returns the requested page.
    fn page(&self) -> PageRequest {
        PageRequest { cursor: self.cursor.clone(), limit: self.limit.clone() }
    }

    /// Returns the filter of the store.
    pub fn filter(self, snapshot: &SettingsSnapshot) -> Result<DeadLetterFilter, ApiProblem> {
        let texts = [("event_type", &self.event_type), ("reason", &self.reason)];
        check_storable(texts.map(|(name, text)| (name, text.as_deref())))?;
        let endpoint =
            self.endpoint.map(|text| endpoints::find_endpoint(snapshot, &text)).transpose()?;
        let source = self.source.map(|text| sources::find_source(snapshot, &text)).transpose()?;
        Ok(DeadLetterFilter {
            endpoint: endpoint.map(|target| target.endpoint.id),
            source: source.map(|found| (found.source.id, found.source.settings.name.clone())),
            kind: self.kind.map(DeadLetterKind::as_str),
            status: self.status,
            event_type: self.event_type,
            reason: self.reason,
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
        })
    }
}

/// A dead letter with its event, and its delivery's attempts.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterDetail {
    /// The dead letter.
    #[serde(flatten)]
    pub letter: DeadLetterView,
    /// The event.
    pub event: Option<EventView>,
    /// The delivery with its attempts.
    pub delivery: Option<DeliveryTrace>,
}

/// Lists dead letters, newest first.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "dead-letters", operation_id = "list_dead_letters", params(DeadLetterQuery),
    responses((status = 200, body = ListAnswer<DeadLetterView>), (status = 422, body = ApiProblem)))]
pub async fn list_dead_letters(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    uri: Uri,
    QueryInput(query): QueryInput<DeadLetterQuery>,
) -> Result<Json<ListAnswer<DeadLetterView>>, ApiProblem> {
    let snapshot = app.live.current_settings();
    let pages = query.page();
    let (limit, after) = (pages.limit()?, pages.after()?);
    let found = app.journal.list_dead_letters(&query.filter(&snapshot)?, after, limit).await?;
    Ok(list_page(&uri, found, |row| DeadLetterView::new(&snapshot, row)))
}

async fn find_dead_letter(app: &AppState, text: &str) -> Result<StoredDeadLetter, ApiProblem> {
    let found = app.journal.find_dead_letter(id("dead letter", text)?).await?;
    found.ok_or_else(|| ApiProblem::missing("dead letter", text))
}

/// Returns one dead letter with its event and attempts.
#[utoipa::path(get, path = "/api/v1/dead-letters/{id}", tag = "dead-letters", operation_id = "show_dead_letter",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<DeadLetterDetail>), (status = 404, body = ApiProblem)))]
pub async fn show_dead_letter(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<Json<DataAnswer<DeadLetterDetail>>, ApiProblem> {
    let stored = find_dead_letter(&app, &text).await?;
    let snapshot = app.live.current_settings();
    let event = event(&app, &stored).await?;
    let delivery = match &stored.subject {
        DeadSubject::Event(DeadEvent { delivery: Some((id, _)), .. }) => {
            app.journal.find_delivery(*id).await?
        }
        DeadSubject::Event(_) | DeadSubject::Row(_) => None,
    };
    let delivery = match delivery {
        Some(delivery) => Some(delivery_trace(&app, &snapshot, delivery).await?),
        None => None,
    };
    let letter = DeadLetterView::new(&snapshot, stored);
    Ok(data_answer(DeadLetterDetail { letter, event, delivery }))
}

/// Options for the replay of a dead letter.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterReplay {
    /// Data to send instead of the event's or draft's data; only for a delivery. The endpoint's
    /// field map and envelope are applied as usual. Needs `events:write` too.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
}

/// Replays a dead letter: sends the delivery with the same `webhook-id`, runs the flow's modules,
/// or reads the row again. The dead letter stays until that succeeds. A message of a stream or a
/// queue was taken once and cannot be read again (409).
#[utoipa::path(post, path = "/api/v1/dead-letters/{id}/replay", tag = "dead-letters", operation_id = "replay_dead_letter",
    params(("id" = String, Path)), request_body = LetterReplay,
    responses((status = 202, body = DataAnswer<DeadLetterView>), (status = 403, body = ApiProblem), (status = 404, body = ApiProblem),
        (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn replay_dead_letter(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(text): Path<String>,
    JsonInput(wanted): JsonInput<LetterReplay>,
) -> Result<(StatusCode, Json<DataAnswer<DeadLetterView>>), ApiProblem> {
    let stored = find_dead_letter(&app, &text).await?;
    if stored.replayed_at.is_some() {
        return Err(ApiProblem::conflict("it is already being replayed"));
    }
    let snapshot = app.live.current_settings();
    check_query(&snapshot, &stored)?;
    let now = app.journal.clock().now();
    match wanted.data {
        Some(data) => replay_edited(&app, &principal, &stored, data).await?,
        None => drop(app.journal.replay_dead_letters(&[(stored.clone(), now)]).await?),
    }
    let shown = StoredDeadLetter { replayed_at: Some(now), ..stored };
    Ok((StatusCode::ACCEPTED, data_answer(DeadLetterView::new(&snapshot, shown))))
}

/// Replays a delivery with other data. The caller must be allowed to capture an event with them.
async fn replay_edited(
    app: &AppState,
    principal: &CallPrincipal,
    stored: &StoredDeadLetter,
    data: Box<RawValue>,
) -> Result<(), ApiProblem> {
    if !principal.scopes().allows_scope(Scope::EventsWrite) {
        let detail = "a replay with other data needs the scope `events:write` too";
        return Err(ApiProblem::forbidden(detail));
    }
    let delivery = stored.subject.delivery().ok_or_else(|| {
        ApiProblem::fault("data", "only a delivery is sent with other data; replay this as it is")
    })?;
    let contents = app.journal.find_delivery_contents(delivery).await?;
    let message = contents.and_then(|contents| contents.message);
    let message = DeliveryMessage { data: Some(data), ..message.unwrap_or_default() };
    if app.journal.replay_edited_letter(stored, delivery, &message).await? {
        return Ok(());
    }
    Err(ApiProblem::conflict(
        "its delivery no longer exists or is being sent; check its present state",
    ))
}

fn check_query(snapshot: &SettingsSnapshot, stored: &StoredDeadLetter) -> Result<(), ApiProblem> {
    let needs = match &stored.subject {
        DeadSubject::Event(dead) => ReplayNeeds {
            endpoint: dead.delivery.map(|(_, endpoint)| endpoint),
            flow: dead.flow_id,
            source: None,
        },
        // The node that takes from the capture log captures it from its content.
        DeadSubject::Row(dead) if dead.has_content => return Ok(()),
        DeadSubject::Row(dead) => {
            ReplayNeeds { source: Some(dead.source_id), ..ReplayNeeds::default() }
        }
    };
    check_needs(snapshot, needs)
}

/// The objects that the replay of a dead letter needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayNeeds {
    /// The endpoint of a delivery.
    pub endpoint: Option<EndpointId>,
    /// The flow whose modules failed. Not needed for a delivery.
    pub flow: Option<FlowId>,
    /// The source of a row.
    pub source: Option<SourceId>,
}

/// Fails if dead letters with these needs cannot be replayed.
pub fn check_needs(snapshot: &SettingsSnapshot, needs: ReplayNeeds) -> Result<(), ApiProblem> {
    if let Some(source) = needs.source {
        return check_source(snapshot, source);
    }
    match (needs.endpoint, needs.flow) {
        (Some(id), _) if snapshot.find_endpoint(id).is_none() => {
            Err(ApiProblem::conflict("its endpoint was deleted; replay the event instead"))
        }
        (None, Some(id)) if snapshot.find_flow(id).is_none() => {
            Err(ApiProblem::conflict("its flow was deleted; replay the event instead"))
        }
        (_, _) => Ok(()),
    }
}

/// Fails if a source cannot read a row again.
fn check_source(snapshot: &SettingsSnapshot, id: SourceId) -> Result<(), ApiProblem> {
    match find_source(snapshot, id) {
        None if id == CAPTURE_LOG => {
            let message = "its content was too large to be kept; have it sent again, then delete \
                           the dead letter";
            Err(ApiProblem::conflict(message))
        }
        None => Err(ApiProblem::conflict("its source was deleted; delete the dead letter")),
        Some(source) if !source.settings.enabled => {
            Err(ApiProblem::conflict("its source is paused; resume it first"))
        }
        Some(source) if matches!(source.settings.kind, SourceKind::Nats | SourceKind::Amqp) => {
            let message = "a message is taken once; publish it again, then delete the dead letter";
            Err(ApiProblem::conflict(message))
        }
        Some(_) => Ok(()),
    }
}

/// Deletes a dead letter for good.
#[utoipa::path(delete, path = "/api/v1/dead-letters/{id}", tag = "dead-letters", operation_id = "delete_dead_letter",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = ApiProblem)))]
pub async fn delete_dead_letter(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(text): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    if app.journal.delete_dead_letter(id("dead letter", &text)?).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiProblem::missing("dead letter", &text))
}

/// Exports dead letters with their events, one JSON object a line, newest first.
#[utoipa::path(get, path = "/api/v1/dead-letters/export", tag = "dead-letters", operation_id = "export_dead_letters", params(DeadLetterQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = DeadLetterDetail)))]
pub async fn export_dead_letters(
    State(app): State<AppState>,
    principal: CallPrincipal,
    QueryInput(query): QueryInput<DeadLetterQuery>,
) -> Result<Response, ApiProblem> {
    let filter = query.filter(&app.live.current_settings())?;
    let context = (app, principal.token().id, filter);
    Ok(stream_lines("dead-letters.ndjson", context, |(app, token, filter), before| async move {
        let _place = app.reading.place(token).await?;
        let found = app.journal.list_dead_letters(&filter, before, CHUNK).await?;
        details(&app, found).await
    }))
}

async fn event(app: &AppState, stored: &StoredDeadLetter) -> Result<Option<EventView>, ApiProblem> {
    match &stored.subject {
        DeadSubject::Event(dead) => {
            Ok(app.journal.find_event(dead.event_id).await?.map(EventView::from))
        }
        DeadSubject::Row(_) => Ok(None),
    }
}

/// Largest size of events in one piece of an export, in bytes, unless a single event has more.
const PIECE: usize = 2 << 20;

/// Returns as many dead letters with their events as fit into a piece, and the id after which to
/// continue.
async fn details(
    app: &AppState,
    found: ListPage<StoredDeadLetter, DeadLetterId>,
) -> Result<(Vec<DeadLetterDetail>, Option<DeadLetterId>), ApiProblem> {
    let snapshot = app.live.current_settings();
    let (mut details, mut bytes) = (Vec::new(), 0);
    for stored in found.rows {
        let id = stored.id;
        let event = event(app, &stored).await?;
        bytes += event.as_ref().map_or(0, |event| event.data.get().len());
        let letter = DeadLetterView::new(&snapshot, stored);
        details.push(DeadLetterDetail { letter, event, delivery: None });
        if bytes > PIECE {
            return Ok((details, Some(id)));
        }
    }
    Ok((details, found.next))
}
