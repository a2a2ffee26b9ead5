//! Lets requests wait for what happens to an event. The request that captures an event for an
//! `immediate` endpoint does so.

use crate::model::id::{DeliveryId, EndpointId, EventId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// A durable change of a watched event.
#[derive(Debug, Clone)]
pub enum EventNotice {
    /// A flow's modules ran and made these deliveries.
    Planned { deliveries: Vec<(DeliveryId, EndpointId)> },
    /// The first attempt of a delivery was recorded.
    Attempted {
        delivery: DeliveryId,
        /// `Delivered`, or the status that follows from a failed attempt.
        status: crate::model::delivery::DeliveryStatus,
        /// The HTTP status of the answer.
        response_status: Option<u16>,
        duration: Duration,
    },
    /// Notices of other nodes may have been lost. The watcher must read the status of the
    /// deliveries from the table.
    Interrupted,
}

/// All watchers. Costs little when there are none.
#[derive(Debug, Clone, Default)]
pub struct EventWatchers {
    count: Arc<AtomicUsize>,
    by_event: Arc<Mutex<HashMap<EventId, mpsc::UnboundedSender<EventNotice>>>>,
}

/// The notices of one event. The watch ends when this is dropped.
#[derive(Debug)]
pub struct EventWatch {
    pub event: EventId,
    watchers: EventWatchers,
    pub notices: mpsc::UnboundedReceiver<EventNotice>,
}

impl EventWatchers {
    /// Begins to watch an event, before it is captured.
    pub fn watch_event(&self, event: EventId) -> EventWatch {
        let (sender, notices) = mpsc::unbounded_channel();
        self.lock_watchers().insert(event, sender);
        self.count.fetch_add(1, Ordering::Relaxed);
        EventWatch { event, watchers: self.clone(), notices }
    }

    /// Sends a notice to the watchers of an event.
    pub fn notify_watchers(&self, event: EventId, notice: impl FnOnce() -> EventNotice) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(sender) = self.lock_watchers().get(&event) {
            drop(sender.send(notice()));
        }
    }

    /// Returns whether a request of this process watches the event.
    pub fn is_watched(&self, event: EventId) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.lock_watchers().contains_key(&event)
    }

    /// Tells all watchers that notices of other nodes may have been lost.
    pub fn interrupt_watches(&self) {
        for sender in self.lock_watchers().values() {
            drop(sender.send(EventNotice::Interrupted));
        }
    }

    fn lock_watchers(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<EventId, mpsc::UnboundedSender<EventNotice>>> {
        self.by_event.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EventWatch {
    fn drop(&mut self) {
        self.watchers.lock_watchers().remove(&self.event);
        self.watchers.count.fetch_sub(1, Ordering::Relaxed);
    }
}
