//! A copy of the settings on a node's disk, with which the node can start while the database is
//! away. Only a node with a capture log keeps one.
//!
//! The file stands beside the key, only its owner may read it, and it is encrypted with the key as
//! a whole. It holds what an operator has set, but no modules.

use crate::crypto::seal::SecretSealer;
use crate::settings::live::LiveSettings;
use crate::store::objects::{ObjectKind, StoredObject, log_unreadable};
use crate::store::{EventStore, StoreError};
use crate::time::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Name of the file in the data folder.
pub const COPY_FILE: &str = "waybill.settings";
/// The form of the file that this version writes and reads.
const FORM: u32 = 1;
/// Context of the encryption.
const CONTEXT: &[u8] = b"waybill settings copy 1";
/// Largest file, in bytes. With more settings no copy is kept.
const LARGEST: u64 = 64 << 20;
/// How often the settings are compared with the copy, besides after a change.
const COMPARE: Duration = Duration::from_secs(10);
/// Age at which an unchanged copy is written again, so that its age shows when it was last current.
const RENEW: Duration = Duration::from_mins(1);
/// Longest time for reading the settings.
const LONGEST_READ: Duration = Duration::from_secs(30);

/// The settings at one version.
#[derive(Debug, Serialize, Deserialize)]
pub struct SettingsCopy {
    form: u32,
    /// When these were the current settings, in microseconds since 1970.
    saved_at: i64,
    /// The version in the store.
    pub version: i64,
    /// The objects, by the word for their kind.
    objects: BTreeMap<String, Vec<CopiedObject>>,
}

/// An object as it is stored. Its secrets are also encrypted on their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct CopiedObject {
    id: Uuid,
    settings: Value,
    sealed: Option<Vec<u8>>,
    created_at: i64,
    updated_at: i64,
}

impl SettingsCopy {
    /// Returns when these were the current settings.
    pub const fn saved_at(&self) -> Timestamp {
        Timestamp::from_micros(self.saved_at)
    }

    /// Reads the current settings. Returns `None` if they changed meanwhile.
    async fn read_store(journal: &EventStore) -> Result<Option<Self>, StoreError> {
        let (version, saved_at) = (journal.read_settings_version().await?, journal.clock().now());
        let mut objects = BTreeMap::new();
        for kind in ObjectKind::ALL {
            let found: Vec<StoredObject<Value>> = journal.list_objects(kind).await?;
            let found = found.into_iter().map(CopiedObject::of).collect();
            objects.insert(kind.as_str().to_owned(), found);
        }
        let is_same = journal.read_settings_version().await? == version;
        let copy = Self { form: FORM, saved_at: saved_at.micros(), version, objects };
        Ok(is_same.then_some(copy))
    }

    /// Returns all readable objects of a kind, by name.
    pub fn list_objects<S: DeserializeOwned>(&self, kind: ObjectKind) -> Vec<StoredObject<S>> {
        let copied = self.objects.get(kind.as_str()).into_iter().flatten();
        copied.filter_map(|object| object.read(kind)).collect()
    }

    /// Reads the file. Returns `None` if there is none.
    pub fn load(path: &Path, sealer: &SecretSealer) -> io::Result<Option<Self>> {
        let stored = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(file) if file.len() > LARGEST => return Err(io::Error::other("it is too large")),
            Ok(_) => std::fs::read(path)?,
            Err(error) => return Err(error),
        };
        let text = sealer.open(&stored, CONTEXT).map_err(io::Error::other)?;
        let copy: Self = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if copy.form == FORM {
            Ok(Some(copy))
        } else {
            Err(io::Error::other("another version of Waybill wrote it"))
        }
    }

    /// Replaces the file, so that a crash leaves the old one or the new one.
    pub fn save(&self, path: &Path, sealer: &SecretSealer) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let stored = sealer.seal(&text, CONTEXT).map_err(io::Error::other)?;
        if stored.len() as u64 > LARGEST {
            return Err(io::Error::other("there are too many settings for a copy"));
        }
        let fresh = path.with_extension("settings.new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&stored)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    }
}

impl CopiedObject {
    fn of(object: StoredObject<Value>) -> Self {
        let StoredObject { id, settings, sealed, created_at, updated_at } = object;
        let (created_at, updated_at) = (created_at.micros(), updated_at.micros());
        Self { id, settings, sealed, created_at, updated_at }
    }

    fn read<S: DeserializeOwned>(&self, kind: ObjectKind) -> Option<StoredObject<S>> {
        let settings = serde_json::from_value(self.settings.clone()).map_err(|error| {
            let why = error.to_string();
            StoreError::Corrupt { table: "settings copy", column: "settings", why }
        });
        let name = self.settings.get("name").and_then(Value::as_str).unwrap_or_default();
        let settings = settings.inspect_err(|why| log_unreadable(kind, name, why)).ok()?;
        Some(StoredObject {
            id: self.id,
            settings,
            sealed: self.sealed.clone(),
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
        })
    }
}

/// The keeper of the copy.
#[derive(Debug)]
pub struct CopyKeeper {
    pub journal: EventStore,
    pub live: LiveSettings,
    pub path: PathBuf,
}

impl CopyKeeper {
    /// Keeps the copy current until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut news = self.live.changes();
        let mut tick = interval(COMPARE);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = news.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            match timeout(LONGEST_READ, self.compare()).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => tracing::warn!(why, "the copy of the settings is not renewed"),
                Err(_elapsed) => tracing::warn!("the settings could not be read for their copy"),
            }
        }
    }

    async fn compare(&self) -> Result<(), String> {
        // While the database is away, the copy stays as it is, and gets older.
        if self.journal.is_away() {
            return Ok(());
        }
        let version = self.journal.read_settings_version().await.map_err(|why| why.to_string())?;
        let known = self.live.copy_mark();
        let age = known.map(|(_, saved_at)| self.journal.clock().now().since(saved_at));
        let is_known = known.is_some_and(|(known, _)| known == version);
        if is_known && age.is_some_and(|age| age < RENEW) {
            return Ok(());
        }
        let read = SettingsCopy::read_store(&self.journal).await.map_err(|why| why.to_string())?;
        // It changed meanwhile, and the next comparison finds it complete.
        let Some(copy) = read else { return Ok(()) };
        copy.save(&self.path, self.live.sealer())
            .map_err(|why| format!("{}: {why}", self.path.display()))?;
        self.live.note_copy(copy.version, copy.saved_at());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_copy_is_encrypted_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(COPY_FILE);
        let sealer = SecretSealer::from_secret(&"one".into());
        assert!(SettingsCopy::load(&path, &sealer).unwrap().is_none());
        let object = CopiedObject {
            id: Uuid::from_u128(7),
            settings: serde_json::json!({"name": "hidden-name"}),
            sealed: Some(vec![1, 2]),
            created_at: 1,
            updated_at: 2,
        };
        let objects = BTreeMap::from([(ObjectKind::Source.as_str().to_owned(), vec![object])]);
        let copy = SettingsCopy { form: FORM, saved_at: 5, version: 3, objects };
        copy.save(&path, &sealer).unwrap();
        copy.save(&path, &sealer).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"hidden"));
        let read = SettingsCopy::load(&path, &sealer).unwrap().unwrap();
        assert_eq!((read.version, read.saved_at()), (3, Timestamp::from_micros(5)));
        let sources: Vec<StoredObject<Value>> = read.list_objects(ObjectKind::Source);
        assert_eq!(sources[0].settings["name"], "hidden-name");
        assert_eq!(sources[0].sealed.as_deref(), Some(&[1, 2][..]));
        let other = SecretSealer::from_secret(&"two".into());
        assert!(SettingsCopy::load(&path, &other).is_err());
    }
}
