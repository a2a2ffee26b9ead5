//! The compilers of TypeScript and Python: found in the project, installed there from its pins, and
//! run with the SDK's programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::project::ProjectLanguage;
use crate::cli::CliError;

/// Compiles a project in TypeScript. Returns the component.
pub async fn build_typescript(project: &Path) -> Result<PathBuf, CliError> {
    let sdk = ProjectLanguage::TypeScript.find_sdk(project)?;
    install_node_packages(project).await?;
    run_tool("node", &[sdk.join("build.mjs").as_os_str()], project, "the project does not build")
        .await?;
    let package = project.join("package.json");
    let text = std::fs::read_to_string(&package).map_err(CliError::reading(&package))?;
    let described: Option<Value> = serde_json::from_str(&text).ok();
    let name = described.as_ref().and_then(|one| one.get("name")).and_then(Value::as_str);
    let name = name.ok_or_else(|| {
        CliError::with_next(format!("{} has no `name`", package.display()), "add one")
    })?;
    Ok(project.join("dist").join(format!("{name}.wasm")))
}

/// Runs the tests of a project in TypeScript.
pub async fn test_typescript(project: &Path) -> Result<(), CliError> {
    let sdk = ProjectLanguage::TypeScript.find_sdk(project)?;
    install_node_packages(project).await?;
    run_tool("node", &[sdk.join("test.mjs").as_os_str()], project, "a test fails").await
}

/// Installs the packages of the project's lock file, unless that was done.
async fn install_node_packages(project: &Path) -> Result<(), CliError> {
    if project.join("node_modules").exists() {
        return Ok(());
    }
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"].map(AsRef::as_ref);
    run_tool("npm", &arguments, project, "the project's packages cannot be installed").await
}

/// Compiles a project in Python. Returns the component.
pub async fn build_python(project: &Path) -> Result<PathBuf, CliError> {
    let sdk = ProjectLanguage::Python.find_sdk(project)?;
    let name = project_name(project)?;
    let python = install_python_packages(project).await?;
    let build = sdk.join("build.py");
    let arguments = [build.as_os_str(), name.as_ref()];
    run_tool(&python, &arguments, project, "the project does not build").await?;
    Ok(project.join("dist").join(format!("{name}.wasm")))
}

/// Runs the tests of a project in Python. They need no package.
pub async fn test_python(project: &Path) -> Result<(), CliError> {
    let sdk = ProjectLanguage::Python.find_sdk(project)?;
    let own = venv_python(project)?;
    let python = if own.exists() { own } else { PathBuf::from("python3") };
    run_tool(&python, &[sdk.join("test.py").as_os_str()], project, "a test fails").await
}

/// Returns the interpreter of the project's virtual environment. The path is absolute, because a
/// relative one may be sought in the caller's folder.
fn venv_python(project: &Path) -> Result<PathBuf, CliError> {
    let project = project.canonicalize().map_err(CliError::reading(project))?;
    Ok(project.join(".venv/bin/python"))
}

/// Creates the virtual environment with the packages that `requirements.txt` pins, unless it
/// exists. Returns its interpreter.
async fn install_python_packages(project: &Path) -> Result<PathBuf, CliError> {
    let python = venv_python(project)?;
    if python.exists() {
        return Ok(python);
    }
    let what = "the virtual environment .venv cannot be made";
    run_tool("python3", &["-m", "venv", ".venv"].map(AsRef::as_ref), project, what).await?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    let pip = [&pip[..], &["requirements.txt"]].concat();
    let pip: Vec<&std::ffi::OsStr> = pip.into_iter().map(AsRef::as_ref).collect();
    let installed = run_tool(&python, &pip, project, "the project's packages cannot be installed");
    if let Err(error) = installed.await {
        // Otherwise the next build would take the environment for a complete one.
        drop(std::fs::remove_dir_all(project.join(".venv")));
        return Err(error);
    }
    Ok(python)
}

/// Returns the name of the project's folder.
fn project_name(project: &Path) -> Result<String, CliError> {
    let folder = project.canonicalize().map_err(CliError::reading(project))?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| CliError::failed(format!("{} has no name", folder.display())))
}

/// Runs a program in the project's folder. Its messages go to standard error, so that the output of
/// this command stays readable for programs.
pub async fn run_tool(
    program: impl AsRef<std::ffi::OsStr>,
    arguments: &[&std::ffi::OsStr],
    project: &Path,
    failed: &str,
) -> Result<(), CliError> {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(project).stdin(Stdio::null());
    command.env("NO_COLOR", "1").stdout(std::io::stderr());
    let status = command.status().await.map_err(|error| no_tool(program, &error))?;
    if status.success() {
        return Ok(());
    }
    let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
    Err(CliError::with_next(failed, format!("correct the errors that {name} reports above")))
}

/// Explains that a program cannot be run.
fn no_tool(program: &std::ffi::OsStr, error: &std::io::Error) -> CliError {
    let name = program.to_string_lossy();
    let next = match &*name {
        "node" | "npm" => "install Node 20 or later from https://nodejs.org",
        "cargo" => "install Rust from https://rustup.rs",
        _ => "install Python 3.10 or later from https://python.org",
    };
    CliError::with_next(format!("cannot run {name}: {error}"), next)
}
