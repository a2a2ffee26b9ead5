//! Rules that the compiler does not check: permitted names, and that no test is forgotten.

use std::path::{Path, PathBuf};

/// Returns every Rust file below a folder, as relative path and text. Empty if the folder is
/// missing.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_owned(), text));
            }
        }
    }
    found
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the sources of the host without its tests, which may name anything.
pub(crate) fn host() -> Vec<(PathBuf, String)> {
    let mut found = sources(&workspace().join("host/src"));
    found.retain(|(path, _)| !path.with_extension("").iter().any(|part| part == "tests"));
    assert!(found.len() > 1, "the host has sources");
    found
}

/// Returns the top-level module of a file of the host: `delivery` for `delivery/lane.rs`.
pub(crate) fn part(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns the lines of code, numbered from 1, without comments, documentation and the unit tests
/// at the end of a file.
pub(crate) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let numbered = lines.enumerate().map(|(at, line)| (at + 1, line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Returns whether a line names a crate or module as a path (`sqlx::`) or imports it (`use sqlx;`).
fn names(line: &str, name: &str) -> bool {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(name) {
        let starts = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
        if starts && (after.starts_with("::") || before.ends_with("use ")) {
            return true;
        }
        rest = after;
    }
    false
}

/// Returns all places that break a rule, as `file:line: text`.
fn offences(breaks: impl Fn(&Path, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in host() {
        for (number, line) in code(&text).filter(|(_, line)| breaks(&path, line)) {
            found.push(format!("host/src/{}:{number}: {}", path.display(), line.trim()));
        }
    }
    found
}

#[test]
fn only_the_store_names_the_drivers_of_its_databases() {
    let others = [
        "channels/sql_channel/driver_error.rs",
        "channels/sql_channel/mysql_writer.rs",
        "channels/sql_channel/postgres_writer.rs",
        "sources/database/mysql.rs",
        "sources/database/postgres.rs",
    ];
    let others = others.map(Path::new);
    let found = offences(|path, line| {
        let is_known = path.starts_with("store/db") || path.starts_with("store/error");
        let is_driver = names(line, "sqlx") || names(line, "rusqlite");
        // The error contains sqlx's error of a migration.
        !is_known && path != Path::new("store/error.rs") && !others.contains(&path) && is_driver
    });
    assert!(found.is_empty(), "only the store knows its databases:\n{}", found.join("\n"));
}

#[test]
fn only_wasm_names_wasmtime() {
    let found = offences(|path, line| {
        let named = ["wasmtime", "wasmtime_wasi"].iter().any(|name| names(line, name));
        part(path) != "wasm" && named
    });
    assert!(found.is_empty(), "only wasm knows the engine:\n{}", found.join("\n"));
}

#[test]
fn values_nouns_and_signatures_do_no_io() {
    let pure =
        ["json", "model", "signing", "delivery/judge", "ingest/dialect", "ingest/webhook_body"];
    let io = ["tokio", "std::net", "std::fs", "std::io", "sqlx", "hyper"];
    let found = offences(|path, line| {
        let path = path.to_string_lossy();
        let pure = pure.iter().any(|name| {
            let rest = path.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
        });
        pure && io.iter().any(|name| names(line, name))
    });
    assert!(found.is_empty(), "these only compute:\n{}", found.join("\n"));
}

#[test]
fn no_suite_file_is_forgotten() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite");
    let main = std::fs::read_to_string(suite.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(suite).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") else {
            continue;
        };
        assert!(main.contains(&format!("mod {module};")), "suite/{name} is not in suite/main.rs");
    }
}

#[test]
fn a_name_is_found_only_as_a_path() {
    assert!(names("use sqlx::Pool;", "sqlx"));
    assert!(names("    let pool: sqlx::PgPool = pool;", "sqlx"));
    assert!(names("use sqlx;", "sqlx"));
    assert!(!names("use my_sqlx::Pool;", "sqlx"));
    assert!(!names("let text = \"sqlx::Pool\";", "sqlx"));
}

/// Types whose name of one word is the product's or the field's own term.
const TERMS: [&str; 11] = [
    "Attempt",
    "Clock",
    "Config",
    "Endpoint",
    "Event",
    "Flow",
    "Record",
    "Scope",
    "Server",
    "Source",
    "Timestamp",
];

/// Returns the name that a line declares as a type. Associated types, which are indented, have the
/// names that their traits give them.
fn declared_type(line: &str) -> Option<&str> {
    let is_indented = line.starts_with(' ');
    let line = line.trim_start();
    let line = line.strip_prefix("pub").map_or(line, |rest| {
        rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest)
    });
    let line = line.trim_start();
    let keywords = ["struct ", "enum ", "trait "].into_iter();
    let mut keywords = keywords.chain((!is_indented).then_some("type "));
    let name = keywords.find_map(|keyword| line.strip_prefix(keyword))?;
    name.split(|c: char| !c.is_alphanumeric()).next().filter(|name| !name.is_empty())
}

#[test]
fn types_have_names_of_two_words_that_no_other_type_has() {
    let files = host();
    let mut seen = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    for (path, text) in &files {
        for (number, line) in code(text) {
            let Some(name) = declared_type(line) else { continue };
            let place = format!("host/src/{}:{number}", path.display());
            if name.chars().filter(|c| c.is_uppercase()).count() < 2 && !TERMS.contains(&name) {
                wrong.push(format!("{place}: `{name}` says too little without its path"));
            }
            if let Some(other) = seen.insert(name, place.clone()) {
                wrong.push(format!("{place}: `{name}` is also a type at {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "rename these types:\n{}", wrong.join("\n"));
    assert!(TERMS.iter().all(|term| seen.contains_key(term)), "a term is not in use any more");
}
