//! Another system's site with a REST API over rows, which a test can change at any time.
//!
//! It answers as the vendor's site would ([`Dialect`]), or misbehaves on request ([`Fault`]). Every
//! request is recorded before it is answered.

mod dialect;
mod fault;
mod rows;
#[cfg(test)]
mod tests;
pub mod time;

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use dialect::Dialect;
pub use fault::Fault;
use fault::{Cut, Play, answer};
pub use rows::{Rows, TIME_COLUMNS};

use crate::receiver::ARRIVAL_LIMIT;

/// The key that a site accepts.
pub const KEY: &str = "dba_5up3rS3cretKeyOfTheSite";

/// One request that arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The path and query as they arrived.
    pub path: String,
    /// The requested list. Empty if the path does not name one.
    pub list: String,
    /// The parameters.
    pub query: BTreeMap<String, String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The requested page, from 1.
    pub page: usize,
    /// The time from which rows were requested, in seconds since 1970.
    pub since: Option<i64>,
    /// Arrival time, in seconds since 1970.
    pub at: i64,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    ahead: i64,
}

impl Asked {
    /// Returns the last midnight before a time, by the site's clock.
    fn midnight(&self, at: i64) -> i64 {
        at - (at + self.ahead).rem_euclid(86_400)
    }
}

/// A change of the rows before a request is answered.
type Hook = Box<dyn FnMut(&mut Rows, &Asked) + Send>;

/// The requests that meet a fault.
type When = Box<dyn Fn(&Asked) -> bool + Send>;

/// The site. It listens until it is dropped.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    desk: Arc<Desk>,
    listener: AbortHandle,
}

struct Desk {
    dialect: Dialect,
    ahead: i64,
    inner: Mutex<Inner>,
    asked: watch::Sender<usize>,
}

struct Inner {
    key: String,
    rows: Rows,
    most: usize,
    asked: Vec<Asked>,
    faults: Vec<(usize, Fault, When)>,
    hook: Hook,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl Site {
    /// Starts a site on a free port of 127.0.0.1. Its clock shows UTC.
    pub async fn start(dialect: Dialect) -> Self {
        Self::ahead(dialect, 0).await
    }

    /// Starts a site with a clock that is `ahead` seconds ahead of UTC.
    pub async fn ahead(dialect: Dialect, ahead: i64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let inner = Inner {
            key: KEY.to_owned(),
            rows: Rows::new(dialect, ahead),
            most: usize::MAX,
            asked: Vec::new(),
            faults: Vec::new(),
            hook: Box::new(|_, _| {}),
        };
        let (inner, asked) = (Mutex::new(inner), watch::Sender::new(0));
        let desk = Arc::new(Desk { dialect, ahead, inner, asked });
        let listener = tokio::spawn(listen(listener, Arc::clone(&desk))).abort_handle();
        Self { address, desk, listener }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the dialect of its interface.
    pub fn dialect(&self) -> Dialect {
        self.desk.dialect
    }

    /// Formats a time as in its rows: `2026-01-31 23:59:59` by its own clock.
    pub fn stamp(&self, unix: i64) -> String {
        time::stamp(unix, self.desk.ahead)
    }

    /// Formats the day of a time by its own clock: `2026-01-31`.
    pub fn day(&self, unix: i64) -> String {
        self.stamp(unix).split(' ').next().unwrap_or_default().to_owned()
    }

    /// Adds a row, or replaces the row with this key.
    pub fn put(&self, list: &str, key: impl ToString + Copy, row: Value) {
        self.desk.lock().rows.put(list, key, row);
    }

    /// Removes a row.
    pub fn remove(&self, list: &str, key: impl ToString + Copy) {
        self.desk.lock().rows.remove(list, key);
    }

    /// Limits the number of rows in a page, whatever is requested.
    pub fn give_at_most(&self, rows: usize) {
        self.desk.lock().most = rows;
    }

    /// Accepts only this key.
    pub fn lock_with(&self, key: &str) {
        key.clone_into(&mut self.desk.lock().key);
    }

    /// Changes the rows before each request is answered.
    pub fn before_answers(&self, hook: impl FnMut(&mut Rows, &Asked) + Send + 'static) {
        self.desk.lock().hook = Box::new(hook);
    }

    /// Lets the next `times` requests meet this fault.
    pub fn fail(&self, times: usize, fault: Fault) {
        self.fail_when(times, fault, |_| true);
    }

    /// Lets the next `times` requests of this kind meet this fault.
    pub fn fail_when(
        &self,
        times: usize,
        fault: Fault,
        when: impl Fn(&Asked) -> bool + Send + 'static,
    ) {
        self.desk.lock().faults.push((times, fault, Box::new(when)));
    }

    /// Ends all faults, and accepts [`KEY`].
    pub fn heal(&self) {
        let mut inner = self.desk.lock();
        inner.faults.clear();
        KEY.clone_into(&mut inner.key);
    }

    /// Returns the requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.desk.lock().asked.clone()
    }

    /// Returns the number of requests.
    pub fn count(&self) -> usize {
        self.desk.lock().asked.len()
    }

    /// Waits until `n` requests have come, and returns all of them.
    pub async fn wait_for(&self, n: usize) -> Vec<Asked> {
        let mut asked = self.desk.asked.subscribe();
        let waited = tokio::time::timeout(ARRIVAL_LIMIT, asked.wait_for(|count| *count >= n)).await;
        let came = waited.is_ok_and(|waited| waited.is_ok());
        assert!(came, "{} of {n} requests after {ARRIVAL_LIMIT:?}", self.count());
        self.asked()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Returns the present time in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(since.as_secs()).expect("it is not that late")
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<B>(&self, request: &Request<B>) -> Asked {
        let query = request.uri().query().unwrap_or_default();
        let mut asked = Asked {
            path: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            list: self.dialect.list(request.uri().path()).unwrap_or_default().to_owned(),
            query: query.split('&').filter_map(parameter).collect(),
            headers: request.headers().clone(),
            page: 1,
            since: None,
            at: now(),
            status: 0,
            ahead: self.ahead,
        };
        asked.page = self.dialect.page(&asked);
        asked.since = self.dialect.since(&asked, self.ahead);
        asked
    }

    /// Records a request and returns its answer, or the fault that prevents one.
    fn serve<B>(&self, request: &Request<B>) -> Result<Response<Play>, Fault> {
        let mut asked = self.read(request);
        let mut inner = self.lock();
        let answer = inner.answer(self.dialect, &asked);
        asked.status = answer.as_ref().map_or(0, |response| response.status().as_u16());
        inner.asked.push(asked);
        drop(inner);
        self.asked.send_modify(|n| *n += 1);
        answer
    }
}

impl Inner {
    fn answer(&mut self, dialect: Dialect, asked: &Asked) -> Result<Response<Play>, Fault> {
        (self.hook)(&mut self.rows, asked);
        if let Some(fault) = self.fault(asked) {
            return fault.response(asked.at).ok_or(fault);
        }
        let (status, body) = if !dialect.knows(&self.key, &asked.headers) {
            (401, dialect.refusal(&asked.headers))
        } else if asked.list.is_empty() {
            (404, json!({"error": "no such list"}))
        } else {
            (200, dialect.answer(asked, &self.rows, self.most))
        };
        Ok(answer(status, Play::whole(body.to_string())))
    }

    fn fault(&mut self, asked: &Asked) -> Option<Fault> {
        let meets = |(left, _, when): &&mut (usize, Fault, When)| *left > 0 && when(asked);
        let (left, fault, _) = self.faults.iter_mut().find(meets)?;
        *left -= 1;
        Some(fault.clone())
    }
}

/// Decodes a parameter of a query.
fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((decoded(name), decoded(value)))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (byte, left) = match (first, code) {
            (b'%', Some(code)) => (code, after.get(2..).unwrap_or_default()),
            (b'+', _) => (b' ', after),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn listen(listener: TcpListener, desk: Arc<Desk>) {
    // Connections end with the site, because they belong to this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&desk)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = desk.serve(&request);
        async move {
            match answer {
                Ok(response) => Ok(response),
                Err(Fault::Hang) => pending().await,
                Err(_) => Err(Cut),
            }
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // Broken connections are part of the scenario.
    let _broken = server.serve_connection(TokioIo::new(stream), service).await;
}
