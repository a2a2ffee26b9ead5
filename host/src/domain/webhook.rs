//! What an operator sets of a source that receives webhooks.

use super::pattern::is_event_type;
use super::problem::Fault;
use super::span::Span;
use http::HeaderName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How far a signed time may be from now where nothing else is set, and at most.
const TOLERANCE: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(24));
/// Most names that a source gives a meaning of its own.
const MAX_RENAMES: usize = 500;

/// Who sends, and so how it signs and what its bodies look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// PerfexAPI by OBS Technologies, in both of its headers.
    #[serde(rename = "perfexapi")]
    PerfexApi,
    /// The REST API module of Themesic.
    Themesic,
    /// The module N8N Bridge.
    N8nBridge,
    /// Standard Webhooks 1.0, symmetric; Waybill itself.
    Standard,
    /// GitHub.
    Github,
    /// Stripe.
    Stripe,
    /// Shopify.
    Shopify,
    /// Slack's Events API.
    Slack,
    /// Nobody in particular: nothing is verified, so anybody who knows the address can send.
    None,
}

impl Scheme {
    /// Whether it has a signature, and so a secret.
    pub fn is_signed(self) -> bool {
        self != Self::None
    }
}

/// What makes a request the repeat of an earlier one. Written as `id`, `header:NAME`, `signature` or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeats {
    /// The sender's id for the event, from `places.id` or where the scheme's senders put it. Recognised for 24 hours.
    Id,
    /// The value of this header. Recognised for 24 hours.
    Header(HeaderName),
    /// The signature. Recognised for 24 hours.
    Signature,
    /// Nothing: each request is a new event.
    None,
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Signature => f.write_str("signature"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Repeats {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write `id`, `header:NAME`, `signature` or `none`";
        match text {
            "id" => Ok(Self::Id),
            "signature" => Ok(Self::Signature),
            "none" => Ok(Self::None),
            _ => {
                let name = text.strip_prefix("header:").and_then(|name| name.parse().ok());
                name.map(Self::Header).ok_or(FORM)
            }
        }
    }
}

impl Serialize for Repeats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Repeats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the parts of an event stand in a body, as JSON pointers (RFC 6901), or in a header, as
/// `header:NAME`. What is left out is where the scheme's senders put it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// The event's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The data; the whole body where nothing stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The sender's id for the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Which record it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
}

impl Places {
    fn check(&self) -> Vec<Fault> {
        let all = [
            ("event", &self.event),
            ("data", &self.data),
            ("id", &self.id),
            ("occurred_at", &self.occurred_at),
            ("resource_id", &self.resource_id),
        ];
        let fits = |text: &str| match text.strip_prefix("header:") {
            Some(name) => name.parse::<HeaderName>().is_ok(),
            None => text.is_empty() || text.starts_with('/'),
        };
        let wrong = all.into_iter().filter(|(_, place)| place.as_ref().is_some_and(|p| !fits(p)));
        let message = "a JSON pointer such as `/payload`, or `header:NAME`";
        wrong.map(|(name, _)| Fault::new(name, message)).collect()
    }
}

/// What an operator sets of a source that receives webhooks at `/in/{source}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Who sends.
    pub scheme: Scheme,
    /// How far a signed time may be from now, at most a day.
    #[serde(default = "tolerance")]
    #[schema(value_type = String)]
    pub tolerance: Span,
    /// Where the parts of an event stand.
    #[serde(default)]
    pub places: Places,
    /// What makes a request the repeat of an earlier one: `id`, `header:NAME`, `signature` or `none`. Left out, it is
    /// `id`. A request without the id, or without the header, is a repeat only of the identical request just before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "header:X-Delivery-Id")]
    pub repeats: Option<Repeats>,
    /// Event types for names that mean something else here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

const fn tolerance() -> Span {
    Span::new(TOLERANCE.0)
}

impl WebhookSettings {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<Fault> {
        let within = |fault: Fault| fault.within("places");
        let mut faults: Vec<Fault> = self.places.check().into_iter().map(within).collect();
        if self.tolerance.get() > TOLERANCE.1 {
            faults.push(Fault::new("tolerance", "at most 24h"));
        }
        if self.repeats == Some(Repeats::Signature) && !self.scheme.is_signed() {
            faults
                .push(Fault::new("repeats", "this scheme has no signature; write `id` or `none`"));
        }
        if self.rename.len() > MAX_RENAMES {
            faults.push(Fault::new("rename", format!("at most {MAX_RENAMES} names")));
        }
        for (name, event_type) in &self.rename {
            if !is_event_type(event_type) {
                let message = format!("`{event_type}` is no event type such as `invoice.paid`");
                faults.push(Fault::new(format!("rename.{name}"), message));
            }
        }
        faults
    }
}
