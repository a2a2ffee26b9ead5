//! The kind `email`: sends messages over an SMTP server.

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::delivery_channel::{ChannelCall, ChannelOutcome, ChannelReply, DeliveryChannel};
use super::email_message::{EmailWriter, WrittenEmail};
use super::email_settings::{EmailSettings, SmtpSecurity};
use super::smtp_connection::{SmtpFailure, SmtpPlace, SmtpPool};
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::failure::timed_out;
use crate::net::http_url::read_url;
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The URL scheme of an SMTP server.
const SCHEMES: &[&str] = &["smtp"];

/// Endpoints of the kind `email`.
#[derive(Debug)]
pub struct EmailChannel;

impl ChannelKind for EmailChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "email",
        label: "E-mail (SMTP)",
        url_schemes: SCHEMES,
        url_hint: "the mail server, such as smtp://mail.example:587; the default port is 587, or 465 with `tls`",
        delivered_when: "the server answers the message with 250",
        dead_when: "a 5xx for the message, its sender or a recipient; an invalid address; a message that cannot be written",
        repeat_known_by: "the Message-ID, which contains the delivery's id",
        limits: "subject 250 characters, text and HTML 100000 each; longer texts are cut and end with …",
        capabilities: ChannelCapabilities::NONE,
    };

    type Settings = EmailSettings;

    fn check(settings: &EmailSettings, rules: &ChannelsSection) -> Vec<InputFault> {
        settings.check(rules)
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: EmailSettings,
        rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        if settings.tls == SmtpSecurity::None && !rules.smtp_without_tls {
            return Err("`channels.smtp_without_tls` does not permit `tls: none`".to_owned());
        }
        let url = read_url(&endpoint.url, SCHEMES)?;
        let writer = EmailWriter::open(&settings)?;
        let usual = if settings.tls == SmtpSecurity::Tls { 465 } else { 587 };
        let place = SmtpPlace {
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port().unwrap_or(usual),
            security: settings.tls,
            credentials: settings
                .username
                .zip(settings.password)
                .map(|(u, p)| Credentials::new(u, p)),
            hello: ClientId::Domain(writer.domain().to_owned()),
        };
        let sender = EmailSender { writer, pool: SmtpPool::new(place) };
        Ok(EndpointChannel::Other(Arc::new(sender)))
    }
}

/// Sends the messages of one endpoint.
#[derive(Debug)]
struct EmailSender {
    writer: EmailWriter,
    pool: SmtpPool,
}

impl DeliveryChannel for EmailSender {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(async move {
            let email = match self.writer.write(&call.message, call.at) {
                Ok(email) => email,
                Err(why) => {
                    let outcome = ChannelOutcome::Dead { class: ErrorClass::Rejected };
                    return Some(ChannelReply::failed(outcome, why, Duration::ZERO));
                }
            };
            let shown = email.shown();
            let (started, most) = (Instant::now(), call.timeout);
            let reply = match timeout(most, self.send(call, email)).await {
                Ok(sent) => read_sent(sent?, started.elapsed()),
                Err(_) => ChannelReply::unreached(timed_out(most, started.elapsed())),
            };
            Some(reply.with_request(shown))
        })
    }

    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        _body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        let email = self.writer.write(message, Timestamp::default())?;
        let content_type = "message/rfc822".into();
        Ok(RenderedBody { body: email.message, content_type, headers: Vec::new() })
    }
}

/// A server's answer: the code and the text.
type SmtpAnswer = (u16, String);

impl EmailSender {
    /// Sends a message. Returns `None` if the delivery was withdrawn while the connection was made.
    async fn send(
        &self,
        call: ChannelCall<'_>,
        email: WrittenEmail,
    ) -> Option<Result<SmtpAnswer, SmtpFailure>> {
        let mut withdrawn = call.withdrawn;
        let connected = tokio::select! {
            biased;
            () = &mut withdrawn => return None,
            connected = self.pool.take_connection(call.client) => connected,
        };
        drop(withdrawn);
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(failure) => return Some(Err(failure)),
        };
        match connection.send(&email.envelope, &email.message).await {
            Ok(response) => {
                let text = response.message().collect::<Vec<_>>().join("\n");
                self.pool.keep_connection(connection);
                Some(Ok((response.code().into(), text)))
            }
            Err(error) => Some(Err(SmtpFailure::of_message(&error))),
        }
    }
}

fn read_sent(sent: Result<SmtpAnswer, SmtpFailure>, duration: Duration) -> ChannelReply {
    let failure = match sent {
        Ok((code, text)) => {
            let answer = Some(Bytes::from(text.into_bytes()));
            return ChannelReply {
                status: Some(code),
                answer,
                ..ChannelReply::delivered(duration)
            };
        }
        Err(failure) => failure,
    };
    let class = failure.class;
    let outcome = if class == ErrorClass::Rejected {
        ChannelOutcome::Dead { class }
    } else {
        ChannelOutcome::Again { class, after: None }
    };
    let status = failure.code;
    let answer = failure.answer.map(|text| Bytes::from(text.into_bytes()));
    ChannelReply { status, answer, ..ChannelReply::failed(outcome, failure.detail, duration) }
}
