//! The page of tokens: who may call, for what, and until when.

use super::call::{PageCall, PageContent, PageResult, PageSection};
use super::editor::pages::{draw_edit_button, draw_new_button};
use super::editor::removal::draw_delete_button;
use super::encode_name;
use super::shown::read_shown;
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_settings, draw_table};
use super::texts::{draw_age, encode_query, tell_number};
use crate::api::tokens::{TokenResource, list_tokens, show_token};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::Path;
use maud::{Markup, html};
use serde::Deserialize;

/// Address of the list.
pub const TOKENS: &str = "/admin/tokens";

/// A token as the REST API shows it.
#[derive(Debug, Deserialize)]
struct ShownToken {
    id: String,
    name: String,
    scopes: Vec<String>,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
}

/// Returns the address of a token's page.
pub fn token_address(name: &str) -> String {
    format!("{TOKENS}/{}", encode_name(name))
}

impl ShownToken {
    fn sign(&self, now: Timestamp) -> StateSign {
        if self.expires_at.is_some_and(|end| end <= now) {
            StateSign::ENDED
        } else {
            StateSign::ACTIVE
        }
    }
}

/// Shows all tokens.
pub async fn show_list(call: PageCall) -> PageResult {
    let Json(found) = list_tokens(call.state(), call.principal.clone()).await?;
    let tokens: Vec<ShownToken> = read_shown(found.data)?;
    let rows = html! { @for token in &tokens { (draw_row(&draw_cells(&call, token))) } };
    let columns = [
        ("Token", false),
        ("State", false),
        ("May", false),
        ("Last used", true),
        ("Created", true),
    ];
    let body = html! {
        div class="stack" {
            div class="head" {
                div {
                    h1 { (tell_number(tokens.len() as u64, "token", "tokens")) }
                    p class="lead s" {
                        "Only a digest of each token is stored, so no token can be shown again."
                    }
                }
                (draw_new_button::<TokenResource>(&call))
            }
            section class="panel" aria-label="Tokens" {
                (draw_table("Tokens", "mid", &columns, &rows))
            }
        }
    };
    Ok(PageContent::new(PageSection::Tokens, "Tokens", body))
}

fn draw_cells(call: &PageCall, token: &ShownToken) -> Markup {
    html! {
        (draw_cell("nw", &html! {
            a class="name" href=(token_address(&token.name)) { (token.name) }
            @if call.principal.token().id.to_string() == token.id {
                span class="why" { "signed in here" }
            }
        }))
        (draw_cell("r nw", &token.sign(call.now).draw()))
        (draw_cell("clip w", &html! { code { (token.scopes.join(", ")) } }))
        (draw_labelled_cell("num nw", "Last used", &html! {
            @match token.last_used_at { Some(at) => (draw_age(call.now, at)), None => "never" }
        }))
        (draw_labelled_cell("num nw x", "Created", &draw_age(call.now, token.created_at)))
    }
}

/// Shows one token.
pub async fn show_page(call: PageCall, path: Path<String>) -> PageResult {
    let found = show_token(call.state(), call.principal.clone(), path).await?.into_view();
    let value = serde_json::to_value(&found).unwrap_or_default();
    let token: ShownToken = read_shown(found)?;
    let is_own = call.principal.token().id.to_string() == token.id;
    let settings = draw_settings(&value)?;
    let body = html! {
        div class="stack" {
            div class="head" {
                div class="row" { h1 { (token.name) } (token.sign(call.now).draw_pill()) }
                div class="row" {
                    @if call.may_read("/api/v1/audit") {
                        a class="btn" href={ "/admin/audit?token=" (encode_query(&token.name)) } {
                            "Its calls"
                        }
                    }
                    (draw_edit_button::<TokenResource>(&call, &token.name, ""))
                    @if !is_own { (draw_delete_button::<TokenResource>(&call, &token.name)) }
                }
            }
            @if is_own {
                p class="note" {
                    "You are signed in with this token, so it cannot be deleted here."
                }
            }
            section class="panel" aria-labelledby="set" {
                header { h2 id="set" { "Settings" } }
                (settings)
            }
        }
    };
    Ok(PageContent::new(PageSection::Tokens, token.name, body).below("Tokens", TOKENS))
}
