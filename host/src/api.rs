//! The REST API: one answer shape, one shape of problem, one resource a file.
//!
//! [`auth`] decides about every call before its handler runs, and every handler asks for the
//! [`auth::Principal`] that was admitted. Bodies are bounded
//! before they are read, configuration objects refuse unknown fields, and every answer carries
//! `X-Request-Id`.

pub mod answer;
pub mod auth;
pub mod body;
pub mod problem;

mod apply;
mod dead_letters;
mod deliveries;
mod edit;
mod endpoints;
mod event_types;
mod events;
mod flows;
mod health;
mod modules;
mod openapi;
mod sources;
mod tokens;
mod trace;

pub use openapi::document;

use crate::config::Config;
use crate::deliver::client::Client;
use crate::journal::Journal;
use crate::topology::live::Live;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, header};
use std::ops::Deref;
use std::sync::Arc;

/// What handlers work with. axum clones it several times a request, so it is one pointer.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

impl App {
    /// What handlers will work with.
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What all handlers share.
#[derive(Debug)]
pub struct Shared {
    /// The record.
    pub journal: Journal,
    /// What is set.
    pub live: Live,
    /// Sends test deliveries.
    pub client: Client,
    /// The configuration.
    pub config: Config,
}

/// Names a request in logs and answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every route.
pub fn router(app: App) -> Router {
    let (router, document) = openapi::routes().split_for_parts();
    let document = Arc::new(openapi::finish(document));
    router
        .merge(health::routes(document))
        .merge(crate::admin::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Lets only those in who may, and gives every answer its id and the headers that keep a browser from
/// guessing.
async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let (mut response, allowance) = match auth::identify(&app, &mut request) {
        Ok(allowance) => (next.run(request).await, allowance),
        Err(problem) => (problem.into_response(), None),
    };
    let headers = response.headers_mut();
    headers.extend(allowance.into_iter().flat_map(auth::limits));
    let id = crate::domain::id::RequestId::generate().to_string();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in &SECURITY {
        headers.entry(name).or_insert(value.clone());
    }
    response
}

/// What every answer says to a browser, where its handler says nothing else: the list of OWASP's
/// Secure Headers Project, without those for TLS.
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
