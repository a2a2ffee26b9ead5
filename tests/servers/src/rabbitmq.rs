//! RabbitMQ, a server for AMQP 0-9-1.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, find_program, finish};

/// SIGTERM stops it in order: messages are on disk.
static KIND: Kind = Kind {
    name: "RabbitMQ",
    users: &["rabbitmq", "nobody"],
    ready: "Server startup complete",
    stop: Signal::TERM,
};

/// Debian's script that any user can run. The one on `PATH` requires root.
const DEBIAN: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The shares of this machine's memory above which RabbitMQ takes no messages: always exceeded, and
/// its own default.
const WATERMARKS: (&str, &str) = ("0.0000001", "0.4");

/// A RabbitMQ server with the user `guest` and the password `guest`.
#[derive(Debug)]
pub struct RabbitMq {
    program: PathBuf,
    daemon: Daemon,
    /// Erlang's own ports: for other nodes, and for the process that knows the names of nodes.
    node_port: u16,
    names_port: u16,
}

impl RabbitMq {
    fn find_program() -> Option<PathBuf> {
        let debian = PathBuf::from(DEBIAN);
        if debian.exists() { Some(debian) } else { find_program("rabbitmq-server") }
    }

    /// Returns whether this machine has the program.
    pub fn is_installed() -> bool {
        Self::find_program().is_some()
    }

    /// Starts a server. Fails if RabbitMQ is not installed.
    pub fn start() -> Result<Self> {
        let program = Self::find_program().context("RabbitMQ is not on this machine")?;
        let daemon = Daemon::new(&KIND)?;
        let (node_port, names_port) = (free_port()?, free_port()?);
        let mut server = Self { program, daemon, node_port, names_port };
        server.resume()?;
        Ok(server)
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.daemon.port())
    }

    /// Stops the server. Its durable queues stay.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// Makes the server short of memory, so that it takes no messages, or lets it take them again.
    pub fn set_memory_alarm(&self, is_on: bool) -> Result<()> {
        let program = self.program.with_file_name("rabbitmqctl");
        let mut command = self.command(&program);
        let watermark = if is_on { WATERMARKS.0 } else { WATERMARKS.1 };
        command.args(["set_vm_memory_high_watermark", watermark]);
        finish(command)
    }

    /// Starts the server again on the same queues and port, and waits until it accepts connections.
    pub fn resume(&mut self) -> Result<()> {
        // It logs to standard output, but the log is read from standard error.
        let mut command = self.command("sh".as_ref());
        command.args(["-c", "exec \"$0\" 1>&2"]).arg(&self.program);
        self.daemon.start(command)
    }

    /// A program with the environment of this server.
    fn command(&self, program: &Path) -> Command {
        let home = self.daemon.home();
        let mut command = self.daemon.command(program);
        for (name, port) in [
            ("RABBITMQ_NODE_PORT", self.daemon.port()),
            ("RABBITMQ_DIST_PORT", self.node_port),
            ("ERL_EPMD_PORT", self.names_port),
        ] {
            command.env(name, port.to_string());
        }
        command
            .env("HOME", home)
            // With this setting the script becomes the server instead of supervising it.
            .env("RUNNING_UNDER_SYSTEMD", "1")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("waybill{}@localhost", self.daemon.port()))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", self.daemon.data())
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_LOG_BASE", home)
            // Keeps the settings of this machine's own server out.
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"))
            .env("RABBITMQ_CONFIG_FILE", home.join("none"));
        command
    }
}

impl Drop for RabbitMq {
    /// The process that knows the names of nodes outlives the server that started it.
    fn drop(&mut self) {
        drop(self.daemon.stop());
        let mut end = Command::new("epmd");
        end.arg("-kill").env("ERL_EPMD_PORT", self.names_port.to_string());
        drop(end.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
