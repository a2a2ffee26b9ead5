//! The load: a bounded number of requests over keep-alive connections. Each connection sends when
//! it has its answer, or all of them together send at a given rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use waybill_tests::server::ADMIN_TOKEN;

use crate::sink::now_micros;
use crate::template;

/// Longest duration of a load.
const TIME_LIMIT: Duration = Duration::from_mins(5);

/// Makes a request from the number with which it begins and the number of its events.
pub(crate) type Make = dyn Fn(usize, usize) -> Result<Request<Full<Bytes>>> + Send + Sync;

/// One bounded load of events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// The events' type.
    pub(crate) kind: &'static str,
    /// The number of the first event.
    pub(crate) first: usize,
    /// The number after the last event's.
    pub(crate) end: usize,
    /// Number of events in a request.
    pub(crate) batch: usize,
    /// Number of connections.
    pub(crate) connections: usize,
    /// Requests a second. `None` posts as fast as answers come.
    pub(crate) rate: Option<f64>,
}

/// One bounded load of arbitrary requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    /// The first number.
    pub(crate) first: usize,
    /// The number after the last one.
    pub(crate) end: usize,
    /// Numbers in a request.
    pub(crate) step: usize,
    /// Number of connections.
    pub(crate) connections: usize,
    /// Requests a second. `None` sends as fast as answers come.
    pub(crate) rate: Option<f64>,
}

/// The measurements of the senders.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Time of the first request, in microseconds since 1970.
    pub(crate) began: u64,
    /// Time from the first request to the last answer.
    pub(crate) took: Duration,
    /// Microseconds from each request to its answer.
    pub(crate) acknowledged: Vec<u32>,
}

/// The state that the connections of a load share.
struct Shared {
    calls: Calls,
    make: Arc<Make>,
    wanted: StatusCode,
    server: SocketAddr,
    host: HeaderValue,
    next: AtomicUsize,
    start: Instant,
}

impl Load {
    /// Posts everything to the server at `address` (`http://127.0.0.1:PORT`).
    pub(crate) async fn run(self, address: &str) -> Result<Sent> {
        let Self { kind, first, end, batch, connections, rate } = self;
        let calls = Calls { first, end, step: batch, connections, rate };
        let make = move |seq, batch| events(template::body(kind, seq, batch, now_micros()));
        calls.run(address, StatusCode::ACCEPTED, Arc::new(make)).await
    }
}

fn events(body: Bytes) -> Result<Request<Full<Bytes>>> {
    Ok(Request::post("/api/v1/events")
        .header(AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?)
}

impl Calls {
    /// Sends everything to the server at `address`. Any answer but the wanted one is an error,
    /// because a benchmark of failures has no meaning.
    pub(crate) async fn run(
        self,
        address: &str,
        wanted: StatusCode,
        make: Arc<Make>,
    ) -> Result<Sent> {
        let authority = address.strip_prefix("http://").context("an http address")?;
        let (began, start) = (now_micros(), Instant::now());
        let shared = Arc::new(Shared {
            calls: self,
            make,
            wanted,
            server: authority.parse()?,
            host: HeaderValue::from_str(authority)?,
            next: AtomicUsize::new(self.first),
            start,
        });
        let mut senders = JoinSet::new();
        for _ in 0..self.connections {
            senders.spawn(Arc::clone(&shared).drive());
        }
        let mut acknowledged = Vec::new();
        while let Some(sender) = senders.join_next().await {
            acknowledged.extend(sender??);
        }
        Ok(Sent { began, took: start.elapsed(), acknowledged })
    }
}

impl Shared {
    async fn drive(self: Arc<Self>) -> Result<Vec<u32>> {
        let Calls { first, end, step, rate, .. } = self.calls;
        let mut connection = connect(self.server).await?;
        let mut acknowledged = Vec::new();
        loop {
            let seq = self.next.fetch_add(step, Relaxed);
            if seq >= end || self.start.elapsed() > TIME_LIMIT {
                return Ok(acknowledged);
            }
            if let Some(rate) = rate {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
                let due = Duration::from_secs_f64((seq - first) as f64 / rate);
                tokio::time::sleep_until((self.start + due).into()).await;
            }
            let request = (self.make)(seq, step.min(end - seq))?;
            let sent = Instant::now();
            self.send(&mut connection, request).await?;
            acknowledged.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }

    async fn send(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<()> {
        connection.ready().await?;
        request.headers_mut().insert(HOST, self.host.clone());
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        if head.status != self.wanted {
            bail!("the server answered {}: {}", head.status, String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}

async fn connect(server: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
