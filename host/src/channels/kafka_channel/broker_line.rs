//! A logged-in connection to one broker, on which many requests are under way.

use super::kafka_login::KafkaConnection;
use super::wire::{RequestBody, RequestKind, SIGN_OF_LIFE, take_answer};
use crate::channels::pipe::SessionPipe;
use crate::channels::publish::PublishError;
use crate::channels::session::{PendingAnswers, QueueSession};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for an answer. A broker waits for its replicas for less.
const ANSWER: Duration = Duration::from_secs(15);

/// A connection. Once a request on it is not answered, it ends.
#[derive(Debug)]
pub struct BrokerLine {
    next: AtomicI32,
    answers: Arc<PendingAnswers<i32, Bytes>>,
    pipe: SessionPipe,
}

impl QueueSession for BrokerLine {
    fn is_open(&self) -> bool {
        self.answers.is_open()
    }
}

impl BrokerLine {
    /// Starts to read and write on a logged-in connection.
    pub fn open(connection: KafkaConnection) -> Self {
        let answers = Arc::new(PendingAnswers::default());
        let waiting = Arc::clone(&answers);
        let read = move |bytes: &mut BytesMut, _: &_| {
            while let Some((number, answer)) = take_answer(bytes)? {
                waiting.hand_over(&number, answer);
            }
            Ok(())
        };
        let KafkaConnection { stream, rest } = connection;
        let pipe = SessionPipe::open(stream, rest, Arc::clone(&answers), SIGN_OF_LIFE, read);
        Self { next: AtomicI32::new(0), answers, pipe }
    }

    /// Makes a request and waits for its answer, at most 15 s.
    pub async fn ask(
        &self,
        kind: RequestKind,
        body: impl FnOnce(&mut RequestBody),
    ) -> Result<Bytes, PublishError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let request = kind.write(number, body);
        let wait = self.answers.expect_answer(number)?;
        let answer = self.pipe.send_and_wait(request, wait, &self.answers);
        timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(PublishError::late()))
    }
}
