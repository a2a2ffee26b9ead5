//! Sources of the kinds `nats` and `amqp`: take messages from a stream or a queue.
//!
//! ```text
//!   broker ──► batch ──► read each message ──► events, bad messages and memory in one commit
//!                              └─ not an event ──► dead letter      └──► acknowledge ──► next batch
//! ```
//!
//! A run goes on until it fails or is told to stop. Then the next run begins, after a wait that
//! grows with each failure. The node that holds the source is the only one that takes messages, so
//! the broker's order is the order of the events.
//!
//! Guaranteed: a message is acknowledged after the commit of its events, so a crash at any moment
//! loses nothing. What comes again is recognised by the event's id, the message's id or its
//! position ([`StreamMessage::id`]), for 24 hours. A message of a queue that has no id is
//! recognised by its digest, among the last messages that may have been without an acknowledgement.
//!
//! [`log_taker`] takes the captures of HTTP from the capture log in a similar way.

mod amqp_queue;
pub mod log_taker;
mod message_reader;
mod nats_consumer;
mod nats_stream;
mod stream_memory;
mod stream_run;

use super::RunFailed;
use super::run::{EVENTS, SourceRun};
use crate::channels::publish::PublishError;
use crate::ingest::incoming::IncomingEvent;
use crate::model::bad_row::{BadRow, BadRowReason};
use crate::model::source::Source;
use crate::model::source_run::StreamPosition;
use crate::net::http_client::DeliveryClient;
use crate::time::timestamp::Timestamp;
use amqp_queue::AmqpQueue;
use bytes::Bytes;
use message_reader::{MessageReader, set_aside};
use nats_stream::NatsStream;
use std::time::Duration;
use stream_memory::StreamMemory;
use tokio::time::Instant;

/// How long a run waits for the next message before it tells how it stands.
const IDLE: Duration = Duration::from_secs(5);
/// How long a broker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a busy run tells how it stands.
const REPORT: Duration = Duration::from_secs(5);
/// Most messages in a row that are set aside. If there are more, the settings are at fault, not the
/// messages, and nothing further is acknowledged.
const MOST_BAD: u32 = 100;
/// The shortest and the longest wait after a run that failed.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Returns the wait after so many runs that failed one after the other.
pub fn retry_wait(failures: u32) -> Duration {
    let doubled = RETRY.0.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY.1)
}

/// A message as its broker gave it.
#[derive(Debug, Clone)]
pub struct StreamMessage {
    /// What the broker knows it by in this run.
    pub tag: u64,
    /// What an operator finds it by: the sequence in a stream, the message's id or digest in a
    /// queue.
    pub position: String,
    /// The subject or routing key.
    pub subject: String,
    /// Headers and properties, by name.
    pub headers: Vec<(String, String)>,
    /// The id that the message brings, or that its position gives. `None` if there is neither.
    pub id: Option<String>,
    /// When it was published, as far as the broker says.
    pub published_at: Option<Timestamp>,
    /// By what a message without an id is recognised if it comes again.
    pub digest: Option<String>,
    /// Whether the broker says that it may have given the message before.
    pub may_repeat: bool,
    pub body: MessageBody,
}

/// The body of a message.
#[derive(Debug, Clone)]
pub enum MessageBody {
    /// All of it.
    Whole(Bytes),
    /// Nothing, because it has this many bytes, which are too many.
    TooLarge(usize),
}

/// A message that was committed.
#[derive(Debug, Clone, Copy)]
pub struct SettledMessage {
    pub tag: u64,
    /// Whether it was captured, and not set aside.
    pub is_taken: bool,
}

/// A connection to a broker. Every wait has an end.
pub trait MessageStream {
    /// Waits a few seconds for messages and returns them in order; none if none came.
    fn next_batch(&mut self) -> impl Future<Output = Result<Vec<StreamMessage>, RunFailed>> + Send;

    /// Tells the broker that these messages are done with. They are in the order in which they
    /// came.
    fn settle(
        &mut self,
        settled: &[SettledMessage],
    ) -> impl Future<Output = Result<(), RunFailed>> + Send;

    /// Returns how many messages wait at the broker, if it says so.
    fn count_waiting(&mut self) -> impl Future<Output = Result<Option<u64>, RunFailed>> + Send;

    /// Returns a warning about what happened since the last call.
    fn take_warning(&mut self) -> Option<String>;
}

impl From<PublishError> for RunFailed {
    fn from(error: PublishError) -> Self {
        Self::new(error.detail)
    }
}

/// Takes messages until something fails.
pub async fn run_stream(run: &SourceRun, client: &DeliveryClient) -> Result<(), RunFailed> {
    let settings = &run.source().settings;
    let Some(reader) = MessageReader::of(settings) else { return Ok(()) };
    let mut memory = StreamMemory::read(&run.memory);
    memory.begin(run.source().updated_at);
    if let Some(nats) = &settings.nats {
        let stream = NatsStream::open(nats, run.secret(), client, &mut memory).await?;
        return consume(run, stream, reader, memory).await;
    }
    let Some(amqp) = &settings.amqp else { return Ok(()) };
    let queue = AmqpQueue::open(amqp, run.secret(), client).await?;
    consume(run, queue, reader, memory).await
}

/// Returns the event of a message that is left at the broker.
pub async fn sample_message(
    source: &Source,
    secret: Option<&str>,
    client: &DeliveryClient,
) -> Result<IncomingEvent, RunFailed> {
    let settings = &source.settings;
    let found = match (&settings.nats, &settings.amqp) {
        (Some(nats), _) => nats_stream::show_newest(nats, secret, client).await?,
        (_, Some(amqp)) => amqp_queue::show_first(amqp, secret, client).await?,
        (None, None) => None,
    };
    let message = found
        .ok_or_else(|| RunFailed::new("the broker can be reached, but there is no message"))?;
    let reader = MessageReader::of(settings).ok_or_else(|| RunFailed::new("it has no stream"))?;
    let events = reader.read(&settings.name, &message).map_err(|bad| RunFailed::new(bad.detail))?;
    let first = events.into_iter().next();
    first.ok_or_else(|| RunFailed::new("the message holds no event"))
}

async fn consume<S: MessageStream + Send>(
    run: &SourceRun,
    mut stream: S,
    reader: MessageReader<'_>,
    mut memory: StreamMemory,
) -> Result<(), RunFailed> {
    report(run, &mut stream, &memory, None).await?;
    let mut reported = Instant::now();
    loop {
        let looked_at = run.journal().clock().now();
        let batch = stream.next_batch().await?;
        take_batch(run, &mut stream, reader, &mut memory, batch).await?;
        if reported.elapsed() >= REPORT {
            report(run, &mut stream, &memory, Some(looked_at)).await?;
            reported = Instant::now();
        }
    }
}

/// Stores how the run stands. If nothing waits, all that was published before `looked_at` is
/// captured. Fails if another process has taken over the source.
async fn report<S: MessageStream + Send>(
    run: &SourceRun,
    stream: &mut S,
    memory: &StreamMemory,
    looked_at: Option<Timestamp>,
) -> Result<(), RunFailed> {
    let waiting = stream.count_waiting().await?;
    if let Some(warning) = stream.take_warning() {
        run.add_warning(warning);
    }
    let position = StreamPosition { waiting, last: memory.last.clone(), last_at: memory.last_at };
    run.note_stream(position, looked_at.filter(|_| waiting == Some(0)));
    run.keep_memory(&memory.text()).await
}

/// Messages that go into one commit.
#[derive(Debug, Default)]
struct MessageChunk {
    events: Vec<IncomingEvent>,
    bad: Vec<BadRow>,
    settled: Vec<SettledMessage>,
}

impl MessageChunk {
    fn has_room(&self, events: usize) -> bool {
        self.events.len() + events <= EVENTS && self.settled.len() < EVENTS
    }
}

/// Reads messages, commits them in order and settles them.
async fn take_batch<S: MessageStream + Send>(
    run: &SourceRun,
    stream: &mut S,
    reader: MessageReader<'_>,
    memory: &mut StreamMemory,
    batch: Vec<StreamMessage>,
) -> Result<(), RunFailed> {
    let mut chunk = MessageChunk::default();
    for message in batch {
        let read = read_checked(run, reader, memory, &message)?;
        let events = read.as_ref().map_or(0, Vec::len);
        if !chunk.has_room(events) {
            commit_chunk(run, stream, reader, memory, std::mem::take(&mut chunk)).await?;
        }
        let is_taken = read.is_ok();
        match read {
            Ok(events) => chunk.events.extend(events),
            Err(bad) => {
                if memory.note_bad() > MOST_BAD {
                    commit_chunk(run, stream, reader, memory, chunk).await?;
                    return Err(too_many_bad(&bad));
                }
                // In one commit each dead letter is written once.
                if chunk.bad.iter().all(|known| known.row_id != bad.row_id) {
                    chunk.bad.push(bad);
                }
            }
        }
        memory.note_message(&message, is_taken, reader.unacknowledged);
        chunk.settled.push(SettledMessage { tag: message.tag, is_taken });
    }
    commit_chunk(run, stream, reader, memory, chunk).await
}

fn too_many_bad(last: &BadRow) -> RunFailed {
    RunFailed::new(format!(
        "more than {MOST_BAD} messages in a row are no events, so no further one is acknowledged; mend \
         the settings, or pause and resume the source to set aside the next {MOST_BAD}. The last, {:?}: {}",
        last.row_id, last.detail
    ))
}

/// Reads the events of a message, or says why it is set aside. Fails if nothing may be taken now.
fn read_checked(
    run: &SourceRun,
    reader: MessageReader<'_>,
    memory: &StreamMemory,
    message: &StreamMessage,
) -> Result<Result<Vec<IncomingEvent>, BadRow>, RunFailed> {
    if memory.knows(message) {
        return Ok(Ok(Vec::new()));
    }
    let events = match reader.read(&run.source().settings.name, message) {
        Ok(events) => events,
        Err(bad) => return Ok(Err(bad)),
    };
    let refused = run.find_refusal(&events)?;
    Ok(match refused {
        Some(why) => Err(set_aside(message, BadRowReason::Invalid, &why)),
        None => Ok(events),
    })
}

async fn commit_chunk<S: MessageStream + Send>(
    run: &SourceRun,
    stream: &mut S,
    reader: MessageReader<'_>,
    memory: &StreamMemory,
    chunk: MessageChunk,
) -> Result<(), RunFailed> {
    let MessageChunk { events, bad, settled } = chunk;
    if settled.is_empty() {
        return Ok(());
    }
    run.take_messages(reader.list, events, bad, &memory.text()).await?;
    run.read(settled.len());
    stream.settle(&settled).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let waits: Vec<u64> = [0, 1, 2, 3, 6, 99].map(|n| retry_wait(n).as_secs()).to_vec();
        assert_eq!(waits, [1, 1, 2, 4, 30, 30]);
    }
}
