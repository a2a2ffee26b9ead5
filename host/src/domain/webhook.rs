//! What an operator sets of a source that receives webhooks.

use super::pattern::is_event_type;
use super::problem::Fault;
use super::span::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// The id by which repeats are recognised.
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
            Some(name) => name.parse::<http::HeaderName>().is_ok(),
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
