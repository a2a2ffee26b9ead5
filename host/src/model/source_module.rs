//! The modules that make the events of sources.

use super::flow::FlowModule;
use super::timing::SourceTiming;
use crate::model::fault::{InputFault, check_name};
use crate::time::span::TimeSpan;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Default interval between two rounds.
const EVERY: Duration = Duration::from_mins(1);
/// Default and largest number of requests in one round.
const PAGES: (u32, u32) = (100, 1_000);
/// Default and largest size of one answer, in KiB.
const ANSWER_KIB: (u32, u32) = (1_024, 4_096);

/// The module that decodes the requests of a webhook source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceModule {
    /// Name of the module. It must have the role `source`.
    #[schema(example = "stripe-like-source")]
    pub name: String,
    /// Version to run. Default: the active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Configuration that the module reads. It must fit the schema in the module's manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub config: BTreeMap<String, Value>,
}

impl SourceModule {
    /// Returns the faults of the settings. Whether the module exists is not checked here.
    pub fn check(&self) -> Vec<InputFault> {
        check_name(&self.name).err().into_iter().collect()
    }
}

/// The settings of a source whose module asks a paged API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModulePullSettings {
    /// Name of the module. It must have the role `puller`.
    #[schema(example = "paged-orders")]
    pub name: String,
    /// Version to run. Default: the active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Configuration that the module reads. It must fit the schema in the module's manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub config: BTreeMap<String, Value>,
    /// Interval at which rounds begin. If neither this nor `cron` is set, `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub every: Option<TimeSpan>,
    /// The times at which rounds begin, instead of `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of `cron`. If left out, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Most requests of one round, 1 to 1,000. The next round goes on where this one ends.
    #[serde(default = "pages")]
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    pub max_pages: u32,
    /// Most KiB of one answer, 1 to 4,096.
    #[serde(default = "answer_kib")]
    #[schema(minimum = 1, maximum = 4096, default = 1024)]
    pub max_answer_kib: u32,
}

const fn pages() -> u32 {
    PAGES.0
}

const fn answer_kib() -> u32 {
    ANSWER_KIB.0
}

impl ModulePullSettings {
    /// Returns the faults of the settings. Whether the module exists is not checked here.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = check_name(&self.name).err().into_iter().collect();
        faults.extend(self.timing().err());
        for (field, value, most) in [
            ("max_pages", self.max_pages, PAGES.1),
            ("max_answer_kib", self.max_answer_kib, ANSWER_KIB.1),
        ] {
            if !(1..=most).contains(&value) {
                faults.push(InputFault::new(field, format!("from 1 to {most}")));
            }
        }
        faults
    }

    /// Returns when rounds begin.
    pub fn timing(&self) -> Result<SourceTiming, InputFault> {
        SourceTiming::read(self.every, self.cron.as_deref(), self.time_zone.as_deref(), EVERY)
    }
}

/// Returns the entry of a module as flows have it.
pub fn module_entry(
    name: &str,
    version: Option<u32>,
    config: &BTreeMap<String, Value>,
) -> FlowModule {
    FlowModule { name: name.to_owned(), version, config: config.clone(), ..FlowModule::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_round_is_bounded() {
        let faults = |more: Value| {
            let mut given = json!({"name": "orders"});
            given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let settings: ModulePullSettings = serde_json::from_value(given).unwrap();
            settings.check().into_iter().map(|fault| fault.path).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(faults(json!({})), none);
        assert_eq!(
            faults(json!({"max_pages": 0, "max_answer_kib": 4097})),
            ["max_pages", "max_answer_kib"]
        );
        assert_eq!(faults(json!({"every": "1m", "cron": "* * * * *"})), ["cron"]);
    }
}
