//! Who is calling: a token, as `Authorization: Bearer …` or `X-API-KEY: …`, and what it may do.
//!
//! [`identify`] runs before every handler: it looks the token up and lets [`Token::admit`] decide by
//! what [`need`] says of the route. A route that [`need`] does not name is refused, whoever asks. The
//! handler asks for the [`Principal`] that was admitted.

use super::App;
use super::problem::Problem;
use crate::access::address::caller;
use crate::access::scope::need;
use crate::access::token::{
    Allowance, Refusal, StoredToken, Token, TokenSettings, digest, generate,
};
use crate::domain::id::TokenId;
use crate::journal::objects::{Change, Kind, Object};
use crate::journal::{self, Journal};
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Name of the token that the first start makes.
pub const ADMIN: &str = "admin";

/// Who is calling, and may: [`identify`] made it. A handler that asks for one which was not made is
/// answered in its place.
#[derive(Debug, Clone)]
pub struct Principal(Arc<Token>);

impl Principal {
    /// The token.
    pub fn token(&self) -> &Token {
        &self.0
    }

    /// Refuses what is about a resource that the token is not for.
    pub fn check_table(&self, resource: Option<&str>) -> Result<(), Problem> {
        if self.0.may_touch(resource) {
            return Ok(());
        }
        Err(Problem::forbidden(tables_detail(resource)))
    }
}

fn tables_detail(resource: Option<&str>) -> String {
    match resource {
        Some(resource) => format!("this token is not for the table `{resource}`"),
        None => "this token is limited to some tables; name one of them as the resource".to_owned(),
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let nobody = || Problem::forbidden("nobody may call this: no scope guards it");
        parts.extensions.get::<Self>().cloned().ok_or_else(nobody)
    }
}

/// Decides about a request; what is left of its token's calls, if they are limited.
pub(super) fn identify(app: &App, request: &mut Request) -> Result<Option<Allowance>, Problem> {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // Where no route has this path there is nothing to guard.
    let Some(route) = route.filter(|route| route.starts_with("/api/")) else { return Ok(None) };
    let need = need(request.method(), route);
    let token = presented(request.headers()).ok_or_else(|| {
        Problem::unauthorized("send a token as `Authorization: Bearer TOKEN` or `X-API-KEY: TOKEN`")
    })?;
    let unknown = || Problem::unauthorized("this token is not known here");
    let token = app.live.current().token(&digest(token)).cloned().ok_or_else(unknown)?;
    // A handler behind such a route gets no principal; a method that it has not is told so.
    let Some(need) = need else { return Ok(None) };
    let now = app.journal.clock().now();
    let allowance = token.admit(need, address(app, request), now).map_err(refused)?;
    request.extensions_mut().insert(Principal(token));
    Ok(allowance)
}

/// The token that a request shows.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| text("x-api-key"))
}

fn address(app: &App, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    let forwarded = request.headers().get_all("x-forwarded-for").iter();
    let forwarded: Vec<&str> = forwarded.filter_map(|line| line.to_str().ok()).collect();
    caller(peer, forwarded.into_iter(), &app.config.server.trusted_proxies)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Expired(end) => Problem::unauthorized(format!("this token ended at {end}")),
        Refusal::Address(address) => {
            Problem::forbidden(format!("this token may not be used from {address}"))
        }
        Refusal::Rate(allowance, wait) => {
            let detail = format!(
                "this token may make {} calls a minute; try again in {wait} s",
                allowance.limit
            );
            limits(allowance)
                .into_iter()
                .fold(Problem::too_many(detail, wait), |problem, (name, value)| {
                    problem.with_value(name, value)
                })
        }
        Refusal::Scope(scope) => {
            Problem::forbidden(format!("this needs the scope `{}`", scope.name()))
        }
        Refusal::Tables => Problem::forbidden(
            "this token is limited to some tables, and this could be about any of them",
        ),
    }
}

/// What is left, as headers.
pub(super) fn limits(allowance: Allowance) -> [(HeaderName, HeaderValue); 3] {
    [
        (HeaderName::from_static("x-ratelimit-limit"), allowance.limit.into()),
        (HeaderName::from_static("x-ratelimit-remaining"), allowance.remaining.into()),
        (HeaderName::from_static("x-ratelimit-reset"), allowance.reset.into()),
    ]
}

/// Makes the first token where there is none, and sets the one that the environment gives. The token
/// that was made is returned, to be shown once.
pub async fn first_token(
    journal: &Journal,
    given: Option<&str>,
) -> Result<Option<String>, journal::Error> {
    let stored: Vec<Object<StoredToken>> = journal.objects(Kind::Token).await?;
    let made = (given.is_none() && stored.is_empty()).then(generate);
    let Some(token) = made.as_deref().or(given) else { return Ok(None) };
    let known = stored.iter().find(|object| object.settings.settings.name == ADMIN);
    let object = admin(token, known, journal);
    if known.is_none_or(|known| known.settings.sha256 != object.settings.sha256) {
        let change = Change::put(Kind::Token, ADMIN, &object).map_err(|error| {
            journal::Error::Corrupt { table: "object", column: "body", why: error.to_string() }
        })?;
        journal.change(&[change]).await?;
    }
    Ok(made)
}

fn admin(
    token: &str,
    known: Option<&Object<StoredToken>>,
    journal: &Journal,
) -> Object<StoredToken> {
    let now = journal.clock().now();
    let settings = TokenSettings {
        name: ADMIN.to_owned(),
        scopes: vec!["admin".to_owned()],
        tables: std::collections::BTreeSet::new(),
        from: Vec::new(),
        rate: None,
        expires_at: None,
    };
    Object {
        id: known.map_or_else(|| TokenId::generate().uuid(), |object| object.id),
        settings: StoredToken { sha256: hex::encode(digest(token)), settings },
        sealed: None,
        created_at: known.map_or(now, |object| object.created_at),
        updated_at: now,
    }
}
