//! The page that shows a secret once.

use super::FormKind;
use crate::admin::call::PageContent;
use maud::html;

/// Shows the secret of a new object, or the new secret of an existing one.
pub fn secret_content(kind: &FormKind, name: &str, address: &str, secret: &str) -> PageContent {
    let what = if kind.noun == "token" { "token" } else { "secret" };
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { "Copy the " (what) " of " (name) " now" }
                p class="lead" { "It cannot be shown again." }
            } }
            div class="panel" { div class="in stack-s" {
                pre class="code secret" role="region" tabindex="0" aria-label={ "The " (what) } { (secret) }
                div class="row" { a class="btn main" href=(address) { "I have copied it" } }
            } }
        }
    };
    let content = PageContent::new(kind.section, format!("The {what} of {name}"), body);
    content.below(kind.list_title, kind.list).below(name, address)
}
