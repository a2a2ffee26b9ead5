//! The records for one partition, sent in batches, one batch after the other.
//!
//! While a batch is under way, further records gather for the next one. If the answer to a batch is
//! lost, the same batch is sent again with the same number, for as long as one of its deliveries
//! waits. The broker stores it once. Nothing is sent behind it in the meantime, so the order stays.

use super::kafka_calls::{BatchAnswer, ProducerIdentity, put_batch, read_batch_answer};
use super::kafka_cluster::KafkaCluster;
use super::kafka_fault::{FaultMeaning, describe_fault, meaning_of, refusal};
use super::record_batch::{BatchWriter, KafkaRecord, write_batch};
use super::wire::PRODUCE;
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::channels::session::OwnedTask;
use crate::time::clock::Clock;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// Most records that wait for a batch. Further deliveries wait for room.
const QUEUED: usize = 1_000;
/// Wait of a broker for its replicas, in milliseconds.
const REPLICAS: i32 = 10_000;
/// Wait before a batch is sent again. It doubles up to the longest one.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Number of times that a batch is sent to a cluster that is changing.
const TRIES: u32 = 8;

/// When a batch is sent.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    /// Most records of a batch.
    pub max_items: usize,
    /// Bytes at which a batch is sent.
    pub max_bytes: usize,
    /// Longest wait for further records.
    pub max_wait: Duration,
}

/// What the lanes of an endpoint share.
#[derive(Debug)]
pub struct SharedProducer {
    pub cluster: KafkaCluster,
    pub identity: ProducerIdentity,
    pub bounds: BatchBounds,
    /// Whether the numbers of the batches may no longer fit those of the broker, so that a new
    /// identity is needed.
    pub is_over: AtomicBool,
}

/// A record with the end at which its delivery waits.
#[derive(Debug)]
struct WaitingRecord {
    record: KafkaRecord,
    outcome: oneshot::Sender<PublishOutcome>,
}

/// The sending side of a lane. The lane ends with it.
#[derive(Debug, Clone)]
pub struct PartitionLane {
    queue: mpsc::Sender<WaitingRecord>,
    _task: Arc<OwnedTask>,
}

impl PartitionLane {
    /// Starts the lane of a partition.
    pub fn start(shared: Arc<SharedProducer>, topic: &str, partition: i32) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED);
        let worker = LaneWorker { shared, topic: topic.to_owned(), partition, sequence: 0, queued };
        Self { queue, _task: Arc::new(OwnedTask::spawn(worker.run())) }
    }

    /// Sends a record in the next batch and waits until it is stored or refused.
    pub async fn send(&self, record: KafkaRecord) -> PublishOutcome {
        let (outcome, decided) = oneshot::channel();
        let lost = || PublishOutcome::TryAgain(PublishError::lost("the session has ended"));
        if self.queue.send(WaitingRecord { record, outcome }).await.is_err() {
            return lost();
        }
        decided.await.unwrap_or_else(|_| lost())
    }
}

struct LaneWorker {
    shared: Arc<SharedProducer>,
    topic: String,
    partition: i32,
    /// The number of the next record.
    sequence: i32,
    queued: mpsc::Receiver<WaitingRecord>,
}

/// The end of a batch.
#[derive(Debug, PartialEq, Eq)]
enum BatchEnd {
    /// Stored, the first record at this offset.
    Stored(i64),
    /// Refused for ever with this code and the broker's words.
    Refused(i16, String),
    /// Not stored, or given up.
    Failed(PublishError),
}

impl LaneWorker {
    async fn run(mut self) {
        let mut kept = None;
        loop {
            let first = match kept.take() {
                Some(record) => record,
                None => match self.queued.recv().await {
                    Some(record) => record,
                    None => return,
                },
            };
            let records = self.gather(first, &mut kept).await;
            self.send_records(records).await;
        }
    }

    /// Gathers a batch. A record that does not fit in is kept for the next one.
    async fn gather(
        &mut self,
        first: WaitingRecord,
        kept: &mut Option<WaitingRecord>,
    ) -> Vec<WaitingRecord> {
        let bounds = self.shared.bounds;
        let due = Instant::now() + bounds.max_wait;
        let mut bytes = first.record.size();
        let mut records = vec![first];
        while records.len() < bounds.max_items {
            let next = match self.queued.try_recv() {
                Ok(next) => Some(next),
                Err(_) if bounds.max_wait.is_zero() => None,
                Err(_) => timeout_at(due, self.queued.recv()).await.ok().flatten(),
            };
            let Some(next) = next else { break };
            bytes += next.record.size();
            if bytes > bounds.max_bytes {
                *kept = Some(next);
                break;
            }
            records.push(next);
        }
        records
    }

    /// Sends records, together or, if a batch of them is refused, one by one.
    async fn send_records(&mut self, records: Vec<WaitingRecord>) {
        let mut batches = VecDeque::from([records]);
        while let Some(mut records) = batches.pop_front() {
            // What is given up is not sent: its next attempt may be under way.
            records.retain(|one| !one.outcome.is_closed());
            if records.is_empty() {
                continue;
            }
            match self.send_batch(&records).await {
                BatchEnd::Refused(..) if records.len() > 1 => {
                    batches.extend(records.into_iter().map(|one| vec![one]));
                }
                end @ (BatchEnd::Stored(_) | BatchEnd::Refused(..) | BatchEnd::Failed(_)) => {
                    self.report(&end, records);
                }
            }
        }
    }

    fn report(&self, end: &BatchEnd, records: Vec<WaitingRecord>) {
        for (number, one) in (0_i64..).zip(records) {
            let outcome = match end {
                BatchEnd::Stored(offset) if *offset < 0 => {
                    PublishOutcome::delivered(format!("partition {}", self.partition))
                }
                BatchEnd::Stored(offset) => PublishOutcome::delivered(format!(
                    "partition {}, offset {}",
                    self.partition,
                    offset + number
                )),
                BatchEnd::Refused(code, said) => {
                    PublishOutcome::dead(describe_fault(*code, &self.topic, said))
                }
                BatchEnd::Failed(why) => PublishOutcome::TryAgain(why.clone()),
            };
            // A delivery that waits no longer is attempted again.
            drop(one.outcome.send(outcome));
        }
    }

    /// Sends a batch until its fate is known or no delivery of it waits any more.
    async fn send_batch(&mut self, records: &[WaitingRecord]) -> BatchEnd {
        let ProducerIdentity { id, epoch } = self.shared.identity;
        let is_idempotent = self.shared.identity.is_idempotent();
        let sequence = if is_idempotent { self.sequence } else { -1 };
        let writer = BatchWriter { producer_id: id, epoch, sequence };
        let batch = write_batch(writer, now_millis(), records.iter().map(|one| &one.record));
        let mut pause = PAUSE;
        // Whether the broker may have stored it, though it has not said so.
        let mut may_be_stored = false;
        for tries in 1.. {
            if self.shared.is_over.load(Ordering::Relaxed) {
                return BatchEnd::Failed(PublishError::lost("the session has ended"));
            }
            let failed = match self.try_batch(&batch).await {
                Ok(answer) => match self.judge(answer, records.len()) {
                    Ok(end) => return self.end_batch(end, may_be_stored),
                    Err((why, is_unsure)) => {
                        may_be_stored |= is_unsure;
                        if tries >= TRIES && !may_be_stored {
                            return BatchEnd::Failed(why);
                        }
                        why
                    }
                },
                Err((why, is_sent)) => {
                    may_be_stored |= is_sent;
                    if !may_be_stored {
                        return BatchEnd::Failed(why);
                    }
                    why
                }
            };
            if may_be_stored && !is_idempotent {
                return BatchEnd::Failed(failed);
            }
            self.shared.cluster.forget_leaders(&self.topic).await;
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if records.iter().all(|one| one.outcome.is_closed()) {
                return self.give_up(failed, may_be_stored);
            }
        }
        self.give_up(PublishError::late(), may_be_stored)
    }

    /// Ends the session too if an earlier try of a batch that is given up may have been counted: the
    /// next batch would get its number, and the broker would call that one a repeat.
    fn end_batch(&self, end: BatchEnd, may_be_stored: bool) -> BatchEnd {
        if may_be_stored && !matches!(end, BatchEnd::Stored(_)) {
            self.shared.is_over.store(true, Ordering::Relaxed);
        }
        end
    }

    /// Ends the session if the broker may have counted a batch whose number is free again.
    fn give_up(&self, why: PublishError, may_be_stored: bool) -> BatchEnd {
        self.end_batch(BatchEnd::Failed(why), may_be_stored)
    }

    /// Sends a batch once. The error says whether anything may have been sent.
    async fn try_batch(&self, batch: &Bytes) -> Result<BatchAnswer, (PublishError, bool)> {
        let line = self.shared.cluster.find_leader(&self.topic, self.partition).await;
        let line = line.map_err(|why| (why, false))?;
        let (topic, partition) = (&self.topic, self.partition);
        let put = line.ask(PRODUCE, |body| put_batch(body, topic, partition, REPLICAS, batch));
        let answer = put.await.map_err(|why| (why, true))?;
        read_batch_answer(answer).map_err(|why| (why, true))
    }

    /// Judges an answer. The error says that the batch must be sent again, and whether the broker
    /// may have stored it.
    fn judge(
        &mut self,
        answer: BatchAnswer,
        count: usize,
    ) -> Result<BatchEnd, (PublishError, bool)> {
        let BatchAnswer { code, offset, said } = answer;
        let why = || refusal(code, &self.topic, &said);
        match meaning_of(code) {
            _ if code == 0 => {}
            FaultMeaning::Moving => return Err((why(), false)),
            FaultMeaning::Unsure => return Err((why(), true)),
            FaultMeaning::Final => return Ok(BatchEnd::Refused(code, said)),
            FaultMeaning::LostCount => {
                self.shared.is_over.store(true, Ordering::Relaxed);
                return Ok(BatchEnd::Failed(why()));
            }
            FaultMeaning::Later => return Ok(BatchEnd::Failed(why())),
        }
        self.sequence = count_on(self.sequence, count);
        Ok(BatchEnd::Stored(offset))
    }
}

/// Returns the number after a batch. Numbers begin again at 0 after the largest.
fn count_on(sequence: i32, count: usize) -> i32 {
    let next = i64::from(sequence) + i64::try_from(count).unwrap_or_default();
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or_default()
}

/// Returns the machine's time in milliseconds since 1970.
fn now_millis() -> i64 {
    Clock::System.wall().micros() / 1_000
}

#[cfg(test)]
mod tests {
    use super::count_on;

    #[test]
    fn numbers_begin_again_at_zero() {
        assert_eq!(count_on(0, 3), 3);
        assert_eq!(count_on(i32::MAX, 1), 0);
        assert_eq!(count_on(i32::MAX - 1, 5), 3);
    }
}
