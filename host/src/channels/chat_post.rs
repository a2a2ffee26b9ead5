//! The shared part of the chat kinds: one `POST` of JSON to an incoming webhook.

use super::channel_kind::EndpointChannel;
use super::delivery_channel::{ChannelCall, ChannelOutcome, ChannelReply, DeliveryChannel};
use super::event_digest::{DigestTexts, EventDigest, check_templates};
use crate::expression::text_template::CUT_MARK;
use crate::model::envelope::{EnvelopeMessage, JSON, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{ClientReply, ClientRequest};
use crate::net::retry_after::retry_after;
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// The settings of an endpoint of a chat kind, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatSettings {
    /// The heading. Fields of the event are written in braces: `Invoice {data.number} is paid`. If
    /// left out, the event type and the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 16_384)]
    pub title: Option<String>,
    /// A text below the heading, with fields of the event in braces. If left out, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 16_384)]
    pub text: Option<String>,
    /// Whether to list the first ten fields of the data that are texts, numbers or booleans.
    #[serde(default = "crate::model::endpoint::yes")]
    #[schema(default = true)]
    pub facts: bool,
}

impl ChatSettings {
    /// Returns the faults of the heading and of the text.
    pub fn check_texts(&self) -> Vec<InputFault> {
        check_templates(&[("title", self.title.as_deref()), ("text", self.text.as_deref())])
    }
}

/// An incoming webhook of a chat.
#[derive(Debug)]
pub struct ChatChannel<V> {
    uri: Uri,
    texts: DigestTexts,
    /// Writes messages in the chat's format.
    writer: V,
}

/// Writes events in the format of one chat.
pub trait ChatWriter: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the body of the request, within the chat's size limits.
    fn write_message(&self, digest: &EventDigest) -> Value;
}

impl<V: ChatWriter> ChatChannel<V> {
    /// Opens the channel of an endpoint. The error says which text cannot be read.
    pub fn open(uri: Uri, settings: &ChatSettings, writer: V) -> Result<EndpointChannel, String> {
        let ChatSettings { title, text, facts } = settings;
        let texts = DigestTexts::read(title.as_deref(), text.as_deref(), *facts)?;
        Ok(EndpointChannel::Other(Arc::new(Self { uri, texts, writer })))
    }

    fn write_body(&self, message: &EnvelopeMessage<'_>) -> Vec<u8> {
        let digest = EventDigest::new(&self.texts, message);
        self.writer.write_message(&digest).to_string().into_bytes()
    }
}

impl<V: ChatWriter> DeliveryChannel for ChatChannel<V> {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(async move {
            let body = self.write_body(&call.message);
            let shown =
                vec![("content-type", JSON.to_owned()), ("content-length", body.len().to_string())];
            let request = post(self.uri.clone(), body);
            let reply = call.client.send(request, call.timeout, call.withdrawn).await?;
            let reply = match reply {
                Ok(reply) => read_reply(reply, call.at),
                Err(error) => ChannelReply::unreached(error),
            };
            Some(reply.with_request(shown))
        })
    }

    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        _body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        Ok(RenderedBody::json(self.write_body(message)))
    }
}

fn post(uri: Uri, body: Vec<u8>) -> ClientRequest {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    let agent = concat!("Waybill/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    ClientRequest::post(uri, headers, Bytes::from(body))
}

fn read_reply(reply: ClientReply, at: Timestamp) -> ChannelReply {
    let outcome = judge_status(reply.status, &reply.headers, at.after(reply.duration));
    let failed = outcome != ChannelOutcome::Delivered;
    ChannelReply {
        outcome,
        status: Some(reply.status.as_u16()),
        headers: Some(reply.headers),
        answer: Some(reply.body),
        truncated: reply.truncated,
        error: failed.then(|| format!("answered {}", reply.status)),
        ..ChannelReply::delivered(reply.duration)
    }
}

/// Judges the status of a chat's answer. A message that the chat cannot read is dead. An archived
/// channel or a revoked token is retried, because the operator can correct it before the schedule
/// ends.
fn judge_status(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> ChannelOutcome {
    let Some(class) = ErrorClass::of_status(status) else { return ChannelOutcome::Delivered };
    let asked = retry_after(headers, now);
    match status {
        StatusCode::TOO_MANY_REQUESTS => ChannelOutcome::HeldBack { class, asked },
        StatusCode::SERVICE_UNAVAILABLE if asked.is_some() => {
            ChannelOutcome::HeldBack { class, asked }
        }
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => ChannelOutcome::Dead { class: ErrorClass::Rejected },
        _ => ChannelOutcome::Again { class, after: asked },
    }
}

/// Escapes a text and cuts it to at most `most` UTF-16 units, with a mark at the end if it was cut.
/// Vendors count characters in different ways, and no count exceeds the number of UTF-16 units.
pub fn cut_escaped(text: &str, most: usize, escape: impl Fn(char, &mut String)) -> String {
    let (mut cut, mut used) = (String::new(), 0);
    let (mut fitting, mut piece) = (0, String::new());
    for character in text.chars() {
        // JSON needs six bytes for any other control character, and nobody can read it.
        let is_break = character == '\n';
        let character = if character.is_control() && !is_break { ' ' } else { character };
        piece.clear();
        escape(character, &mut piece);
        used += piece.encode_utf16().count();
        if used > most {
            cut.truncate(fitting);
            cut.push(CUT_MARK);
            return cut;
        }
        cut.push_str(&piece);
        // The mark needs one unit.
        if used < most {
            fitting = cut.len();
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_a_chat_has_its_outcome() {
        let class = ErrorClass::Rejected;
        let judge = |code, headers: &HeaderMap| {
            judge_status(StatusCode::from_u16(code).unwrap(), headers, Timestamp::default())
        };
        let none = HeaderMap::new();
        assert_eq!(judge(204, &none), ChannelOutcome::Delivered);
        assert_eq!(judge(202, &none), ChannelOutcome::Delivered);
        assert_eq!(judge(400, &none), ChannelOutcome::Dead { class });
        assert_eq!(judge(413, &none), ChannelOutcome::Dead { class });
        assert!(matches!(judge(404, &none), ChannelOutcome::Again { .. }));
        assert!(matches!(judge(500, &none), ChannelOutcome::Again { .. }));
        assert!(matches!(judge(503, &none), ChannelOutcome::Again { .. }));
        let mut asking = HeaderMap::new();
        asking.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let asked = Some(std::time::Duration::from_secs(7));
        for code in [429, 503] {
            let ChannelOutcome::HeldBack { asked: found, .. } = judge(code, &asking) else {
                panic!("{code}");
            };
            assert_eq!(found, asked);
        }
    }

    #[test]
    fn a_text_is_cut_before_an_escape_and_not_inside_it() {
        let escape = |character: char, out: &mut String| {
            if character == '*' {
                out.push('\\');
            }
            out.push(character);
        };
        for (text, most, cut) in [
            ("ab*c", 5, "ab\\*c"),
            ("ab*c", 4, "ab…"),
            ("abcd", 4, "abcd"),
            ("abcde", 4, "abc…"),
            ("😀😀", 4, "😀😀"),
            ("😀😀", 3, "😀…"),
            ("", 4, ""),
        ] {
            assert_eq!(cut_escaped(text, most, escape), cut, "{text} {most}");
        }
    }
}
