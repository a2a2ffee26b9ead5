//! What a page's handler receives, and what it returns.

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

/// An admitted request of a person who is signed in.
#[derive(Debug, Clone)]
pub struct PageCall {
    pub pages: PageState,
    pub principal: CallPrincipal,
    /// The secret that every form of this session carries.
    pub form_key: String,
    /// The text of the session's cookie.
    pub session: String,
    /// Whether an open page refreshes itself. Nobody sees the frame of such an answer.
    pub is_refresh: bool,
    /// When the request arrived. All ages on a page are relative to this time.
    pub now: Timestamp,
}

impl PageCall {
    /// Returns the state of the REST handlers.
    pub fn app(&self) -> &AppState {
        &self.pages.app
    }

    /// Returns the same state in the form that the REST handlers take.
    pub fn state(&self) -> State<AppState> {
        State(self.pages.app.clone())
    }

    /// Returns the current settings.
    pub fn settings(&self) -> Arc<SettingsSnapshot> {
        self.pages.app.live.current_settings()
    }

    /// Whether the token may read this route of the REST API.
    pub fn may_read(&self, route: &str) -> bool {
        self.principal.may_call(&Method::GET, route)
    }

    /// Whether the token may post to this route of the REST API.
    pub fn may_post(&self, route: &str) -> bool {
        self.principal.may_call(&Method::POST, route)
    }

    /// Redirects to a page, which first shows the notice.
    pub fn done(&self, target: &str, notice: impl Into<String>) -> Response {
        self.pages.sessions.leave_notice(&self.session, notice.into());
        Redirect::to(target).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for PageCall {
    type Rejection = PageProblem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, PageProblem> {
        let call = parts.extensions.get::<Self>().cloned();
        call.ok_or_else(|| {
            ApiProblem::forbidden("this page is not available: its guard did not run").into()
        })
    }
}

/// The sections to which the navigation leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageSection {
    Overview,
    Events,
    DeadLetters,
    Completeness,
    Sources,
    Flows,
    Modules,
    Endpoints,
    Tokens,
    Audit,
    Nodes,
    Alerts,
}

/// The content of a page, without its frame.
#[derive(Debug, Clone)]
pub struct PageContent {
    pub title: String,
    /// The section of the navigation to which the page belongs.
    pub section: Option<PageSection>,
    /// The titles and addresses of the pages above this one.
    pub parents: Vec<(String, String)>,
    pub body: Markup,
    pub status: StatusCode,
}

/// The result of a page's handler.
pub type PageResult = Result<PageContent, PageProblem>;
/// The result of a form's handler.
pub type ActionResult = Result<Response, PageProblem>;

impl PageContent {
    /// Makes a page of a section.
    pub fn new(section: PageSection, title: impl Into<String>, body: Markup) -> Self {
        let (title, section) = (title.into(), Some(section));
        Self { title, section, parents: Vec::new(), body, status: StatusCode::OK }
    }

    /// Adds a page above this one.
    #[must_use]
    pub fn below(mut self, title: &str, address: &str) -> Self {
        self.parents.push((title.to_owned(), address.to_owned()));
        self
    }
}

/// The guard takes the content out of the response again and draws the frame.
impl IntoResponse for PageContent {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A problem for the guard to show as a page.
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
