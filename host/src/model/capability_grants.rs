//! The functions that a module may call besides its log and its configuration. A capability is
//! granted only if the module asks for it and an operator approved it.

use crate::model::type_pattern::TypePattern;
use serde::{Deserialize, Serialize};

/// The capabilities of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapabilityGrants {
    /// Memory between events.
    pub state: Option<StateGrant>,
    /// Look-ups in the record store.
    pub records: Option<RecordsGrant>,
    /// Hosts that the module may send requests to.
    pub http: Vec<String>,
    /// Names of secrets that the module may use.
    pub secrets: Vec<String>,
    /// Event types that the module may emit, as in the `events` of a flow.
    pub emit: Vec<TypePattern>,
    /// Whether the module may cancel waiting deliveries of its flow.
    pub deliveries: bool,
    /// Names of counters that the module may increment.
    pub counters: Vec<String>,
}

/// The memory of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateGrant {
    /// Owner of the keys: the flow, or each record in it.
    pub scope: StateScope,
    /// Most keys of a flow, over all of its scopes.
    pub keys: u32,
}

/// The owner of keys of `state`. In JSON `flow` or `record`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateScope {
    /// The flow. All its events use the same keys.
    #[default]
    Flow,
    /// The record that the event is about. Each record has keys of its own in the flow.
    Record,
}

/// Default for the most keys of a flow, if its manifest does not ask for another number.
pub const STATE_KEYS: u32 = 10_000;

impl Default for StateGrant {
    fn default() -> Self {
        Self { scope: StateScope::Flow, keys: STATE_KEYS }
    }
}

/// The look-ups of a module in the record store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsGrant {
    /// Fields by which the module may find records.
    pub indexes: Vec<RecordIndex>,
}

/// A field by which records of a resource can be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordIndex {
    /// Resource, such as `contact`.
    pub resource: String,
    /// Field. A dot leads into an object.
    pub field: String,
}

/// A capability that a module needs a grant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleCapability {
    State,
    Records,
    Http,
    Secrets,
    Emit,
    Deliveries,
    Counters,
}

impl ModuleCapability {
    /// Returns the name in the interface package and in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Records => "records",
            Self::Http => "http",
            Self::Secrets => "secrets",
            Self::Emit => "emit",
            Self::Deliveries => "deliveries",
            Self::Counters => "counters",
        }
    }

    /// Returns the entry under `capabilities` with which a manifest asks for it.
    pub const fn manifest_entry(self) -> &'static str {
        match self {
            Self::State => r#""state": {}"#,
            Self::Records => r#""records": {}"#,
            Self::Http => r#""http": ["api.example.com"]"#,
            Self::Secrets => r#""secrets": ["NAME"]"#,
            Self::Emit => r#""emit": ["lead.scored"]"#,
            Self::Deliveries => r#""deliveries": true"#,
            Self::Counters => r#""counters": ["NAME"]"#,
        }
    }

    /// Returns the error that a module without the grant gets.
    pub fn denial(self) -> String {
        format!(
            "`{}` is not granted to this module: its manifest must ask for it (`{}` under `capabilities`), and an \
             operator must approve that version",
            self.name(),
            self.manifest_entry()
        )
    }
}

impl CapabilityGrants {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub const fn allows(&self, capability: ModuleCapability) -> bool {
        match capability {
            ModuleCapability::State => self.state.is_some(),
            ModuleCapability::Records => self.records.is_some(),
            ModuleCapability::Http => !self.http.is_empty(),
            ModuleCapability::Secrets => !self.secrets.is_empty(),
            ModuleCapability::Emit => !self.emit.is_empty(),
            ModuleCapability::Deliveries => self.deliveries,
            ModuleCapability::Counters => !self.counters.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_by_default() {
        let grants: CapabilityGrants = serde_json::from_str("{}").unwrap();
        assert!(grants.is_empty());
        for capability in [
            ModuleCapability::State,
            ModuleCapability::Records,
            ModuleCapability::Http,
            ModuleCapability::Secrets,
            ModuleCapability::Emit,
            ModuleCapability::Deliveries,
            ModuleCapability::Counters,
        ] {
            assert!(!grants.allows(capability));
            assert!(capability.denial().contains(capability.manifest_entry()));
        }
    }

    #[test]
    fn what_a_manifest_would_say_can_be_read() {
        let text = r#"{"state": {"scope": "record"}, "records": {"indexes": [{"resource": "contact", "field": "email"}]},
            "emit": ["lead.*"], "deliveries": true, "counters": ["leads"]}"#;
        let grants: CapabilityGrants = serde_json::from_str(text).unwrap();
        let state = grants.state.as_ref().unwrap();
        assert_eq!((state.scope, state.keys), (StateScope::Record, STATE_KEYS));
        assert!(grants.allows(ModuleCapability::Emit) && !grants.allows(ModuleCapability::Http));
        assert!(serde_json::from_str::<CapabilityGrants>(r#"{"files": true}"#).is_err());
    }
}
