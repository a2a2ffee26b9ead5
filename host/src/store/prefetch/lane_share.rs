//! The share that this process has of an endpoint's limits, which hold for all nodes together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;

/// The whole rate. Rates are shared in thousandths.
pub const WHOLE_RATE: u32 = 1_000;

/// The share of one endpoint. A node that is alone has the whole limit.
#[derive(Debug)]
pub struct LaneShare {
    /// Concurrent requests. `u32::MAX` means no limit from sharing.
    slots: AtomicU32,
    in_flight: AtomicU32,
    /// Thousandths of the rate.
    rate: AtomicU32,
    /// Woken when either share may have grown.
    pub changed: Notify,
}

/// A concurrent request, which is counted until this is dropped.
#[derive(Debug)]
pub struct SharedSlot(Arc<LaneShare>);

impl LaneShare {
    /// Creates a full share, or an empty one until the nodes have divided the limit.
    pub fn new(is_divided: bool) -> Self {
        let share = Self {
            slots: AtomicU32::new(u32::MAX),
            in_flight: AtomicU32::new(0),
            rate: AtomicU32::new(WHOLE_RATE),
            changed: Notify::new(),
        };
        if is_divided {
            share.set_slots(0);
            share.set_rate(0);
        }
        share
    }

    /// Gives this process the whole limit.
    pub fn take_all(&self) {
        self.set_slots(u32::MAX);
        self.set_rate(WHOLE_RATE);
    }

    pub fn set_slots(&self, slots: u32) {
        if self.slots.swap(slots, Ordering::Relaxed) != slots {
            self.changed.notify_one();
        }
    }

    pub fn set_rate(&self, thousandths: u32) {
        if self.rate.swap(thousandths, Ordering::Relaxed) != thousandths {
            self.changed.notify_one();
        }
    }

    pub fn slots(&self) -> u32 {
        self.slots.load(Ordering::Relaxed)
    }

    /// Returns the share of the rate, in thousandths.
    pub fn rate(&self) -> u32 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Returns how many concurrent requests this process uses or may begin to use.
    pub fn held_slots(&self, most: u32) -> u32 {
        self.slots().min(most).max(self.in_flight.load(Ordering::Relaxed))
    }

    /// Returns whether another request is within the share.
    pub fn has_free_slot(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < self.slots()
    }

    /// Counts a request if it is within the share.
    pub fn take_slot(self: &Arc<Self>) -> Option<SharedSlot> {
        let one_more = |used: u32| (used < self.slots()).then_some(used + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(SharedSlot(Arc::clone(self)))
    }
}

impl Drop for SharedSlot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_share_is_held_until_requests_have_ended() {
        let share = Arc::new(LaneShare::new(false));
        let held: Vec<_> = (0..3).map(|_| share.take_slot().unwrap()).collect();
        assert_eq!(share.held_slots(8), 8);
        share.set_slots(1);
        assert!(share.take_slot().is_none());
        assert_eq!(share.held_slots(8), 3);
        drop(held);
        assert_eq!(share.held_slots(8), 1);
        let one = share.take_slot();
        assert!(one.is_some() && share.take_slot().is_none());
    }

    #[test]
    fn where_others_are_there_nothing_is_had_before_it_is_divided() {
        let share = Arc::new(LaneShare::new(true));
        assert!(share.take_slot().is_none() && share.rate() == 0);
        share.take_all();
        assert!(share.take_slot().is_some() && share.rate() == WHOLE_RATE);
    }
}
