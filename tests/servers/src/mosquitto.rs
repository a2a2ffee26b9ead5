//! Mosquitto, a server for MQTT 3.1.1 and 5.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, find_program};

/// SIGTERM makes it write its sessions to disk and exit.
static KIND: Kind = Kind {
    name: "Mosquitto",
    users: &["mosquitto", "nobody"],
    ready: " running",
    stop: Signal::TERM,
};

/// A Mosquitto server. Its only user, `waybill` with the password `s3cret`, may publish and read
/// everything except topics that begin with `forbidden/`.
#[derive(Debug)]
pub struct Mosquitto {
    program: PathBuf,
    daemon: Daemon,
}

impl Mosquitto {
    /// Returns whether this machine has the program.
    pub fn is_installed() -> bool {
        find_program("mosquitto").is_some()
    }

    /// Starts a server. Fails if Mosquitto is not installed.
    pub fn start() -> Result<Self> {
        let mut server = Self::new()?;
        server.configure("")?;
        server.resume()?;
        Ok(server)
    }

    /// Starts a server that accepts only TLS, with this certificate and key (PEM).
    pub fn start_tls(certificate: &str, key: &str) -> Result<Self> {
        let mut server = Self::new()?;
        server.daemon.write("server.crt", certificate)?;
        server.daemon.write("server.key", key)?;
        let home = server.daemon.home().display();
        server.configure(&format!("certfile {home}/server.crt\nkeyfile {home}/server.key\n"))?;
        server.resume()?;
        Ok(server)
    }

    fn new() -> Result<Self> {
        let program = find_program("mosquitto").context("Mosquitto is not on this machine")?;
        Ok(Self { program, daemon: Daemon::new(&KIND)? })
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
    }

    /// Returns the port on which it listens.
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// Stops the server at once. Its sessions and their unread messages stay.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// Starts the server again, and waits until it accepts connections.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.daemon.command(&self.program);
        command.arg("-c").arg(self.daemon.home().join("mosquitto.conf"));
        self.daemon.start(command)
    }

    fn configure(&self, more: &str) -> Result<()> {
        let home = self.daemon.home();
        let settings = format!(
            "listener {} 127.0.0.1\n\
             allow_anonymous false\n\
             password_file {home}/users\n\
             acl_file {home}/rights\n\
             persistence true\n\
             persistence_location {home}/\n\
             max_queued_messages 0\n\
             {more}",
            self.daemon.port(),
            home = home.display(),
        );
        self.daemon.write("mosquitto.conf", &settings)?;
        // Made with `mosquitto_passwd`: a salt and the password's digest (PBKDF2, SHA-512).
        self.daemon.write("users", USERS)?;
        self.daemon.write("rights", "user waybill\ntopic readwrite #\ntopic deny forbidden/#\n")
    }
}

const USERS: &str = "waybill:$7$101$yQRLlX27V0sVrJTy$r63/37bqwp3Cn7zCY5fdNmM2qdM7woTeM+3tLdHzYN+1QJybWa7/OhMqnyWNlQPJmk5dnwUbhJc4mUQJTQaEyQ==\n";
