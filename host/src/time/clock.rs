//! The clock, as a value that is passed around, so that a test drives it.
//!
//! Waits are stored as times: when a delivery is due, when a lease ends. If the machine's clock is
//! set back by an hour, all of them would take an hour longer. So the time that waits are reckoned
//! by never goes back: it goes on, a little slower, until the machine's clock has caught up
//! ([`SteadyTime`]). Nodes that share a PostgreSQL reckon by its clock ([`FollowedTime`]), so that
//! they mean the same by a time. Signatures carry the machine's own time, because receivers compare
//! it with theirs.

use crate::time::followed_time::FollowedTime;
use crate::time::steady_time::SteadyTime;
use crate::time::timestamp::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// Tells the time.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// The database's clock, as it is known by samples.
    Database(Arc<FollowedTime>),
    /// A clock that stands where it is set, in microseconds since 1970.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The time that waits are reckoned by. It does not go back when the clock behind it is set
    /// back.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => STEADY.read(wall(), Instant::now),
            Self::Database(followed) => followed.read(Instant::now()),
            Self::Manual(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }

    /// The time of day by the machine's clock, for signatures.
    pub fn wall(&self) -> Timestamp {
        match self {
            Self::System | Self::Database(_) => wall(),
            Self::Manual(_) => self.now(),
        }
    }

    /// By how many microseconds the machine's clock is ahead of the time that waits are reckoned
    /// by; negative if it is behind.
    pub fn skew(&self) -> i64 {
        self.wall().micros().saturating_sub(self.now().micros())
    }
}

fn wall() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}

static STEADY: SteadyTime = SteadyTime::new();
