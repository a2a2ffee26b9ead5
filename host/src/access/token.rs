//! Tokens: who may call, for what, from where, how often and until when.
//!
//! Tokens are long and random, so a plain SHA-256 digest of a token is stored and looked up. Only
//! digests are compared, so the timing of a comparison tells an attacker nothing about the token.
//! [`ApiToken::admit`] makes every decision about a call.

pub use super::token_settings::{StoredToken, TokenCeiling, TokenSettings};

use super::scope::{RouteNeed, Scope, ScopeSet};
use super::shared_calls::{CallPart, SharedCalls};
use crate::crypto::sha256;
use crate::model::api_call::TokenUsage;
use crate::model::id::TokenId;
use crate::time::timestamp::Timestamp;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The prefix of every token that Waybill makes.
const PREFIX: &str = "wb_";
/// Shortest token that is looked up, in bytes. Tokens that Waybill makes have 51 bytes.
const SHORTEST: usize = 8;
/// Addresses that are remembered for a token.
const ADDRESSES: usize = 4;
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

/// A token that is in use.
#[derive(Debug)]
pub struct ApiToken {
    /// The id of the token.
    pub id: TokenId,
    /// The settings of the token.
    pub settings: TokenSettings,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The scopes of the token.
    pub scopes: ScopeSet,
    usage: Arc<TokenActivity>,
}

/// The use of a token. It survives changes of the token's settings.
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
            // Calls that this node counted alone, as after a restart, hold until their minute ends.
            let reset = self.began.saturating_add(WINDOW);
            if self.calls >= limit && reset > now.seconds() {
                let wait = u32::try_from(reset - now.seconds()).unwrap_or(1);
                return Err(CallRefusal::Rate(CallAllowance { limit, remaining: 0, reset }, wait));
            }
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

/// The reason why a call is refused.
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

    /// Takes calls for this node without the other nodes, because the database that divides them is
    /// away. A node alone stays within the limit.
    pub fn take_own_calls(&self, part: CallPart, limit: u32) {
        self.usage.window().shared.take_own_part(part, limit);
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
}
