//! The disk space of a database.

use super::{EventStore, StoreError};
use std::time::Duration;
use tokio::time::Instant;

/// Number of pages that are returned at a time: a megabyte.
const PAGES_AT_A_TIME: u32 = 256;
/// Number of pages of an SQLite file that stay free for new data: 4 MiB, or a tenth of the file.
/// Returning more would move pages that are needed again within days.
const SPARE_PAGES: i64 = 1_024;
/// Longest rest after some pages were returned.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Number of tries to empty SQLite's log, and the wait between two tries. A reader can prevent it.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(200);

impl EventStore {
    /// Returns whether the database can return unused disk space. PostgreSQL reuses it instead.
    pub async fn gives_back_space(&self) -> Result<bool, StoreError> {
        match self.pool().as_sqlite() {
            Some(database) => database.can_shrink().await,
            None => Ok(true),
        }
    }

    /// Returns free pages to the file system, a megabyte at a time. Returns how many. PostgreSQL
    /// does this itself: its autovacuum makes the space free for new data.
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

    /// Returns the bytes that rows and indexes take in an SQLite file, without free pages. Returns
    /// 0 on PostgreSQL, where there is no cheap way to tell.
    pub async fn bytes_used(&self) -> Result<u64, StoreError> {
        match self.pool().as_sqlite() {
            Some(database) => database.bytes_used().await,
            None => Ok(0),
        }
    }

    /// Copies SQLite's log into the file and empties it, so that no erased data remains there.
    /// Returns `false` if readers prevent it, in which case a later checkpoint overwrites the log,
    /// and on PostgreSQL, whose log is not managed here.
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
        // Each case uses a copy, because a file stays locked for a while after its store is closed.
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
            assert_eq!(journal.give_back_space().await.unwrap(), 0, "{name} has nothing to return");
            assert!(journal.empty_log().await.unwrap(), "{name}");
            journal.pool().close().await;
        }
    }
}
