//! The room that a database takes on the disk.

use super::{EventStore, StoreError};
use std::time::Duration;
use tokio::time::Instant;

/// Pages that are given back at a time: a megabyte.
const PAGES_AT_A_TIME: u32 = 256;
/// Pages of an SQLite file that are kept free for what comes next: 4 MiB, or a tenth of the file.
/// To give back more would have pages moved about that are needed again within days.
const SPARE_PAGES: i64 = 1_024;
/// The longest rest after some pages were given back.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often it is tried to empty SQLite's log, and the wait between two tries: somebody may be
/// reading it.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(200);

impl EventStore {
    /// Whether the database can give back disk space that it does not need any more. PostgreSQL
    /// reuses it.
    pub async fn gives_back_space(&self) -> Result<bool, StoreError> {
        match self.pool().as_sqlite() {
            Some(database) => database.can_shrink().await,
            None => Ok(true),
        }
    }

    /// Gives pages that nothing stands in back to the file system, a megabyte at a time; how many.
    /// PostgreSQL sees to that itself: its autovacuum makes the room free for what comes next.
    pub async fn give_back_space(&self) -> Result<u64, StoreError> {
        let Some(database) = self.pool().as_sqlite() else { return Ok(0) };
        if !database.can_shrink().await? {
            return Ok(0);
        }
        let mut given = 0;
        loop {
            let began = Instant::now();
            let pages = database.give_back_pages(PAGES_AT_A_TIME, SPARE_PAGES).await?;
            if pages == 0 {
                return Ok(given);
            }
            given += pages;
            tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await;
        }
    }

    /// Bytes that rows and indexes take in an SQLite file, free pages left out; 0 on PostgreSQL,
    /// where nobody can tell cheaply.
    pub async fn bytes_used(&self) -> Result<u64, StoreError> {
        match self.pool().as_sqlite() {
            Some(database) => database.bytes_used().await,
            None => Ok(0),
        }
    }

    /// Copies SQLite's log into the file and empties it, so that nothing of what was erased is left
    /// there; `false` if it is being read all the time, when a later copying overwrites it, and on
    /// PostgreSQL, whose log is not ours.
    pub async fn empty_log(&self) -> Result<bool, StoreError> {
        let Some(database) = self.pool().as_sqlite() else { return Ok(false) };
        for _ in 0..TRIES {
            if database.empty_log().await? {
                return Ok(true);
            }
            tokio::time::sleep(WAIT).await;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOpening;
    use crate::time::clock::Clock;

    #[tokio::test]
    async fn a_new_file_can_shrink_and_an_old_one_is_made_to() {
        let folder = tempfile::TempDir::new().unwrap();
        // A copy each time: a file stays locked for a while after its journal is closed.
        for (name, copied, is_old, rewrites_file, can_shrink) in [
            ("new.db", None, false, false, true),
            ("new-again.db", Some("new.db"), false, true, true),
            ("old.db", None, true, false, false),
            ("old-rewritten.db", Some("old.db"), false, true, true),
            ("old-again.db", Some("old-rewritten.db"), false, false, true),
        ] {
            let path = folder.path().join(name);
            let url = format!("sqlite:{}?mode=rwc", path.display());
            if let Some(copied) = copied {
                std::fs::copy(folder.path().join(copied), &path).unwrap();
            }
            if is_old {
                let db = rusqlite::Connection::open(&path).unwrap();
                db.execute_batch("CREATE TABLE made_by_an_old_version (a TEXT)").unwrap();
            }
            let opening = StoreOpening { rewrites_file, ..StoreOpening::default() };
            let (journal, _outlets) = EventStore::open(&url, Clock::System, opening).await.unwrap();
            assert_eq!(journal.gives_back_space().await.unwrap(), can_shrink, "{name}");
            assert_eq!(journal.give_back_space().await.unwrap(), 0, "{name} has nothing to give");
            assert!(journal.empty_log().await.unwrap(), "{name}");
            journal.pool().close().await;
        }
    }
}
