//! The load: a bounded number of events over keep-alive connections, each of which posts when it
//! has its answer, or all of them together at a given rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use waybill_tests::server::ADMIN_TOKEN;

use crate::sink::now_micros;
use crate::template;

/// No load goes on for longer.
const TIME_LIMIT: Duration = Duration::from_mins(5);

/// One bounded load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// The events' type.
    pub(crate) kind: &'static str,
    /// The number of the first event.
    pub(crate) first: usize,
    /// The number after the last one's.
    pub(crate) end: usize,
    /// Events in a request.
    pub(crate) batch: usize,
    /// Connections.
    pub(crate) connections: usize,
    /// Requests a second; none posts as fast as answers come.
    pub(crate) rate: Option<f64>,
}

/// What the senders saw.
#[derive(Debug)]
pub(crate) struct Sent {
    /// When the first request left, in microseconds since 1970.
    pub(crate) began: u64,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
    /// Microseconds from each request to its answer.
    pub(crate) acknowledged: Vec<u32>,
}

impl Load {
    /// Posts everything to the server at `address` (`http://127.0.0.1:PORT`). Any answer but 202
    /// is an error: a benchmark of failures says nothing.
    pub(crate) async fn run(self, address: &str) -> Result<Sent> {
        let authority = address.strip_prefix("http://").context("an http address")?;
        let server: SocketAddr = authority.parse()?;
        let next = Arc::new(AtomicUsize::new(self.first));
        let (began, start) = (now_micros(), Instant::now());
        let mut senders = JoinSet::new();
        for _ in 0..self.connections {
            senders.spawn(self.drive(server, Arc::clone(&next), start));
        }
        let mut acknowledged = Vec::new();
        while let Some(sender) = senders.join_next().await {
            acknowledged.extend(sender??);
        }
        Ok(Sent { began, took: start.elapsed(), acknowledged })
    }

    async fn drive(
        self,
        server: SocketAddr,
        next: Arc<AtomicUsize>,
        start: Instant,
    ) -> Result<Vec<u32>> {
        let mut connection = connect(server).await?;
        let mut acknowledged = Vec::new();
        loop {
            let seq = next.fetch_add(self.batch, Relaxed);
            if seq >= self.end || start.elapsed() > TIME_LIMIT {
                return Ok(acknowledged);
            }
            if let Some(rate) = self.rate {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
                let due = Duration::from_secs_f64((seq - self.first) as f64 / rate);
                tokio::time::sleep_until((start + due).into()).await;
            }
            let batch = self.batch.min(self.end - seq);
            let body = template::body(self.kind, seq, batch, now_micros());
            let sent = Instant::now();
            post(&mut connection, server, body).await?;
            acknowledged.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
}

async fn connect(server: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn post(
    connection: &mut SendRequest<Full<Bytes>>,
    server: SocketAddr,
    body: Bytes,
) -> Result<()> {
    connection.ready().await?;
    let request = Request::post("/api/v1/events")
        .header(HOST, server.to_string())
        .header(AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let (head, body) = connection.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.status != 202 {
        bail!("the server answered {}: {}", head.status, String::from_utf8_lossy(&body));
    }
    Ok(())
}
