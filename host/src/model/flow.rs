//! Flows: connect events with modules and endpoints.

use super::config_schema::ConfigSchema;
use super::id::FlowId;
use super::module_breaker::OpenBreakerAction;
use crate::model::fault::{InputFault, check_condition, check_name};
use crate::model::type_pattern::TypePattern;
use crate::time::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most modules of a flow.
pub const MAX_MODULES: usize = 16;
/// Most endpoints of a flow.
pub const MAX_ENDPOINTS: usize = 100;

/// One module in a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowModule {
    /// Name of the module.
    pub name: String,
    /// Version to run. Default: the active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Configuration that the module reads through its `config` interface. Values that are not
    /// strings reach it as JSON text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub config: BTreeMap<String, serde_json::Value>,
    /// Effect on the flow's events while the module's breaker is open, after repeated traps or
    /// exceeded limits: `dead_letter`, `pass` (they continue without the module, which must not
    /// route) or `park` (they wait).
    #[serde(default, skip_serializing_if = "OpenBreakerAction::is_default")]
    pub when_open: OpenBreakerAction,
}

impl FlowModule {
    /// Returns the configuration as the module reads it: text by key.
    pub fn texts(&self) -> BTreeMap<String, String> {
        config_texts(&self.config)
    }

    /// Returns the configuration in both forms that a module can read, with the defaults of a
    /// schema for absent keys.
    pub fn readable_config(&self, schema: Option<&ConfigSchema>) -> ModuleConfig {
        let filled = schema.map(|schema| schema.fill_defaults(&self.config));
        let config = filled.as_ref().unwrap_or(&self.config);
        let object = serde_json::to_string(config).unwrap_or_else(|_| "{}".to_owned());
        ModuleConfig { texts: config_texts(config), object }
    }
}

fn config_texts(config: &BTreeMap<String, serde_json::Value>) -> BTreeMap<String, String> {
    let text =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    config.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// The configuration of a module, as the module reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleConfig {
    pub texts: BTreeMap<String, String>,
    /// The whole configuration as a JSON object.
    pub object: String,
}

impl Default for ModuleConfig {
    fn default() -> Self {
        Self { texts: BTreeMap::new(), object: "{}".to_owned() }
    }
}

/// The settings of a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowSettings {
    /// Name of the flow.
    pub name: String,
    /// Names of the sources whose events the flow accepts. Empty for all sources.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Event types that the flow accepts: exact names, `invoice.*` or `*`.
    #[serde(default = "every_type")]
    #[schema(value_type = Vec<String>)]
    pub events: Vec<TypePattern>,
    /// Condition that events must meet before any module runs: a CEL expression over `type`,
    /// `source`, `resource`, `id`, `data`, `changed`, `previous` and `attributes`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schema(example = "data.status == \"2\"")]
    pub condition: Option<String>,
    /// Modules that events pass, in order.
    #[serde(default)]
    pub modules: Vec<FlowModule>,
    /// Names of the endpoints that get the results, unless a module routes among them.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Whether the flow accepts events.
    #[serde(default = "super::endpoint::yes")]
    pub enabled: bool,
}

fn every_type() -> Vec<TypePattern> {
    vec![TypePattern::Any]
}

impl FlowSettings {
    /// Returns the faults of the settings. Whether named objects exist is not checked here.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = check_name(&self.name).err().into_iter().collect();
        faults.extend(check_condition(self.condition.as_deref()));
        if self.events.is_empty() {
            faults.push(InputFault::new(
                "events",
                "set at least one event type, or leave `events` out for all",
            ));
        }
        if self.endpoints.is_empty() {
            faults.push(InputFault::new("endpoints", "set at least one endpoint"));
        }
        if self.endpoints.len() > MAX_ENDPOINTS {
            faults.push(InputFault::new("endpoints", format!("at most {MAX_ENDPOINTS} endpoints")));
        }
        if self.modules.len() > MAX_MODULES {
            faults.push(InputFault::new("modules", format!("at most {MAX_MODULES} modules")));
        }
        faults
    }

    /// Whether the flow, if it is enabled, accepts events of this source and of a type for which
    /// `wanted` accepts one of its patterns.
    pub fn wants(&self, source: &str, wanted: impl Fn(&TypePattern) -> bool) -> bool {
        (self.sources.is_empty() || self.sources.iter().any(|name| name == source))
            && self.events.iter().any(wanted)
    }
}

/// A stored flow.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Flow {
    /// Id of the flow.
    #[schema(value_type = String)]
    pub id: FlowId,
    #[serde(flatten)]
    pub settings: FlowSettings,
    /// Creation time.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Time of the last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}
