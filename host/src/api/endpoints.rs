//! `/endpoints`: the receivers of deliveries.

use super::answer::{DataAnswer, ListAnswer, data_answer};
use super::auth::CallPrincipal;
use super::body::{JsonInput, parse_json};
use super::deliveries::AttemptView;
use super::health_answers::find_healths;
use super::problem::ApiProblem;
use super::resource::entity_tag::{IfMatch, IfMatchHeader};
use super::resource::{
    self, DraftContext, ObjectAnswer, ObjectDraft, ObjectEdit, ObjectState, SettingsResource,
};
use super::secret::SecretRotation;
use super::{AppState, edit, secret};
use crate::access::scope::Scope;
use crate::catalog;
use crate::channels::find_channel;
use crate::channels::settings_check::check_channel;
use crate::config::ChannelsSection;
use crate::delivery::attempt;
use crate::delivery::attempt::DeliveryParcel;
use crate::delivery::judge::RetryRound;
use crate::delivery::refresh_token::keep_refresh_token;
use crate::health::health_view::HealthView;
use crate::model::endpoint::{Endpoint, EndpointSettings};
use crate::model::event::Event;
use crate::model::fault::InputFault;
use crate::model::field_map::FieldMap;
use crate::model::id::{DeliveryId, EndpointId, EventId};
use crate::model::private_values::{MASK, SettingsKind, hide_settings, keep_endpoint, mask_url};
use crate::model::secrets::SigningSecrets;
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::signing::{DeliverySigner, check_secret};
use crate::store::RecordedAttempt;
use crate::store::objects::ObjectKind;
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

/// Warning for an endpoint whose secrets the present key does not decrypt.
pub const LOCKED: &str = "its secrets cannot be read with this server's key; deliveries wait until `secret`, the values of `headers`, the secrets of `auth` and `tls` and a `url` with a query are entered again";

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointView {
    /// Id of the endpoint.
    pub id: String,
    /// The settings. Header values and the secrets of `settings`, `auth` and `tls` are masked. For
    /// a caller with only read access, the values of the URL's query are masked too.
    #[serde(flatten)]
    pub settings: EndpointSettings,
    /// The secret. Only in the answer to its creation or rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The public key of the `ed25519` scheme, if it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Time until which the secret before the last rotation stays valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub grace_until: Option<Timestamp>,
    /// Reason why nothing is sent to the endpoint at present: its secrets cannot be read, or this
    /// version or its configuration does not support the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The rate that its receiver accepts, as far as this node has learnt it from refusals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver_limit: Option<ReceiverLimit>,
    /// Health of the endpoint, for callers who may read deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
    /// Creation time.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Time of the last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// The limits that a receiver's refusals (`429`, `503` with `Retry-After`) have shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiverLimit {
    /// Requests a second that it accepts. Absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Time until which nothing is sent, because the receiver asked for a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub held_until: Option<Timestamp>,
}

impl ReceiverLimit {
    fn of(target: &EndpointRuntime, now: Timestamp) -> Option<Self> {
        let pace = target.lane.lock_pace();
        let (per_second, held) =
            (pace.learnt_rate(Instant::now()), pace.remaining_hold(Instant::now()));
        drop(pace);
        if per_second.is_none() && held.is_none() {
            return None;
        }
        // Rounded to three decimals, because it is an estimate.
        let per_second = per_second.map(|rate| (rate * 1e3).round() / 1e3);
        Some(Self { per_second, held_until: held.map(|left| now.after(left)) })
    }
}

/// A new endpoint: the settings, and a secret.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewEndpoint {
    /// The secret: `whsec_` and the base64 of 24 to 64 bytes, or 16 to 256 characters. Default: a
    /// new secret.
    #[expect(dead_code, reason = "only described; split off before the settings are read")]
    secret: Option<String>,
    /// The settings.
    #[serde(flatten)]
    #[expect(
        dead_code,
        reason = "only described; read by themselves so that unknown fields are refused"
    )]
    settings: EndpointSettings,
}

impl EndpointView {
    pub fn new(target: &EndpointRuntime, principal: &CallPrincipal, now: Timestamp) -> Self {
        let mut settings = target.endpoint.settings.clone();
        settings.headers.values_mut().for_each(|value| MASK.clone_into(value));
        settings.mask_auth();
        settings.url = shown_url(&settings.url, principal);
        hide_settings(&mut settings.settings);
        let previous = target.secrets.as_ref().and_then(|secrets| secrets.previous.as_ref());
        let grace = previous.map(|graced| graced.until);
        Self {
            id: target.endpoint.id.to_string(),
            settings,
            secret: None,
            public_key: target.signer.as_ref().and_then(DeliverySigner::public_key),
            grace_until: grace.filter(|until| *until > now),
            warning: warning(target),
            receiver_limit: ReceiverLimit::of(target, now),
            health: None,
            created_at: target.endpoint.created_at,
            updated_at: target.endpoint.updated_at,
        }
    }
}

fn warning(target: &EndpointRuntime) -> Option<String> {
    if target.is_locked() {
        return Some(LOCKED.to_owned());
    }
    target.find_obstacle().map(|why| format!("nothing can be sent to it: {why}"))
}

/// Returns an endpoint's URL for the caller: with a token in its query only if the caller may
/// change endpoints.
pub fn shown_url(url: &str, principal: &CallPrincipal) -> String {
    if principal.scopes().allows_scope(Scope::EndpointsWrite) {
        url.to_owned()
    } else {
        mask_url(url)
    }
}

/// Returns the endpoint with an id or name.
pub fn find_endpoint(
    snapshot: &SettingsSnapshot,
    text: &str,
) -> Result<Arc<EndpointRuntime>, ApiProblem> {
    let by_id = text.parse::<EndpointId>().ok().and_then(|id| snapshot.find_endpoint(id));
    let found = by_id.or_else(|| snapshot.endpoint_named(text));
    found.cloned().ok_or_else(|| ApiProblem::missing("endpoint", text))
}

/// The kind of object for endpoints.
pub struct EndpointResource;

impl SettingsResource for EndpointResource {
    const KIND: ObjectKind = ObjectKind::Endpoint;
    const PRIVATE: Option<SettingsKind> = Some(SettingsKind::Endpoint);
    const SHOWS_GIVEN_SECRET: bool = true;
    type Settings = EndpointSettings;
    type Object = Arc<EndpointRuntime>;
    type View = EndpointView;

    fn generate_id() -> Uuid {
        EndpointId::generate().uuid()
    }

    fn parse_id(text: &str) -> Option<Uuid> {
        text.parse::<EndpointId>().ok().map(EndpointId::uuid)
    }

    fn list_objects(snapshot: &SettingsSnapshot) -> Vec<Self::Object> {
        snapshot.endpoints().cloned().collect()
    }

    fn state(object: &Self::Object) -> ObjectState<'_, EndpointSettings> {
        let Endpoint { id, settings, created_at, updated_at } = &object.endpoint;
        let (created_at, updated_at) = (*created_at, *updated_at);
        ObjectState { id: id.uuid(), settings, created_at, updated_at }
    }

    fn name(settings: &EndpointSettings) -> &str {
        &settings.name
    }

    fn draft(
        context: &DraftContext<'_>,
        mut given: Map<String, Value>,
        old: Option<&Self::Object>,
    ) -> Result<ObjectDraft<EndpointSettings>, ApiProblem> {
        let secret = secret::split_secret(&mut given, check_secret_text)?;
        let mut settings = read_settings(&given, context.channels)?;
        let carried = context.carried.find_endpoint(&settings.name);
        let stored = carried.iter().map(|carried| &carried.settings);
        let stored: Vec<_> = stored.chain(old.map(|old| &old.endpoint.settings)).collect();
        edit::check_faults(keep_endpoint(&mut settings, &stored))?;
        edit::check_faults(context.modules.check_endpoint(&settings))?;
        let signed = old.map(|old| signs(&old.endpoint.settings));
        let signs = signs(&settings);
        if secret.is_some() && !signs {
            let message = format!("an endpoint of kind `{}` signs nothing", settings.kind);
            return Err(ApiProblem::fault("secret", message));
        }
        edit::check_faults(settings.check_keys())?;
        let before = old.and_then(|old| old.secrets.as_ref());
        // A secret with which nothing was signed was never shown.
        let known = before.filter(|_| !signs || signed == Some(true));
        let kept = carried.and_then(|carried| carried.secrets.as_ref()).or(known);
        let made = secret.is_none() && kept.is_none();
        if made && signs && signed == Some(true) {
            return Err(ApiProblem::fault("secret", LOCKED));
        }
        let secrets = secret::choose_secrets(secret, kept);
        check_schemes(&settings, &secrets)?;
        if let Some(old) = old {
            check_rename(context.snapshot, &old.endpoint.settings.name, &settings.name)?;
        }
        Ok(ObjectDraft::with_secrets(settings, Some(secrets), before, made && signs))
    }

    async fn show(
        app: &AppState,
        principal: &CallPrincipal,
        objects: Vec<Self::Object>,
    ) -> Result<Vec<EndpointView>, ApiProblem> {
        let now = app.journal.clock().now();
        let healths = find_healths(app, principal).await;
        let view = |target: &Arc<EndpointRuntime>| {
            let health = healths.as_ref().map(|healths| healths.endpoint(target.endpoint.id));
            EndpointView { health, ..EndpointView::new(target, principal, now) }
        };
        Ok(objects.iter().map(view).collect())
    }

    fn add_secret(view: &mut EndpointView, secret: String) {
        view.secret = Some(secret);
    }

    fn check_delete(
        snapshot: &SettingsSnapshot,
        _principal: &CallPrincipal,
        object: &Self::Object,
    ) -> Result<(), ApiProblem> {
        check_unused(snapshot, &object.endpoint.settings.name)
    }
}

/// Lists endpoints, by name.
#[utoipa::path(get, path = "/api/v1/endpoints", tag = "endpoints", operation_id = "list_endpoints",
    responses((status = 200, body = ListAnswer<EndpointView>)))]
pub async fn list_endpoints(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Result<Json<ListAnswer<EndpointView>>, ApiProblem> {
    resource::list::<EndpointResource>(&app, &principal).await
}

/// Returns one endpoint, by id or name.
#[utoipa::path(get, path = "/api/v1/endpoints/{id}", tag = "endpoints", operation_id = "show_endpoint",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<EndpointView>), (status = 404, body = ApiProblem)))]
pub async fn show_endpoint(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<ObjectAnswer<EndpointView>, ApiProblem> {
    resource::show::<EndpointResource>(&app, &principal, &id).await
}

/// Returns whether deliveries to an endpoint are signed. An endpoint whose kind does not sign has a
/// secret too, which shows whether the present key decrypts the stored data.
fn signs(settings: &EndpointSettings) -> bool {
    find_channel(&settings.kind).is_none_or(|channel| channel.description.capabilities.signs)
}

fn check_secret_text(text: &str) -> Result<(), ApiProblem> {
    check_secret(text).map_err(|why| ApiProblem::fault("secret", why.to_string()))
}

/// Reads and checks settings.
pub fn read_settings(
    object: &Map<String, Value>,
    rules: &ChannelsSection,
) -> Result<EndpointSettings, ApiProblem> {
    let text = serde_json::to_vec(object).map_err(ApiProblem::malformed)?;
    let settings: EndpointSettings = parse_json(&text)?;
    let mut faults = settings.check();
    faults.extend(check_channel(&settings, rules));
    faults
        .extend(settings.field_map.iter().flat_map(FieldMap::check).map(|f| f.within("field_map")));
    edit::check_faults(faults)?;
    Ok(settings)
}

/// Fails if a secret cannot sign with all of an endpoint's schemes.
pub fn check_schemes(
    settings: &EndpointSettings,
    secrets: &SigningSecrets,
) -> Result<(), ApiProblem> {
    DeliverySigner::new(&settings.signing, secrets)
        .map(drop)
        .map_err(|why| ApiProblem::fault("secret", why.to_string()))
}

/// Creates an endpoint. The answer shows its secret, once.
#[utoipa::path(post, path = "/api/v1/endpoints", tag = "endpoints", operation_id = "create_endpoint", request_body = NewEndpoint,
    responses((status = 201, body = DataAnswer<EndpointView>), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn create_endpoint(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<EndpointView>, ApiProblem> {
    resource::create::<EndpointResource>(&app, &principal, object).await
}

/// Changes the given fields of an endpoint. `null` restores the default. If `url` changes its
/// scheme, host or port, the values of the headers must be given again.
#[utoipa::path(patch, path = "/api/v1/endpoints/{id}", tag = "endpoints", operation_id = "update_endpoint",
    params(("id" = String, Path), IfMatchHeader), request_body = Object,
    responses((status = 200, body = DataAnswer<EndpointView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn update_endpoint(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
    JsonInput(patch): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<EndpointView>, ApiProblem> {
    let known = (id.as_str(), &expected);
    resource::change::<EndpointResource>(&app, &principal, known, ObjectEdit::Patch(patch)).await
}

/// Replaces an endpoint's settings. Omitted fields get their default, except the secret. A header
/// value of `***` keeps the stored one, unless `url` has another scheme, host or port.
#[utoipa::path(put, path = "/api/v1/endpoints/{id}", tag = "endpoints", operation_id = "replace_endpoint",
    params(("id" = String, Path), IfMatchHeader), request_body = NewEndpoint,
    responses((status = 200, body = DataAnswer<EndpointView>), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn replace_endpoint(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
    JsonInput(object): JsonInput<Map<String, Value>>,
) -> Result<ObjectAnswer<EndpointView>, ApiProblem> {
    let known = (id.as_str(), &expected);
    resource::change::<EndpointResource>(&app, &principal, known, ObjectEdit::Replace(object)).await
}

/// Fails if flows name the endpoint, because they use its name.
fn check_rename(snapshot: &SettingsSnapshot, old: &str, new: &str) -> Result<(), ApiProblem> {
    let users = if old == new { Vec::new() } else { edit::flows_using(snapshot, old) };
    if users.is_empty() {
        return Ok(());
    }
    let message = format!("flows use the name `{old}`: {}; change them first", users.join(", "));
    Err(ApiProblem::fault("name", message))
}

/// Fails if flows name an endpoint that is to be removed.
pub fn check_unused(snapshot: &SettingsSnapshot, name: &str) -> Result<(), ApiProblem> {
    let users = edit::flows_using(snapshot, name);
    if users.is_empty() {
        return Ok(());
    }
    let detail = format!("flows still use it: {}; change or delete them first", users.join(", "));
    Err(ApiProblem::conflict(detail))
}

/// Deletes an endpoint. Its waiting deliveries are cancelled.
#[utoipa::path(delete, path = "/api/v1/endpoints/{id}", tag = "endpoints", operation_id = "delete_endpoint",
    params(("id" = String, Path), IfMatchHeader), responses((status = 204), (status = 404, body = ApiProblem), (status = 409, body = ApiProblem),
        (status = 400, body = ApiProblem), (status = 412, body = ApiProblem, description = "The object has another state; `errors` names the fields that changed.")))]
pub async fn delete_endpoint(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    expected: IfMatch,
) -> Result<StatusCode, ApiProblem> {
    resource::delete::<EndpointResource>(&app, &principal, (id.as_str(), &expected)).await
}

/// Gives an endpoint a new secret. The answer shows it, once.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/rotate-secret", tag = "endpoints", operation_id = "rotate_endpoint_secret",
    params(("id" = String, Path)), request_body = SecretRotation,
    responses((status = 200, body = DataAnswer<EndpointView>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn rotate_endpoint_secret(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(rotation): JsonInput<SecretRotation>,
) -> Result<ObjectAnswer<EndpointView>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let target = find_endpoint(&app.live.current_settings(), &id)?;
    if !signs(&target.endpoint.settings) {
        let kind = &target.endpoint.settings.kind;
        return Err(ApiProblem::conflict(format!("an endpoint of kind `{kind}` signs nothing")));
    }
    let old = target.secrets.as_ref().ok_or_else(|| ApiProblem::conflict(LOCKED))?;
    let secrets = rotation.of(old, app.journal.clock().now(), check_secret_text)?;
    check_schemes(&target.endpoint.settings, &secrets)?;
    let (settings, shown) = (target.endpoint.settings.clone(), secrets.current.clone());
    let draft = ObjectDraft::with_secrets(settings, Some(secrets), Some(old), true);
    let target = resource::store::<EndpointResource>(&app, &draft, Some(&target)).await?;
    resource::answer_with::<EndpointResource>(&app, &principal, target, StatusCode::OK, Some(shown))
        .await
}

/// Options for a test.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointTestRequest {
    /// The event type whose example is sent. Default: the first type that the endpoint accepts.
    #[serde(default)]
    pub event_type: Option<String>,
}

/// Sends a catalogue example now and answers with the attempt. Nothing is stored or tried again.
#[utoipa::path(post, path = "/api/v1/endpoints/{id}/test", tag = "endpoints", operation_id = "test_endpoint",
    params(("id" = String, Path)), request_body = EndpointTestRequest,
    responses((status = 200, body = DataAnswer<AttemptView>), (status = 404, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn test_endpoint(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(id): Path<String>,
    JsonInput(request): JsonInput<EndpointTestRequest>,
) -> Result<Json<DataAnswer<AttemptView>>, ApiProblem> {
    let target = find_endpoint(&app.live.current_settings(), &id)?;
    if target.is_locked() {
        return Err(ApiProblem::conflict(LOCKED));
    }
    let event = example(&target, request.event_type.as_deref(), app.journal.clock().now())?;
    let (id, wall) = (DeliveryId::generate(), app.journal.clock().wall());
    let parcel = DeliveryParcel::unrecorded(id, &event, None, wall);
    let at = app.journal.clock().now();
    let round = RetryRound { attempts: 1, held_since: None };
    let made = attempt::make_attempt(&app.client, &target, parcel, round, at, 0.0, pending()).await;
    keep_refresh_token(&app.live, &target).await;
    let made = made.ok_or_else(ApiProblem::internal)?.attempt;
    Ok(data_answer(AttemptView::from(RecordedAttempt {
        number: made.number,
        at: made.at.micros(),
        duration_us: i64::try_from(made.duration.as_micros()).unwrap_or(i64::MAX),
        response_status: made.response_status.map(u16::cast_signed),
        error_class: made.error_class.map(str::to_owned),
        error: made.error,
        request_headers: made.request_headers,
        response_headers: made.response_headers,
        response_body: made.response_body.map(|body| body.to_vec()),
    })))
}

fn example(
    target: &EndpointRuntime,
    name: Option<&str>,
    now: Timestamp,
) -> Result<Event, ApiProblem> {
    let catalog = catalog::get();
    let takes = |name: &str| target.endpoint.settings.events.iter().any(|p| p.matches(name));
    let first =
        || catalog.event_types().iter().find(|e| takes(e.name)).or(catalog.find("invoice.paid"));
    let found = match name {
        Some(name) => catalog.find(name),
        None => first(),
    };
    let Some(known) = found else {
        let given = name.unwrap_or_default();
        let hint =
            catalog.nearest(given).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
        let message = format!("`{given}` is not in the catalogue{hint}");
        return Err(ApiProblem::invalid(vec![InputFault::new("event_type", message)]));
    };
    let data = known.example();
    Ok(Event {
        id: EventId::generate(),
        source: "test".to_owned(),
        event_type: known.name.to_owned(),
        resource: Some(known.resource.to_owned()),
        resource_id: known.resource_id(&data),
        external_id: None,
        occurred_at: None,
        received_at: now,
        attributes: None,
        changes: None,
        data: serde_json::value::to_raw_value(&data)
            .map_err(|error| ApiProblem::unexpected(&error))?,
    })
}
