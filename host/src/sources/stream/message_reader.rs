//! Reading a message as events, or as a dead letter.

use super::{MessageBody, StreamMessage};
use crate::ingest::event_body::BodyError;
use crate::ingest::incoming::IncomingEvent;
use crate::ingest::message_body::{ReceivedMessage, read_message};
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::fault::InputFault;
use crate::model::message_mapping::MessageMapping;
use crate::model::source::SourceSettings;
use crate::sources::run::EVENTS;

/// How the messages of a source are read.
#[derive(Debug, Clone, Copy)]
pub struct MessageReader<'a> {
    /// The stream or queue, as dead letters name it.
    pub list: &'a str,
    mapping: Option<&'a MessageMapping>,
    max_bytes: u32,
    /// Most messages without an acknowledgement.
    pub unacknowledged: u32,
}

impl<'a> MessageReader<'a> {
    /// Returns the reader of a source of these kinds.
    pub fn of(settings: &'a SourceSettings) -> Option<Self> {
        if let Some(nats) = &settings.nats {
            let (list, mapping) = (nats.stream.as_str(), nats.event.as_ref());
            let (max_bytes, unacknowledged) = (nats.max_bytes, nats.max_unacknowledged);
            return Some(Self { list, mapping, max_bytes, unacknowledged });
        }
        let amqp = settings.amqp.as_ref()?;
        let (list, mapping) = (amqp.queue.as_str(), amqp.event.as_ref());
        let (max_bytes, unacknowledged) = (amqp.max_bytes, amqp.max_unacknowledged);
        Some(Self { list, mapping, max_bytes, unacknowledged })
    }

    /// Reads the events of a message.
    pub fn read(self, source: &str, message: &StreamMessage) -> Result<Vec<IncomingEvent>, BadRow> {
        let most = usize::try_from(self.max_bytes).unwrap_or(usize::MAX);
        let body = match &message.body {
            MessageBody::Whole(body) if body.len() <= most => body,
            MessageBody::Whole(_) | MessageBody::TooLarge(_) => {
                let bytes = match &message.body {
                    MessageBody::Whole(body) => body.len(),
                    MessageBody::TooLarge(bytes) => *bytes,
                };
                let why = format!("it has {bytes} bytes, and `max_bytes` is {most}");
                return Err(set_aside(message, BadRowReason::Invalid, &why));
            }
        };
        let received = ReceivedMessage {
            source,
            subject: &message.subject,
            headers: &message.headers,
            body,
            id: message.id.as_deref(),
            max_events: EVENTS,
        };
        read_message(received, self.mapping).map_err(|why| {
            let (reason, why) = explain_body(why);
            set_aside(message, reason, &why)
        })
    }
}

/// Returns the dead letter of a message.
pub fn set_aside(message: &StreamMessage, reason: BadRowReason, why: &str) -> BadRow {
    let detail = format!("message of `{}`: {why}", message.subject);
    BadRow { row_at: message.published_at, ..BadRow::new(&message.position, reason, &detail) }
}

fn explain_body(why: BodyError) -> (BadRowReason, String) {
    match why {
        BodyError::Malformed(why) => (BadRowReason::Unreadable, format!("it is not JSON: {why}")),
        BodyError::MediaType(why) => (BadRowReason::Unreadable, why),
        BodyError::Invalid(faults) => {
            let faults = faults.into_iter().take(3).map(|InputFault { path, message }| {
                if path.is_empty() { message } else { format!("{path}: {message}") }
            });
            (BadRowReason::Invalid, faults.collect::<Vec<String>>().join("; "))
        }
        BodyError::Loop(hops) => {
            let why = format!("its event was delivered and captured again {hops} times: a loop");
            (BadRowReason::Invalid, why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::json;

    fn message(body: MessageBody) -> StreamMessage {
        StreamMessage {
            tag: 1,
            position: "17".to_owned(),
            subject: "crm.x".to_owned(),
            headers: Vec::new(),
            id: Some("m1".to_owned()),
            published_at: None,
            digest: None,
            may_repeat: false,
            body,
        }
    }

    #[test]
    fn a_message_is_an_event_or_a_dead_letter() {
        let settings = json!({"name": "s", "kind": "amqp", "amqp": {
            "url": "amqp://h", "queue": "q", "user": "u", "max_bytes": 1024,
        }});
        let settings: SourceSettings = serde_json::from_value(settings).unwrap();
        let reader = MessageReader::of(&settings).unwrap();
        let read = |body: &str| {
            let body = MessageBody::Whole(Bytes::copy_from_slice(body.as_bytes()));
            reader.read("s", &message(body))
        };
        let events = read(r#"{"type":"a.b","data":{"id":1}}"#).unwrap();
        assert_eq!((events.len(), events[0].id.as_deref()), (1, Some("m1")));
        let bad = |body: &str| read(body).unwrap_err();
        assert_eq!(bad("hello").reason, BadRowReason::Unreadable);
        assert_eq!(bad(r#"{"type":"ab","data":1}"#).reason, BadRowReason::Invalid);
        assert_eq!(bad("[]").row_id, "17");
        let long = format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(1_024));
        assert!(bad(&long).detail.contains("`max_bytes` is 1024"));
        let large = reader.read("s", &message(MessageBody::TooLarge(5_000))).unwrap_err();
        assert!(large.detail.contains("it has 5000 bytes"), "{large:?}");
    }
}
