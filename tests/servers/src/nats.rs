//! NATS, with JetStream on its own disk.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, find_program};

/// Time that a server has to answer a question.
const ANSWER: Duration = Duration::from_secs(2);

/// SIGINT stops it at once and in order (documentation, "Signals").
static KIND: Kind =
    Kind { name: "NATS", users: &["nats", "nobody"], ready: "Server is ready", stop: Signal::INT };

/// A NATS server without users.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    daemon: Daemon,
    has_tls: bool,
    /// The arguments that make it one of several servers.
    cluster: Vec<String>,
}

/// Three NATS servers that store streams together.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Number of servers.
    pub const SERVERS: usize = 3;

    /// Starts the servers. Fails if NATS is not installed.
    pub fn start() -> Result<Self> {
        let mut servers = Vec::new();
        let mut reserved = Vec::new();
        for _ in 0..Self::SERVERS {
            servers.push(NatsServer::new()?);
            reserved.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        }
        let ports: Vec<u16> =
            reserved.iter().map(|port| Ok(port.local_addr()?.port())).collect::<Result<_>>()?;
        // The servers take the ports now.
        drop(reserved);
        let routes: Vec<String> =
            ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        for (number, (server, route)) in servers.iter_mut().zip(&routes).enumerate() {
            let name = format!("n{number}");
            let arguments = ["-n", &name, "-cluster", route, "-cluster_name", "waybill", "-routes"];
            server.cluster = arguments.map(str::to_owned).to_vec();
            server.cluster.push(routes.join(","));
            server.resume()?;
        }
        Ok(Self { servers })
    }

    /// Returns the address with all servers.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("nats://{}", hosts.join(","))
    }

    /// Returns the server that leads a stream, or `None` while none does.
    pub fn find_leader(&self, stream: &str) -> Option<usize> {
        let told = self.servers.iter().find_map(|server| server.ask_about(stream).ok())?;
        let (_, leader) = told.split_once("\"leader\":\"n")?;
        leader.split('"').next()?.parse().ok()
    }

    /// Kills a server as `kill -9` does.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        self.servers.get_mut(number).context("there are three")?.daemon.kill9()
    }

    /// Suspends a server. Its connections stay open and silent.
    pub fn suspend(&self, number: usize) -> Result<()> {
        self.servers.get(number).context("there are three")?.daemon.signal(Signal::STOP)
    }

    /// Resumes a server that was suspended.
    pub fn go_on(&self, number: usize) -> Result<()> {
        self.servers.get(number).context("there are three")?.daemon.signal(Signal::CONT)
    }

    /// Starts a server that was killed.
    pub fn resume(&mut self, number: usize) -> Result<()> {
        self.servers.get_mut(number).context("there are three")?.resume()
    }
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
        let cluster = Vec::new();
        Ok(Self { program, daemon: Daemon::new(&KIND)?, has_tls: false, cluster })
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
        command.args(&self.cluster);
        if self.has_tls {
            command.args(["--tls", "--tlscert", "server.crt", "--tlskey", "server.key"]);
        }
        self.daemon.start(command)
    }

    /// Asks JetStream about a stream, and returns the line of the answer (docs.nats.io, "Client
    /// Protocol").
    fn ask_about(&self, stream: &str) -> Result<String> {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()))?;
        server.set_read_timeout(Some(ANSWER))?;
        let asked = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB _INBOX.test 1\r\n\
             PUB $JS.API.STREAM.INFO.{stream} _INBOX.test 0\r\n\r\n"
        );
        server.write_all(asked.as_bytes())?;
        let lines = BufReader::new(server).lines();
        for line in lines {
            let line = line?;
            if line.contains("stream_info_response") {
                return Ok(line);
            }
        }
        bail!("the server closed the connection")
    }
}
