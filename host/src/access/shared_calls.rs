//! A token's calls a minute, shared by several nodes.
//!
//! A node reserves a twentieth of the minute's calls at a time in the database, and answers that
//! many calls without asking again. Minutes are those of the clock that all nodes share.

use crate::time::timestamp::Timestamp;

const MINUTE: i64 = 60;
/// Number of parts into which a minute's calls are divided.
const PARTS: u32 = 20;

/// The calls of one minute that this node has reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedCalls {
    /// The minute, counted since 1970.
    minute: i64,
    /// Calls that this node may answer.
    granted: u32,
    /// Calls that all nodes together have reserved.
    taken: u32,
    /// Whether no calls are left to reserve.
    is_over: bool,
}

/// A number of calls to reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallPart {
    /// The minute, counted since 1970.
    pub minute: i64,
    pub calls: u32,
}

fn minute_of(now: Timestamp) -> i64 {
    now.seconds().div_euclid(MINUTE)
}

impl Default for SharedCalls {
    fn default() -> Self {
        Self { minute: i64::MIN, granted: 0, taken: 0, is_over: false }
    }
}

impl SharedCalls {
    /// Returns this reservation, if it is for the current minute.
    pub fn at(self, now: Timestamp) -> Option<Self> {
        (self.minute == minute_of(now)).then_some(self)
    }

    /// Returns the start of the minute, in seconds since 1970.
    pub const fn began(self) -> i64 {
        self.minute * MINUTE
    }

    pub const fn granted(self) -> u32 {
        self.granted
    }

    /// Returns how many calls all nodes have left after this node answered `answered` calls.
    pub const fn remaining(self, limit: u32, answered: u32) -> u32 {
        limit.saturating_sub(self.taken) + self.granted.saturating_sub(answered)
    }

    /// Returns the part to reserve before another call is answered, or `None` if enough calls are
    /// reserved or none are left.
    pub fn wanted(self, limit: u32, answered: u32, now: Timestamp) -> Option<CallPart> {
        let part = CallPart { minute: minute_of(now), calls: (limit / PARTS).max(1) };
        match self.at(now) {
            Some(known) if known.is_over || answered < known.granted => None,
            Some(_) | None => Some(part),
        }
    }

    /// Takes a part if the limit permits it, by what this node knows.
    pub fn take_own_part(&mut self, part: CallPart, limit: u32) {
        let known = if self.minute == part.minute { self.taken } else { 0 };
        let taken = known.saturating_add(part.calls);
        self.note_part(part, (taken <= limit).then_some(taken));
    }

    /// Records the result of a reservation. `taken` is the number of calls that all nodes have
    /// reserved by then, or `None` if too few were left.
    pub fn note_part(&mut self, part: CallPart, taken: Option<u32>) {
        if self.minute != part.minute {
            *self = Self { minute: part.minute, ..Self::default() };
        }
        match taken {
            Some(taken) => {
                self.granted += part.calls;
                self.taken = taken;
            }
            None => self.is_over = part.calls == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn calls_are_taken_in_parts_until_there_are_none() {
        let mut shared = SharedCalls::default();
        let part = CallPart { minute: 2, calls: 3 };
        assert_eq!(shared.wanted(60, 0, at(125)), Some(part));
        shared.note_part(part, Some(33));
        let known = shared.at(at(125)).unwrap();
        assert_eq!((known.began(), known.granted()), (120, 3));
        assert_eq!(known.remaining(60, 1), 29);
        assert_eq!(known.wanted(60, 2, at(125)), None);
        assert_eq!(known.wanted(60, 3, at(125)), Some(part));
        shared.note_part(part, None);
        assert_eq!(shared.wanted(60, 3, at(126)), Some(part), "a smaller part may be left");
        shared.note_part(CallPart { calls: 1, ..part }, None);
        assert_eq!(shared.wanted(60, 3, at(179)), None);
        assert_eq!(shared.at(at(180)), None);
        assert_eq!(shared.wanted(60, 3, at(180)), Some(CallPart { minute: 3, calls: 3 }));
    }

    #[test]
    fn a_node_that_cannot_ask_stays_within_the_limit() {
        let mut shared = SharedCalls::default();
        let part = CallPart { minute: 2, calls: 3 };
        for _ in 0..3 {
            shared.take_own_part(part, 7);
        }
        assert_eq!(shared.granted(), 6);
    }
}
