//! `/flows`: the paths of events through modules to endpoints.

use super::answer::{DataAnswer, ListAnswer};
use super::auth::CallPrincipal;
use super::body::{JsonInput, parse_json};
use super::health_answers::find_healths;
use super::problem::ApiProblem;
use super::resource::entity_tag::{IfMatch, IfMatchHeader};
use super::resource::{
    self, DraftContext, ObjectAnswer, ObjectDraft, ObjectEdit, ObjectState, SettingsResource,
};
use super::{AppState, edit};
use crate::access::scope::Scope;
use crate::health::health_view::HealthView;
use crate::model::flow::{Flow, FlowSettings};
use crate::model::id::FlowId;
use crate::model::private_values::{SettingsKind, keep_flow};
use crate::settings::{FlowRuntime, SettingsSnapshot};
use crate::store::objects::ObjectKind;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Warning for a flow whose configuration the present key does not decrypt.
const LOCKED: &str = "the configuration of its modules cannot be read with this server's key; its events become dead letters until it is entered again";

/// A flow.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlowView {
    /// The settings. For callers with only read access, texts in the configuration of modules are
    /// masked.
    #[serde(flatten)]
    flow: Flow,
    /// Reason why its modules do not run at present, if their configuration cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    /// Health of the flow, for callers who may read deliveries. Absent for a flow without modules.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthView>,
}

impl FlowView {
    fn new(route: &FlowRuntime, principal: &CallPrincipal) -> Result<Self, ApiProblem> {
        let mut flow = route.flow.clone();
        if !principal.scopes().allows_scope(Scope::FlowsWrite) {
            let masked = FlowResource::masked(&flow.settings)?;
            flow.settings = serde_json::from_value(masked).map_err(|error| {
                tracing::error!(%error, "masked settings cannot be read");
                ApiProblem::internal()
            })?;
        }
        Ok(Self { flow, warning: route.locked.then_some(LOCKED), health: None })
    }
}

/// The kind of object for flows.
pub struct FlowResource;

impl SettingsResource for FlowResource {
    const KIND: ObjectKind = ObjectKind::Flow;
    const PRIVATE: Option<SettingsKind> = Some(SettingsKind::Flow);
    type Settings = FlowSettings;
    type Object = Arc<FlowRuntime>;
    type View = FlowView;

    fn generate_id() -> Uuid {
        FlowId::generate().uuid()
    }

    fn parse_id(text: &str) -> Option<Uuid> {
        text.parse::<FlowId>().ok().map(FlowId::uuid)
    }

    fn list_objects(snapshot: &SettingsSnapshot) -> Vec<Self::Object> {
        snapshot.flows().to_vec()
    }

    fn state(object: &Self::Object) -> ObjectState<'_, FlowSettings> {
        let Flow { id, settings, created_at, updated_at } = &object.flow;
        let (created_at, updated_at) = (*created_at, *updated_at);
        ObjectState { id: id.uuid(), settings, created_at, updated_at }
    }

    fn name(settings: &FlowSettings) -> &str {
        &settings.name
    }

    fn draft(
        context: &DraftContext<'_>,
        given: Map<String, Value>,
        old: Option<&Self::Object>,
    ) -> Result<ObjectDraft<FlowSettings>, ApiProblem> {
        let text = serde_json::to_vec(&given).map_err(ApiProblem::malformed)?;
        let mut settings: FlowSettings = parse_json(&text)?;
        let carried = context.carried.find_flow(&settings.name);
        let stored = carried.into_iter().chain(old.map(|old| &old.flow.settings));
        let mut faults = keep_flow(&mut settings, &stored.collect::<Vec<_>>());
        faults.extend(edit::check_flow(&settings, context.has_endpoint, context.modules));
        edit::check_faults(faults)?;
        Ok(ObjectDraft::with_secrets(settings, None, None, false))
    }

    async fn show(
        app: &AppState,
        principal: &CallPrincipal,
        objects: Vec<Self::Object>,
    ) -> Result<Vec<FlowView>, ApiProblem> {
        let healths = find_healths(app, principal).await;
        let view = |route: &Arc<FlowRuntime>| {
            let healths = healths.as_ref().filter(|_| !route.modules.is_empty());
            let health = healths.map(|healths| healths.flow(route.flow.id));
            Ok(FlowView { health, ..FlowView::new(route, principal)? })
        };
        objects.iter().map(view).collect()
    }

    /// A flow does not have a secret.
    fn add_secret(_view: &mut FlowView, _secret: String) {}
}

/// Lists flows, by name.
#[utoipa::path(get, path = "/api/v1/flows", tag = "flows", operation_id = "list_flows",
    responses((status = 200, body = ListAnswer<FlowView>)))]
pub async fn list_flows(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Result<Json<ListAnswer<FlowView>>, ApiProblem> {
    resource::list::<FlowResource>(&app, &principal).await
}

/// Returns one flow, by id or name.
#[utoipa::path(get, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "show_flow",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<FlowView>), (status = 404, body = ApiProblem)))]
pub async fn show_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<FlowView>, ApiProblem> {
    resource::show::<FlowResource>(&app, &principal, &id).await
}

/// Creates a flow.
#[utoipa::path(post, path = "/api/v1/flows", tag = "flows", operation_id = "create_flow", request_body = FlowSettings,
    responses((status = 201, body = DataAnswer<FlowView>), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<FlowView>, ApiProblem> {
    resource::create::<FlowResource>(&app, &principal, object).await
}

/// Changes the given fields of a flow. `null` restores the default.
#[utoipa::path(patch, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "update_flow",
    params(("id" = String, Path), IfMatchHeader), request_body = Object,
    responses((status = 200, body = DataAnswer<FlowView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn update_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<FlowView>, ApiProblem> {
    let known = (id.as_str(), &expected);
    resource::change::<FlowResource>(&app, &principal, known, ObjectEdit::Patch(patch)).await
}

/// Replaces a flow's settings.
#[utoipa::path(put, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "replace_flow",
    params(("id" = String, Path), IfMatchHeader), request_body = FlowSettings,
    responses((status = 200, body = DataAnswer<FlowView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn replace_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<FlowView>, ApiProblem> {
    let known = (id.as_str(), &expected);
    resource::change::<FlowResource>(&app, &principal, known, ObjectEdit::Replace(object)).await
}

/// Deletes a flow. Events that wait for its modules are dropped. Deliveries that it planned are
/// still sent.
#[utoipa::path(delete, path = "/api/v1/flows/{id}", tag = "flows", operation_id = "delete_flow",
    params(("id" = String, Path), IfMatchHeader), responses((status = 204), (status = 404, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn delete_flow(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, ApiProblem> {
    resource::delete::<FlowResource>(&app, &principal, (id.as_str(), &expected)).await
}
