//! The manifest of a module: its author's description, read without running the module.
//!
//! It is JSON in the custom section [`SECTION`] of the component. A component without one works,
//! with the host's limits, no capabilities and an unchecked configuration.

use super::capability_grants::CapabilityGrants;
use super::config_schema::ConfigSchema;
use super::fault::{InputFault, check_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Name of the custom section with the manifest.
pub const SECTION: &str = "waybill:manifest";
/// Longest manifest, in bytes. Every change of settings reads those of all versions.
pub const MAX_MANIFEST: usize = 64 << 10;
/// Highest value of `modules.max_component`, in bytes. Components of Python and `StarlingMonkey`
/// need this much.
pub const HARD_COMPONENT: usize = 24 << 20;
/// Highest value of `modules.max_memory`, in bytes.
pub const HARD_MEMORY: usize = 256 << 20;
/// Highest value of `modules.max_time`.
pub const HARD_TIME: Duration = Duration::from_secs(1);
/// Highest value of `modules.max_output`, in bytes.
pub const HARD_OUTPUT: usize = 8 << 20;
/// Highest value of `modules.max_log`, in bytes.
pub const HARD_LOG: usize = 1 << 20;
/// Highest value of `modules.max_reuse`.
pub const HARD_REUSE: u32 = 256;

/// Deepest nesting of the JSON.
const MAX_DEPTH: usize = 32;
/// Most sample cases.
const MOST_CASES: usize = 50;
/// Longest description, in bytes.
const LONGEST_TEXT: usize = 2_000;

/// The manifest of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleManifest {
    /// Author's name of the module. The server uses the name of the upload.
    pub name: String,
    /// Author's version, such as `1.2.0`. The server counts its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Purpose of the module, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Exported roles. If left out, they are read from the component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Capabilities that the module asks for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capabilities: CapabilityGrants,
    /// JSON Schema of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigSchema>,
    /// Limits that differ from those of every module.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: ManifestLimits,
    /// Sample events to try the module on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<SampleCase>,
}

/// The limits that a module asks for. Each may be less or more than the default, and at most the
/// operator's maximum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestLimits {
    /// Linear memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Processor time of one call, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u32>,
    /// Result of one call, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_kib: Option<u32>,
    /// The log of one call, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_kib: Option<u32>,
    /// Events that one instance handles, one after another. 1 means a fresh instance for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse: Option<u32>,
}

/// An event to try a module on, with the expected result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleCase {
    /// Name of the case, which says what it shows.
    pub name: String,
    /// Event in the form of `POST /events`.
    pub event: Value,
    /// Configuration of the module for this case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Expected result: `end` (`out`, `dropped`, `failed`), `reason`, and `out`, a list with
    /// `draft` and `dispatches`. Members that it does not name may have any value. If left out, the
    /// case only has to run without a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ManifestLimits {
    /// Returns the linear memory, in bytes.
    pub fn memory_bytes(self) -> Option<usize> {
        self.memory_mib.map(|mib| (mib as usize).saturating_mul(1 << 20))
    }

    /// Returns the processor time of one call.
    pub fn time(self) -> Option<Duration> {
        self.time_ms.map(|millis| Duration::from_millis(millis.into()))
    }

    /// Returns the size of a call's result, in bytes.
    pub fn output_bytes(self) -> Option<usize> {
        self.output_kib.map(|kib| (kib as usize).saturating_mul(1 << 10))
    }

    /// Returns the log of one call, in bytes.
    pub fn log_bytes(self) -> Option<usize> {
        self.log_kib.map(|kib| (kib as usize).saturating_mul(1 << 10))
    }

    fn check(self) -> Option<InputFault> {
        let all = [
            ("memory_mib", self.memory_mib),
            ("time_ms", self.time_ms),
            ("output_kib", self.output_kib),
            ("log_kib", self.log_kib),
            ("reuse", self.reuse),
        ];
        let (key, _) = all.into_iter().find(|(_, value)| *value == Some(0))?;
        Some(InputFault::new(format!("limits.{key}"), "0 is too little; leave it out"))
    }
}

impl ModuleManifest {
    /// Reads and checks a manifest. The faults name places in the manifest.
    pub fn read(text: &[u8]) -> Result<Self, Vec<InputFault>> {
        if text.len() > MAX_MANIFEST {
            let message =
                format!("the manifest has {} bytes, the limit is {MAX_MANIFEST}", text.len());
            return Err(vec![InputFault::new("", message)]);
        }
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            vec![InputFault::new("", format!("the manifest is not JSON: {error}"))]
        })?;
        Self::from_value(&value)
    }

    /// Reads a parsed manifest.
    pub fn from_value(value: &Value) -> Result<Self, Vec<InputFault>> {
        if is_deeper(value, MAX_DEPTH) {
            let message = format!("the manifest is nested deeper than {MAX_DEPTH} levels");
            return Err(vec![InputFault::new("", message)]);
        }
        let manifest: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { path };
            vec![InputFault::new(path, error.inner().to_string())]
        })?;
        let faults = manifest.check();
        if faults.is_empty() { Ok(manifest) } else { Err(faults) }
    }

    fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = check_name(&self.name).err().into_iter().collect();
        let texts = [("version", &self.version), ("description", &self.description)];
        for (place, text) in texts {
            if text.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT) {
                faults.push(InputFault::new(place, format!("at most {LONGEST_TEXT} bytes")));
            }
        }
        let asked = self.capabilities.check();
        faults.extend(asked.into_iter().map(|fault| fault.within("capabilities")));
        faults.extend(self.limits.check());
        if let Some(schema) = &self.config {
            faults.extend(schema.check().err().map(|fault| fault.within("config")));
        }
        if self.cases.len() > MOST_CASES {
            faults.push(InputFault::new("cases", format!("at most {MOST_CASES} cases")));
        }
        let has_event = |case: &SampleCase| {
            case.event.get("type").is_some_and(Value::is_string) && case.event.get("data").is_some()
        };
        let without = self.cases.iter().position(|case| !has_event(case));
        faults.extend(without.map(|n| {
            InputFault::new(format!("cases[{n}].event"), "an event needs `type` and `data`")
        }));
        faults
    }
}

/// Whether a value is nested deeper than this many levels.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, left)),
        Value::Object(members) => members.values().any(|member| is_deeper(member, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_manifest_is_read_and_written_back() {
        let text = json!({
            "name": "lead-intake", "version": "1.2.0", "description": "Takes leads.",
            "roles": ["filter", "route"],
            "capabilities": {
                "state": {"scope": "record", "keys": 500},
                "records": {"indexes": [{"resource": "contact", "field": "address.email"}]},
                "http": ["api.example.com"], "secrets": ["enrich"], "emit": ["lead.duplicate"],
                "counters": ["duplicates"], "deliveries": true,
            },
            "config": {"type": "object", "properties": {"least": {"type": "integer"}}},
            "limits": {"memory_mib": 32, "time_ms": 50, "output_kib": 64, "log_kib": 8},
            "cases": [{"name": "one", "event": {"type": "lead.created", "data": {}}}],
        });
        let manifest = ModuleManifest::read(text.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&manifest).unwrap(), text);
        assert_eq!(manifest.limits.memory_bytes(), Some(32 << 20));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (manifest, place, word) in [
            (json!({}), "", "name"),
            (
                json!({"name": "x", "capabilities": {"htp": []}}),
                "capabilities.htp",
                "unknown field",
            ),
            (
                json!({"name": "x", "capabilities": {"http": ["https://a.example"]}}),
                "capabilities.http[0]",
                "no scheme",
            ),
            (json!({"name": "x", "limits": {"memory_mib": -1}}), "limits.memory_mib", "integer"),
            (json!({"name": "x", "limits": {"time_ms": 0}}), "limits.time_ms", "too little"),
            (json!({"name": "x", "config": {"type": 7}}), "config", "7"),
        ] {
            let faults = ModuleManifest::from_value(&manifest).unwrap_err();
            let fault = faults.first().unwrap();
            assert!(fault.path.starts_with(place), "{manifest}: {faults:?}");
            assert!(fault.message.contains(word), "{manifest}: {faults:?}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let deep =
            format!(r#"{{"name":"x","config":{}1{}}}"#, r#"{"a":"#.repeat(40), "}".repeat(40));
        let faults = ModuleManifest::read(deep.as_bytes()).unwrap_err();
        assert!(faults[0].message.contains("deeper"), "{faults:?}");
        let long = format!(r#"{{"name":"x","description":"{}"}}"#, "y".repeat(MAX_MANIFEST));
        let faults = ModuleManifest::read(long.as_bytes()).unwrap_err();
        assert!(faults[0].message.contains("the limit is"), "{faults:?}");
        let endless = "[".repeat(60_000);
        assert!(ModuleManifest::read(endless.as_bytes()).is_err());
    }

    /// A manifest with one changed byte is read or refused, and never causes a panic.
    #[test]
    fn a_mutated_manifest_is_read_or_refused() {
        let text = json!({
            "name": "x", "roles": ["filter"], "limits": {"time_ms": 5},
            "capabilities": {"http": ["a.example:1"], "secrets": ["s"], "emit": ["a.b"]},
            "config": {"type": "object", "required": ["a"], "properties": {"a": {"pattern": "^(x+)+$"}}},
        });
        let text = text.to_string().into_bytes();
        let mut state = 17_u64;
        for _ in 0..2_000 {
            let mut changed = text.clone();
            for _ in 0..=(state % 3) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = usize::try_from(state >> 33).unwrap() % changed.len();
                if let Some(byte) = changed.get_mut(at) {
                    *byte = u8::try_from(state >> 24 & 0xff).unwrap();
                }
            }
            if let Ok(manifest) = ModuleManifest::read(&changed) {
                assert!(manifest.capabilities.items().len() <= 8);
            }
        }
    }
}
