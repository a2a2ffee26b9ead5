//! Settings of a source that receives webhooks, and the table of known senders.

pub mod proof;
pub mod repeats;
pub mod senders;
pub mod template;

pub mod scheme;

pub use repeats::RepeatRule;
pub use scheme::SenderScheme;

use crate::model::fault::InputFault;
use crate::model::source_module::SourceModule;
use crate::model::type_pattern::is_event_type;
use crate::time::span::TimeSpan;
use http::{HeaderName, Uri};
use ipnet::IpNet;
use proof::{
    BasicSettings, HmacSettings, PayPalSettings, SenderProof, TokenPlace, WebhookTokenSettings,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Default and largest difference between a signed time and now.
const TOLERANCE: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(24));
/// Most event names that a source renames.
const MAX_RENAMES: usize = 500;
/// Most networks that a source can be limited to.
const MAX_NETWORKS: usize = 200;

/// Places of the parts of an event: JSON pointers (RFC 6901) into the body, or `header:NAME`. A
/// place that is left out is the one that the scheme's senders use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Places)]
pub struct WebhookPlaces {
    /// The place of the event's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The place of the data. If nothing is found there, the whole body is the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The place of the sender's id for the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The place of the time at which the event happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// The place of the id of the record that the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
}

impl WebhookPlaces {
    fn check(&self) -> Vec<InputFault> {
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
        let message = "must be a JSON pointer such as `/payload`, or `header:NAME`";
        wrong.map(|(name, _)| InputFault::new(name, message)).collect()
    }
}

/// The settings of a source that receives webhooks at `/in/{source}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// The sender, which decides how requests are verified and read.
    pub scheme: SenderScheme,
    /// Signature of the requests, for the scheme `hmac`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacSettings>,
    /// The login, for the schemes `basic` and `pipedrive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSettings>,
    /// Place of the secret, for the scheme `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<WebhookTokenSettings>,
    /// Verification of PayPal's signatures, for the scheme `paypal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paypal: Option<PayPalSettings>,
    /// Networks that requests may come from, such as `192.0.2.0/24`. If empty, any. The scheme `ip`
    /// needs at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub from: Vec<IpNet>,
    /// The address that the sender calls. Set it if the address is signed and differs from the one
    /// that arrives here, as behind a proxy that changes the host or the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://waybill.example/in/crm")]
    pub url: Option<String>,
    /// Largest difference between a signed time and now, at most a day.
    #[serde(default = "tolerance")]
    #[schema(value_type = String)]
    pub tolerance: TimeSpan,
    /// The module that decodes the requests. It takes the place of `places` and `rename`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<SourceModule>,
    /// Places of the parts of an event.
    #[serde(default)]
    pub places: WebhookPlaces,
    /// How a repeated request is recognised: by `id`, `header:NAME` or `signature`, or not at all
    /// (`none`). If left out, by `id`. A request without the id or the header counts as a repeat
    /// only of an identical request just before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "header:X-Delivery-Id")]
    pub repeats: Option<RepeatRule>,
    /// Event types for event names that have another meaning here, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

const fn tolerance() -> TimeSpan {
    TimeSpan::new(TOLERANCE.0)
}

impl WebhookSettings {
    /// Whether requests prove their sender: by a signature, a secret, a certificate or an address.
    pub fn proves_sender(&self) -> bool {
        self.scheme.has_secret() || self.scheme.is_signed() || !self.from.is_empty()
    }

    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let places = self.places.check().into_iter().map(|fault| fault.within("places"));
        let mut faults: Vec<InputFault> = places.collect();
        self.check_scheme(&mut faults);
        if self.tolerance.get() > TOLERANCE.1 {
            faults.push(InputFault::new("tolerance", "at most 24h"));
        }
        if self.repeats == Some(RepeatRule::Signature) && !self.scheme.is_signed() {
            faults.push(InputFault::new(
                "repeats",
                "this scheme has no signature; write `id` or `none`",
            ));
        }
        if self.rename.len() > MAX_RENAMES {
            faults.push(InputFault::new("rename", format!("at most {MAX_RENAMES} names")));
        }
        faults.extend(self.check_module());
        for (name, event_type) in &self.rename {
            if !is_event_type(event_type) {
                let message = format!("`{event_type}` is not an event type such as `invoice.paid`");
                faults.push(InputFault::new(format!("rename.{name}"), message));
            }
        }
        faults
    }

    /// Returns the faults of the module, and of settings that it makes useless.
    fn check_module(&self) -> Vec<InputFault> {
        let Some(module) = &self.module else { return Vec::new() };
        let mut faults: Vec<InputFault> =
            module.check().into_iter().map(|fault| fault.within("module")).collect();
        let useless = [
            ("places", self.places != WebhookPlaces::default()),
            ("rename", !self.rename.is_empty()),
        ];
        for (field, _) in useless.into_iter().filter(|(_, is_set)| *is_set) {
            let message = "the module of the source reads its requests; leave this out";
            faults.push(InputFault::new(field, message));
        }
        faults
    }

    /// Returns the JSON pointer to the secret in the body, if a secret in the body proves the
    /// sender.
    pub fn token_in_body(&self) -> Option<&str> {
        let set = self.token.as_ref().and_then(WebhookTokenSettings::place);
        match (self.scheme.sender().proof, set) {
            (SenderProof::Token(TokenPlace::Body(pointer)), _)
            | (SenderProof::AsSet, Some(TokenPlace::Body(pointer))) => Some(pointer),
            _ => None,
        }
    }

    /// Returns the query parameter with the secret, if one proves the sender.
    pub fn token_in_query(&self) -> Option<&str> {
        let set = self.token.as_ref().and_then(WebhookTokenSettings::place);
        match (self.scheme.sender().proof, set) {
            (SenderProof::Token(TokenPlace::Query(name)), _)
            | (SenderProof::AsSet, Some(TokenPlace::Query(name))) => Some(name),
            _ => None,
        }
    }

    /// Returns the headers that prove the sender of a request.
    pub fn proof_headers(&self) -> Vec<&str> {
        let set = self.token.as_ref().and_then(WebhookTokenSettings::place);
        match self.scheme.sender().proof {
            SenderProof::Hmac(rules) => rules.iter().map(|rule| rule.header).collect(),
            SenderProof::AsSet => {
                let of_hmac = self.hmac.as_ref().map(|hmac| hmac.rule().header);
                let of_token = set.and_then(TokenPlace::header);
                of_hmac.into_iter().chain(of_token).collect()
            }
            SenderProof::Token(place) => place.header().into_iter().collect(),
            SenderProof::Nothing | SenderProof::Basic | SenderProof::PayPal => Vec::new(),
        }
    }

    /// Checks that the settings that the scheme needs are set, and no others.
    fn check_scheme(&self, faults: &mut Vec<InputFault>) {
        let (name, proof) = (self.scheme.as_str(), self.scheme.sender().proof);
        let parts = [
            ("hmac", self.hmac.as_ref().map(HmacSettings::check), name == "hmac"),
            ("token", self.token.as_ref().map(WebhookTokenSettings::check), name == "token"),
            ("paypal", self.paypal.as_ref().map(|_| Vec::new()), name == "paypal"),
        ];
        for (part, checked, is_needed) in parts {
            match (checked, is_needed) {
                (Some(found), true) => {
                    faults.extend(found.into_iter().map(|fault| fault.within(part)));
                }
                (Some(_), false) => {
                    faults.push(InputFault::new(
                        part,
                        format!("only the scheme `{part}` uses this; leave it out"),
                    ));
                }
                (None, true) => {
                    faults.push(InputFault::new(part, format!("the scheme `{part}` needs it")));
                }
                (None, false) => {}
            }
        }
        match (&self.basic, matches!(proof, SenderProof::Basic)) {
            (Some(basic), true) => {
                faults.extend(basic.check().into_iter().map(|fault| fault.within("basic")));
            }
            (Some(_), false) => {
                faults.push(InputFault::new(
                    "basic",
                    "only HTTP Basic authentication uses this; leave it out",
                ));
            }
            (None, _) => {}
        }
        if name == "ip" && self.from.is_empty() {
            faults.push(InputFault::new("from", "set the networks that requests may come from"));
        }
        if self.from.len() > MAX_NETWORKS {
            faults.push(InputFault::new("from", format!("at most {MAX_NETWORKS} networks")));
        }
        if self.url.as_deref().is_some_and(|url| !is_address(url)) {
            faults.push(InputFault::new(
                "url",
                "must be an address such as `https://waybill.example/in/crm`",
            ));
        }
    }
}

/// Whether a text is an absolute HTTP address.
fn is_address(url: &str) -> bool {
    let scheme = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    scheme.is_some() && url.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some())
}
