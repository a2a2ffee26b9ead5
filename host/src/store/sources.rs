//! Sources that Waybill runs itself: who runs one at present, what it remembers, how its last run
//! went.
//!
//! One process runs a source at a time. It says so in the source's row, and what a process says
//! that is lost is taken back with its other leases ([`super::node`]). One that stalled, and lost
//! its hold without knowing, can keep nothing more and captures nothing more: each of its writes
//! says who must hold the source.

use super::db::{FromStoredRow, SqlQuery, StoredRow};
use super::error::database_error::corrupt_value;
use super::query::stored_json::read_json;
use super::{EventStore, StoreError, statements};
use crate::model::id::SourceId;
use crate::model::source_run::RunReport;
use crate::time::timestamp::Timestamp;

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
    /// The sources that have been run, or were asked to.
    pub async fn list_source_states(&self) -> Result<Vec<SourceState>, StoreError> {
        let query = SqlQuery::new(statements::SELECT_SOURCE_STATES);
        let states: Vec<HeldState> = self.pool().fetch_all(query).await?;
        let ours = Some(self.inner.node);
        let state = |HeldState(state, node)| SourceState { is_ours: node == ours, ..state };
        Ok(states.into_iter().map(state).collect())
    }

    /// Takes hold of a source for a run that begins now; `false` if another process has it, or has
    /// run it since `seen`, when it was last known to be started.
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
        Ok(self.pool().execute(lease).await? == 1)
    }

    /// Has a source run at the next opportunity, whatever its timing says.
    pub async fn request_source(&self, source: SourceId) -> Result<(), StoreError> {
        let request =
            SqlQuery::new(statements::REQUEST_SOURCE).bind(source).bind(self.clock().now());
        self.pool().execute(request).await.map(drop)
    }

    /// Keeps what a running source remembers; `false` if this process has lost its hold of it.
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
        Ok(self.pool().execute(keep).await? == 1)
    }

    /// Keeps what is known of a list of a source under another name. What is there under that name
    /// stays, but for the rows that the list has too.
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

    /// Lets go of a source. It remembers what was last kept.
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
        self.pool().execute(release).await.map(drop)
    }
}

fn text(report: &RunReport) -> Result<String, StoreError> {
    serde_json::to_string(report).map_err(|error| corrupt_value("source_state", "report", &error))
}
