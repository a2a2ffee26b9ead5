//! Calls the REST API for tools: its own routes, in this process, with the caller's token.

use super::tool_failure::ToolFailure;
use crate::api::auth::CallPrincipal;
use crate::api::problem::ApiProblem;
use crate::api::{AppState, run_handler};
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::{Method, header};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tower_service::Service as _;

/// Longest answer that a tool reads, in bytes. A page of 200 events of usual size has a tenth of
/// that.
const LONGEST_ANSWER: usize = 32 << 20;

/// The routes of the REST API, behind the same access check.
#[derive(Debug, Clone)]
pub struct RestRouter(Router);

impl RestRouter {
    pub fn new(app: AppState, router: Router<AppState>) -> Self {
        let guarded = router.layer(from_fn_with_state(app.clone(), admit_call));
        Self(guarded.with_state(app))
    }

    /// Calls a route, such as `/api/v1/events?limit=20`. Returns the whole answer.
    pub async fn call_route(
        &self,
        principal: &CallPrincipal,
        (method, path): (Method, &str),
        body: Option<&Value>,
    ) -> Result<Value, ToolFailure> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .extension(principal.clone())
            .body(Body::from(text));
        let request = request.map_err(|error| ApiProblem::unexpected(&error))?;
        let response = match self.0.clone().call(request).await {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|_too_long| ToolFailure::too_much())?.to_bytes();
        if !status.is_success() {
            return Err(ToolFailure::of_problem(status, &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| ApiProblem::unexpected(&error).into())
    }
}

/// Checks a tool's call as the guard of the REST API does. A call that reads waits for its turn.
/// The audit records the tool's call, not this one.
async fn admit_call(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let principal = request.extensions().get::<CallPrincipal>();
    let admitted = match (route, principal) {
        (Some(route), Some(caller)) => caller.check_call(request.method(), route.as_str()),
        (_, _) => Err(ApiProblem::missing("page", request.uri().path())),
    };
    match admitted {
        Ok(()) => run_handler(&app, request, next).await,
        Err(problem) => problem.into_response(),
    }
}

/// Escapes a text for one segment of a path or the value of a query.
pub fn escape_text(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Returns a path with those parameters that have a value.
pub fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let pairs: Vec<String> =
        given.map(|(name, value)| format!("{name}={}", escape_text(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_add_a_parameter() {
        let path = with_query("/api/v1/events", &[("type", Some("a&limit=200")), ("source", None)]);
        assert_eq!(path, "/api/v1/events?type=a%26limit%3D200");
        assert_eq!(with_query("/api/v1/events", &[]), "/api/v1/events");
    }
}
