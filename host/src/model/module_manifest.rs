//! The manifest of a module: what its author says of it, read without running it.
//!
//! It is JSON in the custom section [`SECTION`] of the component. A component without one works, with
//! the host's limits, no capabilities and a configuration that nobody checks.

use super::capability_grants::CapabilityGrants;
use super::config_schema::ConfigSchema;
use super::fault::{InputFault, check_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The custom section that holds it.
pub const SECTION: &str = "waybill:manifest";
/// The longest manifest, in bytes: every change of settings reads those of all versions.
pub const MAX_MANIFEST: usize = 64 << 10;
/// The most that `modules.max_component` may say, in bytes: what Python and `StarlingMonkey` need.
pub const HARD_COMPONENT: usize = 24 << 20;
/// The most that `modules.max_memory` may say, in bytes.
pub const HARD_MEMORY: usize = 256 << 20;
/// The most that `modules.max_time` may say.
pub const HARD_TIME: Duration = Duration::from_secs(1);
/// The most that `modules.max_output` may say, in bytes.
pub const HARD_OUTPUT: usize = 8 << 20;
/// The most that `modules.max_log` may say, in bytes.
pub const HARD_LOG: usize = 1 << 20;

/// How deep its JSON may go.
const MAX_DEPTH: usize = 32;
/// Most sample cases.
const MOST_CASES: usize = 50;
/// The longest description, in bytes.
const LONGEST_TEXT: usize = 2_000;

/// What the author of a module says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleManifest {
    /// What the author calls it; the server goes by the name that it is uploaded under.
    pub name: String,
    /// The author's version, such as `1.2.0`; the server counts its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it does, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The roles that it exports; they are found in the component where this is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What it asks to call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capabilities: CapabilityGrants,
    /// The JSON Schema of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigSchema>,
    /// What it needs where that is not what every module has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: ManifestLimits,
    /// Events to try it on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<SampleCase>,
}

/// The limits that a module asks for. Each may be less or more than what every module has, and at
/// most what the operator allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestLimits {
    /// Linear memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Processor time of one call, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u32>,
    /// What one call may return, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_kib: Option<u32>,
    /// The log of one call, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_kib: Option<u32>,
}

/// An event to try a module on, and what should come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleCase {
    /// What the case shows.
    pub name: String,
    /// An event as `POST /events` takes it.
    pub event: Value,
    /// The module's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// The expected result: `end` (`out`, `dropped`, `failed`), `reason`, and `out`, a list with
    /// `draft` and `dispatches`. Members that it does not name may have any value. If this is left
    /// out, the case must only run without a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ManifestLimits {
    /// Linear memory, in bytes.
    pub fn memory_bytes(self) -> Option<usize> {
        self.memory_mib.map(|mib| (mib as usize).saturating_mul(1 << 20))
    }

    /// Processor time of one call.
    pub fn time(self) -> Option<Duration> {
        self.time_ms.map(|millis| Duration::from_millis(millis.into()))
    }

    /// What one call may return, in bytes.
    pub fn output_bytes(self) -> Option<usize> {
        self.output_kib.map(|kib| (kib as usize).saturating_mul(1 << 10))
    }

    /// The log of one call, in bytes.
    pub fn log_bytes(self) -> Option<usize> {
        self.log_kib.map(|kib| (kib as usize).saturating_mul(1 << 10))
    }

    fn check(self) -> Option<InputFault> {
        let all = [
            ("memory_mib", self.memory_mib),
            ("time_ms", self.time_ms),
            ("output_kib", self.output_kib),
            ("log_kib", self.log_kib),
        ];
        let (key, _) = all.into_iter().find(|(_, value)| *value == Some(0))?;
        Some(InputFault::new(format!("limits.{key}"), "0 is too little; leave it out"))
    }
}

impl ModuleManifest {
    /// Reads a manifest, and checks it in full. The faults say where, in the manifest.
    pub fn read(text: &[u8]) -> Result<Self, Vec<InputFault>> {
        if text.len() > MAX_MANIFEST {
            let message = format!("it has {} bytes, the limit is {MAX_MANIFEST}", text.len());
            return Err(vec![InputFault::new("", message)]);
        }
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| vec![InputFault::new("", format!("it is not JSON: {error}"))])?;
        Self::from_value(&value)
    }

    /// Reads a manifest that was parsed.
    pub fn from_value(value: &Value) -> Result<Self, Vec<InputFault>> {
        if is_deeper(value, MAX_DEPTH) {
            let message = format!("it is nested deeper than {MAX_DEPTH} levels");
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
            InputFault::new(format!("cases[{n}].event"), "an event has `type` and `data`")
        }));
        faults
    }
}

/// Whether a value is nested deeper than so many levels.
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

    /// Any bytes are read or refused, without a panic: a manifest that was changed in one place.
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
