//! Whether this process still holds its leases, and whether other processes share the database.
//!
//! Other nodes take over the work of a process that has sent no heartbeat for ten seconds: it may
//! have been suspended or cut off from the database. Its own clock does not show this, because its
//! leases last longer. So a process sends nothing unless it wrote a heartbeat in the last few
//! seconds. If it finds that it was declared lost, its older leases are void.

use crate::model::delivery::WorkLease;
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Time after a heartbeat during which this process certainly holds its leases. Shorter than the
/// ten seconds after which others take over, by the time that a request needs to begin.
const BEYOND_DOUBT: Duration = Duration::from_secs(6);

/// Time for which another process must have been observed without a heartbeat before it is declared
/// lost. Its last heartbeat is seen up to two seconds after it was sent. So setting the database's
/// clock forward does not make any process lost.
const SILENT: Duration = Duration::from_secs(7);

/// The other processes that share the database. While there are none, no notices are sent.
#[derive(Debug, Default)]
pub struct OtherNodes {
    are_there: AtomicBool,
    /// The last heartbeat of each process, and since when it has been the last.
    signs: Mutex<HashMap<i64, LastSign>>,
}

/// The last heartbeat of another process.
#[derive(Debug, Clone, Copy)]
struct LastSign {
    seen_at: Timestamp,
    since: Instant,
}

impl OtherNodes {
    /// Records that there are other processes.
    pub fn note_other(&self) {
        self.are_there.store(true, Ordering::Relaxed);
    }

    /// Records the last heartbeats of all others. Returns the processes that have been observed
    /// without a heartbeat for long enough to be lost.
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

/// Whether the leases of this process are valid.
#[derive(Debug)]
pub struct NodePresence(watch::Sender<LeaseValidity>);

#[derive(Debug, Clone, Copy)]
struct LeaseValidity {
    /// Time at which the last successful heartbeat was sent.
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
    /// Records the success of a heartbeat that was sent at the given time.
    pub fn note_sign(&self, sent: Instant) {
        self.0.send_modify(|known| known.seen = sent);
    }

    /// Records the success of a heartbeat after this process had been declared lost. Leases with
    /// tokens below `first_valid` belong to other nodes.
    pub fn note_loss(&self, sent: Instant, first_valid: i64) {
        self.0.send_modify(|known| *known = LeaseValidity { seen: sent, first_valid });
    }

    /// Waits until it is certain whether a lease is held, and returns the result.
    pub async fn confirm_lease(&self, lease: WorkLease) -> bool {
        // Avoids a subscription, because every delivery passes here.
        if !self.is_in_doubt() {
            return lease.token >= self.0.borrow().first_valid;
        }
        let mut known = self.0.subscribe();
        let certain = known.wait_for(|known| Instant::now() < known.doubted_from()).await;
        certain.is_ok_and(|known| lease.token >= known.first_valid)
    }

    /// Returns whether a lease is certainly held now.
    pub fn holds_lease(&self, token: i64) -> bool {
        let known = self.0.borrow();
        Instant::now() < known.doubted_from() && token >= known.first_valid
    }

    /// Returns whether it is uncertain now that leases are held.
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
