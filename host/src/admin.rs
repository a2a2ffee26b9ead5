//! The pages for operators under `/admin`, rendered on the server. Every page can be read without
//! scripts.
//!
//! A page calls the handlers of the REST API. It can read and change what its token could read and
//! change there. It is admitted by the need of the matching REST route ([`guard`]), and recorded in
//! the audit like an API call. So no rule about permissions exists twice.
//!
//! A handler returns the content of a page or a problem, and the guard draws the frame around it
//! ([`layout`]). Texts of events and receivers reach a page only through maud, which escapes them.

pub mod alerts;
pub mod assets;
pub mod audit;
pub mod call;
pub mod completeness;
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
pub mod module_trials;
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
pub mod version_figures;

pub use routes::page_routes;

use crate::access::session::SessionStore;
use crate::api::AppState;
use std::sync::Arc;

/// Returns a name as part of an address. The word `new` is the address of the form for a new
/// object, so an object with the name `new` gets a percent-encoded address that the server reads as
/// the same.
pub fn encode_name(name: &str) -> String {
    if name == "new" { "%6Eew".to_owned() } else { texts::encode_query(name) }
}

/// Returns the address of a source's page.
pub fn source_address(name: &str) -> String {
    format!("/admin/sources/{}", encode_name(name))
}

/// Returns the address of a flow's page.
pub fn flow_address(name: &str) -> String {
    format!("/admin/flows/{}", encode_name(name))
}

/// Returns the address of an endpoint's page.
pub fn endpoint_address(name: &str) -> String {
    format!("/admin/endpoints/{}", encode_name(name))
}

/// Returns the address of a module's page.
pub fn module_address(name: &str) -> String {
    format!("/admin/modules/{}", texts::encode_query(name))
}

/// The state that the pages share. axum clones it for each request.
#[derive(Debug, Clone)]
pub struct PageState {
    pub app: AppState,
    pub sessions: Arc<SessionStore>,
}
