//! Routes outside `/api/v1`: health, readiness, the OpenAPI document.

use super::AppState;
use super::answer::{DataAnswer, data_answer};
use super::auth::CallPrincipal;
use super::problem::ApiProblem;
use crate::ingest::capture_log::CaptureLog;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Builds the routes that need no token.
pub fn health_routes(document: &Value) -> Router<AppState> {
    // Serialised once, so that all answers share one piece of memory.
    let document = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let document = move || async move {
        ([(header::CONTENT_TYPE, "application/json")], document).into_response()
    };
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/readyz", get(answer_ready))
        .route("/openapi.json", get(document))
}

/// Answers whether the server is ready: it is not stopping, and a write was just committed where a
/// restart finds it.
async fn answer_ready(State(app): State<AppState>) -> Response {
    if app.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "stopping"})))
            .into_response();
    }
    if let Some(log) = &app.capture_log {
        return answer_log_ready(&app, log).await;
    }
    match app.journal.prove_ready().await {
        Ok(()) => Json(json!({"status": "ready"})).into_response(),
        Err(why) => {
            let body: Json<Value> = Json(json!({"status": why.to_string()}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// Answers whether a node with a capture log is ready: the log takes captures, also while the
/// database is away. Tells how old the copy of the settings is, with which the node could start.
async fn answer_log_ready(app: &AppState, log: &CaptureLog) -> Response {
    let (status, word) = match log.prove_ready().await {
        Ok(()) => (StatusCode::OK, "ready".to_owned()),
        Err(why) => {
            tracing::warn!(%why, "the capture log is not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the capture log does not take captures".to_owned())
        }
    };
    let database = if app.journal.is_away() { "away" } else { "ready" };
    let copied_at = app.live.copy_mark().map(|(_, saved_at)| saved_at);
    let age = copied_at.map(|at| app.journal.clock().now().since(at).as_secs());
    let body = json!({"status": word, "database": database, "settings_copy_age_seconds": age});
    (status, Json(body)).into_response()
}

/// A token's information about itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthTest {
    /// Always true.
    pub authenticated: bool,
    /// The token's name.
    pub token_name: String,
    /// The token's scopes.
    pub scopes: Vec<String>,
    /// Number of kinds of resource in the catalogue.
    pub tables_count: usize,
    /// The server's time.
    #[schema(value_type = String, format = DateTime)]
    pub server_time: crate::time::timestamp::Timestamp,
}

/// An answer with its own `status` member, which Data Builder clients expect.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusData<T> {
    status: bool,
    #[serde(flatten)]
    data: DataAnswer<T>,
}

/// Describes the calling token. Contains no CRM data.
#[utoipa::path(get, path = "/api/v1/auth/test", tag = "auth", operation_id = "test_token",
    responses((status = 200, body = StatusData<AuthTest>), (status = 401, body = ApiProblem)))]
pub async fn test_token(
    State(app): State<AppState>,
    principal: CallPrincipal,
) -> Json<StatusData<AuthTest>> {
    let token = principal.token();
    let types = crate::catalog::get().event_types();
    let resources: std::collections::BTreeSet<&str> = types.iter().map(|t| t.resource).collect();
    let Json(data) = data_answer(AuthTest {
        authenticated: true,
        token_name: token.settings.name.clone(),
        scopes: principal.scopes().names(),
        tables_count: resources.len(),
        server_time: app.journal.clock().now(),
    });
    Json(StatusData { status: true, data })
}
