//! Taking connections: bounded in number, in time and in what they may send before they are known.
//!
//! ```text
//!   accept ─► TLS ─► HTTP/1.1 or HTTP/2 ─► router
//!      │       │          │
//!      │       │          └ headers, and the rest between requests, in time; not too many, not too long
//!      │       └ handshake in time
//!      └ at most `server.max_connections`; where all are taken, those that rest are closed, and those
//!        whose request withholds its body
//! ```
//!
//! Guaranteed: a client that sends slowly, opens many connections or resets many requests holds up
//! no other for long. What a request's body may take is bounded where it is read
//! ([`crate::api::body`]). Not bounded here: what one address may open, because all clients of a
//! proxy share one.

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

/// Connections that may wait to be accepted, as far as the system lets them. With the usual 128, a
/// few hundred clients that connect together find the queue full and try again a second later.
const BACKLOG: u32 = 4_096;
/// Files that stay for the database, modules and name servers when all connections are taken.
const OTHER_FILES: u64 = 160;
/// Most outgoing connections. A machine has some 28,000 ports for them.
const MOST_OUTGOING: usize = 16_384;
/// How long nothing is accepted after the system refused to.
const PAUSE: Duration = Duration::from_millis(50);

/// What connections are held to.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionBounds {
    /// Connections at once.
    pub connections: usize,
    /// How long a connection may take for a handshake or a request's headers, and rest without
    /// moving.
    pub header_timeout: Duration,
}

/// What all connections of a listener share.
#[derive(Debug)]
pub struct ListenerShared {
    bounds: ConnectionBounds,
    certificates: Option<Arc<ServedCertificates>>,
    places: Arc<Semaphore>,
    /// Told when all places are taken: whoever rests makes room.
    pressure: Notify,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// A socket that is bound, and how its connections are served.
#[derive(Debug)]
pub struct BoundListener {
    socket: TcpListener,
    shared: Arc<ListenerShared>,
}

impl BoundListener {
    /// Binds an address; with certificates it speaks TLS alone.
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

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until it is told to stop, then waits for the requests under way.
    pub async fn run(self, router: Router) {
        let accepting = async {
            loop {
                match self.socket.accept().await {
                    // Only now, so that nobody has to make room for a client that does not come.
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

    /// A place for one more connection; where there is none, those that rest are closed.
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
        // Answers leave at once instead of waiting to be joined by more.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off Nagle's algorithm");
        }
        let shared = Arc::clone(&self.shared);
        self.shared.connections.spawn(async move {
            connection::serve_connection(stream, peer, router, &shared).await;
            drop(place);
        });
    }

    /// The system accepts no more: too many files, or the client has gone again.
    async fn failed(&self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
        {
            return;
        }
        tracing::warn!(%error, "cannot accept a connection; those that rest are closed");
        self.shared.pressure.notify_waiters();
        tokio::time::sleep(PAUSE).await;
    }
}

fn bind_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart takes the address over from connections of the last run that are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many connections there may be at once, by the limit of open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRoom {
    /// From callers.
    pub incoming: usize,
    /// To endpoints and sources.
    pub outgoing: usize,
}

impl ConnectionRoom {
    /// Connections that the redirect from HTTP to HTTPS takes out of those for requests: a
    /// sixteenth. Each of its answers is short, and an attack on it must not use up what the server
    /// needs.
    pub fn split_off_redirect(&mut self) -> usize {
        let redirect = (self.incoming / 16).max(1);
        self.incoming = (self.incoming - redirect).max(1);
        redirect
    }
}

/// Raises how many files this process may have open as far as it may, and shares them out: some for
/// the database and modules, a third of the others for outgoing connections, what is left for
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
    fn the_redirect_takes_its_connections_from_those_for_requests() {
        let mut room = ConnectionRoom { incoming: 160, outgoing: 80 };
        assert_eq!((room.split_off_redirect(), room.incoming), (10, 150));
        let mut least = ConnectionRoom { incoming: 1, outgoing: 1 };
        assert_eq!((least.split_off_redirect(), least.incoming), (1, 1));
    }

    #[test]
    fn files_are_shared_by_incoming_and_outgoing_connections() {
        let room = |incoming, outgoing| ConnectionRoom { incoming, outgoing };
        assert_eq!(share_descriptors(1_024, 16_384), room(576, 288));
        assert_eq!(share_descriptors(1_024, 100), room(100, 288));
        assert_eq!(share_descriptors(1_048_576, 16_384), room(16_384, MOST_OUTGOING));
        assert_eq!(share_descriptors(100, 16_384), room(1, 1));
        assert_eq!(share_descriptors(u64::MAX, 5), room(5, MOST_OUTGOING));
    }
}
