//! `/webhooks`: endpoints in the vendor's words, so that clients which subscribe to a CRM's
//! webhooks can subscribe here unchanged: n8n's Perfex node, Zapier's REST hooks, Make's attached
//! webhooks.
//!
//! The rules are those of their published clients: the answer to a subscription contains its `id`
//! in `data_answer` (n8n) and beside it (Zapier, Make); unsubscribing is answered with 2xx even if
//! there is no subscription, because these clients otherwise keep the id.

use super::answer::{DataAnswer, ListAnswer, data_answer, whole_list};
use super::auth::CallPrincipal;
use super::body::JsonInput;
use super::endpoints::{self, EndpointResource, LOCKED, check_schemes, shown_url};
use super::problem::ApiProblem;
use super::resource::{self, ObjectDraft};
use super::{AppState, edit};
use crate::config::ChannelsSection;
use crate::ingest;
use crate::model::endpoint::{EndpointSettings, OnGone};
use crate::model::fault::MAX_NAME;
use crate::model::id::EndpointId;
use crate::model::private_values::keep_endpoint;
use crate::model::secrets::SigningSecrets;
use crate::settings::SettingsSnapshot;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::signing::generate_secret;
use crate::store::objects::{ObjectChange, ObjectKind};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use utoipa::ToSchema;

/// Default name of a subscription.
const NAME: &str = "webhook";
/// Longest base of a name, in bytes: it leaves room for a number.
const LONGEST_BASE: usize = MAX_NAME - 8;
/// Number of tries for a subscription whose name another request takes at the same moment.
const TRIES: u32 = 4;

/// A subscription, in the vendor's words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookView {
    /// Id of the subscription, which is that of the endpoint.
    id: String,
    /// Name of the subscription.
    name: String,
    /// URL that receives the events.
    url: String,
    /// The events.
    #[schema(value_type = Vec<String>)]
    events: Value,
    /// 1, or 0 while it receives nothing: it was created so, was disabled, or its receiver answered
    /// 410.
    is_active: u8,
    /// The effect of a `410 Gone` from its receiver.
    on_gone: OnGone,
    /// Whether it has a secret. Always true.
    has_secret: bool,
    /// The secret that was made for it. Only in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Creation time.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl WebhookView {
    fn new(target: &EndpointRuntime, principal: &CallPrincipal) -> Self {
        let endpoint = &target.endpoint;
        Self {
            id: endpoint.id.to_string(),
            name: endpoint.settings.name.clone(),
            url: shown_url(&endpoint.settings.url, principal),
            events: json!(endpoint.settings.events),
            is_active: u8::from(endpoint.settings.enabled),
            on_gone: endpoint.settings.on_gone,
            has_secret: true,
            secret: None,
            created_at: endpoint.created_at,
        }
    }
}

/// A new subscription, with its id in the places where the clients expect it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscribed)]
pub struct WebhookSubscribed {
    /// Id of the subscription.
    id: String,
    /// The subscription.
    data: WebhookView,
}

/// A request for a subscription.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Subscription)]
pub struct WebhookSubscription {
    /// Name of the subscription. A number is appended if the name is in use.
    name: Option<String>,
    /// URL that receives the events.
    #[serde(alias = "targetUrl", alias = "target_url", alias = "hookUrl", alias = "hook_url")]
    url: String,
    /// Names of events, as a list or separated by commas. `*` means all and is the default.
    #[serde(default, alias = "event")]
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<EventNames>,
    /// The secret with which deliveries are signed. Default: a new one.
    #[serde(default)]
    secret: Option<String>,
    /// 0 or false creates an inactive subscription.
    #[serde(default)]
    #[schema(value_type = Option<u8>)]
    is_active: Option<FlagText>,
    /// The effect of a `410 Gone` from the receiver. Default: it ends the subscription.
    #[serde(default)]
    on_gone: Option<OnGone>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum EventNames {
    Many(Vec<String>),
    One(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FlagText {
    Bool(bool),
    Number(i64),
    Text(String),
}

impl FlagText {
    fn is_set(&self) -> Result<bool, ApiProblem> {
        let set = match self {
            Self::Bool(flag) => Some(*flag),
            Self::Number(0) => Some(false),
            Self::Number(1) => Some(true),
            Self::Number(_) => None,
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "1" | "true" => Some(true),
                "0" | "false" | "" => Some(false),
                _ => None,
            },
        };
        set.ok_or_else(|| ApiProblem::fault("is_active", "must be 1, true, 0 or false"))
    }
}

impl WebhookSubscription {
    /// Returns the events, each by its name in the catalogue.
    fn events(&self) -> Vec<String> {
        let names: Vec<&str> = match &self.events {
            None => vec!["*"],
            Some(EventNames::Many(names)) => names.iter().map(String::as_str).collect(),
            Some(EventNames::One(text)) => text.split(',').collect(),
        };
        let name = |name: &str| {
            let name = name.trim();
            if name.contains('*') { name.to_owned() } else { ingest::event_type(NAME, name) }
        };
        names.into_iter().map(name).collect()
    }

    /// Returns the settings of its endpoint under this name.
    fn settings(
        &self,
        name: &str,
        rules: &ChannelsSection,
    ) -> Result<EndpointSettings, ApiProblem> {
        let enabled = self.is_active.as_ref().map_or(Ok(true), FlagText::is_set)?;
        let settings = json!({
            "name": name, "url": self.url, "events": self.events(), "enabled": enabled,
            "on_gone": self.on_gone.unwrap_or(OnGone::Disable),
        });
        let Value::Object(settings) = settings else { return Err(ApiProblem::internal()) };
        endpoints::read_settings(&settings, rules)
    }

    /// Returns the secret in the request.
    fn secret(&self) -> Option<&str> {
        self.secret.as_deref().filter(|secret| !secret.is_empty())
    }
}

/// Returns a valid endpoint name that resembles the wanted one.
fn base_name(wanted: Option<&str>) -> String {
    let fits = |c: char| if c.is_alphanumeric() || "._- ".contains(c) { c } else { '-' };
    let mut name: String = wanted.unwrap_or(NAME).chars().map(fits).take(MAX_NAME).collect();
    while name.len() > LONGEST_BASE {
        name.pop();
    }
    let name = name.trim_start_matches(|c: char| !c.is_alphanumeric()).trim_end();
    if name.is_empty() { NAME.to_owned() } else { name.to_owned() }
}

/// Returns a free name: the base, or the base with a number.
fn free_name(snapshot: &SettingsSnapshot, base: &str) -> String {
    let numbered = (2..).map(|n: u32| format!("{base}-{n}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    names.find(|name| snapshot.endpoint_named(name).is_none()).unwrap_or_default()
}

/// Returns whether a name is the base, or the base with a number.
fn is_of_base(name: &str, base: &str) -> bool {
    name == base
        || name
            .strip_prefix(base)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Finds an existing subscription with the same name, URL and events, and without settings that a
/// subscription cannot have. `is_active` and `on_gone` may differ.
fn same(
    snapshot: &SettingsSnapshot,
    base: &str,
    wanted: &EndpointSettings,
) -> Option<Arc<EndpointRuntime>> {
    let names = |settings: &EndpointSettings| -> BTreeSet<String> {
        settings.events.iter().map(ToString::to_string).collect()
    };
    let is_same = |known: &EndpointSettings| {
        let alike = EndpointSettings {
            name: known.name.clone(),
            events: known.events.clone(),
            enabled: known.enabled,
            on_gone: known.on_gone,
            ..wanted.clone()
        };
        *known == alike && is_of_base(&known.name, base) && names(known) == names(wanted)
    };
    snapshot.endpoints().find(|target| is_same(&target.endpoint.settings)).cloned()
}

/// Subscribes a URL to events. The answer contains the subscription's id. A repeated subscription
/// (same name, URL and events) is the existing one, which takes over the given secret, `is_active`
/// and `on_gone`.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "subscribe", request_body = WebhookSubscription,
    responses((status = 201, body = WebhookSubscribed), (status = 200, body = WebhookSubscribed, description = "The subscription already existed."),
        (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn subscribe_events(
    State(app): State<AppState>,
    principal: CallPrincipal,
    JsonInput(wanted): JsonInput<WebhookSubscription>,
) -> Result<(StatusCode, Json<WebhookSubscribed>), ApiProblem> {
    for _ in 1..TRIES {
        match subscribe_once(&app, &principal, &wanted).await {
            // Another request took the name at the same moment, perhaps for the same subscription.
            Err(problem) if problem.status == StatusCode::CONFLICT.as_u16() => {
                app.live.reload_settings().await?;
            }
            done => return done,
        }
    }
    subscribe_once(&app, &principal, &wanted).await
}

async fn subscribe_once(
    app: &AppState,
    principal: &CallPrincipal,
    wanted: &WebhookSubscription,
) -> Result<(StatusCode, Json<WebhookSubscribed>), ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let snapshot = app.live.current_settings();
    let base = base_name(wanted.name.as_deref());
    let mut settings = wanted.settings(&free_name(&snapshot, &base), &app.config.channels)?;
    edit::check_faults(keep_endpoint(&mut settings, &[]))?;
    let (id, status, secret) = if let Some(known) = same(&snapshot, &base, &settings) {
        take_over(app, wanted, &settings, &known).await?;
        (known.endpoint.id, StatusCode::OK, None)
    } else {
        let (id, secret) = make(app, wanted, &settings).await?;
        (id, StatusCode::CREATED, secret)
    };
    let target = endpoints::find_endpoint(&app.live.current_settings(), &id.to_string())?;
    let data = WebhookView { secret, ..WebhookView::new(&target, principal) };
    Ok((status, Json(WebhookSubscribed { id: id.to_string(), data })))
}

/// Creates a subscription. Returns the secret that was made for it, if the request had none.
async fn make(
    app: &AppState,
    wanted: &WebhookSubscription,
    settings: &EndpointSettings,
) -> Result<(EndpointId, Option<String>), ApiProblem> {
    let given = wanted.secret().map(str::to_owned);
    let made = given.is_none().then(|| generate_secret(&mut rand::rng()));
    let Some(current) = given.or_else(|| made.clone()) else { return Err(ApiProblem::internal()) };
    let secrets = SigningSecrets { current, previous: None };
    check_schemes(settings, &secrets)?;
    let draft = ObjectDraft::with_secrets(settings.clone(), Some(secrets), None, false);
    let target = resource::store::<EndpointResource>(app, &draft, None).await?;
    Ok((target.endpoint.id, made))
}

/// Updates an existing subscription as the request says.
async fn take_over(
    app: &AppState,
    wanted: &WebhookSubscription,
    settings: &EndpointSettings,
    known: &Arc<EndpointRuntime>,
) -> Result<(), ApiProblem> {
    let endpoint = &known.endpoint;
    let (enabled, on_gone) = (settings.enabled, settings.on_gone);
    let settings = EndpointSettings { on_gone, enabled, ..endpoint.settings.clone() };
    let current = known.secrets.as_ref().map(|secrets| secrets.current.as_str());
    let given = wanted.secret().filter(|secret| Some(*secret) != current);
    if settings == endpoint.settings && given.is_none() {
        return Ok(());
    }
    let secrets = match (given, &known.secrets) {
        (Some(secret), _) => SigningSecrets { current: secret.to_owned(), previous: None },
        (None, Some(secrets)) => secrets.clone(),
        (None, None) => return Err(ApiProblem::fault("secret", LOCKED)),
    };
    check_schemes(&settings, &secrets)?;
    let draft = ObjectDraft::with_secrets(settings, Some(secrets), known.secrets.as_ref(), false);
    resource::store::<EndpointResource>(app, &draft, Some(known)).await.map(drop)
}

/// Lists subscriptions: every endpoint.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses((status = 200, body = ListAnswer<WebhookView>)))]
pub async fn list_webhooks(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Json<ListAnswer<WebhookView>> {
    let snapshot = app.live.current_settings();
    whole_list(snapshot.endpoints().map(|target| WebhookView::new(target, &principal)).collect())
}

/// Returns one subscription.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "show_webhook",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<WebhookView>), (status = 404, body = ApiProblem)))]
pub async fn show_webhook(
    State(app): State<AppState>,
    principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<DataAnswer<WebhookView>>, ApiProblem> {
    let target = endpoints::find_endpoint(&app.live.current_settings(), &id)?;
    Ok(data_answer(WebhookView::new(&target, &principal)))
}

/// The result of unsubscribing.
#[derive(Debug, Serialize, ToSchema)]
pub struct GivenUp {
    /// Id of the subscription.
    id: String,
    /// Whether it existed.
    deleted: bool,
}

/// Deletes a subscription. Succeeds even if there is none with this id.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "unsubscribe",
    params(("id" = String, Path)), responses((status = 200, body = DataAnswer<GivenUp>), (status = 409, body = ApiProblem)))]
pub async fn unsubscribe(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    Path(id): Path<String>,
) -> Result<Json<DataAnswer<GivenUp>>, ApiProblem> {
    let _turn = app.live.take_edit_turn().await?;
    let snapshot = app.live.current_settings();
    let found = id.parse::<EndpointId>().ok().and_then(|id| snapshot.find_endpoint(id));
    if let Some(target) = found {
        endpoints::check_unused(&snapshot, &target.endpoint.settings.name)?;
        let change =
            ObjectChange::Delete { kind: ObjectKind::Endpoint, id: target.endpoint.id.uuid() };
        edit::commit_changes(&app, &[change]).await?;
    }
    Ok(data_answer(GivenUp { id, deleted: found.is_some() }))
}
