//! The record of calls: who called what, from where, and what came of it.
//!
//! A call is noted in memory and rides along with the next commit: at once when [`BATCH`] have come
//! together, else within a second ([`crate::maintenance`]). What changed a setting is on record
//! before it is answered. So a crash loses a second of reading and capturing calls at most, and no
//! commit is made for one call.
//!
//! A call that nobody pays for leaves no row of its own: calls without a known principal, and those
//! refused before they count against a token's rate, share one row for each address and minute
//! ([`RefusedCalls`]). Otherwise anybody could fill the disk.
//!
//! Memory is bounded: while the database is away [`MOST`] calls are kept, and the oldest beyond
//! that are let go, which is logged.

use super::address::network;
use crate::model::api_call::{ApiCall, TokenUsage};
use crate::model::id::TokenId;
use crate::store::AuditNotes;
use crate::store::EventStore;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

/// Calls that are written together.
const BATCH: usize = 512;
/// Most calls that wait.
const MOST: usize = 65_536;
/// Addresses with a row of their own in one minute; all others share one row. With 90 days of
/// retention a flood from everywhere leaves 8.4 million rows, below 1 GB.
const ADDRESSES: usize = 64;
/// Most rows of refused calls that wait for the database.
const MOST_REFUSED: usize = 4_096;

/// Calls on their way to the journal.
#[derive(Debug)]
pub struct CallAudit {
    journal: EventStore,
    /// Whether any are kept.
    on: bool,
    waiting: Mutex<Vec<ApiCall>>,
    refused: Mutex<RefusedCalls>,
}

impl CallAudit {
    /// A record in that journal, or none.
    pub fn new(journal: EventStore, on: bool) -> Self {
        Self { journal, on, waiting: Mutex::default(), refused: Mutex::default() }
    }

    /// Whether calls are kept.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Notes a call of a known principal.
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

    /// Counts a call in the row that its address has for this minute.
    pub fn count_refused(&self, call: ApiCall) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).count(call);
    }

    /// Has everything written with the next commit, and how tokens are being used.
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
        // What a full queue does not take waits here; a token's state is written at its next use.
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
            tracing::error!(lost, "the audit misses calls: the database takes no writes");
        }
    }
}

/// Rows of refused calls: one for each address, token and minute. A row's method, route and status
/// are those of its last call.
#[derive(Debug, Default)]
struct RefusedCalls {
    rows: HashMap<RefusedKey, RefusedRow>,
    /// The latest minute of which there is a row, since 1970, and how many addresses have one.
    minute: i64,
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
    /// Whether it counted a call since it was last written.
    changed: bool,
}

impl RefusedKey {
    fn of(call: &ApiCall) -> Self {
        let minute = call.id.created_at().seconds().div_euclid(60);
        Self { minute, address: network(call.address), token: call.token }
    }

    /// The row of all addresses that have none of their own.
    const fn shared(minute: i64) -> Self {
        Self { minute, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), token: None }
    }
}

impl RefusedCalls {
    fn count(&mut self, call: ApiCall) {
        let mut key = RefusedKey::of(&call);
        // A clock that is set back starts no new rows.
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

    /// The rows to write. Those of minutes that are over are then forgotten.
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

    /// Takes back rows that could not be written; how many calls were lost for lack of room.
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
        assert_eq!(refused.take_changed()[0].calls, 101, "the same row, with all of them");
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
        assert_eq!(calls, 100_000, "none is missing");
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
