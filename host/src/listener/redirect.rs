//! Plain HTTP where HTTPS is served: every request is sent there (RFC 9110, section 15.4.9).
//!
//! Method and body stay as they are (308). A token that was sent in the clear has been seen by
//! whoever listens; nothing here can mend that, so operators ask for this listener only where
//! people type addresses without `https`.

use crate::api::problem::ApiProblem;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, header};

/// Sends every request to the same place at `port` with HTTPS.
pub fn redirect_router(port: u16) -> Router {
    Router::new().fallback(move |request: Request| async move { redirect_call(&request, port) })
}

fn redirect_call(request: &Request, port: u16) -> Response {
    let location = location(request, port).and_then(|text| HeaderValue::try_from(text).ok());
    let Some(location) = location else {
        return ApiProblem::malformed_request("the request names no host; use https")
            .into_response();
    };
    let headers =
        [(header::LOCATION, location), (header::CONNECTION, HeaderValue::from_static("close"))];
    (StatusCode::PERMANENT_REDIRECT, headers).into_response()
}

fn location(request: &Request, port: u16) -> Option<String> {
    // What the request line names counts more than the header (RFC 9112, section 3.2.2).
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
    fn the_same_place_with_https() {
        let there = sent("waybill.example:80", "/api/v1/events?limit=2", 443);
        assert_eq!(there.as_deref(), Some("https://waybill.example/api/v1/events?limit=2"));
        let there = sent("[2001:db8::1]", "/admin", 8443);
        assert_eq!(there.as_deref(), Some("https://[2001:db8::1]:8443/admin"));
        let there = sent("b", "http://a:80/admin", 443);
        assert_eq!(there.as_deref(), Some("https://a/admin"));
    }

    #[test]
    fn a_host_that_is_none_is_not_followed() {
        assert_eq!(sent("a b", "/", 443), None);
        assert_eq!(sent("user@", "/", 443), None);
    }
}
