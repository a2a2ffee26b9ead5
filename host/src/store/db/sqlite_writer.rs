//! The one thread that writes to SQLite.
//!
//! A driver that passes each statement to another thread needs two wake-ups for each: a tenth of
//! all processor time at full load, measured. So a transaction is passed over once: the thread
//! takes a closure, runs it within a transaction and returns the result. This file does not know
//! any operation of the store, and all writes to SQLite go through it.

use super::checkpoint::WalCheckpointer;
use super::database_file::DatabaseFile;
use super::sqlite_connection;
use super::transaction::WriteTransaction;
use crate::store::StoreError;
use futures_util::future::BoxFuture;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Number of transactions that may wait for the thread. Further callers wait for a place.
const QUEUE: usize = 16;

/// A job for the thread.
type WriterJob = Box<dyn FnOnce(&mut WriterConnection) + Send>;

/// A handle to the thread. The thread ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct SqliteWriter {
    jobs: mpsc::Sender<WriterJob>,
}

/// The state that the thread owns.
struct WriterConnection {
    file: Arc<DatabaseFile>,
    /// `None` after it was closed. The next transaction opens it again.
    connection: Option<Connection>,
    checkpointer: WalCheckpointer,
    /// Drives closures that wait for something other than the database.
    runtime: Handle,
}

impl SqliteWriter {
    /// Starts the thread with an open connection.
    pub fn start(file: &Arc<DatabaseFile>, first: Connection) -> std::io::Result<Self> {
        let (jobs, mut asked) = mpsc::channel::<WriterJob>(QUEUE);
        WalCheckpointer::watch(&first);
        let mut writer = WriterConnection {
            file: Arc::clone(file),
            connection: Some(first),
            checkpointer: WalCheckpointer::start(Arc::clone(file))?,
            runtime: Handle::current(),
        };
        std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            while let Some(job) = asked.blocking_recv() {
                writer.run_job(job);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs a closure within a transaction. `state` is passed to the closure and returned with any
    /// result.
    pub async fn transact<S, T, F>(&self, state: S, body: F) -> (S, Result<T, StoreError>)
    where
        S: Default + Send + 'static,
        T: Send + 'static,
        F: for<'t> FnOnce(
                &'t mut WriteTransaction<'_>,
                &'t mut S,
            ) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let done = self.run(move |writer| {
            let mut state = state;
            let done = writer.transact(&mut state, body);
            (state, done)
        });
        done.await.unwrap_or_else(|closed| (S::default(), Err(closed)))
    }

    /// Runs a closure on the connection, outside any transaction.
    pub async fn with_connection<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |writer| Ok(body(writer.connect()?)?)).await?
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut WriterConnection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: WriterJob = Box::new(move |writer| {
            // A caller that no longer waits belongs to a server that is stopping.
            drop(reply.send(job(writer)));
        });
        self.jobs.send(job).await.map_err(|_closed| StoreError::Closed)?;
        answer.await.map_err(|_gone| StoreError::Closed)
    }
}

impl WriterConnection {
    /// Runs a job. A panic in one job does not affect the others.
    fn run_job(&mut self, job: WriterJob) {
        if catch_unwind(AssertUnwindSafe(|| job(self))).is_err() {
            self.connection = None;
        }
        if let Some(db) = &self.connection {
            self.checkpointer.committed(db);
        }
    }

    fn connect(&mut self) -> Result<&mut Connection, rusqlite::Error> {
        let known = self.connection.take();
        let open = || sqlite_connection::open_writer(self.file.path());
        let opened = known.map_or_else(|| open().inspect(WalCheckpointer::watch), Ok)?;
        Ok(self.connection.insert(opened))
    }

    fn transact<S, T, F>(&mut self, state: &mut S, body: F) -> Result<T, StoreError>
    where
        F: for<'t> FnOnce(
            &'t mut WriteTransaction<'_>,
            &'t mut S,
        ) -> BoxFuture<'t, Result<T, StoreError>>,
    {
        let done = self.try_transact(state, body);
        match &done {
            Ok(_) => {}
            // Closing rolls back any state in which a full disk left the connection.
            Err(StoreError::Unavailable(_)) => self.connection = None,
            Err(_) => self.roll_back(),
        }
        done
    }

    fn try_transact<S, T, F>(&mut self, state: &mut S, body: F) -> Result<T, StoreError>
    where
        F: for<'t> FnOnce(
            &'t mut WriteTransaction<'_>,
            &'t mut S,
        ) -> BoxFuture<'t, Result<T, StoreError>>,
    {
        self.file.check_in_place()?;
        let runtime = self.runtime.clone();
        let db = self.connect()?;
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = runtime.block_on(body(&mut WriteTransaction::Sqlite(db), state))?;
        db.prepare_cached("COMMIT")?.execute([])?;
        // Checks again: if the file disappeared meanwhile, the committed data is lost with it.
        self.file.check_in_place()?;
        Ok(done)
    }

    fn roll_back(&mut self) {
        let is_clean = self
            .connection
            .as_ref()
            .is_some_and(|db| db.is_autocommit() || db.execute_batch("ROLLBACK").is_ok());
        if !is_clean {
            self.connection = None;
        }
    }
}
