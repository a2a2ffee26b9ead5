//! The file of an SQLite database. Only one server uses it, and it must remain the file that was
//! opened.
//!
//! The lock is `flock(2)` on the database file itself. It ends with the process in every case, and
//! it does not conflict with SQLite's own locks, which are of another kind (`fcntl(2)`). The file
//! is held open until the last connection is closed, because closing any descriptor of a file
//! releases all `fcntl` locks that the process has on it.
//!
//! A file that was removed or replaced under a running server still accepts writes, but they are
//! lost after a restart. So each commit compares the file at the path with the file that was
//! opened.

use super::sqlite_connection;
use crate::store::StoreError;
use crate::store::error::database_error::DatabaseError;
use rusqlite::Connection;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Device and inode, which identify a file.
type FileIdentity = (u64, u64);

#[derive(Debug)]
pub struct DatabaseFile {
    path: PathBuf,
    log_path: PathBuf,
    identity: FileIdentity,
    is_new: bool,
    /// Closed before the file, because closing a descriptor releases `fcntl` locks; see above.
    log: Mutex<Option<OpenLog>>,
    _lock: File,
}

/// The write-ahead log that was opened. SQLite does not remove it while a connection is open.
#[derive(Debug)]
struct OpenLog {
    identity: FileIdentity,
    _connection: Connection,
}

impl DatabaseFile {
    /// Opens a database file, or creates an empty one, and locks it. Fails if another process holds
    /// the lock.
    pub fn lock(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let metadata = file.metadata().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            log_path: with_suffix(path, "-wal"),
            identity: (metadata.dev(), metadata.ino()),
            is_new: metadata.len() == 0,
            log: Mutex::new(None),
            _lock: file,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file does not contain a database yet.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Remembers the log to which the database writes, and keeps it open. Called once, when the
    /// database is in WAL mode.
    pub fn watch_log(&self) -> Result<(), StoreError> {
        let connection = sqlite_connection::open_writer(&self.path)?;
        // SQLite opens the log with the first read.
        connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let failed = |source| StoreError::File { path: self.log_path.clone(), source };
        let identity = identity_of(&self.log_path).map_err(failed)?;
        if let Ok(mut log) = self.log.lock() {
            *log = Some(OpenLog { identity, _connection: connection });
        }
        Ok(())
    }

    /// Fails if the file or log at the path is not the one that was opened. Writes would then be
    /// lost after a restart.
    pub fn check_in_place(&self) -> Result<(), StoreError> {
        let log = self.log.lock().ok().and_then(|log| log.as_ref().map(|log| log.identity));
        let is_in_place = identity_of(&self.path).is_ok_and(|found| found == self.identity)
            && log.is_none_or(|log| identity_of(&self.log_path).is_ok_and(|found| found == log));
        if is_in_place { Ok(()) } else { Err(DatabaseError::FileReplaced.into()) }
    }
}

fn identity_of(path: &Path) -> io::Result<FileIdentity> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_on_one_file_is_refused_by_any_name_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("w.db"), folder.path().join("link.db"));
        let first = DatabaseFile::lock(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for name in [&path, &link] {
            assert!(matches!(DatabaseFile::lock(name), Err(StoreError::InUse { .. })), "{name:?}");
        }
        drop(first);
        assert!(DatabaseFile::lock(&link).is_ok());
    }

    #[test]
    fn a_file_that_was_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        let file = DatabaseFile::lock(&path).unwrap();
        assert!(file.check_in_place().is_ok());
        std::fs::rename(&path, folder.path().join("aside.db")).unwrap();
        assert!(file.check_in_place().is_err(), "removed");
        std::fs::write(&path, b"").unwrap();
        assert!(file.check_in_place().is_err(), "replaced");
        std::fs::rename(folder.path().join("aside.db"), &path).unwrap();
        assert!(file.check_in_place().is_ok(), "the file is back in place");
    }
}
