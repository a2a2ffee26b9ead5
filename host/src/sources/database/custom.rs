//! Reads custom tables (tables that do not belong to a known CRM) from PostgreSQL, MySQL or
//! MariaDB.
//!
//! ```text
//!   first run: store the key of every row of one moment; existing rows lead to no events
//!   each run: read all rows by key, in chunks
//!     stored with other values ──► updated        only the key stored ──► store the content
//!     not stored, or a unique value changed ──► wait for the deletions
//!   then: stored, not read, and not found when looked up again ──► deleted
//!   then: rows that waited ──► read again ──► updated, created
//! ```
//!
//! A copy of the table with the same unique indexes can apply the events in their order, because a
//! deletion comes before the row that takes the place of the deleted one. If the table changes
//! while it is read, the order may still differ.
//!
//! The keys of all tables are stored before the first table is read. If that is interrupted, it
//! begins again.
//!
//! Guaranteed: a change that was committed before a run began, and that is still visible, is
//! captured by that run, or by the next one if the run is interrupted. Whoever applies the events
//! in their order has the rows that were read last. A table that cannot be read is an error of that
//! table. It is never taken for an empty one.

pub mod careful;
pub mod cell;
pub mod held;
pub mod in_mysql;
pub mod in_postgres;
pub mod moves;
pub mod pass;
pub mod server;
pub mod table;

use super::super::RunFailed;
use super::super::rows::{RowHappening, SourceRow};
use super::super::run::SourceRun;
use super::DatabaseMemory;
use crate::crypto::digest::ShortDigest;
use crate::ingest::incoming::IncomingEvent;
use crate::model::database_source::DatabaseSettings;
use crate::model::event::{EventChanges, MAX_KEY};
use crate::model::source::Source;
use crate::model::source_run::RunProgress;
use pass::TablePass;
use server::{CustomConnection, RowSelection};
use table::ReadableTable;

pub use table::list_prefix;

/// Reads every table. A table that fails does not stop the others.
pub async fn run_custom(run: &SourceRun, settings: &DatabaseSettings) -> Result<(), RunFailed> {
    let server = CustomConnection::connect(settings, run.secret()).await?;
    let memory = DatabaseMemory::read(&run.memory);
    let mut all = CustomTablesRun { run, settings, server, memory, failed: Vec::new() };
    all.read().await?;
    if all.failed.is_empty() { Ok(()) } else { Err(RunFailed::new(all.failed.join("; "))) }
}

/// A run over all tables.
#[derive(Debug)]
struct CustomTablesRun<'a> {
    run: &'a SourceRun,
    settings: &'a DatabaseSettings,
    server: CustomConnection,
    memory: DatabaseMemory,
    failed: Vec<String>,
}

impl CustomTablesRun<'_> {
    async fn read(&mut self) -> Result<(), RunFailed> {
        let mut tables = Vec::new();
        for n in 0..self.settings.own_tables.len() {
            let noted = self.look_up_table(n).await;
            tables.extend(self.note_failure(n, noted).await?.map(|table| (n, table)));
        }
        for (n, table) in tables {
            self.report_progress(n);
            let read = self.start_pass(&table).read().await;
            self.note_failure(n, read).await?;
        }
        Ok(())
    }

    /// Describes a table, and stores its keys if this is the table's first run.
    async fn look_up_table(&mut self, n: usize) -> Result<ReadableTable, RunFailed> {
        let own = self.settings.own_tables.get(n).ok_or_else(|| RunFailed::new("there is none"))?;
        let table = self.server.describe_table(own).await?;
        self.start_pass(&table).record_keys().await?;
        Ok(table)
    }

    fn start_pass<'a>(&'a mut self, table: &'a ReadableTable) -> TablePass<'a> {
        let Self { run, settings, server, memory, .. } = self;
        TablePass { run, settings, server, memory, table }
    }

    fn report_progress(&self, n: usize) {
        let tables = &self.settings.own_tables;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let table = tables.get(n).map(|own| own.table.clone()).unwrap_or_default();
        self.run.report_progress(RunProgress { table, done: count(n), of: count(tables.len()) });
    }

    /// Records why a table could not be read, and rolls back the open transaction.
    async fn note_failure<T>(
        &mut self,
        n: usize,
        done: Result<T, RunFailed>,
    ) -> Result<Option<T>, RunFailed> {
        let why = match done {
            Ok(done) => return Ok(Some(done)),
            Err(why) => why,
        };
        let table = self.settings.own_tables.get(n).map(|own| own.table.as_str());
        self.failed.push(format!("{}: {why}", table.unwrap_or_default()));
        if self.server.give_up().await.is_err() {
            self.server = CustomConnection::connect(self.settings, self.run.secret()).await?;
        }
        Ok(None)
    }
}

/// Returns the event that the last row of the first non-empty table would lead to. Stores nothing.
pub async fn sample_event(
    settings: &DatabaseSettings,
    source: &Source,
    secret: Option<&str>,
) -> Result<IncomingEvent, RunFailed> {
    let mut server = CustomConnection::connect(settings, secret).await?;
    let within = |n: usize, why: RunFailed| {
        let name = settings.own_tables.get(n).map(|own| own.table.as_str());
        RunFailed::new(format!("{}: {why}", name.unwrap_or_default()))
    };
    let mut tables = Vec::new();
    for (n, own) in settings.own_tables.iter().enumerate() {
        tables.push(server.describe_table(own).await.map_err(|why| within(n, why))?);
    }
    for (n, table) in tables.into_iter().enumerate() {
        let found = server
            .read_rows(&table, RowSelection::Last, false)
            .await
            .map_err(|why| within(n, why))?;
        let Some(row) = found.rows.first() else { continue };
        let ReadableTable { list, resource, .. } = &table;
        let event_type = &format!("{resource}.created");
        let happening = RowHappening { source, list, resource, event_type, revision: 0 };
        return Ok(incoming(happening, row, None));
    }
    Err(RunFailed::new("the database can be read, but all its tables are empty"))
}

fn incoming(
    happening: RowHappening<'_>,
    row: &SourceRow,
    changes: Option<&EventChanges>,
) -> IncomingEvent {
    IncomingEvent { resource_id: Some(resource_id(&row.id)), ..happening.event(row, changes) }
}

/// Returns the record id for events about a row: the row's id, or a digest of it if no event can
/// carry that id.
fn resource_id(id: &str) -> String {
    let fits = !id.is_empty() && id.len() <= MAX_KEY && !id.chars().any(char::is_control);
    if fits { id.to_owned() } else { ShortDigest::of([id]).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_id_no_event_can_carry_is_told_all_the_same() {
        assert_eq!(resource_id("Ä b"), "Ä b");
        for id in ["", "a\nb", &"x".repeat(256)] {
            assert_eq!(resource_id(id).len(), 32);
        }
    }
}
