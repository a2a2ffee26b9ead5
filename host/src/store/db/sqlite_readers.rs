//! Connections that read from SQLite.

use super::{PATIENCE, sqlite_connection};
use crate::store::StoreError;
use crate::store::error::database_error::DatabaseError;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Largest number of connections for reading.
pub const READERS: usize = 4;
/// Interval at which SQLite checks whether a read has been abandoned, in instructions of its
/// virtual machine. This is some tens of microseconds.
const INSTRUCTIONS: i32 = 10_000;

/// Marks a read as abandoned when it is dropped.
struct AbandonGuard(Arc<AtomicBool>);

impl Drop for AbandonGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Up to four connections, opened when they are first needed. A read runs on one of the runtime's
/// threads for blocking work.
#[derive(Debug, Clone)]
pub struct SqliteReaders {
    path: PathBuf,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl SqliteReaders {
    pub fn new(path: &Path) -> Self {
        let places = Arc::new(Semaphore::new(READERS));
        Self { path: path.to_owned(), places, idle: Arc::default() }
    }

    /// Runs a closure with a connection. Fails if none is free within three seconds. A read whose
    /// caller has gone is interrupted, so that its connection becomes free.
    pub async fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned());
        let place = place.await.map_err(|_elapsed| DatabaseError::NoFreeConnection)?;
        let place = place.map_err(|_closed| StoreError::Closed)?;
        let readers = self.clone();
        let guard = AbandonGuard(Arc::default());
        let is_abandoned = Arc::clone(&guard.0);
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            let known = readers.idle().pop();
            let db = known.map_or_else(|| sqlite_connection::open_reader(&readers.path), Ok)?;
            let is_abandoned = move || is_abandoned.load(Ordering::Relaxed);
            db.progress_handler(INSTRUCTIONS, Some(is_abandoned))?;
            let read = body(&db);
            db.progress_handler(0, None::<fn() -> bool>)?;
            if !matches!(read, Err(StoreError::Unavailable(_))) && !readers.places.is_closed() {
                readers.idle().push(db);
            }
            read
        });
        let read = reading.await;
        drop(guard);
        read.map_err(|_stopped| StoreError::Closed)?
    }

    /// Returns how many connections are in use.
    pub fn count_used(&self) -> usize {
        READERS - self.places.available_permits().min(READERS)
    }

    /// Closes the connections. Those in use are closed when their read ends.
    pub fn close(&self) {
        self.places.close();
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
