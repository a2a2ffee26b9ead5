//! The record of calls: the caller, the route, the address and the answer.
//!
//! A call is recorded in memory and written with the next commit: immediately once [`BATCH`] calls
//! have accumulated, otherwise within a second ([`crate::maintenance`]). A call that changed a
//! setting is written before it is answered. So a crash loses at most a second of calls that only
//! read or captured, and no call needs a commit of its own.
//!
//! Calls without a known principal, and calls that are refused before they count against a token's
//! rate, do not get a row of their own. They share one row for each address and minute
//! ([`RefusedCalls`]). Otherwise anybody could fill the disk.
//!
//! Memory is bounded: while the database accepts no writes, at most [`MOST`] calls wait. Older ones
//! are discarded, and their number is logged.

use super::address::network;
use crate::model::api_call::{ApiCall, TokenUsage};
use crate::model::id::TokenId;
use crate::store::AuditNotes;
use crate::store::EventStore;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

/// Calls that are written together in one commit.
const BATCH: usize = 512;
/// Most calls that wait in memory for the database.
const MOST: usize = 65_536;
/// Most addresses that get a row of their own in one minute. All others share one row. With 90 days
/// of retention, refused calls from everywhere leave at most 8.4 million rows, less than 1 GB.
const ADDRESSES: usize = 64;
/// Most rows of refused calls that wait in memory for the database.
const MOST_REFUSED: usize = 4_096;

/// Calls that have yet to be written to the store.
#[derive(Debug)]
pub struct CallAudit {
    journal: EventStore,
    /// Whether calls are recorded at all.
    on: bool,
    waiting: Mutex<Vec<ApiCall>>,
    refused: Mutex<RefusedCalls>,
}

impl CallAudit {
    /// Makes an audit that writes to `journal`. With `on` false, callers record nothing.
    pub fn new(journal: EventStore, on: bool) -> Self {
        Self { journal, on, waiting: Mutex::default(), refused: Mutex::default() }
    }

    /// Whether calls are recorded.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Records a call of a known principal.
    pub fn note_call(&self, call: ApiCall) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(call);
        let full = waiting.len() >= BATCH && waiting.len().is_multiple_of(BATCH);
        let calls = full.then(|| std::mem::take(&mut *waiting));
        drop(waiting);
        if let Some(calls) = calls {
            self.send(AuditNotes { calls, ..AuditNotes::default() });
        }
    }

    /// Counts a refused call in the row of its address and minute.
    pub fn count_refused(&self, call: ApiCall) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).count(call);
    }

    /// Queues all waiting calls for the next commit, together with the usage of tokens.
    pub fn write_notes(&self, usages: Vec<TokenUsage>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = std::mem::take(&mut *waiting);
        drop(waiting);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take_changed();
        if !calls.is_empty() || !refused.is_empty() || !usages.is_empty() {
            self.send(AuditNotes { calls, refused, usages });
        }
    }

    fn send(&self, notes: AuditNotes) {
        // If the queue is full, the calls go back to wait here. Token usages may be dropped,
        // because they are written again at the token's next use.
        let Err(notes) = self.journal.queue_notes(notes) else { return };
        let mut calls = notes.calls;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        calls.append(&mut waiting);
        let mut lost = calls.len().saturating_sub(MOST);
        calls.drain(..lost);
        *waiting = calls;
        drop(waiting);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        lost += refused.put_back(notes.refused);
        drop(refused);
        if lost > 0 {
            tracing::error!(
                lost,
                "the audit lost calls because the database accepts no writes; check the database"
            );
        }
    }
}

/// The rows of refused calls: one for each address, token and minute. Method, route and status of a
/// row are those of its last call.
#[derive(Debug, Default)]
struct RefusedCalls {
    rows: HashMap<RefusedKey, RefusedRow>,
    /// The latest minute that has a row, counted since 1970.
    minute: i64,
    /// Addresses that have a row of their own in that minute.
    addresses: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RefusedKey {
    minute: i64,
    address: IpAddr,
    token: Option<TokenId>,
}

#[derive(Debug)]
struct RefusedRow {
    call: ApiCall,
    /// Whether a call was counted since the row was last written.
    changed: bool,
}

impl RefusedKey {
    fn of(call: &ApiCall) -> Self {
        let minute = call.id.created_at().seconds().div_euclid(60);
        Self { minute, address: network(call.address), token: call.token }
    }

    /// The key of the row that is shared by all addresses without a row of their own.
    const fn shared(minute: i64) -> Self {
        Self { minute, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), token: None }
    }
}

impl RefusedCalls {
    fn count(&mut self, call: ApiCall) {
        let mut key = RefusedKey::of(&call);
        // A clock that is set back does not start new rows.
        key.minute = key.minute.max(self.minute);
        if key.minute > self.minute {
            (self.minute, self.addresses) = (key.minute, 0);
        }
        let is_new = !self.rows.contains_key(&key);
        let is_full = self.addresses >= ADDRESSES || self.rows.len() >= MOST_REFUSED;
        if is_new && is_full {
            key = RefusedKey::shared(key.minute);
        } else if is_new {
            self.addresses += 1;
        }
        let shared = key == RefusedKey::shared(key.minute);
        let row = self.rows.entry(key).or_insert_with(|| RefusedRow {
            call: ApiCall { calls: 0, ..call.clone() },
            changed: true,
        });
        let calls = row.call.calls.saturating_add(call.calls).min(i32::MAX.unsigned_abs());
        row.call = ApiCall { id: row.call.id, calls, ..call };
        if shared {
            (row.call.address, row.call.token) = (key.address, None);
        }
        row.changed = true;
    }

    /// Returns the rows that changed since they were last written, and forgets rows of past
    /// minutes.
    fn take_changed(&mut self) -> Vec<ApiCall> {
        let changed = self
            .rows
            .values_mut()
            .filter_map(|row| std::mem::take(&mut row.changed).then(|| row.call.clone()));
        let changed = changed.collect();
        let minute = self.minute;
        self.rows.retain(|key, _| key.minute >= minute);
        changed
    }

    /// Puts rows back that could not be written. Returns the number of calls lost for lack of room.
    fn put_back(&mut self, calls: Vec<ApiCall>) -> usize {
        let mut lost = 0;
        for call in calls {
            let key = RefusedKey::of(&call);
            if let Some(row) = self.rows.get_mut(&key) {
                row.changed = true;
            } else if self.rows.len() < MOST_REFUSED {
                self.rows.insert(key, RefusedRow { call, changed: true });
            } else {
                lost += call.calls as usize;
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::RequestId;
    use std::time::Duration;

    fn call(address: impl Into<IpAddr>, token: Option<TokenId>) -> ApiCall {
        ApiCall {
            id: RequestId::generate(),
            token,
            address: address.into(),
            method: "GET".to_owned(),
            route: "/api/v1/flows".to_owned(),
            status: 401,
            duration: Duration::ZERO,
            calls: 1,
        }
    }

    #[test]
    fn calls_of_an_address_share_a_row() {
        let mut refused = RefusedCalls::default();
        let first = call([192, 0, 2, 1], None);
        refused.count(first.clone());
        for _ in 0..99 {
            refused.count(ApiCall { status: 429, id: first.id, ..call([192, 0, 2, 1], None) });
        }
        let rows = refused.take_changed();
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.id, row.calls, row.status), (first.id, 100, 429));
        assert!(refused.take_changed().is_empty(), "nothing changed since");
        refused.count(ApiCall { id: first.id, ..call([192, 0, 2, 1], None) });
        assert_eq!(refused.take_changed()[0].calls, 101, "the same row counts all calls");
    }

    #[test]
    fn addresses_are_bounded() {
        let mut refused = RefusedCalls::default();
        let id = RequestId::generate();
        for n in 1..=100_000_u32 {
            refused.count(ApiCall { id, ..call(n.to_be_bytes(), None) });
        }
        let rows = refused.take_changed();
        assert_eq!(rows.len(), ADDRESSES + 1);
        let calls: u32 = rows.iter().map(|row| row.calls).sum();
        assert_eq!(calls, 100_000, "every call is counted");
    }

    #[test]
    fn rows_that_cannot_be_written_wait_and_are_bounded() {
        let mut refused = RefusedCalls::default();
        refused.count(call([192, 0, 2, 1], None));
        let rows = refused.take_changed();
        assert_eq!(refused.put_back(rows.clone()), 0);
        assert_eq!(refused.take_changed(), rows);
    }
}
