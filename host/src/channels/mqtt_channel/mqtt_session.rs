//! A logged-in connection to an MQTT server, and the messages that wait for their PUBACK.

use super::wire::{
    MqttPacket, MqttVersion, PING, PublishPacket, ServerLimits, take_packet, write_publish,
};
use crate::channels::pipe::{ByteStream, FrameSender, SessionPipe};
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::channels::session::{PendingAnswers, QueueSession};
use crate::model::cloud_events::HEADER_PREFIX;
use crate::model::envelope::RenderedBody;
use bytes::BytesMut;
use percent_encoding::percent_decode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::sync::Semaphore;

/// Most unacknowledged messages of one connection.
const IN_FLIGHT: u16 = 1_000;

/// A logged-in connection.
#[derive(Debug)]
pub struct MqttSession {
    version: MqttVersion,
    limits: ServerLimits,
    next: AtomicU16,
    places: Semaphore,
    answers: Arc<PendingAnswers<u16, u8>>,
    pipe: SessionPipe,
}

impl QueueSession for MqttSession {
    fn is_open(&self) -> bool {
        self.answers.is_open()
    }
}

impl MqttSession {
    /// Opens a session on a logged-in connection.
    pub fn open(
        stream: Box<dyn ByteStream>,
        rest: BytesMut,
        version: MqttVersion,
        limits: ServerLimits,
    ) -> Self {
        let answers = Arc::<PendingAnswers<u16, u8>>::default();
        let reading = Arc::clone(&answers);
        let read = move |bytes: &mut BytesMut, _: &FrameSender| {
            while let Some(packet) = take_packet(bytes, version)? {
                match packet {
                    MqttPacket::Acknowledged { id, reason } => reading.hand_over(&id, reason),
                    MqttPacket::Pong => {}
                    MqttPacket::Disconnected { reason } => {
                        let why = format!("the server ended the connection ({reason:#04x})");
                        return Err(PublishError::refused(why));
                    }
                    MqttPacket::Connected { .. } => {
                        return Err(PublishError::protocol("the server greeted twice"));
                    }
                }
            }
            Ok(())
        };
        let pipe = SessionPipe::open(stream, rest, Arc::clone(&answers), PING, read);
        let places = usize::from(limits.receive_maximum.clamp(1, IN_FLIGHT));
        let places = Semaphore::new(places);
        Self { version, limits, next: AtomicU16::new(0), places, answers, pipe }
    }

    /// Publishes a message and waits for its PUBACK.
    pub async fn publish(
        &self,
        topic: &str,
        delivery_id: &str,
        is_retained: bool,
        body: &RenderedBody,
    ) -> PublishOutcome {
        let Ok(_place) = self.places.acquire().await else {
            return PublishOutcome::TryAgain(PublishError::lost("the session ended"));
        };
        let id = self.free_id();
        let frame = write_publish(&PublishPacket {
            version: self.version,
            topic,
            id,
            is_retained,
            content_type: &body.content_type,
            properties: &user_properties(delivery_id, body),
            payload: &body.body,
        });
        let most = self.limits.packet_size;
        if u32::try_from(frame.len()).is_ok_and(|length| length > most) {
            return PublishOutcome::dead(format!(
                "the message is larger than the server accepts ({most} bytes)"
            ));
        }
        let wait = match self.answers.expect_answer(id) {
            Ok(wait) => wait,
            Err(why) => return PublishOutcome::TryAgain(why),
        };
        // The session ends if the delivery is given up: its packet id must not be used again.
        let answer = self.pipe.send_and_wait(frame, wait, &self.answers).await;
        answer.map_or_else(PublishOutcome::TryAgain, |reason| judge_reason(reason, topic))
    }

    /// Returns a packet id that no message uses. There are 65,535 ids, and at most [`IN_FLIGHT`]
    /// messages wait.
    fn free_id(&self) -> u16 {
        loop {
            let id = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 && !self.answers.is_expected(&id) {
                return id;
            }
        }
    }
}

/// Returns the user properties of a message for MQTT 5. The attributes of CloudEvents in binary
/// mode are among them, under their own names (MQTT binding 1.0.2, section 3.1).
fn user_properties(delivery_id: &str, body: &RenderedBody) -> Vec<(String, String)> {
    let attributes = body.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(HEADER_PREFIX)?.to_owned();
        Some((name, percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned()))
    });
    let id = ("webhook-id".to_owned(), delivery_id.to_owned());
    std::iter::once(id).chain(attributes).collect()
}

/// Judges the reason code of a PUBACK (MQTT 5.0, table 3-4).
fn judge_reason(reason: u8, topic: &str) -> PublishOutcome {
    match reason {
        0x00 => PublishOutcome::delivered("PUBACK"),
        0x10 => PublishOutcome::delivered(
            "PUBACK: the server has the message; the topic has no subscribers",
        ),
        0x87 => PublishOutcome::TryAgain(PublishError::refused(format!(
            "the user may not publish to `{topic}` (0x87)"
        ))),
        0x90 => {
            PublishOutcome::dead(format!("the server does not accept the topic `{topic}` (0x90)"))
        }
        0x99 => PublishOutcome::dead("the server does not accept this payload (0x99)"),
        0x97 => PublishOutcome::TryAgain(PublishError::refused("a quota is used up (0x97)")),
        _ => PublishOutcome::TryAgain(PublishError::refused(format!(
            "the server refused the message ({reason:#04x})"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_puback_decides_the_outcome() {
        for reason in [0, 0x10] {
            assert!(matches!(judge_reason(reason, "t"), PublishOutcome::Delivered { .. }));
        }
        for reason in [0x80, 0x83, 0x87, 0x91, 0x97] {
            assert!(matches!(judge_reason(reason, "t"), PublishOutcome::TryAgain(_)));
        }
        for reason in [0x90, 0x99] {
            assert!(matches!(judge_reason(reason, "t"), PublishOutcome::Dead(_)));
        }
    }
}
