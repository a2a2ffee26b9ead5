//! `waybill listen`: a receiver that prints each delivery and checks its signatures. With
//! `--remote` it fetches the deliveries of another server instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::listen_remote::{RemoteArgs, fetch_deliveries};
use super::{CliError, CommandScreen, verify};
use crate::time::clock::Clock;
use crate::time::timestamp::Timestamp;

/// Largest request body.
const MAX_BODY: usize = 16 << 20;
/// Number of deliveries that may wait to be printed.
const WAITING: usize = 1_024;

/// Arguments of `waybill listen`.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Port on 127.0.0.1; 0 chooses a free one.
    #[arg(long, value_name = "N", default_value_t = 8401)]
    port: u16,
    /// Secret of the endpoint. Without it signatures are not checked.
    #[arg(long, env = "WAYBILL_LISTEN_SECRET", hide_env_values = true)]
    secret: Option<SecretString>,
    /// Answer with this status instead of 204.
    #[arg(long, value_name = "STATUS")]
    fail: Option<u16>,
    /// Only answer the first N deliveries with --fail.
    #[arg(long, value_name = "N", requires = "fail")]
    times: Option<u32>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// A delivery that was received.
pub struct ListenArrival {
    pub at: Timestamp,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What became of it, such as `answered 204`.
    pub outcome: String,
}

/// State for every request.
struct ListenReceiver {
    clock: Clock,
    fail: Option<StatusCode>,
    failures_left: AtomicU32,
    to_print: mpsc::Sender<ListenArrival>,
}

pub async fn run_listen(args: ListenArgs, screen: &mut CommandScreen<'_>) -> Result<(), CliError> {
    if args.remote.is_used() {
        let stop = wait_for_interrupt();
        return fetch_deliveries(args.remote, args.secret, Clock::System, stop, screen).await;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::with_next(format!("cannot listen on {address}: {error}"), "choose another --port")
    })?;
    serve_requests(listener, args, Clock::System, wait_for_interrupt(), screen).await
}

async fn wait_for_interrupt() {
    // If signals are not available, the process is ended from outside.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Receives on `listener` until `stop`, and prints.
pub async fn serve_requests(
    listener: TcpListener,
    args: ListenArgs,
    clock: Clock,
    stop: impl Future<Output = ()>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let fail = args.fail.map(StatusCode::from_u16).transpose();
    let fail =
        fail.map_err(|error| CliError::Usage(format!("--fail: {error}; give 100 to 999")))?;
    let (to_print, mut printed) = mpsc::channel(WAITING);
    let failures_left = AtomicU32::new(args.times.unwrap_or(u32::MAX));
    let receiver = Arc::new(ListenReceiver { clock, fail, failures_left, to_print });
    screen.print_line(format!("listening on http://{}; Ctrl-C ends it", listener.local_addr()?))?;
    if args.secret.is_none() {
        screen
            .print_line("signatures are not checked: give the endpoint's secret with --secret")?;
    }
    let app = Router::new().fallback(receive_delivery).with_state(receiver);
    let server = axum::serve(listener, app);
    tokio::pin!(stop);
    let printing = async {
        while let Some(arrival) = printed.recv().await {
            print_arrival(&arrival, args.secret.as_ref(), screen)?;
        }
        Ok(())
    };
    tokio::select! {
        ended = server.into_future() => Ok(ended?),
        ended = printing => ended,
        () = stop => Ok(()),
    }
}

async fn receive_delivery(
    State(receiver): State<Arc<ListenReceiver>>,
    request: Request,
) -> StatusCode {
    let at = receiver.clock.now();
    let (head, body) = request.into_parts();
    let Some(body) = read_whole(body).await else { return StatusCode::PAYLOAD_TOO_LARGE };
    let answered = receiver.next_status();
    let outcome = format!("answered {}", answered.as_u16());
    let arrival = ListenArrival { at, headers: head.headers, body, outcome };
    // If nobody prints any more, the program is ending.
    drop(receiver.to_print.send(arrival).await);
    answered
}

async fn read_whole(body: Body) -> Option<Bytes> {
    to_bytes(body, MAX_BODY).await.ok()
}

impl ListenReceiver {
    fn next_status(&self) -> StatusCode {
        let take = |left: u32| left.checked_sub(1);
        match self.fail {
            Some(status)
                if self
                    .failures_left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok() =>
            {
                status
            }
            Some(_) | None => StatusCode::NO_CONTENT,
        }
    }
}

/// Prints a delivery, and with a secret what its signatures say.
pub fn print_arrival(
    arrival: &ListenArrival,
    secret: Option<&SecretString>,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let header = |name: &str| {
        arrival.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    screen.print_line(format!(
        "\n{}  {}  attempt {}  {}  {} bytes  {}",
        arrival.at,
        header("x-waybill-event"),
        header("x-waybill-attempt"),
        header("webhook-id"),
        arrival.body.len(),
        arrival.outcome,
    ))?;
    if let Some(secret) = secret {
        let secret = secret.expose_secret();
        for finding in verify::findings(secret, &arrival.headers, &arrival.body, arrival.at) {
            screen.print_line(format!("  {finding}"))?;
        }
    }
    match serde_json::from_slice::<Value>(&arrival.body) {
        Ok(value) => screen.print_json(&value)?,
        Err(_not_json) => screen.print_line(String::from_utf8_lossy(&arrival.body))?,
    }
    Ok(())
}
