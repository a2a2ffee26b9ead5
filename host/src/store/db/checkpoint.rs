//! Copying SQLite's log into the database, beside the thread that commits.
//!
//! ```text
//!   writer        commit, commit, … ──► the log is long        commit, commit, … ──► copies the little that came
//!                                        └── asks                                │   meanwhile: the log begins anew
//!   checkpointer                             └──► copies most of it, then the rest, while commits go on
//! ```
//!
//! A log begins anew only where all of it is copied, so the writer has the last word. The long
//! part, thousands of pages to places all over the file and the sync after them, holds up no
//! commit. Rarer copying writes a page that changed often once.
//!
//! Nothing depends on it: what is committed is in the log, and SQLite reads it there.

use super::database_file::DatabaseFile;
use super::sqlite_connection;
use rusqlite::Connection;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// How long the log may grow before it is copied, in pages: 32 MiB.
pub const PAGES: i32 = 8_192;
/// How often the checkpointer copies what came since it began: what is left for the writer is
/// little then.
const PASSES: u32 = 2;

thread_local! {
    /// How long the log was after the last commit of this thread, in pages.
    static LENGTH: Cell<i32> = const { Cell::new(0) };
}

/// Has the log copied when it is long. Belongs to the thread that commits.
#[derive(Debug)]
pub struct WalCheckpointer {
    ask: SyncSender<()>,
    copied: Arc<AtomicBool>,
    is_asked: bool,
    growth: WalGrowth,
}

/// How far the log has grown since the writer last copied, or since it began anew.
#[derive(Debug, Default)]
struct WalGrowth {
    from: i32,
}

impl WalGrowth {
    /// Whether a log of this length, in pages, is to be copied. One that did not begin anew, as
    /// somebody still reads it, is given time.
    fn is_long(&mut self, length: i32) -> bool {
        if length < self.from {
            self.from = 0;
        }
        length - self.from >= PAGES
    }
}

impl WalCheckpointer {
    /// Starts the other thread; it ends with this value.
    pub fn start(file: Arc<DatabaseFile>) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let copied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copied);
        std::thread::Builder::new()
            .name("sqlite-checkpoint".to_owned())
            .spawn(move || run_checkpointer(&file, &asked, &done))?;
        Ok(Self { ask, copied, is_asked: false, growth: WalGrowth::default() })
    }

    /// Has a connection tell how long the log is after each of its commits.
    pub fn watch(db: &Connection) {
        db.wal_hook(Some(|_, pages| {
            LENGTH.set(pages);
            Ok(())
        }));
    }

    /// After a commit.
    pub fn committed(&mut self, db: &Connection) {
        let length = LENGTH.get();
        if self.is_asked {
            if self.copied.swap(false, Ordering::Acquire) {
                (self.is_asked, self.growth.from) = (false, length);
                copy_log(db);
            }
            return;
        }
        self.is_asked = self.growth.is_long(length) && self.ask.try_send(()).is_ok();
    }
}

fn run_checkpointer(file: &DatabaseFile, asked: &Receiver<()>, copied: &AtomicBool) {
    let mut connection = None;
    while asked.recv().is_ok() {
        if connection.is_none() {
            let opened = sqlite_connection::open_writer(file.path());
            connection = opened.inspect_err(complain).ok();
        }
        if let Some(db) = &connection {
            for _ in 0..PASSES {
                copy_log(db);
            }
        }
        copied.store(true, Ordering::Release);
    }
}

/// Copies what nobody reads from the log any more. Waits for nobody.
fn copy_log(db: &Connection) {
    let copied = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = copied {
        complain(&error);
    }
}

fn complain(error: &rusqlite::Error) {
    tracing::warn!(%error, "cannot copy SQLite's log into the database; it grows until that works");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_began_anew_is_copied_when_it_is_as_long_again() {
        let mut growth = WalGrowth { from: PAGES + 8 };
        for length in [100, PAGES / 2, PAGES - 42] {
            assert!(!growth.is_long(length), "{length}");
        }
        assert!(growth.is_long(PAGES + 58), "though that is longer than it was before");
    }

    #[test]
    fn a_log_that_did_not_begin_anew_is_given_time() {
        let mut growth = WalGrowth { from: PAGES + 8 };
        assert!(!growth.is_long(PAGES + 50) && !growth.is_long(2 * PAGES + 7));
        assert!(growth.is_long(2 * PAGES + 8));
    }
}
