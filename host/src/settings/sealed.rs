//! How settings rest in the journal: what may be read as JSON, what must not encrypted beside it.

use crate::crypto::seal;
use crate::crypto::seal::Sealer;
use crate::model::private_values;
use crate::model::private_values::{PrivateValues, SettingsKind};
use crate::model::secrets::Secrets;
use crate::store;
use crate::store::Journal;
use crate::store::objects::{Change, Kind, Object};
use crate::time::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What is encrypted. Older versions stored the secrets alone, and private values in plain text.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    secrets: Option<Secrets>,
    #[serde(default, skip_serializing_if = "PrivateValues::is_empty")]
    private: PrivateValues,
}

/// Settings as they were read.
pub struct Opened<S> {
    pub settings: S,
    pub secrets: Option<Secrets>,
    /// Whether there are secrets that the present key does not open. Private values are then masked.
    pub locked: bool,
}

/// Why settings cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They are not JSON.
    #[error("the settings cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// They cannot be encrypted.
    #[error(transparent)]
    Seal(#[from] seal::Error),
}

fn settings_kind(kind: Kind) -> Option<SettingsKind> {
    match kind {
        Kind::Endpoint => Some(SettingsKind::Endpoint),
        Kind::Source => Some(SettingsKind::Source),
        Kind::Flow => Some(SettingsKind::Flow),
        Kind::Token | Kind::RevokedGrant => None,
    }
}

/// A change that puts settings under an id, with their secrets and private values encrypted.
pub fn put<S: Serialize>(
    sealer: &Sealer,
    kind: Kind,
    name: &str,
    object: &Object<S>,
    secrets: Option<&Secrets>,
) -> Result<Change, Error> {
    let mut settings = serde_json::to_value(&object.settings)?;
    let private = settings_kind(kind).map(|kind| private_values::hide(kind, &mut settings));
    let hidden = Sealed { secrets: secrets.cloned(), private: private.unwrap_or_default() };
    let encrypted = if hidden.secrets.is_none() && hidden.private.is_empty() {
        None
    } else {
        Some(sealer.seal(&serde_json::to_vec(&hidden)?, object.id.as_bytes())?)
    };
    let stored = Object {
        id: object.id,
        settings,
        sealed: encrypted,
        created_at: object.created_at,
        updated_at: object.updated_at,
    };
    Ok(Change::put(kind, name, &stored)?)
}

/// Reads what [`put`] stored.
pub fn open<S: DeserializeOwned>(
    sealer: &Sealer,
    object: &Object<Value>,
) -> Result<Opened<S>, store::Error> {
    let opened = object.sealed.as_deref().map(|bytes| unseal(sealer, object.id, bytes));
    let locked = matches!(opened, Some(None));
    let mut settings = object.settings.clone();
    let mut secrets = None;
    if let Some(hidden) = opened.flatten() {
        private_values::reveal(&mut settings, &hidden.private);
        secrets = hidden.secrets;
    }
    let settings = serde_json::from_value(settings).map_err(|error| store::Error::Corrupt {
        table: "object",
        column: "body",
        why: error.to_string(),
    })?;
    Ok(Opened { settings, secrets, locked })
}

fn unseal(sealer: &Sealer, id: Uuid, bytes: &[u8]) -> Option<Sealed> {
    let plain = sealer.open(bytes, id.as_bytes()).ok()?;
    serde_json::from_slice(&plain).ok()
}

/// Encrypts private values that an older version stored in plain text. What the present key does not
/// open stays as it is until its secrets are entered again.
pub async fn seal_plain(journal: &Journal, sealer: &Sealer) -> Result<(), super::live::Error> {
    let mut changes = Vec::new();
    for kind in [Kind::Endpoint, Kind::Source, Kind::Flow] {
        for object in journal.objects::<Value>(kind).await? {
            changes.extend(sealed_again(sealer, kind, object)?);
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    journal.change(&changes).await?;
    let objects = changes.len();
    tracing::info!(
        objects,
        "encrypted headers, URLs and configurations that were stored in plain text"
    );
    Ok(())
}

fn sealed_again(
    sealer: &Sealer,
    kind: Kind,
    object: Object<Value>,
) -> Result<Option<Change>, Error> {
    let mut masked = object.settings.clone();
    let private = settings_kind(kind).map(|kind| private_values::hide(kind, &mut masked));
    if private.is_none_or(|private| private.is_empty()) {
        return Ok(None);
    }
    let mut secrets = None;
    let mut settings = object.settings;
    if let Some(bytes) = &object.sealed {
        let Some(opened) = unseal(sealer, object.id, bytes) else { return Ok(None) };
        private_values::reveal(&mut settings, &opened.private);
        secrets = opened.secrets;
    }
    let name = settings.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Object { id, created_at, updated_at, .. } = object;
    let object = Object { id, settings, sealed: None, created_at, updated_at };
    put(sealer, kind, &name, &object, secrets.as_ref()).map(Some)
}

/// A new object, for [`put`].
pub fn object<S>(id: Uuid, settings: S, created_at: Timestamp) -> Object<S> {
    Object { id, settings, sealed: None, created_at, updated_at: created_at }
}
