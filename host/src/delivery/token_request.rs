//! Requests a token from a token server and reads the answer (RFC 6749, sections 4.4, 5 and 6; RFC
//! 7523).

use crate::delivery::attempt::USER_AGENT;
use crate::model::oauth_settings::{ClientAuth, OauthGrant};
use crate::model::private_values::url_origin;
use crate::model::redactor::SecretRedactor;
use crate::net::http_client::{ClientReply, ClientRequest, DeliveryClient};
use crate::settings::oauth_access::{FetchedToken, OauthAccess};
use crate::time::timestamp::Timestamp;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use url::form_urlencoded;

/// Most bytes of a token server's answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest token, in bytes. Most receivers accept about 8 KiB of headers.
const MAX_TOKEN: usize = 16 * 1024;
/// Most characters of a token server's error that a message repeats.
const MAX_TOLD: usize = 300;
/// How long an assertion is valid, in seconds.
const ASSERTION_LIFE: i64 = 300;
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Everything that a request for a token needs.
#[derive(Debug, Clone, Copy)]
pub struct TokenAsk<'a> {
    pub oauth: &'a OauthAccess,
    pub client: &'a DeliveryClient,
    /// Masks the endpoint's secrets in messages about the answer.
    pub redactor: &'a SecretRedactor,
    /// The time of day that assertions carry.
    pub wall: Timestamp,
}

/// Requests a token from the token server. The error says in a sentence why there is none.
pub async fn fetch_token(ask: TokenAsk<'_>, timeout: Duration) -> Result<FetchedToken, String> {
    let oauth = ask.oauth;
    let request = build_request(oauth, ask.wall)?;
    let asked = Instant::now();
    let server = url_origin(&oauth.settings.token_url);
    let reply = ask.client.ask_whole(request, timeout, MAX_ANSWER).await;
    let reply =
        reply.map_err(|why| format!("the token server {server} could not be reached: {why}"))?;
    if !reply.status.is_success() {
        let status = reply.status;
        let told = describe_refusal(&reply.body, ask.redactor);
        return Err(format!("the token server {server} answered {status}{told}"));
    }
    let answer = read_answer(&reply).map_err(|why| format!("the token server {server} {why}"))?;
    let places = &oauth.settings.response;
    let token = answer.pointer(&places.token).and_then(Value::as_str).unwrap_or_default();
    if token.is_empty() || token.len() > MAX_TOKEN {
        let place = &places.token;
        return Err(format!("the answer of the token server {server} has no token at `{place}`"));
    }
    if oauth.settings.grant == OauthGrant::RefreshToken
        && let Some(given) = answer.get("refresh_token").and_then(Value::as_str)
    {
        oauth.slot.rotate_refresh_token(given.to_owned());
    }
    let life = answer.pointer(&places.expires).and_then(|life| read_life(life, ask.wall));
    FetchedToken::new(&oauth.settings.scheme, token.to_owned(), asked, life).map_err(|_opaque| {
        format!("the token of the token server {server} cannot be put into a header")
    })
}

fn read_answer(reply: &ClientReply) -> Result<Value, String> {
    if reply.truncated {
        return Err(format!("sent more than {MAX_ANSWER} bytes, or its answer was cut off"));
    }
    serde_json::from_slice(&reply.body).map_err(|_opaque| "did not answer in JSON".to_owned())
}

/// Returns the reason that a token server gives for its refusal (RFC 6749, section 5.2), or an
/// empty text.
fn describe_refusal(body: &Bytes, redactor: &SecretRedactor) -> String {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let texts = ["error", "error_description"].map(|name| answer.get(name).and_then(Value::as_str));
    let told: Vec<&str> = texts.into_iter().flatten().collect();
    if told.is_empty() {
        return String::new();
    }
    let told = redactor.text(&told.join(": ")).into_owned();
    let words: Vec<&str> = told.split_whitespace().collect();
    let told: String = words.join(" ").chars().take(MAX_TOLD).collect();
    format!(": {told}")
}

/// Reads the lifetime of a token: seconds from now, or the time at which it ends.
fn read_life(value: &Value, wall: Timestamp) -> Option<Duration> {
    /// A number from here on is a time in seconds since 1970, because no token is valid for 30
    /// years.
    const TIMES_FROM: f64 = 1e9;
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    match text.parse::<f64>() {
        Ok(seconds) if seconds < TIMES_FROM => Duration::try_from_secs_f64(seconds).ok(),
        Ok(_) | Err(_) => Timestamp::parse_lenient(&text).map(|end| end.since(wall)),
    }
}

fn build_request(oauth: &OauthAccess, wall: Timestamp) -> Result<ClientRequest, String> {
    let uri = oauth.token_uri.clone()?;
    let (form, credentials) = build_form(oauth, wall)?;
    let mut headers = HeaderMap::with_capacity(8);
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form_type);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if let Some(credentials) = credentials {
        let value = HeaderValue::try_from(credentials);
        let mut value =
            value.map_err(|_opaque| "the client's credentials cannot be put into a header")?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let body = Bytes::from(form);
    Ok(ClientRequest::post(uri, headers, body))
}

/// Builds the form, and the value of `Authorization` if the client authenticates with that header.
fn build_form(oauth: &OauthAccess, wall: Timestamp) -> Result<(String, Option<String>), String> {
    let settings = &oauth.settings;
    let mut form = form_urlencoded::Serializer::new(String::new());
    match settings.grant {
        OauthGrant::ClientCredentials => {
            form.append_pair("grant_type", "client_credentials");
        }
        OauthGrant::RefreshToken => {
            let token = oauth.slot.refresh_token();
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", token.as_deref().unwrap_or_default());
        }
        OauthGrant::JwtBearer => {
            form.append_pair("grant_type", JWT_BEARER);
            form.append_pair("assertion", &sign_grant(oauth, wall)?);
        }
    }
    let optional = [("scope", &settings.scope), ("audience", &settings.audience)];
    for (name, value) in optional {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    form.extend_pairs(&settings.extra);
    let id = settings.client_id.as_deref();
    let secret = settings.client_secret.as_deref().unwrap_or_default();
    let credentials = match settings.client_auth() {
        ClientAuth::Basic => Some(basic_credentials(id.unwrap_or_default(), secret)),
        ClientAuth::Post => {
            form.append_pair("client_id", id.unwrap_or_default());
            form.append_pair("client_secret", secret);
            None
        }
        ClientAuth::PrivateKeyJwt => {
            let id = id.unwrap_or_default();
            form.append_pair("client_id", id);
            form.append_pair("client_assertion_type", JWT_ASSERTION);
            form.append_pair("client_assertion", &sign_claims(oauth, id, Some(id), None, wall)?);
            None
        }
        ClientAuth::None => {
            if let Some(id) = id {
                form.append_pair("client_id", id);
            }
            None
        }
    };
    Ok((form.finish(), credentials))
}

/// Encodes id and secret for `Authorization`, each as in a form (RFC 6749, section 2.3.1).
fn basic_credentials(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(id), encode(secret));
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

/// Signs the assertion of the grant `jwt_bearer`. It includes the scope, because some token servers
/// look for the scope there.
fn sign_grant(oauth: &OauthAccess, wall: Timestamp) -> Result<String, String> {
    let settings = &oauth.settings;
    let issuer = settings.issuer.as_deref().or(settings.client_id.as_deref()).unwrap_or_default();
    sign_claims(oauth, issuer, settings.subject.as_deref(), settings.scope.as_deref(), wall)
}

fn sign_claims(
    oauth: &OauthAccess,
    issuer: &str,
    subject: Option<&str>,
    scope: Option<&str>,
    wall: Timestamp,
) -> Result<String, String> {
    let settings = &oauth.settings;
    let key = oauth.key.as_ref().ok_or("there is no `private_key` to sign with")?;
    let key = key.as_ref().map_err(|why| format!("`private_key`: {why}"))?;
    let audience = settings.assertion_audience.as_ref().unwrap_or(&settings.token_url);
    let seconds = wall.micros().div_euclid(1_000_000);
    let mut claims = json!({
        "iss": issuer,
        "aud": audience,
        "iat": seconds,
        "exp": seconds + ASSERTION_LIFE,
        "jti": uuid::Uuid::now_v7().to_string(),
    });
    if let Some(claims) = claims.as_object_mut() {
        let optional = [("sub", subject), ("scope", scope)];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        claims.extend(optional.map(|(name, value)| (name.to_owned(), Value::from(value))));
    }
    key.sign(settings.key_id.as_deref(), &claims).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests;
