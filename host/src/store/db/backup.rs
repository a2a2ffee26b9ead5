//! Copies an SQLite database while a server uses it.

use super::{sqlite_connection, sqlite_database};
use crate::store::StoreError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Copies an SQLite database into a new file, readable by its owner only, and returns its size in
/// bytes. The copy has the state that one transaction sees. The server continues to run; its log
/// grows until the copy is done.
pub fn copy_database(url: &str, target: &Path) -> Result<u64, StoreError> {
    let source = sqlite_database::path_of(url)?;
    let failed = |path: &Path, source| StoreError::File { path: path.to_owned(), source };
    source.metadata().map_err(|error| failed(&source, error))?;
    let name = target.to_str().ok_or_else(|| {
        failed(target, io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"))
    })?;
    let mut options = OpenOptions::new();
    // SQLite accepts an empty file as the target of a copy.
    options.write(true).create_new(true).mode(0o600);
    options.open(target).map_err(|error| failed(target, error))?;
    let copied = sqlite_connection::open_reader(&source)
        .and_then(|db| db.execute("VACUUM INTO ?1", [name]))
        .map_err(StoreError::from)
        .and_then(|_rows| sync_file(target).map_err(|error| failed(target, error)));
    if copied.is_err() {
        // A partial copy is not a backup. An error of the removal adds nothing to that of the copy.
        drop(std::fs::remove_file(target));
    }
    copied
}

/// Syncs a file and its directory entry, so that both survive a crash of the machine. Returns its
/// size.
fn sync_file(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    file.sync_all()?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(file.metadata()?.len())
}
