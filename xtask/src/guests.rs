//! The guests: the example modules and the hostile modules of the tests, compiled to components.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::{answers, cargo, command, output, succeed, target, workspace};

/// The compilation target of modules.
const TARGET: &str = "wasm32-wasip2";

/// The cargo profile of modules.
const PROFILE: &str = "guest";

/// Names the folder of the compiled guests, for the tests and the program.
pub(crate) const GUESTS: &str = "WAYBILL_GUESTS";

/// Names the folder for the build of the program, which then embeds the example modules.
pub(crate) const EMBEDDED: &str = "WAYBILL_EMBED_MODULES";

/// Builds all guests and returns their folder.
pub(crate) async fn build() -> Result<PathBuf> {
    install_target().await?;
    let packages = packages().await?;
    let folder = target().join(TARGET).join(PROFILE);
    if packages.is_empty() {
        return Ok(folder);
    }
    let mut arguments = vec!["build", "--target", TARGET, "--profile", PROFILE];
    for package in &packages {
        arguments.extend(["--package", package]);
    }
    let mut build = cargo(&arguments);
    // Clippy's driver, which `ci` compiles the workspace with, leaves out optimisations.
    build.env_remove("RUSTC_WORKSPACE_WRAPPER");
    succeed(build).await?;
    Ok(folder)
}

/// Adds the target with rustup, unless it exists or this toolchain is not rustup's.
async fn install_target() -> Result<()> {
    if !answers("rustup").await {
        return Ok(());
    }
    let installed = output(command("rustup", &["target", "list", "--installed"])).await?;
    if installed.lines().any(|line| line.trim() == TARGET) {
        return Ok(());
    }
    succeed(command("rustup", &["target", "add", TARGET])).await
}

/// Returns the workspace's packages under `examples-wasm/` and `tests/guests/`.
async fn packages() -> Result<Vec<String>> {
    let described = output(cargo(&["metadata", "--format-version=1", "--no-deps"])).await?;
    let described: Value = serde_json::from_str(&described)?;
    let packages = described.get("packages").and_then(Value::as_array);
    let folders = ["examples-wasm", "tests/guests"].map(|folder| workspace().join(folder));
    let text = |package: &Value, key| package.get(key).and_then(Value::as_str).map(str::to_owned);
    let guest = |package: &Value| {
        let manifest = text(package, "manifest_path")?;
        let inside = folders.iter().any(|folder| Path::new(&manifest).starts_with(folder));
        inside.then(|| text(package, "name")).flatten()
    };
    let packages = packages.context("cargo metadata lists packages")?;
    Ok(packages.iter().filter_map(guest).collect())
}
