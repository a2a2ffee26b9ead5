//! The frame around each page: title, navigation, search, and the result of the last action.

use super::assets::asset_addresses;
use super::call::{PageCall, PageContent, PageSection};
use super::events::answer::capitalise;
use super::guard::FORM_KEY;
use super::signs::{draw_icon, draw_sprite};
use super::texts::{draw_prose, tell_count};
use crate::api::problem::ApiProblem;
use axum::response::{Html, IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

/// What a page may load and do: files and forms of this server, no inline scripts or styles.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Most dead letters that the navigation counts.
const MOST_COUNTED: u32 = 1_000;

/// A link in the navigation: its section, title and address, and the route that the token must be
/// able to read.
type PartLink = (PageSection, &'static str, &'static str, &'static str);

/// The parts of the navigation.
const PARTS: [(&str, &[PartLink]); 3] = [
    (
        "",
        &[
            (PageSection::Overview, "Overview", "/admin", "/api/v1/auth/test"),
            (PageSection::Events, "Events", "/admin/events", "/api/v1/events"),
            (PageSection::Alerts, "Alerts", "/admin/alerts", "/api/v1/alerts"),
            (
                PageSection::DeadLetters,
                "Dead letters",
                "/admin/dead-letters",
                "/api/v1/dead-letters",
            ),
        ],
    ),
    (
        "Set up",
        &[
            (PageSection::Sources, "Sources", "/admin/sources", "/api/v1/sources"),
            (PageSection::Flows, "Flows", "/admin/flows", "/api/v1/flows"),
            (PageSection::Modules, "Modules", "/admin/modules", "/api/v1/modules"),
            (PageSection::Endpoints, "Endpoints", "/admin/endpoints", "/api/v1/endpoints"),
        ],
    ),
    (
        "Look after",
        &[
            (
                PageSection::Completeness,
                "Completeness",
                "/admin/completeness",
                "/api/v1/completeness",
            ),
            (PageSection::Tokens, "Tokens", "/admin/tokens", "/api/v1/tokens"),
            (PageSection::Audit, "Audit", "/admin/audit", "/api/v1/audit"),
            (PageSection::Nodes, "Nodes", "/admin/nodes", "/api/v1/nodes"),
        ],
    ),
];

/// Returns a page as a response. With `no-referrer`, browsers would send forms without a usable
/// `Origin` (the Fetch standard, section 3.2). `same-origin` tells other sites just as little.
pub fn html_response(status: StatusCode, page: Markup) -> Response {
    let mut response = (status, Html(page.into_string())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Draws the head of a document.
pub fn draw_head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) " · Waybill" }
            @for address in asset_addresses(".css") { link rel="stylesheet" href=(address); }
            @for address in asset_addresses(".js") { script defer src=(address) {} }
            link rel="icon" href="data:,";
        }
    }
}

/// Draws the hidden field with the form key.
pub fn draw_form_key(call: &PageCall) -> Markup {
    html! { input type="hidden" name=(FORM_KEY) value=(call.form_key); }
}

/// Draws a button that is a form of its own.
pub fn draw_button(call: &PageCall, action: &str, class: &str, label: &str) -> Markup {
    html! {
        form method="post" action=(action) {
            (draw_form_key(call))
            button class={ "btn " (class) } type="submit" { (label) }
        }
    }
}

/// Draws a button that asks first, without a script. It opens a sentence about the effect and the
/// button that confirms.
pub fn draw_confirmation(
    call: &PageCall,
    action: &str,
    label: &str,
    does: &str,
    sentence: &str,
) -> Markup {
    html! {
        details class="ask" {
            summary class="btn" { (label) }
            div class="pick" {
                p class="s" { (sentence) }
                (draw_button(call, action, "main", does))
            }
        }
    }
}

/// The frame around the content of one page.
pub struct PageFrame<'c> {
    call: &'c PageCall,
    notice: Option<String>,
    /// Dead letters that are not being replayed, counted up to [`MOST_COUNTED`].
    letters: u64,
}

impl<'c> PageFrame<'c> {
    /// Makes a frame without notice and counts.
    pub const fn bare(call: &'c PageCall) -> Self {
        Self { call, notice: None, letters: 0 }
    }

    /// Loads the notice and the counts for this session.
    pub async fn load(call: &'c PageCall) -> Self {
        // A refresh must not take the notice, because its person does not see the frame.
        let notice = (!call.is_refresh).then(|| call.pages.sessions.take_notice(&call.session));
        let notice = notice.flatten();
        let mut letters = 0;
        if call.may_read("/api/v1/dead-letters") {
            // If the count fails, the page is shown without it.
            let counted = call.app().journal.count_open_letters(MOST_COUNTED).await;
            letters = counted.unwrap_or_default();
        }
        Self { call, notice, letters }
    }

    /// Draws the whole document.
    pub fn draw(&self, content: &PageContent) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                (draw_head(&content.title))
                body {
                    a class="skip" href="#main" { "Skip to the page" }
                    (draw_sprite())
                    div class="app" {
                        (self.draw_side(content))
                        div {
                            (self.draw_top(content))
                            main id="main" tabindex="-1" {
                                (self.draw_notice())
                                (content.body)
                            }
                        }
                    }
                }
            }
        }
    }

    fn draw_side(&self, content: &PageContent) -> Markup {
        html! {
            aside class="side" aria-label="Side bar" {
                a class="brand" href="/admin" { (draw_icon("mark")) "Waybill" }
                div id="live-counts" data-live="part" { (self.draw_navigation(content, "Main")) }
                (self.draw_person())
            }
        }
    }

    /// Draws who is signed in, and the button to sign out.
    fn draw_person(&self) -> Markup {
        html! {
            div class="who" {
                b { (self.call.principal.token().settings.name) }
                span data-zone { "Times are in UTC" }
                (draw_button(self.call, "/admin/sign-out", "bare small", "Sign out"))
            }
        }
    }

    /// Draws the count behind a part of the navigation.
    fn draw_number(&self, section: PageSection) -> Markup {
        let settings = self.call.settings();
        let count = match section {
            PageSection::DeadLetters if self.letters > 0 => {
                let more = if self.letters >= u64::from(MOST_COUNTED) { "+" } else { "" };
                return html! {
                    span class="n st bad" { (draw_icon("bad")) (tell_count(self.letters)) (more) }
                };
            }
            PageSection::Sources => settings.sources().count(),
            PageSection::Flows => settings.flows().len(),
            PageSection::Endpoints => settings.endpoints().count(),
            PageSection::Overview
            | PageSection::Events
            | PageSection::DeadLetters
            | PageSection::Completeness
            | PageSection::Modules
            | PageSection::Tokens
            | PageSection::Audit
            | PageSection::Nodes
            | PageSection::Alerts => 0,
        };
        html! { @if count > 0 { span class="n" { (tell_count(count as u64)) } } }
    }

    fn draw_navigation(&self, content: &PageContent, label: &str) -> Markup {
        html! {
            nav class="nav" aria-label=(label) {
                @for (title, links) in PARTS {
                    @let links: Vec<_> =
                        links.iter().filter(|(_, _, _, route)| self.call.may_read(route)).collect();
                    @if !links.is_empty() {
                        @if !title.is_empty() { h2 { (title) } }
                        ul {
                            @for (section, title, address, _) in links {
                                @let is_here = content.section == Some(*section);
                                li {
                                    a href=(address) aria-current=[is_here.then_some("page")] {
                                        (title) (self.draw_number(*section))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn draw_top(&self, content: &PageContent) -> Markup {
        html! {
            header class="top" {
                nav class="crumbs" aria-label="Where you are" {
                    ol {
                        @for (title, address) in &content.parents {
                            li { a href=(address) { (title) } }
                        }
                        li aria-current="page" { (content.title) }
                    }
                }
                (draw_search("find", "Search everything"))
                details class="menu" {
                    summary class="btn small" { (draw_icon("menu")) "Menu" }
                    div class="sheet" {
                        (draw_search("find-menu", "Search everything (menu)"))
                        (self.draw_navigation(content, "Main (menu)"))
                        (self.draw_person())
                    }
                }
            }
        }
    }

    fn draw_notice(&self) -> Markup {
        html! {
            @if let Some(notice) = &self.notice {
                p class="note said" role="status" { span { (draw_prose(notice)) } }
            }
        }
    }
}

fn draw_search(id: &str, label: &str) -> Markup {
    html! {
        form class="find" role="search" action="/admin/search" aria-label=(label) {
            label class="vh" for=(id) { "Search by id, record or name" }
            input id=(id) name="q" type="search"
                placeholder="Id, name, or record such as invoice 1042";
        }
    }
}

/// Returns the page that says what went wrong.
pub fn problem_content(problem: &ApiProblem) -> PageContent {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let title = match status {
        StatusCode::NOT_FOUND => "There is no such page or object",
        StatusCode::FORBIDDEN => "This token may not do that",
        StatusCode::CONFLICT => "This cannot be done in the current state",
        StatusCode::UNPROCESSABLE_ENTITY => "Something in this request is wrong",
        StatusCode::SERVICE_UNAVAILABLE => "The server cannot answer this at present",
        _ => problem.title,
    };
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (title) }
                p class="lead" { (draw_prose(&capitalise(&problem.detail))) }
            } }
            @if problem.errors.len() > 1 {
                ul class="panel" {
                    @for fault in &problem.errors {
                        li class="in" { code { (fault.path) } ": " (fault.message) }
                    }
                }
            }
            p class="meta s" {
                // If the request failed in the server, it is unknown how far it came.
                @if status.is_client_error() && status != StatusCode::NOT_FOUND { "Nothing was changed. " }
                a href="/admin" { "Go to the overview" }
            }
        }
    };
    PageContent { title: title.to_owned(), section: None, parents: Vec::new(), body, status }
}
