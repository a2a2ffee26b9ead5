//! Uploaded modules: components by their SHA-256, and numbered versions of a name.

use super::pool::{reading, writing};
use super::{Error, Journal, objects, row, statements};
use crate::domain::id::ModuleId;
use crate::domain::time::Timestamp;
use serde_json::value::RawValue;
use sqlx::types::Uuid;

/// One version of a module.
#[derive(Debug, Clone)]
pub struct ModuleVersion {
    /// Its id.
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

type ModuleRow = (Uuid, String, i32, Vec<u8>, String, bool, i64);

impl Journal {
    /// Every version of every module.
    pub async fn modules(&self) -> Result<Vec<ModuleVersion>, Error> {
        let rows: Vec<ModuleRow> = reading!(self.pool(), |db| {
            sqlx::query_as(statements::SELECT_MODULES).fetch_all(db).await?
        });
        rows.into_iter().map(decode).collect()
    }

    /// The component with that SHA-256.
    pub async fn component(&self, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, Error> {
        let row: Option<(Vec<u8>,)> =
            reading!(self.pool(), |db| sqlx::query_as(statements::SELECT_COMPONENT)
                .bind(sha256.to_vec())
                .fetch_optional(db)
                .await?);
        Ok(row.map(|(wasm,)| wasm))
    }

    /// Stores a component as the next version of a name, active if asked for; its number.
    pub async fn add_module(
        &self,
        name: &str,
        sha256: [u8; 32],
        wasm: &[u8],
        report: &str,
        activate: bool,
    ) -> Result<u32, Error> {
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
            let version = latest.unwrap_or(0) + 1;
            sqlx::query(statements::INSERT_MODULE)
                .bind(ModuleId::generate().uuid())
                .bind(name)
                .bind(version)
                .bind(sha256.to_vec())
                .bind(report)
                .bind(now.micros())
                .execute(&mut *db)
                .await?;
            if activate {
                sqlx::query(statements::DEACTIVATE_MODULE).bind(name).execute(&mut *db).await?;
                sqlx::query(statements::ACTIVATE_MODULE)
                    .bind(name)
                    .bind(version)
                    .execute(&mut *db)
                    .await?;
            }
            version
        });
        objects::grow(&mut tx).await?;
        tx.commit().await?;
        Ok(version.unsigned_abs())
    }

    /// Makes a version the active one; `false` if there is none of that number.
    pub async fn activate_module(&self, name: &str, version: u32) -> Result<bool, Error> {
        let version = i32::try_from(version).unwrap_or(i32::MAX);
        let mut tx = self.pool().begin().await?;
        let found = writing!(&mut tx, |db| {
            sqlx::query(statements::DEACTIVATE_MODULE).bind(name).execute(&mut *db).await?;
            let rows = sqlx::query(statements::ACTIVATE_MODULE)
                .bind(name)
                .bind(version)
                .execute(&mut *db)
                .await?;
            rows.rows_affected() == 1
        });
        if !found {
            return Ok(false);
        }
        objects::grow(&mut tx).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn decode(
    (id, name, version, sha256, report, active, at): ModuleRow,
) -> Result<ModuleVersion, Error> {
    let sha256 = sha256.try_into().map_err(|_wrong_length: Vec<u8>| {
        row::corrupt("module", "sha256", &"it has not 32 bytes")
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
