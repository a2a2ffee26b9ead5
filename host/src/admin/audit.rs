//! The page of the audit: who called what, from where, and how it was answered.

use super::call::{PageCall, PageContent, PageResult, PageSection};
use super::filters::{FilterChoice, FilterValue, draw_pager, filled, span_choice, span_seconds};
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, short_id, tell_millis, tell_number};
use crate::api::audit::{CallQuery, CallView, list_calls};
use crate::api::body::QueryInput;
use axum::Json;
use http::Uri;
use maud::{Markup, html};
use serde::Deserialize;
use std::time::Duration;

/// Address of the list.
pub const AUDIT: &str = "/admin/audit";
const STATUSES: [(&str, &str); 4] =
    [("2xx", "succeeded"), ("3xx", "redirected"), ("4xx", "refused"), ("5xx", "server error")];

/// The parameters of the list's address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuditPage {
    token: Option<String>,
    method: Option<String>,
    route: Option<String>,
    status: Option<String>,
    span: Option<String>,
    cursor: Option<String>,
}

impl AuditPage {
    fn query(&self, call: &PageCall) -> CallQuery {
        let owned = |text: &Option<String>| filled(text.as_ref()).map(str::to_owned);
        let since = span_seconds(filled(self.span.as_ref()))
            .map(|seconds| call.now.before(Duration::from_secs(seconds)).to_string());
        CallQuery {
            token: owned(&self.token),
            method: owned(&self.method),
            route: owned(&self.route),
            status: owned(&self.status),
            since,
            cursor: owned(&self.cursor),
            ..CallQuery::default()
        }
    }

    fn is_narrow(&self) -> bool {
        let texts = [&self.token, &self.method, &self.route, &self.status, &self.span];
        texts.into_iter().any(|text| filled(text.as_ref()).is_some())
    }
}

/// Shows a page of calls.
pub async fn show_list(
    call: PageCall,
    uri: Uri,
    QueryInput(page): QueryInput<AuditPage>,
) -> PageResult {
    let query = QueryInput(page.query(&call));
    let Json(found) = list_calls(call.state(), call.principal.clone(), uri.clone(), query).await?;
    let rows = html! { @for one in &found.data { (draw_row(&draw_cells(&call, one))) } };
    let columns = [
        ("Call", false),
        ("When", true),
        ("Token", false),
        ("From", false),
        ("Answer", false),
        ("Took", true),
    ];
    let next = found.meta.next_cursor.as_deref();
    let body = html! {
        div class="stack-s" {
            div class="head" { div {
                h1 { "Audit" }
                p class="lead s" {
                    "Calls of the API and of these pages, newest first. Queries, bodies and ids are \
                     not stored."
                }
            } }
            (draw_filters(&call, &page))
            section class="panel" aria-label="Calls" {
                @if found.data.is_empty() {
                    p class="in" {
                        @if next.is_some() {
                            "None of the 10,000 calls searched here matches. Older ones may match."
                        }
                        @else { "No call matches." }
                    }
                } @else { (draw_table("Calls, newest first", "one", &columns, &rows)) }
                (draw_pager(AUDIT, uri.query().unwrap_or_default(), found.data.len(), next))
            }
        }
    };
    Ok(PageContent::new(PageSection::Audit, "Audit", body))
}

fn draw_filters(call: &PageCall, page: &AuditPage) -> Markup {
    let settings = call.settings();
    let mut tokens: Vec<FilterValue> = settings
        .tokens()
        .map(|(_, token)| FilterValue::plain(token.settings.name.as_str(), None))
        .collect();
    tokens.sort_by(|a, b| a.value.cmp(&b.value));
    let methods =
        ["GET", "POST", "PUT", "PATCH", "DELETE"].map(|name| FilterValue::plain(name, None));
    let statuses =
        STATUSES.iter().map(|(value, label)| FilterValue::labelled(value, label)).collect();
    let choice =
        |name, label, chosen, values, any| FilterChoice { name, label, chosen, values, any };
    html! {
        form class="filters" role="search" aria-label="Filter calls" action=(AUDIT) {
            div class="q" {
                label class="vh" for="route" { "Route" }
                input id="route" name="route" type="search"
                    placeholder="Route, such as /api/v1/events" value=[filled(page.route.as_ref())];
            }
            (choice("token", "Token", filled(page.token.as_ref()), tokens, "any token").draw())
            (choice("method", "Method", filled(page.method.as_ref()), methods.to_vec(), "any method").draw())
            (choice("status", "Answer", filled(page.status.as_ref()), statuses, "any answer").draw())
            (span_choice(filled(page.span.as_ref())).draw())
            button class="btn" type="submit" { "Search" }
            @if page.is_narrow() { a class="btn bare" href=(AUDIT) { "Clear" } }
        }
    }
}

fn draw_cells(call: &PageCall, one: &CallView) -> Markup {
    let sign = match one.status {
        500.. => StateSign { word: "Failed", ..StateSign::FAILING },
        400..500 => StateSign { word: "Refused", ..StateSign::REFUSED },
        _ => StateSign { word: "Well", ..StateSign::WELL },
    };
    html! {
        (draw_cell("long", &html! {
            code { (one.method) " " (one.route) }
            @if one.calls > 1 {
                span class="why" {
                    (tell_number(one.calls.into(), "call", "calls")) " share this row"
                }
            }
        }))
        (draw_cell("num r nw", &draw_age(call.now, one.at)))
        (draw_cell("nw", &html! {
            @match (&one.token, &one.token_id) {
                (Some(name), _) => (name),
                (None, Some(id)) => span class="soft" title=(id) { (short_id(id)) ", revoked" },
                (None, None) => span class="soft" { "unknown" },
            }
        }))
        (draw_labelled_cell("nw", "From", &html! { (one.address) }))
        (draw_cell("nw", &sign.draw_with(&one.status.to_string())))
        (draw_cell("num nw x", &html! { (tell_millis(one.duration_ms)) }))
    }
}
