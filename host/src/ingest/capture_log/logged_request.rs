//! A captured request as one message of the capture log.
//!
//! The message holds everything that the journal needs: the events with their ids, the keys by
//! which repeats are recognised, and the row of the audit. Flows and endpoints are matched when the
//! journal takes the message, with the settings of that moment.

use crate::crypto::digest::ShortDigest;
use crate::ingest::repeats::RepeatKeys;
use crate::model::api_call::ApiCall;
use crate::model::event::Event;
use crate::model::id::{EventId, RequestId, TokenId};
use crate::store::IdempotencyKeys;
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::time::Duration;

/// The form of messages that this version writes. A version reads its own form and earlier ones.
const FORM: u32 = 1;

/// The reason why a message cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableRequest {
    /// A newer version wrote it, and such a node can take it.
    #[error(
        "a newer version of Waybill wrote it (form {0}); a node of that version has to take it"
    )]
    Newer(u32),
    /// It is not a captured request.
    #[error("it is not a captured request: {0}")]
    Broken(String),
}

/// A captured request.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoggedRequest {
    form: u32,
    /// The digest of the request that came with an `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<LoggedCall>,
    pub events: Vec<LoggedEvent>,
}

/// The row of the audit.
#[derive(Debug, Serialize, Deserialize)]
struct LoggedCall {
    id: RequestId,
    token: Option<TokenId>,
    address: IpAddr,
    method: String,
    route: String,
    status: u16,
    micros: u64,
}

/// An event of a captured request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoggedEvent {
    pub id: EventId,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    resource: Option<String>,
    resource_id: Option<String>,
    external_id: Option<String>,
    occurred_at: Option<i64>,
    received_at: i64,
    attributes: Option<Box<RawValue>>,
    changes: Option<Box<RawValue>>,
    data: Box<RawValue>,
    keys: Vec<String>,
    earlier_keys: Vec<String>,
    idempotency_key: Option<String>,
    /// Whether the type is an alias of another event that is captured, too.
    pub second_name: bool,
    /// Whether the data may contain the whole record.
    pub holds_record: bool,
}

/// An event on its way into the log.
#[derive(Debug)]
pub struct EventToLog {
    pub event: Event,
    pub keys: RepeatKeys,
    pub idempotency: Option<IdempotencyKeys>,
    pub second_name: bool,
    pub holds_record: bool,
}

impl LoggedRequest {
    /// Makes the message of a request.
    pub fn of(events: Vec<EventToLog>, call: Option<ApiCall>) -> Self {
        let request = events.iter().find_map(|one| one.idempotency.as_ref());
        let request = request.map(|idempotency| idempotency.request.to_string());
        let call = call.map(LoggedCall::of);
        Self {
            form: FORM,
            request,
            call,
            events: events.into_iter().map(LoggedEvent::of).collect(),
        }
    }

    /// Returns a request of only one of its events, without the row of the audit.
    pub fn alone(&self, event: &LoggedEvent) -> Self {
        let (request, events) = (self.request.clone(), vec![event.clone()]);
        Self { form: self.form, request, call: None, events }
    }

    /// Returns the bytes of the message.
    pub fn encode(&self) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(self).map(Bytes::from)
    }

    /// Reads a message.
    pub fn read(bytes: &[u8]) -> Result<Self, UnreadableRequest> {
        #[derive(Deserialize)]
        struct MessageForm {
            form: u32,
        }
        let broken = |error: serde_json::Error| UnreadableRequest::Broken(error.to_string());
        let MessageForm { form } = serde_json::from_slice(bytes).map_err(broken)?;
        if form > FORM {
            return Err(UnreadableRequest::Newer(form));
        }
        serde_json::from_slice(bytes).map_err(broken)
    }

    /// Returns the digest of the request that came with an `Idempotency-Key`.
    pub fn request_digest(&self) -> Option<ShortDigest> {
        self.request.as_deref().and_then(ShortDigest::parse)
    }

    /// Returns the id of the message, by which the stream recognises a repeat of the request. A
    /// request without keys is recognised by its first event, so that only the node's own second
    /// try counts as a repeat.
    pub fn repeat_id(&self) -> String {
        let unique = || self.events.first().map(|event| event.id.to_string()).unwrap_or_default();
        let key = |event: &LoggedEvent| {
            let key = event.idempotency_key.as_ref().or_else(|| event.keys.first())?;
            Some([event.source.clone(), key.clone()])
        };
        // The first key of a request stands for all of it, because its events have numbered keys.
        let keyed = if self.request.is_some() { self.events.get(..1) } else { self.events.get(..) };
        let keys: Option<Vec<[String; 2]>> = keyed.unwrap_or_default().iter().map(key).collect();
        let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return unique() };
        let kind = if self.request.is_some() { "request" } else { "keys" };
        let parts = keys.iter().flatten().map(String::as_str);
        ShortDigest::of(std::iter::once(kind).chain(parts)).to_string()
    }

    /// Returns the row of the audit.
    pub fn take_call(&mut self) -> Option<ApiCall> {
        self.call.take().map(LoggedCall::into_call)
    }
}

impl LoggedCall {
    fn of(call: ApiCall) -> Self {
        let ApiCall { id, token, address, method, route, status, duration, .. } = call;
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self { id, token, address, method, route, status, micros }
    }

    fn into_call(self) -> ApiCall {
        let Self { id, token, address, method, route, status, micros } = self;
        let duration = Duration::from_micros(micros);
        ApiCall { id, token, address, method, route, status, duration, calls: 1 }
    }
}

impl LoggedEvent {
    fn of(one: EventToLog) -> Self {
        let EventToLog { event, keys, idempotency, second_name, holds_record } = one;
        Self {
            id: event.id,
            source: event.source,
            event_type: event.event_type,
            resource: event.resource,
            resource_id: event.resource_id,
            external_id: event.external_id,
            occurred_at: event.occurred_at.map(Timestamp::micros),
            received_at: event.received_at.micros(),
            attributes: event.attributes,
            changes: event.changes,
            data: event.data,
            keys: keys.own,
            earlier_keys: keys.earlier,
            idempotency_key: idempotency.map(|idempotency| idempotency.key),
            second_name,
            holds_record,
        }
    }

    /// Returns the keys by which repeats are recognised. `request` is the digest of the request. It
    /// was acknowledged, so it is not refused any more.
    pub fn take_keys(
        &mut self,
        request: Option<ShortDigest>,
    ) -> (RepeatKeys, Option<IdempotencyKeys>) {
        let keys = RepeatKeys {
            own: std::mem::take(&mut self.keys),
            earlier: std::mem::take(&mut self.earlier_keys),
        };
        let key = self.idempotency_key.take().zip(request);
        let idempotency =
            key.map(|(key, request)| IdempotencyKeys { key, request, is_acknowledged: true });
        (keys, idempotency)
    }

    /// Returns the event.
    pub fn into_event(self) -> Event {
        Event {
            id: self.id,
            source: self.source,
            event_type: self.event_type,
            resource: self.resource,
            resource_id: self.resource_id,
            external_id: self.external_id,
            occurred_at: self.occurred_at.map(Timestamp::from_micros),
            received_at: Timestamp::from_micros(self.received_at),
            attributes: self.attributes,
            changes: self.changes,
            data: self.data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, key: Option<&str>) -> EventToLog {
        let received_at = Timestamp::from_micros(1_764_000_000_123_456);
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let event = Event {
            id: EventId::generate_at(received_at),
            source: "crm".to_owned(),
            event_type: "invoice.paid".to_owned(),
            resource: Some("invoice".to_owned()),
            resource_id: Some("17".to_owned()),
            external_id: id.map(str::to_owned),
            occurred_at: Some(Timestamp::from_micros(5)),
            received_at,
            attributes: Some(raw(r#"{"a": 1}"#)),
            changes: None,
            data: raw(r#"{ "n": 1.50, "t": "ä" }"#),
        };
        let own = id.map(|id| format!("pushed {id}")).into_iter().collect();
        let request = ShortDigest::of(["body"]);
        let idempotency = key.map(|key| IdempotencyKeys {
            key: format!("0 {key}"),
            request,
            is_acknowledged: false,
        });
        let keys = RepeatKeys { own, earlier: Vec::new() };
        let (second_name, holds_record) = (false, true);
        EventToLog { event, keys, idempotency, second_name, holds_record }
    }

    fn logged(events: Vec<EventToLog>) -> LoggedRequest {
        LoggedRequest::of(events, None)
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let one = event(Some("m1"), Some("k"));
        let (id, data) = (one.event.id, one.event.data.get().to_owned());
        let call = ApiCall {
            id: RequestId::generate(),
            token: Some(TokenId::generate()),
            address: IpAddr::from([192, 0, 2, 1]),
            method: "POST".to_owned(),
            route: "/api/v1/events".to_owned(),
            status: 202,
            duration: Duration::from_micros(1_234),
            calls: 1,
        };
        let written = LoggedRequest::of(vec![one], Some(call.clone())).encode().unwrap();
        let mut read = LoggedRequest::read(&written).unwrap();
        assert_eq!(read.take_call(), Some(call));
        let digest = read.request_digest();
        assert_eq!(digest, Some(ShortDigest::of(["body"])));
        let mut event = read.events.remove(0);
        let (keys, idempotency) = event.take_keys(digest);
        assert_eq!(keys.own, ["pushed m1"]);
        assert!(idempotency.is_some_and(|keys| keys.key == "0 k" && keys.is_acknowledged));
        let event = event.into_event();
        assert_eq!((event.id, event.data.get()), (id, data.as_str()));
        assert_eq!(event.received_at.micros(), 1_764_000_000_123_456);
    }

    #[test]
    fn a_repeat_has_the_same_id_and_another_request_has_another() {
        let id = |events| logged(events).repeat_id();
        assert_eq!(id(vec![event(Some("a"), None)]), id(vec![event(Some("a"), None)]));
        assert_ne!(id(vec![event(Some("a"), None)]), id(vec![event(Some("b"), None)]));
        assert_ne!(id(vec![event(None, None)]), id(vec![event(None, None)]));
        assert_eq!(id(vec![event(Some("a"), Some("k"))]), id(vec![event(None, Some("k"))]));
        let both = || vec![event(Some("a"), None), event(Some("b"), None)];
        assert_eq!(id(both()), id(both()));
        assert_ne!(id(both()), id(vec![event(Some("a"), None)]));
        let half = || vec![event(Some("a"), None), event(None, None)];
        assert_ne!(id(half()), id(half()), "one of its events is always new");
    }

    #[test]
    fn a_newer_form_is_told_from_a_broken_message() {
        let newer = LoggedRequest::read(br#"{"form": 2, "x": 1}"#).unwrap_err();
        assert_eq!(newer, UnreadableRequest::Newer(2));
        let broken = LoggedRequest::read(b"hello").unwrap_err();
        assert!(matches!(broken, UnreadableRequest::Broken(_)));
    }
}
