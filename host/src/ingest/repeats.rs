//! What makes a webhook the repeat of an earlier one.
//!
//! A false repeat loses an event, a missed one only delivers it twice. So a request without an id
//! is a repeat only of the identical request directly before it, and only for some seconds: a proxy
//! or an HTTP client that sends again after a broken connection does so at once. What each setting
//! means against somebody who replays requests stands in docs/connect.md.

use super::incoming::IncomingEvent;
use crate::crypto::digest::ShortDigest;
use crate::model::webhook_source::RepeatRule;
use crate::settings::source_runtime::{RequestPlace, RequestSequence};
use crate::time::timestamp::Timestamp;
use http::HeaderMap;

/// An identical request is recognised for at least this long and at most twice as long, in seconds.
/// The sender's own first retry comes later: after 30 s (PerfexAPI), or minutes (N8N Bridge).
const WINDOW: i64 = 10;

/// What of a request its repeats have too.
#[derive(Debug, Clone, Copy)]
pub struct RepeatableRequest<'a> {
    pub headers: &'a HeaderMap,
    /// Its signature, where its scheme has one.
    pub signature: Option<&'a [u8]>,
    /// When it came.
    pub now: Timestamp,
}

/// The keys of an event: a later event of the source that has one of its own keys is a repeat of
/// it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RepeatKeys {
    /// Its own, which are kept.
    pub own: Vec<String>,
    /// Those that an earlier event may have, if this one repeats it.
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
    // Every request counts as one that came in between, whatever it is recognised by itself.
    let identical = request.signature.map(|signature| request.identity(signature, sequence));
    let or_identical = |key: Option<String>, n: usize| match (key, &identical) {
        (Some(key), _) => RepeatKeys::new(key),
        (None, Some(identity)) => {
            let own = numbered(&identity.key(identity.window), n);
            // Most requests differ from the one before: what cannot be there is not looked up.
            let earlier = identity.place.may_repeat;
            let earlier = earlier.then(|| numbered(&identity.key(identity.window - 1), n));
            RepeatKeys { earlier: earlier.into_iter().collect(), ..RepeatKeys::new(own) }
        }
        (None, None) => RepeatKeys::default(),
    };
    let keys = events.iter().enumerate().map(|(n, event)| match setting {
        // Keys of pushed events begin otherwise, so that no pushed event passes for a webhook.
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
            let signature = request.signature.map(hex::encode);
            let key = signature.map(|text| numbered(&format!("signature {text}"), n));
            key.map(RepeatKeys::new).unwrap_or_default()
        }
        Some(RepeatRule::None) => RepeatKeys::default(),
    });
    keys.collect()
}

/// The key of event number `n` of a request that has one key for all of its events.
fn numbered(key: &str, n: usize) -> String {
    if n == 0 { key.to_owned() } else { format!("{key} {n}") }
}

/// What tells identical requests from others.
struct RequestIdentity {
    /// Of what each of them has: the signature and the headers with a time.
    fingerprint: ShortDigest,
    place: RequestPlace,
    /// The window of time that it came in.
    window: i64,
}

impl RequestIdentity {
    /// The key that it has if it comes in this window of time. What grows stands first, so that
    /// keys go to the end of their index; eight bytes of the fingerprint keep it short enough to
    /// be stored as it is, and within one window and number they are enough.
    fn key(&self, window: i64) -> String {
        let fingerprint = self.fingerprint.to_string();
        let fingerprint = fingerprint.get(..16).unwrap_or(&fingerprint);
        format!("same {window:x} {:x} {fingerprint}", self.place.number)
    }
}

impl RepeatableRequest<'_> {
    fn identity(&self, signature: &[u8], sequence: &RequestSequence) -> RequestIdentity {
        let times = self.headers.iter().filter(|(name, _)| name.as_str().ends_with("timestamp"));
        let times = times.map(|(_, value)| value.as_bytes());
        let fingerprint = ShortDigest::of([signature].into_iter().chain(times));
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
        let request =
            RepeatableRequest { headers: &headers, signature: Some(&[signature; 32]), now };
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
