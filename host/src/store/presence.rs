//! Whether this process still holds what it leased, and whether it has the database to itself.
//!
//! Others take over what a process held that has not said for ten seconds that it is there: it may
//! have been stopped and continued, or cut off from the database. Its own clock cannot tell it so,
//! because its leases are longer. So it sends nothing unless it said a few seconds ago that it is
//! there; and where it finds that it was forgotten meanwhile, its older leases are void.

use crate::model::delivery::WorkLease;
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// For how long after a sign of this process its leases are beyond doubt. Less than the ten seconds
/// after which others take over, by what a request takes to begin.
const BEYOND_DOUBT: Duration = Duration::from_secs(6);

/// For how long another process must have been seen to say nothing before it is taken for lost. Its
/// last sign is seen up to two seconds after it was given. So a database whose clock is set forward
/// loses nobody.
const SILENT: Duration = Duration::from_secs(7);

/// The other processes that share the database. While there are none, nothing is told and nothing
/// spent.
#[derive(Debug, Default)]
pub struct OtherNodes {
    are_there: AtomicBool,
    /// The last sign of each, and since when it is the last.
    signs: Mutex<HashMap<i64, LastSign>>,
}

/// The last sign that another process gave.
#[derive(Debug, Clone, Copy)]
struct LastSign {
    seen_at: Timestamp,
    since: Instant,
}

impl OtherNodes {
    /// Notes that there are others.
    pub fn note_other(&self) {
        self.are_there.store(true, Ordering::Relaxed);
    }

    /// Notes the last signs of all others. Returns those that were silent for all of the time that
    /// they are known, if that is long enough to be certain.
    pub fn note_signs(&self, others: &[(i64, Timestamp)], now: Instant) -> Vec<i64> {
        self.are_there.store(!others.is_empty(), Ordering::Relaxed);
        let mut known = self.signs.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| others.iter().any(|(other, _)| other == id));
        let mut silent = Vec::new();
        for &(id, seen_at) in others {
            let sign = known.entry(id).or_insert(LastSign { seen_at, since: now });
            if sign.seen_at != seen_at {
                *sign = LastSign { seen_at, since: now };
            }
            if now.saturating_duration_since(sign.since) >= SILENT {
                silent.push(id);
            }
        }
        silent
    }

    pub fn are_there(&self) -> bool {
        self.are_there.load(Ordering::Relaxed)
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

    /// Whether a lease is held beyond doubt at this moment.
    pub fn holds_lease(&self, token: i64) -> bool {
        let known = self.0.borrow();
        Instant::now() < known.doubted_from() && token >= known.first_valid
    }

    /// Whether leases are in doubt at this moment.
    pub fn is_in_doubt(&self) -> bool {
        Instant::now() >= self.0.borrow().doubted_from()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(token: i64) -> WorkLease {
        WorkLease { token, until: Timestamp::from_micros(0) }
    }

    #[test]
    fn only_who_was_watched_being_silent_is_lost() {
        let (others, start) = (OtherNodes::default(), Instant::now());
        let at = Timestamp::from_micros;
        assert!(others.note_signs(&[(1, at(5)), (2, at(5))], start).is_empty());
        assert!(others.note_signs(&[(1, at(5)), (2, at(6))], start + SILENT / 2).is_empty());
        assert_eq!(others.note_signs(&[(1, at(5)), (2, at(6))], start + SILENT), [1]);
        assert!(others.note_signs(&[(1, at(9)), (2, at(7))], start + SILENT * 2).is_empty());
        assert!(others.are_there());
        others.note_signs(&[], start);
        assert!(!others.are_there());
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
