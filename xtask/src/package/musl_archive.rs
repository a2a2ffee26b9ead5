//! The static executable, linked with musl, in an archive with files for its operator.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::executable::Executable;
use super::{place_executable, place_file, print_size, trial};
use crate::guests;
use crate::needs;
use crate::process::{answers, cargo, command, succeed, target, workspace};

/// The target of static executables.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The C compiler for it, from Debian's package `musl-tools`. SQLite, ring and mimalloc are C.
const COMPILER: &str = "musl-gcc";

/// Files of the repository in the archive, beside the executable.
const FILES: [&str; 5] = [
    "LICENSE",
    "CHANGELOG.md",
    "waybill.example.toml",
    "deploy/debian/waybill.service",
    "deploy/debian/waybill.toml",
];

/// Builds the executable as a release.
pub(super) async fn build_static() -> Result<PathBuf> {
    if !answers(COMPILER).await {
        needs::install(&["musl-tools"]).await;
    }
    if !answers(COMPILER).await {
        bail!("{COMPILER} is not here: apt-get install musl-tools");
    }
    if answers("rustup").await {
        succeed(command("rustup", &["target", "add", TARGET])).await?;
    }
    let guests = guests::build().await?;
    let mut build = cargo(&["build", "--release", "--package", "waybill", "--target", TARGET]);
    build.env(guests::EMBEDDED, guests);
    build.env("CC_x86_64_unknown_linux_musl", COMPILER);
    succeed(build).await?;
    Ok(target().join(TARGET).join("release").join("waybill"))
}

/// Writes the archive to `out`, unpacks it and starts its program.
pub(super) async fn make(executable: &Executable, out: &Path) -> Result<()> {
    if !executable.is_static {
        bail!("{} is not static: it names a dynamic loader", executable.path.display());
    }
    let folder = TempDir::new()?;
    let name = format!("waybill-{}-{}-static", executable.version, std::env::consts::ARCH);
    let inside = folder.path().join(&name);
    place_executable(executable, &inside.join("waybill")).await?;
    for file in FILES {
        let from = workspace().join(file);
        let to = inside.join(from.file_name().unwrap_or_default());
        place_file(&from, &to, 0o644)?;
    }
    let archive = out.join(format!("{name}.tar.gz"));
    let mut pack = command("tar", &["--create", "--gzip", "--owner=0", "--group=0", "--file"]);
    pack.arg(&archive).arg("--directory").arg(folder.path()).arg(&name);
    succeed(pack).await?;
    print_size(&archive)?;
    start_unpacked(&archive, &name).await
}

async fn start_unpacked(archive: &Path, name: &str) -> Result<()> {
    let folder = TempDir::new()?;
    let mut unpack = command("tar", &["--extract", "--file"]);
    unpack.arg(archive).arg("--directory").arg(folder.path());
    succeed(unpack).await?;
    let program = folder.path().join(name).join("waybill");
    let mut serve = command(program, &["serve", "--listen", "127.0.0.1:0"]);
    serve.current_dir(folder.path());
    trial::start_once(serve, "the static executable").await
}
