//! Days of UTC. An event belongs to the day of its id, which begins with the time of its capture.

use crate::model::id::EventId;
use crate::store::EventSpan;
use crate::time::timestamp::Timestamp;
use std::fmt;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The text is not a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day in UTC, such as 2026-11-30")]
pub struct InvalidDay;

/// A day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDay(i64);

impl UtcDay {
    /// Returns the day of a time.
    pub const fn of(at: Timestamp) -> Self {
        Self(at.micros().div_euclid(DAY))
    }

    /// Parses a day such as `2026-11-30`.
    pub fn parse(text: &str) -> Result<Self, InvalidDay> {
        let start =
            Timestamp::parse(&format!("{text}T00:00:00Z")).map_err(|_invalid| InvalidDay)?;
        let day = Self::of(start);
        if day.to_string() == text { Ok(day) } else { Err(InvalidDay) }
    }

    /// Returns the first moment of the day.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0 * DAY)
    }

    /// Returns the first moment after the day.
    pub const fn end(self) -> Timestamp {
        Timestamp::from_micros((self.0 + 1) * DAY)
    }

    /// Returns the day that is this number of days earlier.
    #[must_use]
    pub fn earlier(self, days: u16) -> Self {
        Self(self.0 - i64::from(days))
    }

    /// Returns the events of the day.
    pub const fn span(self) -> EventSpan {
        let (after, before) = (EventId::first_at(self.start()), EventId::first_at(self.end()));
        EventSpan { after, before }
    }
}

impl fmt::Display for UtcDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.start().to_string().get(..10).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_as_it_is_read() {
        let day = UtcDay::parse("2026-11-30").unwrap();
        assert_eq!(day.to_string(), "2026-11-30");
        assert_eq!(day.start().to_string(), "2026-11-30T00:00:00.000Z");
        assert_eq!(day.end(), UtcDay::parse("2026-12-01").unwrap().start());
        assert_eq!(day.earlier(30).to_string(), "2026-10-31");
        assert_eq!(UtcDay::of(day.end()), UtcDay::parse("2026-12-01").unwrap());
    }

    #[test]
    fn other_texts_are_not_days() {
        for text in ["", "2026-11-31", "2026-1-1", "20261130", "2026-11-30T00", "today", "9"] {
            assert_eq!(UtcDay::parse(text), Err(InvalidDay), "{text}");
        }
    }

    #[test]
    fn an_event_belongs_to_the_day_of_its_id() {
        let day = UtcDay::parse("2026-11-30").unwrap();
        let (first, last) = (day.start(), Timestamp::from_micros(day.end().micros() - 1));
        for at in [first, last] {
            let id = EventId::generate_at(at);
            assert!(id > day.span().after && id < day.span().before, "{at}");
        }
        let next = EventId::generate_at(day.end());
        assert!(next > day.span().before);
    }
}
