//! What operators set: sources, endpoints, flows. One table, one set of statements; the body is the
//! settings as JSON, `sealed` is what must not be read without the key.

use super::pool::{WriteTransaction, reading, writing};
use super::{EventStore, StoreError, modules, row, statements};
use crate::time::timestamp::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Uuid;

/// The kinds of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A system that events come from.
    Source,
    /// Where deliveries go.
    Endpoint,
    /// Which events pass which modules to which endpoints.
    Flow,
    /// Who may call the API.
    Token,
    /// A short-lived token that was revoked before its end.
    RevokedGrant,
}

impl ObjectKind {
    /// The word for it, in the table and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Endpoint => "endpoint",
            Self::Flow => "flow",
            Self::Token => "token",
            Self::RevokedGrant => "revoked_grant",
        }
    }
}

#[derive(Debug, Clone)]
pub struct StoredObject<S> {
    pub id: Uuid,
    /// What the operator set.
    pub settings: S,
    /// Its encrypted secrets.
    pub sealed: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub enum ObjectChange {
    /// Makes it, or changes what is there under its id.
    Put {
        kind: ObjectKind,
        id: Uuid,
        /// Its name, unique within the kind.
        name: String,
        /// The settings as JSON.
        body: String,
        /// Its encrypted secrets.
        sealed: Option<Vec<u8>>,
        /// When it was made.
        created_at: Timestamp,
    },
    /// Makes a version of a module the one that runs.
    ActivateModule {
        /// The module's name.
        name: String,
        version: u32,
    },
    /// Removes it. An endpoint's open deliveries are cancelled, a flow's waiting events dropped.
    Delete { kind: ObjectKind, id: Uuid },
}

impl ObjectChange {
    /// Puts settings under an id.
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
        })
    }
}

type ObjectRow = (Uuid, String, String, Option<Vec<u8>>, i64, i64);

impl EventStore {
    /// All objects of a kind, by name.
    pub async fn objects<S: DeserializeOwned>(
        &self,
        kind: ObjectKind,
    ) -> Result<Vec<StoredObject<S>>, StoreError> {
        let rows: Vec<ObjectRow> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_OBJECTS)
                .bind(kind.as_str())
                .fetch_all(db)
                .await?);
        rows.into_iter()
            .map(|(id, _, body, sealed, created_at, updated_at)| {
                Ok(StoredObject {
                    id,
                    settings: row::json(&body, "object", "body")?,
                    sealed,
                    created_at: Timestamp::from_micros(created_at),
                    updated_at: Timestamp::from_micros(updated_at),
                })
            })
            .collect()
    }

    /// Makes all the changes, or none. Old settings may hold secrets; SQLite overwrites them, as it
    /// does whatever is deleted (`secure_delete` is on). [`StoreError::NameTaken`] if two objects
    /// of a kind would have one name, [`StoreError::Missing`] if a version to activate does not
    /// exist.
    pub async fn change(&self, changes: &[ObjectChange]) -> Result<(), StoreError> {
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        for change in changes {
            match change {
                ObjectChange::Put { kind, id, name, body, sealed, created_at } => {
                    let put = writing!(&mut tx, |db| sqlx::query(statements::UPSERT_OBJECT)
                        .bind(kind.as_str())
                        .bind(*id)
                        .bind(name.as_str())
                        .bind(body.as_str())
                        .bind(sealed.as_deref())
                        .bind(created_at.micros())
                        .bind(now.micros())
                        .execute(db)
                        .await
                        .map(|_| ()));
                    put.map_err(|error| name_taken(error, name))?;
                }
                ObjectChange::ActivateModule { name, version } => {
                    modules::activate_version(&mut tx, name, *version).await?;
                }
                ObjectChange::Delete { kind, id } => {
                    delete_object(&mut tx, *kind, *id, now).await?;
                }
            }
        }
        grow_version(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Grows with every change of an object or a module.
    pub async fn topology_version(&self) -> Result<i64, StoreError> {
        let (version,): (i64,) = reading!(self.pool(), |db| {
            sqlx::query_as(statements::TOPOLOGY_VERSION).fetch_one(db).await?
        });
        Ok(version)
    }
}

pub fn name_taken(error: sqlx::Error, name: &str) -> StoreError {
    let unique =
        error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    if unique { StoreError::NameTaken(name.to_owned()) } else { error.into() }
}

async fn delete_object(
    tx: &mut WriteTransaction,
    kind: ObjectKind,
    id: Uuid,
    now: Timestamp,
) -> Result<(), StoreError> {
    writing!(tx, |db| {
        sqlx::query(statements::DELETE_OBJECT)
            .bind(kind.as_str())
            .bind(id)
            .execute(&mut *db)
            .await?;
        match kind {
            ObjectKind::Source | ObjectKind::RevokedGrant => {}
            ObjectKind::Token => {
                sqlx::query(statements::DELETE_TOKEN_USAGE).bind(id).execute(&mut *db).await?;
            }
            ObjectKind::Endpoint => {
                let now = now.micros();
                sqlx::query(statements::CANCEL_ENDPOINT)
                    .bind(id)
                    .bind(now)
                    .execute(&mut *db)
                    .await?;
            }
            ObjectKind::Flow => {
                sqlx::query(statements::DELETE_FLOW_PLANNING).bind(id).execute(&mut *db).await?;
            }
        }
    });
    Ok(())
}

/// Tells every node that something changed.
pub async fn grow_version(tx: &mut WriteTransaction) -> Result<(), StoreError> {
    writing!(tx, |db| sqlx::query(statements::GROW_TOPOLOGY).execute(db).await?.rows_affected());
    Ok(())
}
