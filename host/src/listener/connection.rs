//! Serves one connection from its first byte to its last.
//!
//! hyper bounds the number and size of a request's headers. Time is watched from outside, with one
//! timer for each connection. A connection is closed if no request begins on it, no answer makes
//! progress and no request is being worked on. So a client cannot hold a connection by staying
//! idle, by sending headers slowly, or by not reading its answer.
//!
//! Only steps that cost the client something count as progress: a new request, or room for more of
//! an answer. Received bytes do not count, and neither do bytes sent on HTTP/2, because a PING
//! causes both.

use super::ListenerShared;
use axum::Router;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

/// Most header fields of a request.
const MAX_HEADERS: usize = 100;
/// Most bytes of a request's headers.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Most concurrent requests on an HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Bytes that an HTTP/2 client may send on a connection before they are read. These bytes are in
/// memory before the budget for bodies counts them.
const WINDOW: u32 = 256 * 1024;
/// Idle time after which a connection may be closed to make room for others.
const REST: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shared: &ListenerShared,
) {
    let Some(certificates) = &shared.certificates else {
        return talk(stream, peer, router, shared).await;
    };
    let acceptor = TlsAcceptor::from(certificates.server_config());
    let handshake = tokio::time::timeout(shared.bounds.header_timeout, acceptor.accept(stream));
    match handshake.await {
        Ok(Ok(stream)) => talk(stream, peer, router, shared).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

/// Speaks HTTP on a connection, with or without TLS.
async fn talk<S>(stream: S, peer: SocketAddr, router: Router, shared: &ListenerShared)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let activity = Arc::new(ConnectionActivity::default());
    let io = WatchedStream { inner: TokioIo::new(stream), activity: Arc::clone(&activity) };
    let service = service_fn(|request: Request<Incoming>| {
        let working = WorkingGuard::new(&activity, request.version());
        let mut request =
            request.map(|body| axum::body::Body::new(AwaitedBody::new(body, &activity)));
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut router = router.clone();
        async move {
            let answer = router.call(request).await;
            answer.map(|answer| answer.map(|body| NotedBody::new(body, &working)))
        }
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut rests = pin!(rests(&activity, shared));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
                return;
            }
            () = shared.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = rests.as_mut() => {
                tracing::debug!(%peer, "closing an idle connection");
                return;
            }
        }
    }
}

/// Returns the settings for hyper. Its own timer for headers stays off: [`rests`] covers headers
/// too, and one timer for each connection is cheaper than one for each request.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_headers(MAX_HEADERS).max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    builder
}

/// Whether a connection makes progress.
#[derive(Debug, Default)]
struct ConnectionActivity {
    /// Grows with each step of progress.
    moved: AtomicU32,
    /// Requests that are being worked on.
    working: AtomicU32,
    /// The requests among them that wait for more of their body.
    awaiting: AtomicU32,
    /// Whether the connection speaks HTTP/1. On HTTP/1, bytes are sent only for answers.
    http1: AtomicBool,
}

impl ConnectionActivity {
    fn note(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the progress counter, or `None` while a request is being worked on.
    fn seen(&self) -> Option<u32> {
        let works = self.working.load(Ordering::Relaxed) > 0;
        (!works).then(|| self.moved.load(Ordering::Relaxed))
    }

    /// Returns the progress counter while other clients wait for a connection: then a request that
    /// waits for its body does not count as being worked on.
    fn seen_in_need(&self) -> Option<u32> {
        let working = self.working.load(Ordering::Relaxed);
        let works = working > self.awaiting.load(Ordering::Relaxed);
        (!works).then(|| self.moved.load(Ordering::Relaxed))
    }
}

/// Returns when the connection made no progress for the time that headers may take, at most half as
/// long again. While other clients wait for a connection, one second without progress is enough.
async fn rests(activity: &ConnectionActivity, shared: &ListenerShared) {
    let look = shared.bounds.header_timeout / 2;
    let (mut before, mut unmoved) = (None, 0);
    while unmoved < 2 {
        let rest = tokio::select! {
            () = tokio::time::sleep(look) => false,
            () = shared.pressure.notified() => true,
        };
        if rest {
            let before = activity.seen_in_need();
            tokio::time::sleep(REST).await;
            if before.is_some() && before == activity.seen_in_need() {
                return;
            }
            continue;
        }
        let now = activity.seen();
        unmoved = if now.is_some() && now == before { unmoved + 1 } else { 0 };
        before = now;
    }
}

/// Counts a request as being worked on until it is dropped.
struct WorkingGuard(Arc<ConnectionActivity>);

impl WorkingGuard {
    fn new(activity: &Arc<ConnectionActivity>, version: Version) -> Self {
        activity.http1.store(version <= Version::HTTP_11, Ordering::Relaxed);
        activity.working.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for WorkingGuard {
    fn drop(&mut self) {
        // The answer has yet to be sent, so the end of the work counts as progress.
        self.0.note();
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request's body that records whether more of it is awaited. Only each [`PIECE`] counts as
/// progress; otherwise a client could hold a connection by sending a byte now and then.
struct AwaitedBody {
    body: Incoming,
    activity: Arc<ConnectionActivity>,
    waits: bool,
    /// Bytes received since the last progress.
    came: usize,
}

impl AwaitedBody {
    fn new(body: Incoming, activity: &Arc<ConnectionActivity>) -> Self {
        Self { body, activity: Arc::clone(activity), waits: false, came: 0 }
    }

    fn set_waits(&mut self, waits: bool) {
        if self.waits == waits {
            return;
        }
        self.waits = waits;
        if waits {
            self.activity.awaiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.activity.awaiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn note_bytes(&mut self, bytes: usize) {
        self.came += bytes;
        if self.came >= PIECE {
            self.came = 0;
            self.activity.note();
        }
    }
}

impl Body for AwaitedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.set_waits(polled.is_pending());
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.note_bytes(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AwaitedBody {
    fn drop(&mut self) {
        self.set_waits(false);
    }
}

/// An answer's body that records progress for each piece that the client makes room for.
struct NotedBody {
    body: axum::body::Body,
    /// The rest of a piece that was longer than [`PIECE`].
    rest: Bytes,
    activity: Arc<ConnectionActivity>,
}

/// Bytes that count as one step of progress: at most of an answer, at least of a request's body.
const PIECE: usize = 16 * 1024;

impl NotedBody {
    fn new(body: axum::body::Body, working: &WorkingGuard) -> Self {
        Self { body, rest: Bytes::new(), activity: Arc::clone(&working.0) }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        self.activity.note();
        Frame::data(self.rest.split_to(self.rest.len().min(PIECE)))
    }
}

impl Body for NotedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(polled.map(|frame| match frame?.into_data() {
            Ok(data) => {
                self.rest = data;
                Ok(self.piece())
            }
            Err(trailers) => Ok(trailers),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// A stream that records sent bytes as progress.
struct WatchedStream<S> {
    inner: TokioIo<S>,
    activity: Arc<ConnectionActivity>,
}

impl<S> WatchedStream<S> {
    fn noted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Ok(_))) && self.activity.http1.load(Ordering::Relaxed) {
            self.activity.note();
        }
        polled
    }
}

impl<S: tokio::io::AsyncRead + Unpin> Read for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> Write for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.noted(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.noted(polled)
    }
}
