//! The queue of operations, from which the writers take in turn.

use super::operation::WriteOperation;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, mpsc};

/// Number of operations that may wait for the writers. Further callers wait for a place.
pub const QUEUE: usize = 4_096;
/// Approximate largest number of rows in one transaction, which keeps commits short.
const MOST_ROWS: usize = 2_048;
/// Number of times that ready tasks get their turn before a transaction begins. Found by
/// measurement.
const GATHER: u32 = 4;

/// The state that the writers share.
#[derive(Debug)]
pub struct WriteQueue {
    pub operations: Mutex<mpsc::Receiver<WriteOperation>>,
    /// Each writer holds a read lock from before it releases the queue until its commit is done, so
    /// that a flush can wait for all of them.
    pub committing: Arc<RwLock<()>>,
}

impl WriteQueue {
    /// Waits for an operation and takes everything that has queued up behind it. Returns `false`
    /// when no more operations will come.
    pub async fn take_operations(
        &self,
        ops: &mut Vec<WriteOperation>,
    ) -> (bool, OwnedRwLockReadGuard<()>) {
        let mut open = true;
        let mut queue = if ops.is_empty() {
            self.operations.lock().await
        } else if let Ok(queue) = self.operations.try_lock() {
            queue
        } else {
            // Another writer is waiting for operations, but the kept ones must be tried again now.
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

/// Lets all ready tasks run first. Under load they add operations to this transaction, which makes
/// each cheaper. At rest no task is ready, so this costs no time.
async fn gather_operations() {
    for _ in 0..GATHER {
        tokio::task::yield_now().await;
    }
}
