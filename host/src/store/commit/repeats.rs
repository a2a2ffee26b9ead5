//! Distinguishes repeats from new events.
//!
//! An event carries keys: the sender's own id, a signature, a request's `Idempotency-Key`. The keys
//! of a new event are stored for 24 hours. An event with a stored key is a repeat of the event that
//! brought the key.

use super::capture::{CaptureReceipt, EventCapture};
use crate::crypto::digest::ShortDigest;
use crate::model::id::EventId;
use crate::store::db::{BoundRow, FromStoredRow, StoredRow, WriteTransaction};
use crate::store::periods::REPEATS_RECOGNISED_FOR;
use crate::store::{StoreError, statements};
use crate::time::timestamp::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// A source and one of its keys, in stored form.
type CaptureKey = Vec<u8>;

/// Longest key that is stored as it is, in bytes. Short keys are ids of most systems; these grow
/// and so go to the end of the index. Long keys are mostly signatures, which have no order.
const LONGEST_KEY: usize = 40;

/// The keys of a capture, in stored form.
struct CaptureKeys {
    /// Keys by which a repeat of the event is recognised.
    repeat: Vec<CaptureKey>,
    /// Keys that an earlier event may have stored.
    earlier: Vec<CaptureKey>,
    /// The request's key: alone, and together with the digest of the request.
    request: Option<[CaptureKey; 2]>,
}

impl CaptureKeys {
    fn of_capture(capture: &EventCapture) -> Self {
        let source = capture.event.source.as_str();
        let request = capture.idempotency.as_ref().map(|idempotency| {
            let digest = hex::encode(idempotency.request.bytes());
            let key = &idempotency.key;
            [
                stored_key(source, &format!("request {key}")),
                stored_key(source, &format!("body {digest} {key}")),
            ]
        });
        let kept = |keys: &[String]| keys.iter().map(|key| stored_key(source, key)).collect();
        Self { repeat: kept(&capture.keys), earlier: kept(&capture.earlier_keys), request }
    }

    fn iter_all(&self) -> impl Iterator<Item = &CaptureKey> {
        self.repeat.iter().chain(&self.earlier).chain(self.request.iter().flatten())
    }

    /// Returns whether the request's key is known from another request.
    fn is_reused(&self, known: &HashMap<CaptureKey, EventId>) -> bool {
        self.request.as_ref().is_some_and(|[key, with_body]| {
            known.contains_key(key) && !known.contains_key(with_body)
        })
    }

    /// Returns the event that this one repeats.
    fn find_original(&self, known: &HashMap<CaptureKey, EventId>) -> Option<EventId> {
        let with_body = self.request.iter().map(|[_, with_body]| with_body);
        let keys = self.repeat.iter().chain(&self.earlier).chain(with_body);
        keys.into_iter().find_map(|key| known.get(key).copied())
    }
}

fn stored_key(source: &str, key: &str) -> CaptureKey {
    match u8::try_from(source.len()) {
        // The length prefix makes `ab c` and `a bc` differ.
        Ok(length) if source.len() + key.len() <= LONGEST_KEY => {
            [&[length], source.as_bytes(), key.as_bytes()].concat()
        }
        Ok(_) | Err(_) => ShortDigest::of([source, key]).bytes().to_vec(),
    }
}

/// Distinguishes repeats from new events and stores the keys of the new ones. Returns `None` for
/// all events of a request whose key came with another request before.
pub async fn recognise_repeats(
    tx: &mut WriteTransaction<'_>,
    captures: &[&mut EventCapture],
) -> Result<Vec<Option<CaptureReceipt>>, StoreError> {
    let keys: Vec<CaptureKeys> =
        captures.iter().map(|capture| CaptureKeys::of_capture(capture)).collect();
    let at = captures.iter().map(|capture| capture.event.received_at);
    let mut wanted: Vec<(&CaptureKey, Timestamp)> = keys
        .iter()
        .zip(at)
        .flat_map(|(keys, at)| keys.iter_all().map(move |key| (key, at)))
        .collect();
    // Every writer uses this order, so that two writers cannot deadlock.
    wanted.sort();
    wanted.dedup_by_key(|(key, _)| *key);
    let mut known =
        if wanted.is_empty() { HashMap::new() } else { look_up_keys(tx, &wanted).await? };
    let mut fresh = BTreeMap::new();
    let mut receipts = Vec::with_capacity(captures.len());
    let mut rest = captures.iter().zip(keys).peekable();
    while let Some((first, _)) = rest.peek() {
        let request = first.idempotency.as_ref().map(|idempotency| idempotency.request);
        let mut of_request: Vec<(&&mut EventCapture, CaptureKeys)> =
            rest.next().into_iter().collect();
        while request.is_some()
            && let Some(more) = rest.next_if(|(capture, _)| {
                capture.idempotency.as_ref().map(|idempotency| idempotency.request) == request
            })
        {
            of_request.push(more);
        }
        if of_request.iter().any(|(_, keys)| keys.is_reused(&known)) {
            if !of_request.iter().all(|(capture, _)| is_acknowledged(capture)) {
                receipts.extend(of_request.iter().map(|_| None));
                continue;
            }
            tracing::warn!(
                "an `Idempotency-Key` came with another request after `capture.repeats`; the request was \
                 acknowledged, so it is captured without the key"
            );
            for (_, keys) in &mut of_request {
                keys.request = None;
            }
        }
        for (capture, keys) in of_request {
            receipts.push(Some(note_capture(capture, keys, &mut known, &mut fresh)));
        }
    }
    if !fresh.is_empty() {
        remember_keys(tx, fresh).await?;
    }
    Ok(receipts)
}

fn is_acknowledged(capture: &EventCapture) -> bool {
    capture.idempotency.as_ref().is_some_and(|idempotency| idempotency.is_acknowledged)
}

/// Keys to store, each with its event and the capture time of that event.
type FreshKeys = BTreeMap<CaptureKey, (EventId, Timestamp)>;

/// Determines whether an event is a repeat. Collects all keys of a new event, and the request keys
/// of a repeat, so that these too are bound to the content of the request.
fn note_capture(
    capture: &EventCapture,
    keys: CaptureKeys,
    known: &mut HashMap<CaptureKey, EventId>,
    fresh: &mut FreshKeys,
) -> CaptureReceipt {
    let first = keys.find_original(known);
    let id = first.unwrap_or(capture.event.id);
    let repeat = if first.is_some() { Vec::new() } else { keys.repeat };
    for key in repeat.into_iter().chain(keys.request.into_iter().flatten()) {
        if known.insert(key.clone(), id).is_none() {
            fresh.insert(key, (id, capture.event.received_at));
        }
    }
    CaptureReceipt { id, duplicate: first.is_some() }
}

/// A stored key and its event.
struct StoredKey {
    key: CaptureKey,
    event: EventId,
    expires_at: Timestamp,
}

impl FromStoredRow for StoredKey {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            key: row.get("key")?,
            event: row.get("event_id")?,
            expires_at: row.get("expires_at")?,
        })
    }
}

async fn look_up_keys(
    tx: &mut WriteTransaction<'_>,
    wanted: &[(&CaptureKey, Timestamp)],
) -> Result<HashMap<CaptureKey, EventId>, StoreError> {
    let rows = wanted.iter().map(|(key, _)| BoundRow::new().bind(key.as_slice())).collect();
    let found: Vec<StoredKey> = tx.fetch_bulk(&statements::SELECT_CAPTURE_KEY, rows).await?;
    let oldest = wanted.iter().map(|(_, at)| *at).min().unwrap_or_default();
    let lasting = found.into_iter().filter(|stored| stored.expires_at > oldest);
    Ok(lasting.map(|stored| (stored.key, stored.event)).collect())
}

async fn remember_keys(tx: &mut WriteTransaction<'_>, fresh: FreshKeys) -> Result<(), StoreError> {
    let rows = fresh.iter().map(key_row).collect();
    let noted = tx.execute_bulk(&statements::INSERT_CAPTURE_KEY, rows).await?;
    // Another node stored one of the keys since the lookup, so this transaction must be repeated.
    if noted == fresh.len() as u64 { Ok(()) } else { Err(StoreError::Raced) }
}

fn key_row<'k>((key, (id, at)): (&'k CaptureKey, &(EventId, Timestamp))) -> BoundRow<'k> {
    BoundRow::new().bind(key.as_slice()).bind(*id).bind(at.after(REPEATS_RECOGNISED_FOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_kept_alike() {
        let long = "x".repeat(100);
        let names = ["", "a", "ab", "abc", long.as_str()];
        let pairs = names.iter().flat_map(|source| names.map(|key| (*source, key)));
        let kept: Vec<CaptureKey> = pairs.map(|(source, key)| stored_key(source, key)).collect();
        assert!(kept.iter().all(|key| key.len() <= LONGEST_KEY + 1), "{kept:?}");
        let mut apart = kept.clone();
        apart.sort();
        apart.dedup();
        assert_eq!(apart.len(), kept.len());
        assert!(
            stored_key("crm", "id msg_1") < stored_key("crm", "id msg_2"),
            "ids that grow stay in order"
        );
    }
}
