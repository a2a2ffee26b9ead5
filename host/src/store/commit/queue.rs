//! The queue of operations, which the writers take from in turn.

use super::operation::WriteOperation;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, mpsc};

/// Operations that may wait for the writer; further callers wait for a place.
pub const QUEUE: usize = 4_096;
/// Most rows that one transaction takes, roughly: what keeps a commit short.
const MOST_ROWS: usize = 2_048;
/// How often the tasks that are ready have their turn before a transaction begins; measured.
const GATHER: u32 = 4;

/// What the writers share.
#[derive(Debug)]
pub struct WriteQueue {
    pub operations: Mutex<mpsc::Receiver<WriteOperation>>,
    /// Read by each writer from before it gives the queue to the next until its commit is over, so
    /// that a flush can wait for all of them.
    pub committing: Arc<RwLock<()>>,
}

impl WriteQueue {
    /// Waits for an operation and takes all that has queued up behind it. `false` when no more will
    /// come.
    pub async fn take(&self, ops: &mut Vec<WriteOperation>) -> (bool, OwnedRwLockReadGuard<()>) {
        let mut open = true;
        let mut queue = if ops.is_empty() {
            self.operations.lock().await
        } else if let Ok(queue) = self.operations.try_lock() {
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

/// Lets whatever is ready run first: under load it adds to this transaction, which costs all of
/// them less; at rest nothing is ready and nothing is waited for.
async fn gather_operations() {
    for _ in 0..GATHER {
        tokio::task::yield_now().await;
    }
}
