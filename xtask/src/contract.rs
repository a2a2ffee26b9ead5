//! `contract`: checks whether the server keeps the promises of its own description
//! (`/openapi.json`).
//!
//! schemathesis generates valid and invalid requests from the description, sends them to a
//! throw-away server, and checks every answer against the description. Its settings are in
//! `tests/contract`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::guests::GUESTS;
use crate::packages;
use crate::process::{command, target, workspace};
use crate::test::Built;

/// The token of the server's one administrator.
const TOKEN: &str = "contract-admin-token-0123456789abcdef";

/// Time that the server has to print its address.
const READY_LIMIT: Duration = Duration::from_mins(1);

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
    let server = Server::start(&built, &folder.join("server")).await?;
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

/// A server with its own database. It ends when this is dropped.
#[derive(Debug)]
struct Server {
    address: String,
    folder: PathBuf,
    log: PathBuf,
    /// Held open, so that the server can go on printing.
    _printed: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Server {
    /// Starts it in an empty folder.
    async fn start(built: &Built, folder: &Path) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let log = folder.join("log");
        let mut serve = built.program(&["serve", "--listen", "127.0.0.1:0", "--database"]);
        serve.arg(format!("sqlite:{}", folder.join("waybill.db").display())).current_dir(folder);
        serve.env("WAYBILL_ADMIN_TOKEN", TOKEN);
        serve.env("WAYBILL_DELIVERY__ALLOW_NETWORKS", r#"["127.0.0.0/8"]"#);
        // The made-up addresses have names. No name server listens here, so no name is asked for
        // beyond this machine, and no delivery leaves it.
        serve.env("WAYBILL_DELIVERY__NAME_SERVERS", r#"["127.0.0.1:9"]"#);
        serve.stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
        let mut process = serve.spawn().context("starting the server")?;
        let stdout = process.stdout.take().context("its output is piped")?;
        let mut printed = BufReader::new(stdout).lines();
        let address = tokio::time::timeout(READY_LIMIT, address(&mut printed)).await;
        let Ok(Ok(address)) = address else {
            bail!("the server did not start:\n{}", std::fs::read_to_string(&log)?);
        };
        Ok(Self { address, folder: folder.to_owned(), log, _printed: printed, _process: process })
    }
}

/// Returns the address in the first line that has one.
async fn address(printed: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    while let Some(line) = printed.next_line().await? {
        let is_address = |word: &&str| word.starts_with("http://");
        if let Some(url) = line.split_whitespace().find(is_address) {
            return Ok(url.trim_end_matches(',').trim_end_matches("/admin").to_owned());
        }
    }
    bail!("no address was printed")
}
