//! The kind `amqp`: each delivery is a persistent message over AMQP 0-9-1, as RabbitMQ speaks it.
//!
//! A delivery succeeds when the broker has confirmed its message and has not returned it. A broker
//! also confirms a message that no queue accepts. So each message is `mandatory`, and one that
//! comes back was not delivered. The property `message-id` holds the delivery's id, by which a
//! consumer recognises a repeat.

pub mod amqp_broker;
pub mod body_limit;
mod dialled_reactor;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::place_template::{MAX_PLACE, PlaceTemplate};
use super::publish::{PublishError, PublishOutcome};
use super::queue_publisher::{MessageQueue, QueuePublisher};
use super::session::{QueueSession, wait_or_give_up};
use super::setting_secret::SettingSecret;
use crate::config::ChannelsSection;
use crate::model::cloud_events::HEADER_PREFIX;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::http_client::DeliveryClient;
use amqp_broker::{AmqpBroker, explain_amqp, short_text};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use percent_encoding::percent_decode;
use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering};

/// The delivery mode of a message that survives a restart of its broker.
const PERSISTENT: u8 = 2;

/// Endpoints of the kind `amqp`.
#[derive(Debug)]
pub struct AmqpChannel;

/// The settings of an endpoint of kind `amqp`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpSettings {
    /// The exchange to publish to. If left out, the default exchange, which hands a message to the
    /// queue with the name of the routing key.
    #[serde(default)]
    #[schema(max_length = 255)]
    exchange: String,
    /// The routing key. `{type}`, `{source}`, `{resource}` and `{id}` are replaced by values of the
    /// event.
    #[schema(example = "crm.{type}", max_length = 255)]
    routing_key: String,
    /// The user to log in as.
    #[schema(min_length = 1, max_length = 255)]
    username: String,
    /// The user's password.
    #[schema(write_only, value_type = String)]
    password: SettingSecret,
}

impl ChannelKind for AmqpChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "amqp",
        label: "AMQP 0-9-1 (RabbitMQ)",
        url_schemes: &["amqps", "amqp"],
        url_hint: "the broker and its virtual host, such as amqps://mq.example:5671/crm; the default virtual host is `/`",
        delivered_when: "the broker confirms the message and does not return it as unroutable",
        dead_when: "the routing key is longer than 255 bytes",
        repeat_known_by: "the property message-id",
        limits: "the broker's max_message_size, 128 MiB by default; a larger message is retried",
        capabilities: ChannelCapabilities::ENVELOPE,
    };

    type Settings = AmqpSettings;

    fn check(settings: &AmqpSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let key = PlaceTemplate::parse(&settings.routing_key).err();
        let mut faults: Vec<InputFault> =
            key.map(|why| InputFault::new("routing_key", why)).into_iter().collect();
        let exchange = &settings.exchange;
        if exchange.len() > MAX_PLACE || exchange.chars().any(char::is_control) {
            let message = format!(
                "write the name of an exchange, at most {MAX_PLACE} bytes without control characters"
            );
            faults.push(InputFault::new("exchange", message));
        }
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: AmqpSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let place = AmqpBroker::read_place(&endpoint.url)?;
        let routing_key = PlaceTemplate::parse(&settings.routing_key)?;
        let exchange = short_text(&settings.exchange).map_err(|why| why.detail)?;
        let AmqpSettings { username: user, password, .. } = settings;
        let broker = AmqpBroker { place, user, password };
        Ok(QueuePublisher::open(AmqpExchange { broker, exchange }, routing_key))
    }
}

/// The exchange that an endpoint publishes to.
#[derive(Debug)]
struct AmqpExchange {
    broker: AmqpBroker,
    exchange: ShortString,
}

impl MessageQueue for AmqpExchange {
    type Session = AmqpSession;

    const PLACE: &'static str = "routing_key";
    const DELIVERY_ID: &'static str = "message-id";

    async fn connect(&self, client: &DeliveryClient) -> Result<AmqpSession, PublishError> {
        let (connection, channel) = self.broker.connect(client, None).await?;
        let confirm = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirm.map_err(|why| explain_amqp(&why))?;
        Ok(AmqpSession { connection, channel, is_given_up: AtomicBool::new(false) })
    }

    async fn publish(
        &self,
        session: &AmqpSession,
        key: &str,
        message: &EnvelopeMessage<'_>,
        body: &RenderedBody,
    ) -> PublishOutcome {
        let sent = session.publish(self.exchange.clone(), key, message, body).await;
        sent.map_or_else(PublishOutcome::TryAgain, |confirmation| {
            judge_confirmation(confirmation, key)
        })
    }

    fn trace(&self) -> Vec<(&'static str, String)> {
        vec![("exchange", self.exchange.to_string())]
    }
}

/// A logged-in connection, with the one channel on which messages are confirmed.
#[derive(Debug)]
struct AmqpSession {
    connection: Connection,
    channel: Channel,
    /// Whether a delivery was given up because the broker did not confirm it in time.
    is_given_up: AtomicBool,
}

impl QueueSession for AmqpSession {
    fn is_open(&self) -> bool {
        let is_given_up = self.is_given_up.load(Ordering::Relaxed);
        !is_given_up && self.connection.status().connected() && self.channel.status().connected()
    }
}

impl AmqpSession {
    async fn publish(
        &self,
        exchange: ShortString,
        key: &str,
        message: &EnvelopeMessage<'_>,
        body: &RenderedBody,
    ) -> Result<Confirmation, PublishError> {
        if self.connection.status().blocked() {
            // The library would queue the message without bound and send it once the broker takes
            // messages again, when its delivery may be dead.
            return Err(PublishError::refused(
                "the broker takes no messages now (connection.blocked): it is short of memory or disk space",
            ));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_app_id(ShortString::from("waybill"))
            .with_message_id(short_text(message.delivery_id)?)
            .with_content_type(short_text(&body.content_type)?)
            .with_type(short_text(message.event_type)?)
            .with_headers(message_headers(message, body));
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let key = short_text(key)?;
        let confirmed = async {
            let sent = self.channel.basic_publish(exchange, key, options, &body.body, properties);
            sent.await?.await
        };
        let confirmed = wait_or_give_up(confirmed, || self.give_up()).await;
        confirmed.map_err(|why| explain_amqp(&why))
    }

    /// Ends the session after a delivery that was not confirmed in time.
    fn give_up(&self) {
        // A blocked broker already has the message and will store it. A new connection would not be
        // blocked before it has sent a message, so each attempt would send one more copy.
        if !self.connection.status().blocked() {
            self.is_given_up.store(true, Ordering::Relaxed);
        }
    }
}

/// Returns the headers of a message. The attributes of CloudEvents in binary mode are among them
/// (AMQP binding 1.0.2, section 3.1).
fn message_headers(message: &EnvelopeMessage<'_>, body: &RenderedBody) -> FieldTable {
    let mut table = FieldTable::default();
    let mut set = |name: String, value: Vec<u8>| {
        if let Ok(name) = ShortString::try_new(name) {
            table.insert(name, AMQPValue::LongString(LongString::from(value)));
        }
    };
    set("webhook-id".to_owned(), message.delivery_id.as_bytes().to_vec());
    for (name, value) in message.trace_headers() {
        set(name.to_owned(), value.as_bytes().to_vec());
    }
    for (name, value) in &body.headers {
        if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
            set(format!("cloudEvents:{name}"), percent_decode(value.as_bytes()).collect());
        }
    }
    table
}

fn judge_confirmation(confirmation: Confirmation, key: &str) -> PublishOutcome {
    let is_nack = match &confirmation {
        Confirmation::Ack(_) => false,
        Confirmation::Nack(_) => true,
        Confirmation::NotRequested => {
            let why = PublishError::protocol("the broker does not confirm messages");
            return PublishOutcome::TryAgain(why);
        }
    };
    if let Some(returned) = confirmation.take_message() {
        let why = format!(
            "no queue takes the routing key `{key}`: the broker returned it ({} {})",
            returned.reply_code, returned.reply_text
        );
        return PublishOutcome::TryAgain(PublishError::refused(why));
    }
    if is_nack {
        let why = "the broker refused the message (basic.nack)";
        return PublishOutcome::TryAgain(PublishError::refused(why));
    }
    PublishOutcome::delivered("confirmed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(more: &Value) -> Vec<String> {
        let mut settings = json!({"routing_key": "crm.{type}", "username": "u", "password": "p"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: AmqpSettings = serde_json::from_value(settings).unwrap();
        let faults = AmqpChannel::check(&settings, &ChannelsSection::default());
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn settings_name_a_user_and_a_routing_key() {
        assert_eq!(faults(&json!({})), [""; 0]);
        assert_eq!(faults(&json!({"exchange": "events"})), [""; 0]);
        for (more, place) in [
            (json!({"routing_key": "a b"}), "routing_key"),
            (json!({"exchange": "x".repeat(256)}), "exchange"),
        ] {
            assert_eq!(faults(&more), [place], "{more}");
        }
    }

    #[test]
    fn headers_pass_the_trace_on() {
        let body = RenderedBody::json(Vec::new());
        let message = EnvelopeMessage { trace_parent: Some("00-a"), ..EnvelopeMessage::default() };
        let names = |message| {
            let table = message_headers(&message, &body);
            table.inner().keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(message), ["traceparent", "webhook-id"]);
        assert_eq!(names(EnvelopeMessage::default()), ["webhook-id"]);
    }

    #[test]
    fn only_a_confirmed_message_is_delivered() {
        let judged = judge_confirmation(Confirmation::Ack(None), "k");
        assert!(matches!(judged, PublishOutcome::Delivered { .. }));
        for confirmation in [Confirmation::Nack(None), Confirmation::NotRequested] {
            let judged = judge_confirmation(confirmation, "k");
            assert!(matches!(judged, PublishOutcome::TryAgain(_)));
        }
    }
}
