//! Gathers the deliveries of an endpoint into objects: one task that holds an open batch for each
//! folder, and puts it when it is full or has waited long enough.

use super::object_bucket::ObjectBucket;
use crate::channels::delivery_channel::{ChannelOutcome, ChannelReply};
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use crate::time::timestamp::Timestamp;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Most lines that wait to be gathered. Further deliveries wait for room.
const QUEUED: usize = 1_000;

/// When a batch is put.
#[derive(Debug, Clone, Copy)]
pub struct BatchRules {
    /// Most deliveries in an object.
    pub max_items: usize,
    /// The size of the lines at which an object is put, in bytes.
    pub max_bytes: usize,
    /// Longest wait for further deliveries.
    pub max_wait: Duration,
}

/// A line that waits for its object.
#[derive(Debug)]
pub struct BatchedLine {
    pub folder: String,
    pub delivery_id: String,
    pub line: Vec<u8>,
    pub client: DeliveryClient,
    /// The time of day that signatures carry.
    pub signed_at: Timestamp,
    /// When the attempt has to be over.
    pub deadline: Instant,
}

/// A line with the ends at which its delivery listens.
#[derive(Debug)]
struct WaitingLine {
    queued: BatchedLine,
    /// Told when the object is about to be put. Fails if the delivery was withdrawn.
    begun: oneshot::Sender<()>,
    replied: oneshot::Sender<ChannelReply>,
}

/// The lines of one object that is not put yet.
#[derive(Debug)]
struct OpenBatch {
    lines: Vec<WaitingLine>,
    bytes: usize,
    due: Instant,
}

/// The sending side of the task's queue.
#[derive(Debug)]
pub struct ObjectBatcher(mpsc::Sender<WaitingLine>);

impl ObjectBatcher {
    /// Starts the task. When the batcher is dropped, the task puts what it has and ends.
    pub fn start(bucket: Arc<ObjectBucket>, rules: BatchRules) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED);
        drop(tokio::spawn(gather_lines(bucket, rules, queued)));
        Self(queue)
    }

    /// Puts a line together with others. Returns `None` if `withdrawn` completed before its object
    /// was begun.
    pub async fn put(
        &self,
        line: BatchedLine,
        withdrawn: BoxFuture<'_, ()>,
    ) -> Option<ChannelReply> {
        let started = Instant::now();
        let deadline = line.deadline;
        let (begun, mut beginning) = oneshot::channel();
        let (replied, reply) = oneshot::channel();
        let waiting = WaitingLine { queued: line, begun, replied };
        let begins = async { self.0.send(waiting).await.is_ok() && (&mut beginning).await.is_ok() };
        let is_begun = tokio::select! {
            biased;
            () = withdrawn => {
                // The object may have begun at the same moment. Then it holds the line.
                beginning.close();
                beginning.try_recv().ok()?;
                true
            }
            begun = timeout_at(deadline, begins) => begun == Ok(true),
        };
        let failed = |class, detail: &str| {
            let outcome = ChannelOutcome::Again { class, after: None };
            ChannelReply::failed(outcome, detail.to_owned(), started.elapsed())
        };
        if !is_begun {
            return Some(failed(
                ErrorClass::Timeout,
                "the object was not begun within the time-out",
            ));
        }
        let reply = timeout_at(deadline, reply).await.ok().and_then(Result::ok);
        let late = || failed(ErrorClass::Timeout, "the service did not answer within the time-out");
        Some(reply.unwrap_or_else(late))
    }
}

async fn gather_lines(
    bucket: Arc<ObjectBucket>,
    rules: BatchRules,
    mut queued: mpsc::Receiver<WaitingLine>,
) {
    let mut open: HashMap<String, OpenBatch> = HashMap::new();
    loop {
        let due = open.values().map(|batch| batch.due).min();
        let next = tokio::select! {
            next = queued.recv() => next,
            () = wait_until(due) => {
                let now = Instant::now();
                for (folder, batch) in open.extract_if(|_, batch| batch.due <= now) {
                    put_in_background(&bucket, folder, batch);
                }
                continue;
            }
        };
        let Some(line) = next else { break };
        let folder = line.queued.folder.clone();
        let batch = open.entry(folder.clone()).or_insert_with(|| OpenBatch::begin(&line, rules));
        batch.add(line);
        if batch.is_full(rules)
            && let Some(batch) = open.remove(&folder)
        {
            put_in_background(&bucket, folder, batch);
        }
    }
    for (folder, batch) in open {
        put_in_background(&bucket, folder, batch);
    }
}

/// Sleeps until a time, or for ever if there is none.
async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

fn put_in_background(bucket: &Arc<ObjectBucket>, folder: String, batch: OpenBatch) {
    let bucket = Arc::clone(bucket);
    drop(tokio::spawn(async move { batch.put(&bucket, &folder).await }));
}

impl OpenBatch {
    fn begin(line: &WaitingLine, rules: BatchRules) -> Self {
        let now = Instant::now();
        // The other half of the time-out is for the request.
        let half = line.queued.deadline.saturating_duration_since(now) / 2;
        Self { lines: Vec::new(), bytes: 0, due: now + rules.max_wait.min(half) }
    }

    fn add(&mut self, line: WaitingLine) {
        self.bytes += line.queued.line.len();
        self.lines.push(line);
    }

    const fn is_full(&self, rules: BatchRules) -> bool {
        self.lines.len() >= rules.max_items || self.bytes >= rules.max_bytes
    }

    /// Puts the lines whose deliveries were not withdrawn, and replies to each.
    async fn put(self, bucket: &ObjectBucket, folder: &str) {
        let begun = self.lines.into_iter().filter_map(|WaitingLine { queued, begun, replied }| {
            begun.send(()).is_ok().then_some((queued, replied))
        });
        let (lines, waiting): (Vec<BatchedLine>, Vec<_>) = begun.unzip();
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return };
        let bodies: Vec<&[u8]> = lines.iter().map(|line| line.line.as_slice()).collect();
        let object = bucket.make_object(folder, &first.delivery_id, &bodies);
        let left = first.deadline.saturating_duration_since(Instant::now());
        let reply = bucket.put(&last.client, object, last.signed_at, left, pending()).await;
        // Nothing withdraws the request and it has no permit, so there is always a reply.
        let Some(reply) = reply else { return };
        for replied in waiting {
            // Whoever gave up meanwhile has reported a time-out, and tries again.
            drop(replied.send(reply.clone()));
        }
    }
}
