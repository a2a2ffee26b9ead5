//! Packages, made from the program under test. Without its tools a package is not tried: `cargo
//! xtask test` installs them, or names what it skips.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Runs a program that must succeed, and returns its output.
fn output(command: &mut Command) -> std::io::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the program under test if the tool for the package exists.
fn program_for(tool: &str) -> Option<OsString> {
    let has_tool = Command::new(tool).arg("--version").output().is_ok();
    std::env::var_os("WAYBILL_BIN").filter(|_| has_tool)
}

#[test]
fn an_image_is_made_and_started() {
    let Some(program) = program_for("buildah") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut make = Command::new(env!("CARGO_BIN_EXE_xtask"));
    make.args(["package", "container", "--binary"]).arg(program);
    let said = output(make.arg("--out").arg(folder.path())).unwrap();
    let is_forbidden = said.contains("skipped: starting the image because this machine forbids it");
    assert!(said.contains("/readyz answers 200") || is_forbidden, "{said}");
    assert!(said.contains("-x86_64.tar: ") || !cfg!(target_arch = "x86_64"), "{said}");
}

#[test]
fn a_debian_package_is_made_and_started() {
    let Some(program) = program_for("dpkg-deb") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut make = Command::new(env!("CARGO_BIN_EXE_xtask"));
    make.args(["package", "deb", "--level", "0", "--binary"]).arg(program);
    let said = output(make.arg("--out").arg(folder.path())).unwrap();
    assert!(said.contains("/readyz answers 200"), "{said}");
    assert!(said.contains(" MiB ("), "{said}");

    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let package = files.into_iter().next().unwrap();
    let inspect = |option: &str, package: &Path| {
        output(Command::new("dpkg-deb").arg(option).arg(package)).unwrap()
    };
    let control = inspect("--field", &package);
    assert!(control.contains("Depends: adduser"), "{control}");
    let files = inspect("--contents", &package);
    for file in [
        "./usr/bin/waybill",
        "./usr/lib/systemd/system/waybill.service",
        "./etc/waybill/waybill.toml",
        "./usr/share/man/man1/waybill-endpoint-create.1.gz",
        "./usr/share/bash-completion/completions/waybill",
    ] {
        assert!(files.lines().any(|line| line.ends_with(file)), "{file} is not in {files}");
    }
    let mut info = Command::new("dpkg-deb");
    let conffiles = output(info.arg("--info").arg(&package).arg("conffiles")).unwrap();
    assert_eq!(conffiles, "/etc/waybill/waybill.toml\n");
}
