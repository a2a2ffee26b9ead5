//! A queue of AMQP 0-9-1, read by its only consumer.
//!
//! **Order.** The consumer is exclusive: a broker refuses the next one until the connection of the
//! last one is gone, and then gives what was not acknowledged first.

use super::{ANSWER, IDLE, MessageBody, MessageStream, SettledMessage, StreamMessage};
use crate::channels::amqp_channel::amqp_broker::{AmqpBroker, explain_amqp, short_text};
use crate::channels::amqp_channel::body_limit::BodyLimit;
use crate::channels::setting_secret::SettingSecret;
use crate::crypto::digest::ShortDigest;
use crate::model::stream_source::AmqpQueueSettings;
use crate::net::http_client::DeliveryClient;
use crate::sources::RunFailed;
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer, Queue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::time::Duration;
use tokio::time::timeout;

/// How long to wait for further messages of a batch.
const TOGETHER: Duration = Duration::from_millis(5);
/// What a header of CloudEvents does not carry as it is (HTTP binding 1.0.2, section 3.1.3.2).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The consumer of a source. The connection ends with it.
pub struct AmqpQueue {
    _connection: Connection,
    channel: Channel,
    consumer: Consumer,
    queue: ShortString,
    most: usize,
    limit: BodyLimit,
}

impl AmqpQueue {
    /// Connects and begins to consume.
    pub async fn open(
        settings: &AmqpQueueSettings,
        secret: Option<&str>,
        client: &DeliveryClient,
    ) -> Result<Self, RunFailed> {
        let limit = BodyLimit::new(settings.max_bytes);
        let (connection, channel) = connect(settings, secret, client, &limit).await?;
        let queue = short_text(&settings.queue)?;
        let prefetch = u16::try_from(settings.max_unacknowledged).unwrap_or(u16::MAX);
        within(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        find_queue(&channel, &queue).await?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let consuming = channel.basic_consume(
            queue.clone(),
            ShortString::from("waybill"),
            options,
            FieldTable::default(),
        );
        let consumer = within(consuming).await?;
        let most = usize::from(prefetch);
        Ok(Self { _connection: connection, channel, consumer, queue, most, limit })
    }
}

impl MessageStream for AmqpQueue {
    async fn next_batch(&mut self) -> Result<Vec<StreamMessage>, RunFailed> {
        let mut batch = Vec::new();
        let mut wait = IDLE;
        while batch.len() < self.most {
            match timeout(wait, self.consumer.next()).await {
                Ok(Some(Ok(delivery))) => batch.push(read_delivery(delivery, &self.limit)),
                Ok(Some(Err(why))) => return Err(explain_amqp(&why).into()),
                Ok(None) => {
                    return Err(RunFailed::new(
                        "the broker ended the consumer, or the queue is gone",
                    ));
                }
                Err(_) => break,
            }
            wait = TOGETHER;
        }
        Ok(batch)
    }

    async fn settle(&mut self, settled: &[SettledMessage]) -> Result<(), RunFailed> {
        // The broker gives what is rejected to the queue's dead-letter exchange, if there is one.
        for bad in settled.iter().filter(|one| !one.is_taken) {
            let reject = self.channel.basic_reject(bad.tag, BasicRejectOptions { requeue: false });
            within(reject).await?;
        }
        let Some(last) = settled.iter().rev().find(|one| one.is_taken) else { return Ok(()) };
        within(self.channel.basic_ack(last.tag, BasicAckOptions { multiple: true })).await
    }

    async fn count_waiting(&mut self) -> Result<Option<u64>, RunFailed> {
        let queue = find_queue(&self.channel, &self.queue).await?;
        Ok(Some(u64::from(queue.message_count())))
    }

    fn take_warning(&mut self) -> Option<String> {
        None
    }
}

/// Returns the first message of a queue and leaves it there. Fails if something consumes the queue,
/// because the message would lose its place.
pub async fn show_first(
    settings: &AmqpQueueSettings,
    secret: Option<&str>,
    client: &DeliveryClient,
) -> Result<Option<StreamMessage>, RunFailed> {
    let limit = BodyLimit::new(settings.max_bytes);
    let (_connection, channel) = connect(settings, secret, client, &limit).await?;
    let name = short_text(&settings.queue)?;
    let queue = find_queue(&channel, &name).await?;
    if queue.consumer_count() > 0 {
        return Err(RunFailed::new(
            "the queue is being consumed, so its first message cannot be shown without changing the \
             order; pause the source first",
        ));
    }
    let found = within(channel.basic_get(name, BasicGetOptions::default())).await?;
    let Some(found) = found else { return Ok(None) };
    let (tag, message) = (found.delivery.delivery_tag, read_delivery(found.delivery, &limit));
    let back = BasicNackOptions { requeue: true, multiple: false };
    within(channel.basic_nack(tag, back)).await?;
    Ok(Some(message))
}

async fn connect(
    settings: &AmqpQueueSettings,
    secret: Option<&str>,
    client: &DeliveryClient,
    limit: &BodyLimit,
) -> Result<(Connection, Channel), RunFailed> {
    let password =
        secret.ok_or_else(|| RunFailed::new("it has no `secret`: the user's password"))?;
    let place = AmqpBroker::read_place(&settings.url).map_err(RunFailed::new)?;
    let (user, password) = (settings.user.clone(), SettingSecret::new(password));
    Ok(AmqpBroker { place, user, password }.connect(client, Some(limit)).await?)
}

/// Returns how a queue stands. Fails if it is not there.
async fn find_queue(channel: &Channel, name: &ShortString) -> Result<Queue, RunFailed> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    within(channel.queue_declare(name.clone(), options, FieldTable::default())).await
}

async fn within<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, RunFailed> {
    match timeout(ANSWER, asked).await {
        Ok(answered) => answered.map_err(|why| explain_amqp(&why).into()),
        Err(_) => Err(RunFailed::new("the broker did not answer within 10 s")),
    }
}

fn read_delivery(delivery: Delivery, limit: &BodyLimit) -> StreamMessage {
    let Delivery { delivery_tag, routing_key, redelivered, properties, data, .. } = delivery;
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    let id = text(properties.message_id()).filter(|id| !id.is_empty());
    let left_out = limit.take_left_out(delivery_tag);
    // Bodies that are left out differ by their size alone.
    let size = left_out.map(u64::to_be_bytes);
    let content = size.as_ref().map_or(data.as_slice(), |size| size.as_slice());
    let digest = ShortDigest::of([routing_key.as_str().as_bytes(), content]).to_string();
    let named = [
        ("content-type", text(properties.content_type())),
        ("type", text(properties.kind())),
        ("message-id", id.clone()),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let further = properties.headers().iter().flatten();
    let further =
        further.filter_map(|(name, value)| Some(read_header(name.as_str(), header_text(value)?)));
    let seconds = properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok());
    StreamMessage {
        tag: delivery_tag,
        position: id.clone().unwrap_or_else(|| digest.clone()),
        subject: routing_key.to_string(),
        headers: named.chain(further).collect(),
        digest: id.is_none().then_some(digest),
        id,
        published_at: seconds
            .and_then(|seconds| seconds.checked_mul(1_000_000))
            .map(Timestamp::from_micros),
        may_repeat: redelivered,
        body: match left_out {
            Some(bytes) => MessageBody::TooLarge(usize::try_from(bytes).unwrap_or(usize::MAX)),
            None => MessageBody::Whole(Bytes::from(data)),
        },
    }
}

/// Returns a header under the name that HTTP has for it. CloudEvents' attributes are called
/// `cloudEvents:id` or `cloudEvents_id` (AMQP binding 1.0.2, section 3.1.3.1) and are not encoded.
fn read_header(name: &str, value: String) -> (String, String) {
    let attribute = name.strip_prefix("cloudEvents:").or_else(|| name.strip_prefix("cloudEvents_"));
    match attribute {
        Some(attribute) => {
            (format!("ce-{attribute}"), utf8_percent_encode(&value, ENCODED).to_string())
        }
        None => (name.to_owned(), value),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other types are not texts")]
fn header_text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::LongString;

    #[test]
    fn a_delivery_has_its_headers_and_is_known_by_its_id_or_its_digest() {
        let key = ShortString::from("crm.x");
        let bare = || Delivery::mock(7, ShortString::from(""), key.clone(), true, b"{}".to_vec());
        let limit = BodyLimit::new(1_024);
        let message = read_delivery(bare(), &limit);
        assert_eq!((message.tag, message.id.as_deref(), message.may_repeat), (7, None, true));
        assert_eq!(message.digest.as_deref(), Some(message.position.as_str()));
        let mut headers = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(LongString::from(text));
        headers.insert(ShortString::from("cloudEvents:id"), text("5 %\u{e9}"));
        headers.insert(ShortString::from("kind"), text("x"));
        let mut named = bare();
        named.properties = named
            .properties
            .with_message_id(ShortString::from("m1"))
            .with_content_type(ShortString::from("application/json"))
            .with_timestamp(3)
            .with_headers(headers);
        let message = read_delivery(named, &limit);
        assert_eq!((message.id.as_deref(), message.position.as_str()), (Some("m1"), "m1"));
        assert_eq!(message.digest, None);
        assert_eq!(message.published_at, Some(Timestamp::from_micros(3_000_000)));
        let header = |name: &str| {
            let found = message.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("ce-id"), Some("5%20%25%C3%A9"));
        assert_eq!((header("kind"), header("content-type")), (Some("x"), Some("application/json")));
    }
}
