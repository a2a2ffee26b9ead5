//! Makes attempts through channels of other kinds than `webhook`.

use super::attempt::{
    self, DeliveryParcel, MadeAttempt, MadeExchange, UnsendableReason, finish_attempt,
};
use super::envelope;
use super::exchange_record::record_reply_headers;
use super::judge::{AttemptAnswer, RetryRound};
use super::message_parts::MessageParts;
use crate::channels::{ChannelCall, ChannelReply, DeliveryChannel, find_channel};
use crate::json::storable::make_storable;
use crate::model::attributes::SentWith;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::net::http_client::DeliveryClient;
use crate::settings::endpoint_runtime::EndpointRuntime;
use crate::time::timestamp::Timestamp;
use futures_util::future::BoxFuture;

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
    let reply = match rendered {
        Ok((parts, body)) => {
            let call = ChannelCall {
                client,
                message: parts.message(),
                body,
                number: parcel.number,
                at,
                timeout: target.timeout,
                withdrawn,
            };
            channel.deliver(call).await?
        }
        Err(why) => ChannelReply::unreached(attempt::unsendable(&why)),
    };
    Some(finish_attempt(target, parcel.number, round, at, random, recorded(reply, target)))
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

/// Returns a channel's reply as it is recorded, with the endpoint's secrets masked.
fn recorded(reply: ChannelReply, target: &EndpointRuntime) -> MadeExchange {
    let redactor = &target.redactor;
    let request: serde_json::Map<String, serde_json::Value> = reply
        .request
        .into_iter()
        .map(|(name, value)| (name.to_owned(), redactor.text(&make_storable(value)).into()))
        .collect();
    let headers = reply.headers.map(|mut headers| {
        redactor.mask_headers(&mut headers);
        record_reply_headers(&headers)
    });
    MadeExchange {
        answer: AttemptAnswer::Channel(reply.outcome),
        duration: reply.duration,
        status: reply.status,
        error: reply.error.map(|text| make_storable(redactor.text(&text).into_owned())),
        request_headers: serde_json::Value::Object(request).to_string(),
        response_headers: headers,
        response_body: reply.answer.map(|body| redactor.body(body, reply.truncated)),
    }
}
