//! The access log: one line for each request, if `log.access` is set.
//!
//! A line names the route in the place of the path, and holds no query, no header and no body.

use super::auth::CallOrigin;
use crate::model::id::RequestId;
use crate::telemetry::log_output::ACCESS_TARGET;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::Method;
use std::time::Instant;

/// The route of a request that matches none, whose path anybody may choose.
const NO_ROUTE: &str = "(none)";

/// The line of a request that is being answered.
#[derive(Debug)]
pub struct AccessLine {
    id: RequestId,
    began: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
}

impl AccessLine {
    /// Begins the line of a request.
    pub fn begin(id: RequestId, request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        Self { id, began: Instant::now(), method: method_name(request.method()), route }
    }

    /// Writes the line. The guard has left the caller with the answer, if it knows one.
    pub fn write(self, response: &mut Response) {
        let caller = response.extensions_mut().remove::<CallOrigin>();
        let principal = caller.and_then(|caller| caller.token).map(|token| token.to_string());
        tracing::info!(
            target: ACCESS_TARGET,
            request_id = %self.id,
            principal,
            address = caller.map(|caller| tracing::field::display(caller.address)),
            method = self.method,
            route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str),
            status = response.status().as_u16(),
            duration_ms = self.began.elapsed().as_secs_f64() * 1e3,
            "request"
        );
    }
}

/// Returns a method by its name. A client may make up others, of any length.
fn method_name(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_a_client_made_up_is_not_repeated() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"SECRET").unwrap()), "_OTHER");
    }
}
