//! The receiver: answers every delivery at once and records it.
//!
//! A cell for each event and endpoint holds the first arrival's latency, so that latencies, losses
//! and duplicates are exact and cost one atomic operation each.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::template;

/// One in this many signatures is verified.
const VERIFY_EVERY: u64 = 16;

/// The received deliveries.
#[derive(Debug)]
pub(crate) struct Book {
    /// Microseconds from send to first arrival, plus one; 0 means not yet.
    cells: Vec<AtomicU32>,
    endpoints: usize,
    secrets: Vec<OnceLock<String>>,
    unique: AtomicU64,
    duplicates: AtomicU64,
    unknown: AtomicU64,
    verified: AtomicU64,
    bad_signatures: AtomicU64,
    last_arrival: AtomicU64,
    arrived: Notify,
}

/// A receiver on loopback that listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The received deliveries.
    pub(crate) book: Arc<Book>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Sink {
    /// Listens for `events` events at `endpoints` endpoints.
    pub(crate) async fn start(events: usize, endpoints: usize) -> Result<Self> {
        let book = Arc::new(Book {
            cells: (0..events * endpoints).map(|_| AtomicU32::new(0)).collect(),
            endpoints,
            secrets: (0..endpoints).map(|_| OnceLock::new()).collect(),
            unique: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            bad_signatures: AtomicU64::new(0),
            last_arrival: AtomicU64::new(0),
            arrived: Notify::new(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, Arc::clone(&book)));
        Ok(Self { book, address, _tasks: tasks })
    }

    /// Returns the URL of one endpoint.
    pub(crate) fn url(&self, endpoint: usize) -> String {
        format!("http://{}/hook/{endpoint}", self.address)
    }
}

impl Book {
    /// Sets the secret with which an endpoint's deliveries are signed.
    pub(crate) fn secret(&self, endpoint: usize, secret: &str) -> Result<()> {
        let slot = self.secrets.get(endpoint).context("an endpoint of this receiver")?;
        slot.set(secret.to_owned()).ok().context("an endpoint has one secret")
    }

    /// Waits until `count` different deliveries came, or none came for `idle`.
    pub(crate) async fn wait(&self, count: u64, idle: Duration) {
        loop {
            let arrived = self.arrived.notified();
            let seen = self.unique();
            if seen >= count {
                return;
            }
            let waited = tokio::time::timeout(idle, arrived).await;
            if waited.is_err() && self.unique() == seen {
                return;
            }
        }
    }

    /// Returns the number of different deliveries so far.
    pub(crate) fn unique(&self) -> u64 {
        self.unique.load(Relaxed)
    }

    /// Returns the number of repeated deliveries.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.load(Relaxed)
    }

    /// Returns the number of wrong signatures and of bodies without a mark.
    pub(crate) fn bad(&self) -> u64 {
        self.bad_signatures.load(Relaxed) + self.unknown.load(Relaxed)
    }

    /// Returns the number of verified signatures.
    pub(crate) fn verified(&self) -> u64 {
        self.verified.load(Relaxed)
    }

    /// Returns the time of the last first arrival, in microseconds since 1970.
    pub(crate) fn last_arrival(&self) -> u64 {
        self.last_arrival.load(Relaxed)
    }

    /// Returns the latencies of all deliveries of the events from number `first` on, in
    /// microseconds.
    pub(crate) fn latencies(&self, first: usize) -> Vec<u32> {
        let cells = self.cells.iter().skip(first * self.endpoints);
        cells.map(|cell| cell.load(Relaxed)).filter(|cell| *cell > 0).map(|cell| cell - 1).collect()
    }

    fn arrival(&self, head: &Parts, body: &[u8]) {
        let now = now_micros();
        let path = head.uri.path();
        let endpoint = path.rsplit('/').next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        let cell = template::mark(body).and_then(|(seq, sent)| {
            let cell = self.cells.get(seq * self.endpoints + endpoint)?;
            Some((cell, u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX - 1) + 1))
        });
        let Some((cell, latency)) = cell else {
            self.unknown.fetch_add(1, Relaxed);
            return;
        };
        if cell.compare_exchange(0, latency, Relaxed, Relaxed).is_err() {
            self.duplicates.fetch_add(1, Relaxed);
            return;
        }
        self.last_arrival.fetch_max(now, Relaxed);
        if self.unique.fetch_add(1, Relaxed).is_multiple_of(VERIFY_EVERY) {
            self.verify(head, endpoint, body);
        }
        self.arrived.notify_one();
    }

    fn verify(&self, head: &Parts, endpoint: usize, body: &[u8]) {
        let Some(secret) = self.secrets.get(endpoint).and_then(OnceLock::get) else { return };
        self.verified.fetch_add(1, Relaxed);
        if !signed(head, secret, body).unwrap_or(false) {
            self.bad_signatures.fetch_add(1, Relaxed);
        }
    }
}

/// Returns whether one of the Standard Webhooks signatures fits (specification, "Verifying
/// signatures").
fn signed(head: &Parts, secret: &str, body: &[u8]) -> Option<bool> {
    let header = |name: &str| head.headers.get(name)?.to_str().ok();
    let key = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = BASE64_STANDARD.decode(key).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    for part in [header("webhook-id")?, ".", header("webhook-timestamp")?, "."] {
        mac.update(part.as_bytes());
    }
    mac.update(body);
    let fits = |signature: &str| {
        let tag = signature.strip_prefix("v1,").and_then(|tag| BASE64_STANDARD.decode(tag).ok());
        tag.is_some_and(|tag| mac.clone().verify_slice(&tag).is_ok())
    };
    Some(header("webhook-signature")?.split(' ').any(fits))
}

async fn listen(listener: TcpListener, book: Arc<Book>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Without this, small answers wait for acknowledgements. A failure only makes them slow.
        let _slow = stream.set_nodelay(true);
        let book = Arc::clone(&book);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&book)));
            let connection = hyper::server::conn::http1::Builder::new();
            let _broken = connection.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    book: Arc<Book>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    book.arrival(&head, &body);
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

/// Returns the wall clock in microseconds since 1970, with which marks and arrivals are compared.
pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
