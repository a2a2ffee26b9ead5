//! Accepts connections, with bounds on their number, their time and the bytes that an unknown
//! client may send.
//!
//! ```text
//!   accept ─► TLS ─► HTTP/1.1 or HTTP/2 ─► router
//!      │       │          │
//!      │       │          └ bounds on time, number and size of headers, and on idle time
//!      │       └ a bound on the time of the handshake
//!      └ at most `server.max_connections`; if all are taken, idle connections are closed, and
//!        connections that wait for the body of a request
//! ```
//!
//! A client that sends slowly, opens many connections or resets many requests does not hold up
//! others for long. The size of a request's body is bounded where the body is read
//! ([`crate::api::body`]). The connections of one address are not bounded here, because all clients
//! of a proxy share one address.

pub mod connection;
pub mod redirect;
pub mod tls;

use axum::Router;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::ServedCertificates;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that may wait to be accepted, as far as the system allows. With the usual 128, a few
/// hundred clients that connect together fill the queue and retry a second later.
const BACKLOG: u32 = 4_096;
/// File descriptors reserved for the database, modules and name servers when all connections are
/// taken.
const OTHER_FILES: u64 = 160;
/// Most outgoing connections. A machine has about 28,000 ports for them.
const MOST_OUTGOING: usize = 16_384;
/// Pause of the listener after the system refused to accept a connection, and between two attempts
/// to make room.
const PAUSE: Duration = Duration::from_millis(50);

/// The limits of a listener's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionBounds {
    /// Most concurrent connections.
    pub connections: usize,
    /// Longest time that a connection may take for a handshake or a request's headers, or stay
    /// idle.
    pub header_timeout: Duration,
}

/// The state that all connections of a listener share.
#[derive(Debug)]
pub struct ListenerShared {
    bounds: ConnectionBounds,
    certificates: Option<Arc<ServedCertificates>>,
    places: Arc<Semaphore>,
    /// Notified when all connections are taken, so that idle ones close.
    pressure: Notify,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// A bound socket, and how its connections are served.
#[derive(Debug)]
pub struct BoundListener {
    socket: TcpListener,
    shared: Arc<ListenerShared>,
}

impl BoundListener {
    /// Binds an address. With certificates, the listener accepts only TLS. Fails if the address is
    /// in use or not allowed.
    pub fn bind(
        address: SocketAddr,
        bounds: ConnectionBounds,
        certificates: Option<Arc<ServedCertificates>>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let shared = ListenerShared {
            bounds,
            certificates,
            places: Arc::new(Semaphore::new(bounds.connections)),
            pressure: Notify::new(),
            stop,
            connections: TaskTracker::new(),
        };
        Ok(Self { socket: bind_listener(address)?, shared: Arc::new(shared) })
    }

    /// Returns the bound address, with the port that the system chose for port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves connections until told to stop, then waits for the requests in progress.
    pub async fn run(self, router: Router) {
        let accepting = async {
            loop {
                match self.socket.accept().await {
                    // The place is taken only after a client arrived, so idle connections are not
                    // closed without need.
                    Ok((stream, peer)) => {
                        let place = self.place().await;
                        self.serve(stream, peer, place, router.clone());
                    }
                    Err(error) => self.failed(&error).await,
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = self.shared.stop.cancelled() => {}
        }
        drop(self.socket);
        self.shared.connections.close();
        self.shared.connections.wait().await;
    }

    /// Takes a place for one more connection. If all are taken, idle connections are closed until
    /// one is free.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let places = &self.shared.places;
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        loop {
            self.shared.pressure.notify_waiters();
            let place = tokio::time::timeout(PAUSE, Arc::clone(places).acquire_owned()).await;
            if let Ok(place) = place {
                return place.ok();
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
        router: Router,
    ) {
        // Send answers immediately instead of waiting for more data to join them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off Nagle's algorithm");
        }
        let shared = Arc::clone(&self.shared);
        self.shared.connections.spawn(async move {
            connection::serve_connection(stream, peer, router, &shared).await;
            drop(place);
        });
    }

    /// Handles a failed accept: either the client has already gone, or too many files are open.
    async fn failed(&self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
        {
            return;
        }
        tracing::warn!(%error, "cannot accept a connection; closing idle connections");
        self.shared.pressure.notify_waiters();
        tokio::time::sleep(PAUSE).await;
    }
}

fn bind_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart, connections of the previous process may still be closing on this address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The number of connections that the limit of open files permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRoom {
    /// Connections from callers.
    pub incoming: usize,
    /// Connections to endpoints and sources.
    pub outgoing: usize,
}

impl ConnectionRoom {
    /// Splits off the connections for the redirect from HTTP to HTTPS: a sixteenth of the incoming
    /// ones. Its answers are short, and an attack on it must not use up the connections for
    /// requests.
    pub fn split_off_redirect(&mut self) -> usize {
        let redirect = (self.incoming / 16).max(1);
        self.incoming = (self.incoming - redirect).max(1);
        redirect
    }
}

/// Raises the limit of open files as far as the system permits, and divides it: a reserve for the
/// database and modules, a third of the rest for outgoing connections, and what is left for
/// incoming ones, at most `wanted`.
pub fn share_files(wanted: usize) -> ConnectionRoom {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
    let files = getrlimit(Resource::Nofile).current;
    let room = share_descriptors(files.unwrap_or(u64::MAX), wanted);
    if room.incoming < wanted {
        tracing::warn!(
            room = room.incoming,
            wanted,
            "fewer connections than server.max_connections: raise the limit of open files (ulimit -n)"
        );
    }
    room
}

fn share_descriptors(files: u64, wanted: usize) -> ConnectionRoom {
    let connections = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let outgoing = (connections / 3).clamp(1, MOST_OUTGOING);
    let incoming = connections.saturating_sub(outgoing).clamp(1, wanted.max(1));
    ConnectionRoom { incoming, outgoing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redirect_gets_a_sixteenth_of_the_incoming_connections() {
        let mut room = ConnectionRoom { incoming: 160, outgoing: 80 };
        assert_eq!((room.split_off_redirect(), room.incoming), (10, 150));
        let mut least = ConnectionRoom { incoming: 1, outgoing: 1 };
        assert_eq!((least.split_off_redirect(), least.incoming), (1, 1));
    }

    #[test]
    fn files_are_divided_between_incoming_and_outgoing_connections() {
        let room = |incoming, outgoing| ConnectionRoom { incoming, outgoing };
        assert_eq!(share_descriptors(1_024, 16_384), room(576, 288));
        assert_eq!(share_descriptors(1_024, 100), room(100, 288));
        assert_eq!(share_descriptors(1_048_576, 16_384), room(16_384, MOST_OUTGOING));
        assert_eq!(share_descriptors(100, 16_384), room(1, 1));
        assert_eq!(share_descriptors(u64::MAX, 5), room(5, MOST_OUTGOING));
    }
}
