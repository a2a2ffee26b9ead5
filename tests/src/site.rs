//! Another system's site with a REST API over rows, which a test changes at any time.
//!
//! It answers as the vendor's would ([`Dialect`]), or misbehaves as it is told ([`Fault`]). Every
//! request is booked before it is answered.

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

/// The key that a site lets in.
pub const KEY: &str = "dba_5up3rS3cretKeyOfTheSite";

/// One request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Path and query as they came.
    pub path: String,
    /// The list that was asked for; empty where the path names none.
    pub list: String,
    /// The parameters.
    pub query: BTreeMap<String, String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The page that was asked for, from 1.
    pub page: usize,
    /// From when on rows were asked for, in seconds since 1970.
    pub since: Option<i64>,
    /// When it came, in seconds since 1970.
    pub at: i64,
    /// The status that it was answered with; 0 where it was not.
    pub status: u16,
    ahead: i64,
}

impl Asked {
    /// The midnight before a moment, by the site's clock.
    fn midnight(&self, at: i64) -> i64 {
        at - (at + self.ahead).rem_euclid(86_400)
    }
}

/// What is done to the rows before a request is answered.
type Hook = Box<dyn FnMut(&mut Rows, &Asked) + Send>;

/// Whom a fault meets.
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
    /// Listens on a free port of 127.0.0.1. Its clock shows UTC.
    pub async fn start(dialect: Dialect) -> Self {
        Self::ahead(dialect, 0).await
    }

    /// The same with a clock that is so many seconds ahead of UTC.
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

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whose interface it has.
    pub fn dialect(&self) -> Dialect {
        self.desk.dialect
    }

    /// A moment as its rows have it: `2026-01-31 23:59:59` by its own clock.
    pub fn stamp(&self, unix: i64) -> String {
        time::stamp(unix, self.desk.ahead)
    }

    /// The day of a moment by its own clock: `2026-01-31`.
    pub fn day(&self, unix: i64) -> String {
        self.stamp(unix).split(' ').next().unwrap_or_default().to_owned()
    }

    /// Adds a row, or puts it in the place of the one that has this key.
    pub fn put(&self, list: &str, key: impl ToString + Copy, row: Value) {
        self.desk.lock().rows.put(list, key, row);
    }

    /// Takes a row away.
    pub fn remove(&self, list: &str, key: impl ToString + Copy) {
        self.desk.lock().rows.remove(list, key);
    }

    /// Gives no more rows than that in a page, whatever it is asked for.
    pub fn give_at_most(&self, rows: usize) {
        self.desk.lock().most = rows;
    }

    /// Lets this key in and no other.
    pub fn lock_with(&self, key: &str) {
        key.clone_into(&mut self.desk.lock().key);
    }

    /// Does this to the rows before each request is answered.
    pub fn before_answers(&self, hook: impl FnMut(&mut Rows, &Asked) + Send + 'static) {
        self.desk.lock().hook = Box::new(hook);
    }

    /// The next `times` requests meet this fault.
    pub fn fail(&self, times: usize, fault: Fault) {
        self.fail_when(times, fault, |_| true);
    }

    /// The next `times` requests of this kind meet this fault.
    pub fn fail_when(
        &self,
        times: usize,
        fault: Fault,
        when: impl Fn(&Asked) -> bool + Send + 'static,
    ) {
        self.desk.lock().faults.push((times, fault, Box::new(when)));
    }

    /// It misbehaves no more, and lets [`KEY`] in.
    pub fn heal(&self) {
        let mut inner = self.desk.lock();
        inner.faults.clear();
        KEY.clone_into(&mut inner.key);
    }

    /// What has been asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.desk.lock().asked.clone()
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.desk.lock().asked.len()
    }

    /// Waits until `n` requests have come, and gives them all.
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

/// Now, in seconds since 1970.
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

    /// Books a request and finds its answer: a response, or the fault that there is none.
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

/// A parameter of a query, decoded.
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
    // Connections end with the site: they belong to this task.
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
    // A connection that breaks is part of the play.
    let _broken = server.serve_connection(TokioIo::new(stream), service).await;
}
