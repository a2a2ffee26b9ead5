//! The panel of a module's page with the times and the memory of its versions on this node.

use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{tell_count, tell_millis};
use crate::api::modules::ModuleView;
use crate::api::modules::trial_view::{RoleTimes, VersionFiguresView};
use maud::{Markup, html};

/// Most versions that are shown, the newest ones that were called.
const MOST_VERSIONS: usize = 5;

/// Draws the figures of the versions that were called, the newest first. Nothing without calls.
pub fn draw_figures(versions: &[ModuleView]) -> Markup {
    let called = versions.iter().filter_map(|view| Some((view.version, view.figures.as_ref()?)));
    let called: Vec<(u32, &VersionFiguresView)> = called.take(MOST_VERSIONS).collect();
    let columns = [
        ("Version", false),
        ("Role", false),
        ("Calls", true),
        ("p50", true),
        ("p95", true),
        ("p99", true),
        ("Largest memory", true),
    ];
    let rows = html! {
        @for (version, figures) in &called {
            @for (n, (role, times)) in figures.roles.iter().enumerate() {
                (draw_role(*version, role, times, figures.peak_memory_bytes.filter(|_| n == 0)))
            }
        }
    };
    html! {
        @if !called.is_empty() {
            section class="panel" aria-labelledby="vf" {
                header { h2 id="vf" { "Times on this node" } }
                (draw_table("Times of each version and role since this node started", "mid", &columns, &rows))
            }
        }
    }
}

fn draw_role(version: u32, role: &str, times: &RoleTimes, memory: Option<u64>) -> Markup {
    let time = |millis: Option<f64>| millis.map_or_else(|| "–".to_owned(), tell_millis);
    draw_row(&html! {
        (draw_cell("nw", &html! { b { "v" (version) } }))
        (draw_labelled_cell("nw", "Role", &html! { (role) }))
        (draw_labelled_cell("num", "Calls", &html! { (tell_count(times.calls)) }))
        (draw_labelled_cell("num nw", "p50", &html! { (time(times.p50_ms)) }))
        (draw_labelled_cell("num nw", "p95", &html! { (time(times.p95_ms)) }))
        (draw_labelled_cell("num nw", "p99", &html! { (time(times.p99_ms)) }))
        (draw_labelled_cell("num nw", "Largest memory", &html! {
            @match memory { Some(bytes) => { (tell_count(bytes.div_ceil(1024))) " KiB" }, None => "" }
        }))
    })
}
