//! Decides who may see a page or send its form. A session's token is checked as in the REST API.

use super::PageState;
use super::call::{PageCall, PageContent, PageProblem};
use super::forms::{FormFields, read_form};
use super::layout::{self, PageFrame};
use super::record::PageRecord;
use super::sign_in;
use crate::access::scope::{RouteNeed, route_need};
use crate::access::session::OpenSession;
use crate::access::token::CallRefusal;
use crate::api::auth::{CallOrigin, CallPrincipal, take_shared_calls};
use crate::api::problem::ApiProblem;
use crate::api::{find_unstorable, run_handler};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderMap, Method, header};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// The field with the session's form key. Every form has it.
pub const FORM_KEY: &str = "form_key";

/// The header that an open page sends when it refreshes itself.
const REFRESH: &str = "x-waybill-refresh";

/// The guard of one page. `rest_route` is the REST route for the same object. `None` admits any
/// known token, as for the overview, which leaves out what the token may not see.
#[derive(Debug, Clone)]
pub struct PageGuard {
    pub pages: PageState,
    pub rest_route: Option<(Method, &'static str)>,
}

impl PageGuard {
    /// Whether the guard's route exists in the REST API.
    pub fn has_need(&self) -> bool {
        self.need().is_some()
    }

    fn need(&self) -> Option<RouteNeed> {
        match &self.rest_route {
            Some((method, route)) => route_need(method, route),
            None => Some(RouteNeed::Token),
        }
    }
}

/// Admits permitted requests, draws the frame around the handler's content, and records the call.
pub async fn guard_page(State(guard): State<PageGuard>, request: Request, next: Next) -> Response {
    let Some((text, session)) = find_session(&guard.pages, &request) else {
        return sign_in::ask_to_sign_in(&request);
    };
    let app = &guard.pages.app;
    let Some(token) = app.live.current_settings().find_token(&session.token).cloned() else {
        return end_session(&guard.pages, &text, &request);
    };
    let record = PageRecord::begin(&request);
    let mut caller = CallOrigin::of(app, &request);
    caller.token = Some(token.id);
    let call = PageCall {
        pages: guard.pages.clone(),
        principal: CallPrincipal::of_token(Arc::clone(&token)),
        form_key: session.form_key,
        session: text,
        is_refresh: request.headers().contains_key(REFRESH),
        now: caller.at,
    };
    take_shared_calls(app, &token, caller.at).await;
    let admitted = match guard.need() {
        Some(need) => token.admit(token.scopes, need, caller.address, caller.at),
        // If the API has no need for the route, nobody may see the page.
        None => Err(CallRefusal::Tables),
    };
    let mut answer = match admitted {
        Ok(_) => {
            let answer = run_page(&call, request, next).await;
            draw_frame(&call, answer).await
        }
        Err(CallRefusal::Expired(_)) => {
            return end_session(&guard.pages, &call.session, &request);
        }
        Err(refusal) => draw_refusal(&call, &caller.refused(refusal)),
    };
    record.finish(app, caller, answer.status()).await;
    if app.config.log.access {
        answer.extensions_mut().insert(caller);
    }
    answer
}

/// Draws a refusal. A refused call reads nothing from the database, so its frame has no counts.
fn draw_refusal(call: &PageCall, problem: &ApiProblem) -> Response {
    let content = layout::problem_content(problem);
    layout::html_response(content.status, PageFrame::bare(call).draw(&content))
}

/// Returns the session of a request's cookie, with the cookie's text.
fn find_session(pages: &PageState, request: &Request) -> Option<(String, OpenSession)> {
    let text = sign_in::session_text(request.headers())?;
    let session = pages.sessions.find_session(text, pages.app.journal.clock().now())?;
    Some((text.to_owned(), session))
}

/// Ends the session of a token that is no longer valid.
fn end_session(pages: &PageState, text: &str, request: &Request) -> Response {
    pages.sessions.close_session(text);
    sign_in::ask_to_sign_in(request)
}

/// Runs a page's handler. A form is read and checked first, and refused if another site may have
/// sent it.
async fn run_page(call: &PageCall, mut request: Request, next: Next) -> Response {
    if let Some(problem) = find_unstorable(request.uri()) {
        return PageProblem(problem).into_response();
    }
    request.extensions_mut().insert(call.principal.clone());
    if *request.method() == Method::POST {
        request = match check_form(call, request).await {
            Ok(request) => request,
            Err(problem) => return PageProblem(problem).into_response(),
        };
    }
    request.extensions_mut().insert(call.clone());
    run_handler(call.app(), request, next).await
}

/// Checks that a page of this session sent the form, and stores its fields for the handler.
async fn check_form(call: &PageCall, request: Request) -> Result<Request, ApiProblem> {
    check_origin(&request)?;
    let (parts, body) = request.into_parts();
    let mut rest = Request::from_parts(parts.clone(), axum::body::Body::empty());
    let fields: FormFields = read_form(call.app(), Request::from_parts(parts, body)).await?;
    let shown = fields.text(FORM_KEY).unwrap_or_default();
    if !bool::from(shown.as_bytes().ct_eq(call.form_key.as_bytes())) {
        let detail = "this form is not of your current session; open the page again and repeat it";
        return Err(ApiProblem::forbidden(detail));
    }
    rest.extensions_mut().insert(fields);
    Ok(rest)
}

/// Refuses a form that a page of another site sent. Browsers say where a form comes from in
/// `Origin` (the Fetch standard, section 3.2) and, over TLS, in `Sec-Fetch-Site`.
pub fn check_origin(request: &Request) -> Result<(), ApiProblem> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own_origin = || {
        text(header::ORIGIN.as_str()).is_none_or(|origin| {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == host_of(request).as_deref()
        })
    };
    // A proxy may change `Host`, so the browser's own comparison takes precedence if it is present.
    if text("sec-fetch-site").map_or_else(is_own_origin, |site| site == "same-origin") {
        return Ok(());
    }
    let detail = "a page of another site sent this form, or a proxy changes the header `Host`; make the \
                  proxy pass `Host` on unchanged";
    Err(ApiProblem::forbidden(detail))
}

/// Returns the host and port that a request names.
fn host_of(request: &Request) -> Option<String> {
    let in_uri = request.uri().authority().map(Authority::to_string);
    let in_headers = |headers: &HeaderMap| {
        headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned)
    };
    in_uri.or_else(|| in_headers(request.headers()))
}

/// Draws the frame around a page or a problem. Other answers, such as redirects, stay unchanged.
async fn draw_frame(call: &PageCall, mut answer: Response) -> Response {
    let content = answer.extensions_mut().remove::<PageContent>();
    let problem = answer.extensions_mut().remove::<PageProblem>();
    let content = match (content, problem) {
        (Some(content), _) => content,
        (None, Some(PageProblem(problem))) => layout::problem_content(&problem),
        // axum itself refused the request, such as a method that the page does not accept.
        (None, None) if answer.status().is_client_error() => {
            let detail = format!("the server answers {}", answer.status());
            let content = layout::problem_content(&ApiProblem::malformed_request(detail));
            PageContent { status: answer.status(), ..content }
        }
        (None, None) => return answer,
    };
    // Drawing the frame reads from the database. Like an answer of the API, a page counts as a
    // running call until it is sent.
    match call.app().reading.place(call.principal.token().id).await {
        Ok(place) => {
            let frame = PageFrame::load(call).await;
            place.leave(layout::html_response(content.status, frame.draw(&content)))
        }
        Err(problem) => draw_refusal(call, &problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::post("/admin/sign-out").header("host", "waybill.example:8400");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check_origin(&request.body(axum::body::Body::empty()).unwrap()).is_ok()
    }

    #[test]
    fn a_form_from_another_site_is_refused() {
        assert!(is_taken(&[]));
        assert!(is_taken(&[("origin", "http://waybill.example:8400")]));
        assert!(is_taken(&[("origin", "https://waybill.example:8400")]), "behind a TLS proxy");
        assert!(!is_taken(&[("origin", "http://waybill.example")]));
        assert!(!is_taken(&[("origin", "http://evil.example")]));
        assert!(!is_taken(&[("origin", "null")]));
        assert!(!is_taken(&[("sec-fetch-site", "cross-site")]));
        assert!(!is_taken(&[("sec-fetch-site", "same-site")]));
        assert!(is_taken(&[("sec-fetch-site", "same-origin")]));
        let behind_proxy = [("sec-fetch-site", "same-origin"), ("origin", "https://w.example")];
        assert!(is_taken(&behind_proxy), "the proxy replaced Host");
    }
}
