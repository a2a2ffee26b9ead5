//! A receiver of deliveries that follows a script of good and bad answers.
//!
//! Each path is separate: its replies are played in order, then the last one ([`Receiver::always`],
//! 200 by default) answers all further requests. Every request is recorded before it is answered,
//! so a test waits for arrivals and never for time.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, LOCATION, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// Time after which [`Receiver::wait_for`] fails the test. Far longer than any successful test
/// needs, even on a busy machine; the longest wait is for the lease of a killed server.
pub const ARRIVAL_LIMIT: Duration = Duration::from_mins(3);

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This status with a short body.
    Status(u16),
    /// This status, these headers, this body.
    Full {
        /// The status.
        status: u16,
        /// Headers in addition to those of every answer.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// 200 to this many requests in each second, and 429 with `Retry-After: 1` to the others.
    AtMost(usize),
    /// No answer: the connection stays open and silent.
    Hang,
    /// 200 after [`Receiver::release`] opens the path.
    Held,
    /// This status and these headers after [`Receiver::release`] opens the path.
    HeldWith {
        /// The status.
        status: u16,
        /// Headers in addition to those of every answer.
        headers: Vec<(String, String)>,
    },
    /// 200 and this body after [`Receiver::release`] opens the path.
    HeldJson(Value),
    /// 200, and then one byte of body every 50 ms without end.
    Drip,
    /// 200, and then 64 KiB of body after another without end.
    Endless,
    /// The connection is closed without an answer.
    Vanish,
}

impl Reply {
    /// Returns this status, and `Retry-After` in seconds.
    pub fn retry_after(status: u16, seconds: u32) -> Self {
        Self::with_header(status, RETRY_AFTER.as_str(), &seconds.to_string())
    }

    /// Returns the same after [`Receiver::release`] opens the path.
    pub fn held_retry_after(status: u16, seconds: u32) -> Self {
        let headers = vec![(RETRY_AFTER.to_string(), seconds.to_string())];
        Self::HeldWith { status, headers }
    }

    /// Returns a redirect to this address.
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::with_header(status, LOCATION.as_str(), to)
    }

    /// Returns this status and one header.
    pub fn with_header(status: u16, name: &str, value: &str) -> Self {
        let headers = vec![(name.to_owned(), value.to_owned())];
        Self::Full { status, headers, body: Bytes::from_static(b"told so") }
    }
}

/// One request that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The method.
    pub method: String,
    /// The path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// Time at which its last byte was read.
    pub at: Instant,
    /// The same time by the wall clock.
    pub wall: SystemTime,
}

impl Arrival {
    /// Returns the body as JSON. Fails the test if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a delivery's body is JSON")
    }

    /// Returns a header's text, or an empty text if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The receiver. It listens until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    book: Arc<Book>,
    listener: AbortHandle,
}

#[derive(Debug)]
struct Book {
    lanes: Mutex<HashMap<String, Lane>>,
    arrived: watch::Sender<usize>,
}

#[derive(Debug)]
struct Lane {
    script: VecDeque<Reply>,
    always: Reply,
    arrivals: Vec<Arrival>,
    /// The present second of [`Reply::AtMost`], and the number of requests accepted in it.
    second: (u64, usize),
    released: watch::Sender<bool>,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            script: VecDeque::new(),
            always: Reply::Status(200),
            arrivals: Vec::new(),
            second: (0, 0),
            released: watch::Sender::new(false),
        }
    }
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::on(0).await
    }

    /// Listens on this port of 127.0.0.1, for a receiver that replaces an earlier one.
    pub async fn on(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let book = Arc::new(Book { lanes: Mutex::default(), arrived: watch::Sender::new(0) });
        let listener = tokio::spawn(listen(listener, Arc::clone(&book))).abort_handle();
        Self { address, book, listener }
    }

    /// Returns the URL of a path (`/a`) of this receiver.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the port on which it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets the next answers of a path, in order.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.book.lane(path, |lane| lane.script.extend(replies));
    }

    /// Sets the answer of a path after the end of its script.
    pub fn always(&self, path: &str, reply: Reply) {
        self.book.lane(path, |lane| lane.always = reply);
    }

    /// Answers all present and further requests of a path that are [`Reply::Held`],
    /// [`Reply::HeldWith`] or [`Reply::HeldJson`].
    pub fn release(&self, path: &str) {
        self.book.lane(path, |lane| lane.released.send_replace(true));
    }

    /// Returns the requests to a path so far.
    pub fn arrivals(&self, path: &str) -> Vec<Arrival> {
        self.book.lane(path, |lane| lane.arrivals.clone())
    }

    /// Returns the number of requests to a path.
    pub fn count(&self, path: &str) -> usize {
        self.book.lane(path, |lane| lane.arrivals.len())
    }

    /// Waits until `n` requests have come to a path, and returns all of them.
    pub async fn wait_for(&self, path: &str, n: usize) -> Vec<Arrival> {
        let mut arrived = self.book.arrived.subscribe();
        let waited = tokio::time::timeout(ARRIVAL_LIMIT, async {
            while self.count(path) < n {
                arrived.changed().await.expect("the book outlives its waiters");
            }
        });
        let came = waited.await.is_ok();
        assert!(came, "{path}: {} of {n} requests after {ARRIVAL_LIMIT:?}", self.count(path));
        self.arrivals(path)
    }

    /// Waits for the first request of a path.
    pub async fn first(&self, path: &str) -> Arrival {
        self.wait_for(path, 1).await.swap_remove(0)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane<T>(&self, path: &str, work: impl FnOnce(&mut Lane) -> T) -> T {
        work(self.lock().entry(path.to_owned()).or_default())
    }

    /// Returns whether a path accepts another request in this second.
    fn has_room(&self, path: &str, limit: usize) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("a clock after 1970").as_secs();
        self.lane(path, |lane| {
            if lane.second.0 != now {
                lane.second = (now, 0);
            }
            lane.second.1 += 1;
            lane.second.1 <= limit
        })
    }

    /// Records an arrival and returns the next answer.
    fn arrive(&self, arrival: Arrival) -> (Reply, watch::Receiver<bool>) {
        let path = arrival.path.clone();
        let due = self.lane(&path, |lane| {
            lane.arrivals.push(arrival);
            let reply = lane.script.pop_front().unwrap_or_else(|| lane.always.clone());
            (reply, lane.released.subscribe())
        });
        self.arrived.send_modify(|n| *n += 1);
        due
    }
}

async fn listen(listener: TcpListener, book: Arc<Book>) {
    // Connections end with the receiver, because they belong to this task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&book)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, book: Arc<Book>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&book)));
    let server = auto::Builder::new(TokioExecutor::new());
    // Broken connections are part of the scenario.
    let _broken = server.serve_connection(TokioIo::new(stream), service).await;
}

/// Closes the connection of the request.
#[derive(Debug)]
struct Vanished;

impl std::fmt::Display for Vanished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the script says to vanish")
    }
}

impl std::error::Error for Vanished {}

async fn answer(
    request: Request<Incoming>,
    book: Arc<Book>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Vanished> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Err(Vanished) };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let (at, wall) = (Instant::now(), SystemTime::now());
    let (method, headers, body) = (head.method.to_string(), head.headers, body.to_bytes());
    let arrival = Arrival { method, path: path.clone(), headers, body, at, wall };
    let (reply, mut released) = book.arrive(arrival);
    match reply {
        Reply::Status(status) => Ok(full(status, &[], Bytes::from_static(b"ok"))),
        Reply::Full { status, headers, body } => Ok(full(status, &headers, body)),
        Reply::AtMost(limit) => {
            let (status, headers) = if book.has_room(&path, limit) {
                (200, Vec::new())
            } else {
                (429, vec![(RETRY_AFTER.to_string(), "1".to_owned())])
            };
            Ok(full(status, &headers, Bytes::from_static(b"ok")))
        }
        Reply::Hang => pending().await,
        Reply::Held => {
            let _closed = released.wait_for(|open| *open).await;
            Ok(full(200, &[], Bytes::new()))
        }
        Reply::HeldWith { status, headers } => {
            let _closed = released.wait_for(|open| *open).await;
            Ok(full(status, &headers, Bytes::new()))
        }
        Reply::HeldJson(body) => {
            let _closed = released.wait_for(|open| *open).await;
            Ok(full(200, &[], Bytes::from(body.to_string())))
        }
        Reply::Drip => Ok(Response::new(Stream::drip().boxed())),
        Reply::Endless => Ok(Response::new(Stream::endless().boxed())),
        Reply::Vanish => Err(Vanished),
    }
}

fn full(
    status: u16,
    headers: &[(String, String)],
    body: Bytes,
) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(http_body_util::Full::new(body).boxed()).expect("a script of valid headers")
}

/// An endless body.
struct Stream {
    piece: Bytes,
    every: Duration,
    next: Pin<Box<Sleep>>,
}

impl Stream {
    fn drip() -> Self {
        Self::new(Bytes::from_static(b"."), Duration::from_millis(50))
    }

    fn endless() -> Self {
        Self::new(vec![b'.'; 64 * 1024].into(), Duration::ZERO)
    }

    fn new(piece: Bytes, every: Duration) -> Self {
        Self { piece, every, next: Box::pin(tokio::time::sleep(every)) }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.every.is_zero() {
            std::task::ready!(self.next.as_mut().poll(context));
            let due = tokio::time::Instant::now() + self.every;
            self.next.as_mut().reset(due);
        }
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}
