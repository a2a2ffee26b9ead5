//! Secrets that modules use by name and never see, with the places and hosts that they may go to.

use super::fault::InputFault;
use super::grant_policy::{is_host, is_name, is_same_host};
use super::id::ModuleSecretId;
use crate::time::timestamp::Timestamp;
use http::HeaderName;
use serde::{Deserialize, Serialize};

/// Most hosts of a secret.
const MOST_HOSTS: usize = 32;
/// Longest prefix of a secret in its header, and longest name of a query parameter, in bytes.
const LONGEST_TEXT: usize = 100;
/// Headers that control the transfer. A secret in one of them would break the request.
const RESERVED: [&str; 5] =
    ["host", "content-length", "connection", "transfer-encoding", "content-type"];

/// The settings of a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleSecretSettings {
    /// Name that modules use.
    pub name: String,
    /// Hosts that the secret may be sent to, such as `api.example.com`. Empty for a secret that
    /// only signs.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Header that holds the secret, such as `authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Text before the secret in the header, such as `Bearer ` with its space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Query parameter that holds the secret, instead of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A stored secret, without its value.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ModuleSecret {
    /// Id of the secret.
    #[schema(value_type = String)]
    pub id: ModuleSecretId,
    #[serde(flatten)]
    pub settings: ModuleSecretSettings,
    /// Creation time.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Time of the last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl ModuleSecretSettings {
    /// Returns the faults of the settings.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        let mut fault = |place: &str, message: &str| faults.push(InputFault::new(place, message));
        if !is_name(&self.name) {
            fault("name", "must have 1 to 100 letters, digits, `.`, `_` or `-`, as in manifests");
        }
        if self.hosts.len() > MOST_HOSTS {
            fault("hosts", "at most 32 hosts");
        }
        if self.hosts.iter().any(|host| !is_host(host)) {
            fault(
                "hosts",
                "must be hosts such as `api.example.com`: lower case, no scheme, no path",
            );
        }
        match (&self.header, &self.query) {
            (Some(_), Some(_)) => {
                fault("query", "a secret goes into a header or the query, not both");
            }
            (None, None) if !self.hosts.is_empty() => {
                fault("header", "set `header` or `query`, where the secret is sent");
            }
            _ => {}
        }
        if (self.header.is_some() || self.query.is_some()) && self.hosts.is_empty() {
            fault("hosts", "set the hosts that the secret may be sent to");
        }
        if let Some(header) = &self.header {
            let known = HeaderName::from_bytes(header.as_bytes()).ok();
            if known.is_none_or(|name| RESERVED.contains(&name.as_str())) {
                fault("header", "must be a header that may hold a secret, such as `authorization`");
            }
        }
        if self.prefix.is_some() && self.header.is_none() {
            fault("prefix", "can only be used with `header`");
        }
        let texts = [("prefix", &self.prefix), ("query", &self.query)];
        for (place, text) in texts.into_iter().filter_map(|(p, text)| Some((p, text.as_ref()?))) {
            let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if text.is_empty() || text.len() > LONGEST_TEXT || !is_plain {
                fault(place, "must have 1 to 100 ASCII characters");
            }
        }
        faults
    }

    /// Whether the secret may be sent to a host, given as `HOST` or `HOST:PORT`.
    pub fn may_go_to(&self, host: &str) -> bool {
        (self.header.is_some() || self.query.is_some())
            && self.hosts.iter().any(|own| is_same_host(own, host))
    }

    /// Whether these settings send the secret only to places to which the previous ones sent it.
    /// Only then may the stored value stay.
    pub fn goes_no_further_than(&self, before: &Self) -> bool {
        self.hosts.iter().all(|host| before.hosts.contains(host))
            && (self.header == before.header || self.header.is_none())
            && (self.query == before.query || self.query.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> ModuleSecretSettings {
        ModuleSecretSettings {
            name: "enrich".to_owned(),
            hosts: vec!["a.example".to_owned()],
            header: Some("Authorization".to_owned()),
            prefix: Some("Bearer ".to_owned()),
            query: None,
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(secret().check().is_empty());
        let only_signs =
            ModuleSecretSettings { hosts: vec![], header: None, prefix: None, ..secret() };
        assert!(only_signs.check().is_empty());
        for (wrong, place) in [
            (ModuleSecretSettings { hosts: vec![], ..secret() }, "hosts"),
            (
                ModuleSecretSettings { hosts: vec!["https://a.example".to_owned()], ..secret() },
                "hosts",
            ),
            (ModuleSecretSettings { header: Some("Host".to_owned()), ..secret() }, "header"),
            (ModuleSecretSettings { header: None, prefix: None, ..secret() }, "header"),
            (ModuleSecretSettings { query: Some("key".to_owned()), ..secret() }, "query"),
            (ModuleSecretSettings { prefix: Some("a\r\nb".to_owned()), ..secret() }, "prefix"),
            (ModuleSecretSettings { name: "a b".to_owned(), ..secret() }, "name"),
        ] {
            let faults = wrong.check();
            assert!(faults.iter().any(|fault| fault.path == place), "{wrong:?}: {faults:?}");
        }
    }

    #[test]
    fn it_goes_to_its_own_hosts_only() {
        assert!(secret().may_go_to("a.example") && secret().may_go_to("a.example:443"));
        assert!(!secret().may_go_to("a.example:8443") && !secret().may_go_to("b.example"));
        let further = ModuleSecretSettings { hosts: vec!["b.example".to_owned()], ..secret() };
        assert!(!further.goes_no_further_than(&secret()));
        let elsewhere = ModuleSecretSettings { header: Some("x-echo".to_owned()), ..secret() };
        assert!(!elsewhere.goes_no_further_than(&secret()));
        assert!(secret().goes_no_further_than(&secret()));
    }
}
