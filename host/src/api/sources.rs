//! `/sources`: the systems that send events. A pushed event may name a source without settings
//! here. A source with settings can be strict or paused.

pub mod run;

use super::answer::{DataAnswer, ListAnswer};
use super::auth::CallPrincipal;
use super::body::{JsonInput, parse_json};
use super::health_answers::find_healths;
use super::problem::ApiProblem;
use super::resource::entity_tag::{IfMatch, IfMatchHeader};
use super::resource::{
    self, DraftContext, ObjectAnswer, ObjectDraft, ObjectEdit, ObjectState, SettingsResource,
};
use super::secret::SecretRotation;
use super::{AppState, edit, secret};
use crate::access::scope::Scope;
use crate::health::health_view::HealthView;
use crate::model::fault::InputFault;
use crate::model::id::SourceId;
use crate::model::private_values::{SettingsKind, keep_source, mask_values};
use crate::model::secrets::SigningSecrets;
use crate::model::source::{Source, SourceSettings};
use crate::model::subject_health::HealthMemory;
use crate::model::webhook_source::SenderScheme;
use crate::settings::SettingsSnapshot;
use crate::settings::source_runtime::{SourceFigures, SourceRuntime};
use crate::signing::webhook;
use crate::sources::upcoming_run;
use crate::store::objects::ObjectKind;
use crate::store::sources::SourceState;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use run::RunView;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest secret of another system, in bytes.
const MAX_SECRET: usize = 1_024;

/// A source with its health.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceView {
    #[serde(flatten)]
    source: Source,
    /// The path for its webhooks, if the source receives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The secret, if it was made here or rotated. Only in the answer to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Time until which the secret before the last rotation stays valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    grace_until: Option<Timestamp>,
    /// A warning about the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    /// Figures since the server started.
    status: SourceFigures,
    /// Health of the source.
    health: HealthView,
    /// Runs of a source that Waybill runs itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunView>,
}

/// Warning for a source whose secret the present key does not decrypt.
const LOCKED: &str = "its secret cannot be read with this server's key; it accepts and reads nothing until `secret` is entered again";

impl SourceView {
    fn new(
        runtime: &SourceRuntime,
        states: &[SourceState],
        principal: &CallPrincipal,
        memory: Option<&HealthMemory>,
        now: Timestamp,
    ) -> Self {
        let settings = &runtime.source.settings;
        let mut source = runtime.source.clone();
        if !principal.scopes().allows_scope(Scope::SourcesWrite) {
            let masked = mask_values(SettingsKind::Source, &source.settings);
            let masked = masked.and_then(serde_json::from_value);
            source.settings = masked.unwrap_or(source.settings);
        }
        let previous = runtime.secrets.as_ref().and_then(|secrets| secrets.previous.as_ref());
        Self {
            source,
            path: settings.webhook.as_ref().map(|_| format!("/in/{}", settings.name)),
            secret: None,
            grace_until: previous.map(|graced| graced.until).filter(|until| *until > now),
            warning: runtime
                .locked
                .then_some(LOCKED)
                .or_else(|| settings.webhook.as_ref().and_then(|webhook| warning(webhook.scheme))),
            health: tell_health(runtime, states, memory),
            status: runtime.health.figures(),
            run: RunView::new(runtime, states, now),
        }
    }
}

/// Judges the health of a source by its runs or its events.
fn tell_health(
    runtime: &SourceRuntime,
    states: &[SourceState],
    memory: Option<&HealthMemory>,
) -> HealthView {
    let state = states.iter().find(|state| state.source == runtime.source.id);
    let report = state.map(|state| &state.report);
    let error = report.and_then(|report| report.error.as_deref());
    let complete = report.and_then(|report| report.complete_until);
    let success = runtime.health.figures().last_success_at.max(complete);
    let next = upcoming_run(runtime, state).filter(|_| runtime.source.settings.enabled);
    HealthView::of_source(success, memory, error, next)
}

/// Returns a warning about a scheme.
fn warning(scheme: SenderScheme) -> Option<&'static str> {
    match scheme.as_str() {
        "none" => Some(
            "nothing is verified: anyone who knows the address can send events; choose a scheme with a signature",
        ),
        "ip" => Some(
            "only the network is checked: anyone in it can send events; choose a scheme with a signature",
        ),
        _ => None,
    }
}

/// A new source: the settings, and a secret.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewSource {
    /// The secret with which its webhooks are signed, or the secret for the system from which it
    /// reads: a token of its API, the password of its database, or the token, password or key for
    /// its broker. A new one is made if it is left out and webhooks are signed with it.
    #[expect(dead_code, reason = "only described; split off before the settings are read")]
    secret: Option<String>,
    /// The settings.
    #[serde(flatten)]
    #[expect(
        dead_code,
        reason = "only described; read by themselves so that unknown fields are refused"
    )]
    settings: SourceSettings,
}

/// The kind of object for sources.
pub struct SourceResource;

impl SettingsResource for SourceResource {
    const KIND: ObjectKind = ObjectKind::Source;
    const PRIVATE: Option<SettingsKind> = Some(SettingsKind::Source);
    type Settings = SourceSettings;
    type Object = Arc<SourceRuntime>;
    type View = SourceView;

    fn generate_id() -> Uuid {
        SourceId::generate().uuid()
    }

    fn parse_id(text: &str) -> Option<Uuid> {
        text.parse::<SourceId>().ok().map(SourceId::uuid)
    }

    fn list_objects(snapshot: &SettingsSnapshot) -> Vec<Self::Object> {
        snapshot.source_runtimes().cloned().collect()
    }

    fn state(object: &Self::Object) -> ObjectState<'_, SourceSettings> {
        let Source { id, settings, created_at, updated_at } = &object.source;
        let (created_at, updated_at) = (*created_at, *updated_at);
        ObjectState { id: id.uuid(), settings, created_at, updated_at }
    }

    fn name(settings: &SourceSettings) -> &str {
        &settings.name
    }

    fn draft(
        context: &DraftContext<'_>,
        mut given: Map<String, Value>,
        old: Option<&Self::Object>,
    ) -> Result<ObjectDraft<SourceSettings>, ApiProblem> {
        let secret = secret::split_secret(&mut given, check_secret)?;
        let name = given.get("name").and_then(Value::as_str).unwrap_or_default();
        let carried = context.carried.find_source(name);
        let stored = carried.iter().map(|carried| &carried.settings);
        let stored: Vec<_> = stored.chain(old.map(|old| &old.source.settings)).collect();
        let settings = read_settings(&given, &stored)?;
        edit::check_faults(context.modules.check_source(&settings))?;
        // An address must not receive a secret that was given for another address.
        let carried = carried.filter(|carried| carried.settings.asked() == settings.asked());
        let carried = carried.and_then(|carried| carried.secrets.as_ref());
        if let Some(old) = old {
            check_change(old, &settings, secret.is_some() || carried.is_some())?;
        }
        let before = old.and_then(|old| old.secrets.as_ref());
        let (secrets, made) = new_secrets(&settings, secret, carried.or(before));
        check_key(&settings, secrets.as_ref())?;
        Ok(ObjectDraft::with_secrets(settings, secrets, before, made))
    }

    async fn show(
        app: &AppState,
        principal: &CallPrincipal,
        objects: Vec<Self::Object>,
    ) -> Result<Vec<SourceView>, ApiProblem> {
        let states = run::states(app, &objects).await?;
        let now = app.journal.clock().now();
        let healths = find_healths(app, principal).await;
        let view = |runtime: &Arc<SourceRuntime>| {
            let id = runtime.source.id;
            let memory = healths.as_ref().and_then(|healths| healths.source_memory(id));
            SourceView::new(runtime, &states, principal, memory, now)
        };
        Ok(objects.iter().map(view).collect())
    }

    fn add_secret(view: &mut SourceView, secret: String) {
        view.secret = Some(secret);
    }
}

pub fn find_source(
    snapshot: &SettingsSnapshot,
    text: &str,
) -> Result<Arc<SourceRuntime>, ApiProblem> {
    SourceResource::find(snapshot, text)
}

/// Lists sources, by name.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", operation_id = "list_sources",
    responses((status = 200, body = ListAnswer<SourceView>)))]
pub async fn list_sources(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Result<Json<ListAnswer<SourceView>>, ApiProblem> {
    resource::list::<SourceResource>(&app, &principal).await
}

/// Returns one source, by id or name.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "show_source",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem)))]
pub async fn show_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    resource::show::<SourceResource>(&app, &principal, &id).await
}

/// Checks a secret. Another system may have made it, so it must only be present.
fn check_secret(secret: &str) -> Result<(), ApiProblem> {
    let fits = !secret.trim().is_empty() && secret.len() <= MAX_SECRET;
    let message = format!("1 to {MAX_SECRET} bytes, not only white space");
    if fits { Ok(()) } else { Err(ApiProblem::fault("secret", message)) }
}

/// Reads settings, replaces masks by stored values, and checks the result.
fn read_settings(
    object: &Map<String, Value>,
    stored: &[&SourceSettings],
) -> Result<SourceSettings, ApiProblem> {
    let text = serde_json::to_vec(object).map_err(ApiProblem::malformed)?;
    let mut settings: SourceSettings = parse_json(&text)?;
    edit::check_faults(keep_source(&mut settings, stored))?;
    edit::check_faults(settings.check())?;
    let tables = settings.database.iter().flat_map(|database| &database.tables).enumerate();
    let unknown = tables.filter(|(_, table)| crate::crm::tables::find_table(table).is_none());
    let fault = |(n, table): (usize, &String)| {
        let message = format!(
            "there are no rules for a table `{table}`; write names without prefix, such as `invoices`"
        );
        InputFault::new(format!("database.tables[{n}]"), message)
    };
    edit::check_faults(unknown.map(fault).collect())?;
    let paypal = settings.webhook.as_ref().and_then(|webhook| webhook.paypal.as_ref());
    if let Some(Err(message)) = paypal.map(webhook::check_certificate) {
        return Err(ApiProblem::fault("webhook.paypal.certificate", message));
    }
    Ok(settings)
}

/// Fails if the scheme `hmac` cannot read a secret as the key that it stands for.
fn check_key(
    settings: &SourceSettings,
    secrets: Option<&SigningSecrets>,
) -> Result<(), ApiProblem> {
    let hmac = settings.webhook.as_ref().and_then(|webhook| webhook.hmac.as_ref());
    let (Some(hmac), Some(secrets)) = (hmac, secrets) else { return Ok(()) };
    if webhook::is_key(hmac.key, &secrets.current) {
        return Ok(());
    }
    Err(ApiProblem::fault("secret", "must have the form that `webhook.hmac.key` names"))
}

/// Checks a change: a source keeps its kind, because its memory depends on it; an address must not
/// receive a secret that was given for another address; and a secret that a later start may decrypt
/// must not be lost.
fn check_change(
    old: &SourceRuntime,
    new: &SourceSettings,
    brings_secret: bool,
) -> Result<(), ApiProblem> {
    let settings = &old.source.settings;
    if settings.kind != new.kind {
        let kind = settings.kind.as_str();
        let message = format!("its kind is `{kind}` and cannot be changed; create another source");
        return Err(ApiProblem::fault("kind", message));
    }
    if old.locked && new.has_secret() && !brings_secret {
        return Err(ApiProblem::fault("secret", LOCKED));
    }
    // Without its own secret there is none that an address could receive.
    if settings.asked() != new.asked() && !brings_secret && old.secrets.is_some() {
        return Err(ApiProblem::fault("secret", "enter it again: the address has changed"));
    }
    Ok(())
}

/// Returns the secrets of a source (the given, the stored or new ones) and whether they were made
/// here.
fn new_secrets(
    settings: &SourceSettings,
    given: Option<String>,
    old: Option<&SigningSecrets>,
) -> (Option<SigningSecrets>, bool) {
    let is_new = given.is_none() && old.is_none();
    // Only webhooks use a secret that is made here. A password comes from the other system.
    let is_made_here = settings.webhook.is_some();
    if !settings.has_secret() || (is_new && !is_made_here) {
        return (None, false);
    }
    (Some(secret::choose_secrets(given, old)), is_new)
}

/// Creates a source. The answer shows the secret that was made for it, once.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", operation_id = "create_source", request_body = NewSource,
    responses((status = 201, body = DataAnswer<SourceView>), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    resource::create::<SourceResource>(&app, &principal, object).await
}

/// Changes the given fields of a source. `null` restores the default.
#[utoipa::path(patch, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "update_source",
    params(("id" = String, Path), IfMatchHeader), request_body = Object,
    responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn update_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    let known = (id.as_str(), &expected);
    resource::change::<SourceResource>(&app, &principal, known, ObjectEdit::Patch(patch)).await
}

/// Stores changed settings or secrets of a source, and answers with it.
async fn save_source(
    app: &AppState,
    principal: &CallPrincipal,
    runtime: &Arc<SourceRuntime>,
    settings: SourceSettings,
    (secrets, shown): (Option<SigningSecrets>, Option<String>),
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    let draft = ObjectDraft::with_secrets(settings, secrets, runtime.secrets.as_ref(), false);
    let runtime = resource::store::<SourceResource>(app, &draft, Some(runtime)).await?;
    resource::answer_with::<SourceResource>(app, principal, runtime, StatusCode::OK, shown).await
}

/// Pauses a source. Waybill reads nothing from it, and answers its senders with 503 and
/// `Retry-After`.
#[utoipa::path(post, path = "/api/v1/sources/{id}/pause", tag = "sources", operation_id = "pause_source",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem)))]
pub async fn pause_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    enable(&app, &principal, &id, false).await
}

/// Resumes a paused source.
#[utoipa::path(post, path = "/api/v1/sources/{id}/resume", tag = "sources", operation_id = "resume_source",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem)))]
pub async fn resume_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    enable(&app, &principal, &id, true).await
}

async fn enable(
    app: &AppState,
    principal: &CallPrincipal,
    id: &str,
    enabled: bool,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let runtime = find_source(&app.live.current_settings(), id)?;
    if runtime.locked {
        return Err(ApiProblem::conflict(LOCKED));
    }
    let settings = SourceSettings { enabled, ..runtime.source.settings.clone() };
    save_source(app, principal, &runtime, settings, (runtime.secrets.clone(), None)).await
}

/// Gives a source a new secret. The old one stays valid for a while. The answer shows the new one,
/// once.
#[utoipa::path(post, path = "/api/v1/sources/{id}/rotate-secret", tag = "sources", operation_id = "rotate_source_secret",
    params(("id" = String, Path)), request_body = SecretRotation,
    responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn rotate_source_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(rotation): JsonInput<SecretRotation>,
) -> Result<ObjectAnswer<SourceView>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let runtime = find_source(&app.live.current_settings(), &id)?;
    if runtime.verifier.is_none() {
        let message = "its secret comes from another system; set the new one as `secret` by PATCH";
        return Err(ApiProblem::conflict(message));
    }
    if runtime.locked {
        return Err(ApiProblem::conflict(LOCKED));
    }
    let Some(old) = &runtime.secrets else {
        return Err(ApiProblem::conflict("this source has no secret: its requests are not signed"));
    };
    let secrets = rotation.of(old, app.journal.clock().now(), check_secret)?;
    check_key(&runtime.source.settings, Some(&secrets))?;
    let (settings, shown) = (runtime.source.settings.clone(), secrets.current.clone());
    save_source(&app, &principal, &runtime, settings, (Some(secrets), Some(shown))).await
}

/// Deletes a source's settings. Further events with that name are accepted as from any unknown
/// source.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "delete_source",
    params(("id" = String, Path), IfMatchHeader), responses((status = 204), (status = 404, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn delete_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, ApiProblem> {
    resource::delete::<SourceResource>(&app, &principal, (id.as_str(), &expected)).await
}
