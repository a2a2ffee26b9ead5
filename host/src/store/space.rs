//! The room that a database takes on the disk.

use super::native;
use super::pool::DatabasePool;
use super::{EventStore, StoreError, statements};
use sqlx::SqlitePool;
use std::time::Duration;

/// `PRAGMA auto_vacuum` of a file whose free pages can be given back.
const INCREMENTAL: i64 = 2;
/// How long emptying the log waits for those who read it. Commits wait as long.
const READERS: Duration = Duration::from_millis(50);

impl DatabasePool {
    /// Whether pages can be given back to the file system one by one.
    pub async fn can_shrink(&self) -> Result<bool, sqlx::Error> {
        let Self::Sqlite { read, .. } = self else { return Ok(false) };
        let (mode,): (i64,) =
            sqlx::query_as(statements::AUTO_VACUUM_SQLITE).fetch_one(read).await?;
        Ok(mode == INCREMENTAL)
    }

    /// Bytes that rows and indexes take in an SQLite file, free pages left out; 0 on PostgreSQL,
    /// where nobody can tell cheaply.
    pub async fn bytes_used(&self) -> Result<u64, sqlx::Error> {
        let Self::Sqlite { read, .. } = self else { return Ok(0) };
        let (bytes,): (i64,) =
            sqlx::query_as(statements::BYTES_USED_SQLITE).fetch_one(read).await?;
        Ok(bytes.unsigned_abs())
    }

    /// Copies SQLite's log into the file and empties it; `false` if somebody is reading it. Most of
    /// it is copied beside the commits, which wait for the rest.
    pub async fn empty_log_now(&self) -> Result<bool, StoreError> {
        let Self::Sqlite { write, turn, .. } = self else { return Ok(true) };
        let path = write.connect_options().get_filename().to_owned();
        let copy = |mode: &'static str| {
            let path = path.clone();
            let copied = tokio::task::spawn_blocking(move || -> Result<bool, rusqlite::Error> {
                let db = native::open_connection(&path)?;
                db.busy_timeout(READERS)?;
                db.query_row(mode, [], |row| row.get(0)).map(|busy: i64| busy == 0)
            });
            async move { copied.await.map_err(|_stopped| StoreError::Closed)?.map_err(StoreError::from) }
        };
        copy("PRAGMA wal_checkpoint(PASSIVE)").await?;
        let _turn = turn.lock().await;
        copy("PRAGMA wal_checkpoint(TRUNCATE)").await
    }
}

impl EventStore {
    /// Whether the database can give back disk space that it does not need any more. PostgreSQL
    /// reuses it.
    pub async fn gives_back_space(&self) -> Result<bool, StoreError> {
        match self.pool() {
            DatabasePool::Sqlite { .. } => Ok(self.pool().can_shrink().await?),
            DatabasePool::Postgres { .. } => Ok(true),
        }
    }
}

/// Writes an SQLite file anew, as the kind of file that the connection wants. A failure is logged:
/// the file is as good as before then.
pub async fn rewrite_file(db: &SqlitePool) {
    tracing::info!("writing the database file anew (retention.vacuum_at_start); may take minutes");
    match sqlx::query(statements::VACUUM_SQLITE).execute(db).await {
        Ok(_) => tracing::info!("the database file is written anew"),
        Err(error) => tracing::warn!(
            %error,
            "the database file cannot be written anew; is there twice its size of free space?"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOpening;
    use crate::time::clock::Clock;
    use sqlx::{Connection as _, Executor as _, SqliteConnection};

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
                let mut db = SqliteConnection::connect(&url).await.unwrap();
                db.execute("CREATE TABLE made_by_an_old_version (a TEXT)").await.unwrap();
                db.close().await.unwrap();
            }
            let opening = StoreOpening { rewrites_file };
            let (journal, _outlets) = EventStore::open(&url, Clock::System, opening).await.unwrap();
            assert_eq!(journal.gives_back_space().await.unwrap(), can_shrink, "{name}");
            assert_eq!(journal.give_back_space().await.unwrap(), 0, "{name} has nothing to give");
            assert!(journal.empty_log().await.unwrap(), "{name}");
            journal.pool().close().await;
        }
    }
}
