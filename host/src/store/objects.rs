//! The settings that operators make: sources, endpoints, flows. One table and one set of statements
//! serve all kinds. `body` holds the settings as JSON; `sealed` holds the encrypted secrets.

use super::db::{ClusterLock, FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use super::query::stored_json::read_json;
use super::{EventStore, StoreError, modules, statements};
use crate::error_chain::error_chain;
use crate::model::module_trial::ModuleTrial;
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// Number of deliveries that are cancelled in the transaction that deletes their endpoint. In one
/// transaction 500,000 took 12 s on SQLite, during which no event could be captured.
const CANCELLED_AT_ONCE: i64 = 5_000;
/// Smallest difference between the times of two states of an object.
const TICK: Duration = Duration::from_micros(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A system that sends events.
    Source,
    /// A receiver of deliveries.
    Endpoint,
    /// The path of events through modules to endpoints.
    Flow,
    /// Access to the API.
    Token,
    /// A short-lived token that was revoked before it expired.
    RevokedGrant,
    /// A secret that modules use by name.
    ModuleSecret,
}

impl ObjectKind {
    /// All kinds. Re-encryption walks this list, so it must be complete.
    pub const ALL: [Self; 6] = [
        Self::Source,
        Self::Endpoint,
        Self::Flow,
        Self::Token,
        Self::RevokedGrant,
        Self::ModuleSecret,
    ];

    /// Returns the word for this kind in the table and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Endpoint => "endpoint",
            Self::Flow => "flow",
            Self::Token => "token",
            Self::RevokedGrant => "revoked_grant",
            Self::ModuleSecret => "module_secret",
        }
    }
}

#[derive(Debug, Clone)]
pub struct StoredObject<S> {
    pub id: Uuid,
    pub settings: S,
    pub sealed: Option<Vec<u8>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub enum ObjectChange {
    /// Creates the object, or changes the object with this id.
    Put {
        kind: ObjectKind,
        id: Uuid,
        name: String,
        body: String,
        sealed: Option<Vec<u8>>,
        created_at: Timestamp,
        /// The time of the state that this change replaces. The change fails if the object has
        /// another state by then, or is gone. `None` for a new object.
        replaces: Option<Timestamp>,
    },
    /// Activates a version of a module.
    ActivateModule {
        name: String,
        version: u32,
        /// The approved capabilities. `None` leaves them unchanged.
        approved: Option<BTreeSet<String>>,
    },
    /// Approves the capabilities of a version without activating it.
    ApproveModule { name: String, version: u32, approved: BTreeSet<String> },
    /// Begins, changes or ends the trial of a version.
    SetTrial { name: String, version: u32, trial: ModuleTrial },
    /// Deletes the object. For an endpoint, 5,000 open deliveries are cancelled at once and the
    /// rest by the maintenance within ten minutes; none of them is sent meanwhile. For a flow,
    /// waiting events are dropped.
    Delete { kind: ObjectKind, id: Uuid },
}

impl ObjectChange {
    /// Builds the change that stores settings under an id.
    pub fn put<S: Serialize>(
        kind: ObjectKind,
        name: &str,
        object: &StoredObject<S>,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self::Put {
            kind,
            id: object.id,
            name: name.to_owned(),
            body: serde_json::to_string(&object.settings)?,
            sealed: object.sealed.clone(),
            created_at: object.created_at,
            replaces: None,
        })
    }

    /// Makes the change conditional: it applies only if the object still has the state of the given
    /// time.
    pub fn replacing(self, state: Option<Timestamp>) -> Self {
        match self {
            Self::Put { kind, id, name, body, sealed, created_at, .. } => {
                Self::Put { kind, id, name, body, sealed, created_at, replaces: state }
            }
            Self::ActivateModule { .. }
            | Self::ApproveModule { .. }
            | Self::SetTrial { .. }
            | Self::Delete { .. } => self,
        }
    }
}

impl<S: DeserializeOwned> FromStoredRow for StoredObject<S> {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            settings: read_json(row, "object", "body")?,
            sealed: row.get("sealed")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

/// An object, or the reason why it cannot be read.
struct ReadableObject<S> {
    name: String,
    object: Result<StoredObject<S>, StoreError>,
}

impl<S: DeserializeOwned> FromStoredRow for ReadableObject<S> {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { name: row.get("name")?, object: StoredObject::from_row(row) })
    }
}

/// Logs that an object is not used because it cannot be read.
pub fn log_unreadable(kind: ObjectKind, name: &str, why: &StoreError) {
    tracing::error!(
        name,
        error = %error_chain(why),
        "a stored {} cannot be read, and this node does without its present settings: it is of a newer \
         version, or damaged; start this node with that version, or set it again",
        kind.as_str()
    );
}

/// Key of the advisory lock for changes of the settings.
const SETTINGS_LOCK: i64 = 0x7761_7962_696c_6c01;
/// Time that a change waits for changes of other nodes.
const LONGEST_TURN: Duration = Duration::from_secs(10);

impl EventStore {
    /// Waits until no other node changes the settings, and blocks other nodes until the lock is
    /// dropped.
    pub async fn lock_settings(&self) -> Result<Option<ClusterLock>, StoreError> {
        self.pool().take_cluster_lock(SETTINGS_LOCK, LONGEST_TURN).await
    }

    /// Returns all readable objects of a kind, by name. An unreadable object is logged and left
    /// out, so that the others can still be used.
    pub async fn list_objects<S: DeserializeOwned + Send + 'static>(
        &self,
        kind: ObjectKind,
    ) -> Result<Vec<StoredObject<S>>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_OBJECTS).bind(kind.as_str());
        let found: Vec<ReadableObject<S>> = self.pool().fetch_all(query).await?;
        let readable = found.into_iter().filter_map(|ReadableObject { name, object }| {
            object.inspect_err(|why| log_unreadable(kind, &name, why)).ok()
        });
        Ok(readable.collect())
    }

    /// Makes all the changes, or none. Old settings may hold secrets; SQLite overwrites them as it
    /// does all deleted data (`secure_delete` is on). Returns [`StoreError::NameTaken`] if two
    /// objects of a kind would have one name, [`StoreError::Missing`] if a version to activate does
    /// not exist, and [`StoreError::ChangedMeanwhile`] if an object is not in the state that a
    /// change replaces.
    pub async fn change_objects(&self, changes: &[ObjectChange]) -> Result<(), StoreError> {
        let (now, node) = (self.clock().now(), self.inner.node);
        let changes = changes.to_vec();
        let written = self.pool().write(move |tx| {
            Box::pin(async move {
                for change in &changes {
                    make_change(tx, change, now).await?;
                }
                modules::grow_version(tx, node).await
            })
        });
        written.await
    }

    /// Returns the version of the settings, which grows with every change of an object or a module.
    pub async fn read_settings_version(&self) -> Result<i64, StoreError> {
        self.pool().fetch_value(SqlQuery::new(statements::TOPOLOGY_VERSION).promptly()).await
    }
}

async fn make_change(
    tx: &mut WriteTransaction<'_>,
    change: &ObjectChange,
    now: Timestamp,
) -> Result<(), StoreError> {
    match change {
        ObjectChange::Put { kind, id, name, body, sealed, created_at, replaces } => {
            // Later than the state that it replaces, even if the clock was set back.
            let later = replaces.map_or(now, |state| now.max(state.after(TICK)));
            let put = SqlQuery::new(match replaces {
                Some(_) => statements::UPDATE_OBJECT,
                None => statements::UPSERT_OBJECT,
            });
            let put = put
                .bind(kind.as_str())
                .bind(*id)
                .bind(name)
                .bind(body)
                .bind(sealed.as_deref())
                .bind(replaces.unwrap_or(*created_at))
                .bind(later);
            match tx.execute(put).await.map_err(|error| error.or_name_taken(name))? {
                1 => Ok(()),
                _ => Err(StoreError::ChangedMeanwhile(name.clone())),
            }
        }
        ObjectChange::ActivateModule { name, version, approved } => {
            if let Some(approved) = approved {
                modules::approve_version(tx, name, *version, approved).await?;
            }
            modules::activate_version(tx, name, *version).await
        }
        ObjectChange::ApproveModule { name, version, approved } => {
            modules::approve_version(tx, name, *version, approved).await
        }
        ObjectChange::SetTrial { name, version, trial } => {
            modules::set_trial(tx, name, *version, trial).await
        }
        ObjectChange::Delete { kind, id } => delete_object(tx, *kind, *id, now).await,
    }
}

async fn delete_object(
    tx: &mut WriteTransaction<'_>,
    kind: ObjectKind,
    id: Uuid,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(SqlQuery::new(statements::DELETE_OBJECT).bind(kind.as_str()).bind(id)).await?;
    let follow_up = match kind {
        ObjectKind::Source | ObjectKind::RevokedGrant | ObjectKind::ModuleSecret => return Ok(()),
        ObjectKind::Token => {
            tx.execute(SqlQuery::new(statements::DELETE_TOKEN_WINDOW).bind(id)).await?;
            SqlQuery::new(statements::DELETE_TOKEN_USAGE).bind(id)
        }
        ObjectKind::Endpoint => {
            let cancel = match tx {
                WriteTransaction::Sqlite(_) => statements::CANCEL_ENDPOINT_SQLITE,
                WriteTransaction::Postgres { .. } => statements::CANCEL_ENDPOINT_POSTGRES,
            };
            SqlQuery::new(cancel).bind(id).bind(now).bind(CANCELLED_AT_ONCE)
        }
        ObjectKind::Flow => {
            tx.execute(SqlQuery::new(statements::DELETE_FLOW_STATE).bind(id)).await?;
            tx.execute(SqlQuery::new(statements::DELETE_FLOW_CANCEL_KEYS).bind(id)).await?;
            SqlQuery::new(statements::DELETE_FLOW_PLANNING).bind(id)
        }
    };
    tx.execute(follow_up).await.map(drop)
}
