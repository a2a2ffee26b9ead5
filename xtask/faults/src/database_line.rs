//! The line between a node and its database: a proxy on loopback that can go silent.
//!
//! A silent line behaves as behind a firewall that drops packets: nothing is forwarded, and nobody
//! is told that a connection has ended.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are forwarded at once.
const CHUNK: usize = 16 * 1024;

/// A proxy in front of a database. Its connections end with it.
#[derive(Debug)]
pub(crate) struct DatabaseLine {
    port: u16,
    silence: watch::Sender<Silence>,
    _tasks: JoinSet<()>,
}

/// Which connections are silent. Connections are numbered in the order in which they were made.
#[derive(Debug, Clone, Copy, Default)]
struct Silence {
    /// Whether all are, also those that are made now.
    is_complete: bool,
    /// Those with a lower number are, for good.
    below: u64,
    /// The number of the next connection.
    next: u64,
}

impl Silence {
    fn forwards(self, connection: u64) -> bool {
        !self.is_complete && connection >= self.below
    }
}

impl DatabaseLine {
    /// Forwards to the server at this port of 127.0.0.1.
    pub(crate) async fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let silence = watch::Sender::new(Silence::default());
        let mut tasks = JoinSet::new();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
        tasks.spawn(listen(listener, server, silence.clone()));
        Ok(Self { port, silence, _tasks: tasks })
    }

    /// Returns a database's URL with the proxy in place of the server.
    pub(crate) fn url(&self, database: &str) -> Result<String> {
        let (before, rest) = database.split_once("127.0.0.1:").context("a URL of this machine")?;
        let (_, name) = rest.split_once('/').context("a URL with a database")?;
        Ok(format!("{before}127.0.0.1:{}/{name}", self.port))
    }

    /// Stops or resumes forwarding on all connections. Held bytes are forwarded afterwards.
    pub(crate) fn silence_all(&self, is_complete: bool) {
        self.silence.send_modify(|silence| silence.is_complete = is_complete);
    }

    /// Stops forwarding on the present connections for good. New ones are forwarded.
    pub(crate) fn silence_present(&self) {
        self.silence.send_modify(|silence| silence.below = silence.next);
    }
}

async fn listen(listener: TcpListener, server: SocketAddr, silence: watch::Sender<Silence>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let mut number = 0;
        silence.send_modify(|silence| {
            number = silence.next;
            silence.next += 1;
        });
        let gate = LineGate { number, silence: silence.subscribe() };
        connections.spawn(connect(near, server, gate));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection's view of the silence.
#[derive(Debug, Clone)]
struct LineGate {
    number: u64,
    silence: watch::Receiver<Silence>,
}

impl LineGate {
    /// Waits until the connection is not silent. Returns false when the proxy has ended.
    async fn opens(&mut self) -> bool {
        let number = self.number;
        self.silence.wait_for(|silence| silence.forwards(number)).await.is_ok()
    }
}

async fn connect(near: TcpStream, server: SocketAddr, mut gate: LineGate) {
    if !gate.opens().await {
        return;
    }
    // A server that is down refuses, and so the near side's connection is closed.
    let Ok(far) = TcpStream::connect(server).await else { return };
    let (Ok(()), Ok(())) = (near.set_nodelay(true), far.set_nodelay(true)) else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(forward(near_in, far_out, gate.clone()), forward(far_in, near_out, gate));
}

/// Forwards one direction until its end. The end is passed on too, unless the line is silent.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: LineGate) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await.unwrap_or(0);
        if !gate.opens().await {
            return;
        }
        let bytes = chunk.get(..count).unwrap_or_default();
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            // Dropping this half closes the direction.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a server that sends back what it gets, and returns its port.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        port
    }

    async fn call(port: u16) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        assert_eq!(exchange(&mut stream, b"a").await, b'a');
        stream
    }

    async fn exchange(stream: &mut TcpStream, byte: &[u8]) -> u8 {
        stream.write_all(byte).await.unwrap();
        stream.read_u8().await.unwrap()
    }

    #[tokio::test]
    async fn held_bytes_arrive_when_the_line_works_again() {
        let line = DatabaseLine::to(echo().await).await.unwrap();
        let mut stream = call(line.port).await;
        line.silence_all(true);
        stream.write_all(b"b").await.unwrap();
        let mut new = TcpStream::connect((Ipv4Addr::LOCALHOST, line.port)).await.unwrap();
        new.write_all(b"c").await.unwrap();
        line.silence_all(false);
        assert_eq!([stream.read_u8().await.unwrap(), new.read_u8().await.unwrap()], *b"bc");
    }

    #[tokio::test]
    async fn old_connections_stay_silent_beside_new_ones() {
        let line = DatabaseLine::to(echo().await).await.unwrap();
        let mut old = call(line.port).await;
        line.silence_present();
        old.write_all(b"b").await.unwrap();
        call(line.port).await;
        let mut nothing = [0];
        let read = old.try_read(&mut nothing).map_err(|error| error.kind());
        assert_eq!(read, Err(std::io::ErrorKind::WouldBlock));
    }

    #[tokio::test]
    async fn the_url_names_the_proxy() {
        let line = DatabaseLine::to(1).await.unwrap();
        let url = line.url("postgres://postgres@127.0.0.1:5432/name?a=b").unwrap();
        assert_eq!(url, format!("postgres://postgres@127.0.0.1:{}/name?a=b", line.port));
    }
}
