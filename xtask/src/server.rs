//! A throw-away server on loopback, with its own database.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::test::Built;

/// The token of the server's one administrator.
pub(crate) const TOKEN: &str = "contract-admin-token-0123456789abcdef";

/// Time that the server has to print its address.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// A server with its own database. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    /// Held open, so that the server can go on printing.
    _printed: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Server {
    /// Starts it in an empty folder, with further variables of its environment.
    pub(crate) async fn start(
        built: &Built,
        folder: &Path,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let log = folder.join("log");
        let mut serve = built.program(&["serve", "--listen", "127.0.0.1:0", "--database"]);
        serve.arg(format!("sqlite:{}", folder.join("waybill.db").display())).current_dir(folder);
        serve.env("WAYBILL_ADMIN_TOKEN", TOKEN);
        serve.env("WAYBILL_DELIVERY__ALLOW_NETWORKS", r#"["127.0.0.0/8"]"#);
        serve.envs(variables.iter().copied());
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
