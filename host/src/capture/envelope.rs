//! From what another system sends to an event.
//!
//! Each scheme's senders have an envelope of their own; [`usual`] says where its parts stand, and a
//! source may say otherwise for any of them. The data is taken byte for byte. Where none stands in
//! its place, the whole body is the data, so nothing that was sent is lost.

use super::dialect;
use super::hops;
use super::incoming::Incoming;
use super::read::Refusal;
use crate::domain::members::{Members, scalar};
use crate::domain::problem::Fault;
use crate::domain::surrogates::replace_lone_surrogates;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{Places, Scheme, WebhookSettings};
use http::HeaderMap;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Where the parts of an event usually stand: each in the first of its places that has something.
struct Usual {
    event: &'static [&'static str],
    data: &'static [&'static str],
    id: &'static [&'static str],
    occurred_at: &'static [&'static str],
}

fn usual(scheme: Scheme) -> Usual {
    let usual = |event, data, id, occurred_at| Usual { event, data, id, occurred_at };
    match scheme {
        Scheme::PerfexApi | Scheme::Themesic | Scheme::N8nBridge | Scheme::None => usual(
            &["/event", "/type", "header:x-perfex-event"],
            &["/payload", "/data"],
            &["/delivery_id"],
            &["/timestamp", "/occurred_at"],
        ),
        Scheme::Standard => usual(
            &["/event", "/type"],
            &["/payload", "/data"],
            &["header:webhook-id"],
            &["/timestamp"],
        ),
        Scheme::Github => {
            usual(&["header:x-github-event"], &[], &["header:x-github-delivery"], &[])
        }
        Scheme::Stripe => usual(&["/type"], &["/data/object"], &["/id"], &["/created"]),
        Scheme::Shopify => usual(
            &["header:x-shopify-topic"],
            &[],
            &["header:x-shopify-webhook-id"],
            &["header:x-shopify-triggered-at"],
        ),
        Scheme::Slack => {
            usual(&["/event/type", "/type"], &["/event"], &["/event_id"], &["/event_time"])
        }
    }
}

/// A request of a source.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
}

/// Reads the event that a request tells of.
pub fn read(received: Received<'_>, settings: &WebhookSettings) -> Result<Incoming, Refusal> {
    let text = std::str::from_utf8(received.body).map_err(|error| {
        Refusal::Malformed(format!("byte {} is not UTF-8", error.valid_up_to()))
    })?;
    let text = &*replace_lone_surrogates(text);
    let body: &RawValue =
        serde_json::from_str(text).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let members = Members::read(text).ok();
    let (usual, places) = (usual(settings.scheme), &settings.places);
    let parts = Parts { received, body, members, usual, places };
    let event = parts.event(settings)?;
    let mut incoming = Incoming {
        event_type: event,
        data: parts
            .find(settings.places.data.as_deref(), parts.usual.data)
            .unwrap_or(body)
            .to_owned(),
        id: parts.text(settings.places.id.as_deref(), parts.usual.id),
        source: Some(received.source.to_owned()),
        resource: None,
        resource_id: parts.text(settings.places.resource_id.as_deref(), &[]),
        occurred_at: parts
            .text(settings.places.occurred_at.as_deref(), parts.usual.occurred_at)
            .and_then(|text| time(&text)),
        attributes: None,
        changes: None,
        second_name: false,
    };
    let faults = incoming.check();
    if !faults.is_empty() {
        return Err(Refusal::Invalid(faults));
    }
    // A CloudEvent that went through others may have lost the header.
    let of_body = parts.text(None, &["/waybillhops"]).and_then(|text| text.parse().ok());
    hops::note(
        &mut incoming,
        hops::of_request(received.headers)?.max(of_body.unwrap_or_default()),
    )?;
    Ok(incoming)
}

/// Slack asks once whether the address is the operator's, before it sends events
/// (docs.slack.dev, "Request URL Configuration"): what to answer with.
pub fn challenge(scheme: Scheme, body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Challenge {
        r#type: String,
        challenge: String,
    }
    let asked: Challenge =
        (scheme == Scheme::Slack).then(|| serde_json::from_slice(body).ok())??;
    (asked.r#type == "url_verification").then_some(asked.challenge)
}

struct Parts<'a> {
    received: Received<'a>,
    body: &'a RawValue,
    /// Those of the body, which every place begins with.
    members: Option<Members<'a>>,
    usual: Usual,
    places: &'a Places,
}

impl<'a> Parts<'a> {
    fn event(&self, settings: &WebhookSettings) -> Result<String, Refusal> {
        let name = self.text(self.places.event.as_deref(), self.usual.event).ok_or_else(|| {
            let places = self
                .places
                .event
                .as_ref()
                .map_or_else(|| self.usual.event.join("` or `"), Clone::clone);
            let message = format!("no event's name stands at `{places}`; set places.event");
            Refusal::Invalid(vec![Fault::new("", message)])
        })?;
        if let Some(renamed) = settings.rename.get(&name) {
            return Ok(renamed.clone());
        }
        let names_table = || self.text(None, &["/table", "/payload/table", "/data/table"]);
        let table = if name.trim_start().starts_with("table.") { names_table() } else { None };
        Ok(match settings.scheme {
            Scheme::PerfexApi
            | Scheme::Themesic
            | Scheme::N8nBridge
            | Scheme::Standard
            | Scheme::None => dialect::of_crm(self.received.source, &name, table.as_deref()),
            Scheme::Github => {
                let action = self.text(None, &["/action"]);
                let action = action.map(|action| format!(".{action}")).unwrap_or_default();
                dialect::of_other("github", &format!("{name}{action}"))
            }
            Scheme::Stripe => dialect::of_other("stripe", &name),
            Scheme::Shopify => dialect::of_other("shopify", &name),
            Scheme::Slack => dialect::of_other("slack", &name),
        })
    }

    /// What stands in the set place, or else in the first usual one that has something.
    fn find(&self, set: Option<&str>, usual: &[&str]) -> Option<&'a RawValue> {
        let usual = if set.is_some() { &[] } else { usual };
        set.into_iter()
            .chain(usual.iter().copied())
            .find_map(|place| self.at(place).filter(|value| value.get() != "null"))
    }

    /// As [`Parts::find`], for texts and numbers, and headers too.
    fn text(&self, set: Option<&str>, usual: &[&str]) -> Option<String> {
        let usual = if set.is_some() { &[] } else { usual };
        set.into_iter().chain(usual.iter().copied()).find_map(|place| {
            match place.strip_prefix("header:") {
                Some(name) => {
                    let value = self.received.headers.get(name)?.to_str().ok()?.trim();
                    (!value.is_empty()).then(|| value.to_owned())
                }
                None => scalar(self.at(place)?),
            }
        })
    }

    /// What stands at a JSON pointer (RFC 6901).
    fn at(&self, pointer: &str) -> Option<&'a RawValue> {
        if pointer.is_empty() {
            return Some(self.body);
        }
        let mut tokens = pointer.strip_prefix('/')?.split('/');
        let first = tokens.next()?;
        let value = match &self.members {
            Some(members) => members.get(&unescaped(first))?,
            None => step(self.body, first)?,
        };
        tokens.try_fold(value, step)
    }
}

/// One step of a JSON pointer.
fn step<'a>(value: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        return items.get(token.parse::<usize>().ok()?).copied();
    }
    Members::read(value.get()).ok()?.get(&unescaped(token))
}

fn unescaped(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

/// RFC 3339, or Unix seconds or milliseconds. Another form, such as a CRM's local time without its
/// zone, tells no point in time and is left out; the data still has it.
fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse_unix(text).or_else(|| Timestamp::parse(text).ok())
}
