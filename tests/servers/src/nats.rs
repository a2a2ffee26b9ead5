//! NATS, with JetStream on its own disk.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, find_program};

/// SIGINT stops it at once and in order (documentation, "Signals").
static KIND: Kind =
    Kind { name: "NATS", users: &["nats", "nobody"], ready: "Server is ready", stop: Signal::INT };

/// A NATS server without users.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    daemon: Daemon,
    has_tls: bool,
}

impl NatsServer {
    /// Returns whether this machine has the program.
    pub fn is_installed() -> bool {
        find_program("nats-server").is_some()
    }

    /// Starts a server. Fails if NATS is not installed.
    pub fn start() -> Result<Self> {
        let mut server = Self::new()?;
        server.resume()?;
        Ok(server)
    }

    /// Starts a server that accepts only TLS, with this certificate and key (PEM).
    pub fn start_tls(certificate: &str, key: &str) -> Result<Self> {
        let mut server = Self { has_tls: true, ..Self::new()? };
        server.daemon.write("server.crt", certificate)?;
        server.daemon.write("server.key", key)?;
        server.resume()?;
        Ok(server)
    }

    fn new() -> Result<Self> {
        let program = find_program("nats-server").context("NATS is not on this machine")?;
        Ok(Self { program, daemon: Daemon::new(&KIND)?, has_tls: false })
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// Returns the port on which it listens.
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// Stops the server at once. Its streams stay.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// Starts the server again on the same streams and port, and waits until it accepts
    /// connections.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.daemon.command(&self.program);
        let port = self.daemon.port().to_string();
        command.args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"]).arg(self.daemon.data());
        if self.has_tls {
            command.args(["--tls", "--tlscert", "server.crt", "--tlskey", "server.key"]);
        }
        self.daemon.start(command)
    }
}
