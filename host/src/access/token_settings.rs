//! The settings of a token, their faults, and the rights that a caller may pass on.

use super::scope::{READ_ONLY, SCOPES, Scope, ScopeSet};
use crate::model::event::MAX_KEY;
use crate::model::fault::{InputFault, check_name};
use crate::time::timestamp::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Calls a minute of a token that can only read, if its rate is not set. Automation platforms poll
/// at this rate.
const AUTOMATION_RATE: u32 = 60;
/// Most sources to which a token may be limited.
const MAX_SOURCES: usize = 100;
/// Highest rate that can be set, in calls a minute.
const MAX_RATE: u32 = 1_000_000;

/// The settings of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The name of the token.
    pub name: String,
    /// Rights of the token: names of scopes, or `read-only` for all reading except the audit.
    pub scopes: Vec<String>,
    /// The resources to which the token is limited, such as `invoice`. Empty: all resources.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tables: BTreeSet<String>,
    /// The sources whose events the token may send and see, such as `erp`. Empty: all sources. If
    /// the token is limited to one source, events that name no source get that source.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sources: BTreeSet<String>,
    /// The networks from which the token may be used, such as `192.0.2.0/24`. Empty: all networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub from: Vec<IpNet>,
    /// Calls a minute. If left out: 60 for a token that can only read, no limit for other tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// The time at which the token ends. If left out, it never ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

impl TokenSettings {
    /// Returns the settings with defaults in place of values that were left out.
    #[must_use]
    pub fn filled(mut self) -> Self {
        let scopes = self.allowed();
        let automation = !self.scopes.is_empty() && scopes.only_read();
        self.rate = self.rate.or(automation.then_some(AUTOMATION_RATE));
        self
    }

    /// Returns the scopes that the settings grant.
    pub fn allowed(&self) -> ScopeSet {
        ScopeSet::named(self.scopes.iter().map(String::as_str))
    }

    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = check_name(&self.name).err().into_iter().collect();
        if self.scopes.is_empty() {
            faults.push(InputFault::new(
                "scopes",
                format!("name at least one of: {}", known_scopes()),
            ));
        }
        for (n, name) in self.scopes.iter().enumerate() {
            if Scope::named(name).is_empty() {
                let message = format!("unknown scope `{name}`; the scopes are: {}", known_scopes());
                faults.push(InputFault::new(format!("scopes[{n}]"), message));
            }
        }
        if self.sources.len() > MAX_SOURCES {
            faults.push(InputFault::new("sources", format!("at most {MAX_SOURCES} sources")));
        }
        for name in self.sources.iter().filter(|name| name.is_empty() || name.len() > MAX_KEY) {
            let message = format!("`{name}` is not a source's name: use 1 to {MAX_KEY} bytes");
            faults.push(InputFault::new("sources", message));
        }
        if self.rate.is_some_and(|rate| rate == 0 || rate > MAX_RATE) {
            faults.push(InputFault::new("rate", format!("from 1 to {MAX_RATE} calls a minute")));
        }
        faults
    }
}

/// The rights that a caller may pass on. A token that the caller makes or changes never gets more.
#[derive(Debug)]
pub struct TokenCeiling<'a> {
    /// The scopes of the caller.
    pub scopes: ScopeSet,
    /// The time at which the caller's own token ends.
    pub ends: Option<Timestamp>,
    /// The settings of the caller's token; for a short-lived token, those of its client.
    pub settings: &'a TokenSettings,
}

impl TokenCeiling<'_> {
    /// Returns the fields in which the new settings exceed the rights of the caller.
    ///
    /// A token that exists may keep its rights: settings within its old ones are allowed as a
    /// whole. Old rights are never mixed with the caller's rights field by field. Otherwise an old
    /// token without an end, given the caller's scopes, would outlive the caller.
    pub fn exceeded_by(&self, new: &TokenSettings, old: Option<&TokenSettings>) -> Vec<InputFault> {
        let kept = old.is_some_and(|old| {
            let own = TokenCeiling { scopes: old.allowed(), ends: old.expires_at, settings: old };
            own.exceeded_by_new(new).is_empty()
        });
        if kept { Vec::new() } else { self.exceeded_by_new(new) }
    }

    fn exceeded_by_new(&self, new: &TokenSettings) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if !self.scopes.covers_all(new.allowed()) {
            faults.push(InputFault::new(
                "scopes",
                "your token may not do all of this; choose scopes that your token has",
            ));
        }
        if let Some(end) = self.ends.filter(|end| new.expires_at.is_none_or(|new| new > *end)) {
            let message = format!("your token ends at {end}; choose that time or an earlier one");
            faults.push(InputFault::new("expires_at", message));
        }
        let limit = self.settings;
        if !is_subset(&new.tables, &limit.tables) {
            faults.push(InputFault::new(
                "tables",
                "your token is limited to fewer tables; choose among those",
            ));
        }
        if !is_subset(&new.sources, &limit.sources) {
            faults.push(InputFault::new(
                "sources",
                "your token is limited to fewer sources; choose among those",
            ));
        }
        let inside = |net: &IpNet| limit.from.iter().any(|outer| outer.contains(net));
        if !limit.from.is_empty() && (new.from.is_empty() || !new.from.iter().all(inside)) {
            faults.push(InputFault::new(
                "from",
                "your token is limited to fewer networks; choose among those",
            ));
        }
        if limit.rate.is_some_and(|most| new.rate.is_none_or(|rate| rate > most)) {
            faults.push(InputFault::new(
                "rate",
                "your token may make fewer calls a minute; choose its rate or a lower one",
            ));
        }
        faults
    }
}

/// Whether the names stay within the limit. An empty set stands for all names.
fn is_subset(names: &BTreeSet<String>, limit: &BTreeSet<String>) -> bool {
    limit.is_empty() || !names.is_empty() && names.is_subset(limit)
}

fn known_scopes() -> String {
    let names: Vec<&str> = SCOPES.iter().map(|(_, name)| *name).collect();
    format!("{}, {}", names.join(", "), READ_ONLY)
}

/// A token as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredToken {
    /// The SHA-256 digest of the token, in hexadecimal.
    pub sha256: String,
    /// The settings of the token.
    pub settings: TokenSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_token_that_only_reads_may_call_once_a_second() {
        let rate = |scopes: &[&str]| {
            let settings = serde_json::json!({"name": "x", "scopes": scopes});
            serde_json::from_value::<TokenSettings>(settings).unwrap().filled().rate
        };
        assert_eq!(rate(&["read-only"]), Some(60));
        assert_eq!(rate(&["records:read", "audit:read"]), Some(60));
        assert_eq!(rate(&["records:read", "events:write"]), None);
    }

    #[test]
    fn a_token_cannot_pass_on_more_rights_than_it_has() {
        let settings =
            |json: serde_json::Value| -> TokenSettings { serde_json::from_value(json).unwrap() };
        let mine = settings(serde_json::json!({
            "name": "ops", "scopes": ["admin"], "from": ["192.0.2.0/24"], "rate": 100,
            "tables": ["invoice"], "sources": ["erp"],
        }));
        let ceiling = TokenCeiling {
            scopes: ScopeSet::named(["flows:write"]),
            ends: Some(at(100)),
            settings: &mine,
        };
        let wide = settings(serde_json::json!({"name": "wide", "scopes": ["admin"]}));
        let paths = |faults: Vec<InputFault>| -> Vec<String> {
            faults.into_iter().map(|fault| fault.path).collect()
        };
        let all = ["scopes", "expires_at", "tables", "sources", "from", "rate"];
        assert_eq!(paths(ceiling.exceeded_by(&wide, None)), all);
        assert_eq!(
            ceiling.exceeded_by(&wide, Some(&wide)),
            [],
            "the token keeps the rights that it has"
        );
        let narrow = settings(serde_json::json!({
            "name": "narrow", "scopes": ["flows:read"], "from": ["192.0.2.7/32"], "rate": 60,
            "tables": ["invoice"], "sources": ["erp"], "expires_at": "1970-01-01T00:01:40Z",
        }));
        assert_eq!(ceiling.exceeded_by(&narrow, None), []);
        let widened = TokenSettings { rate: None, ..narrow.clone() };
        assert_eq!(paths(ceiling.exceeded_by(&widened, Some(&narrow))), ["rate"]);
        let endless = settings(serde_json::json!({"name": "old", "scopes": ["events:read"]}));
        let raised = TokenSettings { scopes: vec!["flows:write".to_owned()], ..endless.clone() };
        let mixed = ["expires_at", "tables", "sources", "from", "rate"];
        assert_eq!(paths(ceiling.exceeded_by(&raised, Some(&endless))), mixed);
    }

    #[test]
    fn invalid_settings_are_named_by_path() {
        let settings: TokenSettings = serde_json::from_value(serde_json::json!({
            "name": "", "scopes": ["events:eat"], "sources": [""], "rate": 0,
        }))
        .unwrap();
        let paths: Vec<String> = settings.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["name", "scopes[0]", "sources", "rate"]);
    }
}
