//! Tables that are none of a CRM's, in PostgreSQL, MySQL or MariaDB.
//!
//! ```text
//!   the first run: every key, of one moment ──► kept without content: what was there is no news
//!   each run: all rows by key, a chunk after another
//!     kept, other values ──► updated     only the key kept ──► kept     not kept, or a unique value changed ──► held
//!     ──► capture, and keep the rows
//!   then: kept, and not seen, and not there if asked for once more ──► deleted ──► forgotten
//!   then: held ──► read again ──► updated, created
//! ```
//!
//! The order is one that a copy with the same unique indexes can follow: what is gone makes room
//! before another row takes its place. A table that changes while it is read may still be told in
//! another order.
//!
//! All tables are noted before the first is read. Noting that is interrupted begins anew: the
//! source begins when it is done.
//!
//! Guaranteed: what was committed before a run began, and is still there or left a trace, is
//! captured by that run or, where it is cut off, by the next: whoever applies the events in their
//! order has the rows that were read last. A table that cannot be read is an error of that table,
//! and never taken for an emptied one.

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

/// How the name of the list begins under which the rows of a table are kept.
pub use table::list_prefix;

/// Reads every table. One that fails does not keep the others from being read.
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

    /// Looks a table up, and notes what is there where the source has not begun with it.
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

    /// Notes why a table could not be read, and gives up what is still under way.
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

/// An event that the last row of the first table that has any would make.
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
    Err(RunFailed::new("the database answers well, and its tables are empty"))
}

fn incoming(
    happening: RowHappening<'_>,
    row: &SourceRow,
    changes: Option<&EventChanges>,
) -> IncomingEvent {
    IncomingEvent { resource_id: Some(resource_id(&row.id)), ..happening.event(row, changes) }
}

/// What an event says of which row it is about: the row's id, or where no event can say that, a
/// digest of it.
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
