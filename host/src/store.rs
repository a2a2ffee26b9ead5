//! The durable record, and the only place that names the database driver.
//!
//! Stages meet here and nowhere else: capture appends events, plan records what the modules said
//! and which deliveries follow, deliver settles attempts. Each of these is one transaction, and
//! there is nothing in between that a crash could lose.
//!
//! **Group commit.** [`writer`] takes what has queued up while the last commit ran and commits it
//! as one transaction. A caller hears of success after the commit, never before.
//!
//! **Born leased.** What a commit makes ready for the next stage travels on in memory
//! ([`handover`]), already leased to this process, as far as there is room. What finds no room is
//! written unleased and claimed from the table later ([`claim`]). The table is the truth, memory
//! only a shortcut: a lease has an end, and what a dead process held is claimed by another.
//!
//! **Two databases, one text.** Statements take `$1` parameters, which both drivers understand;
//! [`pool`] expands one body for SQLite and for PostgreSQL. Only the claims differ.
//!
//! Not guaranteed: that an attempt is made once. A crash between sending and settling sends again,
//! with the same `webhook-id`.

pub mod audit;
pub mod claim;
pub mod handover;
pub mod watch;

pub mod batch;
pub mod bulk;
pub mod capture;
pub mod checkpoint;
pub mod database_file;
pub mod dead;
pub mod dedupe;
pub mod erase;
pub mod figures;
pub mod modules;
pub mod native;
pub mod node;
pub mod objects;
pub mod plan;
pub mod pool;
pub mod prune;
pub mod readiness;
pub mod records;
pub mod row;
pub mod settle;
pub mod source_rows;
pub mod sources;
pub mod space;
pub mod statements;
pub mod tend;
pub mod value;
pub mod views;
pub mod window;
pub mod writer;

pub use capture::{CaptureReceipt, EventCapture, IdempotencyKeys, NewPlanning};
pub use plan::{DeliveryDraft, ModuleFailed, RecordedPlan};
pub use settle::SettledAttempt;

use crate::error_chain::error_chain;
use crate::time::clock::Clock;
use handover::WorkPrefetch;
use pool::DatabasePool;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::{RwLock, mpsc, oneshot};
use watch::EventWatchers;

/// What the journal cannot do, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full or busy. Nothing was written; try again later.
    #[error("the database does not take writes at present")]
    Unavailable(#[source] sqlx::Error),
    /// The database refused this piece of data. Trying again will not help.
    #[error("the database refused the data")]
    Refused(#[source] sqlx::Error),
    /// Another node noted the same capture key at the same moment; written again, it is a repeat.
    #[error("another node captured the same event at the same moment")]
    Raced,
    /// A request's `Idempotency-Key` came with another request before. Nothing of it was written.
    #[error("the idempotency key was used with another request")]
    KeyReused,
    /// The event's payload is pruned: there is nothing left to plan or to send.
    #[error("the event's payload was pruned {}", .0)]
    PayloadPruned(views::PrunedPayload),
    /// A name is taken.
    #[error("the name `{0}` is taken")]
    NameTaken(String),
    /// What is to be changed does not exist.
    #[error("there is no {0}")]
    Missing(String),
    /// A stored row does not make sense. An operator should look at it.
    #[error("table {table}, column {column}: the stored value makes no sense: {why}")]
    Corrupt {
        table: &'static str,
        column: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The database's schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migration(#[source] Box<sqlx::migrate::MigrateError>),
    /// The address of the database makes no sense.
    #[error("`{given}` is no database: use sqlite:FILE or postgres://USER@HOST/NAME")]
    Address {
        /// What was given, without a password.
        given: String,
    },
    /// Another server has locked the SQLite database.
    #[error(
        "the database {} is in use by another server; stop that one first, or give this one a database \
         of its own (servers can share PostgreSQL, and not SQLite)", path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A file of the database cannot be opened, or kept from others.
    #[error("cannot open the database file {} for its owner alone", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
            readiness::note_code(&code);
        }
        if pool::is_refusal(&error) { Self::Refused(error) } else { Self::Unavailable(error) }
    }
}

/// What is done with the database before it is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreOpening {
    /// Whether an SQLite file is written anew, so that it can give back disk space and holds no
    /// remains of rows that were deleted or moved. It needs as much free space as the file takes,
    /// twice over.
    pub rewrites_file: bool,
}

/// The journal; cheap to clone.
#[derive(Debug, Clone)]
pub struct EventStore {
    inner: Arc<StoreInner>,
}

#[derive(Debug)]
pub struct StoreInner {
    pool: DatabasePool,
    writer: mpsc::Sender<writer::WriteOperation>,
    /// Held for reading by each writer while it commits.
    committing: Arc<RwLock<()>>,
    handover: WorkPrefetch,
    watchers: EventWatchers,
    figures: figures::StoreFigures,
    write_health: readiness::WriteHealth,
    clock: Clock,
    node: i64,
    lease_token: AtomicI64,
}

impl EventStore {
    /// Connects, brings the schema up to date and starts the writers. They end when the last clone
    /// of the journal is dropped and their queue is empty.
    pub async fn open(
        url: &str,
        clock: Clock,
        opening: StoreOpening,
    ) -> Result<(Self, handover::PrefetchOutlets), StoreError> {
        let pool = DatabasePool::open(url, opening).await?;
        let node = node::random();
        let (sender, receiver) = mpsc::channel(writer::QUEUE);
        let (handover, outlets) = WorkPrefetch::new();
        let inner = Arc::new(StoreInner {
            pool,
            writer: sender,
            committing: Arc::default(),
            handover,
            watchers: EventWatchers::default(),
            figures: figures::StoreFigures::default(),
            write_health: readiness::WriteHealth::default(),
            node,
            lease_token: AtomicI64::new(node::first_token(node)),
            clock,
        });
        writer::start_writers(&inner, receiver);
        let journal = Self { inner };
        match journal.enter().await {
            // What is there can be read, and an operator needs the server to see why it is full.
            Err(error @ StoreError::Unavailable(_)) if journal.is_readable().await => {
                tracing::error!(
                    error = %error_chain(&error),
                    "the database takes no writes: started for reading, captures are refused until it does"
                );
            }
            entered => entered?,
        }
        Ok((journal, outlets))
    }

    /// Where captures and plans take room for what they hand over.
    pub fn handover(&self) -> &WorkPrefetch {
        &self.inner.handover
    }

    /// Who waits for what becomes of an event.
    pub fn watchers(&self) -> &EventWatchers {
        &self.inner.watchers
    }

    /// What was recorded since the start.
    pub fn figures(&self) -> &figures::StoreFigures {
        &self.inner.figures
    }

    /// A token no other claim has.
    pub fn lease_token(&self) -> i64 {
        self.inner.lease_token.fetch_add(1, Ordering::Relaxed)
    }

    /// The clock that times are taken from.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn pool(&self) -> &DatabasePool {
        &self.inner.pool
    }

    /// Appends events and what is already known of their plans, in one commit with whatever else is
    /// waiting. The receipts are in the order of the captures.
    pub async fn capture(
        &self,
        captures: Vec<EventCapture>,
    ) -> Result<Vec<CaptureReceipt>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit(writer::WriteOperation::Capture { captures, reply }).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Records what a flow's modules said of an event. `false` if the lease ran out and another
    /// holds it: then nothing is written.
    pub async fn plan(&self, planned: RecordedPlan) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit(writer::WriteOperation::Plan { planned: Box::new(planned), reply }).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Records an attempt and what follows from it. Returns when it is queued; while the database
    /// is away the writer keeps it and tries again.
    pub async fn settle(&self, settled: SettledAttempt) -> Result<(), StoreError> {
        self.submit(writer::WriteOperation::Settle(Box::new(settled))).await
    }

    /// Waits until all that was submitted before is durable.
    pub async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        if self.submit(writer::WriteOperation::Flush { reply }).await.is_ok() {
            // A writer that ended has written all it could.
            drop(answer.await);
            // Another writer may still be at what was submitted earlier.
            drop(self.inner.committing.write().await);
        }
    }

    async fn is_readable(&self) -> bool {
        self.topology_version().await.is_ok()
    }

    async fn submit(&self, op: writer::WriteOperation) -> Result<(), StoreError> {
        self.inner.writer.send(op).await.map_err(|_closed| StoreError::Closed)
    }
}
