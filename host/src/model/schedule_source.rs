//! What an operator sets of a source that is a clock.

use crate::model::fault::InputFault;
use crate::model::type_pattern::is_event_type;
use crate::time::cron;
use crate::time::cron::CronSchedule;
use crate::time::span::TimeSpan;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// How late a time may be taken where nothing else is set: a server starts again in less.
const GRACE: Duration = Duration::from_mins(1);

/// What becomes of times that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Missed)]
pub enum MissedTimes {
    /// Nothing: the next time is as planned.
    #[default]
    Skip,
    /// One event for all of them.
    Once,
}

/// What an operator sets of a source that emits an event at certain times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSettings {
    /// When: a cron expression of five fields, or of six with seconds first.
    #[schema(example = "0 9 * * MON-FRI")]
    pub cron: String,
    /// The time zone of the expression, an IANA name; UTC where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Europe/Athens")]
    pub time_zone: Option<String>,
    /// The type of the event.
    #[serde(default = "event")]
    pub event: String,
    /// What its data holds besides `scheduled_at` and `missed`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
    /// What becomes of times that nobody was there for, because the server did not run.
    #[serde(default)]
    pub missed: MissedTimes,
    /// How late a time may still be taken as if it were now.
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
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = self.cron().err().into_iter().collect();
        if !is_event_type(&self.event) {
            let message = format!("`{}` is not an event type such as `report.due`", self.event);
            faults.push(InputFault::new("event", message));
        }
        faults
    }

    /// Its times.
    pub fn cron(&self) -> Result<CronSchedule, InputFault> {
        let zone = cron::read_zone(self.time_zone.as_deref());
        let zone = zone.map_err(|why| InputFault::new("time_zone", why))?;
        CronSchedule::parse(&self.cron, zone).map_err(|why| InputFault::new("cron", why))
    }
}
