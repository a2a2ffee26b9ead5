//! An SQLite database: its file, the writing thread and the reading connections.

use super::database_file::DatabaseFile;
use super::pool::StoreOpening;
use super::sqlite_readers::SqliteReaders;
use super::sqlite_writer::SqliteWriter;
use super::{PATIENCE, migrations, sqlite_connection};
use crate::crypto::private_file;
use crate::store::StoreError;
use percent_encoding::percent_decode_str;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Value of `PRAGMA auto_vacuum` for a file whose free pages can be returned.
const INCREMENTAL: i64 = 2;
/// Time that emptying the log waits for readers. Commits wait as long.
const READERS_PATIENCE: Duration = Duration::from_millis(50);

/// An SQLite database. Clones are cheap.
#[derive(Debug, Clone)]
pub struct SqliteDatabase {
    file: Arc<DatabaseFile>,
    pub readers: SqliteReaders,
    /// `None` once the database is closed.
    writer: Arc<Mutex<Option<SqliteWriter>>>,
}

impl SqliteDatabase {
    /// Locks the file, updates its schema and starts the writing thread.
    pub async fn open(url: &str, opening: StoreOpening) -> Result<Self, StoreError> {
        let path = path_of(url)?;
        let opened = tokio::task::spawn_blocking(move || open_file(&path, opening));
        let (file, first) = opened.await.map_err(|_stopped| StoreError::Closed)??;
        let writer = SqliteWriter::start(&file, first)
            .map_err(|source| StoreError::File { path: file.path().to_owned(), source })?;
        let readers = SqliteReaders::new(file.path());
        Ok(Self { file, readers, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Returns the handle of the writing thread.
    pub fn writer(&self) -> Result<SqliteWriter, StoreError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.clone().ok_or(StoreError::Closed)
    }

    /// Returns how many connections for reading are in use.
    pub fn count_reading(&self) -> usize {
        self.readers.count_used()
    }

    /// Fails if writes would be lost after a restart.
    pub fn check_in_place(&self) -> Result<(), StoreError> {
        self.file.check_in_place()
    }

    /// Closes all connections as soon as they are not in use.
    pub fn close(&self) {
        self.readers.close();
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Copies all of the log into the database, so that a copy of that one file is complete.
    pub async fn copy_whole_log(&self) -> Result<(), StoreError> {
        let copy = |db: &mut Connection| checkpoint(db, "TRUNCATE").map(drop);
        self.writer()?.with_connection(copy).await
    }

    /// Copies the log into the database and empties it. Returns `false` if a reader prevents it.
    /// Most of the log is copied in parallel with commits, which wait only for the rest.
    pub async fn empty_log(&self) -> Result<bool, StoreError> {
        let path = self.file.path().to_owned();
        let beside = tokio::task::spawn_blocking(move || {
            checkpoint(&sqlite_connection::open_writer(&path)?, "PASSIVE")
        });
        beside.await.map_err(|_stopped| StoreError::Closed)??;
        let empty = |db: &mut Connection| {
            db.busy_timeout(READERS_PATIENCE)?;
            let emptied = checkpoint(db, "TRUNCATE");
            db.busy_timeout(PATIENCE)?;
            emptied
        };
        self.writer()?.with_connection(empty).await
    }

    /// Returns whether pages can be returned to the file system one by one.
    pub async fn can_shrink(&self) -> Result<bool, StoreError> {
        let mode = |db: &Connection| Ok(read_pragma(db, "auto_vacuum")?);
        Ok(self.readers.read(mode).await? == INCREMENTAL)
    }

    /// Returns the number of bytes that rows and indexes take, without free pages.
    pub async fn bytes_used(&self) -> Result<u64, StoreError> {
        let used = |db: &Connection| {
            let pages = read_pragma(db, "page_count")? - read_pragma(db, "freelist_count")?;
            Ok(pages * read_pragma(db, "page_size")?)
        };
        Ok(self.readers.read(used).await?.unsigned_abs())
    }

    /// Returns up to `most` free pages to the file system, but keeps `spare` of them, or a tenth of
    /// the file. Returns the number of returned pages.
    pub async fn give_back_pages(&self, most: u32, spare: i64) -> Result<u64, StoreError> {
        let give = move |db: &mut Connection| {
            let (pages, free) =
                (read_pragma(db, "page_count")?, read_pragma(db, "freelist_count")?);
            if free <= spare.max(pages / 10) {
                return Ok(0);
            }
            let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({most})"))?;
            // Each fetched row returns one page.
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            drop(rows);
            drop(vacuum);
            Ok((pages - read_pragma(db, "page_count")?).unsigned_abs())
        };
        self.writer()?.with_connection(give).await
    }
}

fn read_pragma(db: &Connection, name: &str) -> Result<i64, rusqlite::Error> {
    db.pragma_query_value(None, name, |row| row.get(0))
}

/// Copies the log into the database. Returns `false` if another connection prevented it.
fn checkpoint(db: &Connection, mode: &str) -> Result<bool, rusqlite::Error> {
    let pragma = format!("PRAGMA wal_checkpoint({mode})");
    db.query_row(&pragma, [], |row| row.get(0)).map(|busy: i64| busy == 0)
}

fn open_file(
    path: &Path,
    opening: StoreOpening,
) -> Result<(Arc<DatabaseFile>, Connection), StoreError> {
    protect_files(path)?;
    // This comes before SQLite opens the file, because a second server must not touch it.
    let file = Arc::new(DatabaseFile::lock(path)?);
    // Only a new or rewritten file gets the setting that allows the return of free pages. Setting
    // it again would be a write, and a database on a full disk must be readable.
    let mut db = if file.is_new() || opening.rewrites_file {
        sqlite_connection::open_shrinking_writer(path)?
    } else {
        sqlite_connection::open_writer(path)?
    };
    if opening.rewrites_file {
        rewrite_file(&db);
    }
    migrations::migrate_sqlite(&mut db)?;
    file.watch_log()?;
    Ok((file, db))
}

/// Rewrites a file with the settings of the connection. A failure is only logged, because the file
/// is then unchanged.
fn rewrite_file(db: &Connection) {
    tracing::info!(
        "rewriting the database file (retention.vacuum_at_start); this may take minutes"
    );
    match db.execute_batch("VACUUM") {
        Ok(()) => tracing::info!("rewrote the database file"),
        Err(error) => tracing::warn!(
            %error,
            "cannot rewrite the database file; it needs free space of twice its size"
        ),
    }
}

/// Returns the file that an address names: `sqlite:FILE` or `sqlite://FILE`, with `%20` for a
/// space. Text after a question mark was an option of earlier versions and is ignored.
pub fn path_of(url: &str) -> Result<PathBuf, StoreError> {
    let unreadable = || StoreError::Address { given: url.to_owned() };
    let rest = url.strip_prefix("sqlite:").ok_or_else(unreadable)?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let name = rest.split_once('?').map_or(rest, |(name, _options)| name);
    let name = percent_decode_str(name).decode_utf8().map_err(|_not_utf8| unreadable())?;
    if name.is_empty() || name == ":memory:" || name.starts_with("file:") {
        return Err(unreadable());
    }
    Ok(PathBuf::from(&*name))
}

/// Makes the database's file and its logs readable for their owner only.
fn protect_files(file: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path, source| StoreError::File { path: path.to_owned(), source };
    private_file::create_file(file).map_err(|error| failed(file, error))?;
    for log in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(log);
        let path = Path::new(&path);
        private_file::protect_file(path).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_file() {
        for (url, path) in [
            ("sqlite:waybill.db", "waybill.db"),
            ("sqlite:///var/lib/waybill.db", "/var/lib/waybill.db"),
            ("sqlite:/a/my%20data.db?mode=rwc", "/a/my data.db"),
        ] {
            assert_eq!(path_of(url).unwrap(), PathBuf::from(path), "{url}");
        }
        for url in ["sqlite:", "sqlite::memory:", "sqlite:file:a", "sqlite:%ff"] {
            assert!(matches!(path_of(url), Err(StoreError::Address { .. })), "{url}");
        }
    }
}
