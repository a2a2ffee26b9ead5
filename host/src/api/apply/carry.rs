//! Secrets that an export carries to another server, encrypted with a passphrase.

use super::document::ConfigDocument;
use crate::access::transport;
use crate::api::auth::ADMIN;
use crate::api::problem::ApiProblem;
use crate::model::endpoint::EndpointSettings;
use crate::model::flow::FlowSettings;
use crate::model::module_secret::ModuleSecretSettings;
use crate::model::secrets::SigningSecrets;
use crate::model::source::SourceSettings;
use crate::settings::SettingsSnapshot;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::Mutex;

/// Allows one key derivation at a time, because each takes 64 MiB.
static TURN: Mutex<()> = Mutex::const_new(());

/// Settings with their private values, and secrets, by name.
#[derive(Default, Serialize, Deserialize)]
pub struct CarriedSecrets {
    sources: BTreeMap<String, CarriedDocument<SourceSettings>>,
    endpoints: BTreeMap<String, CarriedDocument<EndpointSettings>>,
    flows: BTreeMap<String, FlowSettings>,
    /// Secrets of modules. Older versions did not write any.
    #[serde(default)]
    module_secrets: BTreeMap<String, CarriedDocument<ModuleSecretSettings>>,
    /// SHA-256 of tokens, in hex.
    tokens: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
pub struct CarriedDocument<S> {
    pub settings: S,
    pub secrets: Option<SigningSecrets>,
}

impl CarriedSecrets {
    /// Returns the secrets of this server. Fails if the present key does not decrypt one of them.
    pub fn of(snapshot: &SettingsSnapshot) -> Result<Self, ApiProblem> {
        let mut carried = Self::default();
        for target in snapshot.endpoints() {
            let (settings, secrets) = (target.endpoint.settings.clone(), target.secrets.clone());
            check_readable("endpoint", &settings.name, target.is_locked())?;
            carried.endpoints.insert(settings.name.clone(), CarriedDocument { settings, secrets });
        }
        for runtime in snapshot.source_runtimes() {
            let (settings, secrets) = (runtime.source.settings.clone(), runtime.secrets.clone());
            check_readable("source", &settings.name, runtime.locked)?;
            carried.sources.insert(settings.name.clone(), CarriedDocument { settings, secrets });
        }
        for route in snapshot.flows() {
            let settings = route.flow.settings.clone();
            check_readable("flow", &settings.name, route.locked)?;
            carried.flows.insert(settings.name.clone(), settings);
        }
        for runtime in snapshot.secrets().values() {
            let (settings, secrets) = (runtime.secret.settings.clone(), runtime.secrets.clone());
            check_readable("module secret", &settings.name, runtime.is_locked())?;
            let name = settings.name.clone();
            carried.module_secrets.insert(name, CarriedDocument { settings, secrets });
        }
        let tokens = snapshot.tokens().filter(|(_, token)| token.settings.name != ADMIN);
        let tokens = tokens.map(|(digest, t)| (t.settings.name.clone(), hex::encode(digest)));
        carried.tokens.extend(tokens);
        Ok(carried)
    }

    pub async fn encrypt_document(&self, passphrase: SecretString) -> Result<String, ApiProblem> {
        let plain = serde_json::to_vec(self).map_err(|error| ApiProblem::unexpected(&error))?;
        let encrypted = derive(move || transport::encrypt_text(&plain, &passphrase)).await?;
        encrypted.map_err(|why| refused(&why))
    }

    /// Returns the secrets of a document. Empty if it carries none.
    pub async fn of_document(document: &ConfigDocument) -> Result<Self, ApiProblem> {
        let Some(text) = document.secrets.clone() else { return Ok(Self::default()) };
        let passphrase = document
            .passphrase
            .clone()
            .ok_or_else(|| ApiProblem::fault("passphrase", "enter the passphrase of `secrets`"))?;
        let passphrase = SecretString::from(passphrase);
        let opened = derive(move || transport::decrypt_text(&text, &passphrase)).await?;
        let plain = opened.map_err(|why| refused(&why))?;
        serde_json::from_slice(&plain).map_err(|_opaque| {
            ApiProblem::fault(
                "secrets",
                "another version of Waybill wrote these; export them again",
            )
        })
    }

    pub fn find_endpoint(&self, name: &str) -> Option<&CarriedDocument<EndpointSettings>> {
        self.endpoints.get(name)
    }

    pub fn find_source(&self, name: &str) -> Option<&CarriedDocument<SourceSettings>> {
        self.sources.get(name)
    }

    pub fn find_flow(&self, name: &str) -> Option<&FlowSettings> {
        self.flows.get(name)
    }

    pub fn find_secret(&self, name: &str) -> Option<&CarriedDocument<ModuleSecretSettings>> {
        self.module_secrets.get(name)
    }

    /// Returns the digest of a token.
    pub fn find_token(&self, name: &str) -> Option<[u8; 32]> {
        hex::decode(self.tokens.get(name)?).ok()?.try_into().ok()
    }
}

fn check_readable(kind: &str, name: &str, locked: bool) -> Result<(), ApiProblem> {
    if locked {
        let message = format!(
            "the secrets of {kind} `{name}` cannot be read with this server's key; enter them again first"
        );
        return Err(ApiProblem::conflict(message));
    }
    Ok(())
}

/// Runs a key derivation on a thread for blocking work, one at a time.
async fn derive<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiProblem> {
    let _turn = TURN.lock().await;
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiProblem::unexpected(&error))
}

fn refused(why: &transport::TransportError) -> ApiProblem {
    let field = match why {
        transport::TransportError::Form => "secrets",
        transport::TransportError::ShortPassphrase | transport::TransportError::Passphrase => {
            "passphrase"
        }
        transport::TransportError::Memory => return ApiProblem::unavailable(),
    };
    ApiProblem::fault(field, why.to_string())
}
