//! The clock as a value that is passed around, so that tests can set it.
//!
//! Waits are stored as points in time: when a delivery is due, when a lease ends. If the machine's
//! clock were set back by an hour, all of them would last an hour longer. The time for waits
//! therefore never goes back. It continues a little slower until the machine's clock has caught up
//! ([`SteadyTime`]). Nodes that share a PostgreSQL use its clock for waits ([`FollowedTime`]), so a
//! stored time means the same to all of them. Signatures carry the machine's own time, because
//! receivers compare it with theirs.

use crate::time::followed_time::FollowedTime;
use crate::time::steady_time::SteadyTime;
use crate::time::timestamp::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// A source of the current time.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// The database's clock, estimated from samples.
    Database(Arc<FollowedTime>),
    /// A clock that only moves when it is set, in microseconds since 1970.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Returns the time for waits. It does not go back when the underlying clock is set back.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => STEADY.read(wall(), Instant::now),
            Self::Database(followed) => followed.read(Instant::now()),
            Self::Manual(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }

    /// Returns the machine's own time, for signatures.
    pub fn wall(&self) -> Timestamp {
        match self {
            Self::System | Self::Database(_) => wall(),
            Self::Manual(_) => self.now(),
        }
    }

    /// Returns how many microseconds the machine's clock is ahead of the time for waits. Negative
    /// if it is behind.
    pub fn skew(&self) -> i64 {
        self.wall().micros().saturating_sub(self.now().micros())
    }
}

fn wall() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}

static STEADY: SteadyTime = SteadyTime::new();
