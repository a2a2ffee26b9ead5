//! A CRM with a REST API for leads that records its requests and answers well or badly.
//!
//! `POST /leads` creates a lead from the body, `GET /leads?email=…` lists the leads with that
//! address.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::receiver::ARRIVAL_LIMIT;

/// The fault of one request that creates a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadFault {
    /// No fault.
    None,
    /// The connection is cut before the lead is created.
    CutBefore,
    /// The lead is created, and then the connection is cut.
    CutAfter,
    /// 503, and no lead is created.
    Busy,
    /// The lead is created, and the answer is 500.
    FailAfter,
}

/// A created lead.
#[derive(Debug, Clone)]
pub struct MadeLead {
    /// Its number, from 1.
    pub id: usize,
    /// The body from which it was created.
    pub data: Value,
    /// The `Idempotency-Key` of the request.
    pub key: String,
}

type FaultChooser = Box<dyn FnMut() -> LeadFault + Send>;

/// The CRM. It listens until it is dropped.
#[derive(Debug)]
pub struct LeadApi {
    address: SocketAddr,
    shelf: Arc<LeadShelf>,
    listener: AbortHandle,
}

struct LeadShelf {
    leads: Mutex<Vec<MadeLead>>,
    choose: Mutex<FaultChooser>,
    made: watch::Sender<usize>,
}

impl std::fmt::Debug for LeadShelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadShelf").finish_non_exhaustive()
    }
}

impl LeadApi {
    /// Listens on a free port of 127.0.0.1. `choose` returns the fault of each request that creates
    /// a lead.
    pub async fn start(choose: impl FnMut() -> LeadFault + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shelf = Arc::new(LeadShelf {
            leads: Mutex::default(),
            choose: Mutex::new(Box::new(choose)),
            made: watch::Sender::new(0),
        });
        let listener = tokio::spawn(listen(listener, Arc::clone(&shelf))).abort_handle();
        Self { address, shelf, listener }
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the leads that were created so far.
    pub fn leads(&self) -> Vec<MadeLead> {
        self.shelf.lock().clone()
    }

    /// Waits until `n` leads were created.
    pub async fn wait_for(&self, n: usize) {
        let mut made = self.shelf.made.subscribe();
        let waited = tokio::time::timeout(ARRIVAL_LIMIT, made.wait_for(|made| *made >= n)).await;
        assert!(waited.is_ok(), "{} of {n} leads after {ARRIVAL_LIMIT:?}", self.leads().len());
    }
}

impl Drop for LeadApi {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl LeadShelf {
    fn lock(&self) -> MutexGuard<'_, Vec<MadeLead>> {
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(&self) -> LeadFault {
        (self.choose.lock().unwrap_or_else(PoisonError::into_inner))()
    }

    fn make(&self, data: Value, key: String) -> usize {
        let mut leads = self.lock();
        let id = leads.len() + 1;
        leads.push(MadeLead { id, data, key });
        drop(leads);
        self.made.send_modify(|made| *made += 1);
        id
    }

    fn list(&self, email: &str) -> Value {
        let leads = self.lock();
        let same =
            leads.iter().filter(|lead| lead.data.get("email").is_some_and(|given| given == email));
        let rows: Vec<Value> = same.map(|lead| json!({"id": lead.id, "email": email})).collect();
        json!({ "data": rows })
    }
}

async fn listen(listener: TcpListener, shelf: Arc<LeadShelf>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&shelf)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, shelf: Arc<LeadShelf>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shelf)));
    let server = auto::Builder::new(TokioExecutor::new());
    // Cut connections are part of the scenario.
    let _cut = server.serve_connection(TokioIo::new(stream), service).await;
}

/// Cuts the connection.
#[derive(Debug)]
struct LineCut;

impl std::fmt::Display for LineCut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the line is cut")
    }
}

impl std::error::Error for LineCut {}

async fn answer(
    request: Request<Incoming>,
    shelf: Arc<LeadShelf>,
) -> Result<Response<Full<Bytes>>, LineCut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_broken| LineCut)?.to_bytes();
    if head.method == Method::GET {
        let email = head.uri.query().and_then(|query| query.strip_prefix("email="));
        return Ok(reply(200, &shelf.list(email.unwrap_or_default())));
    }
    let fault = shelf.choose();
    match fault {
        LeadFault::CutBefore => return Err(LineCut),
        LeadFault::Busy => return Ok(reply(503, &json!({"error": "busy"}))),
        LeadFault::None | LeadFault::CutAfter | LeadFault::FailAfter => {}
    }
    let data = serde_json::from_slice(&body).expect("a lead is JSON");
    let key = head.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let id = shelf.make(data, key.unwrap_or_default().to_owned());
    match fault {
        LeadFault::CutAfter => Err(LineCut),
        LeadFault::FailAfter => Ok(reply(500, &json!({"error": "made, and then failed"}))),
        LeadFault::None | LeadFault::CutBefore | LeadFault::Busy => {
            Ok(reply(201, &json!({"data": {"id": id}})))
        }
    }
}

fn reply(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a valid answer")
}
