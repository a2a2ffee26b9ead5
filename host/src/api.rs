//! The REST API: one shape for answers, one for problems, and one file for each resource.
//!
//! [`auth`] decides about every call before its handler runs, and every handler asks for the
//! [`auth::CallPrincipal`] that was admitted. Afterwards the call is audited
//! ([`crate::access::audit`]). Bodies are bounded in size and time, configuration objects refuse
//! unknown fields, and every answer carries `X-Request-Id`.

mod access_line;
pub mod answer;
pub mod auth;
pub mod body;
pub mod body_budget;
pub mod problem;

pub mod alerts;
pub mod apply;
pub mod audit;
pub mod channels;
pub mod completeness;
pub mod dead_letters;
pub mod deliveries;
pub mod dry_run;
pub mod edit;
pub mod endpoints;
pub mod event_types;
pub mod events;
pub mod export;
pub mod flows;
pub mod health;
pub mod health_answers;
pub mod logged_call;
pub mod module_secrets;
pub mod modules;
pub mod nodes;
pub mod oauth;
pub mod openapi;
pub mod operations;
pub mod pull;
pub mod reading;
pub mod receive;
pub mod records;
pub mod resource;
pub mod samples;
pub mod scrape;
pub mod secret;
pub mod sent_body;
pub mod sources;
pub mod tokens;
pub mod trace;
pub mod trial_event;
pub mod webhooks;
pub mod write_through;

pub use openapi::{ApiRoutes, document};

use self::access_line::AccessLine;
use self::modules::cases::ForcedNote;
use crate::access::audit::CallAudit;
use crate::access::grant::GrantIssuer;
use crate::access::scope::{TOOLS_ROUTE, is_guarded};
use crate::access::throttle::FailureThrottle;
use crate::alerts::AlertDesk;
use crate::config::Config;
use crate::ingest::capture_log::CaptureLog;
use crate::model::api_call::ApiCall;
use crate::model::id::RequestId;
use crate::net::http_client::DeliveryClient;
use crate::settings::live::LiveSettings;
use crate::store::EventStore;
use crate::telemetry::running_exports::RunningExports;
use auth::{CallOrigin, CallPrincipal};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use logged_call::{CallBeginning, CallIsLogged, is_capture};
use problem::ApiProblem;
use receive::ProvenSender;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowHeaders, CorsLayer};

/// The shared state of the handlers. axum clones it several times a request, so it is one pointer.
#[derive(Debug, Clone)]
pub struct AppState(Arc<SharedState>);

impl AppState {
    pub fn new(shared: SharedState) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = SharedState;

    fn deref(&self) -> &SharedState {
        &self.0
    }
}

/// The state that all handlers share.
#[derive(Debug)]
pub struct SharedState {
    pub journal: EventStore,
    /// The capture log, if captures go there.
    pub capture_log: Option<Arc<CaptureLog>>,
    pub live: LiveSettings,
    /// Sends test deliveries.
    pub client: DeliveryClient,
    /// The audit of calls.
    pub audit: Arc<CallAudit>,
    /// Runs sources.
    pub pull: Arc<crate::sources::SourceContext>,
    /// Slows down clients that guess tokens.
    pub throttle: FailureThrottle,
    /// Issues and reads short-lived tokens.
    pub issuer: GrantIssuer,
    /// Number of webhooks for sources that do not exist.
    pub unknown_sources: AtomicU64,
    /// Fair shares of reading.
    pub reading: reading::ReadingShares,
    /// Fair shares of dry runs.
    pub trials: reading::ReadingShares,
    /// The alerts that this node knows.
    pub alerts: AlertDesk,
    /// The health of all objects, as it was last read.
    pub healths: health_answers::HealthCache,
    /// The exports of traces and logs.
    pub exports: RunningExports,
    /// Memory for request bodies.
    pub bodies: body_budget::BodyBudget,
    /// Cancelled when the server begins to stop, before it refuses further requests.
    pub stopping: CancellationToken,
    pub config: Config,
}

/// Header with the id of a request, which is also in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Builds every route: those of the API, and those of `pages`, which have their own guard.
pub fn build_router(app: AppState, api: ApiRoutes, pages: Router<AppState>) -> Router {
    let ApiRoutes { receivers, called, document } = api;
    let cors = cors_layer(&app.config.server.cors_origins);
    let router = called
        .merge(health::health_routes(&document))
        .merge(scrape::metrics_routes(&app))
        .merge(pages)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(app.clone(), guard_call))
        .with_state(app.clone());
    let receivers = webhook_router(&app, receivers);
    // CORS is outside the guard, because a browser first asks without a token. It would answer
    // every OPTIONS request, so the webhook receivers are added separately: their senders use
    // OPTIONS too.
    let router = match cors {
        Some(cors) => router.layer(cors).layer(from_fn_with_state(app, dress_answer)),
        None => router,
    };
    router.merge(receivers)
}

/// Builds the routes to which webhooks are sent.
fn webhook_router(app: &AppState, receivers: Router<AppState>) -> Router {
    receivers
        .merge(receive::routes_with_slash())
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(app.clone(), guard_call))
        .with_state(app.clone())
}

/// Returns the rules for pages of other origins, if any are allowed (Fetch standard, section 3.3).
fn cors_layer(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect();
    let exposed =
        ["x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let exposed = exposed.map(HeaderName::from_static).into_iter().chain([header::RETRY_AFTER]);
    let layer = || {
        CorsLayer::new()
            .allow_origin(origins.clone())
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(exposed.collect::<Vec<_>>())
            .max_age(CORS_AGE)
    };
    (!origins.is_empty()).then(layer)
}

/// Time for which a browser may remember these rules.
const CORS_AGE: Duration = Duration::from_mins(10);

/// Admits permitted calls, audits them, and adds the request id and the security headers to every
/// answer.
async fn guard_call(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = RequestId::generate();
    let access = app.config.log.access.then(|| AccessLine::begin(id, &request));
    let mut response = if let Some(problem) = find_absence(&app, &request) {
        problem.into_response()
    } else if names_its_host(&request) {
        let route = request.extensions().get::<MatchedPath>().cloned();
        if let Some(route) = route.filter(|route| is_guarded(route.as_str())) {
            run_guarded(&app, id, &route, request, next).await
        } else {
            // Pages have their own guard. A path without a route needs none.
            request.extensions_mut().insert(id);
            next.run(request).await
        }
    } else {
        let detail = "a request names one host (RFC 9112, section 3.2)";
        ApiProblem::malformed_request(detail).into_response()
    };
    dress(&app, id, &mut response);
    if let Some(access) = access {
        access.write(&mut response);
    }
    response
}

/// Returns why a call cannot be answered by a node that started while its database was away. Such a
/// node only captures and tells how it is.
fn find_absence(app: &AppState, request: &Request) -> Option<ApiProblem> {
    if app.journal.is_entered() {
        return None;
    }
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = route.unwrap_or_default();
    let is_served = is_capture(request.method(), route)
        || route.starts_with("/in/")
        || matches!(route, "/healthz" | "/readyz" | "/metrics");
    (!is_served).then(ApiProblem::without_database)
}

/// Adds the headers to answers outside the guard, for a browser that asks whether it may call.
async fn dress_answer(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    dress(&app, RequestId::generate(), &mut response);
    response
}

/// Adds the request id and the security headers to an answer.
fn dress(app: &AppState, id: RequestId, response: &mut Response) {
    let headers = response.headers_mut();
    headers.reserve(SECURITY.len() + 2);
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.entry(REQUEST_ID).or_insert(id);
    }
    for (name, value) in &SECURITY {
        headers.entry(name).or_insert(value.clone());
    }
    if app.config.tls.certificate.is_some() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
}

/// Returns whether HTTP/1.1's `Host` is present once and valid. A proxy and a server that read two
/// of them differently can be exploited.
fn names_its_host(request: &Request) -> bool {
    if request.version() != Version::HTTP_11 {
        return true;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let one = hosts.next().filter(|_| hosts.next().is_none());
    let is_host = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.is_empty() || text.parse::<Authority>().is_ok())
    };
    one.is_some_and(is_host)
}

async fn run_guarded(
    app: &AppState,
    id: RequestId,
    route: &MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let mut caller = CallOrigin::of(app, &request);
    let identified = auth::admit_caller(app, &mut request, route.as_str(), &mut caller).await;
    if app.capture_log.is_some() && is_capture(&method, route.as_str()) {
        let (token, address, method) = (caller.token, caller.address, method.clone());
        let route = route.as_str().to_owned();
        request.extensions_mut().insert(CallBeginning { id, token, address, method, route, began });
    }
    let mut response = match identified {
        Ok(allowance) => {
            let mut response = match find_unstorable(request.uri()) {
                Some(problem) => problem.into_response(),
                None => run_handler(app, request, next).await,
            };
            response.headers_mut().extend(allowance.into_iter().flat_map(auth::rate_headers));
            response
        }
        Err(problem) => problem.into_response(),
    };
    let is_logged = response.extensions_mut().remove::<CallIsLogged>().is_some();
    let is_proven = response.extensions_mut().remove::<ProvenSender>().is_some();
    let tool = response.extensions_mut().remove::<ToolNote>();
    let forced = response.extensions_mut().remove::<ForcedNote>();
    let status = tool.as_ref().map_or_else(|| response.status(), |tool| tool.status);
    // OAuth handlers know the caller better than the guard does.
    let caller = response.extensions_mut().remove::<CallOrigin>().unwrap_or(caller);
    let call = ApiCall {
        id,
        token: caller.token,
        address: caller.address,
        method: method.as_str().to_owned(),
        route: match tool {
            Some(tool) => format!("mcp:{}", tool.name),
            None if forced.is_some() => format!("{}?force=true", route.as_str()),
            None => route.as_str().to_owned(),
        },
        status: status.as_u16(),
        duration: began.elapsed(),
        calls: 1,
    };
    if app.config.log.access {
        response.extensions_mut().insert(caller);
    }
    let is_free = caller.is_free || !(caller.token.is_some() || is_proven);
    if !is_logged {
        record_call(app, call, is_free, &method, status).await;
    }
    response
}

/// Audits a call. With `is_free` the call does not count for any token, only in the row of its
/// address.
pub async fn record_call(
    app: &AppState,
    call: ApiCall,
    is_free: bool,
    method: &Method,
    status: StatusCode,
) {
    if !app.audit.is_on() {
        return;
    }
    let sets = is_setting_call(method, &call.route);
    if is_free {
        app.audit.count_refused(call);
    } else {
        app.audit.note_call(call);
    }
    // A page answers a successful form with a redirect.
    if sets && (status.is_success() || status.is_redirection()) {
        app.audit.write_notes(Vec::new());
        app.journal.flush_writes().await;
    }
}

/// Returns the problem with an address that contains U+0000: no row can hold it, and PostgreSQL
/// refuses to search for it.
pub fn find_unstorable(uri: &Uri) -> Option<ApiProblem> {
    let names_it = |text: &str| text.contains("%00");
    if names_it(uri.path()) {
        return Some(ApiProblem::missing("page", uri.path()));
    }
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    let pair = pairs.into_iter().find(|pair| names_it(pair))?;
    let name = pair.split('=').next().unwrap_or_default();
    Some(ApiProblem::fault(name, "contains U+0000 (`%00`), which cannot be stored"))
}

/// Routes whose handlers take a place themselves if they read the database. They may ask the CRM
/// instead, and a slow CRM must not hold the places.
const MAY_ASK_CRM: [&str; 3] = [
    "/api/v1/{resource}/{id}",
    "/api/v1/{resource}/{id}/{part}",
    "/api/v1/{resource}/{id}/{part}/{part_id}",
];

/// Runs a call's handler. A call that reads waits for its turn.
pub async fn run_handler(app: &AppState, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let asks_crm = route.is_some_and(|route| MAY_ASK_CRM.contains(&route));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD) && !asks_crm;
    let Some(principal) = request.extensions().get::<CallPrincipal>().filter(|_| reads) else {
        return next.run(request).await;
    };
    match app.reading.place(principal.token().id).await {
        Ok(place) => place.leave(next.run(request).await),
        Err(problem) => problem.into_response(),
    }
}

/// The tool that a call used. The audit shows it instead of the route and the status.
#[derive(Debug, Clone)]
pub struct ToolNote {
    pub name: &'static str,
    /// The result of the tool. The HTTP status is always 200.
    pub status: StatusCode,
}

/// Returns whether a call may change settings, and so is audited before it is answered. Capturing
/// events and issuing short-lived tokens, which are not stored, do not wait for the audit; neither
/// do questions about tools.
fn is_setting_call(method: &Method, route: &str) -> bool {
    *method != Method::GET
        && *method != Method::HEAD
        && route != "/api/v1/events"
        && route != "/oauth/token"
        && route != TOOLS_ROUTE
        && !route.starts_with("/in/")
}

/// One year (RFC 6797).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Security headers of every answer that does not set them itself, from the list of OWASP's Secure
/// Headers Project.
static SECURITY: [(HeaderName, HeaderValue); 8] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];
