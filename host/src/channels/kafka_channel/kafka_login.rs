//! Opens connections to brokers: dialled to checked addresses, encrypted if the URL says so, and
//! logged in (KIP-43, KIP-152).

use super::kafka_calls::check_versions;
use super::kafka_fault::{SASL_FAILED, describe_fault};
use super::scram::{ScramHash, ScramLogin};
use super::wire::{
    API_VERSIONS, AnswerBody, RequestBody, RequestKind, SASL_AUTHENTICATE, SASL_HANDSHAKE,
    take_answer,
};
use crate::channels::pipe::{ByteStream, ServerPlace};
use crate::channels::publish::PublishError;
use crate::channels::setting_secret::SettingSecret;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// Longest time from dialling to the end of the log-in.
const GREETING: Duration = Duration::from_secs(10);
/// The URL schemes with their usual ports. Kafka itself has no URLs.
const SECURE: (&str, u16) = ("kafkas", 9093);
const PLAIN: (&str, u16) = ("kafka", 9092);

/// The way in which a password is shown to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
pub enum SaslMechanism {
    /// The password is sent as it is.
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM with SHA-256: the password is not sent.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM with SHA-512: the password is not sent.
    #[default]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Returns the name that brokers know.
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A user with its password.
#[derive(Debug)]
pub struct KafkaUser {
    pub name: String,
    pub password: SettingSecret,
    pub mechanism: SaslMechanism,
}

/// The addresses at which a cluster is found, and the log-in.
#[derive(Debug)]
pub struct KafkaLogin {
    /// The brokers to ask first, in this order. At least one.
    pub places: Vec<ServerPlace>,
    pub user: Option<KafkaUser>,
}

/// A logged-in connection with what was read from it beyond the log-in.
pub struct KafkaConnection {
    pub stream: Box<dyn ByteStream>,
    pub rest: BytesMut,
}

impl KafkaLogin {
    /// Reads the URL of a broker.
    pub fn read_place(url: &str) -> Result<ServerPlace, String> {
        ServerPlace::read_bare(url, SECURE, PLAIN)
    }

    /// Reads a further broker of the cluster at `first`, such as `kafka2.example:9092`.
    pub fn read_further(first: &ServerPlace, broker: &str) -> Result<ServerPlace, String> {
        let scheme = if first.is_secure { SECURE.0 } else { PLAIN.0 };
        Self::read_place(&format!("{scheme}://{broker}"))
    }

    /// Whether connections are encrypted.
    pub fn is_secure(&self) -> bool {
        self.places.first().is_some_and(|place| place.is_secure)
    }

    /// Connects to a broker and logs in, within 10 s.
    pub async fn connect(
        &self,
        client: &DeliveryClient,
        place: &ServerPlace,
    ) -> Result<KafkaConnection, PublishError> {
        let opened = timeout(GREETING, self.greet(client, place)).await;
        let late = "the broker did not complete the log-in within 10 s";
        opened.unwrap_or_else(|_| Err(PublishError::new(ErrorClass::Timeout, late)))
    }

    async fn greet(
        &self,
        client: &DeliveryClient,
        place: &ServerPlace,
    ) -> Result<KafkaConnection, PublishError> {
        let stream = place.connect(client).await?;
        let mut greeting = KafkaGreeting { stream, bytes: BytesMut::new(), next: 1 };
        check_versions(greeting.ask(API_VERSIONS, |_| {}).await?)?;
        if let Some(user) = &self.user {
            greeting.log_in(user).await?;
        }
        Ok(KafkaConnection { stream: greeting.stream, rest: greeting.bytes })
    }
}

/// A connection on which one request at a time is made.
struct KafkaGreeting {
    stream: Box<dyn ByteStream>,
    bytes: BytesMut,
    next: i32,
}

impl KafkaGreeting {
    async fn ask(
        &mut self,
        kind: RequestKind,
        body: impl FnOnce(&mut RequestBody),
    ) -> Result<Bytes, PublishError> {
        let request = kind.write(self.next, body);
        self.stream.write_all(&request).await.map_err(PublishError::lost)?;
        self.stream.flush().await.map_err(PublishError::lost)?;
        let (number, answer) = loop {
            if let Some(answer) = take_answer(&mut self.bytes)? {
                break answer;
            }
            if self.stream.read_buf(&mut self.bytes).await.map_err(PublishError::lost)? == 0 {
                return Err(PublishError::lost(
                    "the broker closed it during the log-in; it may want TLS or a user",
                ));
            }
        };
        if number != self.next {
            return Err(PublishError::protocol("the broker answers another request"));
        }
        self.next += 1;
        Ok(answer)
    }

    async fn log_in(&mut self, user: &KafkaUser) -> Result<(), PublishError> {
        let mechanism = user.mechanism.name();
        let answer = self.ask(SASL_HANDSHAKE, |body| body.put_text(mechanism)).await?;
        let mut answer = SASL_HANDSHAKE.open(answer)?;
        if answer.take_i16()? != 0 {
            let offered = answer.take_list(AnswerBody::take_text)?.join(", ");
            return Err(PublishError::refused(format!(
                "the broker does not offer {mechanism}; it offers {offered}"
            )));
        }
        let hash = match user.mechanism {
            SaslMechanism::Plain => {
                let message = format!("\0{}\0{}", user.name, user.password.reveal());
                return self.authenticate(message.as_bytes()).await.map(drop);
            }
            SaslMechanism::ScramSha256 => ScramHash::Sha256,
            SaslMechanism::ScramSha512 => ScramHash::Sha512,
        };
        self.log_in_by_scram(user, hash).await
    }

    async fn log_in_by_scram(
        &mut self,
        user: &KafkaUser,
        hash: ScramHash,
    ) -> Result<(), PublishError> {
        let nonce = hex::encode(rand::random::<[u8; 18]>());
        let login = ScramLogin::begin(hash, &user.name, nonce);
        let said = self.authenticate(login.message().as_bytes()).await?;
        let proof = login.answer(user.password.reveal(), &said).map_err(PublishError::protocol)?;
        let said = self.authenticate(proof.message.as_bytes()).await?;
        if said.starts_with("e=") {
            return Err(PublishError::refused(describe_fault(SASL_FAILED, "", "")));
        }
        proof.check(&said).map_err(PublishError::protocol)
    }

    /// Sends a message of the log-in and returns the broker's.
    async fn authenticate(&mut self, message: &[u8]) -> Result<String, PublishError> {
        let answer = self.ask(SASL_AUTHENTICATE, |body| body.put_bytes(message)).await?;
        let mut answer = SASL_AUTHENTICATE.open(answer)?;
        let (code, _said) = (answer.take_i16()?, answer.take_text()?);
        if code != 0 {
            return Err(PublishError::refused(describe_fault(SASL_FAILED, "", "")));
        }
        Ok(String::from_utf8_lossy(&answer.take_bytes()?).into_owned())
    }
}
