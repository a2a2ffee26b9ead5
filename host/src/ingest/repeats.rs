//! Decides whether a webhook repeats an earlier one.
//!
//! A request that is wrongly taken for a repeat loses an event, while a repeat that is not
//! recognised only delivers the event twice. So a request without an id counts as a repeat only of
//! an identical request directly before it, and only for a few seconds: a proxy or an HTTP client
//! that repeats a request after a broken connection does so at once. docs/connect.md says what each
//! setting means against an attacker who replays requests.

use super::incoming::IncomingEvent;
use crate::crypto::digest::ShortDigest;
use crate::model::webhook_source::RepeatRule;
use crate::settings::source_runtime::{RequestPosition, RequestSequence};
use crate::time::timestamp::Timestamp;
use http::HeaderMap;

/// How long an identical request is recognised, in seconds: at least this long, and at most twice
/// as long. Senders' own retries come later: after 30 s (PerfexAPI) or after minutes (N8N Bridge).
const WINDOW: i64 = 10;

/// The parts of a request that its repeats share.
#[derive(Debug, Clone, Copy)]
pub struct RepeatableRequest<'a> {
    pub headers: &'a HeaderMap,
    /// The signature, if the scheme has one.
    pub signature: Option<&'a [u8]>,
    /// The method, the path and the query, if they can make another event of the same body.
    pub target: Option<&'a str>,
    /// When the request arrived.
    pub now: Timestamp,
}

/// The keys by which repeats of an event are recognised. A later event of the source repeats this
/// one if they share a key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RepeatKeys {
    /// The event's own keys, which are stored.
    pub own: Vec<String>,
    /// The keys under which an earlier event may be stored that this one repeats.
    pub earlier: Vec<String>,
}

impl RepeatKeys {
    fn new(own: String) -> Self {
        Self { own: vec![own], earlier: Vec::new() }
    }
}

/// Returns the keys of each of a request's events.
pub fn repeat_keys(
    setting: Option<&RepeatRule>,
    request: &RepeatableRequest<'_>,
    events: &[IncomingEvent],
    sequence: &RequestSequence,
) -> Vec<RepeatKeys> {
    // This also records the request, because a request is a repeat only of the one directly before
    // it.
    let identical = request.signature.map(|signature| request.identity(signature, sequence));
    let or_identical = |key: Option<String>, n: usize| match (key, &identical) {
        (Some(key), _) => RepeatKeys::new(key),
        (None, Some(identity)) => {
            let own = numbered(&identity.key(identity.window), n);
            // Most requests differ from the one before, and then there is nothing to look up.
            let earlier = identity.place.may_repeat;
            let earlier = earlier.then(|| numbered(&identity.key(identity.window - 1), n));
            RepeatKeys { earlier: earlier.into_iter().collect(), ..RepeatKeys::new(own) }
        }
        (None, None) => RepeatKeys::default(),
    };
    let keys = events.iter().enumerate().map(|(n, event)| match setting {
        // Keys of pushed events have another prefix, so that a pushed event cannot suppress a
        // webhook.
        None | Some(RepeatRule::Id) => {
            let key = event.id.as_ref().map(|id| format!("hook {id}"));
            let key = key.map(|key| if event.shares_id { numbered(&key, n) } else { key });
            or_identical(key, n)
        }
        Some(RepeatRule::Header(name)) => {
            let value = request.headers.get(name).filter(|value| !value.is_empty());
            let key = value.map(|value| format!("head {}", ShortDigest::of([value.as_bytes()])));
            or_identical(key.map(|key| numbered(&key, n)), n)
        }
        Some(RepeatRule::Signature) => {
            let key = request.signature.map(|signature| numbered(&request.name(signature), n));
            key.map(RepeatKeys::new).unwrap_or_default()
        }
        Some(RepeatRule::None) => RepeatKeys::default(),
    });
    keys.collect()
}

/// Returns the key of event number `n` of a request whose events share one key.
fn numbered(key: &str, n: usize) -> String {
    if n == 0 { key.to_owned() } else { format!("{key} {n}") }
}

/// What identical requests have in common.
struct RequestIdentity {
    /// The digest of the signature, of the headers with a time and of the target.
    fingerprint: ShortDigest,
    place: RequestPosition,
    /// The number of the time window in which the request arrived.
    window: i64,
}

impl RequestIdentity {
    /// Returns the key for this time window. The growing parts come first, so that new keys are
    /// appended at the end of their index. Eight bytes of the fingerprint keep the key short enough
    /// to be stored without hashing. They only have to differ within one window and number.
    fn key(&self, window: i64) -> String {
        let fingerprint = self.fingerprint.to_string();
        let fingerprint = fingerprint.get(..16).unwrap_or(&fingerprint);
        format!("same {window:x} {:x} {fingerprint}", self.place.number)
    }
}

impl RepeatableRequest<'_> {
    /// Returns the name of the request by its signature.
    fn name(&self, signature: &[u8]) -> String {
        let signature = hex::encode(signature);
        match self.target {
            Some(target) => {
                format!("signature {signature} {}", ShortDigest::of([target.as_bytes()]))
            }
            None => format!("signature {signature}"),
        }
    }

    fn identity(&self, signature: &[u8], sequence: &RequestSequence) -> RequestIdentity {
        let times = self.headers.iter().filter(|(name, _)| name.as_str().ends_with("timestamp"));
        let times = times.map(|(_, value)| value.as_bytes());
        let target = self.target.map(str::as_bytes);
        let fingerprint = ShortDigest::of([signature].into_iter().chain(times).chain(target));
        let place = sequence.place(fingerprint);
        RequestIdentity { fingerprint, place, window: self.now.seconds() / WINDOW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_at(
        setting: Option<&RepeatRule>,
        signature: u8,
        seconds: i64,
        sequence: &RequestSequence,
    ) -> RepeatKeys {
        let event = IncomingEvent::new("a.b", serde_json::value::RawValue::NULL.to_owned());
        let now = Timestamp::from_micros(seconds * 1_000_000);
        let headers = HeaderMap::new();
        let request = RepeatableRequest {
            headers: &headers,
            signature: Some(&[signature; 32]),
            target: None,
            now,
        };
        repeat_keys(setting, &request, &[event], sequence).remove(0)
    }

    /// Whether the later event repeats the earlier one.
    fn meet(earlier: &RepeatKeys, later: &RepeatKeys) -> bool {
        let mut keys = later.own.iter().chain(&later.earlier);
        keys.any(|key| earlier.own.contains(key))
    }

    #[test]
    fn an_identical_request_is_a_repeat_for_some_seconds() {
        let sequence = RequestSequence::default();
        let first = keys_at(None, 5, 1_000, &sequence);
        assert!(meet(&first, &keys_at(None, 5, 1_000, &sequence)));
        assert!(meet(&first, &keys_at(None, 5, 1_010, &sequence)));
        assert!(!meet(&first, &keys_at(None, 5, 1_020, &sequence)));
        assert!(!meet(&first, &keys_at(Some(&RepeatRule::None), 5, 1_000, &sequence)));
    }

    #[test]
    fn an_identical_request_after_another_is_new() {
        let sequence = RequestSequence::default();
        let states: Vec<_> =
            [5, 4, 5, 4, 5].map(|state| keys_at(None, state, 1_000, &sequence)).into();
        for (n, one) in states.iter().enumerate() {
            assert!(states.iter().skip(n + 1).all(|other| !meet(one, other)), "{n}");
        }
    }
}
