//! A lock of the database for which other nodes wait.

use super::postgres_address::SessionScope;
use super::postgres_pools::PostgresPools;
use crate::store::StoreError;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Longest wait for the begin of a transaction, which waits for no lock.
const LONGEST_BEGIN: Duration = Duration::from_secs(5);
/// Time that the session of a lock has to end its transaction.
const LONGEST_END: Duration = Duration::from_secs(1);

/// An advisory lock for which other nodes wait. Dropping it releases the lock. The lock is also
/// released when this process dies, and two minutes after it stalls.
#[derive(Debug)]
pub struct ClusterLock {
    /// Taken when the lock is released.
    db: Option<PgConnection>,
    session: LockSession,
}

/// The server's side of the connection that holds the lock or waits for it.
#[derive(Debug, Clone)]
struct LockSession {
    pools: PostgresPools,
    key: i64,
    process: i32,
}

/// Takes an advisory lock of the database. The lock belongs to a transaction that stays open,
/// because behind a pooler a session's lock would remain on a connection that others get next. The
/// time-out of two minutes is longer than any change that needs the lock. PostgreSQL gives up
/// waiting when this does, because it does not notice that a connection went silent and would give
/// the lock to nobody.
pub async fn take_cluster_lock(
    pools: &PostgresPools,
    key: i64,
    longest: Duration,
) -> Result<ClusterLock, StoreError> {
    let settings = format!(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '2min'; \
         SET LOCAL lock_timeout = '{}ms'; SELECT pg_backend_pid() AS process",
        longest.as_millis()
    );
    // Behind a pooler, the begin waits for a connection of the server.
    let limit = match pools.scope {
        SessionScope::Transaction => longest,
        SessionScope::Connection => LONGEST_BEGIN.min(longest),
    };
    // A connection that went silent shows it at its first statement. After that, older connections
    // are asked before they are used.
    let (mut db, process) = match begin_session(pools, &settings, limit).await? {
        Ok(begun) => begun,
        Err(_silent) => begin_session(pools, &settings, limit).await??,
    };
    let session = LockSession { pools: pools.clone(), key, process };
    let take = format!("SELECT pg_advisory_xact_lock({key})");
    let take = sqlx::raw_sql(AssertSqlSafe(take)).execute(&mut db);
    match timeout(longest, take).await {
        Ok(taken) => taken?,
        Err(_elapsed) => {
            drop(db);
            session.end().await;
            return Err(pools.note_silence(longest));
        }
    };
    Ok(ClusterLock { db: Some(db), session })
}

/// Begins the transaction of a lock on a connection of its own. Returns the connection with the
/// number of its session. The inner error is that the connection is silent.
async fn begin_session(
    pools: &PostgresPools,
    statement: &str,
    limit: Duration,
) -> Result<Result<(PgConnection, i32), StoreError>, StoreError> {
    let mut db = pools.acquire_writer().await?.detach();
    let beginning = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_one(&mut db);
    let Ok(begun) = timeout(limit, beginning).await else {
        return Ok(Err(pools.note_silence(limit)));
    };
    let process = begun?.try_get("process")?;
    Ok(Ok((db, process)))
}

impl LockSession {
    /// Ends the transaction. A silent connection does not tell the server that it is closed, so
    /// another one ends its session.
    async fn release(self, mut db: PgConnection) {
        let ended = timeout(LONGEST_END, sqlx::raw_sql("COMMIT").execute(&mut db)).await;
        drop(db);
        if !matches!(ended, Ok(Ok(_))) {
            self.end().await;
        }
    }

    /// Ends the session if it still holds this lock or waits for it. Its number may belong to
    /// another session by now.
    async fn end(&self) {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' \
             AND pid = {} AND (classid::bigint << 32) + objid::bigint = {}",
            self.process, self.key
        );
        let ending = async {
            let mut db = self.pools.acquire_writer().await?;
            sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut *db).await
        };
        if !matches!(timeout(LONGEST_END * 5, ending).await, Ok(Ok(_))) {
            tracing::warn!("a lock for other nodes was not released; it ends within two minutes");
        }
    }
}

impl Drop for ClusterLock {
    fn drop(&mut self) {
        let (Some(db), session) = (self.db.take(), self.session.clone()) else { return };
        // Without a runtime the process is ending, and its connections with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(session.release(db));
        }
    }
}
