//! Counts and watches the connections of the pool, and closes idle ones when others need their
//! place.
//!
//! A pool keeps connections open for a while after their use. The other side may close one at any
//! moment, even while a request is being sent on it. [`ConnectionWatch`] recognises that case: the
//! connection had been used before, and no byte arrived since the last request.

use super::dial::GuardedDialler;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower_service::Service;

/// Interval at which another idle connection is closed while no place is free.
const PRESS: Duration = Duration::from_millis(50);
/// Idle time after which a connection may be closed for another one.
const AT_REST: Duration = Duration::from_millis(100);

type TlsOrPlainStream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// The observed traffic of a connection.
#[derive(Debug)]
struct ConnectionProgress {
    born: Instant,
    /// Number of times that writing began after reading. Over HTTP/1 this is the number of
    /// requests.
    turns: AtomicU64,
    /// Whether the last traffic was a write. Over HTTP/1 this means that no byte of an answer has
    /// arrived yet.
    asked: AtomicBool,
    /// Whether any request was answered.
    answered: AtomicBool,
    /// Whether the connection speaks HTTP/2, so that requests share it.
    shared: bool,
    /// Number of open requests on a shared connection.
    in_use: AtomicUsize,
    /// Time from `born` to the last start of reading or writing, in milliseconds.
    moved: AtomicU64,
    /// Set when another connection needs the place.
    unwanted: AtomicBool,
    reader: AtomicWaker,
}

/// Reports the state of a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectionWatch(Arc<ConnectionProgress>);

impl ConnectionWatch {
    fn new(shared: bool) -> Self {
        Self(Arc::new(ConnectionProgress {
            shared,
            in_use: AtomicUsize::new(0),
            born: Instant::now(),
            turns: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            unwanted: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }))
    }

    /// Whether the connection had carried a request before the failed one, and no byte of an answer
    /// to the failed one arrived. On a shared connection only the first part is known. An answer
    /// without a complete head counts as one that did not arrive.
    pub fn was_stale(&self) -> bool {
        if self.0.shared {
            return self.0.answered.load(Ordering::Relaxed);
        }
        self.0.turns.load(Ordering::Relaxed) > 1 && self.0.asked.load(Ordering::Relaxed)
    }

    /// Counts an open request on a shared connection until the result is dropped. Returns `None` if
    /// the connection is not shared.
    pub fn of_shared(connected: &Connected) -> Option<SharedUse> {
        if !connected.is_negotiated_h2() {
            return None;
        }
        let mut extras = http::Extensions::new();
        connected.get_extras(&mut extras);
        let watch = extras.remove::<Self>()?;
        watch.0.in_use.fetch_add(1, Ordering::Relaxed);
        Some(SharedUse(watch))
    }

    /// Records that a request was answered on this connection.
    pub fn note_answer(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    /// Returns how long the connection has been idle, that is without an unanswered request.
    /// Returns `None` if it is in use, was never used, or has been idle for less than [`AT_REST`].
    fn rest(&self) -> Option<Duration> {
        let moved = self.0.born + Duration::from_millis(self.0.moved.load(Ordering::Relaxed));
        let resting = if self.0.shared {
            self.0.in_use.load(Ordering::Relaxed) == 0
        } else {
            !self.0.asked.load(Ordering::Relaxed)
        };
        let used = self.0.turns.load(Ordering::Relaxed) > 0;
        (resting && used).then(|| moved.elapsed()).filter(|rest| *rest >= AT_REST)
    }

    /// Makes the connection end as if the other side had closed it.
    fn close(&self) {
        self.0.unwanted.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    fn note_write(&self) {
        if !self.0.asked.swap(true, Ordering::Relaxed) {
            self.0.turns.fetch_add(1, Ordering::Relaxed);
            self.note_move();
        }
    }

    fn note_read(&self) {
        if self.0.asked.swap(false, Ordering::Relaxed) {
            self.note_move();
        }
    }

    fn note_move(&self) {
        let moved = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.moved.store(moved, Ordering::Relaxed);
    }
}

/// An open request on a shared connection.
#[derive(Debug)]
pub struct SharedUse(ConnectionWatch);

impl Drop for SharedUse {
    fn drop(&mut self) {
        self.0.note_move();
        self.0.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The open connections of a client, bounded in number.
#[derive(Debug)]
pub struct ConnectionPlaces {
    places: Arc<Semaphore>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, ConnectionWatch>>,
}

impl ConnectionPlaces {
    /// Allows at most `most` connections at the same time.
    pub fn new(most: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { places, next: AtomicU64::new(0), open: Mutex::default() })
    }

    /// Waits for a place for a connection. While none is free, closes the connection that has been
    /// idle longest.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            self.close_one();
            let place = tokio::time::timeout(PRESS, Arc::clone(&self.places).acquire_owned()).await;
            if let Ok(Ok(place)) = place {
                return place;
            }
        }
    }

    fn close_one(&self) {
        let open = self.open();
        let unwanted = |watch: &&ConnectionWatch| !watch.0.unwanted.load(Ordering::Relaxed);
        let resting =
            open.values().filter(unwanted).filter_map(|watch| Some((watch.rest()?, watch)));
        if let Some((_, longest)) = resting.max_by_key(|(rest, _)| *rest) {
            longest.close();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, ConnectionWatch>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens connections, at most as many as there are places.
#[derive(Debug, Clone)]
pub struct BoundedConnector {
    https: HttpsConnector<GuardedDialler>,
    connections: Arc<ConnectionPlaces>,
}

impl BoundedConnector {
    /// Makes a connector for these places, which several connectors may share.
    pub const fn new(
        https: HttpsConnector<GuardedDialler>,
        connections: Arc<ConnectionPlaces>,
    ) -> Self {
        Self { https, connections }
    }
}

impl Service<Uri> for BoundedConnector {
    type Response = TokioIo<WatchedConnection>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (mut https, connections) = (self.https.clone(), Arc::clone(&self.connections));
        Box::pin(async move {
            let place = connections.place().await;
            let stream = TokioIo::new(https.call(uri).await?);
            let id = connections.next.fetch_add(1, Ordering::Relaxed);
            let watch = ConnectionWatch::new(stream.inner().connected().is_negotiated_h2());
            connections.open().insert(id, watch.clone());
            let connection = WatchedConnection { stream, watch, id, connections, _place: place };
            Ok(TokioIo::new(connection))
        })
    }
}

/// A connection that occupies its place until it is dropped.
#[derive(Debug)]
pub struct WatchedConnection {
    stream: TlsOrPlainStream,
    watch: ConnectionWatch,
    id: u64,
    connections: Arc<ConnectionPlaces>,
    _place: OwnedSemaphorePermit,
}

impl Drop for WatchedConnection {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
    }
}

impl Connection for WatchedConnection {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.watch.clone())
    }
}

impl AsyncRead for WatchedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.note_read();
        }
        if read.is_pending() {
            self.watch.0.reader.register(cx.waker());
            if self.watch.0.unwanted.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
        }
        read
    }
}

impl AsyncWrite for WatchedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch.note_write();
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.note_write();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
