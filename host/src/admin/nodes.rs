//! Nodes: the processes that share the database.

use super::call::{PageCall, PageContent, PageResult, PageSection};
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, tell_number};
use crate::api::nodes::list_nodes;
use axum::Json;
use maud::html;

/// Shows all nodes.
pub async fn show_list(call: PageCall) -> PageResult {
    let Json(found) = list_nodes(call.state(), call.principal.clone()).await?;
    let rows = html! {
        @for node in &found.data {
            (draw_row(&html! {
                (draw_cell("nw", &html! {
                    code { (node.id) } @if node.answers { span class="why" { "answers here" } }
                }))
                (draw_cell("r", &StateSign::UP.draw()))
                (draw_labelled_cell("w", "Address", &html! {
                    (node.address.as_deref().unwrap_or("–"))
                }))
                (draw_labelled_cell("w", "Version", &html! {
                    (node.version.as_deref().unwrap_or("–"))
                }))
                (draw_labelled_cell("num nw", "Started", &html! {
                    @match node.started_at { Some(at) => (draw_age(call.now, at)), None => "–" }
                }))
                (draw_labelled_cell("num nw", "Seen", &draw_age(call.now, node.seen_at)))
            }))
        }
    };
    let columns = [
        ("Node", false),
        ("State", false),
        ("Address", false),
        ("Version", false),
        ("Started", true),
        ("Seen", true),
    ];
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (tell_number(found.data.len() as u64, "node", "nodes")) }
                p class="lead s" {
                    "Each says every two seconds that it is there. After ten seconds of silence \
                     another takes over what it held, and it is listed no more."
                }
            } }
            section class="panel" aria-label="Nodes" {
                (draw_table("Nodes, the oldest first", "mid", &columns, &rows))
            }
        }
    };
    Ok(PageContent::new(PageSection::Nodes, "Nodes", body))
}
