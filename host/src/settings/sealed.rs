//! The stored form of settings: public values as JSON, private values encrypted beside it.

use crate::crypto::seal;
use crate::crypto::seal::SecretSealer;
use crate::model::private_values;
use crate::model::private_values::{PrivateValues, SettingsKind};
use crate::model::secrets::SigningSecrets;
use crate::store;
use crate::store::EventStore;
use crate::store::objects::{ObjectChange, ObjectKind, StoredObject};
use crate::time::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The encrypted values. Older versions stored only the secrets here, and private values in plain
/// text.
#[derive(Serialize, Deserialize)]
struct SealedValues {
    #[serde(flatten)]
    secrets: Option<SigningSecrets>,
    #[serde(default, skip_serializing_if = "PrivateValues::is_empty")]
    private: PrivateValues,
}

/// Settings as they were read.
pub struct OpenedSettings<S> {
    pub settings: S,
    pub secrets: Option<SigningSecrets>,
    /// Whether there are secrets that the present key does not decrypt. Private values are then
    /// masked.
    pub locked: bool,
}

/// The reason why settings cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum SealSettingsError {
    /// The settings cannot be written as JSON.
    #[error("the settings cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The settings cannot be encrypted.
    #[error(transparent)]
    Seal(#[from] seal::SealError),
}

fn settings_kind(kind: ObjectKind) -> Option<SettingsKind> {
    match kind {
        ObjectKind::Endpoint => Some(SettingsKind::Endpoint),
        ObjectKind::Source => Some(SettingsKind::Source),
        ObjectKind::Flow => Some(SettingsKind::Flow),
        ObjectKind::Token | ObjectKind::RevokedGrant | ObjectKind::ModuleSecret => None,
    }
}

/// Builds a change that stores settings under an id, with their secrets and private values
/// encrypted.
pub fn put_sealed<S: Serialize>(
    sealer: &SecretSealer,
    kind: ObjectKind,
    name: &str,
    object: &StoredObject<S>,
    secrets: Option<&SigningSecrets>,
) -> Result<ObjectChange, SealSettingsError> {
    let mut settings = serde_json::to_value(&object.settings)?;
    let private = settings_kind(kind).map(|kind| private_values::hide_values(kind, &mut settings));
    let hidden = SealedValues { secrets: secrets.cloned(), private: private.unwrap_or_default() };
    let encrypted = if hidden.secrets.is_none() && hidden.private.is_empty() {
        None
    } else {
        Some(sealer.seal(&serde_json::to_vec(&hidden)?, object.id.as_bytes())?)
    };
    let stored = StoredObject {
        id: object.id,
        settings,
        sealed: encrypted,
        created_at: object.created_at,
        updated_at: object.updated_at,
    };
    Ok(ObjectChange::put(kind, name, &stored)?)
}

/// Reads settings that [`put_sealed`] stored.
pub fn open_settings<S: DeserializeOwned>(
    sealer: &SecretSealer,
    object: &StoredObject<Value>,
) -> Result<OpenedSettings<S>, store::StoreError> {
    let opened = object.sealed.as_deref().map(|bytes| unseal_all(sealer, object.id, bytes));
    let locked = matches!(opened, Some(None));
    let mut settings = object.settings.clone();
    let mut secrets = None;
    if let Some(hidden) = opened.flatten() {
        private_values::reveal_values(&mut settings, &hidden.private);
        secrets = hidden.secrets;
    }
    let settings = serde_json::from_value(settings).map_err(|error| {
        store::StoreError::Corrupt { table: "object", column: "body", why: error.to_string() }
    })?;
    Ok(OpenedSettings { settings, secrets, locked })
}

fn unseal_all(sealer: &SecretSealer, id: Uuid, bytes: &[u8]) -> Option<SealedValues> {
    let plain = sealer.open(bytes, id.as_bytes()).ok()?;
    serde_json::from_slice(&plain).ok()
}

/// Encrypts private values that an older version stored in plain text. Values under another key
/// stay as they are until their secrets are entered again.
pub async fn seal_plain(
    journal: &EventStore,
    sealer: &SecretSealer,
) -> Result<(), super::live::SettingsError> {
    if plain_changes(journal, sealer).await?.is_empty() {
        return Ok(());
    }
    // Another node may be changing the same objects, so they are read again with the lock held.
    let _turn = journal.lock_settings().await?;
    let mut objects = 0_usize;
    for change in plain_changes(journal, sealer).await? {
        match journal.change_objects(&[change]).await {
            Ok(()) => objects += 1,
            // A node of an earlier version does not take the lock. Its values are encrypted at the
            // next start.
            Err(store::StoreError::ChangedMeanwhile(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if objects > 0 {
        tracing::info!(
            objects,
            "encrypted headers, URLs and configurations that were stored in plain text"
        );
    }
    Ok(())
}

/// Returns the changes that encrypt values stored in plain text.
async fn plain_changes(
    journal: &EventStore,
    sealer: &SecretSealer,
) -> Result<Vec<ObjectChange>, super::live::SettingsError> {
    let mut changes = Vec::new();
    for kind in [ObjectKind::Endpoint, ObjectKind::Source, ObjectKind::Flow] {
        for object in journal.list_objects::<Value>(kind).await? {
            changes.extend(sealed_again(sealer, kind, object)?);
        }
    }
    Ok(changes)
}

fn sealed_again(
    sealer: &SecretSealer,
    kind: ObjectKind,
    object: StoredObject<Value>,
) -> Result<Option<ObjectChange>, SealSettingsError> {
    let mut masked = object.settings.clone();
    let private = settings_kind(kind).map(|kind| private_values::hide_values(kind, &mut masked));
    if private.is_none_or(|private| private.is_empty()) {
        return Ok(None);
    }
    let mut secrets = None;
    let mut settings = object.settings;
    if let Some(bytes) = &object.sealed {
        let Some(opened) = unseal_all(sealer, object.id, bytes) else { return Ok(None) };
        private_values::reveal_values(&mut settings, &opened.private);
        secrets = opened.secrets;
    }
    let name = settings.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let StoredObject { id, created_at, updated_at, .. } = object;
    let object = StoredObject { id, settings, sealed: None, created_at, updated_at };
    let change = put_sealed(sealer, kind, &name, &object, secrets.as_ref())?;
    Ok(Some(change.replacing(Some(updated_at))))
}

/// The result of a change of the key.
#[derive(Debug, Default)]
pub struct KeyChange {
    /// Number of objects that were encrypted again.
    pub objects: usize,
    /// Names of the objects that neither key decrypts. Their secrets have to be entered again.
    pub unreadable: Vec<String>,
}

/// Encrypts everything with another key, in one transaction. `both` decrypts data of the present
/// key and of the other one.
pub async fn change_key(
    journal: &EventStore,
    both: &SecretSealer,
    other: &SecretSealer,
) -> Result<KeyChange, super::live::SettingsError> {
    let _turn = journal.lock_settings().await?;
    let (mut changes, mut change) = (Vec::new(), KeyChange::default());
    for kind in ObjectKind::ALL {
        for object in journal.list_objects::<Value>(kind).await? {
            let Some(sealed) = &object.sealed else { continue };
            if other.open(sealed, object.id.as_bytes()).is_ok() {
                continue;
            }
            let name = object.settings.get("name").and_then(Value::as_str).unwrap_or_default();
            match both.open(sealed, object.id.as_bytes()) {
                Ok(plain) => changes.push(encrypted_anew(other, kind, &object, name, &plain)?),
                Err(_other_key) => change.unreadable.push(format!("{} {name}", kind.as_str())),
            }
        }
    }
    change.objects = changes.len();
    journal.change_objects(&changes).await?;
    Ok(change)
}

fn encrypted_anew(
    sealer: &SecretSealer,
    kind: ObjectKind,
    object: &StoredObject<Value>,
    name: &str,
    plain: &[u8],
) -> Result<ObjectChange, SealSettingsError> {
    let encrypted = sealer.seal(plain, object.id.as_bytes())?;
    let anew = StoredObject { sealed: Some(encrypted), ..object.clone() };
    Ok(ObjectChange::put(kind, name, &anew)?.replacing(Some(object.updated_at)))
}

/// Builds a new object for [`put_sealed`].
pub fn sealed_object<S>(id: Uuid, settings: S, created_at: Timestamp) -> StoredObject<S> {
    StoredObject { id, settings, sealed: None, created_at, updated_at: created_at }
}
