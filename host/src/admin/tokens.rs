//! Tokens: who may call, what for and until when. A token is shown once, when it is made.

use super::call::{ActionResult, PageCall, PageContent, PageResult, PageSection};
use super::forms::FormFields;
use super::layout::{draw_confirmation, draw_form_key};
use super::shown::read_shown;
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_settings, draw_table};
use super::texts::{draw_age, encode_query, tell_number};
use crate::access::scope::{READ_ONLY, SCOPES};
use crate::api::body::JsonInput;
use crate::api::resource::entity_tag::IfMatch;
use crate::api::tokens::{create_token, list_tokens, revoke_token, show_token};
use crate::time::timestamp::Timestamp;
use axum::Json;
use axum::extract::Path;
use http::Method;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Where the list stands.
pub const TOKENS: &str = "/admin/tokens";

/// A token as the REST API shows it.
#[derive(Debug, Deserialize)]
struct ShownToken {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// Only in the answer that made it.
    token: Option<String>,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
}

fn token_address(name: &str) -> String {
    format!("{TOKENS}/{}", encode_query(name))
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

/// Shows all tokens, and the form that makes one.
pub async fn show_list(call: PageCall) -> PageResult {
    let Json(found) = list_tokens(call.state(), call.principal.clone()).await?;
    let tokens: Vec<ShownToken> = read_shown(found.data)?;
    let rows = html! { @for token in &tokens { (draw_row(&draw_cells(&call, token))) } };
    let columns =
        [("Token", false), ("State", false), ("May", false), ("Last used", true), ("Made", true)];
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (tell_number(tokens.len() as u64, "token", "tokens")) }
                p class="lead s" {
                    "What is stored is the digest of each, so none can be shown again."
                }
            } }
            section class="panel" aria-label="Tokens" {
                (draw_table("Tokens", "mid", &columns, &rows))
            }
            (draw_form(&call))
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
        (draw_labelled_cell("num nw x", "Made", &draw_age(call.now, token.created_at)))
    }
}

fn draw_form(call: &PageCall) -> Markup {
    html! {
        @if call.may_post("/api/v1/tokens") {
            section class="panel" aria-labelledby="new" {
                header { h2 id="new" { "Make a token" } }
                form class="in stack-s" method="post" action="/admin/token-create" {
                    (draw_form_key(call))
                    div class="fields" {
                        div class="field" {
                            label for="tname" { "Name" }
                            input id="tname" name="name" required autocomplete="off";
                        }
                        div class="field" {
                            label for="tend" { "Ends" }
                            input id="tend" name="expires_at"
                                placeholder="2027-01-31T00:00:00Z" aria-describedby="tend-h" autocomplete="off";
                            p class="hint" id="tend-h" {
                                "A time such as 2027-01-31T00:00:00Z; never where left empty"
                            }
                        }
                        div class="field full" {
                            label for="tscope" { "May" }
                            select id="tscope" name="scope" multiple size="8"
                                aria-describedby="tscope-h" {
                                option value=(READ_ONLY) selected {
                                    (READ_ONLY) ": reads everything but the audit"
                                }
                                @for (_, name) in SCOPES { option value=(name) { (name) } }
                            }
                            p class="hint" id="tscope-h" {
                                "Several with Ctrl or Cmd. It never gets more than the token that \
                                 makes it has."
                            }
                        }
                    }
                    div class="row" { button class="btn main" type="submit" { "Make the token" } }
                }
            }
        }
    }
}

/// Makes a token and shows it once.
pub async fn create(call: PageCall, fields: FormFields) -> PageResult {
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(fields.required("name")?));
    object.insert("scopes".to_owned(), json!(fields.all("scope")));
    if let Some(end) = fields.text("expires_at") {
        object.insert("expires_at".to_owned(), Value::from(end));
    }
    let principal = call.principal.clone();
    let made = create_token(call.state(), principal, JsonInput(object)).await?.into_view();
    let token: ShownToken = read_shown(made)?;
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { "Copy the token " (token.name) " now" }
                p class="lead" { "It is not stored and cannot be shown again." }
            } }
            section class="panel" aria-label="The token" { div class="in stack-s" {
                pre class="code" role="region" tabindex="0" aria-label="The token" {
                    (token.token.unwrap_or_default())
                }
                div class="row" { a class="btn" href=(TOKENS) { "Done, to the list" } }
            } }
        }
    };
    Ok(PageContent::new(PageSection::Tokens, "New token", body).below("Tokens", TOKENS))
}

/// Shows one token.
pub async fn show_page(call: PageCall, path: Path<String>) -> PageResult {
    let found = show_token(call.state(), call.principal.clone(), path).await?.into_view();
    let value = serde_json::to_value(&found).unwrap_or_default();
    let token: ShownToken = read_shown(found)?;
    let is_own = call.principal.token().id.to_string() == token.id;
    let may_revoke = call.principal.may_call(&Method::DELETE, "/api/v1/tokens/{id}") && !is_own;
    let settings = draw_settings(&value)?;
    let here = token_address(&token.name);
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
                    @if may_revoke {
                        (draw_confirmation(&call, &format!("{here}/revoke"), "Revoke…", "Revoke it",
                            "From the answer on nobody can use it, and its sessions end. This \
                             cannot be taken back."))
                    }
                }
            }
            @if is_own {
                p class="note" {
                    "You are signed in with this token, so it cannot be revoked here."
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

/// Revokes a token.
pub async fn revoke(call: PageCall, Path(name): Path<String>, _fields: FormFields) -> ActionResult {
    let path = Path(name.clone());
    revoke_token(call.state(), call.principal.clone(), path, IfMatch::ANY).await?;
    Ok(call.done(TOKENS, format!("The token {name} is revoked.")))
}
