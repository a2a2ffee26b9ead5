//! Copies SQLite's log into the database, next to the thread that commits.
//!
//! ```text
//!   writer        commit, commit, … ─► the log is long      commit, … ─► copies what is left
//!                                      └── asks                     │   the log restarts
//!   checkpointer                           └─► copies most of it while commits go on
//! ```
//!
//! A log restarts only when all of it is copied, so the writer makes the last copy. The long part,
//! writing thousands of pages all over the file and then syncing, does not delay any commit.
//! Copying rarely means that a page that changed often is written once.
//!
//! Correctness does not depend on the copy: committed data is in the log, where SQLite reads it.

use super::database_file::DatabaseFile;
use super::sqlite_connection;
use rusqlite::Connection;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Length at which the log is copied, in pages: 32 MiB.
pub const PAGES: i32 = 8_192;
/// Number of copies that the checkpointer makes, so that little is left for the writer.
const PASSES: u32 = 2;

thread_local! {
    /// Length of the log after the last commit of this thread, in pages.
    static LENGTH: Cell<i32> = const { Cell::new(0) };
}

/// Copies the log when it is long. Belongs to the thread that commits.
#[derive(Debug)]
pub struct WalCheckpointer {
    ask: SyncSender<()>,
    copied: Arc<AtomicBool>,
    is_asked: bool,
    growth: WalGrowth,
}

/// Length from which the growth of the log counts: after the writer's last copy, or since the log
/// restarted.
#[derive(Debug, Default)]
struct WalGrowth {
    from: i32,
}

impl WalGrowth {
    /// Returns whether a log of this length, in pages, must be copied. A log that could not restart
    /// because a reader still uses it is given time.
    fn is_long(&mut self, length: i32) -> bool {
        if length < self.from {
            self.from = 0;
        }
        length - self.from >= PAGES
    }
}

impl WalCheckpointer {
    /// Starts the checkpointer's thread. The thread ends when this value is dropped.
    pub fn start(file: Arc<DatabaseFile>) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let copied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copied);
        std::thread::Builder::new()
            .name("sqlite-checkpoint".to_owned())
            .spawn(move || run_checkpointer(&file, &asked, &done))?;
        Ok(Self { ask, copied, is_asked: false, growth: WalGrowth::default() })
    }

    /// Registers a hook that notes the length of the log after each commit of the connection.
    pub fn watch(db: &Connection) {
        db.wal_hook(Some(|_, pages| {
            LENGTH.set(pages);
            Ok(())
        }));
    }

    /// Starts or finishes a copy. Called after each commit.
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

/// Copies the part of the log that no reader uses. Does not wait for readers.
fn copy_log(db: &Connection) {
    let copied = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = copied {
        complain(&error);
    }
}

fn complain(error: &rusqlite::Error) {
    tracing::warn!(%error, "cannot copy SQLite's log into the database; the log grows until this succeeds");
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
        assert!(growth.is_long(PAGES + 58), "although the log is longer than before");
    }

    #[test]
    fn a_log_that_did_not_begin_anew_is_given_time() {
        let mut growth = WalGrowth { from: PAGES + 8 };
        assert!(!growth.is_long(PAGES + 50) && !growth.is_long(2 * PAGES + 7));
        assert!(growth.is_long(2 * PAGES + 8));
    }
}
