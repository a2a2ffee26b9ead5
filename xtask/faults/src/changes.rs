//! Changes of one endpoint on two nodes at the same moment, during the faults.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::ledger::{CallFailure, Ledger};
use crate::load::outcome;
use crate::node::{Node, choose};

/// The endpoint that is changed. It gets no events.
pub(crate) const CHANGED: &str = "changed";

/// Time in which a change must succeed.
const LIMIT: Duration = Duration::from_mins(3);

/// Pause before a failed change is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// Time that a client waits for an answer: changes wait up to ten seconds for those of other nodes.
const CHANGE_PATIENCE: Duration = Duration::from_secs(15);

/// One of the two fields that are changed.
#[derive(Debug)]
struct ChangedField {
    name: &'static str,
    form: fn(u64) -> Value,
    /// Values of requests without an answer. A suspended node may apply them after newer ones.
    in_doubt: BTreeSet<String>,
}

/// Changes both fields of the endpoint, pair after pair, until `stop`, or until there were `most`
/// pairs. Notes each change that was acknowledged and is not there afterwards. Returns the number of
/// pairs.
pub(crate) async fn change_in_pairs(
    nodes: Arc<Vec<Node>>,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    most: u64,
    pause: Duration,
) -> u64 {
    let timeout_field = ChangedField {
        name: "timeout",
        form: |n| json!(format!("{n}ms")),
        in_doubt: BTreeSet::new(),
    };
    let flight_field =
        ChangedField { name: "max_in_flight", form: |n| json!(n), in_doubt: BTreeSet::new() };
    let mut fields = [timeout_field, flight_field];
    for pair in 1..=most {
        if stop.load(Relaxed) {
            return pair - 1;
        }
        let turn = usize::try_from(pair).unwrap_or_default();
        let [one, two] = &mut fields;
        tokio::join!(
            one.change(&nodes, &ledger, turn, pair),
            two.change(&nodes, &ledger, turn + 1, pair)
        );
        let found = patch(&nodes, &ledger, turn + 1, &json!({}), || {}).await;
        for field in &fields {
            field.compare(&ledger, pair, &found);
        }
        sleep(pause).await;
    }
    most
}

impl ChangedField {
    /// Sets the field to the value of this pair.
    async fn change(&mut self, nodes: &[Node], ledger: &Ledger, turn: usize, pair: u64) {
        let value = (self.form)(pair);
        let body = json!({self.name: value});
        let text = value.to_string();
        patch(nodes, ledger, turn, &body, || {
            self.in_doubt.insert(text.clone());
        })
        .await;
    }

    fn compare(&self, ledger: &Ledger, pair: u64, found: &Value) {
        let value = found.get(self.name).unwrap_or(&Value::Null);
        let is_set = *value == (self.form)(pair);
        if !is_set && !self.in_doubt.contains(&value.to_string()) {
            ledger.note_lost_change(format!("pair {pair}: {} is {value}", self.name));
        }
    }
}

/// Changes the endpoint until that is acknowledged. Calls `doubt` for each request without an
/// answer. Returns the endpoint as the answer shows it.
async fn patch(
    nodes: &[Node],
    ledger: &Ledger,
    mut turn: usize,
    body: &Value,
    mut doubt: impl FnMut(),
) -> Value {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        let Some(node) = choose(nodes, turn) else { break };
        let client = node.client();
        let path = format!("/api/v1/endpoints/{CHANGED}");
        let sent = timeout(CHANGE_PATIENCE, client.patch(&path, body)).await;
        match outcome(sent.ok()) {
            Ok(answer) if answer.status == 200 => return answer.data(),
            Ok(answer) => {
                let (number, status) = (node.number, answer.status);
                let text = answer.text();
                ledger.note_fault(format!("a change on node {number}: {status}: {text}"));
            }
            Err(failure) => {
                if failure != CallFailure::Busy {
                    doubt();
                }
                ledger.note_failure(failure);
            }
        }
        turn += 1;
        sleep(PAUSE).await;
    }
    ledger.note_fault(format!("the change {body} was never acknowledged"));
    Value::Null
}
