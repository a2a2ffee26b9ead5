//! Logs in to a broker of AMQP 0-9-1, for deliveries and for sources.

use super::body_limit::{BodyLimit, LimitedStream};
use super::dialled_reactor::current_runtime;
use crate::channels::pipe::{ByteStream, ServerPlace};
use crate::channels::publish::PublishError;
use crate::channels::setting_secret::SettingSecret;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use async_compat::CompatExt as _;
use lapin::tcp::AsyncTcpStream;
use lapin::types::ShortString;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use std::io;
use std::time::Duration;
use tokio::time::timeout;

/// Longest time from the first byte to the end of the log-in.
const GREETING: Duration = Duration::from_secs(10);
/// Interval of heartbeats in both directions, in seconds.
const HEARTBEAT: u16 = 30;
/// The URL schemes of AMQP with their default ports.
const SECURE: (&str, u16) = ("amqps", 5671);
const PLAIN: (&str, u16) = ("amqp", 5672);

/// The address of a broker and the log-in.
#[derive(Debug)]
pub struct AmqpBroker {
    pub place: ServerPlace,
    pub user: String,
    pub password: SettingSecret,
}

impl AmqpBroker {
    /// Reads the URL of a broker.
    pub fn read_place(url: &str) -> Result<ServerPlace, String> {
        ServerPlace::read(url, SECURE, PLAIN)
    }

    /// Connects, logs in and opens a channel, within 10 s. Bodies above `limit` are left out of the
    /// connection.
    pub async fn connect(
        &self,
        client: &DeliveryClient,
        limit: Option<&BodyLimit>,
    ) -> Result<(Connection, Channel), PublishError> {
        let opened = timeout(GREETING, self.open_channel(client, limit)).await;
        let late = "the broker did not complete the log-in within 10 s";
        opened.unwrap_or_else(|_| Err(PublishError::new(ErrorClass::Timeout, late)))
    }

    async fn open_channel(
        &self,
        client: &DeliveryClient,
        limit: Option<&BodyLimit>,
    ) -> Result<(Connection, Channel), PublishError> {
        let (client, place, limit) = (client.clone(), self.place.clone(), limit.cloned());
        // lapin asks this function for a stream and never dials by itself.
        let open = async move |_: AMQPUri, _| {
            let stream = place.connect(&client).await.map_err(io::Error::other)?;
            let stream: Box<dyn ByteStream> = match limit.clone() {
                Some(limit) => Box::new(LimitedStream::new(stream, limit)),
                None => stream,
            };
            Ok(AsyncTcpStream::Plain(stream.compat()))
        };
        let runtime = current_runtime();
        let properties = ConnectionProperties::default().with_connection_name("waybill".into());
        let connection = Connection::connector(self.broker_uri(), runtime, open, properties).await;
        let connection = connection.map_err(|why| explain_amqp(&why))?;
        let channel = connection.create_channel().await.map_err(|why| explain_amqp(&why))?;
        Ok((connection, channel))
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

/// Returns a text as a short string of the protocol. Fails for more than 255 bytes.
pub fn short_text(text: &str) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|why| PublishError::protocol(format!("`{text}`: {why}")))
}

/// Classifies an error of lapin.
pub fn explain_amqp(error: &lapin::Error) -> PublishError {
    let kind = error.kind();
    if let ErrorKind::ProtocolError(refusal) = kind {
        return PublishError::refused(format!("the broker refuses: {refusal}"));
    }
    if let ErrorKind::IOError(why) = kind {
        // The error of the dialled connection says more.
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
