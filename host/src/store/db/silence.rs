//! Which connections have to show that they are alive before they are used.
//!
//! A connection whose peer is gone does not report an error, and often many go silent at the same
//! moment. The first one that costs a caller a time-out casts doubt on all that are older.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time without use after which a connection is tested.
const RESTED: Duration = Duration::from_secs(1);
/// Time after a silence for which older connections are tested. By then each of them was used.
const DOUBTED: Duration = Duration::from_secs(30);

/// The moment at which a connection was last found silent.
#[derive(Debug, Default)]
pub struct SilenceMemory(Mutex<Option<Instant>>);

impl SilenceMemory {
    /// Records that a connection did not answer.
    pub fn note_silence(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns whether a connection of this age, which was last used so long ago, is tested before
    /// it is used.
    pub fn doubts(&self, age: Duration, unused: Duration) -> bool {
        let silent_at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_older = |at: Instant| at.elapsed() < DOUBTED && age > at.elapsed();
        unused >= RESTED || silent_at.is_some_and(is_older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_older_than_a_silence_and_rested_ones_are_tested() {
        let (memory, moment) = (SilenceMemory::default(), Duration::from_millis(1));
        let hour = Duration::from_hours(1);
        assert!(!memory.doubts(hour, moment));
        assert!(memory.doubts(hour, RESTED));
        memory.note_silence();
        assert!(memory.doubts(hour, moment));
        assert!(!memory.doubts(Duration::ZERO, moment));
    }
}
