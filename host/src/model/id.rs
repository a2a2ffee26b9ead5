//! Typed ids: a version 7 UUID (RFC 9562, section 5.7) behind a short prefix that names the type.
//!
//! A version 7 UUID begins with the time, so ids sort by creation and indexes on them grow at one
//! end. Within one process ids are strictly ascending. Only the text form has the prefix; the store
//! holds the sixteen bytes.

use crate::crypto::digest::ShortDigest;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex};
use uuid::{ContextV7, Uuid};

/// The text is not an id of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an id of this kind: expected `{prefix}` followed by a UUID")]
pub struct InvalidId {
    given: String,
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Creates an id that is greater than every id this process created before.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// Returns the id of a stored UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Returns the UUID to store.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = Uuid::encode_buffer();
                f.write_str($prefix)?;
                f.write_str(self.0.hyphenated().encode_lower(&mut buffer))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| InvalidId { given: text.to_owned(), prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// The id of a captured event.
    EventId = "evt_";
    /// The id of a delivery: one event for one endpoint. Sent as `webhook-id`.
    DeliveryId = "dlv_";
    /// The id of an endpoint.
    EndpointId = "end_";
    /// The id of a flow.
    FlowId = "flw_";
    /// The id of a secret that modules use by name.
    ModuleSecretId = "sec_";
    /// The id of a source.
    SourceId = "src_";
    /// The id of one uploaded version of a module.
    ModuleId = "mod_";
    /// The id of an access token.
    TokenId = "tok_";
    /// The id of a dead letter.
    DeadLetterId = "dlt_";
    /// The id of a request to the API, sent as `X-Request-Id`.
    RequestId = "req_";
    /// The id of an alert.
    AlertId = "alr_";
    /// The id of a grant, a short-lived token.
    GrantId = "grt_";
}

impl DeliveryId {
    /// Returns the id of the delivery of an event to an endpoint that follows from the two alone,
    /// with the event's time. It is the same wherever and however often it is computed.
    pub fn of_event(event: EventId, endpoint: EndpointId) -> Self {
        const TIME: u128 = !0 << 80;
        const VERSION: u128 = 7 << 76;
        const VARIANT: u128 = 2 << 62;
        const RANDOM: u128 = (0xfff << 64) | ((1 << 62) - 1);
        let parts = [event.uuid(), endpoint.uuid()];
        let digest = ShortDigest::of(parts.iter().map(Uuid::as_bytes));
        let random = u128::from_be_bytes(*digest.bytes()) & RANDOM;
        let time = event.uuid().as_u128() & TIME;
        Self(Uuid::from_u128(time | VERSION | VARIANT | random))
    }
}

/// Ids that give the time of their creation.
macro_rules! ids_tell_their_time {
    ($($name:ident)*) => {$(
        impl $name {
            /// Returns when the id was created, to the millisecond. The first 48 bits of a version
            /// 7 UUID hold the time.
            pub fn created_at(self) -> Timestamp {
                let millis = i64::try_from(self.0.as_u128() >> 80).unwrap_or_default();
                Timestamp::from_micros(millis * 1_000)
            }
        }
    )*};
}

/// Ids of lists that are read and pruned by age.
macro_rules! ids_begin_at_a_time {
    ($($name:ident)*) => {$(
        impl $name {
            /// Returns an id that is not greater than any id created in that millisecond or later.
            pub const fn first_at(at: Timestamp) -> Self {
                // The time has 48 bits, which suffice until the year 10889.
                const LAST: u128 = (1 << 48) - 1;
                let millis = at.micros().div_euclid(1_000);
                let millis = if millis < 0 { 0 } else { millis.cast_unsigned() as u128 };
                let millis = if millis > LAST { LAST } else { millis };
                Self(Uuid::from_u128(millis << 80))
            }
        }
    )*};
}

/// Ids that define the order of events and deliveries. They are created with a time that all nodes
/// agree on.
macro_rules! ids_are_made_at_a_time {
    ($($name:ident)*) => {$(
        impl $name {
            /// Creates an id of that time that is greater than every id this process created with
            /// this function before.
            pub fn generate_at(at: Timestamp) -> Self {
                Self(make_uuid_at(&MAKER, at))
            }
        }
    )*};
}

/// Makes UUIDs with twelve more bits of the time, so that ids of two nodes are in order even within
/// a millisecond.
static MAKER: LazyLock<Mutex<ContextV7>> =
    LazyLock::new(|| Mutex::new(ContextV7::new().with_additional_precision()));

fn make_uuid_at(maker: &Mutex<ContextV7>, at: Timestamp) -> Uuid {
    let micros = at.micros().max(0).cast_unsigned();
    let nanos = u32::try_from(micros % 1_000_000 * 1_000).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(maker, micros / 1_000_000, nanos))
}

ids_are_made_at_a_time! { DeliveryId EventId }
ids_tell_their_time! { DeliveryId EventId RequestId }
ids_begin_at_a_time! { DeadLetterId DeliveryId EventId RequestId }

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Variant;

    #[test]
    fn text_form_round_trips() {
        let id = EventId::generate();
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<EventId>(&json).unwrap(), id);
    }

    #[test]
    fn another_prefix_is_refused_with_the_expected_one() {
        let error = DeliveryId::generate().to_string().parse::<EventId>().unwrap_err();
        assert!(error.to_string().contains("`evt_`"), "{error}");
    }

    #[test]
    fn ids_of_a_time_follow_its_order_and_never_go_back() {
        let new = || Mutex::new(ContextV7::new().with_additional_precision());
        let (one, other) = (new(), new());
        let at = |maker, micros: i64| {
            let at = Timestamp::from_micros(4_000_000_000_000_000 + micros);
            EventId::from_uuid(make_uuid_at(maker, at))
        };
        let ids: Vec<_> = [0, 1, 2, 2, 0, 900, 1_000].map(|micros| at(&one, micros)).into();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        assert_eq!(ids[0].created_at(), Timestamp::from_micros(4_000_000_000_000_000));
        // Two nodes, a microsecond apart within one millisecond.
        let (one, other_first) = (new(), at(&other, 2_010));
        assert!(other_first < at(&one, 2_011));
    }

    #[test]
    fn ids_ascend() {
        let ids: Vec<_> = (0..10_000).map(|_| EventId::generate()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_delivery_of_an_event_to_an_endpoint_has_one_id() {
        let (event, endpoint) = (EventId::generate(), EndpointId::generate());
        let id = DeliveryId::of_event(event, endpoint);
        assert_eq!(id, DeliveryId::of_event(event, endpoint));
        assert_ne!(id, DeliveryId::of_event(event, EndpointId::generate()));
        assert_eq!(id.created_at(), event.created_at());
        assert_eq!((id.uuid().get_version_num(), id.uuid().get_variant()), (7, Variant::RFC4122));
    }
}
