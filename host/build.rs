//! Checks the event catalogue under `host/catalog` and turns it into `catalog.rs` in `OUT_DIR`, a static table that costs
//! nothing at the start; and lists for embedding the guest SDK, in `sdk.rs`, the compiled examples, in `examples.rs`, and the
//! migrations of both databases, in `sqlite_migrations.rs` and `postgres_migrations.rs`.

#![allow(unreachable_pub, reason = "the catalogue's files are compiled here and in the library")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

#[path = "src/catalog/compile.rs"]
mod compile;
#[path = "build/examples.rs"]
mod examples;
#[path = "build/migrations.rs"]
mod migrations;
#[path = "src/catalog/schema.rs"]
mod schema;
#[path = "build/sdk.rs"]
mod sdk;
#[path = "src/catalog/source.rs"]
mod source;
#[path = "src/catalog/value.rs"]
mod value;
#[path = "src/catalog/vary.rs"]
mod vary;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done where even this write fails.
            drop(writeln!(io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let root = variable("CARGO_MANIFEST_DIR")?;
    writeln!(io::stdout(), "cargo::rerun-if-changed=catalog\ncargo::rerun-if-changed=build.rs")?;
    for module in ["compile", "schema", "source", "value", "vary"] {
        writeln!(io::stdout(), "cargo::rerun-if-changed=src/catalog/{module}.rs")?;
    }
    for path in [
        "build",
        "migrations",
        "../guest-sdk/Cargo.toml",
        "../guest-sdk/src",
        "../guest-sdk-ts",
        "../guest-sdk-python",
        "../wit",
        "../Cargo.toml",
    ] {
        writeln!(io::stdout(), "cargo::rerun-if-changed={path}")?;
    }
    let out = variable("OUT_DIR")?;
    let workspace = root.parent().unwrap_or(&root);
    fs::write(out.join("sdk.rs"), sdk::embedded(workspace)?)?;
    writeln!(io::stdout(), "cargo::rerun-if-env-changed={}", examples::VARIABLE)?;
    let named = env::var_os(examples::VARIABLE).map(PathBuf::from);
    fs::write(out.join("examples.rs"), examples::embedded(named, &out)?)?;
    for database in ["sqlite", "postgres"] {
        let listed = migrations::embedded(&root.join("migrations").join(database))?;
        fs::write(out.join(format!("{database}_migrations.rs")), listed)?;
    }
    let files = files(&root.join("catalog"))?;
    let compiled = compile::compile_catalog(&files).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        io::Error::other(format!("the event catalogue is wrong:\n{}", lines.join("\n")))
    })?;
    fs::write(out.join("catalog.rs"), table(&compiled))
}

fn variable(name: &str) -> io::Result<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("{name} is not set; build with cargo")))
}

/// Name and text of every catalogue file, sorted by name.
fn files(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// The events as a Rust expression.
fn table(compiled: &[compile::CompiledEventType]) -> String {
    let mut text = String::from("&[\n");
    for event in compiled {
        let vary: Vec<String> = event
            .vary
            .iter()
            .map(|(path, how)| format!("({path:?}, SampleVariation::{how})"))
            .collect();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "EventType {{ name: {:?}, resource: {:?}, description: {:?}, key: {:?}, aliases: &{:?}, \
             schema: {:?}, example: {:?}, vary: &[{}] }},",
            event.name,
            event.resource,
            event.description,
            event.key,
            event.aliases,
            event.schema.to_string(),
            event.example.to_string(),
            vary.join(", "),
        );
    }
    text.push_str("]\n");
    text
}
