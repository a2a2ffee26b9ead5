//! Takes captured requests from the capture log into the journal, on one node at a time.
//!
//! ```text
//!   log ──► messages after the stored position ──► group commit: events, audit, new position
//! ```
//!
//! The position in the log is stored in the commit of the events that it stands for, so a crash at
//! any moment neither loses nor repeats a request. That is why the log's consumer acknowledges
//! nothing: each run makes one that begins after the stored position, and another node can go on at
//! once. A run that lost its hold cannot write anything.

mod refused_events;

use super::ANSWER;
use super::nats_stream::MessageOrigin;
use super::stream_memory::StreamMemory;
use crate::channels::nats_channel::jetstream_api::{StreamInfo, ask_api};
use crate::channels::nats_channel::nats_line::NatsLine;
use crate::channels::nats_channel::wire::ServerMessage;
use crate::error_chain::error_chain;
use crate::ingest::accept::take_logged_requests;
use crate::ingest::capture_log::CaptureLog;
use crate::ingest::capture_log::logged_request::{LoggedRequest, UnreadableRequest};
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::source_run::{CAPTURE_LOG, RunReport};
use crate::settings::live::LiveSettings;
use crate::sources::RunFailed;
use crate::store::{EventStore, RowsSetAside, SourceChanges, StoreError};
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How often a node looks whether it can take from the log, also after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// How long a run waits for the next message before it asks again.
const IDLE: Duration = Duration::from_secs(5);
/// Most messages, and about the most bytes, in one commit.
const CHUNK: (u32, usize) = (64, 1 << 20);
/// Time after which a consumer that nobody uses is removed by the server.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Pause after which a run compares its position with the stored one before it commits.
const COMPARE: Duration = Duration::from_secs(1);
/// How often messages that are no longer needed are removed, and events that were set aside are
/// replayed.
const TRIM: Duration = Duration::from_secs(5);

/// The parts that taking from the log needs.
#[derive(Debug)]
pub struct LogTaker {
    pub journal: EventStore,
    pub live: LiveSettings,
    pub log: Arc<CaptureLog>,
}

/// Takes from the log whenever no other node does, until it is told to stop.
pub async fn run_log_taker(taker: LogTaker, stop: CancellationToken) {
    let mut was_failing = false;
    while !stop.is_cancelled() {
        let turn = taker.take_turn(&stop).await;
        // While the database is away it fails every second.
        if let Some(why) = turn.as_ref().err().filter(|_| !was_failing) {
            tracing::warn!(%why, "taking from the capture log is interrupted; trying until it works");
        }
        was_failing = turn.is_err();
        tokio::select! {
            () = sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

impl LogTaker {
    /// Takes from the log until something fails. Returns at once if another node does.
    async fn take_turn(&self, stop: &CancellationToken) -> Result<(), RunFailed> {
        let states = self.journal.list_source_states().await?;
        let state = states.into_iter().find(|state| state.source == CAPTURE_LOG);
        if state.as_ref().is_some_and(|state| state.running && !state.is_ours) {
            return Ok(());
        }
        let began = self.journal.clock().now();
        let seen = state.as_ref().and_then(|state| state.started_at);
        if !self.journal.lease_source(CAPTURE_LOG, began, seen).await? {
            return Ok(());
        }
        let memory = state.map(|state| StreamMemory::read(&state.memory)).unwrap_or_default();
        let stored = memory.sequence;
        let agreed_at = Instant::now();
        let mut run = LogRun { taker: self, began, memory, stored, number: 0, agreed_at };
        let outcome = tokio::select! {
            outcome = run.take_requests() => outcome,
            () = stop.cancelled() => Ok(()),
        };
        let finished_at = Some(self.journal.clock().now());
        let error = outcome.as_ref().err().map(ToString::to_string);
        let report = RunReport { finished_at, error, ..RunReport::default() };
        if let Err(error) = self.journal.release_source(CAPTURE_LOG, &report).await {
            let error = error_chain(&error);
            tracing::warn!(error, "cannot release the capture log; its lease has to expire");
        }
        outcome
    }
}

/// A run that holds the log.
struct LogRun<'a> {
    taker: &'a LogTaker,
    began: Timestamp,
    memory: StreamMemory,
    /// The sequence as it is stored.
    stored: Option<u64>,
    /// The number of the last message among those that this run's consumer handed out.
    number: u64,
    /// When the stored position was last known to be that of this run.
    agreed_at: Instant,
}

/// A message with its place.
struct TakenMessage {
    origin: MessageOrigin,
    /// `None` if the message is larger than a captured request can be.
    payload: Option<Bytes>,
}

impl LogRun<'_> {
    async fn take_requests(&mut self) -> Result<(), RunFailed> {
        let info = self.taker.log.prepare_stream().await?;
        self.begin_after(info);
        let mut line = self.taker.log.open_line().await?;
        let subject = self.make_consumer(&mut line).await?;
        let mut trimmed = Instant::now();
        loop {
            let mut pulled = line.pull(&subject, CHUNK.0, None, ANSWER).await?;
            if pulled.messages.is_empty() {
                self.taker.journal.metrics().store.log_waiting.set(0);
                self.note_taken();
                pulled = line.pull(&subject, 1, Some(IDLE), ANSWER).await?;
            }
            self.take_messages(pulled.messages).await?;
            if trimmed.elapsed() >= TRIM {
                self.trim_log().await;
                trimmed = Instant::now();
                self.replay_rows().await?;
            }
        }
    }

    /// Decides where to begin. A stream that was made anew counts from 1 again.
    fn begin_after(&mut self, info: StreamInfo) {
        let last = info.state.last_seq;
        if self.memory.stream_made.as_ref() != Some(&info.created) {
            self.memory.sequence = None;
            self.memory.stream_made = Some(info.created);
            self.memory.forget_taken_after(0);
        } else if let Some(sequence) = self.memory.sequence.filter(|sequence| *sequence > last) {
            tracing::error!(
                sequence,
                last,
                "the capture log has lost messages that were taken before; going on after its last"
            );
            self.memory.sequence = Some(last);
            self.memory.forget_taken_after(last);
        }
        self.note_taken();
    }

    /// Makes the consumer of this run, and returns where messages are asked for.
    async fn make_consumer(&self, line: &mut NatsLine) -> Result<String, RunFailed> {
        let stream = &self.taker.log.settings().stream;
        let node = self.taker.journal.node_name();
        let name = format!("journal-{node}-{}", self.began.micros());
        let forgotten = u64::try_from(FORGOTTEN.as_nanos()).unwrap_or(u64::MAX);
        let config = json!({
            "name": name, "filter_subject": self.taker.log.own_subject(), "ack_policy": "none", "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.memory.sequence.unwrap_or_default().saturating_add(1),
            "inactive_threshold": forgotten, "num_replicas": 1, "mem_storage": true,
            "max_deliver": -1, "replay_policy": "instant",
        });
        let question = json!({"stream_name": stream, "config": config}).to_string();
        let place = format!("CONSUMER.CREATE.{stream}.{name}");
        let made = ask_api(line, &place, question.as_bytes(), ANSWER).await?;
        made.map_err(|refusal| {
            RunFailed::new(format!("the consumer of the capture log: {}", refusal.why))
        })?;
        Ok(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"))
    }

    /// Commits messages in their order, in chunks.
    async fn take_messages(&mut self, messages: Vec<ServerMessage>) -> Result<(), RunFailed> {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        for message in messages {
            let message = self.read_place(message)?;
            let length = message.payload.as_ref().map_or(0, Bytes::len);
            if bytes + length > CHUNK.1 && !chunk.is_empty() {
                self.commit_chunk(std::mem::take(&mut chunk)).await?;
                bytes = 0;
            }
            bytes += length;
            chunk.push(message);
        }
        self.commit_chunk(chunk).await
    }

    /// Returns a message with its place. Fails if one before it is missing.
    fn read_place(&mut self, message: ServerMessage) -> Result<TakenMessage, RunFailed> {
        let origin = message.reply.as_deref().and_then(MessageOrigin::read);
        let origin = origin
            .ok_or_else(|| RunFailed::new("a message of the capture log is not of JetStream"))?;
        self.number += 1;
        if origin.number != self.number {
            return Err(RunFailed::new("a message of the capture log did not come; asking again"));
        }
        let payload = (message.left_out == 0).then_some(message.payload);
        Ok(TakenMessage { origin, payload })
    }

    /// Fails if the stored position is another one than this run's. That is so after a fail-over to
    /// a standby that lacks the last commits, which are then taken again. A fail-over takes longer
    /// than the pause after which this is compared.
    async fn compare_position(&mut self) -> Result<(), RunFailed> {
        if self.agreed_at.elapsed() < COMPARE {
            return Ok(());
        }
        let states = self.taker.journal.list_source_states().await?;
        let stored = states.into_iter().find(|state| state.source == CAPTURE_LOG);
        let stored = stored.map(|state| StreamMemory::read(&state.memory).sequence);
        if stored.flatten() != self.stored {
            return Err(RunFailed::new("the database lacks what was taken last; taking it again"));
        }
        self.agreed_at = Instant::now();
        Ok(())
    }

    async fn commit_chunk(&mut self, chunk: Vec<TakenMessage>) -> Result<(), RunFailed> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.compare_position().await?;
        match self.commit_messages(&chunk).await {
            Err(StoreError::Refused(_)) => {}
            // Too much for the time of one commit, or the database is away.
            Err(StoreError::Unavailable(_)) if chunk.len() > 1 => {}
            committed => return committed?.ok_or_else(lost),
        }
        // The database refuses something among them, or all of them are too much: each is tried
        // alone.
        for message in chunk {
            let committed = match self.commit_messages(std::slice::from_ref(&message)).await {
                Err(StoreError::Refused(why)) => self.commit_refused(&message, &why).await,
                committed => committed,
            };
            committed?.ok_or_else(lost)?;
        }
        Ok(())
    }

    /// Commits messages and the position of the last one. Returns `None` if another node holds the
    /// log.
    async fn commit_messages(&mut self, chunk: &[TakenMessage]) -> Result<Option<()>, StoreError> {
        let Some(last) = chunk.last() else { return Ok(Some(())) };
        let (mut requests, mut bad) = (Vec::with_capacity(chunk.len()), Vec::new());
        for message in chunk {
            match message.read_request()? {
                Ok(request) => requests.push(request),
                Err(row) => bad.push(row),
            }
        }
        self.commit_requests(&last.origin, requests, bad).await
    }

    /// Commits requests and rows that are set aside, with the position of the last message.
    async fn commit_requests(
        &mut self,
        last: &MessageOrigin,
        requests: Vec<LoggedRequest>,
        bad: Vec<BadRow>,
    ) -> Result<Option<()>, StoreError> {
        let LogTaker { journal, live, log } = self.taker;
        let mut changes = SourceChanges::of(CAPTURE_LOG, self.began, "");
        changes.aside = RowsSetAside {
            list: log.settings().stream.clone(),
            bad,
            at: journal.clock().now(),
            ..RowsSetAside::default()
        };
        let mut memory = self.memory.clone();
        memory.sequence = Some(last.sequence);
        memory.last = Some(last.sequence.to_string());
        memory.last_at = Some(last.published_at);
        memory.note_taken(last.sequence, changes.aside.at, self.note_pause());
        changes.memory = Some(memory.text());
        let taken =
            take_logged_requests(journal, &live.current_settings(), requests, changes).await?;
        if taken.is_none() {
            return Ok(None);
        }
        self.stored = memory.sequence;
        (self.memory, self.agreed_at) = (memory, Instant::now());
        let waiting = i64::try_from(last.waiting).unwrap_or(i64::MAX);
        journal.metrics().store.log_waiting.set(waiting);
        Ok(Some(()))
    }

    /// The pause between two remembered positions: a few for each time in which the log recognises
    /// repeats.
    fn note_pause(&self) -> Duration {
        self.taker.log.settings().repeats.get() / 8
    }

    /// Remembers the present position, which the next commit stores.
    fn note_taken(&mut self) {
        let (sequence, pause) = (self.memory.sequence.unwrap_or_default(), self.note_pause());
        self.memory.note_taken(sequence, self.taker.journal.clock().now(), pause);
    }

    /// Removes the messages that are committed and that no repeat can refer to any more.
    async fn trim_log(&mut self) {
        let kept_for = self.taker.log.settings().repeats.get() + TRIM;
        let before = self.memory.take_old(self.taker.journal.clock().now().before(kept_for));
        let Some(before) = before.filter(|sequence| *sequence > 0) else { return };
        if let Err(why) = self.taker.log.purge_before(before + 1).await {
            tracing::warn!(%why, "cannot remove old messages of the capture log; it grows until it can");
        }
    }
}

impl TakenMessage {
    /// Returns the request, or the row that is set aside in its place. Fails if a newer version
    /// wrote it.
    fn read_request(&self) -> Result<Result<LoggedRequest, BadRow>, StoreError> {
        let Some(payload) = &self.payload else {
            let why = "it is larger than any captured request";
            return Ok(Err(self.bad_row("", BadRowReason::Invalid, why)));
        };
        match LoggedRequest::read(payload) {
            Ok(request) => Ok(Ok(request)),
            Err(why @ UnreadableRequest::Newer(_)) => Err(StoreError::Corrupt {
                table: "capture log",
                column: "message",
                why: why.to_string(),
            }),
            Err(UnreadableRequest::Broken(why)) => {
                Ok(Err(self.bad_row("", BadRowReason::Unreadable, &why)))
            }
        }
    }

    /// Returns the row for a message, or for a part of it, that is set aside.
    fn bad_row(&self, part: &str, reason: BadRowReason, why: &str) -> BadRow {
        let position = format!("{}{part}", self.origin.sequence);
        let row_at = Some(self.origin.published_at);
        BadRow { row_at, ..BadRow::new(&position, reason, why) }
    }
}

fn lost() -> RunFailed {
    RunFailed::new("another node takes from the capture log now")
}
