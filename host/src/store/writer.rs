//! Group commit: one transaction for all that queued up while the last one ran.
//!
//! ```text
//!   captures ─┐
//!   plans    ─┼─► queue ─► writer: BEGIN … COMMIT ─► replies, hand-over, notices
//!   settles  ─┤
//!   takes    ─┤
//!   notes    ─┘
//! ```
//!
//! When a transaction fails, captures, plans and takes get the error: nothing of theirs was
//! written. Settles and notes are kept and written with a later transaction, because what they
//! report has happened. When the database refused some data, each operation is tried alone, so that
//! a bad one costs no other.

use super::audit::{self, AuditNotes};
use super::batch::WriteBatch;
use super::figures::StoreFigures;
use super::source_rows::{self, SourceChanges};
use super::value::BoundRow;
use super::{
    CaptureReceipt, DatabasePool, EventCapture, RecordedPlan, SettledAttempt, StoreError,
    StoreInner,
};
use super::{capture, plan, settle, statements};
use crate::error_chain::error_chain;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, mpsc, oneshot};

/// Operations that may wait for the writer; further callers wait for a place.
pub const QUEUE: usize = 4_096;
/// Most rows that one transaction takes, roughly: what keeps a commit short.
const MOST_ROWS: usize = 2_048;
/// How often the tasks that are ready have their turn before a transaction begins; measured.
const GATHER: u32 = 4;
/// How often a transaction that met another node's is written again.
const RACES: u32 = 8;
/// The first and the longest wait before settles are tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Something to write.
#[derive(Debug)]
pub enum WriteOperation {
    Capture {
        captures: Vec<EventCapture>,
        reply: oneshot::Sender<Result<Vec<CaptureReceipt>, StoreError>>,
    },
    Plan {
        planned: Box<RecordedPlan>,
        reply: oneshot::Sender<Result<bool, StoreError>>,
    },
    Settle(Box<SettledAttempt>),
    Note(Box<AuditNotes>),
    /// What a source found, and what it keeps of it.
    Take {
        captures: Vec<EventCapture>,
        changes: Box<SourceChanges>,
        /// The process that must hold the source.
        node: i64,
        reply: oneshot::Sender<Result<Option<Vec<CaptureReceipt>>, StoreError>>,
    },
    /// A small write, to prove that the database takes writes.
    Prove {
        node: i64,
        at: i64,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Answered once its writer has written what it took before it.
    Flush {
        reply: oneshot::Sender<()>,
    },
}

impl WriteOperation {
    fn rows(&self) -> usize {
        match self {
            Self::Capture { captures, .. } => captures.len() * 2,
            Self::Plan { planned, .. } => 2 + planned.deliveries.len(),
            Self::Settle(_) => 2,
            Self::Take { captures, changes, .. } => captures.len() * 2 + changes.rows(),
            Self::Note(notes) => notes.calls.len() + notes.refused.len() + notes.usages.len(),
            Self::Prove { .. } => 1,
            Self::Flush { .. } => 0,
        }
    }
}

/// What a transaction did, to be told once it is durable.
#[derive(Debug, Default)]
pub struct WriteResults {
    /// `None` for each event of a request that is refused.
    receipts: Vec<Option<CaptureReceipt>>,
    planned: Vec<bool>,
    /// Of each [`WriteOperation::Take`]: whether its source was held.
    held: Vec<bool>,
}

/// What the writers share.
#[derive(Debug)]
struct WriteQueue {
    ops: Mutex<mpsc::Receiver<WriteOperation>>,
    /// Read by each writer from before it gives the queue to the next until its commit is over, so
    /// that a flush can wait for all of them.
    committing: Arc<RwLock<()>>,
}

/// Starts the writers. They hold the journal weakly and end when it is gone.
pub fn start_writers(inner: &Arc<StoreInner>, receiver: mpsc::Receiver<WriteOperation>) {
    let committing = Arc::clone(&inner.committing);
    let queue = Arc::new(WriteQueue { ops: Mutex::new(receiver), committing });
    for _ in 0..inner.pool.writers() {
        let writer = GroupWriter { pool: inner.pool.clone(), inner: Arc::downgrade(inner) };
        tokio::spawn(writer.run(Arc::clone(&queue)));
    }
}

struct GroupWriter {
    pool: DatabasePool,
    inner: Weak<StoreInner>,
}

impl GroupWriter {
    async fn run(self, queue: Arc<WriteQueue>) {
        let mut kept: Vec<WriteOperation> = Vec::new();
        let mut wait = BACKOFF.0;
        loop {
            let (open, committing) = queue.take(&mut kept).await;
            if kept.is_empty() && !open {
                break;
            }
            kept = self.commit(std::mem::take(&mut kept)).await;
            drop(committing);
            if kept.is_empty() {
                wait = BACKOFF.0;
            } else if open {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            } else {
                tracing::warn!(
                    settles = kept.len(),
                    "stopping with attempts not recorded; they will be made again"
                );
                break;
            }
        }
        self.pool.close().await;
    }

    /// Writes the operations; those to be tried again come back.
    async fn commit(&self, mut ops: Vec<WriteOperation>) -> Vec<WriteOperation> {
        let mut written = self.write(&mut ops).await;
        for _ in 0..RACES {
            if !matches!(written, Err(StoreError::Raced)) {
                break;
            }
            written = self.write(&mut ops).await;
        }
        self.note_health(&ops, written.is_ok());
        match written {
            Ok(done) => {
                self.tell(ops, done);
                Vec::new()
            }
            Err(StoreError::Refused(ref cause)) if set_aside(&mut ops, &cause.to_string()) => {
                Box::pin(self.commit(ops)).await
            }
            Err(
                error @ (StoreError::Refused(_)
                | StoreError::NameTaken(_)
                | StoreError::Corrupt { .. }),
            ) if ops.len() == 1 => {
                refuse_operation(ops, error);
                Vec::new()
            }
            Err(StoreError::Refused(_)) => {
                let mut kept = Vec::new();
                for op in ops {
                    kept.extend(Box::pin(self.commit(vec![op])).await);
                }
                kept
            }
            Err(error) => fail_operations(ops, &error),
        }
    }

    /// A proof alone says nothing of larger writes.
    fn note_health(&self, ops: &[WriteOperation], is_ok: bool) {
        let is_work = |op: &WriteOperation| {
            !matches!(
                op,
                WriteOperation::Prove { .. }
                    | WriteOperation::Flush { .. }
                    | WriteOperation::Note(_)
            )
        };
        if let Some(inner) = self.inner.upgrade().filter(|_| ops.iter().any(is_work)) {
            inner.write_health.note_commit(is_ok);
        }
    }

    async fn write(&self, ops: &mut Vec<WriteOperation>) -> Result<WriteResults, StoreError> {
        if let DatabasePool::Sqlite { native, turn, .. } = &self.pool {
            let _turn = turn.lock().await;
            let (back, written) = native.write(std::mem::take(ops)).await;
            *ops = back;
            return written;
        }
        if let DatabasePool::Postgres { write, .. } = &self.pool
            && let Some(captures) = only_captures(ops)
            && capture::write_at_once(write, &captures).await?
        {
            let fresh =
                |c: &&EventCapture| Some(CaptureReceipt { id: c.event.id, duplicate: false });
            let receipts = captures.iter().map(fresh).collect();
            return Ok(WriteResults { receipts, ..WriteResults::default() });
        }
        let mut tx = self.pool.begin().await?;
        let done = write_all(&mut WriteBatch::Tx(&mut tx), ops).await?;
        tx.commit().await?;
        Ok(done)
    }

    fn tell(&self, ops: Vec<WriteOperation>, done: WriteResults) {
        let Some(inner) = self.inner.upgrade() else { return };
        StoreFigures::add(&inner.figures.commits, 1);
        let (mut receipts, mut planned) = (done.receipts.into_iter(), done.planned.into_iter());
        let mut held = done.held.into_iter();
        for op in ops {
            match op {
                WriteOperation::Capture { captures, reply } => {
                    // A caller that went away has its events captured all the same.
                    drop(reply.send(tell_captured(&inner, captures, &mut receipts)));
                }
                WriteOperation::Plan { planned: plan, reply } => {
                    let applied = planned.next().unwrap_or(false);
                    if applied {
                        StoreFigures::add(&inner.figures.planned, 1);
                        plan::hand_over(&inner.handover, &inner.watchers, *plan);
                    }
                    drop(reply.send(Ok(applied)));
                }
                WriteOperation::Settle(settled) => {
                    StoreFigures::add(settled.counter(&inner.figures), 1);
                    settle::hand_over(&inner.handover, &inner.watchers, &settled);
                }
                WriteOperation::Note(_) => {}
                WriteOperation::Prove { reply, .. } => drop(reply.send(Ok(()))),
                WriteOperation::Take { captures, reply, .. } => {
                    let is_held = held.next().unwrap_or(false);
                    let mine = is_held.then(|| tell_captured(&inner, captures, &mut receipts));
                    drop(reply.send(mine.transpose()));
                }
                WriteOperation::Flush { reply } => drop(reply.send(())),
            }
        }
    }
}

/// Hands over what was captured; the receipts of these captures, or why their request is refused.
fn tell_captured(
    inner: &StoreInner,
    captures: Vec<EventCapture>,
    receipts: &mut impl Iterator<Item = Option<CaptureReceipt>>,
) -> Result<Vec<CaptureReceipt>, StoreError> {
    let mine: Vec<Option<CaptureReceipt>> = receipts.take(captures.len()).collect();
    let mine: Vec<CaptureReceipt> =
        mine.into_iter().collect::<Option<_>>().ok_or(StoreError::KeyReused)?;
    let repeats = mine.iter().filter(|r| r.duplicate).count() as u64;
    StoreFigures::add(&inner.figures.duplicates, repeats);
    StoreFigures::add(&inner.figures.captured, mine.len() as u64 - repeats);
    capture::hand_over(&inner.handover, captures, &mine);
    Ok(mine)
}

/// Lets whatever is ready run first: under load it adds to this transaction, which costs all of
/// them less; at rest nothing is ready and nothing is waited for.
async fn gather_operations() {
    for _ in 0..GATHER {
        tokio::task::yield_now().await;
    }
}

/// The captures, if there is nothing else.
fn only_captures(ops: &[WriteOperation]) -> Option<Vec<&EventCapture>> {
    let mut all = Vec::new();
    for op in ops {
        let WriteOperation::Capture { captures, .. } = op else { return None };
        all.extend(captures);
    }
    (!all.is_empty()).then_some(all)
}

impl WriteQueue {
    /// Waits for an operation and takes all that has queued up behind it. `false` when no more will
    /// come.
    async fn take(&self, ops: &mut Vec<WriteOperation>) -> (bool, OwnedRwLockReadGuard<()>) {
        let mut open = true;
        let mut queue = if ops.is_empty() {
            self.ops.lock().await
        } else if let Ok(queue) = self.ops.try_lock() {
            queue
        } else {
            // Another writer waits for more; what is to be tried again does not.
            return (open, Arc::clone(&self.committing).read_owned().await);
        };
        if ops.is_empty() {
            match queue.recv().await {
                Some(op) => ops.push(op),
                None => open = false,
            }
            gather_operations().await;
        }
        let mut rows: usize = ops.iter().map(WriteOperation::rows).sum();
        while open && rows < MOST_ROWS {
            match queue.try_recv() {
                Ok(op) => {
                    rows += op.rows();
                    ops.push(op);
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => open = false,
            }
        }
        (open, Arc::clone(&self.committing).read_owned().await)
    }
}

/// Writes the operations, in the order that later stages need.
pub async fn write_all(
    tx: &mut WriteBatch<'_>,
    ops: &mut [WriteOperation],
) -> Result<WriteResults, StoreError> {
    let held = held(tx, ops).await?;
    let mut is_held = held.iter().copied();
    let (mut captures, mut plans, mut settles) = (Vec::new(), Vec::new(), Vec::new());
    let (mut notes, mut kept, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
    for op in ops {
        match op {
            WriteOperation::Capture { captures: more, .. } => captures.extend(more.iter_mut()),
            WriteOperation::Plan { planned, .. } => plans.push(&mut **planned),
            WriteOperation::Settle(settled) => settles.push(&**settled),
            WriteOperation::Note(more) => notes.push(&**more),
            WriteOperation::Take { captures: more, changes, .. } => {
                if is_held.next().unwrap_or(false) {
                    captures.extend(more.iter_mut());
                    kept.push(&**changes);
                }
            }
            WriteOperation::Prove { node, at, .. } => {
                proofs.push(BoundRow::new().bind(*node).bind(*at));
            }
            WriteOperation::Flush { .. } => {}
        }
    }
    let receipts = if captures.is_empty() {
        Vec::new()
    } else {
        capture::write_captures(tx, &mut captures).await?
    };
    let planned =
        if plans.is_empty() { Vec::new() } else { plan::write_plans(tx, &mut plans).await? };
    if !settles.is_empty() {
        settle::write_settles(tx, &settles).await?;
    }
    if !notes.is_empty() {
        audit::write_notes(tx, &notes).await?;
    }
    for changes in kept {
        source_rows::write_source_rows(tx, changes).await?;
    }
    // Last, as where a lost process's work is taken over, so that the two cannot wait for each
    // other. One row, because PostgreSQL does not take the same one twice in a statement.
    proofs.truncate(1);
    tx.run(&statements::PUT_NODE, proofs).await?;
    Ok(WriteResults { receipts, planned, held })
}

/// Of each [`WriteOperation::Take`], whether its run holds the source.
async fn held(tx: &mut WriteBatch<'_>, ops: &[WriteOperation]) -> Result<Vec<bool>, StoreError> {
    let run = |op: &WriteOperation| match op {
        WriteOperation::Take { changes, node, .. } => {
            Some((changes.source.uuid(), *node, changes.run.micros()))
        }
        WriteOperation::Capture { .. }
        | WriteOperation::Plan { .. }
        | WriteOperation::Settle(_)
        | WriteOperation::Note(_)
        | WriteOperation::Prove { .. }
        | WriteOperation::Flush { .. } => None,
    };
    let runs: Vec<source_rows::RunKey> = ops.iter().filter_map(run).collect();
    let holding = source_rows::held_runs(tx, &runs).await?;
    Ok(runs.iter().map(|run| holding.contains(run)).collect())
}

/// The database is away: captures, plans and takes hear of it, settles are kept.
fn fail_operations(ops: Vec<WriteOperation>, error: &StoreError) -> Vec<WriteOperation> {
    tracing::error!(error = %error_chain(error), operations = ops.len(), "cannot write to the database");
    let again = || StoreError::Unavailable(sqlx::Error::PoolTimedOut);
    let mut kept = Vec::new();
    for op in ops {
        match op {
            WriteOperation::Capture { reply, .. } => drop(reply.send(Err(again()))),
            WriteOperation::Plan { reply, .. } => drop(reply.send(Err(again()))),
            WriteOperation::Take { reply, .. } => drop(reply.send(Err(again()))),
            WriteOperation::Prove { reply, .. } => drop(reply.send(Err(again()))),
            WriteOperation::Settle(_) | WriteOperation::Note(_) | WriteOperation::Flush { .. } => {
                kept.push(op);
            }
        }
    }
    kept
}

/// Changes the one operation that the database refused into one that says so; `false` where there
/// are several, or where that cannot be done.
fn set_aside(ops: &mut [WriteOperation], why: &str) -> bool {
    let [op] = ops else { return false };
    let changed = match op {
        WriteOperation::Plan { planned, .. } => planned.set_aside(why),
        WriteOperation::Settle(settled) => settled.set_aside(why),
        WriteOperation::Capture { .. }
        | WriteOperation::Take { .. }
        | WriteOperation::Note(_)
        | WriteOperation::Prove { .. }
        | WriteOperation::Flush { .. } => false,
    };
    if changed {
        tracing::error!(why, "the database refused a write; its record says so instead");
    }
    changed
}

/// One operation that the database will never take.
fn refuse_operation(ops: Vec<WriteOperation>, error: StoreError) {
    tracing::error!(error = %error_chain(&error), "the database refused a write");
    let mut error = Some(error);
    for op in ops {
        let error = error.take().unwrap_or(StoreError::Closed);
        match op {
            WriteOperation::Capture { reply, .. } => drop(reply.send(Err(error))),
            WriteOperation::Plan { reply, .. } => drop(reply.send(Err(error))),
            WriteOperation::Take { reply, .. } => drop(reply.send(Err(error))),
            WriteOperation::Prove { reply, .. } => drop(reply.send(Err(error))),
            WriteOperation::Settle(_) | WriteOperation::Note(_) | WriteOperation::Flush { .. } => {}
        }
    }
}
