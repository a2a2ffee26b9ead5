//! Identifies the caller by a token, as `Authorization: Bearer …` or `X-API-KEY: …`, and checks its
//! rights.
//!
//! [`admit_caller`] runs before every handler: it looks the token up, and [`ApiToken::admit`]
//! decides by the needs that [`route_need`] states for the route. A route that [`route_need`] does
//! not name is refused for every caller. The handler asks for the [`CallPrincipal`] that was
//! admitted.
//!
//! A short-lived token ([`crate::access::grant`]) stands for its client, with the scopes that it
//! was given.

use super::AppState;
use super::problem::ApiProblem;
use crate::access::address::caller_address;
use crate::access::grant::ShownGrant;
use crate::access::scope::{RouteNeed, ScopeSet, route_need};
use crate::access::shared_calls::CallPart;
use crate::access::token::{
    ApiToken, CallAllowance, CallRefusal, StoredToken, TokenCeiling, TokenSettings, generate_token,
    shown_digest, token_digest,
};
use crate::error_chain::error_chain;
use crate::model::id::TokenId;
use crate::store;
use crate::store::EventStore;
use crate::store::objects::{ObjectChange, ObjectKind, StoredObject};
use crate::time::timestamp::Timestamp;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Time that captures into a log wait for the database to reserve calls of a token.
const LONGEST_RESERVATION: Duration = Duration::from_millis(250);

/// Name of the token that the first start makes.
pub const ADMIN: &str = "admin";

/// An admitted caller. [`admit_caller`] creates it. If a handler asks for one that was not created,
/// the call is refused.
#[derive(Debug, Clone)]
pub struct CallPrincipal {
    token: Arc<ApiToken>,
    scopes: ScopeSet,
    /// Expiry of the presented token. A short-lived token expires before its client.
    ends: Option<Timestamp>,
}

impl CallPrincipal {
    /// Returns the principal of a token, with all of its rights.
    pub fn of_token(token: Arc<ApiToken>) -> Self {
        Self { scopes: token.scopes, ends: token.settings.expires_at, token }
    }

    /// Returns whether a call of this route of the REST API would be admitted.
    pub fn may_call(&self, method: &Method, route: &str) -> bool {
        let need = route_need(method, route);
        need.is_some_and(|need| self.token.check_need(self.scopes, need).is_ok())
    }

    /// Fails if a call of this route of the REST API would be refused.
    pub fn check_call(&self, method: &Method, route: &str) -> Result<(), ApiProblem> {
        let need = route_need(method, route)
            .ok_or_else(|| ApiProblem::forbidden("nobody may call this: no scope guards it"))?;
        self.token.check_need(self.scopes, need).map_err(refusal_problem)
    }

    /// Returns the token, or the client of a short-lived one.
    pub fn token(&self) -> &ApiToken {
        &self.token
    }

    /// Returns the scopes of the caller.
    pub const fn scopes(&self) -> ScopeSet {
        self.scopes
    }

    /// Returns the limits of tokens that this caller may make or change.
    pub fn ceiling(&self) -> TokenCeiling<'_> {
        TokenCeiling { scopes: self.scopes, ends: self.ends, settings: &self.token.settings }
    }

    /// Fails if the token is not for this resource.
    pub fn check_table(&self, resource: Option<&str>) -> Result<(), ApiProblem> {
        if self.token.may_touch(resource) {
            return Ok(());
        }
        Err(ApiProblem::forbidden(tables_detail(resource)))
    }

    /// Returns the source that a call is about: the named one, or the only one to which the token
    /// is bound. Fails for a source that the token is not for.
    pub fn source<'s>(&'s self, named: Option<&'s str>) -> Result<Option<&'s str>, ApiProblem> {
        let source = named.or_else(|| self.token.only_source());
        let may = match source {
            Some(source) => self.token.may_name(source),
            None => self.token.settings.sources.is_empty(),
        };
        if may { Ok(source) } else { Err(ApiProblem::forbidden(sources_detail(source))) }
    }
}

fn sources_detail(source: Option<&str>) -> String {
    match source {
        Some(source) => format!("this token is not for the source `{source}`"),
        None => "this token is limited to some sources; name one of them as `source`".to_owned(),
    }
}

fn tables_detail(resource: Option<&str>) -> String {
    match resource {
        Some(resource) => format!("this token is not for the table `{resource}`"),
        None => "this token is limited to some tables; name one of them as the resource".to_owned(),
    }
}

impl<S: Sync> FromRequestParts<S> for CallPrincipal {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiProblem> {
        let nobody = || ApiProblem::forbidden("nobody may call this: no scope guards it");
        parts.extensions.get::<Self>().cloned().ok_or_else(nobody)
    }
}

/// The facts about a call before its handler runs.
#[derive(Debug, Clone, Copy)]
pub struct CallOrigin {
    /// Address of the caller.
    pub address: IpAddr,
    /// Time of the call.
    pub at: Timestamp,
    /// The presented token, if it is known.
    pub token: Option<TokenId>,
    /// Whether the call was refused before it counted against its token's rate.
    pub is_free: bool,
}

impl CallOrigin {
    /// Returns the origin of a request.
    pub fn of(app: &AppState, request: &Request) -> Self {
        let at = app.journal.clock().now();
        Self { address: address(app, request), at, token: None, is_free: false }
    }

    /// Returns the answer to a refused call.
    pub fn refused(&mut self, refusal: CallRefusal) -> ApiProblem {
        self.is_free = match refusal {
            CallRefusal::Expired(_) | CallRefusal::Address(_) | CallRefusal::Rate(..) => true,
            CallRefusal::Scope(_) | CallRefusal::Tables => false,
        };
        refusal_problem(refusal)
    }
}

/// Admits a request as [`identify_caller`] does. If several nodes share the calls of its token,
/// this node first reserves some of them.
pub async fn admit_caller(
    app: &AppState,
    request: &mut Request,
    route: &str,
    from: &mut CallOrigin,
) -> Result<Option<CallAllowance>, ApiProblem> {
    if let Some(token) = find_shared_token(app, request, from.at) {
        take_shared_calls(app, &token, from.at).await;
    }
    identify_caller(app, request, route, from)
}

/// Returns the token of a request, or the client of a short-lived one, if other nodes may answer
/// its calls too.
fn find_shared_token(app: &AppState, request: &Request, now: Timestamp) -> Option<Arc<ApiToken>> {
    let shown = presented_token(request.headers()).filter(|_| app.journal.has_others())?;
    if let Some(shown) = ShownGrant::read(shown) {
        return find_granted(app, &shown, now).ok().flatten().map(|principal| principal.token);
    }
    let snapshot = app.live.current_settings();
    shown_digest(shown).and_then(|digest| snapshot.find_token(&digest).cloned())
}

/// Reserves calls of a token for this node, if several nodes share them and this node has used up
/// its part. While the database does not answer, calls already reserved can still be used.
pub async fn take_shared_calls(app: &AppState, token: &ApiToken, now: Timestamp) {
    let Some(limit) = token.settings.rate.filter(|_| app.journal.has_others()) else { return };
    let Some(whole) = token.wanted_calls(now) else { return };
    // The last calls of a minute may be fewer than a part.
    for part in [whole, CallPart { calls: 1, ..whole }] {
        match reserve_calls(app, token.id, part, limit).await {
            Some(Ok(calls)) => {
                token.note_calls(part, calls);
                if calls.is_some() {
                    return;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(error = %error_chain(&error), "cannot reserve calls of a token");
                return;
            }
            None => return token.take_own_calls(part, limit),
        }
    }
}

/// Reserves calls in the database. Returns `None` if the database does not answer and captures go
/// on without it.
async fn reserve_calls(
    app: &AppState,
    token: TokenId,
    part: CallPart,
    limit: u32,
) -> Option<Result<Option<u32>, store::StoreError>> {
    let reserving = app.journal.take_calls(token, part.minute, part.calls, limit);
    if app.capture_log.is_none() {
        return Some(reserving.await);
    }
    if app.journal.is_away() {
        return None;
    }
    let reserved = timeout(LONGEST_RESERVATION, reserving).await.ok()?;
    Some(reserved).filter(|reserved| !matches!(reserved, Err(store::StoreError::Unavailable(_))))
}

/// Admits a request to a guarded route. Returns the calls that its token has left, if they are
/// limited.
fn identify_caller(
    app: &AppState,
    request: &mut Request,
    route: &str,
    from: &mut CallOrigin,
) -> Result<Option<CallAllowance>, ApiProblem> {
    let need = route_need(request.method(), route);
    if matches!(need, Some(RouteNeed::Client | RouteNeed::Signature)) {
        // The handler identifies the caller, and reports it in the extensions of its answer.
        request.extensions_mut().insert(*from);
        return Ok(None);
    }
    let shown = presented_token(request.headers()).ok_or_else(|| {
        ApiProblem::unauthorized(
            "send a token as `Authorization: Bearer TOKEN` or `X-API-KEY: TOKEN`",
        )
    })?;
    let principal = find_principal(app, shown, from)?;
    let token = &principal.token;
    from.token = Some(token.id);
    let admitted =
        token.admit(principal.scopes, need.unwrap_or(RouteNeed::Token), from.address, from.at);
    let allowance = admitted.map_err(|refusal| from.refused(refusal))?;
    // A route without a stated need gets no principal, so its handler refuses the call.
    if need.is_some() {
        request.extensions_mut().insert(principal);
    }
    Ok(allowance)
}

/// Finds the principal of a token. Unknown tokens slow their sender down.
pub fn find_principal(
    app: &AppState,
    shown: &str,
    from: &CallOrigin,
) -> Result<CallPrincipal, ApiProblem> {
    let found = if let Some(shown) = ShownGrant::read(shown) {
        find_granted(app, &shown, from.at)?
    } else {
        let snapshot = app.live.current_settings();
        let token = shown_digest(shown).and_then(|digest| snapshot.find_token(&digest).cloned());
        token.map(CallPrincipal::of_token)
    };
    slow_down_guessing(app, found.as_ref().map(CallPrincipal::token), from)?;
    found.ok_or_else(|| ApiProblem::unauthorized("this token is not known here"))
}

/// Finds the client of a short-lived token that is genuine and has not expired. It may do what both
/// the token and its client may do now: when a client loses a scope, all its tokens lose it.
fn find_granted(
    app: &AppState,
    shown: &ShownGrant,
    now: Timestamp,
) -> Result<Option<CallPrincipal>, ApiProblem> {
    let snapshot = app.live.current_settings();
    let client = snapshot.token_with_id(shown.client());
    let Some((_, client)) = client.filter(|(digest, _)| app.issuer.is_real(shown, digest)) else {
        return Ok(None);
    };
    let grant = shown.grant();
    if snapshot.is_revoked(grant.id) {
        return Err(ApiProblem::unauthorized("this token was revoked"));
    }
    let ends = grant.ends_at();
    if ends <= now {
        return Err(ApiProblem::unauthorized(format!(
            "this token ended at {ends}; get another from /oauth/token"
        )));
    }
    let scopes = grant.scopes.intersect(client.scopes);
    Ok(Some(CallPrincipal { token: Arc::clone(client), scopes, ends: Some(ends) }))
}

/// Refuses an address that presented too many unknown tokens, and counts another unknown one. A
/// token that was recently used from this address is accepted; for any other the answer does not
/// reveal whether it is valid.
pub fn slow_down_guessing(
    app: &AppState,
    known: Option<&ApiToken>,
    from: &CallOrigin,
) -> Result<(), ApiProblem> {
    if known.is_some_and(|token| token.is_used_from(from.address)) {
        return Ok(());
    }
    if let Err(wait) = app.throttle.check(from.address, from.at) {
        let detail = format!("too many unknown tokens came from here; try again in {wait} s");
        return Err(ApiProblem::too_many(detail, wait));
    }
    if known.is_none() {
        app.throttle.failed(from.address, from.at);
    }
    Ok(())
}

/// Returns the token of a request.
fn presented_token(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| text("x-api-key"))
}

fn address(app: &AppState, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    let trusted = &app.config.server.trusted_proxies;
    if trusted.is_empty() {
        return peer.to_canonical();
    }
    let forwarded = request.headers().get_all("x-forwarded-for").iter();
    let forwarded: Vec<&str> = forwarded.filter_map(|line| line.to_str().ok()).collect();
    caller_address(peer, forwarded.into_iter(), trusted)
}

fn refusal_problem(refusal: CallRefusal) -> ApiProblem {
    match refusal {
        CallRefusal::Expired(end) => ApiProblem::unauthorized(format!("this token ended at {end}")),
        CallRefusal::Address(address) => {
            ApiProblem::forbidden(format!("this token may not be used from {address}"))
        }
        CallRefusal::Rate(allowance, wait) => {
            let detail = format!(
                "this token may make {} calls a minute; try again in {wait} s",
                allowance.limit
            );
            rate_headers(allowance)
                .into_iter()
                .fold(ApiProblem::too_many(detail, wait), |problem, (name, value)| {
                    problem.with_value(name, value)
                })
        }
        CallRefusal::Scope(scope) => {
            ApiProblem::forbidden(format!("this needs the scope `{}`", scope.name()))
        }
        CallRefusal::Tables => ApiProblem::forbidden(
            "this token is limited to some tables or sources, and this could be about any of them",
        ),
    }
}

/// Returns the remaining calls as headers.
pub fn rate_headers(allowance: CallAllowance) -> [(HeaderName, HeaderValue); 3] {
    [
        (HeaderName::from_static("x-ratelimit-limit"), allowance.limit.into()),
        (HeaderName::from_static("x-ratelimit-remaining"), allowance.remaining.into()),
        (HeaderName::from_static("x-ratelimit-reset"), allowance.reset.into()),
    ]
}

/// Creates the first token if there is none, and stores the one from the environment. Returns a
/// created token, to be shown once.
pub async fn first_token(
    journal: &EventStore,
    given: Option<&str>,
) -> Result<Option<String>, store::StoreError> {
    let stored: Vec<StoredObject<StoredToken>> = journal.list_objects(ObjectKind::Token).await?;
    let made = (given.is_none() && stored.is_empty()).then(generate_token);
    let Some(token) = made.as_deref().or(given) else { return Ok(None) };
    let known = stored.iter().find(|object| object.settings.settings.name == ADMIN);
    let object = admin_token(token, known, journal);
    if known.is_none_or(|known| known.settings.sha256 != object.settings.sha256) {
        let change = ObjectChange::put(ObjectKind::Token, ADMIN, &object).map_err(|error| {
            store::StoreError::Corrupt { table: "object", column: "body", why: error.to_string() }
        })?;
        journal.change_objects(&[change]).await?;
    }
    Ok(made)
}

fn admin_token(
    token: &str,
    known: Option<&StoredObject<StoredToken>>,
    journal: &EventStore,
) -> StoredObject<StoredToken> {
    let now = journal.clock().now();
    let settings = TokenSettings {
        name: ADMIN.to_owned(),
        scopes: vec!["admin".to_owned()],
        tables: std::collections::BTreeSet::new(),
        sources: std::collections::BTreeSet::new(),
        from: Vec::new(),
        rate: None,
        expires_at: None,
    };
    StoredObject {
        id: known.map_or_else(|| TokenId::generate().uuid(), |object| object.id),
        settings: StoredToken { sha256: hex::encode(token_digest(token)), settings },
        sealed: None,
        created_at: known.map_or(now, |object| object.created_at),
        updated_at: now,
    }
}
