//! `/secrets`: secrets that modules use by name and never see. No answer contains a value.

use super::answer::{DataAnswer, ListAnswer};
use super::auth::CallPrincipal;
use super::body::{JsonInput, parse_json};
use super::problem::ApiProblem;
use super::resource::entity_tag::{IfMatch, IfMatchHeader};
use super::resource::{
    self, DraftContext, ObjectAnswer, ObjectDraft, ObjectEdit, ObjectState, SettingsResource,
};
use super::secret::{SecretRotation, choose_secrets, split_secret};
use super::{AppState, edit};
use crate::model::id::ModuleSecretId;
use crate::model::module_secret::{ModuleSecret, ModuleSecretSettings};
use crate::model::private_values::SettingsKind;
use crate::settings::SettingsSnapshot;
use crate::signing::usable_secret::UsableSecret;
use crate::store::objects::ObjectKind;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Largest value in bytes: that of a header.
const MAX_VALUE: usize = 4_096;

/// Warning for a secret that the present key does not decrypt.
const LOCKED: &str = "its value cannot be read with this server's key; modules that use it fail until `secret` is entered again";

/// A secret of modules, without its value.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModuleSecretView {
    #[serde(flatten)]
    secret: ModuleSecret,
    /// Time until which the value before the last rotation stays valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    grace_until: Option<Timestamp>,
    /// A warning about the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

impl ModuleSecretView {
    fn new(runtime: &UsableSecret, now: Timestamp) -> Self {
        let previous = runtime.secrets.as_ref().and_then(|secrets| secrets.previous.as_ref());
        Self {
            secret: runtime.secret.clone(),
            grace_until: previous.map(|graced| graced.until).filter(|until| *until > now),
            warning: runtime.is_locked().then_some(LOCKED),
        }
    }
}

/// A new secret: the settings, and its value.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewModuleSecret {
    /// The value: 1 to 4,096 characters that a header can hold. It is never shown again.
    #[expect(dead_code, reason = "only described; split off before the settings are read")]
    secret: String,
    /// The places that the secret may be sent to.
    #[serde(flatten)]
    #[expect(
        dead_code,
        reason = "only described; read by themselves so that unknown fields are refused"
    )]
    settings: ModuleSecretSettings,
}

/// The kind of object for secrets of modules.
pub struct ModuleSecretResource;

impl SettingsResource for ModuleSecretResource {
    const KIND: ObjectKind = ObjectKind::ModuleSecret;
    const PRIVATE: Option<SettingsKind> = None;
    type Settings = ModuleSecretSettings;
    type Object = Arc<UsableSecret>;
    type View = ModuleSecretView;

    fn generate_id() -> Uuid {
        ModuleSecretId::generate().uuid()
    }

    fn parse_id(text: &str) -> Option<Uuid> {
        text.parse::<ModuleSecretId>().ok().map(ModuleSecretId::uuid)
    }

    fn list_objects(snapshot: &SettingsSnapshot) -> Vec<Self::Object> {
        snapshot.secrets().values().cloned().collect()
    }

    fn state(object: &Self::Object) -> ObjectState<'_, ModuleSecretSettings> {
        let ModuleSecret { id, settings, created_at, updated_at } = &object.secret;
        let (created_at, updated_at) = (*created_at, *updated_at);
        ObjectState { id: id.uuid(), settings, created_at, updated_at }
    }

    fn name(settings: &ModuleSecretSettings) -> &str {
        &settings.name
    }

    fn draft(
        context: &DraftContext<'_>,
        mut given: Map<String, Value>,
        old: Option<&Self::Object>,
    ) -> Result<ObjectDraft<ModuleSecretSettings>, ApiProblem> {
        let value = split_secret(&mut given, check_value)?;
        let text = serde_json::to_vec(&given).map_err(ApiProblem::malformed)?;
        let settings: ModuleSecretSettings = parse_json(&text)?;
        edit::check_faults(settings.check())?;
        let carried = context.carried.find_secret(&settings.name);
        let carried = carried.filter(|carried| settings.goes_no_further_than(&carried.settings));
        let carried = carried.and_then(|carried| carried.secrets.as_ref());
        let before = old.and_then(|old| old.secrets.as_ref());
        // A host must not receive a value that was given for another host.
        let stays = |old: &&Self::Object| settings.goes_no_further_than(&old.secret.settings);
        let kept = carried.or(before.filter(|_| old.is_some_and(|old| stays(&old))));
        if value.is_none() && kept.is_none() {
            let message = match old {
                None => "enter its value",
                Some(old) if old.is_locked() => LOCKED,
                Some(_) => "enter it again: with these settings it would be sent to another place",
            };
            return Err(ApiProblem::fault("secret", message));
        }
        let secrets = choose_secrets(value, kept);
        Ok(ObjectDraft::with_secrets(settings, Some(secrets), before, false))
    }

    async fn show(
        app: &AppState,
        _principal: &CallPrincipal,
        objects: Vec<Self::Object>,
    ) -> Result<Vec<ModuleSecretView>, ApiProblem> {
        let now = app.journal.clock().now();
        Ok(objects.iter().map(|runtime| ModuleSecretView::new(runtime, now)).collect())
    }

    /// A value is never shown, because the caller has it.
    fn add_secret(_view: &mut ModuleSecretView, _secret: String) {}
}

fn check_value(value: &str) -> Result<(), ApiProblem> {
    let fits = (1..=MAX_VALUE).contains(&value.len())
        && value.trim() == value
        && HeaderValue::from_str(value).is_ok();
    let message =
        format!("1 to {MAX_VALUE} bytes without line breaks and without white space around them");
    if fits { Ok(()) } else { Err(ApiProblem::fault("secret", message)) }
}

/// Lists secrets of modules, by name, without their values.
#[utoipa::path(get, path = "/api/v1/secrets", tag = "modules", operation_id = "list_module_secrets",
    responses((status = 200, body = ListAnswer<ModuleSecretView>)))]
pub async fn list_secrets(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Result<Json<ListAnswer<ModuleSecretView>>, ApiProblem> {
    resource::list::<ModuleSecretResource>(&app, &principal).await
}

/// Returns one secret of modules, by id or name, without its value.
#[utoipa::path(get, path = "/api/v1/secrets/{id}", tag = "modules", operation_id = "show_module_secret",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<ModuleSecretView>), (status = 404, body = ApiProblem)))]
pub async fn show_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<ModuleSecretView>, ApiProblem> {
    resource::show::<ModuleSecretResource>(&app, &principal, &id).await
}

/// Creates a secret that modules can name. Its value is stored encrypted and never shown.
#[utoipa::path(post, path = "/api/v1/secrets", tag = "modules", operation_id = "create_module_secret", request_body = NewModuleSecret,
    responses((status = 201, body = DataAnswer<ModuleSecretView>), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<ModuleSecretView>, ApiProblem> {
    resource::create::<ModuleSecretResource>(&app, &principal, object).await
}

/// Changes the given fields of a secret of modules. If it may be sent to further places, its value
/// must be given again.
#[utoipa::path(patch, path = "/api/v1/secrets/{id}", tag = "modules", operation_id = "update_module_secret",
    params(("id" = String, Path), IfMatchHeader), request_body = Object,
    responses((status = 200, body = DataAnswer<ModuleSecretView>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn update_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<ModuleSecretView>, ApiProblem> {
    let known = (id.as_str(), &expected);
    resource::change::<ModuleSecretResource>(&app, &principal, known, ObjectEdit::Patch(patch))
        .await
}

/// Gives a secret of modules a new value. The old value still verifies HMACs for a while; requests
/// and new HMACs use the new value immediately.
#[utoipa::path(post, path = "/api/v1/secrets/{id}/rotate", tag = "modules", operation_id = "rotate_module_secret",
    params(("id" = String, Path)), request_body = SecretRotation,
    responses((status = 200, body = DataAnswer<ModuleSecretView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn rotate_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(rotation): JsonInput<SecretRotation>,
) -> Result<ObjectAnswer<ModuleSecretView>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let found = ModuleSecretResource::find(&app.live.current_settings(), &id)?;
    let old = found.secrets.as_ref().ok_or_else(|| ApiProblem::conflict(LOCKED))?;
    if !rotation.has_secret() {
        return Err(ApiProblem::fault("secret", "enter the new value"));
    }
    let secrets = rotation.of(old, app.journal.clock().now(), check_value)?;
    let settings = found.secret.settings.clone();
    let draft = ObjectDraft::with_secrets(settings, Some(secrets), Some(old), false);
    let found = resource::store::<ModuleSecretResource>(&app, &draft, Some(&found)).await?;
    resource::answer_with::<ModuleSecretResource>(&app, &principal, found, StatusCode::OK, None)
        .await
}

/// Deletes a secret of modules. Modules that name it fail with `unknown_secret`.
#[utoipa::path(delete, path = "/api/v1/secrets/{id}", tag = "modules", operation_id = "delete_module_secret",
    params(("id" = String, Path), IfMatchHeader), responses((status = 204), (status = 404, body = ApiProblem),
        (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn delete_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, ApiProblem> {
    resource::delete::<ModuleSecretResource>(&app, &principal, (id.as_str(), &expected)).await
}
