//! Work on PostgreSQL, with a time limit for each piece.
//!
//! A connection whose peer is gone does not report an error: requests are lost, and no answer
//! comes. So every wait is bounded, and a connection with an outstanding answer is closed and not
//! used again. If the answer to a commit is lost, the rows of the transaction show whether it was
//! committed.

use super::postgres_pools::PostgresPools;
use super::query::SqlQuery;
use super::stored_row::{FromStoredRow, StoredRow};
use super::transaction::WriteTransaction;
use crate::store::StoreError;
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Postgres};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Longest group commit. Under full load on two cores one takes 30 ms.
pub const LONGEST_COMMIT: Duration = Duration::from_secs(8);
/// Longest other transaction, such as that of a large configuration.
pub const LONGEST_WRITE: Duration = Duration::from_secs(30);
/// Longest time for reading one page.
const LONGEST_READ: Duration = Duration::from_secs(15);
/// Time to search for the rows of a commit without an answer, because the server may still be
/// working on it.
const LONGEST_DOUBT: Duration = Duration::from_secs(3);
/// Time for one search.
const LONGEST_SEARCH: Duration = Duration::from_secs(1);
/// The wait between two searches.
const DOUBT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a closure within a transaction. `proofs` are queries that each find a row if the
/// transaction was committed. They are used if its result is unknown.
pub async fn transact_postgres<S, T, F>(
    pools: &PostgresPools,
    longest: Duration,
    state: &mut S,
    body: F,
    proofs: fn(&S) -> Vec<SqlQuery<'_>>,
) -> Result<T, StoreError>
where
    F: for<'t> FnOnce(
        &'t mut WriteTransaction<'_>,
        &'t mut S,
    ) -> BoxFuture<'t, Result<T, StoreError>>,
{
    let mut db = pools.acquire_writer().await?;
    let mut written = None;
    let ran = timeout(longest, commit(pools, &mut db, &mut written, state, body)).await;
    let failed = match (ran, written) {
        (Ok(Ok(())), Some(written)) => return Ok(written),
        (Ok(Ok(())), None) => return Err(StoreError::Closed),
        (Ok(Err(failed)), in_doubt) => (failed, in_doubt),
        (Err(_elapsed), in_doubt) => (pools.note_silence(longest), in_doubt),
    };
    let (failed, in_doubt) = failed;
    if is_read_only(&failed) {
        pools.note_demotion();
        drop(db.detach());
        return Err(failed);
    }
    if !is_lost(&failed) {
        return Err(failed);
    }
    drop(db.detach());
    match in_doubt {
        Some(written) if is_committed(pools, &proofs(state)).await => Ok(written),
        Some(_) | None => Err(failed),
    }
}

/// Sets `written` before the commit, so that it is available if the answer to the commit is lost.
async fn commit<S, T, F>(
    pools: &PostgresPools,
    db: &mut PgConnection,
    written: &mut Option<T>,
    state: &mut S,
    body: F,
) -> Result<(), StoreError>
where
    F: for<'t> FnOnce(
        &'t mut WriteTransaction<'_>,
        &'t mut S,
    ) -> BoxFuture<'t, Result<T, StoreError>>,
{
    let mut tx = db.begin_with(AssertSqlSafe(Arc::clone(&pools.begin_writing))).await?;
    let mut writing = WriteTransaction::Postgres { db: &mut tx, scope: pools.scope };
    *written = Some(body(&mut writing, state).await?);
    tx.commit().await?;
    Ok(())
}

/// Runs one statement, which is a transaction of its own.
pub async fn execute_postgres(
    pools: &PostgresPools,
    statement: Query<'_, Postgres, PgArguments>,
    proofs: &[SqlQuery<'_>],
) -> Result<(), StoreError> {
    let mut db = pools.acquire_writer().await?;
    let ran = timeout(LONGEST_COMMIT, run_statement(pools, &mut db, statement)).await;
    let failed = match ran {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.into(),
        Err(_elapsed) => pools.note_silence(LONGEST_COMMIT),
    };
    if is_read_only(&failed) {
        pools.note_demotion();
        drop(db.detach());
        return Err(failed);
    }
    if !is_lost(&failed) {
        return Err(failed);
    }
    drop(db.detach());
    if is_committed(pools, proofs).await { Ok(()) } else { Err(failed) }
}

/// Runs one statement. Outside a transaction a pooler could prepare it in one session and run it in
/// another.
async fn run_statement(
    pools: &PostgresPools,
    db: &mut PgConnection,
    statement: Query<'_, Postgres, PgArguments>,
) -> Result<(), sqlx::Error> {
    if pools.scope.keeps_statements() {
        return statement.execute(db).await.map(drop);
    }
    let mut tx = db.begin_with(AssertSqlSafe(Arc::clone(&pools.begin_writing))).await?;
    statement.persistent(false).execute(&mut *tx).await?;
    tx.commit().await
}

/// Reads rows until `take` breaks.
pub async fn read_postgres<T: FromStoredRow>(
    pools: &PostgresPools,
    query: &SqlQuery<'_>,
    take: &mut (dyn FnMut(T) -> ControlFlow<()> + Send),
) -> Result<(), StoreError> {
    read_within(pools, query.longest(LONGEST_READ), query, take).await
}

async fn read_within<T: FromStoredRow>(
    pools: &PostgresPools,
    longest: Duration,
    query: &SqlQuery<'_>,
    take: &mut (dyn FnMut(T) -> ControlFlow<()> + Send),
) -> Result<(), StoreError> {
    let mut db = pools.acquire_reader().await?;
    let reading = async {
        if pools.scope.keeps_statements() {
            return read_rows(&mut db, query.for_postgres(), take).await;
        }
        let mut tx = db.begin_with(AssertSqlSafe(Arc::clone(&pools.begin_reading))).await?;
        read_rows(&mut tx, query.for_postgres().persistent(false), take).await?;
        Ok(tx.commit().await?)
    };
    let read = timeout(longest, reading).await;
    let read = read.unwrap_or_else(|_elapsed| Err(pools.note_silence(longest)));
    if read.as_ref().is_err_and(is_lost) {
        drop(db.detach());
    }
    read
}

async fn read_rows<T: FromStoredRow>(
    db: &mut PgConnection,
    query: Query<'_, Postgres, PgArguments>,
    take: &mut (dyn FnMut(T) -> ControlFlow<()> + Send),
) -> Result<(), StoreError> {
    let mut rows = query.fetch(db);
    while let Some(row) = rows.try_next().await? {
        if take(T::from_row(&StoredRow::Postgres(&row))?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Returns whether the connection may still have an outstanding answer, or is gone.
fn is_lost(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(cause) if cause.is_lost_connection())
}

/// Returns whether the server wrote nothing because it is a standby or read-only. Its connection is
/// closed, because the next one may go to a server that accepts writes.
fn is_read_only(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(cause) if cause.is_read_only())
}

/// Returns whether one of the rows exists that the transaction was to write.
async fn is_committed(pools: &PostgresPools, proofs: &[SqlQuery<'_>]) -> bool {
    let until = Instant::now() + LONGEST_DOUBT;
    while !proofs.is_empty() && Instant::now() < until {
        for proof in proofs {
            let mut is_there = false;
            let mut note = |()| {
                is_there = true;
                ControlFlow::Break(())
            };
            if read_within(pools, LONGEST_SEARCH, proof, &mut note).await.is_err() {
                break;
            }
            if is_there {
                return true;
            }
        }
        sleep(DOUBT_PAUSE).await;
    }
    false
}
