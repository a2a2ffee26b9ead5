//! A stream of NATS JetStream, read by a durable pull consumer.
//!
//! **Order.** The server gives the messages that a dead process left without an acknowledgement only
//! after their time, and newer ones before them. So a run first asks how many there are, and holds
//! newer messages back until those are there; the consumer's bound on messages without an
//! acknowledgement bounds what is held. From then on every batch is acknowledged before the next
//! one is asked for.

use super::nats_consumer::{FoundConsumer, find_newest, prepare_consumer};
use super::stream_memory::StreamMemory;
use super::{ANSWER, IDLE, MessageBody, MessageStream, SettledMessage, StreamMessage};
use crate::channels::nats_channel::nats_line::NatsLine;
use crate::channels::nats_channel::nats_login::NatsLogin;
use crate::channels::nats_channel::nkey::NatsCredentials;
use crate::channels::nats_channel::wire::{ServerMessage, read_headers};
use crate::channels::setting_secret::SettingSecret;
use crate::model::stream_source::{NatsLoginKind, NatsStreamSettings};
use crate::net::http_client::DeliveryClient;
use crate::sources::RunFailed;
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Bytes for the headers of a message, and for answers of the API.
const HEAD_ROOM: usize = 64 * 1024;
/// How long one request waits while messages of an earlier run have still to come, and how long to
/// wait when the server hands out nothing until messages are acknowledged.
const LEFTOVER: Duration = Duration::from_secs(1);
/// What ends a message that is captured, and one that is set aside (docs.nats.io, "Acknowledging
/// Messages").
const TAKEN: &str = "+ACK";
const SET_ASIDE: &str = "+TERM";

/// The consumer of a source.
pub struct NatsStream {
    line: NatsLine,
    /// Where messages are asked for.
    next_subject: String,
    unacknowledged: u32,
    waiting: u64,
    leftovers: Option<LeftoverMessages>,
    /// Messages that were taken and are not handed to the run yet, by sequence.
    held: BTreeMap<u64, StreamMessage>,
    /// Where the acknowledgement of each message goes that is not settled.
    replies: BTreeMap<u64, String>,
    warning: Option<String>,
}

/// Messages that an earlier run took and did not acknowledge.
#[derive(Debug, Clone, Copy)]
struct LeftoverMessages {
    count: usize,
    /// None of them has a greater sequence.
    up_to: u64,
    /// Until when they are waited for.
    until: Instant,
}

impl LeftoverMessages {
    fn of(found: FoundConsumer) -> Option<Self> {
        let until = Instant::now() + found.ack_wait.saturating_mul(2) + IDLE;
        let leftovers = Self { count: found.unacknowledged, up_to: found.delivered, until };
        (found.unacknowledged > 0).then_some(leftovers)
    }
}

impl NatsStream {
    /// Connects and prepares the consumer.
    pub async fn open(
        settings: &NatsStreamSettings,
        secret: Option<&str>,
        client: &DeliveryClient,
        memory: &mut StreamMemory,
    ) -> Result<Self, RunFailed> {
        let mut line = open_line(settings, secret, client, message_limit(settings)).await?;
        let found = prepare_consumer(&mut line, settings, memory).await?;
        let NatsStreamSettings { stream, consumer, .. } = settings;
        Ok(Self {
            line,
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            unacknowledged: settings.max_unacknowledged,
            waiting: found.waiting,
            leftovers: LeftoverMessages::of(found),
            held: BTreeMap::new(),
            replies: BTreeMap::new(),
            warning: None,
        })
    }

    /// Takes what is there, and waits a while for the first message if there is none.
    async fn pull(&mut self) -> Result<(), RunFailed> {
        let subject = self.next_subject.clone();
        let most = self.unacknowledged;
        let mut pulled = if self.leftovers.is_some() {
            // A server may answer a request without a time only once messages are acknowledged.
            self.line.pull(&subject, most, Some(LEFTOVER), ANSWER).await?
        } else {
            self.line.pull(&subject, most, None, ANSWER).await?
        };
        if pulled.messages.is_empty() && !pulled.is_full && self.leftovers.is_none() {
            self.waiting = 0;
            pulled = self.line.pull(&subject, 1, Some(IDLE), ANSWER).await?;
        }
        if pulled.messages.is_empty() && pulled.is_full {
            sleep(LEFTOVER).await;
        }
        for message in pulled.messages {
            self.hold(message)?;
        }
        Ok(())
    }

    fn hold(&mut self, message: ServerMessage) -> Result<(), RunFailed> {
        let reply = message.reply.clone().unwrap_or_default();
        let origin = MessageOrigin::read(&reply).ok_or_else(|| {
            RunFailed::new(format!("a message of `{}` is not of JetStream", message.subject))
        })?;
        self.waiting = origin.waiting;
        self.replies.insert(origin.sequence, reply);
        self.held.insert(origin.sequence, read_stream_message(message, &origin));
        Ok(())
    }

    /// Whether messages of an earlier run have still to come.
    fn must_wait(&mut self) -> bool {
        let Some(leftovers) = self.leftovers else { return false };
        let here = self.held.range(..=leftovers.up_to).count();
        if here < leftovers.count && Instant::now() < leftovers.until {
            return true;
        }
        if here < leftovers.count {
            self.warning = Some(format!(
                "{} messages that an earlier run had taken did not come again in time; if they come \
                 later, they are captured after newer ones",
                leftovers.count - here
            ));
        }
        self.leftovers = None;
        false
    }
}

impl MessageStream for NatsStream {
    async fn next_batch(&mut self) -> Result<Vec<StreamMessage>, RunFailed> {
        self.pull().await?;
        if self.must_wait() {
            return Ok(Vec::new());
        }
        Ok(std::mem::take(&mut self.held).into_values().collect())
    }

    async fn settle(&mut self, settled: &[SettledMessage]) -> Result<(), RunFailed> {
        let mut replies = Vec::with_capacity(settled.len());
        for one in settled {
            if let Some(reply) = self.replies.remove(&one.tag) {
                replies.push((reply, if one.is_taken { TAKEN } else { SET_ASIDE }));
            }
        }
        let answers: Vec<(&str, &str)> =
            replies.iter().map(|(reply, word)| (reply.as_str(), *word)).collect();
        Ok(self.line.answer(&answers, ANSWER).await?)
    }

    async fn count_waiting(&mut self) -> Result<Option<u64>, RunFailed> {
        let held = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        Ok(Some(self.waiting.saturating_add(held)))
    }

    fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }
}

/// Returns the newest message of a stream, and changes nothing.
pub async fn show_newest(
    settings: &NatsStreamSettings,
    secret: Option<&str>,
    client: &DeliveryClient,
) -> Result<Option<StreamMessage>, RunFailed> {
    // The answer holds the message in base64, which is a third longer.
    let most = message_limit(settings).saturating_mul(2);
    let mut line = open_line(settings, secret, client, most).await?;
    let Some(found) = find_newest(&mut line, settings).await? else { return Ok(None) };
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
    let decode = |name: &str| {
        let decoded = BASE64_STANDARD.decode(text(name));
        decoded.map(Bytes::from).map_err(|_opaque| RunFailed::new("the message is not in base64"))
    };
    let published_at = Timestamp::parse(text("time")).ok();
    let origin = MessageOrigin {
        stream: settings.stream.clone(),
        sequence: found.get("seq").and_then(Value::as_u64).unwrap_or_default(),
        number: 0,
        published_at: published_at.unwrap_or_default(),
        waiting: 0,
    };
    let message = ServerMessage {
        subject: text("subject").to_owned(),
        reply: None,
        head: decode("hdrs")?,
        payload: decode("data")?,
        left_out: 0,
    };
    Ok(Some(read_stream_message(message, &origin)))
}

async fn open_line(
    settings: &NatsStreamSettings,
    secret: Option<&str>,
    client: &DeliveryClient,
    max_message: usize,
) -> Result<NatsLine, RunFailed> {
    Ok(NatsLine::open(&read_login(settings, secret)?, client, max_message).await?)
}

/// Returns the most bytes of a message that are kept: its body and its headers.
fn message_limit(settings: &NatsStreamSettings) -> usize {
    let most = usize::try_from(settings.max_bytes).unwrap_or(usize::MAX);
    most.saturating_add(HEAD_ROOM)
}

fn read_login(settings: &NatsStreamSettings, secret: Option<&str>) -> Result<NatsLogin, RunFailed> {
    let place = NatsLogin::read_place(&settings.url).map_err(RunFailed::new)?;
    let missing = || RunFailed::new("its login needs a `secret`, and there is none");
    let none = NatsLogin { place, user: None, token: None, credentials: None };
    Ok(match settings.login {
        NatsLoginKind::Token => NatsLogin { token: secret.map(SettingSecret::new), ..none },
        NatsLoginKind::Password => {
            let password = SettingSecret::new(secret.ok_or_else(missing)?);
            let user = settings.user.clone().unwrap_or_default();
            NatsLogin { user: Some((user, password)), ..none }
        }
        NatsLoginKind::Key => {
            let key = NatsCredentials::read(secret.ok_or_else(missing)?).map_err(RunFailed::new)?;
            NatsLogin { credentials: Some(key), ..none }
        }
    })
}

/// Where a message stands in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageOrigin {
    stream: String,
    pub sequence: u64,
    /// The number of the message among those that its consumer handed out.
    pub number: u64,
    pub published_at: Timestamp,
    /// Messages behind it that were not handed out yet.
    pub waiting: u64,
}

impl MessageOrigin {
    /// Reads
    /// `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<nanoseconds>.<waiting>`, or
    /// the longer form, which has a domain and an account before the stream and a token at the end
    /// (nats-architecture-and-design, ADR-15).
    pub fn read(reply: &str) -> Option<Self> {
        let words: Vec<&str> = reply.split('.').collect();
        if words.get(..2)? != ["$JS", "ACK"] {
            return None;
        }
        let begin = if words.len() >= 11 { 4 } else { 2 };
        let number = |n: usize| words.get(begin + n)?.parse::<u64>().ok();
        let micros = i64::try_from(number(5)? / 1_000).ok()?;
        Some(Self {
            stream: (*words.get(begin)?).to_owned(),
            sequence: number(3)?,
            number: number(4)?,
            published_at: Timestamp::from_micros(micros),
            waiting: number(6)?,
        })
    }
}

fn read_stream_message(message: ServerMessage, origin: &MessageOrigin) -> StreamMessage {
    let headers = read_headers(&message.head);
    let named = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Nats-Msg-Id"));
    // A stream that is made anew counts from 1 again, so the time is part of the id.
    let MessageOrigin { stream, sequence, published_at, .. } = origin;
    let of_position = || format!("{stream}-{sequence}-{}", published_at.micros());
    let id = named.map(|(_, id)| id.clone()).filter(|id| !id.is_empty());
    let body = match message.left_out {
        0 => MessageBody::Whole(message.payload),
        bytes => MessageBody::TooLarge(bytes),
    };
    StreamMessage {
        tag: *sequence,
        position: sequence.to_string(),
        subject: message.subject,
        id: Some(id.unwrap_or_else(of_position)),
        headers,
        published_at: Some(*published_at),
        digest: None,
        may_repeat: false,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_kept_that_is_larger_than_its_bound() {
        let settings =
            serde_json::json!({"url": "nats://h", "stream": "CRM", "max_bytes": 8_388_608});
        let settings: NatsStreamSettings = serde_json::from_value(settings).unwrap();
        assert_eq!(message_limit(&settings), 8_388_608 + HEAD_ROOM);
    }

    #[test]
    fn a_reply_tells_where_a_message_stands() {
        let expected = MessageOrigin {
            stream: "CRM".to_owned(),
            sequence: 17,
            number: 9,
            published_at: Timestamp::from_micros(1_764_000_000_123_456),
            waiting: 42,
        };
        let short = "$JS.ACK.CRM.waybill.1.17.9.1764000000123456789.42";
        let long = "$JS.ACK._.acc.CRM.waybill.1.17.9.1764000000123456789.42.x";
        for reply in [short, long] {
            assert_eq!(MessageOrigin::read(reply).as_ref(), Some(&expected), "{reply}");
        }
        for reply in ["", "crm.reply", "$JS.ACK.CRM.waybill.1.x.9.1.2"] {
            assert_eq!(MessageOrigin::read(reply), None, "{reply}");
        }
    }

    #[test]
    fn a_message_is_known_by_its_id_or_its_position() {
        let origin = MessageOrigin {
            stream: "CRM".to_owned(),
            sequence: 17,
            number: 1,
            published_at: Timestamp::from_micros(5),
            waiting: 0,
        };
        let message = |head: &'static [u8], left_out| ServerMessage {
            subject: "crm.x".to_owned(),
            reply: None,
            head: Bytes::from_static(head),
            payload: Bytes::new(),
            left_out,
        };
        let named = message(b"NATS/1.0\r\nnats-msg-id: m1\r\n\r\n", 0);
        assert_eq!(read_stream_message(named, &origin).id.as_deref(), Some("m1"));
        let bare = read_stream_message(message(b"", 9), &origin);
        assert_eq!(bare.id.as_deref(), Some("CRM-17-5"));
        assert!(matches!(bare.body, MessageBody::TooLarge(9)));
    }
}
