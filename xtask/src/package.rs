//! `package`: builds the installable packages, prints their size, and starts each once.
//!
//! Every package is tried in its final form: unpacked or imported again, started with an empty
//! database on a free port, and asked for `/readyz`.

mod container;
mod debian;
mod executable;
mod library_files;
mod musl_archive;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::guests;
use crate::process::{answers, cargo, command, succeed, target};
use executable::Executable;

/// `cargo xtask package`.
#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// The kind of package
    #[arg(value_enum)]
    kind: PackageKind,
    /// Executable to package unchanged [default: build a release]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The folder for the package [default: package in the target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compression level of a Debian package, 0 (fast) to 9 (small)
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(..=9))]
    level: u8,
}

/// The forms in which Waybill is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PackageKind {
    /// A Debian package with a systemd unit
    Deb,
    /// An image without a base, for Docker and Podman
    Container,
    /// A static executable that needs no C library, in an archive
    Static,
}

/// Makes one package and starts it once.
pub(crate) async fn run(args: &PackageArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| target().join("package"));
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    // The commands below run in the workspace's folder.
    let out = std::path::absolute(out)?;
    let binary = match &args.binary {
        Some(path) => std::path::absolute(path)?,
        None => build_executable(args.kind).await?,
    };
    let executable = Executable::read(&binary).await?;
    match args.kind {
        PackageKind::Deb => debian::make(&executable, &out, args.level).await,
        PackageKind::Container => container::make(&executable, &out).await,
        PackageKind::Static => musl_archive::make(&executable, &out).await,
    }
}

/// Builds the release for a package if no executable was named.
async fn build_executable(kind: PackageKind) -> Result<PathBuf> {
    match kind {
        PackageKind::Deb => build_release().await,
        PackageKind::Static => musl_archive::build_static().await,
        PackageKind::Container => match musl_archive::build_static().await {
            Ok(binary) => Ok(binary),
            Err(error) => {
                println!("no static executable: {error:#}; the image gets the C library too");
                build_release().await
            }
        },
    }
}

async fn build_release() -> Result<PathBuf> {
    let guests = guests::build().await?;
    let mut build = cargo(&["build", "--release", "--package", "waybill"]);
    build.env(guests::EMBEDDED, guests);
    succeed(build).await?;
    Ok(target().join("release").join("waybill"))
}

/// Prints where a package is and how large it is.
fn print_size(package: &Path) -> Result<()> {
    let bytes = package.metadata().with_context(|| package.display().to_string())?.len();
    let tenths = bytes.saturating_mul(10) >> 20;
    println!("{}: {}.{} MiB ({bytes} bytes)", package.display(), tenths / 10, tenths % 10);
    Ok(())
}

/// Copies an executable without its symbols; a release has none. They stay if there are no
/// binutils.
async fn place_executable(executable: &Executable, to: &Path) -> Result<()> {
    place_file(&executable.path, to, 0o755)?;
    if !answers("strip").await {
        return Ok(());
    }
    let mut strip = command("strip", &["--strip-unneeded"]);
    strip.arg(to);
    succeed(strip).await
}

/// Copies a file, and creates the folders above it.
fn place_file(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let content = std::fs::read(from).with_context(|| from.display().to_string())?;
    place_content(&content, to, mode)
}

/// Writes a file, and creates the folders above it.
fn place_content(content: &[u8], to: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = to.parent().context("a file is in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(to, content).with_context(|| to.display().to_string())?;
    Ok(std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?)
}
