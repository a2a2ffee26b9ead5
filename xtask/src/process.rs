//! Runs other programs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// Returns the workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Returns cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Returns a command that runs in the workspace's folder and ends with this process.
pub(crate) fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace()).stdin(Stdio::null()).kill_on_drop(true);
    // The variables of the cargo that runs this program: build scripts that read them would run
    // again, and everything that depends on them.
    let of_us = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_")
    };
    for name in std::env::vars_os().map(|(name, _)| name).filter(of_us) {
        command.env_remove(name);
    }
    command
}

/// Returns the cargo that runs this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command(cargo, arguments)
}

/// Runs a program whose output the user sees. Fails if it does not end with status 0.
pub(crate) async fn succeed(mut command: Command) -> Result<()> {
    let shown = show(&command);
    let status = command.status().await.with_context(|| format!("running {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs a program and returns its output. The error contains its messages.
pub(crate) async fn output(mut command: Command) -> Result<String> {
    let shown = show(&command);
    let output = command.output().await.with_context(|| format!("running {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns whether a program exists and answers `--version`.
pub(crate) async fn answers(program: impl AsRef<OsStr>) -> bool {
    let mut asked = command(program, &["--version"]);
    asked.stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().await.is_ok_and(|status| status.success())
}

fn show(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let arguments = command.get_args().map(OsStr::to_string_lossy);
    let mut words = vec![program.to_string_lossy()];
    words.extend(arguments);
    words.join(" ")
}
