//! The guest SDKs and the interface they are made from, for `waybill module new`: listed for embedding, with a manifest that stands
//! without this workspace.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::{Table, Value};

/// A Rust expression: pairs of path and text. `root` is the workspace.
pub(crate) fn embedded(root: &Path) -> io::Result<String> {
    let mut text = format!(
        "&[\n({:?}, {:?}),\n",
        "guest-sdk/Cargo.toml",
        manifest(&root.join("guest-sdk/Cargo.toml"), &root.join("Cargo.toml"))?
    );
    for folder in ["guest-sdk/src", "guest-sdk-ts", "guest-sdk-python", "wit"] {
        for file in files(&root.join(folder))? {
            let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            // Writing to a String does not fail.
            let _ = writeln!(text, "({name:?}, include_str!({:?})),", file.display().to_string());
        }
    }
    text.push_str("]\n");
    Ok(text)
}

/// Every file below the folder, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.ends_with("__pycache__") {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The crate's manifest with what it takes from the workspace written out.
fn manifest(member: &Path, root: &Path) -> io::Result<String> {
    let mut manifest = read(member)?;
    let workspace = read(root)?;
    let shared =
        |section: &str, key: &str| workspace.get("workspace")?.get(section)?.get(key).cloned();
    manifest.remove("lints");
    for (section, from) in [
        ("package", "package"),
        ("dependencies", "dependencies"),
        ("dev-dependencies", "dependencies"),
    ] {
        let Some(Value::Table(entries)) = manifest.get_mut(section) else { continue };
        for (key, entry) in entries.iter_mut() {
            if entry.get("workspace").is_some() {
                let found = shared(from, key).ok_or_else(|| {
                    io::Error::other(format!("{}: {key} is not in the workspace", member.display()))
                })?;
                *entry = with_features(found, entry.get("features"));
            }
        }
    }
    toml::to_string(&manifest).map_err(io::Error::other)
}

/// A workspace dependency with the member's own features added.
fn with_features(found: Value, own: Option<&Value>) -> Value {
    let Some(Value::Array(own)) = own else { return found };
    let mut table = match found.as_table() {
        Some(table) => table.clone(),
        None => Table::from_iter([("version".to_owned(), found)]),
    };
    let mut features = table.get("features").and_then(Value::as_array).cloned().unwrap_or_default();
    features.extend(own.iter().cloned());
    table.insert("features".to_owned(), Value::Array(features));
    Value::Table(table)
}

fn read(path: &Path) -> io::Result<Table> {
    toml::from_str(&fs::read_to_string(path)?).map_err(io::Error::other)
}
