//! A connection to NATS on which one request is under way at a time.

use super::nats_login::{NatsConnection, NatsLogin};
use super::wire::{OversizePolicy, ServerFrame, ServerMessage, take_frame};
use crate::channels::publish::PublishError;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::DeliveryClient;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

/// No message was there, or none that may be handed out.
const NOT_FOUND: u16 = 404;
/// The time of a request for messages is over.
const TIME_OUT: u16 = 408;
/// The consumer cannot serve the request.
const CONFLICT: u16 = 409;
/// Room for one read, in bytes.
const READ: usize = 16 * 1024;
/// Nobody answers on a subject.
const NO_RESPONDERS: u16 = 503;

/// A connection that is logged in. A request that fails leaves it unusable.
pub struct NatsLine {
    connection: NatsConnection,
    next: u64,
    /// The most bytes of a message that are kept.
    max_message: usize,
}

/// What a request for messages brought.
#[derive(Debug, Default)]
pub struct PulledMessages {
    pub messages: Vec<ServerMessage>,
    /// Whether the consumer hands out no more until messages are acknowledged.
    pub is_full: bool,
}

impl NatsLine {
    /// Connects and logs in.
    pub async fn open(
        login: &NatsLogin,
        client: &DeliveryClient,
        max_message: usize,
    ) -> Result<Self, PublishError> {
        let connection = login.connect(client).await?;
        Ok(Self { connection, next: 1, max_message })
    }

    /// Sends a message that is answered on the line's own inbox, and returns that inbox.
    async fn send_request(&mut self, subject: &str, body: &[u8]) -> Result<String, PublishError> {
        let inbox = format!("{}.{}", self.connection.inbox, self.next);
        self.next += 1;
        let mut frame = format!("PUB {subject} {inbox} {}\r\n", body.len()).into_bytes();
        frame.extend_from_slice(body);
        frame.extend_from_slice(b"\r\n");
        self.write(&frame).await?;
        Ok(inbox)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        self.connection.stream.write_all(bytes).await.map_err(PublishError::lost)?;
        self.connection.stream.flush().await.map_err(PublishError::lost)
    }

    /// Asks a question and returns the answer's body.
    pub async fn ask(
        &mut self,
        subject: &str,
        body: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, PublishError> {
        let deadline = Instant::now() + limit;
        let asked = timeout_at(deadline, async {
            let inbox = self.send_request(subject, body).await?;
            loop {
                let message = self.next_message().await?;
                if message.subject == inbox {
                    return Ok::<_, PublishError>(message);
                }
            }
        });
        let answer = asked.await.map_err(|_elapsed| late(subject))??;
        match answer.status() {
            Some(NO_RESPONDERS) => Err(PublishError::refused(format!(
                "nobody answers on `{subject}`: JetStream is off, or there is no such stream or consumer"
            ))),
            _ if answer.left_out > 0 => Err(late(subject)),
            _ => Ok(answer.payload.to_vec()),
        }
    }

    /// Asks a consumer for at most `count` messages. `wait` is how long the server waits for the
    /// first of them if there is none.
    pub async fn pull(
        &mut self,
        subject: &str,
        count: u32,
        wait: Option<Duration>,
        limit: Duration,
    ) -> Result<PulledMessages, PublishError> {
        let body = match wait {
            None => serde_json::json!({"batch": count, "no_wait": true}),
            Some(wait) => {
                let expires = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                serde_json::json!({"batch": count, "expires": expires})
            }
        };
        let deadline = Instant::now() + wait.unwrap_or_default() + limit;
        let pulled = timeout_at(deadline, async {
            let inbox = self.send_request(subject, body.to_string().as_bytes()).await?;
            self.gather(&inbox, usize::try_from(count).unwrap_or(usize::MAX)).await
        });
        pulled.await.map_err(|_elapsed| late(subject))?
    }

    async fn gather(&mut self, inbox: &str, count: usize) -> Result<PulledMessages, PublishError> {
        let mut pulled = PulledMessages::default();
        while pulled.messages.len() < count {
            let message = self.next_message().await?;
            if !message.subject.starts_with(&self.connection.inbox) {
                pulled.messages.push(message);
                continue;
            }
            if message.subject != inbox {
                // The end of an earlier request.
                continue;
            }
            match message.status() {
                Some(NOT_FOUND | TIME_OUT) => break,
                Some(CONFLICT) if message.status_text().contains("MaxAckPending") => {
                    pulled.is_full = true;
                    break;
                }
                Some(NO_RESPONDERS) => {
                    return Err(PublishError::refused(
                        "the consumer or JetStream is not there any more",
                    ));
                }
                Some(CONFLICT) => {
                    let why = format!("the server ended the request: {}", message.status_text());
                    return Err(PublishError::refused(why));
                }
                // A sign of life.
                Some(_) | None => {}
            }
        }
        Ok(pulled)
    }

    /// Sends answers to messages, and waits until the server has read the last of them.
    pub async fn answer(
        &mut self,
        answers: &[(&str, &str)],
        limit: Duration,
    ) -> Result<(), PublishError> {
        let Some(((last_subject, last), earlier)) = answers.split_last() else { return Ok(()) };
        let mut frames = String::new();
        for (subject, word) in earlier {
            let length = word.len().to_string();
            frames.extend(["PUB ", subject, " ", &length, "\r\n", word, "\r\n"]);
        }
        let deadline = Instant::now() + limit;
        let written = timeout_at(deadline, self.write(frames.as_bytes())).await;
        written.map_err(|_elapsed| late("acknowledgements"))??;
        self.ask(last_subject, last.as_bytes(), limit).await.map(drop)
    }

    /// Returns the next message. Answers the server's signs of life.
    async fn next_message(&mut self) -> Result<ServerMessage, PublishError> {
        loop {
            let oversize = OversizePolicy::LeaveOut(self.max_message);
            let frame = take_frame(&mut self.connection.bytes, oversize)?;
            match frame {
                Some(ServerFrame::Message(message)) => {
                    if message.left_out > 0 {
                        self.skip(message.left_out + 2).await?;
                    }
                    return Ok(message);
                }
                Some(ServerFrame::Ping) => self.write(b"PONG\r\n").await?,
                Some(ServerFrame::Pong | ServerFrame::Info(_)) => {}
                Some(ServerFrame::Refusal(why)) => return Err(PublishError::refused(why)),
                None => self.read_more().await?,
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), PublishError> {
        let NatsConnection { stream, bytes, .. } = &mut self.connection;
        bytes.reserve(READ);
        match stream.read_buf(bytes).await.map_err(PublishError::lost)? {
            0 => Err(PublishError::lost("the server closed it")),
            _ => Ok(()),
        }
    }

    /// Drops so many bytes, of which some may not have come yet.
    async fn skip(&mut self, mut count: usize) -> Result<(), PublishError> {
        loop {
            let bytes = &mut self.connection.bytes;
            let here = count.min(bytes.len());
            drop(bytes.split_to(here));
            count -= here;
            if count == 0 {
                return Ok(());
            }
            self.read_more().await?;
        }
    }
}

fn late(what: &str) -> PublishError {
    let why = format!("the server did not answer on `{what}` in time");
    PublishError::new(ErrorClass::Timeout, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use tokio::io::{DuplexStream, duplex};

    const LIMIT: Duration = Duration::from_mins(1);

    /// A line, and the server's side of it.
    fn line(max_message: usize) -> (NatsLine, DuplexStream) {
        let (ours, theirs) = duplex(64 * 1024);
        let connection = NatsConnection {
            stream: Box::new(ours),
            bytes: BytesMut::new(),
            inbox: "_INBOX.t".to_owned(),
            max_payload: 0,
        };
        (NatsLine { connection, next: 1, max_message }, theirs)
    }

    async fn sent(server: &mut DuplexStream) -> String {
        let mut bytes = vec![0; 4_096];
        let read = server.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up_and_its_signs_of_life_are_answered() {
        let (mut line, mut server) = line(10);
        server.write_all(b"PING\r\n").await.unwrap();
        let pulled = line.pull("next", 5, None, Duration::from_millis(50)).await;
        assert!(pulled.unwrap_err().to_string().contains("in time"));
        let asked = sent(&mut server).await;
        assert!(asked.starts_with("PUB next _INBOX.t.1 "), "{asked}");
        assert!(asked.ends_with("PONG\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn messages_are_gathered_until_there_are_enough_or_no_more() {
        let (mut line, mut server) = line(100);
        let messages = b"MSG crm.a 1 $JS.ACK.1 2\r\n{}\r\nMSG crm.b 1 $JS.ACK.2 101\r\n";
        server.write_all(messages).await.unwrap();
        server.write_all(&[b'x'; 101]).await.unwrap();
        let status = b"\r\nHMSG _INBOX.t.1 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n";
        server.write_all(status).await.unwrap();
        let pulled = line.pull("next", 5, None, LIMIT).await.unwrap();
        let found: Vec<(&str, usize, usize)> = pulled
            .messages
            .iter()
            .map(|message| (message.subject.as_str(), message.payload.len(), message.left_out))
            .collect();
        assert_eq!(found, [("crm.a", 2, 0), ("crm.b", 0, 101)]);
        server.write_all(b"MSG crm.c 1 $JS.ACK.3 2\r\n{}\r\n").await.unwrap();
        let one = line.pull("next", 1, Some(LIMIT), LIMIT).await.unwrap();
        assert_eq!(one.messages.len(), 1, "without a status");
    }

    #[tokio::test]
    async fn a_consumer_that_is_gone_is_an_error_and_acknowledgements_are_confirmed() {
        let (mut line, mut server) = line(100);
        let gone = b"HMSG _INBOX.t.1 1 30 30\r\nNATS/1.0 409 Consumer Gone\r\n\r\n\r\n";
        server.write_all(gone).await.unwrap();
        let failed = line.pull("next", 5, None, LIMIT).await.unwrap_err();
        assert!(failed.to_string().contains("409 Consumer Gone"), "{failed}");
        drop(sent(&mut server).await);
        server.write_all(b"MSG _INBOX.t.2 1 0\r\n\r\n").await.unwrap();
        line.answer(&[("ack.1", "+ACK"), ("ack.2", "+TERM")], LIMIT).await.unwrap();
        let answers = sent(&mut server).await;
        let expected = "PUB ack.1 4\r\n+ACK\r\nPUB ack.2 _INBOX.t.2 5\r\n+TERM\r\n";
        assert_eq!(answers, expected);
    }
}
