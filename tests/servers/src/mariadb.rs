//! MariaDB, with a root user without a password.

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

/// Debian's folders for the programs, because `/usr/sbin` is not on everybody's `PATH`.
const DEBIAN: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// The required programs.
#[derive(Debug)]
struct Binaries {
    /// `mariadbd`.
    server: PathBuf,
    /// `mariadb-install-db`.
    installer: PathBuf,
}

impl Binaries {
    /// Finds the programs, if this machine has all of them.
    fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).chain(DEBIAN.map(PathBuf::from)).collect();
        let find = |name| folders.iter().map(|folder| folder.join(name)).find(|file| file.exists());
        // The installer, a script, reads the settings of files with this program, which belongs to
        // another package.
        find("my_print_defaults")?;
        Some(Self { server: find("mariadbd")?, installer: find("mariadb-install-db")? })
    }
}

/// A MariaDB server with all rights for `root` on 127.0.0.1.
#[derive(Debug)]
pub struct MariaDb {
    binaries: Binaries,
    daemon: Daemon,
}

impl MariaDb {
    /// Returns whether this machine has the programs.
    pub fn is_installed() -> bool {
        Binaries::find().is_some()
    }

    /// Creates a data folder and starts the server. Fails if MariaDB is not installed.
    pub fn start() -> Result<Self> {
        let binaries = Binaries::find().context("MariaDB is not on this machine")?;
        let mut server = Self { binaries, daemon: Daemon::new(&KIND)? };
        server.initialise()?;
        server.resume()?;
        Ok(server)
    }

    /// Returns the URL of one database of this server, or of no database if the name is empty.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.daemon.port())
    }

    /// Returns the server's process, or `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Stops the server at once and keeps its data. Connections break, transactions roll back.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// Starts the server again on the same data and port, and waits until it accepts connections.
    pub fn resume(&mut self) -> Result<()> {
        let mut mariadbd = self.daemon.command(&self.binaries.server);
        let home = self.daemon.home();
        // The server reads the settings of this machine's own server unless the first argument
        // forbids it.
        mariadbd
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.daemon.data().display()))
            .arg(format!("--port={}", self.daemon.port()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=400"])
            // A starting server deletes tables from this folder that another server may be using.
            .arg(format!("--tmpdir={}", home.display()))
            .arg(format!("--socket={}", home.join("mariadb.sock").display()))
            .arg(format!("--pid-file={}", home.join("mariadb.pid").display()));
        self.daemon.start(mariadbd)
    }

    fn initialise(&self) -> Result<()> {
        let mut installer = self.daemon.command(&self.binaries.installer);
        // `--force` because the name of this machine may not be resolvable.
        installer
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.daemon.data().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db", "--force"]);
        finish(installer)
    }
}
