//! Settings of a source that captures events at scheduled times.

use crate::model::fault::InputFault;
use crate::model::type_pattern::is_event_type;
use crate::time::cron;
use crate::time::cron::CronSchedule;
use crate::time::span::TimeSpan;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// Default for how late a time may be used. A server restarts in less.
const GRACE: Duration = Duration::from_mins(1);

/// The handling of times that were missed because the server did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Missed)]
pub enum MissedTimes {
    /// They are skipped. The next time is as scheduled.
    #[default]
    Skip,
    /// One event is captured for all of them.
    Once,
}

/// The settings of a source that captures an event at scheduled times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSettings {
    /// The times, as a cron expression of five fields, or of six with seconds first.
    #[schema(example = "0 9 * * MON-FRI")]
    pub cron: String,
    /// The time zone of the expression, an IANA name. If left out, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Europe/Athens")]
    pub time_zone: Option<String>,
    /// Type of the events.
    #[serde(default = "event")]
    pub event: String,
    /// Members of the events' data, beside `scheduled_at` and `missed`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
    /// Handling of times that were missed because the server did not run: `skip` drops them, `once`
    /// captures one event for all of them.
    #[serde(default)]
    pub missed: MissedTimes,
    /// Time by which an event may be late without counting as missed.
    #[serde(default = "grace")]
    #[schema(value_type = String)]
    pub grace: TimeSpan,
}

fn event() -> String {
    "schedule.due".to_owned()
}

const fn grace() -> TimeSpan {
    TimeSpan::new(GRACE)
}

impl ScheduleSettings {
    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = self.cron().err().into_iter().collect();
        if !is_event_type(&self.event) {
            let message = format!("`{}` is not an event type such as `report.due`", self.event);
            faults.push(InputFault::new("event", message));
        }
        faults
    }

    /// Returns the scheduled times.
    pub fn cron(&self) -> Result<CronSchedule, InputFault> {
        let zone = cron::read_zone(self.time_zone.as_deref());
        let zone = zone.map_err(|why| InputFault::new("time_zone", why))?;
        CronSchedule::parse(&self.cron, zone).map_err(|why| InputFault::new("cron", why))
    }
}
