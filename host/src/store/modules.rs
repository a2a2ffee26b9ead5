//! Uploaded modules: components by their SHA-256, and numbered versions of a name.

use super::db::{FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use super::error::database_error::corrupt_value;
use super::node_notice::{NODE_CHANNEL, NodeNotice};
use super::query::stored_json::read_raw;
use super::{EventStore, StoreError, statements};
use crate::model::case_report::CasesReport;
use crate::model::id::ModuleId;
use crate::model::module_manifest::ModuleManifest;
use crate::model::module_trial::{ModuleTrial, TrialCounts};
use crate::time::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct ModuleVersion {
    pub id: ModuleId,
    pub name: String,
    /// Version number, from 1.
    pub version: u32,
    pub sha256: [u8; 32],
    /// Exports, imports and size, as JSON.
    pub report: Box<RawValue>,
    /// Whether flows run this version.
    pub active: bool,
    /// The requested capabilities that an operator approved.
    pub approved: BTreeSet<String>,
    /// Result of the last run of its sample cases.
    pub cases: Option<CasesReport>,
    /// Its trial on live events, running or ended.
    pub trial: Option<ModuleTrial>,
    pub created_at: Timestamp,
}

impl ModuleVersion {
    /// Returns the manifest. `None` if the component has none.
    pub fn manifest(&self) -> Option<ModuleManifest> {
        read_manifest(&self.report)
    }

    /// Returns its trial if that is running.
    pub fn running_trial(&self) -> Option<&ModuleTrial> {
        self.trial.as_ref().filter(|trial| trial.is_running())
    }

    /// Returns whether the manifest has sample cases.
    pub fn has_cases(&self) -> bool {
        self.manifest().is_some_and(|manifest| !manifest.cases.is_empty())
    }
}

/// Returns the manifest in a report.
pub fn read_manifest(report: &RawValue) -> Option<ModuleManifest> {
    serde_json::from_str::<ReportedManifest>(report.get()).ok()?.manifest
}

/// The part of a report that holds the manifest.
#[derive(Deserialize)]
struct ReportedManifest {
    manifest: Option<ModuleManifest>,
}

#[derive(Debug, Clone, Copy)]
pub struct NewModule<'a> {
    pub name: &'a str,
    /// Version number. `None` means the next free one.
    pub version: Option<u32>,
    /// SHA-256 of the component.
    pub sha256: [u8; 32],
    pub wasm: &'a [u8],
    /// Exports, imports and size, as JSON.
    pub report: &'a str,
    /// Whether this version becomes active.
    pub activate: bool,
    /// The requested capabilities that are approved.
    pub approved: &'a BTreeSet<String>,
    /// Result of its sample cases. `None` if it has no cases.
    pub cases: Option<&'a CasesReport>,
}

impl FromStoredRow for ModuleVersion {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let sha256: Vec<u8> = row.get("sha256")?;
        let sha256 = sha256.try_into().map_err(|_wrong_length: Vec<u8>| {
            corrupt_value("module", "sha256", &"it does not have 32 bytes")
        })?;
        let version: i32 = row.get("version")?;
        let approved: Option<String> = row.get("approved")?;
        let approved = approved.map(|text| serde_json::from_str(&text)).transpose();
        let cases: Option<String> = row.get("cases")?;
        let cases = cases.map(|text| serde_json::from_str(&text)).transpose();
        let trial: Option<String> = row.get("trial")?;
        let trial = trial.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            version: version.unsigned_abs(),
            sha256,
            report: read_raw(row, "module", "report")?,
            active: row.get("active")?,
            approved: approved
                .map_err(|why| corrupt_value("module", "approved", &why))?
                .unwrap_or_default(),
            cases: cases.map_err(|why| corrupt_value("module", "cases", &why))?,
            trial: trial.map_err(|why| corrupt_value("module", "trial", &why))?,
            created_at: row.get("created_at")?,
        })
    }
}

fn pack_json(cases: &CasesReport) -> String {
    serde_json::json!(cases).to_string()
}

/// The highest version number of a module, or `None` if it has no version.
struct LatestVersion(Option<i32>);

impl FromStoredRow for LatestVersion {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        row.get("latest").map(Self)
    }
}

impl EventStore {
    /// Returns every version of every module.
    pub async fn list_modules(&self) -> Result<Vec<ModuleVersion>, StoreError> {
        self.pool().fetch_all(SqlQuery::new(statements::SELECT_MODULES)).await
    }

    /// Returns the component with the given SHA-256.
    pub async fn load_component(&self, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.pool().find_value(SqlQuery::new(statements::SELECT_COMPONENT).bind(&sha256)).await
    }

    /// Stores a component as a version of a module and returns the version number. Chooses the next
    /// number if none is given, and activates the version on request. Returns
    /// [`StoreError::NameTaken`] if the number is already used.
    pub async fn add_module(&self, module: NewModule<'_>) -> Result<u32, StoreError> {
        let NewModule { name, version, sha256, wasm, report, activate, approved, cases } = module;
        let cases = cases.map(pack_json);
        let (now, node) = (self.clock().now(), self.inner.node);
        let (name, wasm, report) = (name.to_owned(), wasm.to_vec(), report.to_owned());
        let approved = approved.clone();
        let added = self.pool().write(move |tx| {
            Box::pin(async move {
                let component =
                    SqlQuery::new(statements::INSERT_COMPONENT).bind(&sha256).bind(wasm.as_slice());
                tx.execute(component).await?;
                let number = match version.and_then(|number| i32::try_from(number).ok()) {
                    Some(number) => number,
                    None => next_number(tx, &name).await?,
                };
                let insert = SqlQuery::new(statements::INSERT_MODULE)
                    .bind(ModuleId::generate())
                    .bind(&name)
                    .bind(number)
                    .bind(&sha256)
                    .bind(&report)
                    .bind(now)
                    .bind(cases.as_deref());
                let inserted = tx.execute(insert).await;
                inserted.map_err(|error| error.or_name_taken(&format!("{name} {number}")))?;
                if !approved.is_empty() {
                    approve_version(tx, &name, number.unsigned_abs(), &approved).await?;
                }
                if activate {
                    activate_version(tx, &name, number.unsigned_abs()).await?;
                }
                grow_version(tx, node).await?;
                Ok(number.unsigned_abs())
            })
        });
        added.await
    }
}

/// A number of a trial.
struct NamedCount {
    name: String,
    value: i64,
}

impl FromStoredRow for NamedCount {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { name: row.get("name")?, value: row.get("value")? })
    }
}

impl EventStore {
    /// Adds what this node has counted to the numbers of a trial.
    pub async fn add_trial_counts(
        &self,
        module: &str,
        run: i64,
        counts: TrialCounts,
    ) -> Result<(), StoreError> {
        let module = module.to_owned();
        let added = self.pool().write(move |tx| {
            Box::pin(async move {
                // Always in the same order, so that two nodes do not wait for each other's rows.
                for (count, more) in counts.iter() {
                    let add = SqlQuery::new(statements::ADD_TRIAL_COUNT)
                        .bind(&module)
                        .bind(run)
                        .bind(count.name())
                        .bind(i64::try_from(more).unwrap_or(i64::MAX));
                    tx.execute(add).await?;
                }
                Ok(())
            })
        });
        added.await
    }

    /// Returns what all nodes have counted of a trial.
    pub async fn read_trial_counts(
        &self,
        module: &str,
        run: i64,
    ) -> Result<TrialCounts, StoreError> {
        let query = SqlQuery::new(statements::SELECT_TRIAL_COUNTS).bind(module).bind(run);
        let found: Vec<NamedCount> = self.pool().fetch_all(query).await?;
        let mut counts = TrialCounts::default();
        for NamedCount { name, value } in found {
            counts.add_named(&name, value.unsigned_abs());
        }
        Ok(counts)
    }
}

impl EventStore {
    /// Stores the result of the sample cases of a version.
    pub async fn note_cases(
        &self,
        name: &str,
        version: u32,
        cases: &CasesReport,
    ) -> Result<(), StoreError> {
        let number = i32::try_from(version).unwrap_or(i32::MAX);
        let cases = pack_json(cases);
        let note = SqlQuery::new(statements::NOTE_CASES).bind(name).bind(number).bind(&cases);
        self.pool().execute(note).await.map(drop)
    }
}

async fn next_number(tx: &mut WriteTransaction<'_>, name: &str) -> Result<i32, StoreError> {
    let query = SqlQuery::new(statements::LATEST_MODULE).bind(name);
    let latest: Option<LatestVersion> = tx.fetch_optional(query).await?;
    Ok(latest.and_then(|LatestVersion(number)| number).unwrap_or(0) + 1)
}

/// Replaces the approved capabilities of a version.
pub async fn approve_version(
    tx: &mut WriteTransaction<'_>,
    name: &str,
    version: u32,
    approved: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let number = i32::try_from(version).unwrap_or(i32::MAX);
    let words = approved.iter().cloned().collect::<serde_json::Value>().to_string();
    let approve = SqlQuery::new(statements::APPROVE_MODULE).bind(name).bind(number).bind(&words);
    match tx.execute(approve).await? {
        1 => Ok(()),
        _ => Err(StoreError::Missing(format!("version {version} of module `{name}`"))),
    }
}

/// Sets the trial of a version, and ends that of every other version of the module.
pub async fn set_trial(
    tx: &mut WriteTransaction<'_>,
    name: &str,
    version: u32,
    trial: &ModuleTrial,
) -> Result<(), StoreError> {
    let number = i32::try_from(version).unwrap_or(i32::MAX);
    let text = serde_json::json!(trial).to_string();
    clear_trials(tx, name, number, trial.run).await?;
    let set = SqlQuery::new(statements::SET_TRIAL).bind(name).bind(number).bind(&text);
    match tx.execute(set).await? {
        1 => Ok(()),
        _ => Err(StoreError::Missing(format!("version {version} of module `{name}`"))),
    }
}

/// Forgets the trials of all versions but one, and the counts of all trials but one.
async fn clear_trials(
    tx: &mut WriteTransaction<'_>,
    name: &str,
    version: i32,
    run: i64,
) -> Result<(), StoreError> {
    tx.execute(SqlQuery::new(statements::CLEAR_TRIALS).bind(name).bind(version)).await?;
    let forget = SqlQuery::new(statements::FORGET_TRIAL_COUNTS).bind(name).bind(run);
    tx.execute(forget).await.map(drop)
}

/// Number of no version and of no trial.
const NONE: i32 = 0;

/// Makes a version the active one. This ends the trial of every version of the module.
pub async fn activate_version(
    tx: &mut WriteTransaction<'_>,
    name: &str,
    version: u32,
) -> Result<(), StoreError> {
    let number = i32::try_from(version).unwrap_or(i32::MAX);
    clear_trials(tx, name, NONE, i64::from(NONE)).await?;
    tx.execute(SqlQuery::new(statements::DEACTIVATE_MODULE).bind(name)).await?;
    let activate = SqlQuery::new(statements::ACTIVATE_MODULE).bind(name).bind(number);
    match tx.execute(activate).await? {
        1 => Ok(()),
        _ => Err(StoreError::Missing(format!("version {version} of module `{name}`"))),
    }
}

/// Announces a change of the settings. Nodes that listen learn of it at once, all others when they
/// next compare the version.
pub async fn grow_version(tx: &mut WriteTransaction<'_>, node: i64) -> Result<(), StoreError> {
    tx.execute(SqlQuery::new(statements::GROW_TOPOLOGY)).await?;
    let told = NodeNotice::pack(&[NodeNotice::SettingsChanged { node }]);
    tx.notify_nodes(NODE_CHANNEL, &told).await
}
