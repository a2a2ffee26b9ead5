//! Sources that Waybill runs itself: who runs one at present, what it remembers, how its last run
//! went.
//!
//! One process runs a source at a time. It says so in the source's row, and what a process says
//! that is lost is taken back with its other leases ([`super::node`]). One that stalled, and lost
//! its hold without knowing, can keep nothing more and captures nothing more: each of its writes
//! says who must hold the source.

use super::pool::{reading, writing};
use super::{EventStore, StoreError, row, statements};
use crate::model::id::SourceId;
use crate::model::source_run::RunReport;
use crate::time::timestamp::Timestamp;
use sqlx::types::Uuid;

/// A source as its last run left it, or its present one found it.
#[derive(Debug, Clone)]
pub struct SourceState {
    pub source: SourceId,
    /// Whether a process is running it.
    pub running: bool,
    /// Whether that is this process.
    pub is_ours: bool,
    /// When somebody asked for a run.
    pub requested_at: Option<Timestamp>,
    /// When the last run began.
    pub started_at: Option<Timestamp>,
    /// What it remembers, as JSON that its kind understands.
    pub memory: String,
    /// How its last run went, or its present one goes.
    pub report: RunReport,
}

type StateRow = (Uuid, Option<i64>, Option<i64>, Option<i64>, String, String);

impl EventStore {
    /// The sources that have been run, or were asked to.
    pub async fn source_states(&self) -> Result<Vec<SourceState>, StoreError> {
        let rows: Vec<StateRow> = reading!(self.pool(), |db| {
            sqlx::query_as(statements::SELECT_SOURCE_STATES).fetch_all(db).await?
        });
        let state = |(source, node, requested, started, memory, report): StateRow| {
            Ok(SourceState {
                source: SourceId::from_uuid(source),
                running: node.is_some(),
                is_ours: node == Some(self.inner.node),
                requested_at: requested.map(Timestamp::from_micros),
                started_at: started.map(Timestamp::from_micros),
                memory,
                report: row::json(&report, "source_state", "report")?,
            })
        };
        rows.into_iter().map(state).collect()
    }

    /// Takes hold of a source for a run that begins now; `false` if another process has it, or has
    /// run it since `seen`, when it was last known to be started.
    pub async fn lease_source(
        &self,
        source: SourceId,
        now: Timestamp,
        seen: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool().begin().await?;
        let rows = writing!(&mut tx, |db| sqlx::query(statements::LEASE_SOURCE)
            .bind(source.uuid())
            .bind(self.inner.node)
            .bind(now.micros())
            .bind(seen.map_or(0, Timestamp::micros))
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Has a source run at the next opportunity, whatever its timing says.
    pub async fn request_source(&self, source: SourceId) -> Result<(), StoreError> {
        let now = self.clock().now().micros();
        let mut tx = self.pool().begin().await?;
        writing!(&mut tx, |db| sqlx::query(statements::REQUEST_SOURCE)
            .bind(source.uuid())
            .bind(now)
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }

    /// Keeps what a running source remembers; `false` if this process has lost its hold of it.
    pub async fn keep_source(
        &self,
        source: SourceId,
        memory: &str,
        report: &RunReport,
    ) -> Result<bool, StoreError> {
        let report = text(report)?;
        let mut tx = self.pool().begin().await?;
        let rows = writing!(&mut tx, |db| sqlx::query(statements::KEEP_SOURCE)
            .bind(source.uuid())
            .bind(self.inner.node)
            .bind(report.as_str())
            .bind(memory)
            .execute(db)
            .await?
            .rows_affected());
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Keeps what is known of a list of a source under another name.
    pub async fn rename_source_list(
        &self,
        source: SourceId,
        from: &str,
        to: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool().begin().await?;
        for statement in [statements::RENAME_LIST_ROWS, statements::RENAME_LIST_LETTERS] {
            writing!(&mut tx, |db| sqlx::query(statement)
                .bind(source.uuid())
                .bind(from)
                .bind(to)
                .execute(db)
                .await?
                .rows_affected());
        }
        Ok(tx.commit().await?)
    }

    /// Lets go of a source. It remembers what was last kept.
    pub async fn release_source(
        &self,
        source: SourceId,
        report: &RunReport,
    ) -> Result<(), StoreError> {
        let report = text(report)?;
        let mut tx = self.pool().begin().await?;
        writing!(&mut tx, |db| sqlx::query(statements::RELEASE_SOURCE)
            .bind(source.uuid())
            .bind(self.inner.node)
            .bind(report.as_str())
            .execute(db)
            .await?
            .rows_affected());
        Ok(tx.commit().await?)
    }
}

fn text(report: &RunReport) -> Result<String, StoreError> {
    serde_json::to_string(report)
        .map_err(|error| row::corrupt_value("source_state", "report", &error))
}
