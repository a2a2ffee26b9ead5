//! PgBouncer in transaction mode, in front of a server of the test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, find_program};
use crate::postgres::Cluster;

/// It stores nothing. The meaning of SIGINT and SIGTERM has changed between its versions.
static KIND: Kind = Kind {
    name: "PgBouncer",
    users: &["postgres", "nobody"],
    ready: "process up",
    stop: Signal::KILL,
};

/// A PgBouncer that assigns a session to each transaction.
#[derive(Debug)]
pub struct PgBouncer {
    daemon: Daemon,
}

impl PgBouncer {
    /// Finds the program, if this machine has it.
    pub fn find_program() -> Option<PathBuf> {
        find_program("pgbouncer")
    }

    /// Starts a pooler with `connections` connections to each database of `cluster`.
    pub fn start(cluster: &Cluster, connections: u32) -> Result<Self> {
        let program = Self::find_program().context("PgBouncer is not on this machine")?;
        let mut daemon = Daemon::new(&KIND)?;
        let settings = daemon.home().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={} user=postgres\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n",
            cluster.port(),
            daemon.port(),
        );
        std::fs::write(&settings, text)?;
        let mut command = daemon.command(&program);
        command.arg(&settings);
        daemon.start(command)?;
        Ok(Self { daemon })
    }

    /// Returns the URL of one database behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.daemon.port())
    }
}
