//! The kind `mqtt`: publishes each delivery with QoS 1. The delivery succeeds when the server's
//! PUBACK arrives.
//!
//! With MQTT 5 the user property `webhook-id` holds the delivery's id. With 3.1.1 only the body
//! holds it. The server may hand a message to its subscribers twice; they recognise a repeat by
//! that id.

mod mqtt_session;
mod wire;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::pipe::{ByteStream, SILENCE, ServerPlace};
use super::place_template::PlaceTemplate;
use super::publish::{PublishError, PublishOutcome};
use super::queue_publisher::{MessageQueue, QueuePublisher};
use super::setting_secret::SettingSecret;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use bytes::BytesMut;
use mqtt_session::MqttSession;
use serde::Deserialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use wire::{ConnectPacket, MqttPacket, MqttVersion, take_packet, write_connect};

/// Longest time from opening a connection to the end of the log-in.
const GREETING: Duration = Duration::from_secs(10);
/// The URL schemes of MQTT with and without TLS, with their default ports.
const SECURE: (&str, u16) = ("mqtts", 8883);
const PLAIN: (&str, u16) = ("mqtt", 1883);

/// Endpoints of the kind `mqtt`.
#[derive(Debug)]
pub struct MqttChannel;

/// The settings of an endpoint of kind `mqtt`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// The topic. `{type}`, `{source}`, `{resource}` and `{id}` are replaced by values of the
    /// event.
    #[schema(example = "crm/{resource}/{id}", max_length = 255)]
    topic: String,
    /// The version of the protocol: `5` or `3.1.1`.
    #[serde(default)]
    #[schema(value_type = String, default = "5")]
    version: MqttVersion,
    /// Whether the server stores the last message of a topic for later subscribers.
    #[serde(default)]
    retain: bool,
    /// The client id. If left out, each connection uses a new one. A server closes the older of two
    /// connections with the same id, so leave it out if several nodes deliver.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 1024)]
    client_id: Option<String>,
    /// The user to log in as.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 1024)]
    username: Option<String>,
    /// The user's password.
    #[serde(default)]
    #[schema(write_only, value_type = Option<String>, max_length = 16384)]
    password: Option<SettingSecret>,
}

impl ChannelKind for MqttChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "mqtt",
        label: "MQTT",
        url_schemes: &["mqtts", "mqtt"],
        url_hint: "the server, such as mqtts://mqtt.example:8883; mqtt:// does not encrypt",
        delivered_when: "the server acknowledges the message (QoS 1, PUBACK)",
        dead_when: "the message is larger than the server accepts, or the server refuses its topic or its payload",
        repeat_known_by: "the user property webhook-id in MQTT 5, delivery_id in the body in 3.1.1",
        limits: "the server's maximum packet size: a larger message is a dead letter",
        capabilities: ChannelCapabilities::ENVELOPE,
    };

    type Settings = MqttSettings;

    fn check(settings: &MqttSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = Vec::new();
        let topic = PlaceTemplate::parse(&settings.topic).err();
        faults.extend(topic.map(|why| InputFault::new("topic", why)));
        if settings.password.is_some() && settings.username.is_none() {
            faults
                .push(InputFault::new("username", "a password needs a user name; set `username`"));
        }
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: MqttSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let place = ServerPlace::read_bare(&endpoint.url, SECURE, PLAIN)?;
        let topic = PlaceTemplate::parse(&settings.topic)?;
        Ok(QueuePublisher::open(MqttServer { settings, place }, topic))
    }
}

/// The server that an endpoint publishes to.
#[derive(Debug)]
struct MqttServer {
    settings: MqttSettings,
    place: ServerPlace,
}

impl MessageQueue for MqttServer {
    type Session = MqttSession;

    const PLACE: &'static str = "topic";
    const DELIVERY_ID: &'static str = "webhook-id";

    async fn connect(&self, client: &DeliveryClient) -> Result<MqttSession, PublishError> {
        let greeted = timeout(GREETING, async {
            let stream = self.place.connect(client).await?;
            self.greet(stream).await
        });
        greeted.await.unwrap_or_else(|_| {
            Err(PublishError::new(
                ErrorClass::Timeout,
                "the server did not complete the log-in within 10 s",
            ))
        })
    }

    async fn publish(
        &self,
        session: &MqttSession,
        topic: &str,
        message: &EnvelopeMessage<'_>,
        body: &RenderedBody,
    ) -> PublishOutcome {
        session.publish(topic, message.delivery_id, self.settings.retain, body).await
    }
}

impl MqttServer {
    async fn greet(&self, mut stream: Box<dyn ByteStream>) -> Result<MqttSession, PublishError> {
        let made_up = format!("waybill-{}", uuid::Uuid::now_v7().simple());
        let version = self.settings.version;
        let hello = write_connect(&ConnectPacket {
            version,
            client_id: self.settings.client_id.as_deref().unwrap_or(&made_up),
            user: self.settings.username.as_deref(),
            password: self.settings.password.as_ref().map(SettingSecret::reveal),
            // A server closes a connection that is silent for one and a half times this.
            keep_alive: u16::try_from(SILENCE.as_secs() * 3).unwrap_or(u16::MAX),
        });
        stream.write_all(&hello).await.map_err(PublishError::lost)?;
        stream.flush().await.map_err(PublishError::lost)?;
        let mut bytes = BytesMut::new();
        let packet = loop {
            if let Some(packet) = take_packet(&mut bytes, version)? {
                break packet;
            }
            if stream.read_buf(&mut bytes).await.map_err(PublishError::lost)? == 0 {
                return Err(PublishError::lost(
                    "the server closed the connection during the log-in",
                ));
            }
        };
        match packet {
            MqttPacket::Connected { reason: 0, limits } if limits.qos > 0 => {
                Ok(MqttSession::open(stream, bytes, version, limits))
            }
            MqttPacket::Connected { reason: 0, .. } => {
                Err(PublishError::refused("the server does not acknowledge messages (QoS 0 only)"))
            }
            MqttPacket::Connected { reason, .. } => Err(refused_login(version, reason)),
            MqttPacket::Acknowledged { .. }
            | MqttPacket::Disconnected { .. }
            | MqttPacket::Pong => {
                Err(PublishError::protocol("the server did not answer the log-in as MQTT requires"))
            }
        }
    }
}

/// Explains why a server refused the log-in (MQTT 5.0, table 3-1; MQTT 3.1.1, table 3.1).
fn refused_login(version: MqttVersion, reason: u8) -> PublishError {
    let what = match (version, reason) {
        (_, 0x01 | 0x84) => "the server does not support this version of MQTT; set `version`",
        (_, 0x02 | 0x85) => "the server refuses the client id; set another `client_id`",
        (_, 0x03 | 0x88 | 0x89) => "the server is not ready",
        (_, 0x04 | 0x86) => "the user or the password is wrong",
        (_, 0x05 | 0x87) => "the user may not connect",
        (_, 0x8a) => "the client is banned",
        (_, 0x97 | 0x9f) => "a quota is used up",
        _ => "the server does not say why",
    };
    PublishError::refused(format!("the server refused the connection ({reason:#04x}): {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(more: &Value) -> Vec<String> {
        let mut settings = json!({"topic": "crm/{type}"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: MqttSettings = serde_json::from_value(settings).unwrap();
        let faults = MqttChannel::check(&settings, &ChannelsSection::default());
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn settings_name_a_topic() {
        assert_eq!(faults(&json!({})), [""; 0]);
        assert_eq!(faults(&json!({"username": "u", "password": "p", "version": "3.1.1"})), [""; 0]);
        for (more, place) in [
            (json!({"topic": "crm/#"}), "topic"),
            (json!({"topic": "$SYS/x"}), "topic"),
            (json!({"password": "p"}), "username"),
        ] {
            assert_eq!(faults(&more), [place], "{more}");
        }
    }
}
