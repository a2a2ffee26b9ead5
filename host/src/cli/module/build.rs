//! `waybill module build`: compiles a project to a component with the compiler of its language.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use serde_json::Value;
use tokio::process::Command;

use super::project::ProjectLanguage;
use super::run::admit_module;
use super::{manifest, toolchain};
use crate::cli::{CliError, CommandScreen};

const TARGET: &str = "wasm32-wasip2";

/// Arguments of `waybill module build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Directory of the project.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Print JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

pub async fn run_build(args: &BuildArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    screen.force_json(args.json);
    let file = component(&args.path).await?;
    let wasm = std::fs::read(&file).map_err(CliError::reading(&file))?;
    let module = admit_module(&file, &wasm).await?;
    let report = module.report();
    if !screen.is_human() {
        let mut value =
            serde_json::to_value(report).map_err(|e| CliError::failed(e.to_string()))?;
        if let Some(members) = value.as_object_mut() {
            members.insert("file".to_owned(), file.display().to_string().into());
        }
        return Ok(screen.print_json(&value)?);
    }
    let roles: Vec<&str> = report.exports.iter().map(|role| role.name()).collect();
    let file = file.display();
    screen.print_line(format!(
        "built {file} ({} KiB): exports {}",
        report.size / 1024,
        roles.join(", ")
    ))?;
    screen.print_line(format!("next: waybill module run {file} --event event.json"))?;
    Ok(())
}

/// Builds the project and returns its component, with the manifest from the project's directory.
pub async fn component(path: &Path) -> Result<PathBuf, CliError> {
    let built = match ProjectLanguage::find(path)? {
        ProjectLanguage::Rust => build_rust(path).await?,
        ProjectLanguage::TypeScript => toolchain::build_typescript(path).await?,
        ProjectLanguage::Python => toolchain::build_python(path).await?,
    };
    manifest::embed_beside(path, &built)?;
    Ok(built)
}

async fn build_rust(path: &Path) -> Result<PathBuf, CliError> {
    ensure_target().await?;
    let output = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(path)
        .stderr(Stdio::inherit())
        .output()
        .await
        .map_err(|error| no_program("cargo", &error))?;
    if !output.status.success() {
        return Err(CliError::with_next(
            "the project does not build",
            "correct the errors that cargo reports above",
        ));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let artefact = messages.lines().rev().find_map(wasm_file);
    artefact.ok_or_else(|| {
        CliError::with_next(
            "cargo made no component",
            "the project's Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`",
        )
    })
}

/// Returns the `.wasm` file that a line of cargo's report names.
fn wasm_file(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let files = message.get("filenames")?.as_array()?;
    let wasm = |file: &&str| Path::new(file).extension().is_some_and(|end| end == "wasm");
    files.iter().filter_map(Value::as_str).find(wasm).map(PathBuf::from)
}

/// Adds the target with rustup if the compiler does not have it.
async fn ensure_target() -> Result<(), CliError> {
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().await;
    let output = output.map_err(|error| no_program("rustc", &error))?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && libdir.is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).status().await;
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => Err(CliError::with_next(
            format!("the Rust target {TARGET} is missing and rustup could not add it"),
            format!("run `rustup target add {TARGET}`"),
        )),
    }
}

fn no_program(name: &str, error: &std::io::Error) -> CliError {
    CliError::with_next(
        format!("cannot run {name}: {error}"),
        "install Rust from https://rustup.rs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_component_in_cargos_report() {
        let line = r#"{"reason":"compiler-artifact","filenames":["/t/libx.rlib","/t/x.wasm"]}"#;
        assert_eq!(wasm_file(line), Some(PathBuf::from("/t/x.wasm")));
        assert_eq!(wasm_file(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(wasm_file("warning: not JSON"), None);
    }
}
