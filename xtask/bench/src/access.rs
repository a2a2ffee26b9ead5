//! The cost of a call before its handler runs: finding the caller and checking its rights.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use waybill::Clock;
use waybill::benchmark::{
    ApiToken, GrantIssuer, RouteNeed, Scope, ScopeSet, ShownGrant, StoredToken, TokenDigest,
    TokenGrant, TokenId, TokenSettings, generate_token, token_digest,
};

use crate::table::{Measure, Target};

/// Number of known tokens.
const TOKENS: usize = 1_000;
/// Number of timed checks.
const CHECKS: u32 = 200_000;
/// Largest time of a check, in microseconds.
const MOST: f64 = 5.0;
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Times the check of a token, and of a short-lived one.
pub(crate) fn token_check(case: &'static str) -> Vec<Measure> {
    let tokens: Vec<String> = (0..TOKENS).map(|_| generate_token()).collect();
    let known: HashMap<TokenDigest, Arc<ApiToken>> =
        tokens.iter().filter_map(|t| token(t)).collect();
    let issuer = GrantIssuer::new([7; 32]);
    let granted: Vec<String> = known.iter().map(|(of, token)| grant(&issuer, of, token)).collect();
    let ids: HashMap<TokenId, TokenDigest> =
        known.iter().map(|(digest, token)| (token.id, *digest)).collect();
    let plain = timed(&tokens, |text| known.get(&token_digest(text)).map(|t| (t, t.scopes)));
    let short = timed(&granted, |text| {
        let shown = ShownGrant::read(text)?;
        let digest = ids.get(&shown.client())?;
        let real = issuer.is_real(&shown, digest);
        known.get(digest).filter(|_| real).map(|token| (token, shown.grant().scopes))
    });
    let measure = |what, took| Measure::new(case, what, "µs", took).against(Target::AtMost(MOST));
    vec![measure("token", plain), measure("short-lived token", short)]
}

fn token(text: &str) -> Option<(TokenDigest, Arc<ApiToken>)> {
    let settings: TokenSettings = serde_json::from_value(serde_json::json!({
        "name": "bench", "scopes": ["events:write", "events:read"], "tables": ["invoice"],
        "from": ["10.0.0.0/8", "127.0.0.0/8", "::1/128"], "rate": 1_000_000,
    }))
    .ok()?;
    let stored = StoredToken { sha256: hex::encode(token_digest(text)), settings };
    let now = Clock::System.now();
    let (digest, token) = ApiToken::new(TokenId::generate(), stored, now, now, Arc::default())?;
    Some((digest, Arc::new(token)))
}

fn grant(issuer: &GrantIssuer, digest: &TokenDigest, token: &ApiToken) -> String {
    let grant = TokenGrant::new(token.id, token.scopes, None, Clock::System.now());
    issuer.issue_grant(&grant, digest)
}

/// Returns the microseconds of a check: finding the token, and its present rights from this
/// address.
fn timed<'k>(
    texts: &[String],
    find: impl Fn(&str) -> Option<(&'k Arc<ApiToken>, ScopeSet)>,
) -> f64 {
    let mut admitted_calls = 0;
    let began = Instant::now();
    for text in texts.iter().cycle().take(CHECKS as usize) {
        let found = find(black_box(text));
        let admitted = found.map(|(token, scopes)| {
            token.admit(scopes, RouteNeed::Scope(Scope::EventsWrite), HERE, Clock::System.now())
        });
        admitted_calls += usize::from(matches!(admitted, Some(Ok(_))));
    }
    let took = began.elapsed();
    assert_eq!(admitted_calls, CHECKS as usize, "every call is admitted");
    took.as_secs_f64() * 1e6 / f64::from(CHECKS)
}
