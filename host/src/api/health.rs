//! Outside `/api/v1`: health, readiness, metrics, the OpenAPI document.

use super::AppState;
use super::answer::{DataAnswer, data_answer};
use super::auth::CallPrincipal;
use super::problem::ApiProblem;
use crate::settings::source_runtime::SourceRuntime;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// The routes that no token is needed for.
pub fn health_routes(document: &Value) -> Router<AppState> {
    // Written once: what is sent to many at once is one piece of memory.
    let document = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let document = move || async move {
        ([(header::CONTENT_TYPE, "application/json")], document).into_response()
    };
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/readyz", get(answer_ready))
        .route("/metrics", get(answer_metrics))
        .route("/openapi.json", get(document))
}

/// Answers whether the server is ready: it is not stopping, and a write was just committed where a
/// restart finds it.
async fn answer_ready(State(app): State<AppState>) -> Response {
    if app.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "stopping"})))
            .into_response();
    }
    match app.journal.prove_ready().await {
        Ok(()) => Json(json!({"status": "ready"})).into_response(),
        Err(why) => {
            let body: Json<Value> = Json(json!({"status": why.to_string()}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// Figures in Prometheus' text format 0.0.4.
async fn answer_metrics(State(app): State<AppState>) -> Response {
    let counter = |(name, help, value)| {
        format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
    };
    let counters: String = app.journal.figures().list().into_iter().map(counter).collect();
    let held: usize =
        app.journal.prefetch().lanes().iter().map(|lane| lane.room.count_used()).sum();
    let gauges = format!(
        "# HELP waybill_deliveries_in_memory Deliveries held in memory.\n\
         # TYPE waybill_deliveries_in_memory gauge\nwaybill_deliveries_in_memory {held}\n"
    );
    let text = counters + &gauges + &sources(&app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// How sources are doing.
fn sources(app: &AppState) -> String {
    let topology = app.live.current_settings();
    let mut inlets: Vec<&Arc<SourceRuntime>> = topology.source_runtimes().collect();
    inlets.sort_by(|a, b| a.source.settings.name.cmp(&b.source.settings.name));
    let (mut captured, mut refused) = (Vec::new(), Vec::new());
    for inlet in inlets {
        // A name holds neither quotes nor backslashes nor line ends.
        let (name, figures) = (&inlet.source.settings.name, inlet.health.figures());
        let count = figures.captured;
        captured.push(format!("waybill_source_captured_total{{source=\"{name}\"}} {count}\n"));
        refused.extend(figures.refused.into_iter().map(|(reason, count)| {
            format!(
                "waybill_source_refused_total{{source=\"{name}\",reason=\"{reason}\"}} {count}\n"
            )
        }));
    }
    let (captured, refused) = (captured.concat(), refused.concat());
    let unknown = app.unknown_sources.load(Ordering::Relaxed);
    format!(
        "# HELP waybill_source_captured_total Events that a source sent.\n\
         # TYPE waybill_source_captured_total counter\n{captured}\
         # HELP waybill_source_refused_total Requests of a source that were refused.\n\
         # TYPE waybill_source_refused_total counter\n{refused}\
         # HELP waybill_source_unknown_total Webhooks for sources that there are not.\n\
         # TYPE waybill_source_unknown_total counter\nwaybill_source_unknown_total {unknown}\n"
    )
}

/// What a token is told about itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthTest {
    /// Always true.
    pub authenticated: bool,
    /// The token's name.
    pub token_name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Kinds of resource in the catalogue.
    pub tables_count: usize,
    /// The time here.
    #[schema(value_type = String, format = DateTime)]
    pub server_time: crate::time::timestamp::Timestamp,
}

/// An answer with a status of its own, as Data Builder clients expect it.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusData<T> {
    status: bool,
    #[serde(flatten)]
    data: DataAnswer<T>,
}

/// Tells a token what it is; no CRM data.
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
