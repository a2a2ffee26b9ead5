//! The page of nodes: the processes that share the database.

use super::call::{PageCall, PageContent, PageResult, PageSection};
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, tell_number};
use crate::api::nodes::{NodeView, list_nodes};
use axum::Json;
use maud::{Markup, html};

fn draw_state(node: &NodeView) -> Markup {
    let sign = if node.has_wrong_clock() { StateSign::WARNING } else { StateSign::UP };
    sign.draw()
}

/// Says how far a clock differs from the database's.
fn tell_skew(skew_ms: i64) -> String {
    let (seconds, tenths) = (skew_ms.unsigned_abs() / 1_000, skew_ms.unsigned_abs() / 100 % 10);
    match (seconds, tenths, skew_ms > 0) {
        (0, 0, _) => "right".to_owned(),
        (_, _, true) => format!("{seconds}.{tenths} s ahead"),
        (_, _, false) => format!("{seconds}.{tenths} s behind"),
    }
}

/// Shows all nodes.
pub async fn show_list(call: PageCall) -> PageResult {
    let Json(found) = list_nodes(call.state(), call.principal.clone()).await?;
    let rows = html! {
        @for node in &found.data {
            (draw_row(&html! {
                (draw_cell("nw", &html! {
                    code { (node.id) } @if node.answers { span class="why" { "answers here" } }
                }))
                (draw_cell("r", &draw_state(node)))
                (draw_labelled_cell("w", "Address", &html! {
                    (node.address.as_deref().unwrap_or("–"))
                }))
                (draw_labelled_cell("w", "Version", &html! {
                    (node.version.as_deref().unwrap_or("–"))
                }))
                (draw_labelled_cell("num nw", "Clock", &html! {
                    @match node.clock_skew_ms { Some(skew) => (tell_skew(skew)), None => "–" }
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
        ("Clock", true),
        ("Started", true),
        ("Seen", true),
    ];
    let body = html! {
        div class="stack" {
            div class="head" { div {
                h1 { (tell_number(found.data.len() as u64, "node", "nodes")) }
                p class="lead s" {
                    "Each node reports every two seconds. After ten seconds without a report, another \
                     node takes over its work, and it is no longer listed. Correct the clock of a node \
                     that differs from the database's by more than a second."
                }
            } }
            section class="panel" aria-label="Nodes" {
                (draw_table("Nodes, the oldest first", "mid", &columns, &rows))
            }
        }
    };
    Ok(PageContent::new(PageSection::Nodes, "Nodes", body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skew_is_told_in_tenths_of_a_second() {
        let told = [99, -99, 100, -12_345].map(tell_skew);
        assert_eq!(told, ["right", "right", "0.1 s ahead", "12.3 s behind"]);
    }
}
