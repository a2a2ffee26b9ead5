//! An endpoint prepared for use, with its keys, defaults and place in memory.

use crate::channels::api_channel::ApiOperations;
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

/// Time by which a lease exceeds the time-out of its attempt.
pub const LEASE_MARGIN: Duration = Duration::from_mins(1);

/// Defaults for endpoints.
#[derive(Debug, Clone)]
pub struct EndpointDefaults {
    /// Waits before each further attempt.
    pub schedule: Vec<TimeSpan>,
    /// Time-out of an attempt.
    pub timeout: Duration,
    /// Largest number of concurrent requests.
    pub max_in_flight: u32,
    /// Time for which a record must be quiet before its last state is sent.
    pub smart_window: Duration,
    /// Longest time before the last state is sent.
    pub smart_max_wait: Duration,
    /// Settings for endpoints of kinds other than `webhook`.
    pub channels: ChannelsSection,
    /// Hosts to which modules may send plain HTTP.
    pub module_plain_http: Vec<String>,
}

/// An endpoint prepared for use.
#[derive(Debug)]
pub struct EndpointRuntime {
    pub endpoint: Endpoint,
    /// The endpoint's secrets. `None` if the present key does not decrypt them.
    pub secrets: Option<SigningSecrets>,
    /// The prepared keys, if the secrets can be decrypted.
    pub signer: Option<DeliverySigner>,
    /// The endpoint's `where`. `None` accepts all deliveries.
    pub condition: Option<WhereCondition>,
    /// Removes the endpoint's secrets from its answers.
    pub redactor: SecretRedactor,
    /// How deliveries are made.
    pub channel: EndpointChannel,
    /// The URL of a webhook's deliveries, or why it cannot be used. An earlier version may have
    /// accepted a URL that cannot work.
    pub uri: Result<Uri, String>,
    /// The configured request headers, and the header of its `auth` if that is constant.
    pub headers: HeaderMap,
    /// Further credentials of its requests.
    pub access: Option<Arc<EndpointAccess>>,
    /// The method and templates, if it has any, or why they cannot be read. An older version of
    /// Waybill may support fewer expressions than the one that stored them.
    pub template: Option<Arc<Result<RequestTemplate, String>>>,
    /// The case of the header names, if it is not lower case.
    pub header_case: Option<Extensions>,
    /// Schedule of further attempts.
    pub schedule: RetrySchedule,
    /// Time-out of an attempt.
    pub timeout: Duration,
    /// Largest number of concurrent requests.
    pub max_in_flight: usize,
    window: Duration,
    max_wait: Duration,
    pub lane: Arc<EndpointLane>,
    pub figures: Arc<EndpointFigures>,
}

/// The reason why a stored endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableEndpoint {
    #[error("its secret cannot sign")]
    Secret(#[from] SecretError),
}

impl EndpointRuntime {
    /// Prepares an endpoint. Keeps what `previous`, its former state, learnt and read as long as
    /// the settings behind it have not changed.
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

    /// Returns whether its secrets cannot be decrypted with the present key. The endpoint accepts
    /// deliveries, which wait until the secrets are entered again.
    pub const fn is_locked(&self) -> bool {
        self.secrets.is_none()
    }

    /// Returns whether deliveries to it may be sent now. Those that consumers fetch never are.
    pub const fn may_send(&self) -> bool {
        self.endpoint.settings.enabled && self.can_send()
    }

    /// Returns whether deliveries could be sent now if it is enabled.
    const fn can_send(&self) -> bool {
        !self.is_locked() && !self.is_pulled() && !self.is_waiting()
    }

    /// Returns whether its deliveries wait for its module.
    pub const fn is_waiting(&self) -> bool {
        matches!(self.channel, EndpointChannel::Waiting { .. })
    }

    /// Returns whether its deliveries wait for a module that the host loads again.
    pub const fn is_loading(&self) -> bool {
        matches!(self.channel, EndpointChannel::Waiting { is_loading: true, .. })
    }

    /// Returns whether consumers fetch its deliveries.
    pub const fn is_pulled(&self) -> bool {
        matches!(self.channel, EndpointChannel::Pulled)
    }

    /// Returns whether its limit of concurrent requests holds for all nodes together. The
    /// configured default holds for each node.
    pub const fn shares_requests(&self) -> bool {
        self.endpoint.settings.max_in_flight.is_some()
    }

    /// Returns whether this node's share of the concurrent requests allows it to send anything.
    pub fn has_share(&self) -> bool {
        !self.shares_requests() || self.lane.share.slots() > 0
    }

    /// Returns whether another state of the endpoint sends the same requests.
    pub fn is_set_like(&self, other: &Self) -> bool {
        self.endpoint.settings == other.endpoint.settings && self.secrets == other.secrets
    }

    /// Returns the operations of an endpoint of kind `api`, or why there are none.
    pub fn operations(&self) -> Result<&ApiOperations, String> {
        match &self.channel {
            EndpointChannel::Api(operations) => Ok(operations),
            EndpointChannel::Unusable(why) => Err(why.clone()),
            EndpointChannel::Webhook
            | EndpointChannel::Pulled
            | EndpointChannel::Waiting { .. }
            | EndpointChannel::Other(_) => {
                let kind = &self.endpoint.settings.kind;
                Err(format!("an endpoint of kind `{kind}` has no operations; `api` has them"))
            }
        }
    }

    /// Takes over the channel, with its connections, from a state that sends the same requests.
    pub fn keep_channel(&mut self, other: &Self) {
        if self.is_set_like(other) {
            self.channel = other.channel.clone();
        }
    }

    /// Returns why the endpoint's settings prevent any delivery.
    pub fn find_obstacle(&self) -> Option<&str> {
        match &self.channel {
            EndpointChannel::Webhook | EndpointChannel::Api(_) => {
                self.uri.as_ref().err().map(String::as_str)
            }
            EndpointChannel::Other(_) | EndpointChannel::Pulled => None,
            EndpointChannel::Unusable(why) | EndpointChannel::Waiting { why, .. } => Some(why),
        }
    }

    /// Returns why the endpoint refuses an event or a draft, in words for the trace.
    pub fn find_refusal(&self, subject: &EventSubject<'_>) -> Option<String> {
        let reason = self.condition.as_ref()?.judge(subject).into_reason()?;
        Some(format!("endpoint `{}`: {reason}", self.endpoint.settings.name))
    }

    /// Returns the duration of a lease on one of its deliveries.
    pub fn hold(&self) -> Duration {
        self.timeout + LEASE_MARGIN
    }

    /// Makes a delivery of an event to this endpoint. It is leased immediately if it is due now and
    /// there is room in memory.
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
        // as the one that it replaces.
        let latest = now.after(self.max_wait.max(plan.delay));
        let collapse = record
            .as_deref()
            .filter(|_| settings.mode == DeliveryMode::Smart)
            .map(|record| plan.collapse_key(record))
            .map(|key| CollapseKey { key, latest });
        let wait = if collapse.is_some() { self.window.min(self.max_wait) } else { Duration::ZERO };
        let order_key = record.filter(|_| settings.ordered);
        let at_once = self.can_send()
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
            "this version of Waybill does not know the kind `{}`",
            settings.kind
        )),
    }
}

/// Reads the method and the templates of an endpoint. Parsing an expression takes up to 1 ms, so
/// unchanged ones are reused.
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
        tracing::error!(
            endpoint = name,
            why,
            "the endpoint's templates cannot be read, so nothing is sent"
        );
    }
    Some(Arc::new(read))
}

/// Headers with values that are not secret and may appear in an answer by chance.
const PUBLIC_HEADERS: [&str; 4] = ["accept", "accept-encoding", "accept-language", "cache-control"];

/// Builds the redactor that masks an endpoint's secrets in its answers: its signing secrets, the
/// values of its headers, also without the scheme before them (`Bearer`), those of its URL's query,
/// and the secrets of its settings and of its authentication, in every form in which they are sent.
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

/// The way an event goes to an endpoint.
#[derive(Debug, Default)]
pub struct EndpointDispatch {
    /// The flow that chose the endpoint.
    pub flow: Option<FlowId>,
    /// The message to send, if it is not the event as captured.
    pub message: Option<Arc<DeliveryMessage>>,
    /// Wait before the first attempt.
    pub delay: Duration,
    /// A dedupe key and its lifetime.
    pub dedupe: Option<(String, Duration)>,
    /// The name under which the delivery can be cancelled while it waits.
    pub cancel_key: Option<String>,
    /// The key for order and collapsing, if it is not the event's record.
    pub ordering_key: Option<String>,
    /// Number of earlier deliveries of the same plan to this endpoint about the same record.
    pub part: u32,
}

impl EndpointDispatch {
    /// Returns the key for order and collapsing.
    pub fn record(&self, event: &Event) -> Option<String> {
        if let Some(key) = &self.ordering_key {
            return record_key(&event.source, Some("\u{1f}"), Some(key));
        }
        let id = self.message.as_ref().and_then(|m| m.resource_id.as_deref());
        record_key(&event.source, event.resource.as_deref(), id.or(event.resource_id.as_deref()))
    }

    /// Returns the key of deliveries that collapse: the same part that the same flow made from the
    /// record before. Parts of one event, and the results of two flows, are different things and
    /// never collapse.
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
