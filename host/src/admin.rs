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
pub mod payload_changes;
pub mod dead_letters;
pub mod deliveries;
pub mod editor;
pub mod endpoints;
pub mod events;
pub mod filters;
pub mod flows;
pub mod forms;
pub mod guard;
pub mod history;
pub mod layout;
pub mod manifests;
pub mod modules;
pub mod news;
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

/// A name as part of an address. The word for a new one means its form, so a thing of that name is
/// written in another way, which the server reads as the same.
pub fn encode_name(name: &str) -> String {
    if name == "new" { "%6Eew".to_owned() } else { texts::encode_query(name) }
}

/// The page of a source.
pub fn source_address(name: &str) -> String {
    format!("/admin/sources/{}", encode_name(name))
}

/// The page of a flow.
pub fn flow_address(name: &str) -> String {
    format!("/admin/flows/{}", encode_name(name))
}

/// The page of an endpoint.
pub fn endpoint_address(name: &str) -> String {
    format!("/admin/endpoints/{}", encode_name(name))
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
