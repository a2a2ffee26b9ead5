//! `/events/samples/{type}`: what an event of a type looks like on the wire, for those who set up a
//! workflow before anything has happened (Zapier's `performList`).

use super::App;
use super::auth::Principal;
use super::problem::Problem;
use crate::catalog;
use crate::deliver::envelope::{Envelope, Message, render};
use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EventId};
use crate::journal::views::EventFilter;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::value::RawValue;

/// How many are shown.
const SAMPLES: u32 = 3;

/// Up to three events of a type as they are delivered, newest first; the catalogue's example where there
/// was none yet. An array, as Zapier asks for.
#[utoipa::path(get, path = "/api/v1/events/samples/{type}", tag = "events", operation_id = "sample_events",
    params(("type" = String, Path)),
    responses((status = 200, body = Vec<Object>), (status = 404, body = Problem)))]
pub(super) async fn samples(
    State(app): State<App>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Vec<Box<RawValue>>>, Problem> {
    let known = catalog::get().find(&name);
    let resource = known.map(|known| known.resource).or_else(|| name.split('.').next());
    principal.check_table(resource)?;
    let filter = EventFilter { event_type: Some(name.clone()), ..EventFilter::default() };
    let events = app.journal.events(&filter, None, SAMPLES).await?;
    let mut events: Vec<Event> = events.into_iter().map(|stored| stored.event).collect();
    if events.is_empty() {
        let known = known.ok_or_else(|| Problem::missing("event type", &name))?;
        events.push(example(&app, known)?);
    }
    events.iter().map(rendered).collect::<Result<Vec<_>, Problem>>().map(Json)
}

fn rendered(event: &Event) -> Result<Box<RawValue>, Problem> {
    let (timestamp, event_id) = (event.time().to_string(), event.id.to_string());
    // The id of a delivery that there might be: always the same for the same event.
    let delivery_id = DeliveryId::from_uuid(event.id.uuid()).to_string();
    let message = Message {
        delivery_id: &delivery_id,
        event_id: &event_id,
        event_type: &event.event_type,
        timestamp: &timestamp,
        source: &event.source,
        resource: event.resource.as_deref(),
        resource_id: event.resource_id.as_deref(),
        data: event.data.get(),
        ..Message::default()
    };
    let body = render(Envelope::Default, &message).map_err(|error| Problem::unexpected(&error))?;
    serde_json::from_slice(&body.body).map_err(|error| Problem::unexpected(&error))
}

fn example(app: &App, known: &catalog::EventType) -> Result<Event, Problem> {
    let data = RawValue::from_string(known.example_text().to_owned());
    Ok(Event {
        id: EventId::generate(),
        source: "example".to_owned(),
        event_type: known.name.to_owned(),
        resource: Some(known.resource.to_owned()),
        resource_id: known.resource_id(&known.example()),
        external_id: None,
        occurred_at: None,
        received_at: app.journal.clock().now(),
        attributes: None,
        changes: None,
        data: data.map_err(|error| Problem::unexpected(&error))?,
    })
}
