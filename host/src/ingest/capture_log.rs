//! The capture log: a replicated stream of NATS JetStream that takes captures in the place of the
//! database. A capture is acknowledged once a quorum of its servers has stored it, and a node that
//! reaches the database takes it from there ([`crate::sources::stream`]).
//!
//! ```text
//!   request ──► append ──► stream (quorum) ──► 202
//!                             └──► journal: group commit, with the position in the stream
//! ```
//!
//! A request is one message. The stream recognises a repeat by the message's id for
//! `capture.repeats`, and the message that it repeats is read to answer as the first time. Messages
//! stay in the stream at least that long, also after the journal has taken them.

pub mod cells;
pub mod log_servers;
pub mod logged_request;
pub mod question_lines;

use crate::channels::nats_channel::jetstream_api::{
    ApiRefusal, NO_STREAM, StreamInfo, read_answer,
};
use crate::channels::nats_channel::nats_line::NatsLine;
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::channels::session::SessionKeeper;
use crate::config::CaptureSection;
use crate::net::http_client::DeliveryClient;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use log_servers::{LogServers, LogSession};
use logged_request::LoggedRequest;
use question_lines::QuestionLines;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Longest time until a capture is acknowledged or refused.
const LONGEST_APPEND: Duration = Duration::from_secs(5);
/// Time that a server has to acknowledge a message before another server is tried.
const LONGEST_TRY: Duration = Duration::from_secs(1);
/// The wait between two tries. While the servers choose a leader nobody takes messages.
const TRY_PAUSE: Duration = Duration::from_millis(50);
/// Tries at one server before another one is used.
const TRIES_OF_SERVER: u32 = 10;
/// Time that a server has to answer a question.
const ANSWER: Duration = Duration::from_secs(5);
/// Most captures that are being appended at the same time.
const APPENDS: usize = 4_096;
/// Time after a refusal for which only an acknowledgement proves that the log is ready. It is how
/// long a leader that has lost the others remains one.
const DOUBTED: Duration = Duration::from_secs(10);
/// Time for which a proof of readiness is valid.
const FRESH: Duration = Duration::from_secs(1);
/// Largest message, in bytes. A server accepts 64 MiB at most.
pub const LARGEST_MESSAGE: usize = 64 << 20;

/// Largest answer, in bytes. A message in base64 is a third longer.
const LARGEST_ANSWER: usize = LARGEST_MESSAGE * 2;

/// The reason why the log did not take a capture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogRefusal {
    /// The message is larger than the servers accept.
    #[error("{0}")]
    TooLarge(String),
    /// No quorum acknowledged the message in time.
    #[error("{0}")]
    Unavailable(String),
}

/// The place of a message in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub sequence: u64,
    /// Whether the log has had a message of this id before, at this place.
    pub is_repeat: bool,
    /// When the request has to be answered.
    pub deadline: Instant,
}

/// The log, with a connection for messages and some for questions.
#[derive(Debug)]
pub struct CaptureLog {
    servers: LogServers,
    settings: CaptureSection,
    client: DeliveryClient,
    session: SessionKeeper<LogSession>,
    questions: QuestionLines,
    appends: Semaphore,
    health: Mutex<LogHealth>,
}

/// When the log was last found ready, and when it last refused a request.
#[derive(Debug, Clone, Copy, Default)]
struct LogHealth {
    ready_at: Option<Instant>,
    /// Cleared when a message is acknowledged.
    refused_at: Option<Instant>,
}

impl CaptureLog {
    /// Prepares the log of the settings. It connects when it is first used.
    pub fn open(
        settings: CaptureSection,
        client: DeliveryClient,
    ) -> Result<Option<Arc<Self>>, String> {
        let Some(servers) = LogServers::read(&settings)? else { return Ok(None) };
        let log = Self {
            servers,
            settings,
            client,
            session: SessionKeeper::default(),
            questions: QuestionLines::default(),
            appends: Semaphore::new(APPENDS),
            health: Mutex::default(),
        };
        Ok(Some(Arc::new(log)))
    }

    /// Returns the settings of the log.
    pub const fn settings(&self) -> &CaptureSection {
        &self.settings
    }

    /// Returns the subject of a cell's requests.
    pub fn subject_of(&self, cell: u16) -> String {
        let CaptureSection { stream, cells, .. } = &self.settings;
        if *cells == 1 { format!("{stream}.events") } else { format!("{stream}.events.{cell}") }
    }

    /// Returns the subject of the requests that this node's cell takes, or `None` if it takes all.
    pub fn own_subject(&self) -> Option<String> {
        let CaptureSection { cells, cell, .. } = self.settings;
        (cells > 1).then(|| self.subject_of(cell))
    }

    /// Appends a request of one cell and waits until a quorum has stored it. A caller that goes away
    /// does not interrupt the others, which use the same connection.
    pub async fn append(
        self: &Arc<Self>,
        request: &LoggedRequest,
        cell: u16,
    ) -> Result<LogPosition, LogRefusal> {
        let unwritable = |error: serde_json::Error| LogRefusal::TooLarge(error.to_string());
        let (id, body) = (request.repeat_id(), request.encode().map_err(unwritable)?);
        let (log, subject) = (Arc::clone(self), self.subject_of(cell));
        let appending = tokio::spawn(async move { log.append_message(&subject, &id, &body).await });
        let stopped = |_| LogRefusal::Unavailable("the server is stopping".to_owned());
        appending.await.map_err(stopped)?
    }

    async fn append_message(
        &self,
        subject: &str,
        id: &str,
        body: &Bytes,
    ) -> Result<LogPosition, LogRefusal> {
        let deadline = Instant::now() + LONGEST_APPEND;
        let closed = |_| LogRefusal::Unavailable("the log is closed".to_owned());
        let _place = self.appends.acquire().await.map_err(closed)?;
        let mut tries = 0;
        loop {
            let server = self.servers.current();
            let published = timeout(LONGEST_TRY, self.publish(subject, id, body)).await;
            let failed = match published {
                Ok(PublishOutcome::Delivered { answer }) => {
                    return self.read_receipt(&answer, deadline);
                }
                Ok(PublishOutcome::Dead(why)) => return Err(LogRefusal::TooLarge(why)),
                Ok(PublishOutcome::TryAgain(why)) => {
                    tries += 1;
                    why
                }
                Err(_elapsed) => {
                    tries = TRIES_OF_SERVER;
                    PublishError::late()
                }
            };
            if Instant::now() >= deadline {
                self.lock_health().refused_at = Some(Instant::now());
                return Err(LogRefusal::Unavailable(failed.detail));
            }
            if tries >= TRIES_OF_SERVER {
                self.servers.leave(server);
                tries = 0;
            }
            sleep(TRY_PAUSE).await;
        }
    }

    async fn publish(&self, subject: &str, id: &str, body: &[u8]) -> PublishOutcome {
        let session = match self.session.get_or_open(self.servers.connect(&self.client)).await {
            Ok(session) => session,
            Err(why) => return PublishOutcome::TryAgain(why),
        };
        let headers = [("Nats-Msg-Id", id), ("Nats-Expected-Stream", &*self.settings.stream)];
        session.publish(subject, &headers, body).await
    }

    fn read_receipt(&self, answer: &str, deadline: Instant) -> Result<LogPosition, LogRefusal> {
        #[derive(Deserialize)]
        struct StreamReceipt {
            seq: u64,
            #[serde(default)]
            duplicate: bool,
        }
        let unknown =
            |why| LogRefusal::Unavailable(format!("the stream's answer is unknown: {why}"));
        let receipt: StreamReceipt = serde_json::from_str(answer).map_err(unknown)?;
        *self.lock_health() = LogHealth { ready_at: Some(Instant::now()), refused_at: None };
        Ok(LogPosition { sequence: receipt.seq, is_repeat: receipt.duplicate, deadline })
    }

    /// Reads the request at a place of the log, by the deadline of the request that repeats it.
    pub async fn find_request(&self, position: LogPosition) -> Result<LoggedRequest, LogRefusal> {
        let place = format!("STREAM.MSG.GET.{}", self.settings.stream);
        let question = json!({"seq": position.sequence}).to_string();
        let unavailable = |why: String| {
            LogRefusal::Unavailable(format!("the first request cannot be read from the log: {why}"))
        };
        let asking = async {
            loop {
                match self.ask(&place, question.as_bytes(), LONGEST_TRY).await {
                    Ok(answer) => return answer,
                    // Another server is asked next.
                    Err(_) => sleep(TRY_PAUSE).await,
                }
            }
        };
        let answer = timeout_at(position.deadline, asking).await;
        let answer = answer.map_err(|_elapsed| unavailable("it did not answer".to_owned()))?;
        let answer = answer.map_err(|refusal| unavailable(refusal.why))?;
        let data = answer.pointer("/message/data").and_then(Value::as_str).unwrap_or_default();
        let data = BASE64_STANDARD.decode(data).map_err(|why| unavailable(why.to_string()))?;
        LoggedRequest::read(&data).map_err(|why| unavailable(why.to_string()))
    }

    /// Asks the API of JetStream.
    async fn ask(
        &self,
        what: &str,
        body: &[u8],
        limit: Duration,
    ) -> Result<Result<Value, ApiRefusal>, PublishError> {
        let place = (&self.servers, &self.client);
        self.questions.ask(place, (what, body), (LARGEST_ANSWER, limit)).await
    }

    /// Connects for questions and for reading messages.
    pub async fn open_line(&self) -> Result<NatsLine, PublishError> {
        self.servers.open_line(&self.client, LARGEST_ANSWER).await
    }

    /// Returns the stream. Makes it if it is missing, and fails if it could drop captures.
    pub async fn prepare_stream(&self) -> Result<StreamInfo, PublishError> {
        let stream = &self.settings.stream;
        let subjects = json!({"subjects_filter": format!("{stream}.>")}).to_string();
        let asked = self.ask(&format!("STREAM.INFO.{stream}"), subjects.as_bytes(), ANSWER).await?;
        let found = match asked {
            Err(refusal) if refusal.code == NO_STREAM => self.make_stream().await?,
            found => found,
        };
        let refused = |refusal: ApiRefusal| {
            PublishError::refused(format!("the stream `{stream}`: {}", refusal.why))
        };
        let info: StreamInfo = read_answer(found.map_err(refused)?)?;
        check_stream(stream, &info.config)?;
        self.check_subjects(&info.state.subjects)?;
        self.lock_health().ready_at = Some(Instant::now());
        Ok(info)
    }

    /// Fails if the stream holds requests that no cell takes, after `capture.cells` was changed.
    fn check_subjects(&self, held: &BTreeMap<String, u64>) -> Result<(), PublishError> {
        let CaptureSection { stream, cells, .. } = &self.settings;
        let known: HashSet<String> = (1..=*cells).map(|cell| self.subject_of(cell)).collect();
        let left = held.iter().find(|(subject, count)| **count > 0 && !known.contains(*subject));
        let Some((subject, count)) = left else { return Ok(()) };
        Err(PublishError::refused(format!(
            "the stream `{stream}` holds {count} requests of `{subject}`, which nobody takes while \
             capture.cells is {cells}: set it back, and change it once they are taken and capture.repeats \
             has passed"
        )))
    }

    async fn make_stream(&self) -> Result<Result<Value, ApiRefusal>, PublishError> {
        let CaptureSection { stream, replicas, repeats, max_size, .. } = &self.settings;
        let window = u64::try_from(repeats.get().as_nanos()).unwrap_or(u64::MAX);
        let config = json!({
            "name": stream, "subjects": [format!("{stream}.>")], "retention": "limits",
            "discard": "new", "storage": "file", "num_replicas": replicas, "max_age": 0,
            "max_bytes": max_size, "max_msgs": -1, "duplicate_window": window,
        });
        let question = config.to_string();
        self.ask(&format!("STREAM.CREATE.{stream}"), question.as_bytes(), ANSWER).await
    }

    /// Removes the messages of this node's cell before a place of the log.
    pub async fn purge_before(&self, sequence: u64) -> Result<(), PublishError> {
        let place = format!("STREAM.PURGE.{}", self.settings.stream);
        let question = match self.own_subject() {
            Some(subject) => json!({"filter": subject, "seq": sequence}),
            None => json!({"seq": sequence}),
        };
        let purged = self.ask(&place, question.to_string().as_bytes(), ANSWER).await?;
        purged.map(drop).map_err(|refusal| PublishError::refused(refusal.why))
    }

    /// Shows that the log takes captures: a message was just acknowledged, or the stream's leader
    /// answers. A leader that has lost the others still answers for some seconds.
    pub async fn prove_ready(&self) -> Result<(), PublishError> {
        let LogHealth { ready_at, refused_at } = *self.lock_health();
        if refused_at.is_some_and(|at| at.elapsed() < DOUBTED) {
            return Err(PublishError::refused("the last request was not acknowledged"));
        }
        if ready_at.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let prepared = timeout(LONGEST_APPEND, self.prepare_stream()).await;
        prepared.unwrap_or_else(|_elapsed| Err(PublishError::late())).map(drop)
    }

    fn lock_health(&self) -> MutexGuard<'_, LogHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the stream, if it is missing, as soon as the servers can be reached.
    pub async fn prepare_until_ready(&self) {
        while let Err(why) = self.prepare_stream().await {
            tracing::warn!(%why, "the capture log is not ready; captures are refused until it is");
            sleep(FRESH).await;
        }
    }
}

/// Fails if a stream that was there before could drop messages that the journal has not taken.
fn check_stream(stream: &str, config: &serde_json::Map<String, Value>) -> Result<(), PublishError> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let max_age = config.get("max_age").and_then(Value::as_i64).unwrap_or_default();
    let wrong = [
        (text("retention") != "limits", "its `retention` must be `limits`"),
        (text("discard") != "new", "its `discard` must be `new`, or it drops captures when full"),
        (max_age != 0, "its `max_age` must be 0, or it drops captures that nobody has taken"),
    ];
    match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, why)) => Err(PublishError::refused(format!("the stream `{stream}`: {why}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_could_drop_captures_is_refused() {
        let check = |config: Value| {
            let Value::Object(config) = config else { panic!("{config}") };
            check_stream("S", &config)
        };
        let sound = json!({"retention": "limits", "discard": "new", "max_age": 0});
        assert_eq!(check(sound), Ok(()));
        for wrong in [
            json!({"retention": "workqueue", "discard": "new"}),
            json!({"retention": "limits", "discard": "old"}),
            json!({"retention": "limits", "discard": "new", "max_age": 1}),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
