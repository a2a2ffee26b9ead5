//! `/sources`: the systems that events come from. An event that is pushed may name a source that is
//! not set here; one that is set can be strict, or paused.

pub mod run;

use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::body::{JsonInput, parse_json};
use super::problem::ApiProblem;
use super::secret::SecretRotation;
use super::{AppState, edit, secret};
use crate::access::scope::Scope;
use crate::model::fault::InputFault;
use crate::model::id::SourceId;
use crate::model::private_values::{keep_source, mask_url};
use crate::model::secrets::SigningSecrets;
use crate::model::source::{Source, SourceSettings};
use crate::model::webhook_source::SenderScheme;
use crate::settings::SettingsSnapshot;
use crate::settings::source_runtime::{SourceFigures, SourceRuntime};
use crate::signing::generate_secret;
use crate::signing::webhook;
use crate::store::objects::{ObjectChange, ObjectKind};
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

/// The longest secret that another system gives, in bytes.
const MAX_SECRET: usize = 1_024;

/// A source, and how it is doing.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceView {
    #[serde(flatten)]
    source: Source,
    /// Where its webhooks go, for a source that receives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The secret, if it was made here or rotated; only in the answer to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Until when the secret before the last rotation still fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    grace_until: Option<Timestamp>,
    /// What is worth knowing before it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    /// How it is doing since the server started.
    status: SourceFigures,
    /// How it runs, for a source that Waybill runs itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunView>,
}

/// What is said of a source whose secret the present key does not open.
const LOCKED: &str = "its secret cannot be read with this server's key; nothing is taken from it until `secret` is given again";

impl SourceView {
    fn new(
        inlet: &SourceRuntime,
        states: &[SourceState],
        principal: &CallPrincipal,
        now: Timestamp,
    ) -> Self {
        let settings = &inlet.source.settings;
        let mut source = inlet.source.clone();
        if !principal.scopes().allows_scope(Scope::SourcesWrite) {
            let lists = source.settings.poll.iter_mut().flat_map(|poll| &mut poll.lists);
            lists.for_each(|list| list.path = mask_url(&list.path));
        }
        let previous = inlet.secrets.as_ref().and_then(|secrets| secrets.previous.as_ref());
        Self {
            source,
            path: settings.webhook.as_ref().map(|_| format!("/in/{}", settings.name)),
            secret: None,
            grace_until: previous.map(|graced| graced.until).filter(|until| *until > now),
            warning: inlet
                .locked
                .then_some(LOCKED)
                .or_else(|| settings.webhook.as_ref().and_then(|webhook| warning(webhook.scheme))),
            status: inlet.health.figures(),
            run: RunView::new(inlet, states, now),
        }
    }
}

/// What is worth knowing of a scheme before it is used.
fn warning(scheme: SenderScheme) -> Option<&'static str> {
    match scheme.as_str() {
        "none" => Some(
            "nothing is verified: whoever knows the address can send events; choose a scheme with a signature",
        ),
        "ip" => Some(
            "only the network is checked: whoever can send from it can send events; choose a scheme with a signature",
        ),
        _ => None,
    }
}

/// A source as it is given: the settings, and a secret.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewSource {
    /// What its webhooks are signed with, or what it shows to the system that it asks: a token of its API, the password of its database.
    /// Made where left out and webhooks are signed with it.
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

pub fn find_source(
    topology: &SettingsSnapshot,
    text: &str,
) -> Result<Arc<SourceRuntime>, ApiProblem> {
    let id = text.parse::<SourceId>().ok();
    let is = |inlet: &&Arc<SourceRuntime>| {
        Some(inlet.source.id) == id || inlet.source.settings.name == text
    };
    topology.source_runtimes().find(is).cloned().ok_or_else(|| ApiProblem::missing("source", text))
}

async fn show_now(
    app: &AppState,
    principal: &CallPrincipal,
    id: &str,
    secret: Option<String>,
) -> Result<SourceView, ApiProblem> {
    let inlet = find_source(&app.live.current_settings(), id)?;
    let states = run::states(app, [&inlet]).await?;
    let now = app.journal.clock().now();
    Ok(SourceView { secret, ..SourceView::new(&inlet, &states, principal, now) })
}

/// Lists sources, by name.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", operation_id = "list_sources",
    responses((status = 200, body = ListAnswer<SourceView>)))]
pub async fn list_sources(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Result<Json<ListAnswer<SourceView>>, ApiProblem> {
    let (topology, now) = (app.live.current_settings(), app.journal.clock().now());
    let mut inlets: Vec<&Arc<SourceRuntime>> = topology.source_runtimes().collect();
    inlets.sort_by(|a, b| a.source.settings.name.cmp(&b.source.settings.name));
    let states = run::states(&app, inlets.iter().copied()).await?;
    let view = |inlet: &Arc<SourceRuntime>| SourceView::new(inlet, &states, &principal, now);
    Ok(whole_list(inlets.into_iter().map(view).collect()))
}

/// One source, by id or name.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "show_source",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem)))]
pub async fn show_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<DataAnswer<SourceView>>, ApiProblem> {
    Ok(data_answer(show_now(&app, &principal, &id, None).await?))
}

/// Splits the secret off, which is no part of the settings. Another system may have made it, so it has
/// only to be there.
pub fn split_secret(object: &mut Map<String, Value>) -> Result<Option<String>, ApiProblem> {
    secret::split_secret(object, check_secret)
}

fn check_secret(secret: &str) -> Result<(), ApiProblem> {
    let fits = !secret.trim().is_empty() && secret.len() <= MAX_SECRET;
    let message = format!("1 to {MAX_SECRET} bytes, not only white space");
    if fits { Ok(()) } else { Err(ApiProblem::fault("secret", message)) }
}

/// Reads settings, puts stored values in the place of their masks, and checks them.
pub fn read_settings(
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
            "no rule is about a table `{table}`; give names without prefix, such as `invoices`"
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

/// Refuses a secret that the scheme `hmac` cannot read as the key that it stands for.
pub fn check_key(
    settings: &SourceSettings,
    secrets: Option<&SigningSecrets>,
) -> Result<(), ApiProblem> {
    let hmac = settings.webhook.as_ref().and_then(|webhook| webhook.hmac.as_ref());
    let (Some(hmac), Some(secrets)) = (hmac, secrets) else { return Ok(()) };
    if webhook::is_key(hmac.key, &secrets.current) {
        return Ok(());
    }
    Err(ApiProblem::fault("secret", "give it in the form that `webhook.hmac.key` names"))
}

/// A source stays of its kind, because what it remembers is; and no address gets to see a secret that was given for another.
pub fn check_change(
    old: &SourceSettings,
    new: &SourceSettings,
    with_secret: bool,
) -> Result<(), ApiProblem> {
    if old.kind != new.kind {
        let message = format!("it is of the kind `{}`; make another source", old.kind.as_str());
        return Err(ApiProblem::fault("kind", message));
    }
    if old.asked() != new.asked() && !with_secret {
        return Err(ApiProblem::fault("secret", "give it again: the address is another"));
    }
    Ok(())
}

/// Refuses a change that would lose a secret which a later start may read again.
pub fn check_locked(
    inlet: &SourceRuntime,
    new: &SourceSettings,
    given: Option<&str>,
) -> Result<(), ApiProblem> {
    if inlet.locked && new.has_secret() && given.is_none() {
        return Err(ApiProblem::fault("secret", LOCKED));
    }
    Ok(())
}

/// The secrets of a source: those given, those it had, or new ones; with the new one, to be shown once.
pub fn new_secrets(
    settings: &SourceSettings,
    given: Option<String>,
    old: Option<&SigningSecrets>,
) -> (Option<SigningSecrets>, Option<String>) {
    if !settings.has_secret() {
        return (None, None);
    }
    // Only others sign with what is made here; a password is theirs.
    let is_made_here = settings.webhook.is_some();
    match (given, old) {
        (Some(secret), Some(old)) if secret == old.current => (Some(old.clone()), None),
        (Some(current), _) => (Some(SigningSecrets { current, previous: None }), None),
        (None, Some(old)) => (Some(old.clone()), None),
        (None, None) if !is_made_here => (None, None),
        (None, None) => {
            let current = generate_secret(&mut rand::rng());
            (Some(SigningSecrets { current: current.clone(), previous: None }), Some(current))
        }
    }
}

/// Makes a source. The answer shows the secret that was made for it, once.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", operation_id = "create_source", request_body = NewSource,
    responses((status = 201, body = DataAnswer<SourceView>), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(mut object): JsonInput<Map<String, Value>>,
) -> Result<(StatusCode, Json<DataAnswer<SourceView>>), ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let given = split_secret(&mut object)?;
    let settings = read_settings(&object, &[])?;
    let (secrets, made) = new_secrets(&settings, given, None);
    check_key(&settings, secrets.as_ref())?;
    let (id, now) = (SourceId::generate(), app.journal.clock().now());
    let change = edit::put_source(&app, id, &settings, secrets.as_ref(), now)?;
    edit::commit_changes(&app, &[change]).await?;
    Ok((StatusCode::CREATED, data_answer(show_now(&app, &principal, &id.to_string(), made).await?)))
}

/// Changes the given fields of a source; `null` goes back to the default.
#[utoipa::path(patch, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "update_source",
    params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn update_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<Json<DataAnswer<SourceView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let inlet = find_source(&app.live.current_settings(), &id)?;
    let mut merged = edit::merge_patch(&inlet.source.settings, patch)?;
    let given = split_secret(&mut merged)?;
    let settings = read_settings(&merged, &[&inlet.source.settings])?;
    check_locked(&inlet, &settings, given.as_deref())?;
    let is_safe = given.is_some() || inlet.secrets.is_none();
    check_change(&inlet.source.settings, &settings, is_safe)?;
    let (secrets, made) = new_secrets(&settings, given, inlet.secrets.as_ref());
    check_key(&settings, secrets.as_ref())?;
    save_source(&app, &inlet, &settings, secrets.as_ref()).await?;
    Ok(data_answer(show_now(&app, &principal, &inlet.source.id.to_string(), made).await?))
}

async fn save_source(
    app: &AppState,
    inlet: &SourceRuntime,
    settings: &SourceSettings,
    secrets: Option<&SigningSecrets>,
) -> Result<(), ApiProblem> {
    let old = &inlet.source;
    let change = edit::put_source(app, old.id, settings, secrets, old.created_at)?;
    edit::commit_changes(app, &[change.replacing(Some(old.updated_at))]).await
}

/// Pauses a source: nothing more is taken from it, and what is sent to it is told to come again.
#[utoipa::path(post, path = "/api/v1/sources/{id}/pause", tag = "sources", operation_id = "pause_source",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem)))]
pub async fn pause_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<DataAnswer<SourceView>>, ApiProblem> {
    enable(&app, &principal, &id, false).await
}

/// Takes up a source that was paused.
#[utoipa::path(post, path = "/api/v1/sources/{id}/resume", tag = "sources", operation_id = "resume_source",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem)))]
pub async fn resume_source(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<DataAnswer<SourceView>>, ApiProblem> {
    enable(&app, &principal, &id, true).await
}

async fn enable(
    app: &AppState,
    principal: &CallPrincipal,
    id: &str,
    enabled: bool,
) -> Result<Json<DataAnswer<SourceView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let inlet = find_source(&app.live.current_settings(), id)?;
    if inlet.locked {
        return Err(ApiProblem::conflict(LOCKED));
    }
    let settings = SourceSettings { enabled, ..inlet.source.settings.clone() };
    save_source(app, &inlet, &settings, inlet.secrets.as_ref()).await?;
    Ok(data_answer(show_now(app, principal, id, None).await?))
}

/// Gives a source a new secret; the old one fits for a while. The answer shows it, once.
#[utoipa::path(post, path = "/api/v1/sources/{id}/rotate-secret", tag = "sources", operation_id = "rotate_source_secret",
    params(("id" = String, Path)), request_body = SecretRotation,
    responses((status = 200, body = DataAnswer<SourceView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn rotate_source_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(rotation): JsonInput<SecretRotation>,
) -> Result<Json<DataAnswer<SourceView>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let inlet = find_source(&app.live.current_settings(), &id)?;
    if inlet.verifier.is_none() {
        let message = "its secret is another system's; give the new one by PATCH, as `secret`";
        return Err(ApiProblem::conflict(message));
    }
    if inlet.locked {
        return Err(ApiProblem::conflict(LOCKED));
    }
    let Some(old) = &inlet.secrets else {
        return Err(ApiProblem::conflict("this source has no secret: its requests are not signed"));
    };
    let secrets = rotation.of(old, app.journal.clock().now(), check_secret)?;
    check_key(&inlet.source.settings, Some(&secrets))?;
    save_source(&app, &inlet, &inlet.source.settings, Some(&secrets)).await?;
    Ok(data_answer(show_now(&app, &principal, &id, Some(secrets.current)).await?))
}

/// Deletes a source's settings; events of that name are taken as from any unknown source.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", operation_id = "delete_source",
    params(("id" = String, Path)), responses((status = 204), (status = 404, body = ApiProblem)))]
pub async fn delete_source(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let id = find_source(&app.live.current_settings(), &id)?.source.id.uuid();
    edit::commit_changes(&app, &[ObjectChange::Delete { kind: ObjectKind::Source, id }]).await?;
    Ok(StatusCode::NO_CONTENT)
}
