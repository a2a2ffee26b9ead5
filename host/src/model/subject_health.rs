//! The stored health of an endpoint, a flow or a source between two evaluations of the alerts.

use super::alert::SubjectKind;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Number of known silences from which on a source's rhythm is used.
const ENOUGH_GAPS: u64 = 50;
/// A silence is too long if it exceeds the longest usual one by this factor.
const TOLERANCE: u64 = 3;
/// Shortest time, in seconds, after which a source counts as silent.
const SHORTEST_SILENCE: u64 = 3_600;
const HOUR: i64 = 3_600;
/// The number of hours in a week. The count begins on a Thursday, with 1970, which does not matter
/// here.
const WEEK: i64 = 168;

/// The stored health of one subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthMemory {
    /// Time since which the subject has been failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The reason in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rhythm in which the source sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<SourceRhythm>,
}

/// Stored health with its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHealth {
    pub kind: SubjectKind,
    /// The id in its text form.
    pub subject: String,
    pub memory: HealthMemory,
}

/// The rhythm of a source: for each hour of the week the longest silence that began in it, in
/// seconds. The silence of a night begins in the evening and is long every evening, so it raises no
/// alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceRhythm {
    pub last_event_at: Option<Timestamp>,
    /// Number of known silences.
    gaps: u64,
    longest: BTreeMap<u8, u64>,
}

fn hour_of_week(at: Timestamp) -> u8 {
    u8::try_from((at.seconds().div_euclid(HOUR)).rem_euclid(WEEK)).unwrap_or_default()
}

impl SourceRhythm {
    /// Records a group of events with the times of its first and last event.
    pub fn note_events(&mut self, first: Timestamp, last: Timestamp) {
        if let Some(before) = self.last_event_at {
            // Events may be evaluated twice. The first one is then not later than the last known
            // one.
            let gap = first.since(before).as_secs();
            let known = self.longest.entry(hour_of_week(before)).or_default();
            // An eighth is forgotten each week, with the one silence that leads out of the hour. So
            // one long outage does not blind the rule forever.
            let leaves_hour = hour_of_week(first) != hour_of_week(before) || gap >= 3_600;
            let kept = if leaves_hour { *known - *known / 8 } else { *known };
            *known = gap.max(kept);
            self.gaps += 1;
        }
        self.last_event_at = self.last_event_at.max(Some(last));
    }

    /// Returns the time, in seconds, after which a silence that began with the last event is too
    /// long, or `None` if too little is known.
    pub fn longest_silence(&self) -> Option<u64> {
        let began = hour_of_week(self.last_event_at?);
        let hours = [began, (began + 1) % 168, began.checked_sub(1).unwrap_or(167)];
        let usual = hours.iter().filter_map(|hour| self.longest.get(hour)).max()?;
        (self.gaps >= ENOUGH_GAPS).then(|| (usual * TOLERANCE).max(SHORTEST_SILENCE))
    }

    /// Returns how long the source has been silent.
    pub fn silence(&self, now: Timestamp) -> Option<Duration> {
        self.last_event_at.map(|at| now.since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;

    fn at(day: u64, hour: u64, minute: u64) -> Timestamp {
        let seconds = (day * 24 + hour) * 3_600 + minute * MINUTE;
        Timestamp::from_micros(0).after(Duration::from_secs(seconds))
    }

    /// Learns office hours: an event every ten minutes from eight to six, on five days of the week.
    fn learnt(weeks: u64) -> SourceRhythm {
        let mut rhythm = SourceRhythm::default();
        for day in (0..weeks * 7).filter(|day| day % 7 < 5) {
            for minute in (0..10 * MINUTE).step_by(10) {
                rhythm.note_events(at(day, 8, minute), at(day, 8, minute));
            }
        }
        rhythm
    }

    #[test]
    fn a_quiet_night_is_usual_and_a_quiet_morning_is_not() {
        let mut rhythm = learnt(2);
        // The last event came on Friday evening, so the silence of the weekend is usual.
        assert!(rhythm.longest_silence().unwrap() > 60 * 3_600);
        rhythm.note_events(at(14, 8, 0), at(14, 10, 30));
        assert_eq!(rhythm.longest_silence(), Some(SHORTEST_SILENCE));
    }

    #[test]
    fn a_new_source_has_no_limit_for_its_silence() {
        let mut rhythm = SourceRhythm::default();
        assert_eq!(rhythm.longest_silence(), None);
        rhythm.note_events(at(0, 8, 0), at(0, 8, 0));
        rhythm.note_events(at(0, 8, 1), at(0, 8, 1));
        assert_eq!(rhythm.longest_silence(), None);
        assert_eq!(rhythm.silence(at(0, 8, 3)), Some(Duration::from_secs(2 * MINUTE)));
    }
}
