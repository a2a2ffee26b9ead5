//! What a page's handler is given, and what it returns.

use super::PageState;
use crate::api::AppState;
use crate::api::auth::CallPrincipal;
use crate::api::problem::ApiProblem;
use crate::settings::SettingsSnapshot;
use crate::store::StoreError;
use crate::time::timestamp::Timestamp;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{Method, StatusCode};
use maud::Markup;
use std::sync::Arc;

/// A request of somebody who is signed in, and was admitted.
#[derive(Debug, Clone)]
pub struct PageCall {
    pub pages: PageState,
    pub principal: CallPrincipal,
    /// What each form of this session carries.
    pub form_key: String,
    /// The text of the session.
    pub session: String,
    /// Whether an open page asks for itself again, which nobody reads as a whole.
    pub is_refresh: bool,
    /// When the request came. A page takes all ages from this moment.
    pub now: Timestamp,
}

impl PageCall {
    /// The handlers' state.
    pub fn app(&self) -> &AppState {
        &self.pages.app
    }

    /// The same in the form in which the REST handlers take it.
    pub fn state(&self) -> State<AppState> {
        State(self.pages.app.clone())
    }

    /// What is set at present.
    pub fn settings(&self) -> Arc<SettingsSnapshot> {
        self.pages.app.live.current_settings()
    }

    /// Whether the token may read by this route of the REST API.
    pub fn may_read(&self, route: &str) -> bool {
        self.principal.may_call(&Method::GET, route)
    }

    /// Whether the token may post to this route of the REST API.
    pub fn may_post(&self, route: &str) -> bool {
        self.principal.may_call(&Method::POST, route)
    }

    /// Goes to a page that says first what was done.
    pub fn done(&self, target: &str, notice: impl Into<String>) -> Response {
        self.pages.sessions.leave_notice(&self.session, notice.into());
        Redirect::to(target).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for PageCall {
    type Rejection = PageProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, PageProblem> {
        let call = parts.extensions.get::<Self>().cloned();
        call.ok_or_else(|| ApiProblem::forbidden("no page stands here without its guard").into())
    }
}

/// The parts that the navigation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageSection {
    Overview,
    Events,
    DeadLetters,
    Sources,
    Flows,
    Modules,
    Endpoints,
    Tokens,
    Audit,
    Nodes,
    Alerts,
}

/// A page without its frame.
#[derive(Debug, Clone)]
pub struct PageContent {
    pub title: String,
    /// The part of the navigation that it belongs to.
    pub section: Option<PageSection>,
    /// What the page is below, with addresses.
    pub parents: Vec<(String, String)>,
    pub body: Markup,
    pub status: StatusCode,
}

/// What a handler of a page returns.
pub type PageResult = Result<PageContent, PageProblem>;
/// What a handler of a form returns.
pub type ActionResult = Result<Response, PageProblem>;

impl PageContent {
    /// A page of a part.
    pub fn new(section: PageSection, title: impl Into<String>, body: Markup) -> Self {
        let (title, section) = (title.into(), Some(section));
        Self { title, section, parents: Vec::new(), body, status: StatusCode::OK }
    }

    /// The same below another page.
    #[must_use]
    pub fn below(mut self, title: &str, address: &str) -> Self {
        self.parents.push((title.to_owned(), address.to_owned()));
        self
    }
}

/// The guard takes the content out again and draws the frame.
impl IntoResponse for PageContent {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A problem on its way to the page that shows it.
#[derive(Debug, Clone)]
pub struct PageProblem(pub ApiProblem);

impl From<ApiProblem> for PageProblem {
    fn from(problem: ApiProblem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for PageProblem {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status);
        let mut response = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        response.extensions_mut().insert(self);
        response
    }
}
