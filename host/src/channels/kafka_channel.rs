//! The kind `kafka`: writes each delivery as a record to a topic of Kafka, or of a broker that
//! speaks its protocol.
//!
//! A delivery succeeds when all replicas in sync have its record (`acks=all`). Records of one
//! partition that come together share a batch. The header `webhook-id` holds the delivery's id, by
//! which a consumer recognises a repeat. Within an attempt, the broker itself drops a batch that is
//! sent again after a lost answer (idempotent writing).

mod broker_line;
mod kafka_calls;
mod kafka_cluster;
mod kafka_fault;
mod kafka_login;
mod kafka_session;
mod partition_lane;
mod partitioner;
mod record_batch;
mod scram;
mod wire;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::place_template::PlaceTemplate;
use super::publish::{PublishError, PublishOutcome};
use super::queue_publisher::{MessageQueue, QueuePublisher};
use super::setting_secret::SettingSecret;
use crate::config::ChannelsSection;
use crate::model::cloud_events::HEADER_PREFIX;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::http_client::DeliveryClient;
use crate::time::span::TimeSpan;
use kafka_login::{KafkaLogin, KafkaUser, SaslMechanism};
use kafka_session::KafkaSession;
use partition_lane::BatchBounds;
use percent_encoding::percent_decode;
use record_batch::KafkaRecord;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Longest name of a topic.
const MAX_TOPIC: usize = 249;
/// Most brokers beside that of the URL.
const MAX_BROKERS: usize = 15;
/// The settings that a batch has unless the endpoint sets others.
const MAX_ITEMS: usize = 500;
const MAX_BYTES: usize = 900_000;

/// Endpoints of the kind `kafka`.
#[derive(Debug)]
pub struct KafkaChannel;

/// The settings of an endpoint of kind `kafka`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// The topic. `{type}`, `{source}`, `{resource}` and others are replaced by values of the
    /// event.
    #[schema(example = "crm.{resource}", max_length = 255)]
    topic: String,
    /// The key, such as `{resource}/{id}`, which is also the default. Records with the same key
    /// stay in order.
    #[serde(default)]
    #[schema(max_length = 255)]
    key: Option<String>,
    /// Further brokers of the cluster to connect to first, such as `kafka2.example:9092`.
    #[serde(default)]
    #[schema(max_items = 15)]
    brokers: Vec<String>,
    /// The user to log in as.
    #[serde(default)]
    #[schema(max_length = 1024)]
    username: Option<String>,
    /// The user's password.
    #[serde(default)]
    #[schema(write_only, value_type = Option<String>)]
    password: Option<SettingSecret>,
    /// How the password is shown to the brokers. `plain` sends it.
    #[serde(default)]
    #[schema(inline)]
    mechanism: SaslMechanism,
    /// Whether the brokers drop repeats within an attempt. Before Kafka 3, this needs the right
    /// `IDEMPOTENT_WRITE`.
    #[serde(default = "enabled")]
    idempotent: bool,
    /// Most records of a batch.
    #[serde(default = "max_items")]
    #[schema(minimum = 1, maximum = 10_000)]
    max_items: usize,
    /// Bytes of records at which a batch is sent. Larger records are sent alone.
    #[serde(default = "max_bytes")]
    #[schema(minimum = 1, maximum = 16_777_216)]
    max_bytes: usize,
    /// How long a batch waits for further records. Records gather while the batch before is under
    /// way, so the default is not to wait.
    #[serde(default)]
    #[schema(value_type = String, example = "5ms")]
    max_wait: TimeSpan,
}

const fn enabled() -> bool {
    true
}

const fn max_items() -> usize {
    MAX_ITEMS
}

const fn max_bytes() -> usize {
    MAX_BYTES
}

impl ChannelKind for KafkaChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "kafka",
        label: "Apache Kafka",
        url_schemes: &["kafkas", "kafka"],
        url_hint: "a broker of the cluster, such as kafkas://kafka.example:9093; kafka:// does not encrypt",
        delivered_when: "all replicas in sync have the record (acks=all)",
        dead_when: "the record is larger than the topic accepts, or the topic's rendered name is not valid",
        repeat_known_by: "the header webhook-id; within one attempt the broker drops repeats itself",
        limits: "the topic's max.message.bytes, 1 MiB by default: a larger record is a dead letter",
        capabilities: ChannelCapabilities { batches: true, ..ChannelCapabilities::ENVELOPE },
    };

    type Settings = KafkaSettings;

    fn check(settings: &KafkaSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = Vec::new();
        let mut refuse = |is_wrong: bool, path: &str, why: &str| {
            if is_wrong {
                faults.push(InputFault::new(path, why));
            }
        };
        let is_half = settings.username.is_some() != settings.password.is_some();
        refuse(is_half, "username", "set both `username` and `password`, or neither");
        let is_long = settings.max_wait.get() > MAX_WAIT;
        refuse(is_long, "max_wait", "write at most 10s");
        refuse(settings.brokers.len() > MAX_BROKERS, "brokers", "name at most 15");
        for (number, broker) in settings.brokers.iter().enumerate() {
            if let Err(why) = KafkaLogin::read_place(&format!("kafka://{broker}")) {
                let message = format!("write HOST:PORT: {why}");
                faults.push(InputFault::new(format!("brokers/{number}"), message));
            }
        }
        let topic = PlaceTemplate::parse(&settings.topic).err();
        let key = settings.key.as_deref().and_then(|key| PlaceTemplate::parse(key).err());
        faults.extend(topic.map(|why| InputFault::new("topic", why)));
        faults.extend(key.map(|why| InputFault::new("key", why)));
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: KafkaSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let topic = PlaceTemplate::parse(&settings.topic)?;
        let key = settings.key.as_deref().map(PlaceTemplate::parse).transpose()?;
        let first = KafkaLogin::read_place(&endpoint.url)?;
        let further =
            settings.brokers.iter().map(|broker| KafkaLogin::read_further(&first, broker));
        let further: Vec<_> = further.collect::<Result<_, _>>()?;
        let places = [vec![first], further].concat();
        let KafkaSettings { username, password, mechanism, max_items, max_bytes, .. } = settings;
        let user = username.zip(password);
        let user = user.map(|(name, password)| KafkaUser { name, password, mechanism });
        let bounds = BatchBounds { max_items, max_bytes, max_wait: settings.max_wait.get() };
        let login = Arc::new(KafkaLogin { places, user });
        let is_idempotent = settings.idempotent;
        Ok(QueuePublisher::open(KafkaTopic { login, key, bounds, is_idempotent }, topic))
    }
}

/// Longest wait for further records.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The cluster that an endpoint writes to, and how.
#[derive(Debug)]
struct KafkaTopic {
    login: Arc<KafkaLogin>,
    key: Option<PlaceTemplate>,
    bounds: BatchBounds,
    is_idempotent: bool,
}

impl MessageQueue for KafkaTopic {
    type Session = KafkaSession;

    const PLACE: &'static str = "topic";
    const DELIVERY_ID: &'static str = "webhook-id";

    async fn connect(&self, client: &DeliveryClient) -> Result<KafkaSession, PublishError> {
        let login = Arc::clone(&self.login);
        KafkaSession::open(login, client.clone(), self.bounds, self.is_idempotent).await
    }

    async fn publish(
        &self,
        session: &KafkaSession,
        topic: &str,
        message: &EnvelopeMessage<'_>,
        body: &RenderedBody,
    ) -> PublishOutcome {
        if !is_topic(topic) {
            return PublishOutcome::dead(format!(
                "`{topic}` is not a name that a topic may have: at most 249 letters, digits, `.`, `_` and `-`"
            ));
        }
        let key = match self.record_key(message) {
            Ok(key) => key.map(String::into_bytes),
            Err(why) => return PublishOutcome::dead(format!("the key {why}")),
        };
        let record =
            KafkaRecord { key, headers: record_headers(message, body), value: body.body.clone() };
        session.publish(topic, record).await
    }
}

impl KafkaTopic {
    /// Returns the key of a record. Without a template it is the event's record, if it has one.
    fn record_key(&self, message: &EnvelopeMessage<'_>) -> Result<Option<String>, String> {
        match &self.key {
            Some(template) => template.render_plain(message).map(Some),
            None => Ok(message.resource_id.map(|id| match message.resource {
                Some(resource) => format!("{resource}/{id}"),
                None => id.to_owned(),
            })),
        }
    }
}

/// Whether a topic may have this name (Kafka, `Topic.validate`).
fn is_topic(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=MAX_TOPIC).contains(&name.len())
        && name != "."
        && name != ".."
        && name.chars().all(is_plain)
}

/// Returns the headers of a record. The attributes of CloudEvents in binary mode are among them
/// (Kafka binding 1.0.2, section 3.2).
fn record_headers(message: &EnvelopeMessage<'_>, body: &RenderedBody) -> Vec<(String, Vec<u8>)> {
    let mut headers = vec![
        ("webhook-id".to_owned(), message.delivery_id.as_bytes().to_vec()),
        ("content-type".to_owned(), body.content_type.as_bytes().to_vec()),
    ];
    for (name, value) in message.trace_headers() {
        headers.push((name.to_owned(), value.as_bytes().to_vec()));
    }
    for (name, value) in &body.headers {
        if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
            headers.push((format!("ce_{name}"), percent_decode(value.as_bytes()).collect()));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use serde_json::{Value, json};

    fn settings(more: &Value) -> KafkaSettings {
        let mut settings = json!({"topic": "crm.{resource}"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn settings_name_a_topic_and_both_parts_of_a_login() {
        let faults = |more: &Value| {
            let faults = KafkaChannel::check(&settings(more), &ChannelsSection::default());
            faults.into_iter().map(|fault| fault.path).collect::<Vec<_>>()
        };
        assert_eq!(faults(&json!({})), [""; 0]);
        let whole = json!({
            "key": "{id}", "brokers": ["b.example:9092", "[::1]:9092"], "username": "u",
            "password": "p", "mechanism": "scram-sha-256", "max_wait": "5ms",
        });
        assert_eq!(faults(&whole), [""; 0]);
        for (more, place) in [
            (json!({"topic": "crm {type}"}), "topic"),
            (json!({"key": "{nothing}"}), "key"),
            (json!({"username": "u"}), "username"),
            (json!({"max_wait": "1m"}), "max_wait"),
            (json!({"brokers": ["b.example:9092", "kafka://x"]}), "brokers/1"),
            (json!({"brokers": vec!["b.example"; 16]}), "brokers"),
        ] {
            assert_eq!(faults(&more), [place], "{more}");
        }
    }

    #[test]
    fn the_key_is_the_record_unless_a_template_says_otherwise() {
        let topic = |key: Option<&str>| KafkaTopic {
            login: Arc::new(KafkaLogin { places: Vec::new(), user: None }),
            key: key.map(|key| PlaceTemplate::parse(key).unwrap()),
            bounds: BatchBounds { max_items: 1, max_bytes: 1, max_wait: Duration::ZERO },
            is_idempotent: true,
        };
        let message = EnvelopeMessage {
            resource: Some("lead"),
            resource_id: Some("a.7/b"),
            ..EnvelopeMessage::default()
        };
        let key = |template, message| topic(template).record_key(message).unwrap();
        assert_eq!(key(None, &message).as_deref(), Some("lead/a.7/b"));
        assert_eq!(key(Some("{id}"), &message).as_deref(), Some("a.7/b"));
        assert_eq!(key(None, &EnvelopeMessage::default()), None);
    }

    #[test]
    fn an_event_cannot_make_the_name_of_a_topic_invalid_unnoticed() {
        for name in ["crm.lead", "CRM_1-x"] {
            assert!(is_topic(name), "{name}");
        }
        for name in ["", ".", "..", "crm/lead", "crm.%2E", "ü", &"x".repeat(250)] {
            assert!(!is_topic(name), "{name}");
        }
    }

    #[test]
    fn headers_carry_the_id_and_cloud_events() {
        let mut body = RenderedBody::json(Vec::new());
        let name = HeaderName::from_static("ce-subject");
        body.headers.push((name, HeaderValue::from_static("a%C3%BC")));
        let message = EnvelopeMessage { delivery_id: "dlv_1", ..EnvelopeMessage::default() };
        let headers = record_headers(&message, &body);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(
            headers,
            [("webhook-id", "dlv_1"), ("content-type", "application/json"), ("ce_subject", "aü")]
        );
    }
}
