//! Reads bodies and queries within bounds, and reports faults with their places.

use super::AppState;
use super::auth::CallPrincipal;
use super::body_budget::PaidBytes;
use super::problem::ApiProblem;
use crate::json::surrogates::replace_lone_surrogates;
use crate::model::fault::InputFault;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::header;
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::time::Duration;

/// A body of at most `server.max_body` bytes.
#[derive(Debug)]
pub struct BoundedBody(pub Bytes);

impl FromRequest<AppState> for BoundedBody {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiProblem> {
        let limit = limit(app, request.uri().path())?;
        read_body(app, request, limit).await.map(Self)
    }
}

/// Largest form of OAuth, in bytes. Anybody can send one, and it holds a few short texts.
const LONGEST_FORM: usize = 16 * 1024;

/// Returns the largest permitted body, in bytes. A body for a webhook source that does not exist is
/// not read at all.
fn limit(app: &AppState, path: &str) -> Result<usize, ApiProblem> {
    let most = app.config.server.max_body;
    if path.starts_with("/oauth/") {
        return Ok(LONGEST_FORM.min(most));
    }
    // The handler looks up a name that contains escapes.
    let Some(source) = path.strip_prefix("/in/").filter(|name| !name.contains('%')) else {
        return Ok(most);
    };
    // A module of the source may read what is below its address.
    let name = source.split('/').next().unwrap_or_default();
    match app.live.current_settings().find_source_runtime(name) {
        Some(runtime) if runtime.verifier.is_some() => Ok(most),
        Some(_) | None => Err(ApiProblem::missing("webhook source", source)),
    }
}

/// Bytes of an oversized body that are still read, and for how long. A client that is still sending
/// when its connection closes sees a reset instead of the answer (RFC 9112, section 9.6).
const DRAIN: (usize, Duration) = (32 << 20, Duration::from_secs(5));

/// Reads a body of at most `limit` bytes, in at most `server.body_timeout`.
pub async fn read_body(
    app: &AppState,
    request: Request,
    limit: usize,
) -> Result<Bytes, ApiProblem> {
    let patience = app.config.server.body_timeout;
    let late = |_| ApiProblem::timed_out(format!("the body did not arrive within {patience}"));
    tokio::time::timeout(patience.get(), read_all(app, request, limit)).await.map_err(late)?
}

async fn read_all(app: &AppState, request: Request, limit: usize) -> Result<Bytes, ApiProblem> {
    // Such a client sends nothing until it is asked to, so it receives the answer.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let mut account =
        app.bodies.open_account(request.extensions().get::<CallPrincipal>().is_some());
    account.pay_for_bytes(head_size(&request)).await?;
    let mut body = request.into_body();
    if asks_first && body.size_hint().lower() > limit as u64 {
        return Err(ApiProblem::too_large(limit));
    }
    let mut collected = Vec::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = account.asked_to_give_way() => return Err(ApiProblem::busy()),
        };
        let Some(frame) = frame else { return Ok(account.finish_body(collected)) };
        let cut_off = |_| ApiProblem::malformed("the connection ended before the body did");
        let Ok(data) = frame.map_err(cut_off)?.into_data() else { continue };
        if collected.len() + data.len() > limit {
            drop((collected, account));
            // The result of draining does not change the answer.
            drop(tokio::time::timeout(DRAIN.1, drain_body(body)).await);
            return Err(ApiProblem::too_large(limit));
        }
        account.pay_for_bytes(data.len()).await?;
        // The buffer grows as data arrives: with large pages, a buffer of the announced length
        // would make two megabytes resident with its first byte.
        collected.extend_from_slice(&data);
    }
}

/// Reserves memory for a decompressed body, until the returned value is dropped. Any other body has
/// its memory already. `known` says whether the sender has presented a valid token.
#[expect(clippy::ptr_arg, reason = "only a body that was copied is paid for once more")]
pub async fn pay_for_copy(
    app: &AppState,
    body: &Cow<'_, [u8]>,
    known: bool,
) -> Result<PaidBytes, ApiProblem> {
    let mut account = app.bodies.open_account(known);
    if let Cow::Owned(copy) = body {
        account.pay_for_bytes(copy.len()).await?;
    }
    Ok(account.close())
}

/// Returns the memory of a request's headers, which are held while its body arrives, in bytes.
fn head_size(request: &Request) -> usize {
    let fields = request.headers().iter();
    fields.map(|(name, value)| name.as_str().len() + value.len()).sum()
}

async fn drain_body(mut body: axum::body::Body) {
    let mut left = DRAIN.0;
    while let Some(Ok(frame)) = body.frame().await {
        match frame.data_ref().and_then(|data| left.checked_sub(data.len())) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// A JSON body of a known shape. A fault is reported with its path.
#[derive(Debug)]
pub struct JsonInput<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for JsonInput<T> {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiProblem> {
        let body = read_body(app, request, app.config.server.max_body).await?;
        parse_json(&body).map(Self)
    }
}

/// Parses a JSON object of a known shape.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiProblem> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    // serde would accept an array for a structure, with its elements in the order of the fields.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiProblem::fault("", "an object is expected, not an array"));
    }
    let text = std::str::from_utf8(body).map_err(ApiProblem::malformed)?;
    let text = replace_lone_surrogates(text);
    let mut reader = serde_json::Deserializer::from_str(&text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                let message = inner.to_string();
                let message = message.split(" at line ").next().unwrap_or_default();
                let message = without_text(message);
                let path = if path == "." { String::new() } else { path };
                ApiProblem::invalid(vec![InputFault::new(path, message)])
            }
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => ApiProblem::malformed(inner),
        }
    })?;
    reader.end().map_err(ApiProblem::malformed)?;
    Ok(value)
}

/// Removes the text from serde's message, because it may be a secret in the wrong place.
fn without_text(message: &str) -> String {
    let around = message.split_once(" \"").and_then(|(before, rest)| {
        let (_, after) = rest.rsplit_once("\", expected ")?;
        Some(format!("{before}, expected {after}"))
    });
    around.unwrap_or_else(|| message.to_owned())
}

/// The query of a URL. Unknown parameters are refused if the shape refuses them.
#[derive(Debug)]
pub struct QueryInput<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for QueryInput<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiProblem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| ApiProblem::fault("query", error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_the_wrong_place_is_not_repeated() {
        type NumberMap = std::collections::BTreeMap<String, u32>;
        let problem = parse_json::<NumberMap>(br#"{"a": "se\"cret"}"#).unwrap_err();
        assert_eq!(problem.errors[0].path, "a");
        assert_eq!(problem.errors[0].message, "invalid type: string, expected u32");
        let problem = parse_json::<NumberMap>(br#"{"a": true}"#).unwrap_err();
        assert_eq!(problem.errors[0].message, "invalid type: boolean `true`, expected u32");
        assert!(parse_json::<NumberMap>(b" [1]").is_err());
        let read = parse_json::<NumberMap>(br#"{"\udc00": 1}"#).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["\u{fffd}"]);
    }
}
