//! Uploaded modules: components by their SHA-256, and numbered versions of a name.

use super::pool::{WriteTransaction, reading, writing};
use super::{EventStore, StoreError, objects, row, statements};
use crate::model::id::ModuleId;
use crate::time::timestamp::Timestamp;
use serde_json::value::RawValue;
use sqlx::types::Uuid;

/// One version of a module.
#[derive(Debug, Clone)]
pub struct ModuleVersion {
    pub id: ModuleId,
    /// The module's name.
    pub name: String,
    /// 1, 2, …
    pub version: u32,
    /// The component.
    pub sha256: [u8; 32],
    /// Exports, imports and size, as JSON.
    pub report: Box<RawValue>,
    /// Whether flows run this version.
    pub active: bool,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// A version of a module that is to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewModule<'a> {
    /// The module's name.
    pub name: &'a str,
    /// Its number; the next one where left out.
    pub version: Option<u32>,
    /// SHA-256 of the component.
    pub sha256: [u8; 32],
    /// The component.
    pub wasm: &'a [u8],
    /// Exports, imports and size, as JSON.
    pub report: &'a str,
    /// Whether it runs from now on.
    pub activate: bool,
}

type ModuleRow = (Uuid, String, i32, Vec<u8>, String, bool, i64);

impl EventStore {
    /// Every version of every module.
    pub async fn modules(&self) -> Result<Vec<ModuleVersion>, StoreError> {
        let rows: Vec<ModuleRow> = reading!(self.pool(), |db| {
            sqlx::query_as(statements::SELECT_MODULES).fetch_all(db).await?
        });
        rows.into_iter().map(decode).collect()
    }

    /// The component with that SHA-256.
    pub async fn component(&self, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_COMPONENT)
                .bind(sha256.to_vec())
                .fetch_optional(db)
                .await?);
        Ok(row.map(|(wasm,)| wasm))
    }

    /// Stores a component as a version of a name, active if asked for; its number, which is the
    /// next one where none is given. [`StoreError::NameTaken`] if there is a version of that
    /// number.
    pub async fn add_module(&self, module: NewModule<'_>) -> Result<u32, StoreError> {
        let NewModule { name, version: number, sha256, wasm, report, activate: active } = module;
        let now = self.clock().now();
        let mut tx = self.pool().begin().await?;
        let version = writing!(&mut tx, |db| {
            sqlx::query(statements::INSERT_COMPONENT)
                .bind(sha256.to_vec())
                .bind(wasm)
                .execute(&mut *db)
                .await?;
            let (latest,): (Option<i32>,) =
                sqlx::query_as(statements::LATEST_MODULE).bind(name).fetch_one(&mut *db).await?;
            let number = number.and_then(|number| i32::try_from(number).ok());
            let version = number.unwrap_or_else(|| latest.unwrap_or(0) + 1);
            let inserted = sqlx::query(statements::INSERT_MODULE)
                .bind(ModuleId::generate().uuid())
                .bind(name)
                .bind(version)
                .bind(sha256.to_vec())
                .bind(report)
                .bind(now.micros())
                .execute(&mut *db)
                .await;
            inserted.map_err(|error| objects::name_taken(error, &format!("{name} {version}")))?;
            version.unsigned_abs()
        });
        if active {
            activate_version(&mut tx, name, version).await?;
        }
        objects::grow_version(&mut tx).await?;
        tx.commit().await?;
        Ok(version)
    }
}

/// Makes a version the active one.
pub async fn activate_version(
    tx: &mut WriteTransaction,
    name: &str,
    version: u32,
) -> Result<(), StoreError> {
    let number = i32::try_from(version).unwrap_or(i32::MAX);
    let found = writing!(tx, |db| {
        sqlx::query(statements::DEACTIVATE_MODULE).bind(name).execute(&mut *db).await?;
        let rows = sqlx::query(statements::ACTIVATE_MODULE)
            .bind(name)
            .bind(number)
            .execute(&mut *db)
            .await?;
        rows.rows_affected()
    });
    if found == 1 {
        return Ok(());
    }
    Err(StoreError::Missing(format!("version {version} of module `{name}`")))
}

fn decode(
    (id, name, version, sha256, report, active, at): ModuleRow,
) -> Result<ModuleVersion, StoreError> {
    let sha256 = sha256.try_into().map_err(|_wrong_length: Vec<u8>| {
        row::corrupt_value("module", "sha256", &"it has not 32 bytes")
    })?;
    Ok(ModuleVersion {
        id: ModuleId::from_uuid(id),
        name,
        version: version.unsigned_abs(),
        sha256,
        report: row::raw(report, "module", "report")?,
        active,
        created_at: Timestamp::from_micros(at),
    })
}
