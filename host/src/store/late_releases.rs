//! Leases of this process that nobody works on, and that are still to be released.
//!
//! If the connection to PostgreSQL is lost between a claim and its rows, rows are leased to this
//! process that it does not know. If a release fails, the same is true. Such work would wait for
//! the end of its lease, so the releases are repeated with each heartbeat.

use super::db::OwnedQuery;
use crate::model::delivery::WorkLease;
use crate::time::timestamp::Timestamp;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Largest number of releases. When there are more, the oldest leases have to expire.
const MOST: usize = 16_384;

/// Releases that are still to be made.
#[derive(Debug, Default)]
pub struct LateReleases(Mutex<VecDeque<LateRelease>>);

/// A statement that releases the rows of a lease.
#[derive(Debug)]
pub struct LateRelease {
    pub statement: OwnedQuery,
    pub lease: WorkLease,
}

impl LateReleases {
    fn lock(&self) -> MutexGuard<'_, VecDeque<LateRelease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a release.
    pub fn note(&self, release: LateRelease) {
        let mut releases = self.lock();
        releases.push_back(release);
        if releases.len() > MOST {
            drop(releases.pop_front());
        }
    }

    /// Removes the oldest releases of leases that are not over, at most this many, and returns them.
    pub fn take(&self, now: Timestamp, most: usize) -> Vec<LateRelease> {
        let mut releases = self.lock();
        releases.retain(|release| release.lease.until > now);
        let count = releases.len().min(most);
        releases.drain(..count).collect()
    }
}
