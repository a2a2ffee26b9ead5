//! Tokens: who may call, for what, from where, how often and until when.
//!
//! Tokens are long and random, so a plain SHA-256 digest of a token is stored and looked up. Only
//! digests are compared, so the timing of a comparison tells an attacker nothing about the token.
//! [`ApiToken::admit`] makes every decision about a call.

use super::scope::{RouteNeed, SCOPES, Scope, ScopeSet};
use super::shared_calls::{CallPart, SharedCalls};
use crate::crypto::sha256;
use crate::model::api_call::TokenUsage;
use crate::model::event::MAX_KEY;
use crate::model::fault::{InputFault, check_name};
use crate::model::id::TokenId;
use crate::time::timestamp::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The prefix of every token that Waybill makes.
const PREFIX: &str = "wb_";
/// Shortest token that is looked up, in bytes. Tokens that Waybill makes have 51 bytes.
const SHORTEST: usize = 8;
/// Calls a minute of a token that can only read, if its rate is not set. Automation platforms poll
/// at this rate.
const AUTOMATION_RATE: u32 = 60;
/// Addresses that are remembered for a token.
const ADDRESSES: usize = 4;
/// Most sources to which a token may be limited.
const MAX_SOURCES: usize = 100;
/// Highest rate that can be set, in calls a minute.
const MAX_RATE: u32 = 1_000_000;
/// Length of the window in which calls are counted, in seconds.
const WINDOW: i64 = 60;

/// The SHA-256 digest of a token.
pub type TokenDigest = [u8; 32];

/// Returns the digest that is stored and looked up in place of a token.
pub fn token_digest(token: &str) -> TokenDigest {
    sha256::sha256_digest(&[token.as_bytes()])
}

/// Returns the digest of a token that a caller presents, or `None` if the token is too short to
/// come from Waybill. So an empty or guessable token that an older version stored is never
/// admitted.
pub fn shown_digest(token: &str) -> Option<TokenDigest> {
    (token.len() >= SHORTEST).then(|| token_digest(token))
}

/// Returns a new token with 192 random bits.
pub fn generate_token() -> String {
    format!("{PREFIX}{}", hex::encode(rand::random::<[u8; 24]>()))
}

/// The settings of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The name of the token.
    pub name: String,
    /// What the token may do: names of scopes, or `read-only` for all reading except the audit.
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

    /// Returns everything that is wrong with the settings.
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
                let message = format!("there is no scope `{name}`; there are: {}", known_scopes());
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
    format!("{}, {}", names.join(", "), super::scope::READ_ONLY)
}

/// A token as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredToken {
    /// The SHA-256 digest of the token, in hexadecimal.
    pub sha256: String,
    /// The settings of the token.
    pub settings: TokenSettings,
}

/// A token that is in use.
#[derive(Debug)]
pub struct ApiToken {
    /// The id of the token.
    pub id: TokenId,
    /// The settings of the token.
    pub settings: TokenSettings,
    /// When the token was made.
    pub created_at: Timestamp,
    /// When the token was last changed.
    pub updated_at: Timestamp,
    /// The scopes of the token.
    pub scopes: ScopeSet,
    usage: Arc<TokenActivity>,
}

/// How a token is being used. The activity survives changes of the token's settings.
#[derive(Debug, Default)]
pub struct TokenActivity(Mutex<RateWindow>);

#[derive(Debug, Default, Clone, Copy)]
struct RateWindow {
    /// The start of the window, in seconds since 1970.
    began: i64,
    calls: u32,
    last: Option<Timestamp>,
    /// The calls that this node has reserved, if several nodes share the token's rate.
    shared: SharedCalls,
    /// The addresses of the latest uses, the newest first.
    addresses: [Option<IpAddr>; ADDRESSES],
    /// Whether the token was used since its usage was last stored.
    fresh: bool,
}

impl RateWindow {
    fn note(&mut self, address: IpAddr, now: Timestamp) {
        self.last = Some(now);
        self.fresh = true;
        if self.addresses.first() == Some(&Some(address)) {
            return;
        }
        let known = self.addresses.iter().position(|known| *known == Some(address));
        let up_to = known.unwrap_or(ADDRESSES - 1);
        if let Some(moved) = self.addresses.get_mut(..=up_to) {
            moved.rotate_right(1);
        }
        self.addresses[0] = Some(address);
    }
}

impl RateWindow {
    /// Counts a call against the calls that this node has reserved.
    fn count_shared(
        &mut self,
        shared: SharedCalls,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<CallAllowance>, CallRefusal> {
        if self.began != shared.began() {
            (self.began, self.calls) = (shared.began(), 0);
        }
        let reset = self.began.saturating_add(WINDOW);
        if self.calls >= shared.granted() {
            let allowance = CallAllowance { limit, remaining: 0, reset };
            let wait = u32::try_from(reset - now.seconds()).unwrap_or(1);
            return Err(CallRefusal::Rate(allowance, wait));
        }
        self.calls += 1;
        let remaining = shared.remaining(limit, self.calls);
        Ok(Some(CallAllowance { limit, remaining, reset }))
    }
}

impl TokenActivity {
    fn window(&self) -> MutexGuard<'_, RateWindow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Restores the activity from its stored usage.
    pub fn restored(usage: TokenUsage) -> Self {
        Self(Mutex::new(RateWindow {
            began: usage.window_began,
            calls: usage.calls,
            last: Some(usage.last_used_at),
            ..RateWindow::default()
        }))
    }

    /// Returns the usage to store, if the token was used since it was last stored.
    pub fn take_fresh(&self, token: TokenId) -> Option<TokenUsage> {
        let mut window = self.window();
        let last_used_at = window.last.filter(|_| std::mem::take(&mut window.fresh))?;
        Some(TokenUsage { token, window_began: window.began, calls: window.calls, last_used_at })
    }
}

/// The calls that a token has left in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallAllowance {
    /// Calls a minute.
    pub limit: u32,
    /// Calls left in this window.
    pub remaining: u32,
    /// The start of the next window, in seconds since 1970.
    pub reset: i64,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallRefusal {
    /// The token ended at this time.
    Expired(Timestamp),
    /// The token may not be used from this address.
    Address(IpAddr),
    /// The token made too many calls. Carries the seconds until the next call is admitted.
    Rate(CallAllowance, u32),
    /// The token lacks this scope.
    Scope(Scope),
    /// The token is limited to some tables or sources, and the call could concern others.
    Tables,
}

impl ApiToken {
    /// Makes a stored token ready for use. Returns `None` if the stored digest is not a digest.
    pub fn new(
        id: TokenId,
        stored: StoredToken,
        created_at: Timestamp,
        updated_at: Timestamp,
        usage: Arc<TokenActivity>,
    ) -> Option<(TokenDigest, Self)> {
        let digest = hex::decode(&stored.sha256).ok()?.try_into().ok()?;
        let settings = stored.settings;
        let scopes = settings.allowed();
        Some((digest, Self { id, settings, created_at, updated_at, scopes, usage }))
    }

    /// Decides about a call that is made with `scopes`: the token's own scopes, or the part of them
    /// that a short-lived token has. Refused calls count against the rate too, except calls from a
    /// wrong address: a thief elsewhere must not use up the owner's calls.
    pub fn admit(
        &self,
        scopes: ScopeSet,
        need: RouteNeed,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Option<CallAllowance>, CallRefusal> {
        if let Some(end) = self.settings.expires_at.filter(|end| *end <= now) {
            return Err(CallRefusal::Expired(end));
        }
        let from = &self.settings.from;
        if !from.is_empty() && !from.iter().any(|net| net.contains(&address)) {
            return Err(CallRefusal::Address(address));
        }
        let allowance = self.count(address, now)?;
        self.check_need(scopes, need)?;
        Ok(allowance)
    }

    /// Whether a holder of `scopes` may make a call at all, from whatever address. Pages use this
    /// to leave out buttons that would be refused.
    pub fn check_need(&self, scopes: ScopeSet, need: RouteNeed) -> Result<(), CallRefusal> {
        if let Some(scope) = need.scope().filter(|wanted| !scopes.allows_scope(*wanted)) {
            return Err(CallRefusal::Scope(scope));
        }
        if matches!(need, RouteNeed::AllTables(_)) && self.is_limited() {
            return Err(CallRefusal::Tables);
        }
        Ok(())
    }

    /// Whether the token was used from an address lately (among its last four addresses).
    pub fn is_used_from(&self, address: IpAddr) -> bool {
        self.usage.window().addresses.contains(&Some(address))
    }

    /// Whether the token is limited to some tables or sources.
    pub fn is_limited(&self) -> bool {
        !self.settings.tables.is_empty() || !self.settings.sources.is_empty()
    }

    /// Whether the token may see and send events of a source.
    pub fn may_name(&self, source: &str) -> bool {
        self.settings.sources.is_empty() || self.settings.sources.contains(source)
    }

    /// Returns the source for events that name none: the only source to which the token is limited.
    pub fn only_source(&self) -> Option<&str> {
        let mut sources = self.settings.sources.iter();
        sources.next().filter(|_| sources.next().is_none()).map(String::as_str)
    }

    /// Whether the token may see and send events about a resource. `None` stands for no resource.
    pub fn may_touch(&self, resource: Option<&str>) -> bool {
        self.settings.tables.is_empty()
            || resource.is_some_and(|resource| self.settings.tables.contains(resource))
    }

    /// Returns the part of the rate to reserve before the token may make another call, if several
    /// nodes share it.
    pub fn wanted_calls(&self, now: Timestamp) -> Option<CallPart> {
        let limit = self.settings.rate?;
        let window = self.usage.window();
        let is_present = window.shared.at(now).is_some_and(|shared| shared.began() == window.began);
        let answered = if is_present { window.calls } else { 0 };
        window.shared.wanted(limit, answered, now)
    }

    /// Records a reservation. `taken` is `None` if too few calls were left.
    pub fn note_calls(&self, part: CallPart, taken: Option<u32>) {
        self.usage.window().shared.note_part(part, taken);
    }

    /// Returns when the token was last used.
    pub fn last_used(&self) -> Option<Timestamp> {
        self.usage.window().last
    }

    fn count(&self, address: IpAddr, now: Timestamp) -> Result<Option<CallAllowance>, CallRefusal> {
        let mut window = self.usage.window();
        window.note(address, now);
        let Some(limit) = self.settings.rate else { return Ok(None) };
        if let Some(shared) = window.shared.at(now) {
            return window.count_shared(shared, limit, now);
        }
        let second = now.seconds();
        let over = second >= window.began.saturating_add(WINDOW) || second < window.began;
        if over || window.calls == 0 {
            (window.began, window.calls) = (second, 0);
        }
        let reset = window.began.saturating_add(WINDOW);
        if window.calls >= limit {
            let allowance = CallAllowance { limit, remaining: 0, reset };
            let wait = u32::try_from(reset - second).unwrap_or(1);
            return Err(CallRefusal::Rate(allowance, wait));
        }
        window.calls += 1;
        Ok(Some(CallAllowance { limit, remaining: limit - window.calls, reset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.7";

    fn token(settings: serde_json::Value) -> ApiToken {
        let settings: TokenSettings = serde_json::from_value(settings).unwrap();
        assert_eq!(settings.check(), []);
        let stored = StoredToken { sha256: hex::encode(token_digest("t")), settings };
        let at = Timestamp::default();
        ApiToken::new(TokenId::generate(), stored, at, at, Arc::default()).unwrap().1
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn admit(
        token: &ApiToken,
        need: RouteNeed,
        from: &str,
        seconds: i64,
    ) -> Result<Option<CallAllowance>, CallRefusal> {
        token.admit(token.scopes, need, from.parse().unwrap(), at(seconds))
    }

    #[test]
    fn a_token_does_what_its_scopes_say() {
        let token = token(serde_json::json!({"name": "n8n", "scopes": ["events:write"]}));
        assert_eq!(admit(&token, RouteNeed::Scope(Scope::EventsWrite), HERE, 0), Ok(None));
        let refused = Err(CallRefusal::Scope(Scope::EventsRead));
        assert_eq!(admit(&token, RouteNeed::Scope(Scope::EventsRead), HERE, 0), refused);
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 0), Ok(None));
    }

    #[test]
    fn a_token_too_short_to_be_real_is_not_looked_up() {
        assert_eq!(shown_digest(""), None);
        assert_eq!(shown_digest("x"), None);
        let made = generate_token();
        assert_eq!(shown_digest(&made), Some(token_digest(&made)));
    }

    #[test]
    fn a_token_ends() {
        let token = token(serde_json::json!({
            "name": "guest", "scopes": ["admin"], "expires_at": "1970-01-01T00:01:40Z",
        }));
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 99), Ok(None));
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 100), Err(CallRefusal::Expired(at(100))));
    }

    #[test]
    fn a_token_is_used_from_its_networks() {
        let token = token(serde_json::json!({
            "name": "zapier", "scopes": ["admin"], "from": ["192.0.2.0/24", "2001:db8::/32"],
        }));
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 0), Ok(None));
        assert_eq!(admit(&token, RouteNeed::Token, "2001:db8::1", 0), Ok(None));
        let elsewhere = "198.51.100.1";
        let refused = Err(CallRefusal::Address(elsewhere.parse().unwrap()));
        assert_eq!(admit(&token, RouteNeed::Token, elsewhere, 0), refused);
    }

    #[test]
    fn a_token_is_refused_beyond_its_rate() {
        let token = token(serde_json::json!({"name": "poll", "scopes": ["read-only"], "rate": 2}));
        let left = |remaining| CallAllowance { limit: 2, remaining, reset: 70 };
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 10), Ok(Some(left(1))));
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 30), Ok(Some(left(0))));
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 69), Err(CallRefusal::Rate(left(0), 1)));
        let next = CallAllowance { limit: 2, remaining: 1, reset: 130 };
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 70), Ok(Some(next)));
        assert_eq!(token.last_used(), Some(at(70)));
    }

    #[test]
    fn a_node_answers_only_the_calls_that_it_reserved() {
        let token = token(serde_json::json!({"name": "poll", "scopes": ["read-only"], "rate": 60}));
        let part = token.wanted_calls(at(61)).unwrap();
        token.note_calls(part, Some(57));
        for left in [5, 4, 3] {
            let allowance = CallAllowance { limit: 60, remaining: left, reset: 120 };
            assert_eq!(admit(&token, RouteNeed::Token, HERE, 61), Ok(Some(allowance)));
        }
        assert_eq!(token.wanted_calls(at(62)), Some(part));
        let over = CallAllowance { limit: 60, remaining: 0, reset: 120 };
        assert_eq!(admit(&token, RouteNeed::Token, HERE, 62), Err(CallRefusal::Rate(over, 58)));
    }

    #[test]
    fn the_window_and_the_last_use_outlive_the_process() {
        let settings = serde_json::json!({"name": "poll", "scopes": ["admin"], "rate": 2});
        let first = token(settings.clone());
        assert!(first.usage.take_fresh(first.id).is_none());
        assert!(admit(&first, RouteNeed::Token, HERE, 10).is_ok());
        assert!(admit(&first, RouteNeed::Token, HERE, 11).is_ok());
        let written = first.usage.take_fresh(first.id).unwrap();
        assert!(first.usage.take_fresh(first.id).is_none());
        let mut second = token(settings);
        second.usage = Arc::new(TokenActivity::restored(written));
        assert_eq!(second.last_used(), Some(at(11)));
        assert!(matches!(
            admit(&second, RouteNeed::Token, HERE, 12),
            Err(CallRefusal::Rate(_, 58))
        ));
    }

    #[test]
    fn the_last_four_addresses_are_remembered() {
        let token = token(serde_json::json!({"name": "n8n", "scopes": ["admin"]}));
        for last in 1..=5 {
            assert!(admit(&token, RouteNeed::Token, &format!("192.0.2.{last}"), 0).is_ok());
        }
        assert!(admit(&token, RouteNeed::Token, "192.0.2.3", 0).is_ok());
        let from = |last: u8| token.is_used_from(IpAddr::from([192, 0, 2, last]));
        assert_eq!([1, 2, 3, 4, 5, 6].map(from), [false, true, true, true, true, false]);
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
    fn tables_limit_the_events_that_a_token_sees() {
        let token = token(serde_json::json!({
            "name": "books", "scopes": ["admin"], "tables": ["invoice", "payment"],
        }));
        assert!(token.may_touch(Some("invoice")));
        assert!(!token.may_touch(Some("lead")) && !token.may_touch(None));
        let need = RouteNeed::AllTables(Scope::DeliveriesRead);
        assert_eq!(admit(&token, need, HERE, 0), Err(CallRefusal::Tables));
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
    fn sources_limit_the_events_that_a_token_sends_and_sees() {
        let token = token(serde_json::json!({
            "name": "erp", "scopes": ["admin"], "sources": ["erp"],
        }));
        assert!(token.may_name("erp") && !token.may_name("api"));
        assert_eq!(token.only_source(), Some("erp"));
        assert!(token.may_touch(Some("lead")));
        let need = RouteNeed::AllTables(Scope::DeliveriesRead);
        assert_eq!(admit(&token, need, HERE, 0), Err(CallRefusal::Tables));
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
