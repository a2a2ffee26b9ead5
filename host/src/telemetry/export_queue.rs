//! The bounded queue between the stages and an exporter.

use super::export_figures::ExportFigures;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Most items of one request. A thousand spans take about 300 KB.
const BATCH: usize = 1_024;

/// A queue that drops new items while it is full. Pushing never waits and wakes nobody until a
/// batch is complete.
pub struct ExportQueue<T> {
    items: Mutex<VecDeque<T>>,
    capacity: usize,
    batch: usize,
    /// Notified when a batch is complete.
    is_ready: Notify,
    figures: ExportFigures,
}

impl<T> fmt::Debug for ExportQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportQueue").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<T> ExportQueue<T> {
    /// Makes a queue for at most `capacity` items. Its memory grows with what waits.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            items: Mutex::default(),
            capacity,
            batch: BATCH.min(capacity / 2).max(1),
            is_ready: Notify::new(),
            figures: ExportFigures::default(),
        }
    }

    /// Queues an item, or drops and counts it if the queue is full.
    pub fn push(&self, item: T) {
        let mut items = self.lock();
        if items.len() >= self.capacity {
            drop(items);
            self.figures.note_dropped(1);
            return;
        }
        items.push_back(item);
        let is_complete = items.len() == self.batch;
        drop(items);
        if is_complete {
            self.is_ready.notify_one();
        }
    }

    /// Takes the oldest items, and says whether they are a complete batch. Returns `None` if there
    /// are none.
    pub fn take_batch(&self) -> Option<(Vec<T>, bool)> {
        let mut items = self.lock();
        let count = items.len().min(self.batch);
        let batch: Vec<T> = items.drain(..count).collect();
        (count > 0).then_some((batch, count == self.batch))
    }

    /// Waits until a batch is complete or `interval` is over. Returns at once after `stop`.
    pub async fn wait_for_batch(&self, interval: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = self.is_ready.notified() => {}
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Returns the counts of this queue and its exporter.
    pub fn figures(&self) -> &ExportFigures {
        &self.figures
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let queue = ExportQueue::with_capacity(4);
        (0..7).for_each(|n| queue.push(n));
        assert_eq!(queue.figures().count_dropped(), 3);
        assert_eq!(queue.take_batch(), Some((vec![0, 1], true)));
        queue.push(7);
        assert_eq!(queue.take_batch(), Some((vec![2, 3], true)));
        assert_eq!(queue.take_batch(), Some((vec![7], false)));
        assert_eq!(queue.take_batch(), None);
    }

    #[tokio::test]
    async fn a_complete_batch_wakes_the_exporter() {
        let queue = ExportQueue::with_capacity(4);
        queue.push(0);
        queue.push(1);
        queue.wait_for_batch(Duration::MAX, &CancellationToken::new()).await;
        let stopped = CancellationToken::new();
        stopped.cancel();
        queue.wait_for_batch(Duration::MAX, &stopped).await;
    }
}
