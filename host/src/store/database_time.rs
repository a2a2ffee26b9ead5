//! Gives all nodes of a PostgreSQL database one clock: that of the database.
//!
//! Leases, due times and the ids that put events in order are compared across nodes. So each node
//! asks the database for the time with every heartbeat, and uses its monotonic clock in between
//! ([`FollowedTime`]). An event that is captured after another one was acknowledged gets a later id
//! on any node, because the nodes' times differ by less than the duration of a commit.

use super::db::{
    DatabaseDialect, DatabasePool, FromStoredRow, SqlQuery, StoredRow, WriteTransaction,
};
use super::{StoreError, statements};
use crate::time::clock::Clock;
use crate::time::followed_time::{ClockSample, FollowedTime};
use crate::time::timestamp::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of samples at the start, so that one slow answer does not distort the time.
const FIRST_SAMPLES: usize = 4;

/// The uncertainty that this machine's own time is given.
const DOUBTED: Duration = Duration::from_mins(1);

struct DatabaseTime {
    at: Timestamp,
}

impl FromStoredRow for DatabaseTime {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { at: row.get("value")? })
    }
}

/// Returns the time of the database's clock. Asks within a transaction, because getting a
/// connection takes time.
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

/// Returns the clock for a store whose database is away. It begins with this machine's time. Any
/// sample of the database's time counts as more exact.
pub fn assume_time(clock: Clock) -> Clock {
    if matches!(clock, Clock::Manual(_)) {
        return clock;
    }
    let answered = Instant::now();
    let asked = answered.checked_sub(DOUBTED).unwrap_or(answered);
    let told = clock.wall().before(answered.saturating_duration_since(asked) / 2);
    Clock::Database(Arc::new(FollowedTime::new(ClockSample { told, asked, answered })))
}

/// Returns the clock for a store on this database. A clock that a test sets is not changed.
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
