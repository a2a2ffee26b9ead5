//! Whether this process still holds what it leased, and whether it has the database to itself.
//!
//! Others take over what a process held that has not said for ten seconds that it is there: it may
//! have been stopped and continued, or cut off from the database. Its own clock cannot tell it so,
//! because its leases are longer. So it sends nothing unless it said a few seconds ago that it is
//! there; and where it finds that it was forgotten meanwhile, its older leases are void.

use crate::model::delivery::WorkLease;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// For how long after a sign of this process its leases are beyond doubt. Less than the ten seconds
/// after which others take over, by what a request takes to begin.
const BEYOND_DOUBT: Duration = Duration::from_secs(6);

/// Whether other processes share the database. While there are none, nothing is told and nothing
/// spent.
#[derive(Debug, Default)]
pub struct OtherNodes(AtomicBool);

impl OtherNodes {
    /// Notes whether there are any.
    pub fn note_others(&self, are_there: bool) {
        self.0.store(are_there, Ordering::Relaxed);
    }

    pub fn are_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is known of this process's leases.
#[derive(Debug)]
pub struct NodePresence(watch::Sender<LeaseValidity>);

#[derive(Debug, Clone, Copy)]
struct LeaseValidity {
    /// When the last sign was sent that arrived.
    seen: Instant,
    /// Leases with lower tokens are void.
    first_valid: i64,
}

impl LeaseValidity {
    fn doubted_from(&self) -> Instant {
        self.seen + BEYOND_DOUBT
    }
}

impl Default for NodePresence {
    fn default() -> Self {
        Self(watch::Sender::new(LeaseValidity { seen: Instant::now(), first_valid: i64::MIN }))
    }
}

impl NodePresence {
    /// Notes that a sign arrived which was sent then.
    pub fn note_sign(&self, sent: Instant) {
        self.0.send_modify(|known| known.seen = sent);
    }

    /// Notes that a sign arrived, but that this process had been forgotten: what it leased under
    /// lower tokens than this belongs to others.
    pub fn note_loss(&self, sent: Instant, first_valid: i64) {
        self.0.send_modify(|known| *known = LeaseValidity { seen: sent, first_valid });
    }

    /// Waits until it is beyond doubt whether a lease is held; returns whether it is.
    pub async fn confirm_lease(&self, lease: WorkLease) -> bool {
        // Without a subscription: every delivery comes by here.
        if !self.is_in_doubt() {
            return lease.token >= self.0.borrow().first_valid;
        }
        let mut known = self.0.subscribe();
        let certain = known.wait_for(|known| Instant::now() < known.doubted_from()).await;
        certain.is_ok_and(|known| lease.token >= known.first_valid)
    }

    /// Whether leases are in doubt at this moment.
    pub fn is_in_doubt(&self) -> bool {
        Instant::now() >= self.0.borrow().doubted_from()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::timestamp::Timestamp;

    fn lease(token: i64) -> WorkLease {
        WorkLease { token, until: Timestamp::from_micros(0) }
    }

    #[tokio::test]
    async fn a_lease_is_in_doubt_until_the_next_sign() {
        let presence = NodePresence::default();
        assert!(presence.confirm_lease(lease(5)).await);
        presence.note_sign(Instant::now() - BEYOND_DOUBT);
        assert!(presence.is_in_doubt());
        {
            let held = presence.confirm_lease(lease(5));
            tokio::pin!(held);
            assert!(futures_util::poll!(&mut held).is_pending());
            presence.note_sign(Instant::now());
            assert!(held.await);
        }
        presence.note_loss(Instant::now(), 9);
        assert!(!presence.confirm_lease(lease(5)).await);
        assert!(presence.confirm_lease(lease(9)).await);
    }
}
