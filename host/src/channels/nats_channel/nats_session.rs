//! A logged-in connection to NATS, and the messages that wait for the answers of their streams.

use super::nats_login::NatsConnection;
use super::wire::{OversizePolicy, ServerFrame, take_frame, write_publish};
use crate::channels::pipe::{FrameSender, SessionPipe};
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::channels::session::{PendingAnswer, PendingAnswers, QueueSession};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The error code of a message that is larger than the stream accepts (nats-server, `errors.json`).
const TOO_LARGE: i64 = 10_054;

/// An answer on a delivery's own answer subject.
#[derive(Debug)]
enum NatsAnswer {
    /// The answer of a stream.
    Stream(Bytes),
    /// No stream or subscriber listens on the subject.
    NoResponders,
    /// The user may not publish to the subject.
    Forbidden(String),
}

/// A logged-in connection.
#[derive(Debug)]
pub struct NatsSession {
    inbox: String,
    max_payload: usize,
    next: AtomicU64,
    waits: Arc<NatsWaits>,
    pipe: SessionPipe,
}

/// The messages that wait for their answers, by number.
#[derive(Debug, Default)]
struct NatsWaits {
    answers: Arc<PendingAnswers<u64, NatsAnswer>>,
    /// The subjects of the waiting messages, because a refusal names only the subject.
    subjects: Mutex<Vec<(u64, String)>>,
}

impl QueueSession for NatsSession {
    fn is_open(&self) -> bool {
        self.waits.answers.is_open()
    }
}

impl NatsSession {
    /// Opens a session on a logged-in connection.
    pub fn open(connection: NatsConnection) -> Self {
        let NatsConnection { stream, bytes: rest, inbox, max_payload } = connection;
        let waits = Arc::new(NatsWaits::default());
        let (reading, prefix) = (Arc::clone(&waits), format!("{inbox}."));
        let read = move |bytes: &mut BytesMut, frames: &FrameSender| {
            while let Some(frame) = take_frame(bytes, OversizePolicy::Refuse)? {
                reading.take(frame, &prefix, frames)?;
            }
            Ok(())
        };
        let pipe = SessionPipe::open(stream, rest, Arc::clone(&waits.answers), b"PING\r\n", read);
        Self { inbox, max_payload, next: AtomicU64::new(1), waits, pipe }
    }

    /// Publishes a message and waits until its stream acknowledges it.
    pub async fn publish(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> PublishOutcome {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = write_publish(subject, &format!("{}.{number}", self.inbox), headers, body);
        let most = self.max_payload;
        if most > 0 && frame.counted > most {
            let why = format!("headers and body are larger than the server accepts ({most} bytes)");
            return PublishOutcome::dead(why);
        }
        let wait = match self.waits.expect_answer(number, subject) {
            Ok(wait) => wait,
            Err(why) => return PublishOutcome::TryAgain(why),
        };
        let answer = self.pipe.send_and_wait(frame.bytes, wait, &self.waits.answers).await;
        self.waits.forget(number);
        answer.map_or_else(PublishOutcome::TryAgain, |answer| judge_answer(answer, subject))
    }
}

impl NatsWaits {
    fn expect_answer(
        &self,
        number: u64,
        subject: &str,
    ) -> Result<PendingAnswer<NatsAnswer>, PublishError> {
        let wait = self.answers.expect_answer(number)?;
        self.lock_subjects().push((number, subject.to_owned()));
        Ok(wait)
    }

    fn forget(&self, number: u64) {
        self.answers.forget(&number);
        self.lock_subjects().retain(|(other, _)| *other != number);
    }

    fn lock_subjects(&self) -> MutexGuard<'_, Vec<(u64, String)>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles a frame of the server. An error ends the session.
    fn take(
        &self,
        frame: ServerFrame,
        prefix: &str,
        frames: &FrameSender,
    ) -> Result<(), PublishError> {
        match frame {
            ServerFrame::Ping => frames.offer(b"PONG\r\n"),
            ServerFrame::Pong | ServerFrame::Info(_) => {}
            ServerFrame::Message(message) => {
                let number = message.subject.strip_prefix(prefix);
                let number = number.and_then(|number| number.parse().ok());
                let answer = match message.status() {
                    Some(503) => NatsAnswer::NoResponders,
                    Some(_) | None => NatsAnswer::Stream(message.payload),
                };
                if let Some(number) = number {
                    self.answers.hand_over(&number, answer);
                }
            }
            ServerFrame::Refusal(why) => return self.take_refusal(why),
        }
        Ok(())
    }

    /// Handles a refusal. `Permissions Violation for Publish to "crm.x"` ends only the deliveries
    /// to that subject, because the server keeps the connection open.
    fn take_refusal(&self, why: String) -> Result<(), PublishError> {
        let Some(subject) = why.split('"').nth(1).filter(|_| why.contains("for Publish to")) else {
            return Err(PublishError::refused(why));
        };
        let is_meant = |wait: &&(u64, String)| wait.1 == subject;
        let meant: Vec<u64> =
            self.lock_subjects().iter().filter(is_meant).map(|wait| wait.0).collect();
        for number in meant {
            self.answers.hand_over(&number, NatsAnswer::Forbidden(why.clone()));
        }
        Ok(())
    }
}

/// Judges an answer of JetStream (docs.nats.io, "JetStream wire API reference").
fn judge_answer(answer: NatsAnswer, subject: &str) -> PublishOutcome {
    let payload = match answer {
        NatsAnswer::Stream(payload) => payload,
        NatsAnswer::NoResponders => {
            let why = format!(
                "no stream takes messages for `{subject}`; create one, or correct `subject`"
            );
            return PublishOutcome::TryAgain(PublishError::refused(why));
        }
        NatsAnswer::Forbidden(why) => return PublishOutcome::TryAgain(PublishError::refused(why)),
    };
    let text = String::from_utf8_lossy(&payload).into_owned();
    let Ok(said) = serde_json::from_str::<Value>(&text) else {
        let why = format!("the answer on `{subject}` is not from a stream of JetStream");
        return PublishOutcome::TryAgain(PublishError::protocol(why));
    };
    if let Some(error) = said.get("error") {
        let what = error.get("description").and_then(Value::as_str).unwrap_or("it refused");
        let why = format!("the stream refused the message: {what}");
        let is_final = error.get("err_code").and_then(Value::as_i64) == Some(TOO_LARGE);
        return if is_final {
            PublishOutcome::dead(why)
        } else {
            PublishOutcome::TryAgain(PublishError::refused(why))
        };
    }
    if said.get("seq").is_some_and(Value::is_u64) {
        return PublishOutcome::delivered(text);
    }
    let why = format!("the answer on `{subject}` is not an acknowledgement of JetStream");
    PublishOutcome::TryAgain(PublishError::protocol(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_stream_decides_the_outcome() {
        let judged = |text: &'static str| {
            judge_answer(NatsAnswer::Stream(Bytes::from_static(text.as_bytes())), "a")
        };
        assert!(matches!(judged(r#"{"stream":"S","seq":1}"#), PublishOutcome::Delivered { .. }));
        assert!(matches!(
            judged(r#"{"stream":"S","seq":1,"duplicate":true}"#),
            PublishOutcome::Delivered { .. }
        ));
        let stored =
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#;
        assert!(matches!(judged(stored), PublishOutcome::TryAgain(_)));
        let large = r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        assert!(matches!(judged(large), PublishOutcome::Dead(_)));
        for text in ["hello", "{}", r#"{"seq":"1"}"#] {
            assert!(matches!(judged(text), PublishOutcome::TryAgain(_)), "{text}");
        }
        assert!(matches!(judge_answer(NatsAnswer::NoResponders, "a"), PublishOutcome::TryAgain(_)));
    }

    #[test]
    fn a_refused_subject_ends_only_its_own_deliveries() {
        let waits = NatsWaits::default();
        let mut refused = waits.expect_answer(1, "crm.a").unwrap();
        let mut other = waits.expect_answer(2, "crm.b").unwrap();
        waits.take_refusal("Permissions Violation for Publish to \"crm.a\"".to_owned()).unwrap();
        assert!(matches!(refused.try_recv().unwrap(), Ok(NatsAnswer::Forbidden(_))));
        assert!(other.try_recv().is_err());
        assert!(waits.take_refusal("Stale Connection".to_owned()).is_err());
    }
}
