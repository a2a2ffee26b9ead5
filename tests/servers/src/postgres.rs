//! PostgreSQL, with trust authentication.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, finish};

/// SIGINT is PostgreSQL's "fast shutdown" (documentation, section 19.5).
static KIND: Kind = Kind {
    name: "PostgreSQL",
    users: &["postgres", "nobody"],
    ready: "ready to accept connections",
    stop: Signal::INT,
};

/// PostgreSQL's "immediate shutdown" (documentation, section 19.5): it recovers at the next start.
const IMMEDIATE: Signal = Signal::QUIT;

/// A server that replicates another one.
static STANDBY: Kind = Kind {
    name: "PostgreSQL",
    users: &["postgres", "nobody"],
    ready: "ready to accept read-only connections",
    stop: Signal::INT,
};

/// A PostgreSQL server with trust authentication on 127.0.0.1.
#[derive(Debug)]
pub struct Cluster {
    binaries: PathBuf,
    daemon: Daemon,
    settings: &'static [&'static str],
}

/// Settings for TLS with the files `server.crt` and `server.key` of the server's folder, relative
/// to its data folder.
const TLS: [&str; 6] =
    ["-c", "ssl=on", "-c", "ssl_cert_file=../server.crt", "-c", "ssl_key_file=../server.key"];

impl Cluster {
    /// Finds the folder with `initdb` and `postgres`, if this machine has one.
    pub fn find_binaries() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        // The newest version is the last by name; 9.6 is older than any supported one.
        debian.sort();
        debian
            .into_iter()
            .rev()
            .chain(std::env::split_paths(&path))
            .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
    }

    /// Creates a data folder and starts the server. Fails if PostgreSQL is not installed.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server that does not wait for its disk. Tests use it because it outlives the
    /// programs that write to it, and a disk that is busy with a build would only slow them down.
    pub fn start_unsynced() -> Result<Self> {
        Self::start_with(&["-c", "fsync=off", "-c", "full_page_writes=off"])
    }

    /// Starts a server that offers TLS, with this certificate and key (PEM).
    pub fn start_tls(certificate: &str, key: &str) -> Result<Self> {
        let mut cluster = Self::new(&TLS)?;
        cluster.daemon.write("server.crt", certificate)?;
        cluster.daemon.write("server.key", key)?;
        cluster.resume()?;
        Ok(cluster)
    }

    /// Starts a server that replicates `primary` and does not accept writes until it is promoted
    /// (`SELECT pg_promote()`).
    pub fn start_standby(primary: &Self) -> Result<Self> {
        let binaries = primary.binaries.clone();
        let daemon = Daemon::new(&STANDBY)?;
        let mut copy = daemon.command(&binaries.join("pg_basebackup"));
        copy.arg("-D").arg(daemon.data()).args(["-d", &primary.url("postgres")]);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        finish(copy)?;
        let mut standby = Self { binaries, daemon, settings: primary.settings };
        standby.resume()?;
        Ok(standby)
    }

    fn start_with(settings: &'static [&'static str]) -> Result<Self> {
        let mut cluster = Self::new(settings)?;
        cluster.resume()?;
        Ok(cluster)
    }

    fn new(settings: &'static [&'static str]) -> Result<Self> {
        let binaries = Self::find_binaries().context("PostgreSQL is not on this machine")?;
        let cluster = Self { binaries, daemon: Daemon::new(&KIND)?, settings };
        cluster.initialise()?;
        Ok(cluster)
    }

    /// Returns the URL of one database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.daemon.port())
    }

    /// Returns the port on which it listens.
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// Returns the server's main process, whose children are its connections, or `None` while it is
    /// stopped.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Stops the server at once and keeps its data. Connections break, transactions roll back.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// Stops the server as a crash would: it writes nothing more, and its standby gets nothing more.
    pub fn crash(&mut self) -> Result<()> {
        self.daemon.stop_by(IMMEDIATE)
    }

    /// Starts the server again on the same data and port, and waits until it accepts connections.
    pub fn resume(&mut self) -> Result<()> {
        let mut postgres = self.daemon.command(&self.binaries.join("postgres"));
        let sockets = format!("unix_socket_directories={}", self.daemon.home().display());
        postgres
            .env_remove("PGDATA")
            .arg("-D")
            .arg(self.daemon.data())
            .args(["-p", &self.daemon.port().to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=400"])
            .args(["-c", &sockets])
            .args(self.settings);
        self.daemon.start(postgres)
    }

    fn initialise(&self) -> Result<()> {
        let mut initdb = self.daemon.command(&self.binaries.join("initdb"));
        initdb.env_remove("PGDATA").arg("-D").arg(self.daemon.data()).args([
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        finish(initdb)
    }
}
