//! Reads the webhooks of other systems as events.
//!
//! Each sender has its own envelope. The table of senders
//! ([`crate::model::webhook_source::senders`]) has the places of its parts, and the settings of a
//! source can replace each of them. The data is stored byte for byte. If there is nothing in its
//! place, the whole body is the data. Everything around the data becomes attributes, so nothing
//! that was sent is lost.

use super::attributes::{AttributeSet, KeptHeader, kept_headers};
use super::incoming::IncomingEvent;
use super::{body, dialect, hops, items, trace_headers};
use crate::crypto::digest::ShortDigest;
use crate::ingest::event_body::{BodyError, ReceivedEvents};
use crate::json::members::{JsonMembers, scalar_text, without_byte_order_mark};
use crate::json::pointer;
use crate::json::surrogates::replace_lone_surrogates;
use crate::model::event::{EventChanges, MAX_KEY};
use crate::model::fault::InputFault;
use crate::model::trace_context::BroughtContext;
use crate::model::webhook_source::senders::WebhookSender;
use crate::model::webhook_source::{WebhookPlaces, WebhookSettings};
use crate::time::timestamp::Timestamp;
use http::HeaderMap;
use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};

/// How deep nested objects of old values are read.
const MAX_CHANGES_DEPTH: usize = 8;

/// A request to a source.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedWebhook<'a> {
    /// The name of the source.
    pub source: &'a str,
    pub headers: &'a HeaderMap,
    /// The decompressed body.
    pub body: &'a [u8],
    /// The most events that a request may contain.
    pub max_events: usize,
    /// The longest body, in bytes.
    pub max_body: usize,
}

/// Reads the events of a request. Fails if one of them cannot be read.
pub fn read_webhook(
    received: ReceivedWebhook<'_>,
    settings: &WebhookSettings,
) -> Result<ReceivedEvents, BodyError> {
    let text = std::str::from_utf8(without_byte_order_mark(received.body)).map_err(|error| {
        BodyError::Malformed(format!("byte {} is not UTF-8", error.valid_up_to()))
    })?;
    let text = body::json_text(received.headers, text)?;
    let text = replace_lone_surrogates(&text);
    let hops = hops::of_request(received.headers)?;
    let body: &RawValue =
        serde_json::from_str(&text).map_err(|error| BodyError::Malformed(error.to_string()))?;
    let lists = settings.scheme.sender().lists;
    let items = items::split_items(body, lists, received.max_events, received.max_body)?;
    let sender = settings.scheme.sender();
    let headers = kept_headers(received.headers, sender.headers, &settings.proof_headers());
    let bytes: usize = headers.iter().map(|(name, text)| name.len() + text.len()).sum();
    // Each event of a list gets the headers.
    let room = received.max_body.saturating_mul(2).max(bytes);
    items::take_room(room, bytes, items.bodies.len())?;
    let context = trace_headers::of_request(received.headers);
    let kept = KeptOfRequest { headers: &headers, hops, context: context.as_ref() };
    let mut events = Vec::with_capacity(items.bodies.len());
    let mut faults = Vec::new();
    for (n, body) in items.bodies.iter().enumerate() {
        match one(received, body, items.many, settings, kept) {
            Ok(event) => events.push(event),
            Err(BodyError::Invalid(found)) if items.many => {
                faults.extend(found.into_iter().map(|fault| fault.within(&format!("[{n}]"))));
            }
            Err(refusal) => return Err(refusal),
        }
    }
    let many = items.many;
    if faults.is_empty() {
        Ok(ReceivedEvents { events, many })
    } else {
        Err(BodyError::Invalid(faults))
    }
}

/// What a request adds to each of its events.
#[derive(Clone, Copy)]
struct KeptOfRequest<'a> {
    headers: &'a [KeptHeader<'a>],
    hops: u32,
    context: Option<&'a BroughtContext>,
}

/// Reads one event.
fn one(
    received: ReceivedWebhook<'_>,
    body: &RawValue,
    is_element: bool,
    settings: &WebhookSettings,
    kept: KeptOfRequest<'_>,
) -> Result<IncomingEvent, BodyError> {
    let (sender, places) = (settings.scheme.sender(), &settings.places);
    let stripped = settings.token_in_body().map(|pointer| items::without_token(body, pointer));
    let stripped = stripped.transpose()?;
    let body = stripped.as_deref().unwrap_or(body);
    let members = JsonMembers::read(body.get()).ok();
    let headers = kept.headers;
    let parts = WebhookParts { received, body, members, sender, places, is_element, headers };
    let (name, event_type) = parts.name_event(settings)?;
    let data = parts.find_value(places.data.as_deref(), sender.data);
    let id = parts.find_text(places.id.as_deref(), sender.id);
    let occurred_at = parts.find_text(places.occurred_at.as_deref(), sender.occurred_at);
    let mut incoming = IncomingEvent {
        resource: parts.read_resource(&event_type),
        attributes: parts.read_attributes(&name, &event_type, data.as_ref().map(|found| found.0)),
        shares_id: id.as_ref().is_some_and(|(place, _)| place.starts_with("header:")),
        id: id.map(|(_, text)| key(text)),
        source: Some(received.source.to_owned()),
        data_names_record: sender.names_record,
        resource_id: parts
            .find_text(places.resource_id.as_deref(), sender.resource_id)
            .map(|(_, text)| key(text)),
        occurred_at: occurred_at.and_then(|(_, text)| Timestamp::parse_lenient(&text)),
        changes: sender.previous.and_then(|place| read_changes(parts.at(place)?)),
        ..IncomingEvent::new(event_type, data.map_or(body, |(_, value)| value).to_owned())
    };
    let faults = incoming.check();
    if !faults.is_empty() {
        return Err(BodyError::Invalid(faults));
    }
    // A CloudEvent that was relayed by another system may have lost the header.
    let of_body = parts.read_place("/waybillhops").and_then(|text| text.parse().ok());
    hops::note_hops(&mut incoming, kept.hops.max(of_body.unwrap_or_default()))?;
    trace_headers::note_context(&mut incoming, kept.context)?;
    Ok(incoming)
}

struct WebhookParts<'a> {
    received: ReceivedWebhook<'a>,
    body: &'a RawValue,
    /// The members of the body, in which every pointer begins.
    members: Option<JsonMembers<'a>>,
    sender: &'static WebhookSender,
    places: &'a WebhookPlaces,
    /// Whether the body is an element of a list.
    is_element: bool,
    /// The headers that become attributes.
    headers: &'a [KeptHeader<'a>],
}

impl<'a> WebhookParts<'a> {
    /// Returns the sender's name for the event, and the event type.
    fn name_event(&self, settings: &WebhookSettings) -> Result<(String, String), BodyError> {
        let set = self.places.event.as_deref();
        let name = match set {
            Some(place) => self.read_place(place),
            None => self.sender.event.iter().find_map(|form| self.fill_template(form)),
        };
        let name = name.ok_or_else(|| {
            let places = set.map_or_else(|| self.sender.event.join("` or `"), str::to_owned);
            let message = format!("the event's name is missing at `{places}`; set places.event");
            BodyError::Invalid(vec![InputFault::new("", message)])
        })?;
        if let Some(renamed) = settings.rename.get(&name) {
            return Ok((name, renamed.clone()));
        }
        let event_type = if self.sender.is_crm {
            let names_table = || {
                self.find_text(None, &["/table", "/payload/table", "/data/table"])
                    .map(|found| found.1)
            };
            let table = if name.trim_start().starts_with("table.") { names_table() } else { None };
            dialect::of_crm(self.received.source, &name, table.as_deref())
        } else {
            dialect::of_other(self.sender.name, &name)
        };
        Ok((name, event_type))
    }

    /// Fills in a template with places in braces. A template that is a single place needs no
    /// braces. Returns `None` if a value is missing.
    fn fill_template(&self, form: &str) -> Option<String> {
        if form.starts_with('/') || form.starts_with("header:") {
            return self.read_place(form);
        }
        let mut text = String::new();
        let mut rest = form;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, after) = after.split_once('}')?;
            text.push_str(before);
            match place.strip_suffix('?') {
                Some(place) => text.push_str(&self.read_place(place).unwrap_or_default()),
                None => text.push_str(&self.read_place(place)?),
            }
            rest = after;
        }
        text.push_str(rest);
        Some(text.trim_end_matches('.').to_owned())
    }

    /// Returns the resource of a type that is not in the catalogue, if its first segment is not
    /// enough.
    fn read_resource(&self, event_type: &str) -> Option<String> {
        let most = self.sender.resource_segments;
        if most == 1 {
            return None;
        }
        let segments: Vec<&str> = event_type.split('.').collect();
        // The last segment says what happened, so it does not belong to the resource.
        let taken = segments.get(..most.min(segments.len().saturating_sub(1)));
        taken.filter(|taken| taken.len() > 1).map(|taken| taken.join("."))
    }

    /// Collects what the sender says besides the data.
    fn read_attributes(
        &self,
        name: &str,
        event_type: &str,
        data: Option<&str>,
    ) -> Option<Box<RawValue>> {
        let mut attributes = AttributeSet::default();
        if let Some((data, members)) = data.zip(self.members.as_ref()) {
            let set = [&self.places.event, &self.places.id, &self.places.occurred_at];
            let set = set.into_iter().filter_map(Option::as_deref);
            let known = [self.sender.event, self.sender.id, self.sender.occurred_at];
            let known = known.into_iter().flatten().copied();
            let read: Vec<&str> = set.chain(known).filter(|place| self.is_filled(place)).collect();
            attributes.add_around(members, self.relative_pointer(data), &read);
        }
        attributes.add_headers(self.headers);
        let system = self.sender.name;
        let is_kept = name == event_type
            || event_type
                .strip_prefix(system)
                .is_some_and(|rest| rest.strip_prefix('.') == Some(name));
        if !is_kept {
            attributes.add_text("eventname", name);
        }
        attributes.into_json()
    }

    /// Returns the value at the configured place, or else at the first known place that has one,
    /// and that place.
    fn find_value<'p>(
        &self,
        set: Option<&'p str>,
        known: &[&'p str],
    ) -> Option<(&'p str, &'a RawValue)> {
        let known = if set.is_some() { &[] } else { known };
        set.into_iter()
            .chain(known.iter().copied())
            .filter_map(|place| Some((place, self.at(place)?)))
            .find(|(_, value)| value.get() != "null")
    }

    /// Like [`WebhookParts::find_value`], but for strings and numbers, and also for headers.
    fn find_text<'p>(&self, set: Option<&'p str>, known: &[&'p str]) -> Option<(&'p str, String)> {
        if let Some(place) = set {
            return self.read_place(place).map(|text| (place, text));
        }
        known.iter().find_map(|places| {
            // A template of several places gives one text.
            let texts: Option<Vec<String>> =
                places.split(' ').map(|place| self.read_place(place)).collect();
            Some((*places, texts?.join(" ")))
        })
    }

    /// Returns the string or number at one place.
    fn read_place(&self, place: &str) -> Option<String> {
        match place.strip_prefix("header:") {
            Some(name) => {
                let value = self.received.headers.get(name)?.as_bytes();
                let text = std::str::from_utf8(value).ok()?.trim();
                (!text.is_empty()).then(|| text.to_owned())
            }
            None => scalar_text(self.at(place)?),
        }
    }

    /// Whether there is a value at this place.
    fn is_filled(&self, place: &str) -> bool {
        match place.strip_prefix("header:") {
            Some(name) => self.received.headers.contains_key(name),
            None => self.at(place).is_some(),
        }
    }

    /// Returns a pointer relative to the event. A pointer into the first element of an array counts
    /// for each element, because earlier versions read only the first one and such settings may
    /// exist.
    fn relative_pointer<'p>(&self, pointer: &'p str) -> &'p str {
        let rest =
            pointer.strip_prefix("/0").filter(|rest| rest.is_empty() || rest.starts_with('/'));
        rest.filter(|_| self.is_element).unwrap_or(pointer)
    }

    /// Returns the value at a JSON pointer (RFC 6901).
    fn at(&self, pointer: &str) -> Option<&'a RawValue> {
        let pointer = self.relative_pointer(pointer);
        if pointer.is_empty() {
            return Some(self.body);
        }
        let mut tokens = pointer.strip_prefix('/')?.split('/');
        let first = tokens.next()?;
        let value = match &self.members {
            Some(members) => members.get(&pointer::unescape_token(first))?,
            None => pointer::take_step(self.body, first)?,
        };
        tokens.try_fold(value, pointer::take_step)
    }
}

/// Returns an id that can be stored. If it is too long or contains control characters, that is its
/// digest; the data still has the original.
fn key(text: String) -> String {
    let fits = text.len() <= MAX_KEY && !text.chars().any(char::is_control);
    if fits { text } else { ShortDigest::of([text]).to_string() }
}

/// Makes changes of an object of old values. A member of a nested object is called `outer.inner`.
fn read_changes(previous: &RawValue) -> Option<Box<RawValue>> {
    let mut values = IndexMap::new();
    gather_changes("", previous, 0, &mut values);
    if values.is_empty() {
        return None;
    }
    to_raw_value(&EventChanges { changed: values.keys().cloned().collect(), previous: values }).ok()
}

fn gather_changes(
    path: &str,
    value: &RawValue,
    depth: usize,
    into: &mut IndexMap<String, Box<RawValue>>,
) {
    let members = JsonMembers::read(value.get()).ok().filter(|_| depth < MAX_CHANGES_DEPTH);
    let Some(members) = members.filter(|members| members.iter().next().is_some()) else {
        if !path.is_empty() {
            into.insert(path.to_owned(), value.to_owned());
        }
        return;
    };
    for (name, value) in members.iter() {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        gather_changes(&path, value, depth + 1, into);
    }
}

#[cfg(test)]
mod tests;
