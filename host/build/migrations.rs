//! The migrations of one database, listed for embedding.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// Returns a Rust expression: number, description and text of each migration, in order. A file is
/// called `0012_what_it_does.sql`.
pub(crate) fn embedded(folder: &Path) -> io::Result<String> {
    let mut files =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    let mut text = String::from("&[\n");
    for file in files {
        let (number, description) = read_name(&file)
            .ok_or_else(|| io::Error::other(format!("{} is not a migration", file.display())))?;
        let path = file.display().to_string();
        // Writing to a String does not fail.
        let _ = writeln!(text, "({number}, {description:?}, include_str!({path:?})),");
    }
    text.push_str("]\n");
    Ok(text)
}

fn read_name(file: &Path) -> Option<(i64, String)> {
    let name = file.file_name()?.to_str()?.strip_suffix(".sql")?;
    let (number, description) = name.split_once('_')?;
    Some((number.parse().ok()?, description.replace('_', " ")))
}
