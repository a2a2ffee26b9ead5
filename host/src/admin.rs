//! `/admin`: the pages. One document without outside parts, which calls the REST API with the token
//! that the operator types; the token stays in the tab's session storage and goes nowhere else.
//!
//! The content security policy allows this document's own style and script, by their hashes, and
//! calls to this server; nothing else loads, and no other site may frame it.

use crate::crypto::sha256;
use axum::Router;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use http::{HeaderValue, header};
use std::sync::LazyLock;

/// The document.
const PAGE: &str = include_str!("admin/page.html");

/// What the document may load.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (hash("<style>", "</style>"), hash("<script>", "</script>"));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// SHA-256 in base64 of what stands between two marks (CSP Level 3, section 2.3.1).
fn hash(open: &str, close: &str) -> String {
    let inner = PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    let inner = inner.map_or("", |(inner, _)| inner);
    base64::engine::general_purpose::STANDARD.encode(sha256::sha256_digest(&[inner.as_bytes()]))
}

/// The routes of the pages.
pub fn page_routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/admin", get(serve_page)).route("/admin/", get(serve_page))
}

async fn serve_page() -> Response {
    let mut response = Html(PAGE).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(POLICY.as_str()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_page_s_own_style_and_script() {
        assert!(PAGE.contains("<style>") && PAGE.contains("<script>"));
        let nothing = base64::engine::general_purpose::STANDARD.encode(sha256::sha256_digest(&[]));
        assert!(!POLICY.contains(&nothing), "{}", *POLICY);
        assert!(
            !PAGE.contains(" style=") && !PAGE.contains(" onclick="),
            "the policy forbids these"
        );
    }
}
