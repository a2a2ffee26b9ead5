//! `/admin`: the pages for operators, drawn on the server. Each can be read without a script.
//!
//! A page is another caller of the REST API's handlers: it asks for what the same token could ask
//! for there, is admitted by the need of the same route ([`guard`]), and is on record like a call.
//! So no rule about who may see or do what stands here a second time.
//!
//! A handler returns the content of a page or a problem; the guard draws the frame around either
//! ([`layout`]). Texts of events and receivers reach a page only through maud, which escapes them.

pub mod alerts;
pub mod assets;
pub mod audit;
pub mod call;
pub mod dead_letters;
pub mod deliveries;
pub mod endpoints;
pub mod events;
pub mod filters;
pub mod flows;
pub mod forms;
pub mod guard;
pub mod layout;
pub mod modules;
pub mod nodes;
pub mod overview;
pub mod record;
pub mod routes;
pub mod search;
pub mod sources;
pub mod sign_in;
pub mod shown;
pub mod signs;
pub mod tables;
pub mod texts;
pub mod tokens;

pub use routes::page_routes;

use crate::access::session::SessionStore;
use crate::api::AppState;
use std::sync::Arc;

/// The page of a source.
pub fn source_address(name: &str) -> String {
    format!("/admin/sources/{}", texts::encode_query(name))
}

/// The page of a flow.
pub fn flow_address(name: &str) -> String {
    format!("/admin/flows/{}", texts::encode_query(name))
}

/// The page of an endpoint.
pub fn endpoint_address(name: &str) -> String {
    format!("/admin/endpoints/{}", texts::encode_query(name))
}

/// The page of a module.
pub fn module_address(name: &str) -> String {
    format!("/admin/modules/{}", texts::encode_query(name))
}

/// What the pages work with. axum clones it for each request.
#[derive(Debug, Clone)]
pub struct PageState {
    pub app: AppState,
    pub sessions: Arc<SessionStore>,
}
