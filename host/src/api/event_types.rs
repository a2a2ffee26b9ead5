//! `/event-types`: the catalogue.

use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::problem::ApiProblem;
use crate::catalog::{self, EventType};
use axum::Json;
use axum::extract::Path;
use serde::Serialize;
use utoipa::ToSchema;

/// An event type of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventType)]
pub struct EventTypeView {
    /// The members of the catalogue: `name`, `resource`, `description`, `aliases`, `schema`,
    /// `example`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    event_type: &'static EventType,
}

/// Lists the event types, by name.
#[utoipa::path(get, path = "/api/v1/event-types", tag = "event-types", operation_id = "list_event_types",
    responses((status = 200, body = ListAnswer<EventTypeView>)))]
pub async fn list_event_types(_principal: CallPrincipal) -> Json<ListAnswer<EventTypeView>> {
    let types = catalog::get().event_types();
    whole_list(types.iter().map(|event_type| EventTypeView { event_type }).collect())
}

/// Returns one event type.
#[utoipa::path(get, path = "/api/v1/event-types/{name}", tag = "event-types", operation_id = "show_event_type",
    params(("name" = String, Path)), responses((status = 200, body = DataAnswer<EventTypeView>), (status = 404, body = ApiProblem)))]
pub async fn show_event_type(
    _principal: CallPrincipal,
    Path(name): Path<String>,
) -> Result<Json<DataAnswer<EventTypeView>>, ApiProblem> {
    if let Some(event_type) = catalog::get().find(&name) {
        return Ok(data_answer(EventTypeView { event_type }));
    }
    let nearest = catalog::get().nearest(&name);
    let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    let mut problem = ApiProblem::missing("event type", &name);
    problem.detail += &hint;
    Err(problem)
}
