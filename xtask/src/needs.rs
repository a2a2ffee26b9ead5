//! What the tests need beside cargo: found, installed where that is allowed, or named as skipped.

use std::process::Stdio;

use anyhow::{Result, bail};
use waybill_postgres::Cluster;

use crate::process::{answers, command, succeed};

/// Names PostgreSQL by URL, for us and for the tests.
pub(crate) const POSTGRES: &str = "WAYBILL_TEST_POSTGRES";

/// What could not be had, and so what was not tested.
#[derive(Debug, Default)]
pub(crate) struct Skips(Vec<String>);

impl Skips {
    fn add(&mut self, what: &str, why: &str) {
        self.0.push(format!("skipped: {what} because {why}"));
    }

    /// Prints one line for each skip, last of all that a task prints.
    pub(crate) fn print(&self) {
        for line in &self.0 {
            println!("{line}");
        }
    }

    /// An error where anything was skipped.
    pub(crate) fn forbid(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        bail!("nothing may be skipped here: {}", self.0.join("; "))
    }
}

/// PostgreSQL for the time of one task.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// A URL of a database whose owner may create others.
    pub(crate) url: String,
    /// The server, where it is ours: stopped when this is dropped.
    pub(crate) cluster: Option<Cluster>,
}

/// PostgreSQL from the environment, or our own; none where it is not to be had.
pub(crate) async fn postgres(skips: &mut Skips) -> Option<Postgres> {
    if let Ok(url) = std::env::var(POSTGRES) {
        return Some(Postgres { url, cluster: None });
    }
    if Cluster::find_binaries().is_none() {
        install("postgresql").await;
    }
    match Cluster::start() {
        Ok(cluster) => {
            let url = cluster.url("postgres");
            Some(Postgres { url, cluster: Some(cluster) })
        }
        Err(error) => {
            skips.add("tests on PostgreSQL", &format!("{error:#} (or set {POSTGRES})"));
            None
        }
    }
}

/// The languages in which receivers verify deliveries.
pub(crate) async fn languages(skips: &mut Skips) {
    for (program, package) in [("node", "nodejs"), ("php", "php-cli"), ("python3", "python3")] {
        if !answers(program).await {
            install(package).await;
        }
        if !answers(program).await {
            skips.add(&format!("the receiver example in {program}"), "it is not installed");
        }
    }
}

/// Installs a Debian package where we may; what came of it shows in whether its program is there.
async fn install(package: &str) {
    if !rustix::process::geteuid().is_root() || !answers("apt-get").await {
        return;
    }
    eprintln!("installing {package} with apt-get");
    let quiet = |arguments: &[&str]| {
        let mut apt = command("apt-get", arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        succeed(apt)
    };
    let install = ["install", "-y", "-q", "--no-install-recommends", package];
    // An old or empty package list is the usual reason for a failure: fetch it and try again.
    if quiet(&install).await.is_err() {
        for arguments in [&["update", "-q"][..], &install[..]] {
            if let Err(error) = quiet(arguments).await {
                eprintln!("{error:#}");
            }
        }
    }
}
