//! An endpoint made ready: its keys prepared, its defaults filled in, its place in memory at hand.

use crate::channels::{EndpointChannel, find_channel};
use crate::config::ChannelsSection;
use crate::expression::WhereCondition;
use crate::expression::event_subject::EventSubject;
use crate::metrics::EndpointFigures;
use crate::model::delivery::{CollapseKey, DedupeKey, NewDelivery, WorkLease};
use crate::model::endpoint::{DeliveryMode, Endpoint, EndpointSettings};
use crate::model::endpoint_auth::{EndpointAuth, KeyPlace};
use crate::model::event::{DeliveryMessage, Event, record_key};
use crate::model::fault::InputFault;
use crate::model::id::{DeliveryId, FlowId};
use crate::model::path_template::encode_component;
use crate::model::private_values::{hide_settings, url_secrets};
use crate::model::redactor::SecretRedactor;
use crate::model::request_template::RequestTemplate;
use crate::model::retry_schedule::{DEFAULT_JITTER, RetrySchedule};
use crate::model::secrets::SigningSecrets;
use crate::net::header_case::header_case;
use crate::net::http_url::read_http_url;
use crate::settings::endpoint_access::EndpointAccess;
use crate::signing::{DeliverySigner, SecretError};
use crate::store::prefetch::EndpointLane;
use crate::store::{DeliveryDraft, EventStore};
use crate::time::span::TimeSpan;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long beyond an attempt's time-out its lease holds.
pub const LEASE_MARGIN: Duration = Duration::from_mins(1);

/// What endpoints use that do not say otherwise.
#[derive(Debug, Clone)]
pub struct EndpointDefaults {
    /// Waits before each further attempt.
    pub schedule: Vec<TimeSpan>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Most requests under way at once.
    pub max_in_flight: u32,
    /// How long a record must be quiet before its last state is sent.
    pub smart_window: Duration,
    /// The longest that waits.
    pub smart_max_wait: Duration,
    /// What endpoints of other kinds than `webhook` may do.
    pub channels: ChannelsSection,
}

/// An endpoint made ready.
#[derive(Debug)]
pub struct EndpointRuntime {
    pub endpoint: Endpoint,
    /// Its secrets; none where the present key does not open them.
    pub secrets: Option<SigningSecrets>,
    /// Its keys, prepared, where its secrets can be read.
    pub signer: Option<DeliverySigner>,
    /// Which deliveries it takes; all where it is `None`.
    pub condition: Option<WhereCondition>,
    /// Keeps its secrets out of what it answers.
    pub redactor: SecretRedactor,
    /// How deliveries are made.
    pub channel: EndpointChannel,
    /// Where a webhook's deliveries are posted, or why they cannot be. A URL that an earlier version
    /// accepted may be one that cannot work.
    pub uri: Result<Uri, String>,
    /// Its further request headers, and the one that its `auth` sets where that is always the same.
    pub headers: HeaderMap,
    /// What else its requests need to be let in.
    pub access: Option<Arc<EndpointAccess>>,
    /// Its method and templates, where it has any, or why they cannot be read: an older version of
    /// Waybill may read fewer than the one that took them.
    pub template: Option<Arc<Result<RequestTemplate, String>>>,
    /// The case of their names, where it is not lower case.
    pub header_case: Option<Extensions>,
    /// When failed deliveries are tried again.
    pub schedule: RetrySchedule,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Most requests under way at once.
    pub max_in_flight: usize,
    window: Duration,
    max_wait: Duration,
    /// Its queue in memory.
    pub lane: Arc<EndpointLane>,
    /// What is counted of it.
    pub figures: Arc<EndpointFigures>,
}

/// A stored endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableEndpoint {
    #[error("its secret cannot sign")]
    Secret(#[from] SecretError),
}

impl EndpointRuntime {
    /// Makes an endpoint ready. What `previous`, its state before the change, learnt and read holds
    /// as long as the settings behind it do.
    pub fn new(
        endpoint: Endpoint,
        secrets: Option<SigningSecrets>,
        defaults: &EndpointDefaults,
        journal: &EventStore,
        previous: Option<&Self>,
    ) -> Result<Self, UnusableEndpoint> {
        let settings = &endpoint.settings;
        let schedule = RetrySchedule {
            steps: settings.retry.schedule.clone().unwrap_or_else(|| defaults.schedule.clone()),
            jitter: settings.retry.jitter.unwrap_or(DEFAULT_JITTER),
        };
        let max_in_flight = settings.max_in_flight.unwrap_or(defaults.max_in_flight) as usize;
        let own_header = settings.auth.as_ref().and_then(EndpointAuth::fixed_header);
        let set = settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own_header.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = set.clone().chain(own.clone()).filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        });
        Ok(Self {
            signer: secrets
                .as_ref()
                .map(|secrets| DeliverySigner::new(&settings.signing, secrets))
                .transpose()?,
            condition: settings.condition.as_deref().map(WhereCondition::new),
            redactor: redactor(&endpoint.settings, secrets.as_ref()),
            channel: open_channel(settings, &defaults.channels),
            uri: read_http_url(&settings.url),
            headers: headers.collect(),
            header_case: header_case(set.chain(own).map(|(name, _)| name)),
            access: EndpointAccess::prepare(
                settings,
                previous.and_then(|previous| previous.access.as_ref()),
            ),
            template: read_template(settings, previous),
            schedule,
            timeout: settings.timeout.map_or(defaults.timeout, TimeSpan::get),
            max_in_flight,
            window: settings.smart.window.map_or(defaults.smart_window, TimeSpan::get),
            max_wait: settings.smart.max_wait.map_or(defaults.smart_max_wait, TimeSpan::get),
            lane: journal.prefetch().open_lane(endpoint.id, max_in_flight),
            figures: journal.metrics().find_endpoint(&settings.name),
            secrets,
            endpoint,
        })
    }

    /// Whether its secrets cannot be read with the present key. It takes deliveries, which wait
    /// until the secrets are entered again.
    pub const fn is_locked(&self) -> bool {
        self.secrets.is_none()
    }

    /// Whether deliveries to it may be sent now.
    pub const fn may_send(&self) -> bool {
        self.endpoint.settings.enabled && !self.is_locked()
    }

    /// Whether its number of requests at once holds for all nodes together. The configured default
    /// holds for each.
    pub const fn shares_requests(&self) -> bool {
        self.endpoint.settings.max_in_flight.is_some()
    }

    /// Whether this node may send it anything, with its share of the requests at once.
    pub fn has_share(&self) -> bool {
        !self.shares_requests() || self.lane.share.slots() > 0
    }

    /// Whether another state of the endpoint sends the same requests.
    pub fn is_set_like(&self, other: &Self) -> bool {
        self.endpoint.settings == other.endpoint.settings && self.secrets == other.secrets
    }

    /// Takes over the channel of another state of the endpoint that sends the same, with its
    /// connections.
    pub fn keep_channel(&mut self, other: &Self) {
        if self.is_set_like(other) {
            self.channel = other.channel.clone();
        }
    }

    /// Why nothing can be sent to it as it is set.
    pub fn find_obstacle(&self) -> Option<&str> {
        match &self.channel {
            EndpointChannel::Webhook | EndpointChannel::Api(_) => {
                self.uri.as_ref().err().map(String::as_str)
            }
            EndpointChannel::Other(_) => None,
            EndpointChannel::Unusable(why) => Some(why),
        }
    }

    /// Why it does not take an event or what modules made of it, in words for the trace.
    pub fn find_refusal(&self, subject: &EventSubject<'_>) -> Option<String> {
        let reason = self.condition.as_ref()?.judge(subject).into_reason()?;
        Some(format!("endpoint `{}`: {reason}", self.endpoint.settings.name))
    }

    /// How long a lease on one of its deliveries holds.
    pub fn hold(&self) -> Duration {
        self.timeout + LEASE_MARGIN
    }

    /// A delivery of an event to it, born leased if it may go at once and there is room.
    pub fn draft(
        &self,
        journal: &EventStore,
        event: &Event,
        plan: EndpointDispatch,
    ) -> DeliveryDraft {
        let settings = &self.endpoint.settings;
        let now = journal.clock().now();
        let record = plan.record(event);
        // A module may ask for a longer delay. The next delivery of the record then waits as long
        // as the one that it takes the place of.
        let latest = now.after(self.max_wait.max(plan.delay));
        let collapse = record
            .as_deref()
            .filter(|_| settings.mode == DeliveryMode::Smart)
            .map(|record| plan.collapse_key(record))
            .map(|key| CollapseKey { key, latest });
        let wait = if collapse.is_some() { self.window.min(self.max_wait) } else { Duration::ZERO };
        let order_key = record.filter(|_| settings.ordered);
        let at_once = !self.is_locked()
            && self.has_share()
            && wait.is_zero()
            && plan.delay.is_zero()
            && order_key.is_none()
            && plan.dedupe.is_none();
        let own = plan.message.as_ref().filter(|message| message.data.is_some());
        let size = own.map_or_else(|| event.size(), |message| message.size());
        let slot = if at_once { self.lane.room.take_place(size) } else { None };
        let lease = slot.is_some().then(|| WorkLease {
            token: journal.next_lease_token(),
            until: now.after(self.hold()),
        });
        let event_type = plan.message.as_ref().and_then(|m| m.event_type.as_ref());
        let delivery = NewDelivery {
            id: DeliveryId::generate_at(now),
            event_id: event.id,
            endpoint_id: self.endpoint.id,
            flow_id: plan.flow,
            event_type: event_type.unwrap_or(&event.event_type).clone(),
            due_at: now.after(wait.max(plan.delay)),
            order_key,
            collapse,
            dedupe: plan.dedupe.map(|(key, lasts)| DedupeKey { key, until: now.after(lasts) }),
            cancel_key: plan.cancel_key,
            message: plan.message,
            lease,
        };
        DeliveryDraft { delivery, slot }
    }
}

fn open_channel(settings: &EndpointSettings, rules: &ChannelsSection) -> EndpointChannel {
    match find_channel(&settings.kind) {
        Some(channel) => channel.open(settings, rules),
        None => EndpointChannel::Unusable(format!(
            "this version of Waybill has no kind `{}`",
            settings.kind
        )),
    }
}

/// The method and the templates of an endpoint. To read an expression takes up to 1 ms, so those
/// that have not changed are not read again.
fn read_template(
    settings: &EndpointSettings,
    previous: Option<&EndpointRuntime>,
) -> Option<Arc<Result<RequestTemplate, String>>> {
    if !RequestTemplate::is_used(settings) {
        return None;
    }
    let known = previous.filter(|previous| {
        let known = &previous.endpoint.settings;
        (known.method, &known.path, &known.query, &known.body)
            == (settings.method, &settings.path, &settings.query, &settings.body)
    });
    if let Some(known) = known.and_then(|known| known.template.as_ref()) {
        return Some(Arc::clone(known));
    }
    let told = |faults: Vec<InputFault>| {
        let lines = faults.into_iter().map(|fault| format!("{}: {}", fault.path, fault.message));
        lines.collect::<Vec<_>>().join("; ")
    };
    let read = RequestTemplate::read(settings).map_err(told);
    if let Err(why) = &read {
        let name = &settings.name;
        tracing::error!(endpoint = name, why, "its templates cannot be read, so nothing is sent");
    }
    Some(Arc::new(read))
}

/// Headers whose values are not secret, and stand in answers by chance.
const PUBLIC_HEADERS: [&str; 4] = ["accept", "accept-encoding", "accept-language", "cache-control"];

/// Returns what masks an endpoint's secrets in its answers: its signing secrets, the values of its
/// headers, also without the scheme before them (`Bearer`), those of its URL's query, and the
/// secrets of its settings and of its authentication, in every form in which they are sent.
fn redactor(settings: &EndpointSettings, secrets: Option<&SigningSecrets>) -> SecretRedactor {
    let mut values = url_secrets(&settings.url);
    for (name, value) in &settings.headers {
        if PUBLIC_HEADERS.iter().any(|public| name.eq_ignore_ascii_case(public)) {
            continue;
        }
        values.extend(value.split_once(' ').map(|(_, credentials)| credentials.to_owned()));
        values.push(value.clone());
    }
    values.extend(hide_settings(&mut settings.settings.clone()));
    values.extend(list_login_forms(&settings.settings));
    if let Some(mut auth) = settings.auth.clone() {
        values.extend(auth.extra().into_iter().flat_map(BTreeMap::values).cloned());
        values.extend(auth.secrets_mut().into_iter().map(|(_, secret)| secret.clone()));
        if let EndpointAuth::ApiKey { place: KeyPlace::Query, value, .. } = &auth {
            values.push(encode_component(value));
        }
        if let Some((_, value)) = auth.fixed_header() {
            values.extend(value.split_once(' ').map(|(_, credentials)| credentials.to_owned()));
            values.push(value);
        }
    }
    if let Some(secrets) = secrets {
        values.push(secrets.current.clone());
        values.extend(secrets.previous.as_ref().map(|graced| graced.secret.clone()));
    }
    SecretRedactor::new(values)
}

/// Lists the forms in which a login sends a user and a password: the answer of AUTH PLAIN, and the
/// two of AUTH LOGIN (RFC 4954).
fn list_login_forms(settings: &Map<String, Value>) -> Vec<String> {
    let [user, password] =
        ["username", "password"].map(|name| settings.get(name).and_then(Value::as_str));
    let (Some(user), Some(password)) = (user, password) else { return Vec::new() };
    let plain = format!("\0{user}\0{password}");
    [plain.as_str(), user, password].map(|text| BASE64.encode(text)).into()
}

/// How an event goes to an endpoint.
#[derive(Debug, Default)]
pub struct EndpointDispatch {
    /// The flow that says so.
    pub flow: Option<FlowId>,
    /// What to send, if not the event as captured.
    pub message: Option<Arc<DeliveryMessage>>,
    /// How long to wait first.
    pub delay: Duration,
    /// Makes the delivery unique at its endpoint for so long.
    pub dedupe: Option<(String, Duration)>,
    /// A name under which it can be cancelled while it waits.
    pub cancel_key: Option<String>,
    /// What is kept in order and collapsed, if not the event's record.
    pub ordering_key: Option<String>,
    /// How many earlier deliveries of the same plan go to the endpoint about the same record.
    pub part: u32,
}

impl EndpointDispatch {
    /// What is kept in order, and collapsed.
    pub fn record(&self, event: &Event) -> Option<String> {
        if let Some(key) = &self.ordering_key {
            return record_key(&event.source, Some("\u{1f}"), Some(key));
        }
        let id = self.message.as_ref().and_then(|m| m.resource_id.as_deref());
        record_key(&event.source, event.resource.as_deref(), id.or(event.resource_id.as_deref()))
    }

    /// What collapses with an earlier delivery: the same part that the same flow made of the record
    /// before. Parts of one event, and what two flows make of it, are not states of one thing.
    fn collapse_key(&self, record: &str) -> String {
        match (self.flow, self.part) {
            (None, _) => record.to_owned(),
            (Some(flow), 0) => format!("{record}\u{1f}{flow}"),
            (Some(flow), part) => format!("{record}\u{1f}{flow}\u{1f}{part}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn redactor_of(settings: Value) -> SecretRedactor {
        redactor(&serde_json::from_value(settings).unwrap(), None)
    }

    #[test]
    fn a_key_in_the_query_is_masked_as_it_is_sent() {
        let auth = json!({"kind": "api_key", "in": "query", "name": "key", "value": "s3cret/& 1"});
        let redactor = redactor_of(json!({"name": "a", "url": "https://a.example/", "auth": auth}));
        assert_eq!(redactor.text("at /x?key=s3cret%2F%26%201&a=1"), "at /x?key=***&a=1");
        assert_eq!(redactor.text("the key s3cret/& 1"), "the key ***");
    }

    #[test]
    fn a_login_of_smtp_is_masked_as_it_is_sent() {
        let settings = json!({"username": "waybill", "password": "correct horse"});
        let url = "smtp://mail.example";
        let redactor =
            redactor_of(json!({"name": "a", "kind": "email", "url": url, "settings": settings}));
        for sent in ["\0waybill\0correct horse", "waybill", "correct horse"] {
            let answer = format!("501 cannot decode {}", BASE64.encode(sent));
            assert_eq!(redactor.text(&answer), "501 cannot decode ***");
        }
    }
}
