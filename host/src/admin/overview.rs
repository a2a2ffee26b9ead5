//! The first page.

use super::call::{PageCall, PageContent, PageResult, PageSection};
use maud::html;

/// Shows who is signed in.
pub async fn show_overview(call: PageCall) -> PageResult {
    let name = &call.principal.token().settings.name;
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { "Overview" }
                p class="lead s" { "Signed in with the token " b { (name) } "." }
            } }
        }
    };
    Ok(PageContent::new(PageSection::Overview, "Overview", body))
}
