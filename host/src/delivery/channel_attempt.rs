//! Makes attempts through channels of other kinds than `webhook`.

use super::attempt::{
    self, DeliveryParcel, MadeAttempt, MadeExchange, UnsendableReason, finish_attempt,
};
use super::envelope;
use super::exchange_record::{RECEIVER_ID_NOTE, add_note, record_reply_headers};
use super::judge::{AttemptAnswer, RetryRound};
use super::message_parts::MessageParts;
use crate::channels::{ChannelCall, ChannelReply, DeliveryChannel, find_channel};
use crate::json::storable::make_storable;
use crate::model::attributes::SentWith;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::redactor::SecretRedactor;
use crate::net::http_client::{DeliveryClient, MAX_REPLY_BODY};
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::time::timestamp::Timestamp;
use futures_util::future::BoxFuture;

/// Most bytes of a failure's text that are recorded.
const MAX_ERROR: usize = 2 * 1024;

/// Makes one attempt. Returns `None` if `withdrawn` completed before the attempt began.
#[expect(clippy::too_many_arguments, reason = "mirrors the arguments of a webhook's attempt")]
pub async fn make_channel_attempt(
    client: &DeliveryClient,
    target: &EndpointRuntime,
    channel: &dyn DeliveryChannel,
    parcel: DeliveryParcel<'_>,
    round: RetryRound,
    at: Timestamp,
    random: f64,
    withdrawn: BoxFuture<'_, ()>,
) -> Option<MadeAttempt> {
    let id = parcel.id.to_string();
    let sent_with = SentWith::read(parcel.event.attributes.as_deref());
    let map = target.endpoint.settings.field_map.as_ref();
    let rendered = MessageParts::new(map, parcel, &id, &sent_with).map_err(UnsendableReason::from);
    let rendered = rendered.and_then(|parts| {
        let body = render_for(target, &parts.message())?;
        Ok((parts, body))
    });
    let mut reply = match rendered {
        Ok((parts, body)) => {
            let call = ChannelCall {
                client,
                message: parts.message(),
                body,
                number: parcel.number,
                at,
                signed_at: parcel.signed_at,
                timeout: target.timeout,
                permit: parcel.permit.cloned(),
                withdrawn,
            };
            channel.deliver(call).await?
        }
        Err(why) => ChannelReply::unreached(attempt::unsendable(&why)),
    };
    let facts = std::mem::take(&mut reply.emitted);
    let made = recorded(reply, &target.redactor);
    let made = finish_attempt(target, parcel.number, round, at, random, made);
    Some(MadeAttempt { facts, ..made })
}

/// Returns what a first attempt would send. The error says why nothing can be sent.
pub fn preview_channel(
    target: &EndpointRuntime,
    channel: &dyn DeliveryChannel,
    parts: &MessageParts<'_>,
) -> Result<RenderedBody, String> {
    let message = parts.message();
    let body = render_for(target, &message).map_err(|why| why.to_string())?;
    channel.preview(&message, body)
}

/// Renders the envelope, if the endpoint's kind sends one.
fn render_for(
    target: &EndpointRuntime,
    message: &EnvelopeMessage<'_>,
) -> Result<Option<RenderedBody>, UnsendableReason> {
    let settings = &target.endpoint.settings;
    let sends_envelope =
        find_channel(&settings.kind).is_some_and(|kind| kind.description.capabilities.envelope);
    if !sends_envelope {
        return Ok(None);
    }
    Ok(Some(envelope::render_envelope(settings.envelope, message)?))
}

/// Returns a channel's reply as it is recorded: with the endpoint's secrets masked and within
/// bounds. A receiver that does not speak HTTP decides how long its texts are.
fn recorded(reply: ChannelReply, redactor: &SecretRedactor) -> MadeExchange {
    let request: serde_json::Map<String, serde_json::Value> = reply
        .request
        .into_iter()
        .map(|(name, value)| (name.into_owned(), redactor.text(&make_storable(value)).into()))
        .collect();
    let headers = reply.headers.map(|mut headers| {
        redactor.mask_headers(&mut headers);
        record_reply_headers(&headers)
    });
    let headers = match reply.receiver_id {
        None => headers,
        Some(id) => {
            let headers = headers.unwrap_or_else(|| "{}".to_owned());
            Some(add_note(headers, RECEIVER_ID_NOTE, &redactor.text(&make_storable(id))))
        }
    };
    MadeExchange {
        answer: AttemptAnswer::Channel(reply.outcome),
        duration: reply.duration,
        status: reply.status,
        error: reply.error.map(|text| record_error(&text, redactor)),
        request_headers: serde_json::Value::Object(request).to_string(),
        response_headers: headers,
        response_body: reply.answer.map(|mut body| {
            let truncated = reply.truncated || body.len() > MAX_REPLY_BODY;
            body.truncate(MAX_REPLY_BODY);
            redactor.body(body, truncated)
        }),
    }
}

/// Returns the beginning of a failure's text. The secrets are masked first, so none is cut in two.
fn record_error(text: &str, redactor: &SecretRedactor) -> String {
    let mut text = make_storable(redactor.text(text).into_owned());
    text.truncate(text.floor_char_boundary(MAX_ERROR));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::ChannelOutcome;
    use bytes::Bytes;
    use std::time::Duration;

    #[test]
    fn long_texts_of_a_receiver_are_cut_before_they_are_recorded() {
        let redactor = SecretRedactor::new(["s3cret-value".to_owned()]);
        let answer = format!("{}s3cret-value", "a".repeat(MAX_REPLY_BODY - 7));
        let reply = ChannelReply {
            outcome: ChannelOutcome::Delivered,
            error: Some(format!("a{}", "ü".repeat(MAX_ERROR))),
            answer: Some(Bytes::from(answer)),
            ..ChannelReply::delivered(Duration::ZERO)
        };
        let made = recorded(reply, &redactor);
        let error = made.error.unwrap();
        assert_eq!((error.len(), error.ends_with('ü')), (MAX_ERROR - 1, true));
        let body = made.response_body.unwrap();
        assert_eq!(body.len(), MAX_REPLY_BODY - 7 + 3);
        assert!(body.ends_with(b"a***"), "the beginning of the secret is masked");
    }
}
