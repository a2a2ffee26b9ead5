//! The document of `/config`, and its export.

use super::carry::CarriedSecrets;
use crate::access::token::TokenSettings;
use crate::api::AppState;
use crate::api::answer::{DataAnswer, data_answer};
use crate::api::auth::CallPrincipal;
use crate::api::body::JsonInput;
use crate::api::endpoints::EndpointResource;
use crate::api::flows::FlowResource;
use crate::api::module_secrets::ModuleSecretResource;
use crate::api::problem::ApiProblem;
use crate::api::resource::SettingsResource;
use crate::api::sources::SourceResource;
use crate::api::tokens::TokenResource;
use crate::channels::module_channel::find_module;
use crate::model::flow::{FlowModule, FlowSettings};
use crate::settings::SettingsSnapshot;
use crate::store::modules::ModuleVersion;
use axum::Json;
use axum::extract::State;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// The settings of a server, as `export` writes and `apply` reads them.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Document)]
pub struct ConfigDocument {
    /// Sources, by name. A new source may have a `secret`. Otherwise one is made if its scheme
    /// needs one, and shown with the change.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub sources: Vec<Map<String, Value>>,
    /// Endpoints, by name. A new endpoint may have a `secret`. Otherwise one is made, and shown
    /// with the change.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub endpoints: Vec<Map<String, Value>>,
    /// Flows, by name.
    #[serde(default)]
    pub flows: Vec<FlowSettings>,
    /// Versions of modules that must exist, and whether they are active.
    #[serde(default)]
    pub modules: Vec<ModuleChoice>,
    /// Secrets that modules use, by name. A new one has its value in `secret`, or takes it from
    /// `secrets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub module_secrets: Vec<Map<String, Value>>,
    /// Tokens, by name, except `admin`. A new token is made, and shown with the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenSettings>,
    /// Secrets that an export encrypted. They replace omitted and masked (`***`) values of the
    /// document: secrets, values of headers and queries, configuration of modules, and the values
    /// of new tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<String>,
    /// The passphrase that decrypts `secrets`. It is never exported.
    #[serde(default, skip_serializing)]
    pub passphrase: Option<String>,
    /// Whether objects that the document does not name are deleted. Tokens and secrets of modules
    /// are deleted only if the document names at least one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prune: bool,
}

/// A version of a module that must exist.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleChoice {
    /// The module's name.
    pub name: String,
    /// The version. Without this and `sha256`, the active version, or else the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The component's SHA-256 in hex. With a `version` both must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether it is the active version. `false` for a version that only flows, endpoints and sources with its number use.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub active: bool,
    /// Approved capabilities that the version requests, such as `http:api.example.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<String>,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_true(flag: &bool) -> bool {
    *flag
}

/// One change of applying.
#[derive(Debug, Serialize, ToSchema)]
pub struct AppliedChange {
    /// `source`, `endpoint`, `flow`, `module`, `module_secret` or `token`.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// `create`, `update`, `unchanged` or `delete`.
    pub action: &'static str,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The secret that was made for a new endpoint or source, or the new token. Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// A warning about the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl AppliedChange {
    pub fn new(kind: &'static str, name: &str, action: &'static str) -> Self {
        let (name, fields) = (name.to_owned(), Vec::new());
        Self { kind, name, action, fields, secret: None, warning: None }
    }
}

/// The changes that applying made, or would make.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Applied)]
pub struct AppliedDocument {
    /// One change for each object in the document.
    pub changes: Vec<AppliedChange>,
}

/// Options for exporting secrets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The passphrase for the encryption: at least 12 characters.
    passphrase: String,
}

/// Exports all settings without private values: secrets are left out, and values of headers and
/// queries, and texts in the configuration of modules, are `***`. Modules are named by version and
/// digest.
#[utoipa::path(get, path = "/api/v1/config", tag = "config", operation_id = "export_config",
    responses((status = 200, body = DataAnswer<ConfigDocument>)))]
pub async fn export_config(
    State(app): State<AppState>,
    _principal: CallPrincipal,
) -> Result<Json<DataAnswer<ConfigDocument>>, ApiProblem> {
    build_document(&app).await.map(data_answer)
}

/// Exports all settings with private values encrypted by a passphrase, for another server to apply.
/// That server then signs, verifies and accepts tokens as this one does.
#[utoipa::path(post, path = "/api/v1/config/export", tag = "config", operation_id = "export_config_with_secrets",
    request_body = ExportRequest,
    responses((status = 200, body = DataAnswer<ConfigDocument>), (status = 409, body = ApiProblem), (status = 422, body = ApiProblem)))]
pub async fn export_config_with_secrets(
    State(app): State<AppState>,
    _principal: CallPrincipal,
    JsonInput(request): JsonInput<ExportRequest>,
) -> Result<Json<DataAnswer<ConfigDocument>>, ApiProblem> {
    let carried = CarriedSecrets::of(&app.live.current_settings())?;
    let secrets = carried.encrypt_document(SecretString::from(request.passphrase)).await?;
    let document = build_document(&app).await?;
    Ok(data_answer(ConfigDocument { secrets: Some(secrets), ..document }))
}

async fn build_document(app: &AppState) -> Result<ConfigDocument, ApiProblem> {
    let snapshot = app.live.current_settings();
    let flows = snapshot.flows().iter().flat_map(|route| route.flow.settings.modules.clone());
    let channels = snapshot.endpoints().filter_map(|target| find_module(&target.endpoint.settings));
    let of_sources = snapshot.sources().filter_map(|source| source.settings.find_module());
    let in_use: Vec<FlowModule> = flows.chain(channels).chain(of_sources).collect();
    Ok(ConfigDocument {
        sources: export_objects::<SourceResource, _>(&snapshot)?,
        endpoints: export_objects::<EndpointResource, _>(&snapshot)?,
        flows: export_objects::<FlowResource, _>(&snapshot)?,
        modules: modules(app.journal.list_modules().await?, &in_use),
        module_secrets: export_objects::<ModuleSecretResource, _>(&snapshot)?,
        tokens: export_objects::<TokenResource, _>(&snapshot)?,
        ..ConfigDocument::default()
    })
}

/// Returns the settings of all objects, by name and without private values.
fn export_objects<R: SettingsResource, T: DeserializeOwned>(
    snapshot: &SettingsSnapshot,
) -> Result<Vec<T>, ApiProblem> {
    let objects = R::list_by_name(snapshot);
    let settings = objects.iter().map(|object| R::state(object).settings);
    let exported = settings.filter(|settings| R::is_exported(settings));
    let read =
        |masked| serde_json::from_value(masked).map_err(|error| ApiProblem::unexpected(&error));
    exported.map(|settings| R::masked(settings).and_then(read)).collect()
}

/// Returns the active versions, and those that flows, endpoints and sources pin.
fn modules(versions: Vec<ModuleVersion>, in_use: &[FlowModule]) -> Vec<ModuleChoice> {
    let pins: BTreeSet<(&str, u32)> =
        in_use.iter().filter_map(|module| Some((module.name.as_str(), module.version?))).collect();
    let is_used = |v: &ModuleVersion| v.active || pins.contains(&(v.name.as_str(), v.version));
    let used = versions.into_iter().filter(is_used);
    used.map(|v| ModuleChoice {
        name: v.name,
        version: Some(v.version),
        sha256: Some(hex::encode(v.sha256)),
        active: v.active,
        approve: v.approved.into_iter().collect(),
    })
    .collect()
}
