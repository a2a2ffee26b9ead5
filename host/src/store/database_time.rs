//! The time that all nodes of a PostgreSQL reckon by: its own.
//!
//! Leases, due times and the ids that put events in order are compared across nodes. So each node
//! asks the database for the time with every sign of life, and goes on by its monotonic clock in
//! between ([`FollowedTime`]). An event that is captured after another one was acknowledged has a
//! later id on whichever node: the nodes' times differ by less than a commit takes.

use super::db::{
    DatabaseDialect, DatabasePool, FromStoredRow, SqlQuery, StoredRow, WriteTransaction,
};
use super::{StoreError, statements};
use crate::time::clock::Clock;
use crate::time::followed_time::{ClockSample, FollowedTime};
use crate::time::timestamp::Timestamp;
use std::sync::Arc;
use std::time::Instant;

/// How often the time is asked for at the start, so that one slow answer does not count.
const FIRST_SAMPLES: usize = 4;

struct DatabaseTime {
    at: Timestamp,
}

impl FromStoredRow for DatabaseTime {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { at: row.get("value")? })
    }
}

/// What time it is by the database's clock. Asked within a transaction, because getting a
/// connection takes its time.
pub async fn sample_time(tx: &mut WriteTransaction<'_>) -> Result<Option<ClockSample>, StoreError> {
    if matches!(tx, WriteTransaction::Sqlite(_)) {
        return Ok(None);
    }
    let asked = Instant::now();
    let query = SqlQuery::new(statements::DATABASE_TIME_POSTGRES);
    let told: Option<DatabaseTime> = tx.fetch_optional(query).await?;
    let answered = Instant::now();
    Ok(told.map(|told| ClockSample { told: told.at, asked, answered }))
}

/// The clock that a store on this database reckons by. A clock that a test sets is left alone.
pub async fn follow_database(pool: &DatabasePool, clock: Clock) -> Result<Clock, StoreError> {
    if pool.dialect() == DatabaseDialect::Sqlite || matches!(clock, Clock::Manual(_)) {
        return Ok(clock);
    }
    let asking = pool.write(|tx| {
        Box::pin(async move {
            let mut samples = Vec::new();
            for _ in 0..FIRST_SAMPLES {
                samples.extend(sample_time(tx).await?);
            }
            Ok(samples)
        })
    });
    let mut samples = asking.await?.into_iter();
    let Some(first) = samples.next() else { return Ok(clock) };
    let followed = FollowedTime::new(first);
    samples.for_each(|sample| followed.note_sample(sample));
    Ok(Clock::Database(Arc::new(followed)))
}
