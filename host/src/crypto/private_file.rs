//! Creates and protects files that only their owner may read: the database, its log and the key.

use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Mode bits: the owner may read and write, others may do nothing.
const OWNER_ONLY: u32 = 0o600;

/// Creates an empty file with mode 600, unless the file exists. Nobody can open it before its
/// permissions are set. SQLite gives its log files the permissions of the database.
pub fn create_file(path: &Path) -> io::Result<()> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes all permissions but the owner's from a file, and logs a warning if there were any. A
/// missing file is not an error.
pub fn protect_file(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & !OWNER_ONLY == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(OWNER_ONLY))?;
    let (path, mode) = (path.display(), format!("{mode:o}"));
    tracing::warn!(%path, mode, "others could read this file, which holds secrets; its mode is now 600");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_can_read_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waybill.db");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        protect_file(&path).unwrap();
        create_file(&path).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        create_file(&path).unwrap();
        protect_file(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }
}
