//! The kind `nats`: publishes each delivery to a stream of JetStream.
//!
//! A delivery succeeds when a stream has acknowledged it. The header `Nats-Msg-Id` holds the
//! delivery's id, so the stream stores a repeat within its duplicate window only once. A consumer
//! can recognise a later repeat by the header.

pub mod jetstream_api;
pub mod nats_line;
pub mod nats_login;
pub mod nats_session;
pub mod nkey;
pub mod wire;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::place_template::PlaceTemplate;
use super::publish::{PublishError, PublishOutcome};
use super::queue_publisher::{MessageQueue, QueuePublisher};
use super::setting_secret::SettingSecret;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::http_client::DeliveryClient;
use nats_login::NatsLogin;
use nats_session::NatsSession;
use nkey::NatsCredentials;
use serde::Deserialize;

/// Endpoints of the kind `nats`.
#[derive(Debug)]
pub struct NatsChannel;

/// The settings of an endpoint of kind `nats`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// The subject. `{type}`, `{source}`, `{resource}` and `{id}` are replaced by values of the
    /// event.
    #[schema(example = "crm.{type}", max_length = 255)]
    subject: String,
    /// The stream that must store the message. If left out, any stream may.
    #[serde(default)]
    #[schema(max_length = 255)]
    stream: Option<String>,
    /// The user to log in as.
    #[serde(default)]
    #[schema(max_length = 1024)]
    username: Option<String>,
    /// The user's password.
    #[serde(default)]
    #[schema(write_only, value_type = Option<String>)]
    password: Option<SettingSecret>,
    /// A token to log in with.
    #[serde(default)]
    #[schema(write_only, value_type = Option<String>)]
    token: Option<SettingSecret>,
    /// The seed of a user's key (`SU…`), or the contents of a `.creds` file, to log in with.
    #[serde(default)]
    #[schema(write_only, value_type = Option<String>)]
    private_key: Option<SettingSecret>,
}

impl ChannelKind for NatsChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "nats",
        label: "NATS JetStream",
        url_schemes: &["tls", "nats"],
        url_hint: "the server, such as tls://nats.example:4222; nats:// does not encrypt",
        delivered_when: "a stream of JetStream acknowledges the message",
        dead_when: "the message is larger than the server or the stream accepts",
        repeat_known_by: "the header Nats-Msg-Id: the stream drops a repeat within its duplicate window",
        limits: "the server's max_payload, 1 MiB by default: a larger message is a dead letter",
        capabilities: ChannelCapabilities::ENVELOPE,
    };

    type Settings = NatsSettings;

    fn check(settings: &NatsSettings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = Vec::new();
        let subject = check_subject(&settings.subject);
        faults.extend(subject.map(|why| InputFault::new("subject", why)));
        if !settings.stream.as_deref().is_none_or(is_stream_name) {
            faults.push(InputFault::new(
                "stream",
                "write the name of a stream, without `.`, `*` and `>`",
            ));
        }
        if settings.username.is_some() != settings.password.is_some() {
            faults.push(InputFault::new(
                "username",
                "set both `username` and `password`, or neither",
            ));
        }
        let ways =
            [settings.username.is_some(), settings.token.is_some(), settings.private_key.is_some()];
        if ways.into_iter().filter(|is_set| *is_set).count() > 1 {
            let message = "set only one of `username`, `token` and `private_key`";
            faults.push(InputFault::new("username", message));
        }
        if let Some(Err(why)) = settings.private_key.as_ref().map(read_key) {
            faults.push(InputFault::new("private_key", why));
        }
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: NatsSettings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let subject = PlaceTemplate::parse(&settings.subject)?;
        let credentials = settings.private_key.as_ref().map(read_key).transpose()?;
        let NatsSettings { stream, username, password, token, .. } = settings;
        let place = NatsLogin::read_place(&endpoint.url)?;
        let login = NatsLogin { place, user: username.zip(password), token, credentials };
        Ok(QueuePublisher::open(NatsServer { login, stream }, subject))
    }
}

fn read_key(key: &SettingSecret) -> Result<NatsCredentials, &'static str> {
    NatsCredentials::read(key.reveal())
}

fn is_stream_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !".*>/\\".contains(c);
    (1..=255).contains(&name.len()) && name.chars().all(is_plain)
}

fn check_subject(subject: &str) -> Option<String> {
    let has_empty_part = subject.split('.').any(str::is_empty);
    let empty = has_empty_part.then(|| "a part between two dots is empty".to_owned());
    PlaceTemplate::parse(subject).err().or(empty)
}

/// The server that an endpoint publishes to.
#[derive(Debug)]
struct NatsServer {
    login: NatsLogin,
    /// The stream that must take the messages.
    stream: Option<String>,
}

impl MessageQueue for NatsServer {
    type Session = NatsSession;

    const PLACE: &'static str = "subject";
    const DELIVERY_ID: &'static str = "Nats-Msg-Id";

    async fn connect(&self, client: &DeliveryClient) -> Result<NatsSession, PublishError> {
        Ok(NatsSession::open(self.login.connect(client).await?))
    }

    async fn publish(
        &self,
        session: &NatsSession,
        subject: &str,
        message: &EnvelopeMessage<'_>,
        body: &RenderedBody,
    ) -> PublishOutcome {
        let mut headers = vec![
            ("Nats-Msg-Id", message.delivery_id),
            ("webhook-id", message.delivery_id),
            ("Content-Type", &*body.content_type),
        ];
        // The attributes of CloudEvents in binary mode have the same names as in HTTP.
        let further = body.headers.iter();
        headers.extend(
            further.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
        );
        headers.extend(message.trace_headers());
        let stream = self.stream.as_deref();
        headers.extend(stream.map(|name| ("Nats-Expected-Stream", name)));
        session.publish(subject, &headers, &body.body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(more: &Value) -> Vec<String> {
        let mut settings = json!({"subject": "crm.{type}"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: NatsSettings = serde_json::from_value(settings).unwrap();
        let faults = NatsChannel::check(&settings, &ChannelsSection::default());
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn settings_name_a_subject_and_one_way_to_log_in() {
        assert_eq!(faults(&json!({})), [""; 0]);
        assert_eq!(faults(&json!({"username": "u", "password": "p", "stream": "CRM"})), [""; 0]);
        for (more, place) in [
            (json!({"subject": "crm.*"}), "subject"),
            (json!({"subject": "crm..x"}), "subject"),
            (json!({"subject": "$JS.API.x"}), "subject"),
            (json!({"stream": "a.b"}), "stream"),
            (json!({"username": "u"}), "username"),
            (json!({"token": "t", "username": "u", "password": "p"}), "username"),
            (json!({"private_key": "x"}), "private_key"),
        ] {
            assert_eq!(faults(&more), [place], "{more}");
        }
    }
}
