//! `contract`: checks whether the server keeps the promises of its own description
//! (`/openapi.json`).
//!
//! schemathesis generates valid and invalid requests from the description, sends them to a
//! throw-away server, and checks every answer against the description. Its settings are in
//! `tests/contract`.

use std::path::Path;

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::guests::GUESTS;
use crate::packages;
use crate::process::{command, target, workspace};
use crate::server::{Server, TOKEN};
use crate::test::Built;

/// Largest number of characters that are printed of a line.
const WIDEST: usize = 8_000;

/// `cargo xtask contract`: prints nothing if the server keeps its promises, and everything if it
/// does not.
pub(crate) async fn run() -> Result<()> {
    let built = Built::with_tests().await?;
    let pinned = workspace().join("tests/contract");
    let folder = target().join("contract");
    let python = folder.join("python");
    let programs = packages::python(&python, &pinned.join("requirements.txt")).await?;
    // The made-up addresses have names. No name server listens here, so no name is asked for beyond
    // this machine, and no delivery leaves it.
    let variables = [("WAYBILL_DELIVERY__NAME_SERVERS", r#"["127.0.0.1:9"]"#)];
    let server = Server::start(&built, &folder.join("server"), &variables).await?;
    let tested = schemathesis(&programs, &pinned, &server, &built).output().await?;
    if !tested.status.success() {
        for text in [tested.stdout, tested.stderr, std::fs::read(&server.log)?] {
            print(&text);
        }
        bail!("the server does not keep what its description promises: {}", tested.status);
    }
    Ok(())
}

/// Prints a text. Of a line that contains a whole component, prints the beginning.
fn print(text: &[u8]) {
    for line in String::from_utf8_lossy(text).lines() {
        println!("{}", line.chars().take(WIDEST).collect::<String>());
    }
}

/// Returns the command that tests one server.
fn schemathesis(programs: &Path, pinned: &Path, server: &Server, built: &Built) -> Command {
    let mut tester = command(programs.join("schemathesis"), &["--config-file"]);
    tester.arg(pinned.join("schemathesis.toml")).arg("run");
    tester.arg(format!("{}/openapi.json", server.address));
    tester.env("WAYBILL_URL", &server.address).env("WAYBILL_TOKEN", TOKEN);
    tester.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", pinned);
    tester.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_COLOR", "1").env(GUESTS, built.guests());
    // Its data for the next run is deleted with the server.
    tester.current_dir(&server.folder);
    tester
}
