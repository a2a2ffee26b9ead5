//! `/event-types`: the catalogue.

use super::answer::{Data, List, data, whole};
use super::auth::Principal;
use super::problem::Problem;
use crate::catalog::{self, EventType};
use axum::Json;
use axum::extract::Path;
use serde::Serialize;
use utoipa::ToSchema;

/// What the catalogue says of an event type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventType)]
pub struct EventTypeView {
    /// As the catalogue serialises it: `name`, `resource`, `description`, `aliases`, `schema`, `example`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    event_type: &'static EventType,
}

/// Lists the event types, by name.
#[utoipa::path(get, path = "/api/v1/event-types", tag = "event-types", operation_id = "list_event_types",
    responses((status = 200, body = List<EventTypeView>)))]
pub async fn list_event_types(_principal: Principal) -> Json<List<EventTypeView>> {
    let types = catalog::get().event_types();
    whole(types.iter().map(|event_type| EventTypeView { event_type }).collect())
}

/// One event type.
#[utoipa::path(get, path = "/api/v1/event-types/{name}", tag = "event-types", operation_id = "show_event_type",
    params(("name" = String, Path)), responses((status = 200, body = Data<EventTypeView>), (status = 404, body = Problem)))]
pub async fn show_event_type(
    _principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Data<EventTypeView>>, Problem> {
    if let Some(event_type) = catalog::get().find(&name) {
        return Ok(data(EventTypeView { event_type }));
    }
    let nearest = catalog::get().nearest(&name);
    let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    let mut problem = Problem::missing("event type", &name);
    problem.detail += &hint;
    Err(problem)
}
