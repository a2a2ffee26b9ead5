//! Logs in to a NATS server, for deliveries and for sources.

use super::nkey::NatsCredentials;
use super::wire::{OversizePolicy, ServerFrame, ServerInfo, take_frame};
use crate::channels::pipe::{ByteStream, ServerPlace};
use crate::channels::publish::PublishError;
use crate::channels::setting_secret::SettingSecret;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use bytes::BytesMut;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// Longest time from the first byte to the end of the log-in.
const GREETING: Duration = Duration::from_secs(10);
/// The URL schemes of NATS with their default ports.
const SECURE: (&str, u16) = ("tls", 4222);
const PLAIN: (&str, u16) = ("nats", 4222);

/// The address of a server and the log-in.
#[derive(Debug)]
pub struct NatsLogin {
    pub place: ServerPlace,
    /// The user and the password.
    pub user: Option<(String, SettingSecret)>,
    pub token: Option<SettingSecret>,
    pub credentials: Option<NatsCredentials>,
}

/// A connection that is logged in and subscribed to its inbox.
pub struct NatsConnection {
    pub stream: Box<dyn ByteStream>,
    /// Bytes that were read and are not parsed yet.
    pub bytes: BytesMut,
    /// Prefix of answer subjects. Answers arrive on `{inbox}.{number}`.
    pub inbox: String,
    /// Largest message that the server accepts, in bytes.
    pub max_payload: usize,
}

impl NatsLogin {
    /// Reads the URL of a server.
    pub fn read_place(url: &str) -> Result<ServerPlace, String> {
        ServerPlace::read_bare(url, SECURE, PLAIN)
    }

    /// Connects and logs in, within 20 s.
    pub async fn connect(&self, client: &DeliveryClient) -> Result<NatsConnection, PublishError> {
        let stream = client.dial(&self.place.host, self.place.port).await?;
        let greeted = timeout(GREETING, self.greet(client, stream)).await;
        greeted.unwrap_or_else(|_| {
            Err(PublishError::new(
                ErrorClass::Timeout,
                "the server did not complete the log-in within 10 s",
            ))
        })
    }

    /// Reads the server's `INFO`, encrypts, logs in and subscribes to answers.
    async fn greet(
        &self,
        client: &DeliveryClient,
        mut stream: tokio::net::TcpStream,
    ) -> Result<NatsConnection, PublishError> {
        let mut bytes = BytesMut::new();
        let frame = next_frame(&mut stream, &mut bytes).await?;
        let ServerFrame::Info(info) = &frame else { return Err(unexpected(&frame)) };
        let info = read_info(info)?;
        self.check_tls(&info)?;
        let mut stream: Box<dyn ByteStream> = if self.place.is_secure {
            // Bytes that arrived in plain text before the handshake must not count as encrypted.
            bytes.clear();
            Box::new(client.start_tls(stream, &self.place.host).await?)
        } else {
            Box::new(stream)
        };
        let inbox = format!("_INBOX.{}", uuid::Uuid::now_v7().simple());
        let login = self.login(&info)?;
        let hello = format!("CONNECT {login}\r\nSUB {inbox}.* 1\r\nPING\r\n");
        stream.write_all(hello.as_bytes()).await.map_err(PublishError::lost)?;
        stream.flush().await.map_err(PublishError::lost)?;
        loop {
            match next_frame(&mut stream, &mut bytes).await? {
                ServerFrame::Pong => break,
                ServerFrame::Refusal(why) => return Err(PublishError::refused(why)),
                ServerFrame::Ping | ServerFrame::Info(_) => {}
                other @ ServerFrame::Message(_) => return Err(unexpected(&other)),
            }
        }
        Ok(NatsConnection { stream, bytes, inbox, max_payload: info.max_payload })
    }

    /// Fails if one side requires TLS and the other does not.
    fn check_tls(&self, info: &ServerInfo) -> Result<(), PublishError> {
        let why = match (self.place.is_secure, info.tls_required, info.tls_available) {
            (true, false, false) => {
                "the server does not offer TLS; `nats://` would send in plain text"
            }
            (false, true, _) => "the server requires TLS; begin `url` with `tls://`",
            (true, ..) | (false, false, _) => return Ok(()),
        };
        Err(PublishError::new(ErrorClass::Tls, why))
    }

    /// Builds the options of `CONNECT`.
    fn login(&self, info: &ServerInfo) -> Result<Value, PublishError> {
        if !info.headers {
            return Err(PublishError::protocol(
                "the server does not support headers; NATS 2.2 or newer is needed",
            ));
        }
        let mut login = json!({
            "verbose": false, "pedantic": false, "tls_required": self.place.is_secure,
            "name": "waybill", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
            "protocol": 1, "echo": false, "headers": true, "no_responders": true,
        });
        let mut set = |name: &str, value: &str| {
            if let Some(members) = login.as_object_mut() {
                members.insert(name.to_owned(), value.into());
            }
        };
        if let Some((name, password)) = &self.user {
            set("user", name);
            set("pass", password.reveal());
        }
        if let Some(token) = &self.token {
            set("auth_token", token.reveal());
        }
        if let Some(credentials) = &self.credentials {
            set("sig", &credentials.sign(info.nonce.as_deref().unwrap_or_default()));
            match &credentials.jwt {
                Some(jwt) => set("jwt", jwt),
                None => set("nkey", credentials.public()),
            }
        }
        Ok(login)
    }
}

fn read_info(info: &str) -> Result<ServerInfo, PublishError> {
    let unreadable = |_| PublishError::protocol("the server's INFO is not JSON");
    serde_json::from_str(info).map_err(unreadable)
}

fn unexpected(frame: &ServerFrame) -> PublishError {
    match frame {
        ServerFrame::Refusal(why) => PublishError::refused(why),
        ServerFrame::Info(_) | ServerFrame::Message(_) | ServerFrame::Ping | ServerFrame::Pong => {
            PublishError::protocol("the server does not speak NATS")
        }
    }
}

async fn next_frame(
    stream: &mut (impl ByteStream + ?Sized),
    bytes: &mut BytesMut,
) -> Result<ServerFrame, PublishError> {
    loop {
        if let Some(frame) = take_frame(bytes, OversizePolicy::Refuse)? {
            return Ok(frame);
        }
        if stream.read_buf(bytes).await.map_err(PublishError::lost)? == 0 {
            return Err(PublishError::lost("the server closed it"));
        }
    }
}
