//! The Debian package, laid out by hand and built by `dpkg-deb`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::executable::Executable;
use super::{place_content, place_executable, place_file, print_size, trial};
use crate::process::{answers, command, output, succeed, workspace};

/// Completion scripts: the shell, and its folder for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/waybill"),
    ("zsh", "usr/share/zsh/vendor-completions/_waybill"),
    ("fish", "usr/share/fish/vendor_completions.d/waybill.fish"),
];

/// Files of the repository in the package: source, target, and mode.
const FILES: [(&str, &str, u32); 8] = [
    ("deploy/debian/waybill.service", "usr/lib/systemd/system/waybill.service", 0o644),
    ("deploy/debian/waybill.toml", CONFIGURATION, 0o640),
    ("waybill.example.toml", "usr/share/doc/waybill/waybill.example.toml", 0o644),
    ("CHANGELOG.md", "usr/share/doc/waybill/CHANGELOG.md", 0o644),
    ("LICENSE", "usr/share/doc/waybill/copyright", 0o644),
    ("deploy/debian/postinst", "DEBIAN/postinst", 0o755),
    ("deploy/debian/prerm", "DEBIAN/prerm", 0o755),
    ("deploy/debian/postrm", "DEBIAN/postrm", 0o755),
];

/// The configuration, which an upgrade does not overwrite.
const CONFIGURATION: &str = "etc/waybill/waybill.toml";

/// Writes the package to `out`, lists it and starts its program.
pub(super) async fn make(executable: &Executable, out: &Path, level: u8) -> Result<()> {
    if !answers("dpkg-deb").await {
        bail!("dpkg-deb is not here: a Debian package is made on Debian, Ubuntu or a kin");
    }
    let folder = TempDir::new()?;
    let root = folder.path().join("root");
    lay_out(executable, &root).await?;
    let name = format!("waybill_{}_{}.deb", executable.version, architecture()?);
    let package = out.join(name);
    let mut build = command("dpkg-deb", &["--root-owner-group", "-Zxz"]);
    build.arg(format!("-z{level}")).arg("--build").arg(&root).arg(&package);
    succeed(build).await?;
    let mut list = command("dpkg-deb", &["--contents"]);
    list.arg(&package);
    succeed(list).await?;
    print_size(&package)?;
    start_unpacked(&package, &folder.path().join("unpacked")).await
}

/// Writes all files of the package under `root`.
async fn lay_out(executable: &Executable, root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let binary = root.join("usr/bin/waybill");
    place_executable(executable, &binary).await?;
    for (from, to, mode) in FILES {
        place_file(&workspace().join(from), &root.join(to), mode)?;
    }
    for (shell, path) in COMPLETIONS {
        let script = output(command(&binary, &["completions", shell])).await?;
        place_content(script.as_bytes(), &root.join(path), 0o644)?;
    }
    write_manual(&binary, &root.join("usr/share/man/man1")).await?;
    // Before the control file exists, which is not installed.
    let kilobytes = size_of_folder(root)?.div_ceil(1024);
    let template = std::fs::read_to_string(workspace().join("deploy/debian/control"))?;
    let control = fill_control(&template, executable, architecture()?, kilobytes);
    place_content(control.as_bytes(), &root.join("DEBIAN/control"), 0o644)?;
    let conffiles = format!("/{CONFIGURATION}\n");
    place_content(conffiles.as_bytes(), &root.join("DEBIAN/conffiles"), 0o644)?;
    for folder in folders(root)? {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Writes the manual pages of all commands, compressed as in Debian.
async fn write_manual(binary: &Path, folder: &Path) -> Result<()> {
    let mut write = command(binary, &["man", "--dir"]);
    write.arg(folder);
    succeed(write).await?;
    // Without names and times, as Debian's policy requires.
    let mut compress = command("gzip", &["--best", "--no-name", "--recursive"]);
    compress.arg(folder);
    succeed(compress).await
}

fn fill_control(
    template: &str,
    executable: &Executable,
    architecture: &str,
    kilobytes: u64,
) -> String {
    let depends = match &executable.glibc {
        Some(glibc) => format!("adduser, libc6 (>= {glibc}), libgcc-s1"),
        None => "adduser".to_owned(),
    };
    template
        .replace("{version}", &executable.version)
        .replace("{architecture}", architecture)
        .replace("{depends}", &depends)
        .replace("{kilobytes}", &kilobytes.to_string())
}

/// Returns Debian's name of this machine's architecture.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Debian's name for {other} is not known here"),
    }
}

fn size_of_folder(folder: &Path) -> Result<u64> {
    let mut bytes: u64 = 0;
    for folder in folders(folder)? {
        for entry in std::fs::read_dir(folder)? {
            let metadata = entry?.metadata()?;
            bytes += if metadata.is_file() { metadata.len() } else { 0 };
        }
    }
    Ok(bytes)
}

/// Returns a folder and all folders in it.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(folders(&entry.path())?);
        }
    }
    Ok(found)
}

/// Unpacks the package and starts its program with its configuration, on another port and folder.
async fn start_unpacked(package: &Path, root: &Path) -> Result<()> {
    let mut unpack = command("dpkg-deb", &["--extract"]);
    unpack.arg(package).arg(root);
    succeed(unpack).await?;
    check_unit(&root.join("usr/lib/systemd/system/waybill.service"), root).await?;
    let data = root.join("var/lib/waybill");
    std::fs::create_dir_all(&data)?;
    let database = format!("sqlite:{}", data.join("waybill.db").display());
    let mut serve = command(root.join("usr/bin/waybill"), &["serve", "--listen", "127.0.0.1:0"]);
    serve.arg("--config").arg(root.join(CONFIGURATION)).args(["--database", &database]);
    serve.env("WAYBILL_SERVER__DATA_DIR", &data);
    trial::start_once(serve, "the unpacked package").await
}

/// Lets systemd check the unit, with the paths of the unpacked package.
async fn check_unit(unit: &Path, root: &Path) -> Result<()> {
    if !answers("systemd-analyze").await {
        println!("skipped: the check of waybill.service because systemd-analyze is not here");
        return Ok(());
    }
    let text = std::fs::read_to_string(unit).with_context(|| unit.display().to_string())?;
    let program = format!("ExecStart={}/usr/bin/", root.display());
    let local = root.join("waybill.service");
    std::fs::write(&local, text.replace("ExecStart=/usr/bin/", &program))?;
    let mut verify = command("systemd-analyze", &["verify", "--man=no"]);
    verify.arg(&local);
    succeed(verify).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executable(glibc: Option<&str>) -> Executable {
        Executable {
            path: PathBuf::from("/nowhere"),
            version: "1.2.3".to_owned(),
            is_static: glibc.is_none(),
            glibc: glibc.map(str::to_owned),
        }
    }

    #[test]
    fn the_control_file_names_what_the_executable_needs() {
        let template = include_str!("../../../deploy/debian/control");
        let control = fill_control(template, &executable(Some("2.34")), "amd64", 7);
        assert!(control.contains("Depends: adduser, libc6 (>= 2.34), libgcc-s1\n"), "{control}");
        assert!(control.contains("Version: 1.2.3\nArchitecture: amd64\n"), "{control}");
        assert!(!control.contains(['{', '}']), "{control}");
        let control = fill_control(template, &executable(None), "amd64", 7);
        assert!(control.contains("Depends: adduser\n"), "{control}");
    }

    #[test]
    fn every_file_of_the_package_is_in_the_repository() {
        for (from, ..) in FILES {
            assert!(workspace().join(from).exists(), "{from}");
        }
    }
}
