//! Signing in with a token, and signing out.

use super::PageState;
use super::call::PageCall;
use super::forms::{FormFields, read_form};
use super::guard::check_origin;
use super::layout::{draw_head, html_response};
use super::record::PageRecord;
use super::signs::{draw_icon, draw_sprite};
use crate::access::grant::ShownGrant;
use crate::access::scope::RouteNeed;
use crate::access::session::SESSION_LIFE;
use crate::access::token::shown_digest;
use crate::api::auth::{CallOrigin, find_principal};
use crate::api::problem::ApiProblem;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

/// Address of the form.
pub const SIGN_IN: &str = "/admin/sign-in";
/// Name of the session's cookie.
const COOKIE: &str = "waybill-session";
/// Longest address to which a person is sent after signing in, in bytes.
const LONGEST_TARGET: usize = 2_000;

/// Returns the text of the session in a request's cookie.
pub fn session_text(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, text)| text).next()
}

/// Redirects a person to the form, and from there back to the page that was requested.
pub fn ask_to_sign_in(request: &Request) -> Response {
    let asked = request.uri().path_and_query().map_or("", |path| path.as_str());
    let reads = *request.method() == Method::GET && asked != "/admin";
    let target = if reads {
        format!("{SIGN_IN}?next={}", super::texts::encode_query(asked))
    } else {
        SIGN_IN.to_owned()
    };
    Redirect::to(&target).into_response()
}

/// Returns the address to go to after signing in: a page of this server, never another site.
fn safe_target(wanted: Option<&str>) -> &str {
    let is_page = |path: &&str| {
        let rest = path.strip_prefix("/admin");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            && path.len() <= LONGEST_TARGET
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && !path.starts_with(SIGN_IN)
    };
    wanted.filter(is_page).unwrap_or("/admin")
}

/// The parameters of the form's address.
#[derive(Debug, Default, Deserialize)]
pub struct SignInQuery {
    next: Option<String>,
}

/// Shows the form.
pub async fn show_form(query: axum::extract::Query<SignInQuery>) -> Response {
    html_response(StatusCode::OK, draw_form(query.next.as_deref(), None))
}

/// Exchanges the token in the form for a session.
pub async fn sign_in(State(pages): State<PageState>, request: Request) -> Response {
    let record = PageRecord::begin(&request);
    let mut caller = CallOrigin::of(&pages.app, &request);
    let mut answer = match open_session(&pages, &mut caller, request).await {
        Ok(answer) => answer,
        Err((problem, next)) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::FORBIDDEN);
            html_response(status, draw_form(next.as_deref(), Some(&problem.detail)))
        }
    };
    record.finish(&pages.app, caller, answer.status()).await;
    if pages.app.config.log.access {
        answer.extensions_mut().insert(caller);
    }
    answer
}

/// Opens a session for the token in a form. The error contains what is wrong, and the page that the
/// person requested.
async fn open_session(
    pages: &PageState,
    caller: &mut CallOrigin,
    request: Request,
) -> Result<Response, (ApiProblem, Option<String>)> {
    let app = &pages.app;
    check_origin(&request).map_err(|problem| (problem, None))?;
    let is_secure = is_over_tls(pages, request.headers());
    let previous = session_text(request.headers()).map(str::to_owned);
    let fields: FormFields = read_form(app, request).await.map_err(|problem| (problem, None))?;
    let next = fields.owned("next");
    let refuse = |problem| (problem, next.clone());
    let shown = fields.text("token").unwrap_or_default();
    if ShownGrant::read(shown).is_some() {
        let detail =
            "this is the short-lived token of a program; sign in with the token of its client";
        return Err(refuse(ApiProblem::forbidden(detail)));
    }
    let principal = find_principal(app, shown, caller).map_err(refuse)?;
    let token = principal.token();
    caller.token = Some(token.id);
    let admitted = token.admit(principal.scopes(), RouteNeed::Token, caller.address, caller.at);
    admitted.map_err(|refusal| refuse(caller.refused(refusal)))?;
    let digest = shown_digest(shown).ok_or_else(|| refuse(ApiProblem::internal()))?;
    // A browser has one session, so its previous session ends.
    if let Some(text) = previous {
        pages.sessions.close_session(&text);
    }
    let text = pages.sessions.open_session(digest, caller.at);
    let response = Redirect::to(safe_target(next.as_deref())).into_response();
    Ok(with_cookie(response, &text, SESSION_LIFE.as_secs(), is_secure))
}

/// Whether the browser uses TLS: with this server, or with a proxy in front of it. The scheme of
/// the `Origin` header shows the latter.
fn is_over_tls(pages: &PageState, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    pages.app.config.tls.certificate.is_some()
        || origin.is_some_and(|origin| origin.starts_with("https://"))
}

fn with_cookie(mut response: Response, text: &str, seconds: u64, is_secure: bool) -> Response {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE}={text}; Path=/admin; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Ends the session.
pub async fn sign_out(call: PageCall, headers: HeaderMap) -> Response {
    call.pages.sessions.close_session(&call.session);
    let response = Redirect::to(SIGN_IN).into_response();
    with_cookie(response, "", 0, is_over_tls(&call.pages, &headers))
}

fn draw_form(next: Option<&str>, error: Option<&str>) -> Markup {
    let described = if error.is_some() { "tok-e tok-h" } else { "tok-h" };
    html! {
        (DOCTYPE)
        html lang="en" {
            (draw_head("Sign in"))
            body {
                a class="skip" href="#main" { "Skip to the form" }
                (draw_sprite())
                div class="gate" {
                    main id="main" tabindex="-1" {
                        a class="brand" href="/admin" { (draw_icon("mark")) "Waybill" }
                        form class="panel" method="post" action=(SIGN_IN) {
                            h1 { "Sign in" }
                            @if let Some(next) = next {
                                input type="hidden" name="next" value=(next);
                            }
                            div class={ "field" @if error.is_some() { " wrong" } } {
                                label for="tok" { "Access token" }
                                input id="tok" name="token" type="password" required
                                    autocomplete="current-password" aria-describedby=(described)
                                    aria-invalid=[error.map(|_| "true")];
                                @if let Some(error) = error {
                                    p class="error" id="tok-e" role="alert" {
                                        (draw_icon("bad")) span { "Not signed in: " (error) "." }
                                    }
                                }
                                p class="hint" id="tok-h" {
                                    "Begins with wb_. You get a session of 12 hours; the token is \
                                     not stored in the browser."
                                }
                            }
                            button class="btn main" type="submit" { "Sign in" }
                        }
                        p class="meta" {
                            "No token? On the server: " code { "waybill token create NAME" }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_redirected_only_to_pages_of_this_server() {
        assert_eq!(safe_target(Some("/admin/events?type=a.b")), "/admin/events?type=a.b");
        for elsewhere in
            ["//evil.example", "https://evil.example", "/admin.evil", "/admin\\..\\", "/other"]
        {
            assert_eq!(safe_target(Some(elsewhere)), "/admin", "{elsewhere}");
        }
        assert_eq!(safe_target(Some("/admin/sign-in?next=%2Fadmin")), "/admin");
        assert_eq!(safe_target(None), "/admin");
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; waybill-session=text"));
        assert_eq!(session_text(&headers), Some("text"));
    }
}
