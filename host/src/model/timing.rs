//! Computes when a source runs.

use crate::model::fault::InputFault;
use crate::time::cron;
use crate::time::cron::CronSchedule;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// The shortest and the longest time between two runs.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24 * 31));

/// The times at which a source runs.
#[derive(Debug, Clone)]
pub enum SourceTiming {
    /// At this interval, counted from the start of the last run.
    Every(Duration),
    /// At the times of a schedule.
    Cron(Box<CronSchedule>),
    /// Continuously: a run lasts until it fails or is told to stop.
    Always,
}

impl SourceTiming {
    /// Reads the settings: either `every` or `cron`, or else the default `usual`. The faults name
    /// the settings' fields.
    pub fn read(
        every: Option<TimeSpan>,
        cron: Option<&str>,
        time_zone: Option<&str>,
        usual: Duration,
    ) -> Result<Self, InputFault> {
        let zone = cron::read_zone(time_zone).map_err(|why| InputFault::new("time_zone", why))?;
        match (every, cron) {
            (Some(_), Some(_)) => Err(InputFault::new("cron", "set `every` or `cron`, not both")),
            (None, Some(text)) => {
                let cron =
                    CronSchedule::parse(text, zone).map_err(|why| InputFault::new("cron", why))?;
                Ok(Self::Cron(Box::new(cron)))
            }
            (every, None) => {
                let every = every.map_or(usual, TimeSpan::get);
                let fits = (BOUNDS.0..=BOUNDS.1).contains(&every);
                let message = "must be at least `1s` and at most `31d`";
                if fits { Ok(Self::Every(every)) } else { Err(InputFault::new("every", message)) }
            }
        }
    }

    /// Returns when the next run is due, given when the last one began. `since` is when the source
    /// was set up.
    pub fn next(&self, last: Option<Timestamp>, since: Timestamp) -> Option<Timestamp> {
        match (self, last) {
            (Self::Every(_), None) => Some(since),
            (Self::Every(every), Some(last)) => Some(last.after(*every)),
            (Self::Always, last) => Some(last.unwrap_or(since)),
            (Self::Cron(cron), last) => cron.next_after(last.unwrap_or(since)),
        }
    }
}
