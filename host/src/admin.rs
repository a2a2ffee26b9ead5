//! `/admin`: the pages for operators, drawn on the server. Each can be read without a script.
//!
//! A page is another caller of the REST API's handlers: it asks for what the same token could ask
//! for there, is admitted by the need of the same route ([`guard`]), and is on record like a call.
//! So no rule about who may see or do what stands here a second time.
//!
//! A handler returns the content of a page or a problem; the guard draws the frame around either
//! ([`layout`]). Texts of events and receivers reach a page only through maud, which escapes them.

pub mod assets;
pub mod call;
pub mod forms;
pub mod guard;
pub mod layout;
pub mod overview;
pub mod record;
pub mod routes;
pub mod sign_in;
pub mod signs;
pub mod texts;

pub use routes::page_routes;

use crate::access::session::SessionStore;
use crate::api::AppState;
use std::sync::Arc;

/// What the pages work with. axum clones it for each request.
#[derive(Debug, Clone)]
pub struct PageState {
    pub app: AppState,
    pub sessions: Arc<SessionStore>,
}
