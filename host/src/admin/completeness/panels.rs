//! The parts of the page of one day.

use crate::admin::call::PageCall;
use crate::admin::dead_letters::letter_address;
use crate::admin::events::event_address;
use crate::admin::signs::StateSign;
use crate::admin::source_address;
use crate::admin::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use crate::admin::texts::{draw_age, draw_prose, tell_count};
use crate::api::completeness::gap_view::GapView;
use crate::api::completeness::statement_view::{SourceCover, StatementView};
use crate::completeness::event_outcome::GapKind;
use maud::{Markup, html};

const fn kind_sign(kind: GapKind) -> StateSign {
    match kind {
        GapKind::Dead => StateSign::DEAD,
        GapKind::Cancelled => StateSign::CANCELLED,
        GapKind::Disabled => StateSign::WAS_DISABLED,
        GapKind::ModulesFailed => StateSign::MODULES_FAILED,
        GapKind::NotPlanned => StateSign::NOT_PLANNED,
        GapKind::UnreadRow => StateSign::ROW_UNREAD,
    }
}

/// Draws the gaps by name, each with its reason.
pub fn draw_gaps(call: &PageCall, statement: &StatementView) -> Markup {
    let rows = html! {
        @for gap in &statement.gaps {
            (draw_row(&html! {
                (draw_cell("w", &draw_name(gap)))
                (draw_cell("r nw", &kind_sign(gap.kind).draw()))
                (draw_cell("w long", &draw_reason(gap)))
                (draw_labelled_cell("num nw", "Since", &draw_age(call.now, gap.since)))
            }))
        }
    };
    let columns = [("Event", false), ("Missing", false), ("Why", false), ("Since", true)];
    html! {
        section class="panel" aria-labelledby="gaps" {
            header {
                h2 id="gaps" { "Gaps" }
                @if statement.gaps.len() as u64 != statement.counts.all_gaps() {
                    span class="meta" {
                        (statement.gaps.len()) " of " (tell_count(statement.counts.all_gaps()))
                    }
                }
            }
            @if statement.gaps.is_empty() {
                p class="in" { "There are no gaps here." }
            } @else { (draw_table("Gaps, the oldest event first", "mid", &columns, &rows)) }
        }
    }
}

/// Draws what a gap is about, as a link.
fn draw_name(gap: &GapView) -> Markup {
    let id = gap.resource_id.as_deref();
    html! {
        @if let Some(event) = &gap.event_id {
            a class="name" href=(event_address(event)) title=(event) {
                (gap.event_type.as_deref().unwrap_or("event"))
            }
            @if let Some(resource) = &gap.resource {
                span class="why" { (resource) @if let Some(id) = id { " " (id) } }
            }
        } @else {
            @let letter = gap.dead_letter_id.as_deref().unwrap_or_default();
            a class="name" href=(letter_address(letter)) {
                "row " (id.unwrap_or_default())
            }
            span class="why" {
                (gap.source.as_deref().unwrap_or("a deleted source"))
                @if let Some(list) = &gap.list { ", " (list) }
            }
        }
    }
}

fn draw_reason(gap: &GapView) -> Markup {
    html! {
        (draw_prose(&gap.reason))
        @if let Some(hindrance) = &gap.hindrance {
            span class="why" { "cannot be sent: " (hindrance) }
        } @else if gap.newer_delivered {
            span class="why" { "a newer state of the record has reached the endpoint" }
        }
    }
}

/// Draws the counts of the day.
pub fn draw_counts(statement: &StatementView) -> Markup {
    let counts = &statement.counts;
    let rows = [
        ("Captured", counts.captured, "events that this endpoint takes"),
        ("Delivered", counts.delivered, "accepted by the receiver"),
        ("Waiting", counts.waiting, "will be sent by themselves"),
        ("Superseded", counts.superseded, "replaced by a newer state"),
        ("Dropped", counts.dropped, "kept back by a rule"),
        ("Called off", counts.cancelled, "with a newer state delivered, or by a module"),
        ("Not taken", counts.not_taken, "from before the present settings"),
        ("Not known", counts.unknown, "older than deliveries are kept"),
        ("Gaps", counts.gaps, "did not arrive"),
        ("Unread rows", counts.unread_rows, "no event could be made of them"),
    ];
    let shown = rows.into_iter().filter(|(name, count, _)| *count > 0 || *name == "Captured");
    html! {
        section class="panel" aria-labelledby="counts" {
            header {
                h2 id="counts" { "Counts" }
                span class="meta" { (tell_count(counts.deliveries)) " deliveries made" }
            }
            table class="t pair" {
                caption class="vh" { "Events of the day by their outcome" }
                thead class="vh" { tr { th scope="col" { "Outcome" } th scope="col" { "Events" } } }
                tbody {
                    @for (name, count, means) in shown {
                        tr {
                            td { (name) }
                            td { b { (tell_count(count)) } span class="why" { (means) } }
                        }
                    }
                }
            }
        }
    }
}

/// Draws the counts of each resource, if there are several.
pub fn draw_resources(statement: &StatementView) -> Markup {
    let rows = html! {
        @for one in &statement.resources {
            (draw_row(&html! {
                (draw_cell("w", &html! { (one.resource.as_deref().unwrap_or("without a resource")) }))
                (draw_labelled_cell("num", "Captured", &html! { (tell_count(one.counts.captured)) }))
                (draw_labelled_cell("num", "Delivered", &html! { (tell_count(one.counts.delivered)) }))
                (draw_labelled_cell("num", "Waiting", &html! { (tell_count(one.counts.waiting)) }))
                (draw_labelled_cell("num", "Dropped", &html! { (tell_count(one.counts.dropped)) }))
                (draw_labelled_cell("num", "Gaps", &html! { (tell_count(one.counts.gaps)) }))
            }))
        }
    };
    let columns = [
        ("Resource", false),
        ("Captured", true),
        ("Delivered", true),
        ("Waiting", true),
        ("Dropped", true),
        ("Gaps", true),
    ];
    html! {
        @if statement.resources.len() > 1 {
            section class="panel" aria-labelledby="resources" {
                header { h2 id="resources" { "By resource" } }
                (draw_table("Counts by resource", "one", &columns, &rows))
            }
        }
    }
}

/// Draws why events were dropped.
pub fn draw_dropped(statement: &StatementView) -> Markup {
    let rows = html! {
        @for one in &statement.dropped {
            (draw_row(&html! {
                (draw_cell("w long", &html! { (draw_prose(&one.reason)) }))
                (draw_labelled_cell("num nw", "Events", &html! { (tell_count(one.events)) }))
            }))
        }
    };
    html! {
        @if !statement.dropped.is_empty() {
            section class="panel" aria-labelledby="dropped" {
                header {
                    h2 id="dropped" { "Dropped by a rule" }
                    span class="meta" { "not gaps" }
                }
                (draw_table("Reasons, the most frequent first", "mid", &[("Reason", false), ("Events", true)], &rows))
            }
        }
    }
}

/// Draws how far the sources were read on which the statement rests.
pub fn draw_covers(call: &PageCall, statement: &StatementView) -> Markup {
    html! {
        @if !statement.sources.is_empty() {
            section class="panel" aria-labelledby="covers" {
                header { h2 id="covers" { "Sources that are read" } }
                dl class="facts in" {
                    @for cover in &statement.sources {
                        dt { a href=(source_address(&cover.source)) { (cover.source) } }
                        dd { (draw_cover(call, cover)) }
                    }
                }
                footer { "Changes after that time are not part of this statement." }
            }
        }
    }
}

fn draw_cover(call: &PageCall, cover: &SourceCover) -> Markup {
    html! {
        @match cover.read_until {
            Some(until) => { "read until " (draw_age(call.now, until)) },
            None => "never read completely",
        }
        @if cover.covers_day == Some(false) {
            span class="why" { (StateSign::WARNING.draw_with("not to the end of the day")) }
        }
    }
}
