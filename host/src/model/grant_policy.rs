//! Decides which capabilities a module gets, from its manifest, the operator's policy and the
//! approvals.
//!
//! A grant is written as a word that people read and approve: `state`, or `http:api.example.com`.
//! Approving one host or secret does not approve another.

use super::capability_grants::{CapabilityGrants, RecordsGrant};
use super::fault::InputFault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most hosts, secrets, fields, kinds or counters that a manifest may name.
const MOST_NAMES: usize = 64;
/// Most keys of `state` that a manifest may ask for.
const MOST_KEYS: u32 = 1_000_000;
/// Longest name of a secret, a field or a counter, in bytes.
const LONGEST_NAME: usize = 100;

/// The operator's rule for one capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantRule {
    /// Every module that asks for it gets it.
    Allow,
    /// A person approves it when activating a version.
    Approve,
    /// No module gets it.
    Deny,
}

/// The operator's rules for all capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrantPolicy {
    pub state: GrantRule,
    pub records: GrantRule,
    pub http: GrantRule,
    pub secrets: GrantRule,
    pub emit: GrantRule,
    pub counters: GrantRule,
    pub deliveries: GrantRule,
}

impl Default for GrantPolicy {
    /// Capabilities that stay inside of Waybill are allowed. Those that reach other systems need
    /// approval.
    fn default() -> Self {
        let allow = GrantRule::Allow;
        Self {
            state: allow,
            records: allow,
            http: GrantRule::Approve,
            secrets: GrantRule::Approve,
            emit: allow,
            counters: allow,
            deliveries: allow,
        }
    }
}

impl GrantPolicy {
    /// Returns the rule for a grant, by the word before its colon.
    fn rule_of(self, item: &str) -> GrantRule {
        match item.split(':').next().unwrap_or_default() {
            "state" => self.state,
            "records" => self.records,
            "http" => self.http,
            "secrets" => self.secrets,
            "emit" => self.emit,
            "counters" => self.counters,
            "deliveries" => self.deliveries,
            _ => GrantRule::Deny,
        }
    }
}

/// The decision about the requested capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantDecision {
    /// The granted capabilities.
    pub granted: CapabilityGrants,
    /// Grants that need approval first.
    pub pending: Vec<String>,
    /// Grants that the operator's policy refuses.
    pub denied: Vec<String>,
}

impl CapabilityGrants {
    /// Returns each requested grant as a word to approve.
    pub fn items(&self) -> Vec<String> {
        let mut items = Vec::new();
        items.extend(self.state.as_ref().map(|_| "state".to_owned()));
        items.extend(self.records.as_ref().map(|_| "records".to_owned()));
        items.extend(self.http.iter().map(|host| format!("http:{host}")));
        items.extend(self.secrets.iter().map(|name| format!("secrets:{name}")));
        items.extend((!self.emit.is_empty()).then(|| "emit".to_owned()));
        items.extend((!self.counters.is_empty()).then(|| "counters".to_owned()));
        items.extend(self.deliveries.then(|| "deliveries".to_owned()));
        items
    }

    /// Decides which of the requested capabilities a module gets.
    pub fn decide(&self, policy: GrantPolicy, approved: &BTreeSet<String>) -> GrantDecision {
        let mut decision = GrantDecision::default();
        let mut kept = BTreeSet::new();
        for item in self.items() {
            match policy.rule_of(&item) {
                GrantRule::Deny => decision.denied.push(item),
                GrantRule::Approve if !approved.contains(&item) => decision.pending.push(item),
                GrantRule::Allow | GrantRule::Approve => drop(kept.insert(item)),
            }
        }
        decision.granted = self.only(&kept);
        decision
    }

    /// Returns the grants that these words name.
    fn only(&self, kept: &BTreeSet<String>) -> Self {
        let has = |item: &str| kept.contains(item);
        let some = |kind: &str, names: &[String]| -> Vec<String> {
            names.iter().filter(|name| has(&format!("{kind}:{name}"))).cloned().collect()
        };
        Self {
            state: self.state.clone().filter(|_| has("state")),
            records: self.records.clone().filter(|_| has("records")),
            http: some("http", &self.http),
            secrets: some("secrets", &self.secrets),
            emit: if has("emit") { self.emit.clone() } else { Vec::new() },
            counters: if has("counters") { self.counters.clone() } else { Vec::new() },
            deliveries: self.deliveries && has("deliveries"),
        }
    }

    /// Returns the grants that a list of approvals names: `http` stands for every requested host.
    /// The error is the first word that names no requested grant.
    pub fn read_approvals(&self, given: &[String]) -> Result<BTreeSet<String>, String> {
        let items = self.items();
        let mut read = BTreeSet::new();
        for word in given {
            let of_kind = |item: &&String| item.split(':').next() == Some(word.as_str());
            let before = read.len();
            read.extend(items.iter().filter(|item| *item == word || of_kind(item)).cloned());
            if read.len() == before && !read.contains(word) {
                return Err(word.clone());
            }
        }
        Ok(read)
    }

    /// Returns the faults of the capabilities.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let indexes = self.records.as_ref().map(|RecordsGrant { indexes }| indexes.as_slice());
        let indexes = indexes.unwrap_or_default();
        let fields = indexes.iter().map(|index| index.field.as_str());
        let resources = indexes.iter().map(|index| index.resource.as_str());
        check_names(&mut faults, "http", self.http.iter().map(String::as_str), is_host);
        check_names(&mut faults, "secrets", self.secrets.iter().map(String::as_str), is_name);
        check_names(&mut faults, "counters", self.counters.iter().map(String::as_str), is_word);
        check_names(&mut faults, "records.indexes", fields, is_name);
        check_names(&mut faults, "records.indexes", resources, is_word);
        if self.emit.len() > MOST_NAMES {
            faults.push(InputFault::new("emit", format!("at most {MOST_NAMES} types")));
        }
        let keys = self.state.as_ref().map_or(1, |state| state.keys);
        if !(1..=MOST_KEYS).contains(&keys) {
            faults.push(InputFault::new("state.keys", format!("1 to {MOST_KEYS}")));
        }
        faults
    }
}

fn check_names<'n>(
    faults: &mut Vec<InputFault>,
    place: &str,
    names: impl Iterator<Item = &'n str>,
    fits: fn(&str) -> bool,
) {
    for (n, name) in names.enumerate() {
        if n >= MOST_NAMES {
            faults.push(InputFault::new(place, format!("at most {MOST_NAMES} names")));
            return;
        }
        if !fits(name) {
            let message = match place {
                "http" => {
                    "must be a host such as `api.example.com` or `api.example.com:8443`: lower case, no scheme, no path, no wildcard"
                }
                "secrets" => "must have 1 to 100 letters, digits, `.`, `_` or `-`",
                _ => "must have 1 to 100 letters, digits, `_` or `-`; dots lead into an object",
            };
            faults.push(InputFault::new(format!("{place}[{n}]"), message));
        }
    }
}

/// Whether a text has only letters, digits, `_` and `-`.
fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits)
}

/// Whether a text consists of such words with dots between them.
pub fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME && text.split('.').all(is_word)
}

/// Whether a text is a host as manifests and secrets name it: lower case, with an optional port.
pub fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    };
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(fits);
    text.len() <= 253 && name.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Whether two hosts are the same. The port of HTTPS may be left out.
pub fn is_same_host(one: &str, other: &str) -> bool {
    one.strip_suffix(":443").unwrap_or(one) == other.strip_suffix(":443").unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capability_grants::StateGrant;

    fn asked() -> CapabilityGrants {
        CapabilityGrants {
            state: Some(StateGrant::default()),
            http: vec!["a.example".to_owned(), "b.example:8443".to_owned()],
            secrets: vec!["enrich".to_owned()],
            ..CapabilityGrants::default()
        }
    }

    #[test]
    fn a_host_that_was_not_approved_is_not_granted() {
        let approved = BTreeSet::from(["http:a.example".to_owned()]);
        let decision = asked().decide(GrantPolicy::default(), &approved);
        assert_eq!(decision.granted.http, ["a.example"]);
        assert!(decision.granted.state.is_some() && decision.granted.secrets.is_empty());
        assert_eq!(decision.pending, ["http:b.example:8443", "secrets:enrich"]);
    }

    #[test]
    fn an_approval_does_not_overrule_the_policy() {
        let policy = GrantPolicy {
            http: GrantRule::Deny,
            secrets: GrantRule::Allow,
            ..GrantPolicy::default()
        };
        let all = asked().items().into_iter().collect();
        let decision = asked().decide(policy, &all);
        assert!(decision.granted.http.is_empty() && decision.pending.is_empty());
        assert_eq!(decision.denied, ["http:a.example", "http:b.example:8443"]);
        assert_eq!(decision.granted.secrets, ["enrich"]);
    }

    #[test]
    fn approvals_name_what_is_asked_for() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            asked().read_approvals(&words)
        };
        let both = ["http:a.example".to_owned(), "http:b.example:8443".to_owned()];
        assert_eq!(read(&["http"]).unwrap(), BTreeSet::from(both));
        assert_eq!(read(&["http:c.example"]).unwrap_err(), "http:c.example");
        assert_eq!(read(&["emit"]).unwrap_err(), "emit");
    }

    #[test]
    fn hosts_have_no_scheme_path_or_wildcard() {
        for good in ["api.example.com", "127.0.0.1:8080", "localhost", "a-b.example:443"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.example.com",
            "https://a.example",
            "a.example/x",
            "A.example",
            "a..b",
            "a:0",
            "a:65536",
            "a:",
            "u@a.example",
            "a b",
            "a:+80",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
