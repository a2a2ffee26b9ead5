//! The kind `amqp`: each delivery is a persistent message of AMQP 0-9-1, as RabbitMQ speaks it.
//!
//! A delivery is made when the broker has confirmed the message and has not returned it. A broker
//! confirms a message that no queue takes too, so each is `mandatory`: what comes back was not
//! delivered. The property `message-id` holds the delivery's id; a consumer tells a repeat by it.

mod dialled_reactor;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::delivery_channel::{ChannelCall, ChannelReply, DeliveryChannel};
use super::pipe::ServerPlace;
use super::place_template::{MAX_PLACE, PlaceTemplate};
use super::publish::{AttemptTime, PublishError, PublishOutcome, make_publish_attempt};
use super::session::{QueueSession, SessionKeeper};
use super::setting_secret::SettingSecret;
use crate::config::ChannelsSection;
use crate::model::cloud_events::HEADER_PREFIX;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use async_compat::CompatExt as _;
use dialled_reactor::current_runtime;
use futures_util::future::BoxFuture;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::tcp::AsyncTcpStream;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind};
use percent_encoding::percent_decode;
use serde::Deserialize;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a broker may take from the first byte to the end of the log-in.
const GREETING: Duration = Duration::from_secs(10);
/// Seconds within which both sides of a connection hear something.
const HEARTBEAT: u16 = 30;
/// The schemes of AMQP, and their ports.
const SECURE: (&str, u16) = ("amqps", 5671);
const PLAIN: (&str, u16) = ("amqp", 5672);
/// A message that survives a restart of its broker.
const PERSISTENT: u8 = 2;

/// Endpoints of the kind `amqp`.
#[derive(Debug)]
pub struct AmqpChannel;

/// What an operator sets of an endpoint of the kind `amqp`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpSettings {
    /// The exchange. If left out, the default one, which hands a message to the queue that the
    /// routing key names.
    #[serde(default)]
    #[schema(max_length = 255)]
    exchange: String,
    /// The routing key. `{type}`, `{source}`, `{resource}` and `{id}` stand for values of the event.
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
        url_hint: "the broker and its virtual host, such as amqps://mq.example:5671/crm; without one it is `/`",
        delivered_when: "the broker confirms the message and does not return it as unroutable",
        dead_when: "the routing key is longer than 255 bytes",
        repeat_known_by: "the property message-id",
        limits: "the broker's max_message_size, 128 MiB by default: a larger message is tried again",
        capabilities: ChannelCapabilities {
            signs: false,
            headers: false,
            envelope: true,
            batches: false,
            exactly_once: false,
        },
    };

    type Settings = AmqpSettings;

    fn check(settings: &AmqpSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let key = PlaceTemplate::parse(&settings.routing_key).err();
        let mut faults: Vec<InputFault> =
            key.map(|why| InputFault::new("routing_key", why)).into_iter().collect();
        let exchange = &settings.exchange;
        if exchange.len() > MAX_PLACE || exchange.chars().any(char::is_control) {
            let message = format!("the name of an exchange has at most {MAX_PLACE} bytes");
            faults.push(InputFault::new("exchange", message));
        }
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: AmqpSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let place = ServerPlace::read(&endpoint.url, SECURE, PLAIN)?;
        let routing_key = PlaceTemplate::parse(&settings.routing_key)?;
        let exchange = short_text(&settings.exchange).map_err(|why| why.detail)?;
        let AmqpSettings { username: user, password, .. } = settings;
        let keeper = SessionKeeper::default();
        let publisher = AmqpPublisher { place, user, password, exchange, routing_key, keeper };
        Ok(EndpointChannel::Other(Arc::new(publisher)))
    }
}

/// Publishes the deliveries of one endpoint.
#[derive(Debug)]
struct AmqpPublisher {
    place: ServerPlace,
    user: String,
    password: SettingSecret,
    exchange: ShortString,
    routing_key: PlaceTemplate,
    keeper: SessionKeeper<AmqpSession>,
}

impl DeliveryChannel for AmqpPublisher {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(async move {
            let ChannelCall { client, message, body, timeout, withdrawn, .. } = call;
            let time = AttemptTime { limit: timeout, withdrawn };
            let key = self.routing_key.render(&message);
            let shown = vec![
                ("exchange", self.exchange.to_string()),
                ("routing_key", key.clone().unwrap_or_default()),
                ("message-id", message.delivery_id.to_owned()),
            ];
            let opening = self.keeper.get_or_open(self.connect(client));
            let reply = make_publish_attempt(time, opening, |session| async move {
                match (key, body) {
                    (Ok(key), Some(body)) => {
                        let sent = session.publish(self.exchange.clone(), &key, &message, &body);
                        sent.await.map_or_else(PublishOutcome::TryAgain, |confirmation| {
                            judge_confirmation(confirmation, &key)
                        })
                    }
                    (Err(why), _) => PublishOutcome::dead(format!("the routing key {why}")),
                    (Ok(_), None) => PublishOutcome::dead("there is no body"),
                }
            });
            Some(reply.await?.with_request(shown))
        })
    }

    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        self.routing_key.render(message)?;
        body.ok_or_else(|| "there is no body".to_owned())
    }
}

impl AmqpPublisher {
    async fn connect(&self, client: &DeliveryClient) -> Result<AmqpSession, PublishError> {
        let opened = timeout(GREETING, self.open_session(client)).await;
        let late = "the broker did not let us in within 10 s";
        opened.unwrap_or_else(|_| Err(PublishError::new(ErrorClass::Timeout, late)))
    }

    async fn open_session(&self, client: &DeliveryClient) -> Result<AmqpSession, PublishError> {
        let (client, place) = (client.clone(), self.place.clone());
        // The library asks for a stream, and opens none by itself.
        let open = async move |_: AMQPUri, _| {
            let stream = place.connect(&client).await.map_err(io::Error::other)?;
            Ok(AsyncTcpStream::Plain(stream.compat()))
        };
        let runtime = current_runtime();
        let properties = ConnectionProperties::default().with_connection_name("waybill".into());
        let connection = Connection::connector(self.broker_uri(), runtime, open, properties).await;
        let connection = connection.map_err(|why| explain(&why))?;
        let channel = connection.create_channel().await.map_err(|why| explain(&why))?;
        let confirm = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirm.map_err(|why| explain(&why))?;
        Ok(AmqpSession { connection, channel })
    }

    fn broker_uri(&self) -> AMQPUri {
        let path = &self.place.path;
        let user = AMQPUserInfo {
            username: self.user.clone(),
            password: self.password.reveal().to_owned(),
        };
        let authority =
            AMQPAuthority { userinfo: user, host: self.place.host.clone(), port: self.place.port };
        let mut uri = AMQPUri {
            scheme: if self.place.is_secure { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority,
            vhost: if path.is_empty() { "/".to_owned() } else { path.clone() },
            query: AMQPQueryString::default(),
        };
        uri.query.heartbeat = Some(HEARTBEAT);
        uri
    }
}

/// A connection that is logged in, with the one channel on which messages are confirmed.
#[derive(Debug)]
struct AmqpSession {
    connection: Connection,
    channel: Channel,
}

impl QueueSession for AmqpSession {
    fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
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
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_app_id(ShortString::from("waybill"))
            .with_message_id(short_text(message.delivery_id)?)
            .with_content_type(short_text(&body.content_type)?)
            .with_type(short_text(message.event_type)?)
            .with_headers(message_headers(message.delivery_id, body));
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let key = short_text(key)?;
        let sent = self.channel.basic_publish(exchange, key, options, &body.body, properties);
        let confirm = sent.await.map_err(|why| explain(&why))?;
        confirm.await.map_err(|why| explain(&why))
    }
}

/// Returns the headers of a message. CloudEvents in binary mode has its attributes there (AMQP
/// binding 1.0.2, section 3.1).
fn message_headers(delivery_id: &str, body: &RenderedBody) -> FieldTable {
    let mut table = FieldTable::default();
    let mut set = |name: String, value: Vec<u8>| {
        if let Ok(name) = ShortString::try_new(name) {
            table.insert(name, AMQPValue::LongString(LongString::from(value)));
        }
    };
    set("webhook-id".to_owned(), delivery_id.as_bytes().to_vec());
    for (name, value) in &body.headers {
        if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
            set(format!("cloudEvents:{name}"), percent_decode(value.as_bytes()).collect());
        }
    }
    table
}

fn short_text(text: &str) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|why| PublishError::protocol(format!("`{text}`: {why}")))
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
        let why = "the broker did not take the message (basic.nack)";
        return PublishOutcome::TryAgain(PublishError::refused(why));
    }
    PublishOutcome::delivered("confirmed")
}

/// Classifies an error of the library.
fn explain(error: &lapin::Error) -> PublishError {
    let kind = error.kind();
    if let ErrorKind::ProtocolError(refusal) = kind {
        return PublishError::refused(format!("the broker refused: {refusal}"));
    }
    if let ErrorKind::IOError(why) = kind {
        // That of the connection, which says more.
        let dialled = why.get_ref().and_then(|cause| cause.downcast_ref::<PublishError>());
        return dialled.cloned().unwrap_or_else(|| PublishError::lost(why));
    }
    let is_lost = matches!(
        kind,
        ErrorKind::InvalidConnectionState(_)
            | ErrorKind::InvalidChannelState(..)
            | ErrorKind::MissingHeartbeatError
    );
    if is_lost { PublishError::lost(error) } else { PublishError::protocol(error) }
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
    fn only_a_confirmed_message_is_delivered() {
        let judged = judge_confirmation(Confirmation::Ack(None), "k");
        assert!(matches!(judged, PublishOutcome::Delivered { .. }));
        for confirmation in [Confirmation::Nack(None), Confirmation::NotRequested] {
            let judged = judge_confirmation(confirmation, "k");
            assert!(matches!(judged, PublishOutcome::TryAgain(_)));
        }
    }
}
