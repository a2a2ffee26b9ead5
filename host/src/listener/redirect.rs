//! Redirects every plain HTTP request to HTTPS (RFC 9110, section 15.4.9).
//!
//! Method and body stay the same (308). If a client already sent a token in the clear,
//! eavesdroppers have seen it, and a redirect cannot undo that. So operators enable this listener
//! only if people type addresses without `https`.

use crate::api::problem::ApiProblem;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, header};

/// Redirects every request to the same host and path at `port` with HTTPS.
pub fn redirect_router(port: u16) -> Router {
    Router::new().fallback(move |request: Request| async move { redirect_call(&request, port) })
}

fn redirect_call(request: &Request, port: u16) -> Response {
    let location = location(request, port).and_then(|text| HeaderValue::try_from(text).ok());
    let Some(location) = location else {
        return ApiProblem::malformed_request(
            "the request names no host, so it cannot be redirected; use an https address",
        )
        .into_response();
    };
    let headers =
        [(header::LOCATION, location), (header::CONNECTION, HeaderValue::from_static("close"))];
    (StatusCode::PERMANENT_REDIRECT, headers).into_response()
}

fn location(request: &Request, port: u16) -> Option<String> {
    // The host of the request line takes precedence over the header (RFC 9112, section 3.2.2).
    let authority: Authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => request.headers().get(header::HOST)?.to_str().ok()?.parse().ok()?,
    };
    let host = authority.host();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    (!host.is_empty() && path.starts_with('/')).then(|| format!("https://{host}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(host: &str, path: &str, port: u16) -> Option<String> {
        let request = Request::builder().uri(path).header("host", host);
        location(&request.body(axum::body::Body::empty()).unwrap(), port)
    }

    #[test]
    fn host_and_path_are_kept_with_https() {
        let there = sent("waybill.example:80", "/api/v1/events?limit=2", 443);
        assert_eq!(there.as_deref(), Some("https://waybill.example/api/v1/events?limit=2"));
        let there = sent("[2001:db8::1]", "/admin", 8443);
        assert_eq!(there.as_deref(), Some("https://[2001:db8::1]:8443/admin"));
        let there = sent("b", "http://a:80/admin", 443);
        assert_eq!(there.as_deref(), Some("https://a/admin"));
    }

    #[test]
    fn an_invalid_host_is_not_redirected_to() {
        assert_eq!(sent("a b", "/", 443), None);
        assert_eq!(sent("user@", "/", 443), None);
    }
}
