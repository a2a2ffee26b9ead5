//! The demo's receiver. It checks every signature and fails on request.

use super::super::CliError;
use crate::signing::verify::{ReceivedDelivery, VerificationKeys, verify_delivery};
use crate::time::clock::Clock;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use http::StatusCode;
use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Largest request body.
const MAX_BODY: usize = 4 << 20;

/// A delivery that was received.
#[derive(Debug)]
pub struct SeenDelivery {
    path: String,
    event: String,
    pub attempt: u32,
    pub answered: u16,
    pub collapsed: Option<u64>,
    id: String,
    fault: Option<String>,
}

impl fmt::Display for SeenDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, event, attempt, answered, id, .. } = self;
        write!(
            f,
            "{path:<8} {event:<18} attempt {attempt}  {id}  signatures fit  answered {answered}"
        )
    }
}

struct ReceiverShared {
    secrets: Mutex<HashMap<String, String>>,
    erp_is_down: AtomicBool,
    verified: AtomicU64,
    seen: mpsc::UnboundedSender<SeenDelivery>,
}

/// The running receiver.
pub struct DemoReceiver {
    pub address: SocketAddr,
    shared: Arc<ReceiverShared>,
    arrivals: mpsc::UnboundedReceiver<SeenDelivery>,
}

impl DemoReceiver {
    pub async fn start() -> Result<Self, CliError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (seen, arrivals) = mpsc::unbounded_channel();
        let shared = Arc::new(ReceiverShared {
            secrets: Mutex::default(),
            erp_is_down: AtomicBool::new(true),
            verified: AtomicU64::new(0),
            seen,
        });
        let app = Router::new().fallback(receive_delivery).with_state(Arc::clone(&shared));
        tokio::spawn(axum::serve(listener, app).into_future());
        Ok(Self { address, shared, arrivals })
    }

    /// Sets the secret of the endpoint with this path.
    pub fn expect(&self, path: &str, secret: String) {
        let mut secrets = self.shared.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(path.to_owned(), secret);
    }

    /// Lets the ERP answer again.
    pub fn repair(&self) {
        self.shared.erp_is_down.store(false, Ordering::Relaxed);
    }

    /// Returns the number of deliveries whose signatures fit.
    pub fn verified(&self) -> u64 {
        self.shared.verified.load(Ordering::Relaxed)
    }

    /// Returns the next delivery. Fails if a signature does not fit.
    pub async fn next(&mut self) -> Result<SeenDelivery, CliError> {
        let seen = self.arrivals.recv().await;
        let seen = seen.ok_or_else(|| CliError::failed("the receiver ended".to_owned()))?;
        match &seen.fault {
            Some(fault) => Err(CliError::failed(format!("a signature does not fit: {fault}"))),
            None => Ok(seen),
        }
    }

    /// Waits for a delivery to `path` with a signature that fits.
    pub async fn wait(
        &mut self,
        path: &str,
        fits: impl Fn(&SeenDelivery) -> bool,
        patience: Duration,
    ) -> Result<SeenDelivery, CliError> {
        let waiting = async {
            loop {
                let seen = self.next().await?;
                if seen.path == path && fits(&seen) {
                    return Ok(seen);
                }
            }
        };
        let waited = tokio::time::timeout(patience, waiting).await;
        waited.unwrap_or_else(|_elapsed| {
            Err(CliError::failed(format!("nothing arrived at {path} in {} s", patience.as_secs())))
        })
    }
}

async fn receive_delivery(
    State(shared): State<Arc<ReceiverShared>>,
    request: Request,
) -> StatusCode {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE };
    let path = head.uri.path().to_owned();
    let secret = {
        let secrets = shared.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.get(&path).cloned().unwrap_or_default()
    };
    let header = |name: &str| {
        head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    let received =
        ReceivedDelivery { headers: &head.headers, body: &body, now: Clock::System.now() };
    let findings = verify_delivery(received, VerificationKeys { current: &secret, previous: None });
    let misfit = findings.iter().find(|finding| !finding.verdict.fits());
    let fault = match (misfit, findings.is_empty()) {
        (Some(misfit), _) => Some(format!("{} of {path}", misfit.header)),
        (None, true) => Some(format!("{path} has none")),
        (None, false) => None,
    };
    if fault.is_none() {
        shared.verified.fetch_add(1, Ordering::Relaxed);
    }
    let attempt = header("x-waybill-attempt").parse().unwrap_or_default();
    let answered = match path.as_str() {
        "/erp" if shared.erp_is_down.load(Ordering::Relaxed) => StatusCode::BAD_GATEWAY,
        "/chat" if attempt == 1 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::NO_CONTENT,
    };
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let collapsed = value.get("collapsed").and_then(serde_json::Value::as_u64);
    let (event, id) = (header("x-waybill-event"), header("webhook-id"));
    let seen =
        SeenDelivery { path, event, attempt, answered: answered.as_u16(), collapsed, id, fault };
    // If nobody receives any more, the demo is ending.
    drop(shared.seen.send(seen));
    answered
}
