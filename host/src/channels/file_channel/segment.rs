//! A file that grows line by line, and gets its final name when it is finished.
//!
//! While the file grows, its name ends with `.part`. Finishing it renames it, so programs that read
//! the folder see only complete files. A file that a killed process left is cut after its last
//! complete line and finished.

use crate::channels::line_form::LineForm;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The extension of an unfinished file.
const PART: &str = "part";
/// The mode of the files: the owner may read and write, the group may read.
const MODE: u32 = 0o640;
/// Most names that are tried for one file.
const NAMES: u32 = 1_000;

/// A file that is still growing.
#[derive(Debug)]
pub struct FileSegment {
    file: File,
    /// The path of the unfinished file.
    part: PathBuf,
    /// The final path of the file.
    finished: PathBuf,
    /// The number of bytes that are durable.
    length: u64,
}

impl FileSegment {
    /// Creates a file in a folder, `NAME-ID.EXTENSION`, with the header of its form.
    pub fn create(folder: &Path, name: &str, id: &str, form: &LineForm) -> io::Result<Self> {
        for n in 1..=NAMES {
            let number = if n == 1 { String::new() } else { format!("-{n}") };
            let finished = folder.join(format!("{name}-{id}{number}.{}", form.extension()));
            let part = part_of(&finished);
            if finished.try_exists()? {
                continue;
            }
            let Some(file) = create_part(&part)? else { continue };
            let mut segment = Self { file, part, finished, length: 0 };
            segment.append(&form.header())?;
            sync_folder(folder)?;
            return Ok(segment);
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "too many files begin with the same delivery",
        ))
    }

    /// Appends lines and synchronises them. After an error the file has its previous length.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if let Err(why) = written {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(why);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Returns the length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Gives the file its final name.
    pub fn finish(self) -> io::Result<()> {
        finish_file(&self.part, &self.finished)
    }
}

fn part_of(finished: &Path) -> PathBuf {
    let mut name = finished.as_os_str().to_owned();
    name.push(".");
    name.push(PART);
    PathBuf::from(name)
}

/// Creates and locks an unfinished file. Returns `None` if the name is taken, or if another process
/// took the file for one that was left.
fn create_part(part: &Path) -> io::Result<Option<File>> {
    let created = OpenOptions::new().write(true).create_new(true).mode(MODE).open(part);
    let file = match created {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        created => created?,
    };
    Ok(hold_file(&file, part)?.then_some(file))
}

/// Locks an unfinished file until it is closed, so no other process finishes it as left behind.
/// Returns whether the file is locked and its name still leads to it.
fn hold_file(file: &File, part: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(why)) => return Err(why),
        Ok(()) => {}
    }
    // Another process may have removed or finished the file before it was locked. Lines that are
    // written to a removed file are lost.
    match fs::symlink_metadata(part) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        named => Ok(is_same_file(&named?, &file.metadata()?)),
    }
}

/// Renames a file. Fails if another file has the name.
fn finish_file(part: &Path, finished: &Path) -> io::Result<()> {
    // A rename would replace an existing file of that name. A hard link fails instead.
    match fs::hard_link(part, finished) {
        // A process that was killed after the link and before the removal left both names.
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
            if !is_same_file(&fs::symlink_metadata(part)?, &fs::symlink_metadata(finished)?) {
                return Err(why);
            }
        }
        linked => linked?,
    }
    fs::remove_file(part)?;
    finished.parent().map_or(Ok(()), sync_folder)
}

/// Whether two names lead to one file.
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Synchronises a folder, so that the names in it are durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Finishes the files with a name that a killed process left. A running process holds a lock on its
/// own. A file that cannot be finished is logged and left, so it does not stop the endpoint.
pub fn finish_left_files(folder: &Path, name: &str, form: &LineForm) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let part = entry?.path();
        let is_part = part.extension() == Some(OsStr::new(PART));
        let finished = part.with_extension("");
        let file_name = finished.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let is_ours = file_name.starts_with(&format!("{name}-dlv_"))
            && finished.extension() == Some(OsStr::new(form.extension()));
        if is_part
            && is_ours
            && let Err(why) = finish_left_file(&part, &finished, form)
            // Another process may finish the file in the meantime.
            && why.kind() != io::ErrorKind::NotFound
        {
            let part = part.display();
            tracing::error!(%part, %why, "cannot finish a file left by an earlier run");
        }
    }
    Ok(())
}

fn finish_left_file(part: &Path, finished: &Path, form: &LineForm) -> io::Result<()> {
    if !fs::symlink_metadata(part)?.is_file() {
        return Ok(());
    }
    let mut file = OpenOptions::new().read(true).write(true).open(part)?;
    if !hold_file(&file, part)? {
        return Ok(());
    }
    let whole = whole_length(&mut file, form)?;
    if whole <= form.header().len() as u64 {
        return fs::remove_file(part);
    }
    file.set_len(whole)?;
    file.sync_all()?;
    finish_file(part, finished)
}

/// Returns the length up to the end of the last complete line, in bytes. A quoted CSV field may
/// hold line breaks.
fn whole_length(file: &mut File, form: &LineForm) -> io::Result<u64> {
    let has_quotes = matches!(form, LineForm::Csv { .. });
    let (mut whole, mut at, mut is_quoted) = (0, 0_u64, false);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(whole);
        }
        for byte in chunk.iter().take(read) {
            at += 1;
            match byte {
                b'"' if has_quotes => is_quoted = !is_quoted,
                b'\n' if !is_quoted => whole = at,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::event_value::EventPlace;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_finished_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut segment =
                FileSegment::create(folder.path(), "crm", "dlv_1", &LineForm::Ndjson).unwrap();
            segment.append(b"{}\n").unwrap();
            assert_eq!(segment.length(), 3);
            assert!(
                names(folder.path())
                    .iter()
                    .any(|name| Path::new(name).extension().is_some_and(|end| end == "part"))
            );
            segment.finish().unwrap();
        }
        assert_eq!(names(folder.path()), ["crm-dlv_1-2.ndjson", "crm-dlv_1.ndjson"]);
    }

    #[test]
    fn a_file_is_held_only_if_nobody_else_has_it_and_its_name_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("crm-dlv_1.ndjson.part");
        let held = create_part(&part).unwrap().unwrap();
        assert!(create_part(&part).unwrap().is_none(), "the name is taken");
        assert!(!hold_file(&File::open(&part).unwrap(), &part).unwrap(), "it is locked");
        drop(held);
        let removed = File::open(&part).unwrap();
        fs::remove_file(&part).unwrap();
        assert!(!hold_file(&removed, &part).unwrap(), "it was removed before it was locked");
        let _newer = create_part(&part).unwrap().unwrap();
        assert!(!hold_file(&removed, &part).unwrap(), "its name leads to another file");
    }

    /// Without the second check of the name, about thirty files lost theirs here.
    #[test]
    fn no_file_that_is_being_created_is_removed_as_left_behind() {
        const FILES: usize = 5_000;
        let folder = tempfile::tempdir().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    finish_left_files(folder.path(), "crm", &LineForm::Ndjson).unwrap();
                }
            });
            let lost = (0..FILES).filter(|n| {
                let part = folder.path().join(format!("crm-dlv_{n}.ndjson.part"));
                let file = create_part(&part).unwrap();
                file.is_some_and(|_held| fs::remove_file(&part).is_err())
            });
            let lost = lost.count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(lost, 0);
        });
    }

    #[test]
    fn a_file_that_was_left_with_both_names_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("crm-dlv_1.ndjson.part"), "{}\n").unwrap();
        fs::hard_link(at("crm-dlv_1.ndjson.part"), at("crm-dlv_1.ndjson")).unwrap();
        finish_left_files(folder.path(), "crm", &LineForm::Ndjson).unwrap();
        assert_eq!(names(folder.path()), ["crm-dlv_1.ndjson"]);
    }

    #[test]
    fn a_left_file_that_cannot_be_finished_does_not_hold_back_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("crm-dlv_2.ndjson"), "{\"other\":1}\n").unwrap();
        for name in ["crm-dlv_1.ndjson.part", "crm-dlv_2.ndjson.part", "crm-dlv_3.ndjson.part"] {
            fs::write(at(name), "{}\n").unwrap();
        }
        finish_left_files(folder.path(), "crm", &LineForm::Ndjson).unwrap();
        assert_eq!(
            names(folder.path()),
            ["crm-dlv_1.ndjson", "crm-dlv_2.ndjson", "crm-dlv_2.ndjson.part", "crm-dlv_3.ndjson"]
        );
        assert_eq!(fs::read_to_string(at("crm-dlv_2.ndjson")).unwrap(), "{\"other\":1}\n");
    }

    #[test]
    fn a_file_that_was_left_is_cut_after_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let csv = LineForm::Csv {
            columns: vec![("note".to_owned(), EventPlace::EventType)],
            keep_formulas: false,
        };
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("crm-dlv_1.ndjson.part", "{\"a\":1}\n{\"b\":");
        write("crm-dlv_2.ndjson.part", "");
        write("crm-dlv_3.csv.part", "delivery_id,note\r\n1,\"a\nb\"\r\n2,\"c\nd");
        write("crm-dlv_4.csv.part", "delivery_id,note\r\n2,\"c\nd");
        write("other-dlv_5.ndjson.part", "{}\n");
        let running =
            FileSegment::create(folder.path(), "crm", "dlv_6", &LineForm::Ndjson).unwrap();
        for form in [LineForm::Ndjson, csv] {
            finish_left_files(folder.path(), "crm", &form).unwrap();
        }
        drop(running);
        assert_eq!(
            names(folder.path()),
            [
                "crm-dlv_1.ndjson",
                "crm-dlv_3.csv",
                "crm-dlv_6.ndjson.part",
                "other-dlv_5.ndjson.part"
            ]
        );
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("crm-dlv_1.ndjson"), "{\"a\":1}\n");
        assert_eq!(read("crm-dlv_3.csv"), "delivery_id,note\r\n1,\"a\nb\"\r\n");
    }
}
