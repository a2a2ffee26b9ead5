//! A short round of some faults with three nodes. `cargo xtask faults` plays all of them.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::process::Command;

use waybill_tests::Cluster;
use waybill_tests::world::{binary, guest, skip};

/// Plays one round, and fails unless it is clean.
fn play(fault: &str) {
    if Cluster::find_binaries().is_none() {
        skip("PostgreSQL is not on this machine");
        return;
    }
    if guest("caller").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill-faults"));
    command.arg("--program").arg(binary()).arg("--folder").arg(folder.path());
    command.arg("--guests").arg(waybill_tests::world::guests());
    command.args(["--quick", "--rounds", "1", "--nodes", "3", "--rate", "30", "--only", fault]);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let mut said = vec![String::from_utf8_lossy(&said).into_owned()];
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        said.push(entry.path().display().to_string());
        said.push(std::fs::read_to_string(entry.path()).unwrap_or_default());
    }
    assert!(output.status.success(), "{}", said.join("\n"));
}

#[test]
fn a_killed_node_loses_nothing() {
    play("kill");
}

#[test]
fn a_node_that_stands_still_loses_nothing() {
    play("standstill");
}
