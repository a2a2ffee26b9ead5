//! What a module may call besides its log and its configuration. Nothing is granted unless the module
//! asks for it and an operator approved it.

use crate::model::type_pattern::TypePattern;
use serde::{Deserialize, Serialize};

/// What one module may call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapabilityGrants {
    /// Memory between events.
    pub state: Option<StateGrant>,
    /// Look-up in the record store.
    pub records: Option<RecordsGrant>,
    /// Hosts that requests may go to.
    pub http: Vec<String>,
    /// Names of secrets that it may use.
    pub secrets: Vec<String>,
    /// Kinds of events that it may hand in, as in the `events` of a flow.
    pub emit: Vec<TypePattern>,
    /// Whether it may cancel deliveries of its flow that wait.
    pub deliveries: bool,
    /// Names of its counters.
    pub counters: Vec<String>,
}

/// How a module may remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateGrant {
    /// What its keys belong to.
    pub scope: StateScope,
    /// How many keys a flow may have, all of its scopes together.
    pub keys: u32,
}

/// What keys of `state` belong to; in JSON `flow` and `record`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateScope {
    /// The flow: all its events see the same keys.
    #[default]
    Flow,
    /// The record that the event is about: each has keys of its own in the flow.
    Record,
}

/// Keys of a flow, unless its manifest asks for another number.
pub const STATE_KEYS: u32 = 10_000;

impl Default for StateGrant {
    fn default() -> Self {
        Self { scope: StateScope::Flow, keys: STATE_KEYS }
    }
}

/// What a module may look up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsGrant {
    /// Fields by which records can be found.
    pub indexes: Vec<RecordIndex>,
}

/// A field of a resource, by which its records can be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordIndex {
    /// The resource, such as `contact`.
    pub resource: String,
    /// The field; a dot leads into an object.
    pub field: String,
}

/// Something that a module may call if it is granted.
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
    /// Its name, as the interface package and manifests have it.
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

    /// What a manifest writes under `capabilities` to ask for it.
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

    /// What a module is told that was not granted this.
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
    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this is granted.
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
