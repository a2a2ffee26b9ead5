//! A line to a receiver that can be closed, cut and slowed down: a proxy on loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Bytes that are forwarded at once.
const CHUNK: usize = 16 * 1024;

/// The state of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct GateState {
    /// Whether connections are closed, also those that are made now.
    is_closed: bool,
    /// The wait before each chunk from the receiver.
    delay: Duration,
}

/// A proxy in front of a receiver. Its connections end with it.
#[derive(Debug)]
pub(super) struct Gate {
    port: u16,
    state: watch::Sender<GateState>,
    _tasks: JoinSet<()>,
}

impl Gate {
    /// Forwards to the receiver at this port of 127.0.0.1.
    pub(super) async fn to(receiver: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(GateState::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, receiver, state.clone()));
        Self { port, state, _tasks: tasks }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections and each further one at once, or opens the line again.
    pub(super) fn close(&self, is_closed: bool) {
        self.state.send_modify(|state| state.is_closed = is_closed);
    }

    /// Delays everything that comes from the receiver.
    pub(super) fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }
}

async fn listen(listener: TcpListener, receiver: u16, state: watch::Sender<GateState>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(forward(client, receiver, state.subscribe()));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(client: TcpStream, receiver: u16, mut state: watch::Receiver<GateState>) {
    let delays = state.clone();
    let forwarding = async move {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, receiver)).await else { return };
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let up = async {
            drop(tokio::io::copy(&mut from_client, &mut to_server).await);
            drop(to_server.shutdown().await);
        };
        let down = async {
            let mut chunk = vec![0; CHUNK];
            while let Ok(read @ 1..) = from_server.read(&mut chunk).await {
                let delay = delays.borrow().delay;
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                if to_client.write_all(&chunk[..read]).await.is_err() {
                    return;
                }
            }
            drop(to_client.shutdown().await);
        };
        tokio::join!(up, down);
    };
    tokio::select! {
        _closed = state.wait_for(|state| state.is_closed) => {}
        () = forwarding => {}
    }
}
