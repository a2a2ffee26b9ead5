//! Sources that Waybill runs itself: the process that runs each one, the source's memory, and the
//! report of its last run.
//!
//! One process runs a source at a time and enters itself in the source's row. When a process is
//! lost, its sources are released with its other leases ([`super::node`]). A process that stalled
//! and lost its hold without noticing cannot store or capture anything more, because each of its
//! writes names the process that must hold the source.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::error::database_error::corrupt_value;
use super::query::stored_json::read_json;
use super::{EventStore, StoreError, statements};
use crate::model::id::SourceId;
use crate::model::source_run::RunReport;
use crate::time::timestamp::Timestamp;

/// The state of a source after its last run, or during its present run.
#[derive(Debug, Clone)]
pub struct SourceState {
    pub source: SourceId,
    /// Whether a process is running the source.
    pub running: bool,
    /// Whether that process is this one.
    pub is_ours: bool,
    /// Time at which somebody asked for a run.
    pub requested_at: Option<Timestamp>,
    /// Start time of the last run.
    pub started_at: Option<Timestamp>,
    /// The memory of the source: JSON in a form that depends on its kind.
    pub memory: String,
    /// Report of the last run, or of the present one.
    pub report: RunReport,
}

/// A state, and the process that runs the source.
struct HeldState(SourceState, Option<i64>);

impl FromStoredRow for HeldState {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        let node: Option<i64> = row.get("node")?;
        let state = SourceState {
            source: row.get("source_id")?,
            running: node.is_some(),
            is_ours: false,
            requested_at: row.get("requested_at")?,
            started_at: row.get("started_at")?,
            memory: row.get("memory")?,
            report: read_json(row, "source_state", "report")?,
        };
        Ok(Self(state, node))
    }
}

impl EventStore {
    /// Returns the sources that have run, or that somebody asked to run.
    pub async fn list_source_states(&self) -> Result<Vec<SourceState>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_SOURCE_STATES).promptly();
        let states: Vec<HeldState> = self.pool().fetch_all(query).await?;
        let ours = Some(self.inner.node);
        let state = |HeldState(state, node)| SourceState { is_ours: node == ours, ..state };
        Ok(states.into_iter().map(state).collect())
    }

    /// Takes hold of a source for a run that begins now. Returns `false` if another process holds
    /// it or has run it since `seen`, the last known start.
    pub async fn lease_source(
        &self,
        source: SourceId,
        now: Timestamp,
        seen: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let lease = SqlQuery::new(statements::LEASE_SOURCE)
            .bind(source)
            .bind(self.inner.node)
            .bind(now)
            .bind(seen.map_or(0, Timestamp::micros));
        Ok(self.pool().execute(lease.promptly()).await? == 1)
    }

    /// Requests a run of a source at the next opportunity, regardless of its schedule.
    pub async fn request_source(&self, source: SourceId) -> Result<(), StoreError> {
        let request =
            SqlQuery::new(statements::REQUEST_SOURCE).bind(source).bind(self.clock().now());
        self.pool().execute(request).await.map(drop)
    }

    /// Stores the memory of a running source. Returns `false` if this process no longer holds the
    /// source.
    pub async fn keep_source(
        &self,
        source: SourceId,
        memory: &str,
        report: &RunReport,
    ) -> Result<bool, StoreError> {
        let report = text(report)?;
        let keep = SqlQuery::new(statements::KEEP_SOURCE)
            .bind(source)
            .bind(self.inner.node)
            .bind(&report)
            .bind(memory);
        Ok(self.pool().execute(keep.promptly()).await? == 1)
    }

    /// Moves the stored rows of a source's list to another name. Rows that exist under that name
    /// stay, unless the list has them too.
    pub async fn rename_source_list(
        &self,
        source: SourceId,
        from: &str,
        to: &str,
    ) -> Result<(), StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let renamed = self.pool().write(move |tx| {
            Box::pin(async move {
                for text in [
                    statements::REPLACE_LIST_ROWS,
                    statements::REPLACE_LIST_LETTERS,
                    statements::RENAME_LIST_ROWS,
                    statements::RENAME_LIST_LETTERS,
                ] {
                    tx.execute(SqlQuery::new(text).bind(source).bind(&from).bind(&to)).await?;
                }
                Ok(())
            })
        });
        renamed.await
    }

    /// Releases a source. It keeps the memory that was last stored.
    pub async fn release_source(
        &self,
        source: SourceId,
        report: &RunReport,
    ) -> Result<(), StoreError> {
        let report = text(report)?;
        let release = SqlQuery::new(statements::RELEASE_SOURCE)
            .bind(source)
            .bind(self.inner.node)
            .bind(&report);
        self.pool().execute(release.promptly()).await.map(drop)
    }
}

fn text(report: &RunReport) -> Result<String, StoreError> {
    serde_json::to_string(report).map_err(|error| corrupt_value("source_state", "report", &error))
}
