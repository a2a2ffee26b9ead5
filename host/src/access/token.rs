//! Tokens: who may call, what for, from where, how often and until when.
//!
//! Tokens are random and long, so a plain SHA-256 of them is what is stored and looked up: what is
//! compared is the digest, whose bytes tell an attacker nothing about the token. Everything that
//! decides about a call stands in [`Token::admit`].

use super::scope::{Need, SCOPES, Scope};
use crate::domain::id::TokenId;
use crate::domain::problem::{Fault, check_name};
use crate::domain::time::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Begins every token that Waybill makes.
const PREFIX: &str = "wb_";
/// The most calls a minute that a limit may allow.
const MAX_RATE: u32 = 1_000_000;
/// The length of the window that calls are counted in, in seconds.
const WINDOW: i64 = 60;

/// SHA-256 of a token.
pub type TokenDigest = [u8; 32];

/// What is stored and looked up in place of a token.
pub fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token: 192 random bits.
pub fn generate() -> String {
    format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 24]>()))
}

/// What an operator sets of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Its name.
    pub name: String,
    /// What it may do: names of scopes, or `read-only` for all reading.
    pub scopes: Vec<String>,
    /// The resources it is limited to, such as `invoice`; all where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tables: BTreeSet<String>,
    /// The networks it may be used from, such as `192.0.2.0/24`; all where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub from: Vec<IpNet>,
    /// Calls a minute; as many as come where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// When it ends; never where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

impl TokenSettings {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = check_name(&self.name).err().into_iter().collect();
        if self.scopes.is_empty() {
            faults.push(Fault::new("scopes", format!("name at least one of: {}", known())));
        }
        for (n, name) in self.scopes.iter().enumerate() {
            if Scope::named(name).is_empty() {
                let message = format!("there is no scope `{name}`; there are: {}", known());
                faults.push(Fault::new(format!("scopes[{n}]"), message));
            }
        }
        if self.rate.is_some_and(|rate| rate == 0 || rate > MAX_RATE) {
            faults.push(Fault::new("rate", format!("from 1 to {MAX_RATE} calls a minute")));
        }
        faults
    }
}

fn known() -> String {
    let names: Vec<&str> = SCOPES.iter().map(|(_, name)| *name).collect();
    format!("{}, {}", names.join(", "), super::scope::READ_ONLY)
}

/// A token as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredToken {
    /// SHA-256 of the token, in hex.
    pub sha256: String,
    /// What the operator set.
    pub settings: TokenSettings,
}

/// A token that is in use.
#[derive(Debug)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What the operator set.
    pub settings: TokenSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What it may do, in the order of [`SCOPES`].
    pub scopes: Vec<Scope>,
    usage: Arc<Usage>,
}

/// How a token is being used; it outlives changes of the token.
#[derive(Debug, Default)]
pub struct Usage(Mutex<Window>);

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    /// When it began, in seconds since 1970.
    began: i64,
    calls: u32,
    last: Option<Timestamp>,
}

/// What is left of a token's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Calls a minute.
    pub limit: u32,
    /// Calls left in this window.
    pub remaining: u32,
    /// When the next window begins, in seconds since 1970.
    pub reset: i64,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The token ended.
    Expired(Timestamp),
    /// It may not be used from there.
    Address(IpAddr),
    /// It was used too often; seconds until it may be used again.
    Rate(Allowance, u32),
    /// It lacks the scope.
    Scope(Scope),
    /// It is limited to some tables, and the call could be about any.
    Tables,
}

impl Token {
    /// A token made ready; `None` where the stored digest is none.
    pub fn new(
        id: TokenId,
        stored: StoredToken,
        created_at: Timestamp,
        updated_at: Timestamp,
        usage: Arc<Usage>,
    ) -> Option<(TokenDigest, Self)> {
        let digest = hex::decode(&stored.sha256).ok()?.try_into().ok()?;
        let named: BTreeSet<Scope> =
            stored.settings.scopes.iter().flat_map(|name| Scope::named(name)).collect();
        let scopes = named.into_iter().collect();
        let settings = stored.settings;
        Some((digest, Self { id, settings, created_at, updated_at, scopes, usage }))
    }

    /// Decides about a call. Refused calls count too, but for those from a wrong address: whoever
    /// stole a token must not use up its owner's calls from elsewhere.
    pub fn admit(
        &self,
        need: Need,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Allowance>, Refusal> {
        if let Some(end) = self.settings.expires_at.filter(|end| *end <= now) {
            return Err(Refusal::Expired(end));
        }
        let from = &self.settings.from;
        if !from.is_empty() && !from.iter().any(|net| net.contains(&address)) {
            return Err(Refusal::Address(address));
        }
        let allowance = self.count(now)?;
        if let Some(scope) = need.scope().filter(|wanted| !self.may(*wanted)) {
            return Err(Refusal::Scope(scope));
        }
        if matches!(need, Need::AllTables(_)) && self.is_limited() {
            return Err(Refusal::Tables);
        }
        Ok(allowance)
    }

    /// Whether it holds a scope.
    pub fn may(&self, wanted: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.holds(wanted))
    }

    /// Whether it is for some tables only.
    pub fn is_limited(&self) -> bool {
        !self.settings.tables.is_empty()
    }

    /// Whether it may see and send what is about a resource.
    pub fn may_touch(&self, resource: Option<&str>) -> bool {
        !self.is_limited()
            || resource.is_some_and(|resource| self.settings.tables.contains(resource))
    }

    /// When it was last used since this process started.
    pub fn last_used(&self) -> Option<Timestamp> {
        self.usage.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    fn count(&self, now: Timestamp) -> Result<Option<Allowance>, Refusal> {
        let mut window = self.usage.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.last = Some(now);
        let Some(limit) = self.settings.rate else { return Ok(None) };
        let second = now.seconds();
        let over = second >= window.began.saturating_add(WINDOW) || second < window.began;
        if over || window.calls == 0 {
            *window = Window { began: second, calls: 0, last: window.last };
        }
        let reset = window.began.saturating_add(WINDOW);
        if window.calls >= limit {
            let allowance = Allowance { limit, remaining: 0, reset };
            let wait = u32::try_from(reset - second).unwrap_or(1);
            return Err(Refusal::Rate(allowance, wait));
        }
        window.calls += 1;
        Ok(Some(Allowance { limit, remaining: limit - window.calls, reset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.7";

    fn token(settings: serde_json::Value) -> Token {
        let settings: TokenSettings = serde_json::from_value(settings).unwrap();
        assert_eq!(settings.check(), []);
        let stored = StoredToken { sha256: hex::encode(digest("t")), settings };
        let at = Timestamp::default();
        Token::new(TokenId::generate(), stored, at, at, Arc::default()).unwrap().1
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn admit(
        token: &Token,
        need: Need,
        from: &str,
        seconds: i64,
    ) -> Result<Option<Allowance>, Refusal> {
        token.admit(need, from.parse().unwrap(), at(seconds))
    }

    #[test]
    fn a_token_does_what_its_scopes_say() {
        let token = token(serde_json::json!({"name": "n8n", "scopes": ["events:write"]}));
        assert_eq!(admit(&token, Need::Scope(Scope::EventsWrite), HERE, 0), Ok(None));
        let refused = Err(Refusal::Scope(Scope::EventsRead));
        assert_eq!(admit(&token, Need::Scope(Scope::EventsRead), HERE, 0), refused);
        assert_eq!(admit(&token, Need::Token, HERE, 0), Ok(None));
    }

    #[test]
    fn a_token_ends() {
        let token = token(serde_json::json!({
            "name": "guest", "scopes": ["admin"], "expires_at": "1970-01-01T00:01:40Z",
        }));
        assert_eq!(admit(&token, Need::Token, HERE, 99), Ok(None));
        assert_eq!(admit(&token, Need::Token, HERE, 100), Err(Refusal::Expired(at(100))));
    }

    #[test]
    fn a_token_is_used_from_its_networks() {
        let token = token(serde_json::json!({
            "name": "zapier", "scopes": ["admin"], "from": ["192.0.2.0/24", "2001:db8::/32"],
        }));
        assert_eq!(admit(&token, Need::Token, HERE, 0), Ok(None));
        assert_eq!(admit(&token, Need::Token, "2001:db8::1", 0), Ok(None));
        let elsewhere = "198.51.100.1";
        let refused = Err(Refusal::Address(elsewhere.parse().unwrap()));
        assert_eq!(admit(&token, Need::Token, elsewhere, 0), refused);
    }

    #[test]
    fn a_token_is_used_as_often_as_it_may() {
        let token = token(serde_json::json!({"name": "poll", "scopes": ["read-only"], "rate": 2}));
        let left = |remaining| Allowance { limit: 2, remaining, reset: 70 };
        assert_eq!(admit(&token, Need::Token, HERE, 10), Ok(Some(left(1))));
        assert_eq!(admit(&token, Need::Token, HERE, 30), Ok(Some(left(0))));
        assert_eq!(admit(&token, Need::Token, HERE, 69), Err(Refusal::Rate(left(0), 1)));
        let next = Allowance { limit: 2, remaining: 1, reset: 130 };
        assert_eq!(admit(&token, Need::Token, HERE, 70), Ok(Some(next)));
        assert_eq!(token.last_used(), Some(at(70)));
    }

    #[test]
    fn tables_limit_what_is_seen() {
        let token = token(serde_json::json!({
            "name": "books", "scopes": ["admin"], "tables": ["invoice", "payment"],
        }));
        assert!(token.may_touch(Some("invoice")));
        assert!(!token.may_touch(Some("lead")) && !token.may_touch(None));
        let need = Need::AllTables(Scope::DeliveriesRead);
        assert_eq!(admit(&token, need, HERE, 0), Err(Refusal::Tables));
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let settings: TokenSettings = serde_json::from_value(serde_json::json!({
            "name": "", "scopes": ["events:eat"], "rate": 0,
        }))
        .unwrap();
        let paths: Vec<String> = settings.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["name", "scopes[0]", "rate"]);
    }
}
