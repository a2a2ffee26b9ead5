//! The writers. Each takes the operations that have queued up and commits them in one transaction.
//!
//! When a transaction fails, captures, plans and takes return the error, because nothing of them
//! was written. Attempts and notes are kept and written with a later transaction, because what they
//! report has happened. When the database refuses some data, each operation is tried alone, so that
//! one bad operation does not affect the others.

use super::capture::{self, CaptureReceipt, EventCapture};
use super::followers::CommitFollowers;
use super::operation::WriteOperation;
use super::plan::{PlanReceipt, PlanVerdict, RecordedPlan};
use super::proofs::commit_proofs;
use super::queue::WriteQueue;
use super::write_operations::{WriteResults, write_operations};
use super::{plan, settle};
use crate::error_chain::error_chain;
use crate::store::StoreError;
use crate::store::db::DatabasePool;
use crate::store::node_notice::{NODE_CHANNEL, NodeNotice};
use crate::telemetry::span::SpanKind;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, RwLock, mpsc};

/// Number of tries of a transaction that conflicts with another node's.
const RACES: u32 = 8;
/// The first and the longest wait before kept operations are tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Starts the writers. They end when the queue is closed and empty.
pub fn start_writers(
    pool: &DatabasePool,
    followers: &Arc<CommitFollowers>,
    committing: &Arc<RwLock<()>>,
    operations: mpsc::Receiver<WriteOperation>,
) {
    let committing = Arc::clone(committing);
    let queue = Arc::new(WriteQueue { operations: Mutex::new(operations), committing });
    for _ in 0..pool.count_writers() {
        let writer = GroupWriter { pool: pool.clone(), followers: Arc::clone(followers) };
        tokio::spawn(writer.run_writer(Arc::clone(&queue)));
    }
}

struct GroupWriter {
    pool: DatabasePool,
    followers: Arc<CommitFollowers>,
}

impl GroupWriter {
    async fn run_writer(self, queue: Arc<WriteQueue>) {
        let mut kept: Vec<WriteOperation> = Vec::new();
        let mut wait = BACKOFF.0;
        loop {
            let (is_open, committing) = queue.take_operations(&mut kept).await;
            if kept.is_empty() && !is_open {
                break;
            }
            kept = self.commit_operations(mem::take(&mut kept)).await;
            drop(committing);
            if kept.is_empty() {
                wait = BACKOFF.0;
            } else if is_open {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            } else {
                tracing::warn!(
                    settles = kept.len(),
                    "stopping with unrecorded attempts; they will be made again"
                );
                break;
            }
        }
        self.pool.close().await;
    }

    /// Writes the operations. Returns those that are to be tried again.
    async fn commit_operations(&self, operations: Vec<WriteOperation>) -> Vec<WriteOperation> {
        let figures = &self.followers.metrics.store;
        #[expect(clippy::cast_precision_loss, reason = "a few thousand operations")]
        figures.commit_operations.observe(operations.len() as f64);
        let began = Instant::now();
        let (mut operations, mut written) = self.write_transaction(operations).await;
        let mut may_move = true;
        for _ in 0..RACES {
            let is_raced = matches!(written, Err(StoreError::Raced));
            let is_again = is_raced || (is_read_only(&written) && mem::take(&mut may_move));
            if !is_again {
                break;
            }
            (operations, written) = self.write_transaction(operations).await;
        }
        figures.commit_seconds.observe_span(began.elapsed());
        if written.is_err() {
            figures.failed_commits.inc();
        }
        if operations.iter().any(WriteOperation::is_work) {
            self.followers.write_health.note_commit(written.is_ok());
        }
        match written {
            Ok(done) => {
                self.answer_callers(operations, done);
                Vec::new()
            }
            Err(
                error @ (StoreError::Refused(_)
                | StoreError::NameTaken(_)
                | StoreError::Corrupt { .. }),
            ) => self.find_refused(operations, error).await,
            Err(error) => fail_operations(operations, &error),
        }
    }

    /// Writes the operations as one transaction. Returns them in either case.
    async fn write_transaction(
        &self,
        operations: Vec<WriteOperation>,
    ) -> (Vec<WriteOperation>, Result<WriteResults, StoreError>) {
        if let Some(captures) = only_captures(&operations) {
            match capture::write_at_once(&self.pool, &captures, &commit_proofs(&operations)).await {
                Ok(false) => {}
                Ok(true) => {
                    let written = WriteResults::of_new_events(&captures);
                    return (operations, Ok(written));
                }
                Err(error) => return (operations, Err(error)),
            }
        }
        let notices = self.pack_notices(&operations);
        let write = self.pool.commit_group(
            operations,
            move |tx, operations| {
                Box::pin(async move {
                    let written = write_operations(tx, operations).await?;
                    tx.notify_nodes(NODE_CHANNEL, &notices).await?;
                    Ok(written)
                })
            },
            |operations| commit_proofs(operations),
        );
        write.await
    }

    /// Packs the notices about attempts for other nodes into payloads. Empty if there are none.
    fn pack_notices(&self, operations: &[WriteOperation]) -> Vec<String> {
        let CommitFollowers { watchers, others, .. } = &*self.followers;
        if !others.are_there() {
            return Vec::new();
        }
        let notice = |operation: &WriteOperation| {
            let WriteOperation::Settle(settled) = operation else { return None };
            settled.node_notice(watchers)
        };
        let notices: Vec<NodeNotice> = operations.iter().filter_map(notice).collect();
        NodeNotice::pack(&notices)
    }

    /// Writes each operation alone, because the database refused something among them. The refused
    /// one fails, or is changed into one that records the refusal.
    async fn find_refused(
        &self,
        mut operations: Vec<WriteOperation>,
        error: StoreError,
    ) -> Vec<WriteOperation> {
        let [operation] = operations.as_mut_slice() else {
            let mut kept = Vec::new();
            for operation in operations {
                kept.extend(Box::pin(self.commit_operations(vec![operation])).await);
            }
            return kept;
        };
        if let StoreError::Refused(cause) = &error
            && operation.set_aside(&cause.to_string())
        {
            return Box::pin(self.commit_operations(operations)).await;
        }
        tracing::error!(error = %error_chain(&error), "the database refused a write");
        // An operation that cannot be answered is dropped, because it would be refused for ever.
        drop(operations.pop().and_then(|operation| operation.fail(error)));
        Vec::new()
    }

    /// Answers the callers and passes work on to the next stage. Called after the commit.
    fn answer_callers(&self, operations: Vec<WriteOperation>, done: WriteResults) {
        let CommitFollowers { prefetch, watchers, metrics, .. } = &*self.followers;
        metrics.store.commits.inc();
        let (mut receipts, mut planned) = (done.receipts.into_iter(), done.planned.into_iter());
        let (mut held, mut answered) = (done.held.into_iter(), done.answered.into_iter());
        for operation in operations {
            match operation {
                WriteOperation::Capture { captures, reply } => {
                    // If the caller is gone, its events are captured all the same.
                    let kind = SpanKind::Server;
                    drop(reply.send(self.answer_captures(captures, &mut receipts, kind)));
                }
                WriteOperation::Plan { planned: plan, reply } => {
                    let verdict = planned.next().unwrap_or(PlanVerdict::LeaseLost);
                    let receipt = match verdict {
                        PlanVerdict::Recorded => {
                            self.hand_over_plan(*plan);
                            PlanReceipt::Recorded
                        }
                        PlanVerdict::LeaseLost => PlanReceipt::LeaseLost,
                        PlanVerdict::Outdated => PlanReceipt::Outdated(plan),
                    };
                    drop(reply.send(Ok(receipt)));
                }
                WriteOperation::Settle(mut settled) => {
                    settled.note_outcome(&metrics.store);
                    settle::hand_over(prefetch, watchers, &settled);
                    let receipts = answered.next().unwrap_or_default();
                    if !receipts.is_empty() {
                        self.hand_over_answers(mem::take(&mut settled.answers), &receipts);
                    }
                }
                WriteOperation::Note(_) => {}
                WriteOperation::Prove { reply, .. } => drop(reply.send(Ok(()))),
                WriteOperation::Take { captures, reply, .. }
                | WriteOperation::Alert { captures, reply, .. } => {
                    let is_held = held.next().unwrap_or(false);
                    let mine = is_held
                        .then(|| self.answer_captures(captures, &mut receipts, SpanKind::Internal));
                    drop(reply.send(mine.transpose()));
                }
                WriteOperation::Flush { reply } => drop(reply.send(())),
            }
        }
    }

    /// Passes on the deliveries of a plan and the events that its modules emitted.
    fn hand_over_plan(&self, plan: RecordedPlan) {
        let CommitFollowers { prefetch, watchers, metrics, .. } = &*self.followers;
        metrics.store.planned.inc();
        metrics.store.captured.inc_by(plan.emitted.len() as u64);
        self.followers.trace_captures(&plan.emitted, &plan.receipts, SpanKind::Internal);
        plan::hand_over(prefetch, watchers, plan);
    }

    /// Passes on the events that were made from a receiver's answer.
    fn hand_over_answers(&self, mut answers: Vec<EventCapture>, receipts: &[CaptureReceipt]) {
        // The other events were stored before, or repeat one by its key.
        let fresh = receipts.iter().copied().filter(|receipt| !receipt.duplicate);
        let fresh: Vec<CaptureReceipt> = fresh.collect();
        answers.retain(|answer| fresh.iter().any(|receipt| receipt.id == answer.event.id));
        self.followers.metrics.store.captured.inc_by(fresh.len() as u64);
        self.followers.trace_captures(&answers, &fresh, SpanKind::Internal);
        capture::hand_over(&self.followers.prefetch, answers, &fresh);
    }

    /// Passes the captured events on. Returns the receipts of these captures, or the reason why
    /// their request is refused.
    fn answer_captures(
        &self,
        captures: Vec<EventCapture>,
        receipts: &mut impl Iterator<Item = Option<CaptureReceipt>>,
        kind: SpanKind,
    ) -> Result<Vec<CaptureReceipt>, StoreError> {
        let mine: Vec<Option<CaptureReceipt>> = receipts.take(captures.len()).collect();
        let mine: Vec<CaptureReceipt> =
            mine.into_iter().collect::<Option<_>>().ok_or(StoreError::KeyReused)?;
        let figures = &self.followers.metrics.store;
        let repeats = mine.iter().filter(|receipt| receipt.duplicate).count() as u64;
        figures.duplicates.inc_by(repeats);
        figures.captured.inc_by(mine.len() as u64 - repeats);
        self.followers.trace_captures(&captures, &mine, kind);
        capture::hand_over(&self.followers.prefetch, captures, &mine);
        Ok(mine)
    }
}

/// Returns the captures if there are no other operations.
fn only_captures(operations: &[WriteOperation]) -> Option<Vec<&EventCapture>> {
    let mut all = Vec::new();
    for operation in operations {
        let WriteOperation::Capture { captures, .. } = operation else { return None };
        all.extend(captures);
    }
    (!all.is_empty()).then_some(all)
}

/// Returns whether the server refused to write, as one that has become a standby does. Its
/// connection is closed, and the next one may go to another host.
fn is_read_only(written: &Result<WriteResults, StoreError>) -> bool {
    matches!(written, Err(StoreError::Unavailable(cause)) if cause.is_read_only())
}

/// Fails operations of which nothing was written. Returns those that report something that has
/// happened.
fn fail_operations(operations: Vec<WriteOperation>, error: &StoreError) -> Vec<WriteOperation> {
    tracing::error!(
        error = %error_chain(error),
        operations = operations.len(),
        "cannot write to the database"
    );
    let for_each = || match error {
        StoreError::Unavailable(cause) => StoreError::Unavailable(Arc::clone(cause)),
        StoreError::Raced => StoreError::Raced,
        // Refused data was handled before. The remaining errors are reported as a closed store.
        StoreError::Refused(_)
        | StoreError::Late(_)
        | StoreError::KeyReused
        | StoreError::PayloadPruned(_)
        | StoreError::NameTaken(_)
        | StoreError::ChangedMeanwhile(_)
        | StoreError::Missing(_)
        | StoreError::Corrupt { .. }
        | StoreError::Migration(_)
        | StoreError::NewerSchema { .. }
        | StoreError::Address { .. }
        | StoreError::WrongUrl { .. }
        | StoreError::InUse { .. }
        | StoreError::File { .. }
        | StoreError::Closed => StoreError::Closed,
    };
    operations.into_iter().filter_map(|operation| operation.fail(for_each())).collect()
}
