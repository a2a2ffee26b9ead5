//! MariaDB, with a root user who needs no password.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, finish};

/// SIGTERM stops MariaDB in order, without waiting for its clients (documentation, "What to Do if
/// MariaDB Doesn't Start/Stop").
static KIND: Kind = Kind {
    name: "MariaDB",
    users: &["mysql", "nobody"],
    ready: "ready for connections",
    stop: Signal::TERM,
};

/// Where Debian puts the programs; `/usr/sbin` is not on the `PATH` of everybody.
const DEBIAN: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// The programs that are needed.
#[derive(Debug)]
struct Binaries {
    /// `mariadbd`.
    server: PathBuf,
    /// `mariadb-install-db`.
    installer: PathBuf,
}

impl Binaries {
    /// The programs, if this machine has them all.
    fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).chain(DEBIAN.map(PathBuf::from)).collect();
        let find = |name| folders.iter().map(|folder| folder.join(name)).find(|file| file.exists());
        // The installer, a script, asks this one for the settings of files; its package is not the
        // server's.
        find("my_print_defaults")?;
        Some(Self { server: find("mariadbd")?, installer: find("mariadb-install-db")? })
    }
}

/// A MariaDB server of our own, with all rights for `root` on 127.0.0.1.
#[derive(Debug)]
pub struct MariaDb {
    binaries: Binaries,
    daemon: Daemon,
}

impl MariaDb {
    /// Whether this machine has the programs.
    pub fn is_installed() -> bool {
        Binaries::find().is_some()
    }

    /// Makes a data folder and starts the server. Fails where MariaDB is not installed.
    pub fn start() -> Result<Self> {
        let binaries = Binaries::find().context("MariaDB is not on this machine")?;
        let mut server = Self { binaries, daemon: Daemon::new(&KIND)? };
        server.initialise()?;
        server.resume()?;
        Ok(server)
    }

    /// The URL of one database of this server, or of none where the name is empty.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.daemon.port())
    }

    /// The server's process; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Stops the server at once; its data stay. Connections break, transactions roll back.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// Starts the server again on the same data and port, and waits until it takes connections.
    pub fn resume(&mut self) -> Result<()> {
        let mut mariadbd = self.daemon.command(&self.binaries.server);
        let home = self.daemon.home();
        // The settings of this machine's own server are read unless the first argument forbids it.
        mariadbd
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.daemon.data().display()))
            .arg(format!("--port={}", self.daemon.port()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=400"])
            // At its start a server clears this of tables that another one may be using.
            .arg(format!("--tmpdir={}", home.display()))
            .arg(format!("--socket={}", home.join("mariadb.sock").display()))
            .arg(format!("--pid-file={}", home.join("mariadb.pid").display()));
        self.daemon.start(mariadbd)
    }

    fn initialise(&self) -> Result<()> {
        let mut installer = self.daemon.command(&self.binaries.installer);
        // `--force`: the name of this machine may be one that nothing can look up.
        installer
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.daemon.data().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db", "--force"]);
        finish(installer)
    }
}
