//! `/events/samples/{type}`: shows events of a type as they are on the wire, for building a
//! workflow before anything has happened (Zapier's `performList`).

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::AppState;
use super::auth::CallPrincipal;
use super::body::QueryInput;
use super::problem::ApiProblem;
use crate::catalog::{self, EventType};
use crate::crypto::digest::ShortDigest;
use crate::delivery::changes::sent_changes;
use crate::delivery::envelope::render_envelope;
use crate::ingest;
use crate::model::envelope::{EnvelopeForm, EnvelopeMessage};
use crate::model::event::Event;
use crate::model::id::{DeliveryId, EventId};
use crate::model::type_pattern::TypePattern;
use crate::store::EventFilter;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::IntoParams;
use uuid::Uuid;

/// Number of samples.
const SAMPLES: usize = 3;
/// Number of the newest events that are examined for a pattern. Each may have a megabyte.
const LOOKED_AT: u32 = 20;
/// Time of the examples. It is constant, so that an example is the same at every call.
const EXAMPLE_AT: Timestamp = Timestamp::from_micros(1_767_225_600_000_000); // 2026-01-01

/// Selects samples.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SampleQuery {
    /// Events of this source.
    source: Option<String>,
}

/// Returns up to three events of a type, or of a pattern such as `invoice.*`, in the form of
/// deliveries, newest first. Without such events, returns the catalogue's examples; `[]` for a type
/// that is not in the catalogue. The answer is an array, as Zapier requires.
#[utoipa::path(get, path = "/api/v1/events/samples/{type}", tag = "events", operation_id = "sample_events",
    params(("type" = String, Path, description = "An event type, `invoice.*` or `*`."), SampleQuery),
    responses((status = 200, body = Vec<Object>), (status = 422, body = ApiProblem)))]
pub async fn sample_events(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(name): Path<String>,
    QueryInput(query): QueryInput<SampleQuery>,
) -> Result<Json<Vec<Box<RawValue>>>, ApiProblem> {
    let name = name.trim();
    let name =
        if name.contains('*') { name.to_owned() } else { ingest::event_type("webhook", name) };
    let pattern =
        TypePattern::parse(&name).map_err(|error| ApiProblem::fault("type", error.to_string()))?;
    principal.check_table(resource(&pattern).as_deref())?;
    let source = principal.source(query.source.as_deref())?;
    let mut events = newest_event(&app, &principal, &pattern, source).await?;
    if events.is_empty() {
        let known = catalog::get().event_types().iter();
        let chosen = known.filter(|known| pattern.matches(known.name)).take(SAMPLES);
        events = chosen.map(example).collect::<Result<_, ApiProblem>>()?;
    }
    events.iter().map(render_sample).collect::<Result<Vec<_>, ApiProblem>>().map(Json)
}

/// Returns the resource that all events of a pattern are about.
fn resource(pattern: &TypePattern) -> Option<String> {
    let (TypePattern::Exact(text) | TypePattern::Prefix(text)) = pattern else { return None };
    let known = catalog::get().find(text).map(|known| known.resource);
    known.or_else(|| text.split('.').next()).map(str::to_owned)
}

async fn newest_event(
    app: &AppState,
    principal: &CallPrincipal,
    pattern: &TypePattern,
    source: Option<&str>,
) -> Result<Vec<Event>, ApiProblem> {
    let source = source.map(str::to_owned);
    let (event_type, resource) = match pattern {
        TypePattern::Any => (None, None),
        TypePattern::Prefix(_) => (None, resource(pattern)),
        TypePattern::Exact(name) => (Some(name.clone()), None),
    };
    let filter = EventFilter { event_type, source, resource, ..EventFilter::default() };
    let events = app.journal.list_events(&filter, None, LOOKED_AT).await?;
    let events = events.rows.into_iter().filter_map(|stored| stored.with_payload().ok());
    let is_asked_for = |event: &Event| {
        pattern.matches(&event.event_type) && principal.token().may_touch(event.resource.as_deref())
    };
    Ok(events.filter(is_asked_for).take(SAMPLES).collect())
}

fn render_sample(event: &Event) -> Result<Box<RawValue>, ApiProblem> {
    let (timestamp, event_id) = (event.time().to_string(), event.id.to_string());
    // The id of a hypothetical delivery, which is always the same for an event.
    let delivery_id = DeliveryId::from_uuid(event.id.uuid()).to_string();
    let changes = event.changes.as_ref().map(|changes| sent_changes(changes, None)).transpose();
    let changes = changes.map_err(|error| ApiProblem::unexpected(&error))?;
    let message = EnvelopeMessage {
        delivery_id: &delivery_id,
        event_id: &event_id,
        event_type: &event.event_type,
        timestamp: &timestamp,
        source: &event.source,
        resource: event.resource.as_deref(),
        resource_id: event.resource_id.as_deref(),
        data: event.data.get(),
        changed: changes.as_ref().map(|sent| sent.changed.as_str()),
        previous: changes.as_ref().map(|sent| sent.previous.as_str()),
        ..EnvelopeMessage::default()
    };
    let body = render_envelope(EnvelopeForm::Default, &message)
        .map_err(|error| ApiProblem::unexpected(&error))?;
    serde_json::from_slice(&body.body).map_err(|error| ApiProblem::unexpected(&error))
}

fn example(known: &EventType) -> Result<Event, ApiProblem> {
    let changes = known.example_changes().map(|changes| to_raw_value(&changes)).transpose();
    Ok(Event {
        id: example_id(known.name),
        source: "example".to_owned(),
        event_type: known.name.to_owned(),
        resource: Some(known.resource.to_owned()),
        resource_id: known.resource_id(&known.example()),
        external_id: None,
        occurred_at: None,
        received_at: EXAMPLE_AT,
        attributes: None,
        changes: changes.map_err(|error| ApiProblem::unexpected(&error))?,
        data: RawValue::from_string(known.example_text().to_owned())
            .map_err(|error| ApiProblem::unexpected(&error))?,
    })
}

/// Returns the id of a type's example. It is constant, because Zapier distinguishes samples by it.
fn example_id(name: &str) -> EventId {
    let (millis, hash) = (EXAMPLE_AT.micros().unsigned_abs() / 1_000, ShortDigest::of([name]));
    let random = hash.bytes().first_chunk::<10>().copied().unwrap_or_default();
    let id: Uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    EventId::from_uuid(id)
}
