//! `/oauth`: short-lived tokens for clients (RFC 6749, section 4.4) and their revocation (RFC
//! 7009).
//!
//! A client's id is a token's id, and its secret is the token. Answers and errors have the shapes
//! of the RFCs, not those of the REST API, because the libraries of clients read them.

use super::auth::{CallOrigin, slow_down_guessing};
use super::body::BoundedBody;
use super::{AppState, edit};
use crate::access::grant::{ShownGrant, TokenGrant};
use crate::access::scope::{RouteNeed, Scope, ScopeSet};
use crate::access::token::{ApiToken, shown_digest};
use crate::model::id::TokenId;
use crate::store::objects::ObjectKind;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use utoipa::ToSchema;

/// A client's request for a token, as a form.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// `client_credentials`.
    grant_type: Option<String>,
    /// Names of scopes, separated by spaces. Default: all scopes of the client.
    scope: Option<String>,
    /// The id of a token. Alternatively both are sent by HTTP Basic.
    client_id: Option<String>,
    /// The token.
    client_secret: Option<String>,
}

/// A client's request for a revocation, as a form.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RevocationRequest {
    /// The short-lived token.
    token: Option<String>,
    /// The id of a token. Alternatively both are sent by HTTP Basic.
    client_id: Option<String>,
    /// The token.
    client_secret: Option<String>,
}

/// A short-lived token (RFC 6749, section 5.1).
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessToken {
    /// The token.
    #[serde(rename = "access_token")]
    token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until it expires.
    expires_in: i64,
    /// Scopes of the token, separated by spaces.
    scope: String,
}

/// An error (RFC 6749, section 5.2).
#[derive(Debug, Serialize, ToSchema)]
pub struct OAuthError {
    /// The kind of error.
    error: &'static str,
    /// The fault and its correction.
    error_description: String,
    #[serde(skip)]
    #[schema(ignore)]
    status: StatusCode,
    #[serde(skip)]
    #[schema(ignore)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl OAuthError {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        let (status, headers) = (StatusCode::BAD_REQUEST, Vec::new());
        Self { error, error_description: description.into(), status, headers }
    }

    fn client(description: impl Into<String>) -> Self {
        let basic = HeaderValue::from_static("Basic realm=\"waybill\"");
        let headers = vec![(header::WWW_AUTHENTICATE, basic)];
        let status = StatusCode::UNAUTHORIZED;
        Self { status, headers, ..Self::new("invalid_client", description) }
    }

    /// Converts a refusal of the REST API into OAuth's form.
    fn refused(problem: super::problem::ApiProblem) -> Self {
        let description = problem.detail.clone();
        let answer = problem.into_response();
        let error = match answer.status() {
            StatusCode::UNAUTHORIZED => "invalid_client",
            StatusCode::FORBIDDEN => "unauthorized_client",
            StatusCode::TOO_MANY_REQUESTS => "slow_down",
            StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
            _ => "invalid_request",
        };
        let about_the_body = [header::CONTENT_TYPE, header::CONTENT_LENGTH];
        let headers = answer.headers().iter().filter(|(name, _)| !about_the_body.contains(name));
        let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { error, error_description: description, status: answer.status(), headers }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, headers) = (self.status, self.headers.clone());
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().extend(headers);
        response
    }
}

/// Parses a form. A parameter that occurs twice is refused, as RFC 6749 (section 3.2) requires.
fn read_form<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, OAuthError> {
    serde_urlencoded::from_bytes(body).map_err(|error| {
        OAuthError::new("invalid_request", format!("the form cannot be read: {error}"))
    })
}

/// Returns the client's id and secret, from HTTP Basic or the form, but not both (section 2.3.1).
fn read_credentials(
    headers: &HeaderMap,
    id: Option<String>,
    secret: Option<String>,
) -> Result<(String, String), OAuthError> {
    let (by_basic, in_the_form) = (headers.get(header::AUTHORIZATION), id.zip(secret));
    if by_basic.is_some() && in_the_form.is_some() {
        let detail = "send the secret by HTTP Basic or in the form, not both";
        return Err(OAuthError::new("invalid_request", detail));
    }
    by_basic.and_then(basic).or(in_the_form).ok_or_else(|| {
        OAuthError::client(
            "send a token's id as client_id and the token as client_secret, or both by HTTP Basic",
        )
    })
}

fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    let text = BASE64_STANDARD.decode(text.trim()).ok()?;
    let text = String::from_utf8(text).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = text.split_once(':')?;
    // Both are form-encoded before they are joined.
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
    };
    Some((decode(id)?, decode(secret)?))
}

/// Returns the client if the secret belongs to it and it may call now.
fn find_client(
    app: &AppState,
    headers: &HeaderMap,
    given: (Option<String>, Option<String>),
    from: &mut CallOrigin,
) -> Result<Arc<ApiToken>, OAuthError> {
    let (id, secret) = read_credentials(headers, given.0, given.1)?;
    let snapshot = app.live.current_settings();
    let found = shown_digest(&secret).and_then(|digest| snapshot.find_token(&digest).cloned());
    let names = |token: &Arc<ApiToken>| {
        id.parse::<TokenId>().ok() == Some(token.id) || token.settings.name == id
    };
    let found = found.filter(names);
    slow_down_guessing(app, found.as_deref(), from).map_err(OAuthError::refused)?;
    let unknown = || OAuthError::client("no client has this id and this secret");
    let token = found.ok_or_else(unknown)?;
    from.token = Some(token.id);
    let admitted = token.admit(token.scopes, RouteNeed::Client, from.address, from.at);
    admitted.map_err(|refusal| OAuthError::refused(from.refused(refusal)))?;
    Ok(token)
}

/// Returns the requested scopes if the client has them.
fn asked_scopes(client: &ApiToken, asked: Option<&str>) -> Result<ScopeSet, OAuthError> {
    let Some(asked) = asked else { return Ok(client.scopes) };
    let names = || asked.split_ascii_whitespace();
    let refused = |detail: String| OAuthError::new("invalid_scope", detail);
    if let Some(unknown) = names().find(|name| Scope::named(name).is_empty()) {
        return Err(refused(format!("unknown scope `{unknown}`")));
    }
    let scopes = ScopeSet::named(names());
    if !client.scopes.covers_all(scopes) {
        return Err(refused(format!("this client has: {}", client.scopes.names().join(" "))));
    }
    Ok(if scopes == ScopeSet::default() { client.scopes } else { scopes })
}

/// Returns the answer and reports the caller to the guard.
fn answered(result: Result<Response, OAuthError>, caller: CallOrigin) -> Response {
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(caller);
    // Section 5.1 requires both headers.
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Gives a client a short-lived token with the client's scopes, or a requested part of them. It has
/// the client's tables, addresses and rate, and expires after an hour at most.
#[utoipa::path(post, path = "/oauth/token", tag = "oauth", operation_id = "get_access_token",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = AccessToken), (status = 400, body = OAuthError), (status = 401, body = OAuthError),
        (status = 403, body = OAuthError), (status = 429, body = OAuthError)))]
pub async fn get_access_token(
    State(app): State<AppState>,
    Extension(mut caller): Extension<CallOrigin>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Response {
    let result = give_token(&app, &headers, &body, &mut caller);
    answered(result, caller)
}

fn give_token(
    app: &AppState,
    headers: &HeaderMap,
    body: &Bytes,
    caller: &mut CallOrigin,
) -> Result<Response, OAuthError> {
    let request: TokenRequest = read_form(body)?;
    let client = find_client(app, headers, (request.client_id, request.client_secret), caller)?;
    match request.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            let detail = "only client_credentials is supported";
            return Err(OAuthError::new("unsupported_grant_type", detail));
        }
        None => return Err(OAuthError::new("invalid_request", "grant_type is missing")),
    }
    let scopes = asked_scopes(&client, request.scope.as_deref())?;
    let grant = TokenGrant::new(client.id, scopes, client.settings.expires_at, caller.at);
    let snapshot = app.live.current_settings();
    let (digest, _) = snapshot
        .token_with_id(client.id)
        .ok_or_else(|| OAuthError::client("the client was revoked"))?;
    let answer = AccessToken {
        token: app.issuer.issue_grant(&grant, digest),
        token_type: "Bearer",
        expires_in: grant.ends - caller.at.seconds(),
        scope: scopes.names().join(" "),
    };
    Ok(axum::Json(answer).into_response())
}

/// Revokes a short-lived token. An unknown or expired token is accepted too. A token of another
/// client is refused.
#[utoipa::path(post, path = "/oauth/revoke", tag = "oauth", operation_id = "revoke_access_token",
    request_body(content = RevocationRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200), (status = 400, body = OAuthError), (status = 401, body = OAuthError),
        (status = 403, body = OAuthError), (status = 429, body = OAuthError)))]
pub async fn revoke_access_token(
    State(app): State<AppState>,
    Extension(mut caller): Extension<CallOrigin>,
    headers: HeaderMap,
    BoundedBody(body): BoundedBody,
) -> Response {
    let result = take_back(&app, &headers, &body, &mut caller).await;
    answered(result, caller)
}

async fn take_back(
    app: &AppState,
    headers: &HeaderMap,
    body: &Bytes,
    caller: &mut CallOrigin,
) -> Result<Response, OAuthError> {
    let request: RevocationRequest = read_form(body)?;
    let client = find_client(app, headers, (request.client_id, request.client_secret), caller)?;
    let Some(token) = request.token else {
        return Err(OAuthError::new("invalid_request", "token is missing"));
    };
    let snapshot = app.live.current_settings();
    let real = ShownGrant::read(&token).filter(|shown| {
        let owner = snapshot.token_with_id(shown.client());
        owner.is_some_and(|(digest, _)| app.issuer.is_real(shown, digest))
    });
    let Some(shown) = real else { return Ok(StatusCode::OK.into_response()) };
    let grant = shown.grant();
    if grant.client != client.id {
        return Err(OAuthError::new("invalid_grant", "this token was given to another client"));
    }
    if grant.ends_at() > caller.at && !snapshot.is_revoked(grant.id) {
        let (id, name) = (grant.id.uuid(), grant.id.to_string());
        let revoked = edit::put_object(ObjectKind::RevokedGrant, &name, id, (), None, caller.at);
        let change = revoked.map_err(OAuthError::refused)?;
        edit::commit_changes(app, &[change]).await.map_err(OAuthError::refused)?;
    }
    Ok(StatusCode::OK.into_response())
}
