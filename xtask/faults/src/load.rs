//! The load: clients that capture events on all nodes, and writers of the sources' rows.
//!
//! A client behaves as the documentation asks it to: it uses nodes that are ready, and sends a
//! request again with the same `Idempotency-Key` until it is acknowledged. It sends the next state
//! of a record when the last one was acknowledged, to another node.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use waybill_tests::rest::Call;
use waybill_tests::site::{now, time};
use waybill_tests::{Answer, Database, Site};

use crate::ledger::{CallFailure, Capture, CaptureKind, Ledger, RowKind, RowWrite};
use crate::node::{Node, choose};

/// Time that a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a failed call is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// Time after the end of the load in which a client still repeats its last request.
const LAST_TRIES: Duration = Duration::from_secs(45);

/// Clients of each node.
const CLIENTS: usize = 2;

/// Records of each client.
const RECORDS: usize = 3;

/// Interval between two writes of rows to one source.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// Mean number of events in a request: all four kinds, or one of them.
const EVENTS_PER_REQUEST: f64 = 2.5;

/// The places of the load.
#[derive(Debug)]
pub(crate) struct LoadPlan {
    pub(crate) nodes: Arc<Vec<Node>>,
    pub(crate) table: Arc<Database>,
    pub(crate) site: Arc<Site>,
    /// Events a second that clients capture.
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<SharedLoad>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct SharedLoad {
    plan: LoadPlan,
    ledger: Arc<Ledger>,
    stopped: OnceLock<Instant>,
}

impl Load {
    /// Starts clients and writers.
    pub(crate) fn start(plan: LoadPlan, ledger: &Arc<Ledger>) -> Self {
        let clients = CLIENTS * plan.nodes.len();
        let ledger = Arc::clone(ledger);
        let shared = Arc::new(SharedLoad { plan, ledger, stopped: OnceLock::new() });
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            tasks.spawn(capture(Arc::clone(&shared), client, clients));
        }
        for kind in RowKind::ALL {
            tasks.spawn(write_rows(Arc::clone(&shared), kind));
        }
        Self { shared, tasks }
    }

    /// Stops the load, and waits until the last requests are acknowledged.
    pub(crate) async fn stop(mut self) {
        let _first = self.shared.stopped.set(Instant::now());
        while self.tasks.join_next().await.is_some() {}
    }
}

impl SharedLoad {
    fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    fn gives_up(&self) -> bool {
        self.stopped.get().is_some_and(|stopped| stopped.elapsed() > LAST_TRIES)
    }

    fn random(&self, stream: usize) -> StdRng {
        StdRng::seed_from_u64(self.plan.seed.wrapping_mul(1_000).wrapping_add(stream as u64))
    }
}

/// Returns an event of this kind about a record.
pub(crate) fn event(kind: CaptureKind, record: &str, number: u64) -> Value {
    let data = match kind {
        CaptureKind::Counted => {
            let count = json!({"call": "increment", "key": format!("count-{record}"), "by": 1});
            json!({"calls": [count], "route": {"to": kind.endpoint()}})
        }
        CaptureKind::Plain | CaptureKind::Ordered | CaptureKind::Smart => json!({"n": number}),
    };
    let (resource, _) = kind.event_type().split_once('.').unwrap_or_default();
    let event_type = kind.event_type();
    json!({"type": event_type, "resource": resource, "resource_id": record, "data": data})
}

/// Captures states of this client's records, one request after another.
async fn capture(load: Arc<SharedLoad>, client: usize, clients: usize) {
    let mut random = load.random(client);
    #[expect(clippy::cast_precision_loss, reason = "a handful of clients")]
    let pace = Duration::from_secs_f64(clients as f64 * EVENTS_PER_REQUEST / load.plan.rate);
    let mut turn = 0;
    while !load.is_stopped() {
        turn += 1;
        let mut kinds = CaptureKind::ALL.to_vec();
        // Batches in different orders must not block each other.
        kinds.shuffle(&mut random);
        if random.random_bool(0.5) {
            kinds.truncate(1);
        }
        let record = format!("{client}-{}", turn % RECORDS);
        let number = turn as u64;
        let events: Vec<Value> = kinds.iter().map(|kind| event(*kind, &record, number)).collect();
        let key = format!("{}-{client}-{turn}", load.plan.seed);
        let ids = send_until_taken(&load, &json!(events), &key, client + turn).await;
        let at = Instant::now();
        let taken = kinds.into_iter().zip(ids);
        let note = |(kind, id)| Capture { id, kind, record: record.clone(), number, at };
        load.ledger.note_captures(taken.map(note).collect());
        sleep(pace.mul_f64(random.random_range(0.5..1.5))).await;
    }
}

/// Sends a request until it is acknowledged, each time to another node. Returns the events' ids.
async fn send_until_taken(
    load: &SharedLoad,
    events: &Value,
    key: &str,
    mut turn: usize,
) -> Vec<String> {
    let body = events.to_string();
    while !load.gives_up() {
        let Some(node) = choose(&load.plan.nodes, turn) else { break };
        let call = Call::post("/api/v1/events", "application/json", body.clone());
        let sent = timeout(PATIENCE, node.client().send(call.header("Idempotency-Key", key))).await;
        match outcome(sent.ok()) {
            Ok(answer) if answer.status == 202 => {
                let receipts = answer.data();
                let receipts = receipts.as_array().into_iter().flatten();
                let ids = receipts.filter_map(|receipt| receipt.get("id")?.as_str());
                return ids.map(str::to_owned).collect();
            }
            Ok(answer) => {
                let (number, status) = (node.number, answer.status);
                load.ledger
                    .note_fault(format!("a capture on node {number}: {status}: {}", answer.text()));
            }
            Err(failure) => load.ledger.note_failure(failure),
        }
        turn += 1;
        sleep(PAUSE).await;
    }
    load.ledger.note_fault(format!("the capture {key} was never acknowledged"));
    Vec::new()
}

/// Tells answers from failures that a client repeats. `None` means that its patience has ended.
pub(crate) fn outcome(sent: Option<Result<Answer>>) -> Result<Answer, CallFailure> {
    match sent {
        None => Err(CallFailure::Silent),
        Some(Err(_)) => Err(CallFailure::Cut),
        Some(Ok(answer)) => {
            let may_be_repeated = [429, 503].contains(&answer.status.as_u16());
            let says_when = !answer.header("retry-after").is_empty();
            if may_be_repeated && says_when { Err(CallFailure::Busy) } else { Ok(answer) }
        }
    }
}

/// Adds and changes rows of a source, one by one.
async fn write_rows(load: Arc<SharedLoad>, kind: RowKind) {
    let mut random = load.random(1_000 + kind as usize);
    let (mut rows, mut value) = (0_u64, 0_u64);
    while !load.is_stopped() {
        value += 1;
        let key = if rows == 0 || random.random_bool(0.6) {
            rows += 1;
            rows
        } else {
            random.random_range(1..=rows)
        };
        match write_row(&load.plan, kind, key, value).await {
            Ok(()) => {
                let at = Instant::now();
                load.ledger.note_write(RowWrite { kind, key: key.to_string(), value, at });
            }
            Err(error) => load.ledger.note_fault(format!("writing a row: {error:#}")),
        }
        sleep(WRITE_EVERY).await;
    }
}

async fn write_row(plan: &LoadPlan, kind: RowKind, key: u64, value: u64) -> Result<()> {
    match kind {
        RowKind::Table => {
            let put = format!(
                "INSERT INTO orders VALUES ({key}, {value}) ON CONFLICT (k) DO UPDATE SET v = {value}"
            );
            plan.table.execute(&put).await
        }
        RowKind::Polled => {
            let row = json!({"number": key.to_string(), "v": value, "modified": time::iso(now())});
            plan.site.put("wares", key, row);
            Ok(())
        }
    }
}
