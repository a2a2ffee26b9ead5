//! The store as the rest of the program uses it.

use super::commit::audit_notes::AuditNotes;
use super::commit::capture::{CaptureReceipt, EventCapture, write_captures};
use super::commit::followers::CommitFollowers;
use super::commit::operation::WriteOperation;
use super::commit::plan::{PlanReceipt, RecordedPlan};
use super::commit::settle::SettledAttempt;
use super::commit::source_rows::SourceChanges;
use super::commit::{group_writer, queue};
use super::db::{DatabasePool, StoreOpening};
use super::late_releases::LateReleases;
use super::prefetch::{PrefetchOutlets, WorkPrefetch};
use super::watch::EventWatchers;
use super::write_health::{ReadinessProof, WriteHealth};
use super::{StoreError, database_time, node_id};
use crate::error_chain::error_chain;
use crate::metrics::ServerMetrics;
use crate::model::node_description::NodeDescription;
use crate::store::presence::{NodePresence, OtherNodes};
use crate::telemetry::span_recorder::SpanRecorder;
use crate::time::clock::Clock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Notify, RwLock, mpsc, oneshot};

/// The store. Clones are cheap.
#[derive(Debug, Clone)]
pub struct EventStore {
    pub inner: Arc<StoreInner>,
}

#[derive(Debug)]
pub struct StoreInner {
    pool: DatabasePool,
    writer: mpsc::Sender<WriteOperation>,
    /// Each writer holds a read lock while it commits.
    committing: Arc<RwLock<()>>,
    pub followers: Arc<CommitFollowers>,
    pub proof: Mutex<ReadinessProof>,
    clock: Clock,
    /// The id of this process.
    pub node: i64,
    /// The description that this process publishes to other nodes.
    pub description: OnceLock<NodeDescription>,
    lease_token: AtomicI64,
    /// Whether this machine's clock was wrong when the database was last asked for the time.
    pub is_clock_wrong: AtomicBool,
    /// Whether this process still holds its leases.
    pub presence: NodePresence,
    /// Leases of this process that nobody works on.
    pub late_releases: LateReleases,
    /// Woken when another node has changed the settings, or may have done so.
    pub settings_news: Notify,
    /// Whether the start is complete.
    is_entered: AtomicBool,
}

/// Time that a caller waits for its events to be durable. Under full load a commit takes 30 ms.
const LONGEST_CAPTURE: Duration = Duration::from_secs(5);

impl EventStore {
    /// Connects, updates the schema and starts the writers. The writers end when the last clone of
    /// the store is dropped and their queue is empty.
    pub async fn open(
        url: &str,
        clock: Clock,
        opening: StoreOpening,
    ) -> Result<(Self, PrefetchOutlets), StoreError> {
        let pool = DatabasePool::open(url, opening).await?;
        let clock = database_time::follow_database(&pool, clock).await?;
        let (store, outlets) = Self::assemble(pool, clock);
        match store.enter_process().await {
            // The stored data can be read, and an operator needs the server to find out why the
            // database is full.
            Err(error @ StoreError::Unavailable(_)) if store.is_readable().await => {
                tracing::error!(
                    error = %error_chain(&error),
                    "the database does not accept writes: the server started for reading and refuses captures until it does"
                );
            }
            entered => entered?,
        }
        store.note_entered();
        Ok((store, outlets))
    }

    /// Prepares a store whose database does not answer at present, and starts the writers. Returns
    /// `None` for SQLite. [`Self::enter_late`] completes the start.
    pub fn open_away(
        url: &str,
        clock: Clock,
        opening: StoreOpening,
    ) -> Result<Option<(Self, PrefetchOutlets)>, StoreError> {
        let pool = DatabasePool::open_away(url, opening)?;
        Ok(pool.map(|pool| Self::assemble(pool, database_time::assume_time(clock))))
    }

    /// Updates the schema and enters this process, once the database answers. The caller reports
    /// the end of the start with [`Self::note_entered`].
    pub async fn enter_late(&self) -> Result<(), StoreError> {
        self.pool().update_schema().await?;
        self.enter_process().await
    }

    /// Records that the start is complete.
    pub fn note_entered(&self) {
        self.inner.is_entered.store(true, Ordering::Relaxed);
    }

    /// Returns whether the start is complete. It is not while the database has not answered since.
    pub fn is_entered(&self) -> bool {
        self.inner.is_entered.load(Ordering::Relaxed)
    }

    fn assemble(pool: DatabasePool, clock: Clock) -> (Self, PrefetchOutlets) {
        let node = node_id::random_node();
        let (writer, operations) = mpsc::channel(queue::QUEUE);
        let (prefetch, outlets) = WorkPrefetch::new();
        let followers = Arc::new(CommitFollowers {
            prefetch,
            watchers: EventWatchers::default(),
            others: OtherNodes::default(),
            metrics: ServerMetrics::default(),
            write_health: WriteHealth::default(),
            spans: OnceLock::new(),
        });
        let committing = Arc::default();
        group_writer::start_writers(&pool, &followers, &committing, operations);
        let inner = StoreInner {
            pool,
            writer,
            committing,
            followers,
            proof: Mutex::default(),
            node,
            description: OnceLock::new(),
            lease_token: AtomicI64::new(node_id::first_token(node)),
            is_clock_wrong: AtomicBool::new(false),
            presence: NodePresence::default(),
            late_releases: LateReleases::default(),
            settings_news: Notify::new(),
            is_entered: AtomicBool::new(false),
            clock,
        };
        (Self { inner: Arc::new(inner) }, outlets)
    }

    /// Returns the queues in memory, where captures and plans reserve room for the work that they
    /// hand over.
    pub fn prefetch(&self) -> &WorkPrefetch {
        &self.inner.followers.prefetch
    }

    /// Returns the watchers of what happens to an event.
    pub fn watchers(&self) -> &EventWatchers {
        &self.inner.followers.watchers
    }

    /// Returns the metrics since the start of the process.
    pub fn metrics(&self) -> &ServerMetrics {
        &self.inner.followers.metrics
    }

    /// Has spans recorded from now on: those of captures, and those of stages that ask for the
    /// recorder.
    pub fn record_spans(&self, recorder: Arc<SpanRecorder>) {
        // There is one recorder for the life of the process.
        let _is_set = self.inner.followers.spans.set(recorder);
    }

    /// Returns the recorder of spans, if they are exported.
    pub fn span_recorder(&self) -> Option<&SpanRecorder> {
        self.inner.followers.spans.get().map(|recorder| &**recorder)
    }

    /// Returns the number that tells this process from others of the same database.
    pub fn node(&self) -> i64 {
        self.inner.node
    }

    /// Returns the number of operations that wait for the writers.
    pub fn count_queued(&self) -> usize {
        self.inner.writer.max_capacity() - self.inner.writer.capacity()
    }

    /// Returns a token that no other claim has.
    pub fn next_lease_token(&self) -> i64 {
        self.inner.lease_token.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the clock of this store. On PostgreSQL it follows the database's clock, unless a
    /// test sets it.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub fn pool(&self) -> &DatabasePool {
        &self.inner.pool
    }

    /// Appends events and the part of their plans that is already known, in one commit with
    /// whatever else is waiting. Returns the receipts in the order of the captures. The answer
    /// comes within [`LONGEST_CAPTURE`]. If that is too short, the events may be committed later; a
    /// sender that repeats them under the same key gets the receipts of the first events.
    pub async fn capture_events(
        &self,
        captures: Vec<EventCapture>,
    ) -> Result<Vec<CaptureReceipt>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let submitted = async {
            self.submit_operation(WriteOperation::Capture { captures, reply }).await?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        };
        let answered = tokio::time::timeout(LONGEST_CAPTURE, submitted).await;
        answered.unwrap_or(Err(StoreError::Late(LONGEST_CAPTURE)))
    }

    /// Fails if the database would refuse these events. Writes nothing.
    pub async fn test_captures(&self, mut captures: Vec<EventCapture>) -> Result<(), StoreError> {
        captures.iter_mut().for_each(EventCapture::pack_data);
        let tested = self.pool().write(move |tx| {
            Box::pin(async move {
                let mut all: Vec<&mut EventCapture> = captures.iter_mut().collect();
                drop(write_captures(tx, &mut all).await?);
                // The transaction is rolled back.
                Err::<(), _>(StoreError::Raced)
            })
        });
        match tested.await {
            Ok(()) | Err(StoreError::Raced) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Records the plan that a flow's modules made for an event.
    pub async fn record_plan(&self, planned: RecordedPlan) -> Result<PlanReceipt, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit_operation(WriteOperation::Plan { planned: Box::new(planned), reply }).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Records an attempt and its consequences. Returns as soon as it is queued; while the database
    /// is away the writer keeps it and tries again.
    pub async fn record_attempt(&self, settled: SettledAttempt) -> Result<(), StoreError> {
        self.submit_operation(WriteOperation::Settle(Box::new(settled))).await
    }

    /// Waits until all operations that were submitted before are durable.
    pub async fn flush_writes(&self) {
        let (reply, answer) = oneshot::channel();
        if self.submit_operation(WriteOperation::Flush { reply }).await.is_ok() {
            // A writer that ended has written everything it could.
            drop(answer.await);
            // Another writer may still be writing operations that were submitted earlier.
            drop(self.inner.committing.write().await);
        }
    }

    async fn is_readable(&self) -> bool {
        self.read_settings_version().await.is_ok()
    }

    pub async fn submit_operation(&self, mut op: WriteOperation) -> Result<(), StoreError> {
        op.pack_texts();
        self.inner.writer.send(op).await.map_err(|_closed| StoreError::Closed)
    }

    /// Appends the events that a run of a source found and stores the source's changes in one
    /// commit. Returns `None` and writes nothing if the run no longer holds the source.
    pub async fn capture_from_source(
        &self,
        captures: Vec<EventCapture>,
        changes: SourceChanges,
    ) -> Result<Option<Vec<CaptureReceipt>>, StoreError> {
        if captures.is_empty() && changes.rows() == 0 {
            return Ok(Some(Vec::new()));
        }
        let (reply, answer) = oneshot::channel();
        let (changes, node) = (Box::new(changes), self.inner.node);
        self.submit_operation(WriteOperation::Take { captures, changes, node, reply }).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Queues notes for the next commit. Returns them if the queue is full.
    pub fn queue_notes(&self, notes: AuditNotes) -> Result<(), AuditNotes> {
        match self.inner.writer.try_send(WriteOperation::Note(Box::new(notes))) {
            Err(
                TrySendError::Full(WriteOperation::Note(notes))
                | TrySendError::Closed(WriteOperation::Note(notes)),
            ) => Err(*notes),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
