//! Deliveries over the time span as bars: successes go up and failures go down from one line.

use super::figures::{SLOTS, SpanFigures};
use crate::admin::filters::SPANS;
use crate::admin::texts::{draw_clock, draw_time, tell_count};
use crate::time::timestamp::Timestamp;
use maud::{Markup, html};

/// The drawing: width, height, and the position of the line between up and down, in pixels.
const SIZE: (f64, f64, f64) = (960.0, 184.0, 130.0);
/// Height of the largest bar that goes down, in pixels.
const DOWN: f64 = 44.0;
/// Rows of the table below the drawing, the newest first.
const TABLE_ROWS: usize = SLOTS;

#[expect(clippy::cast_precision_loss, reason = "pixels of a drawing")]
fn share(value: u64, most: u64, height: f64) -> f64 {
    value as f64 / most.max(1) as f64 * height
}

/// Rounds up to a round number for the axis.
fn round_up(value: u64) -> u64 {
    let mut step = 1;
    while value > step * 10 {
        step *= 10;
    }
    value.div_ceil(step).max(1) * step
}

/// Returns a short text for a round number, to fit beside the axis.
fn tell_short(value: u64) -> String {
    match value {
        0..1_000 => value.to_string(),
        1_000..1_000_000 => format!("{}k", value / 1_000),
        _ => format!("{}M", value / 1_000_000),
    }
}

/// Draws the chart with its table.
pub fn draw_chart(figures: &SpanFigures, span: &str) -> Markup {
    let up = round_up(figures.slots.iter().map(|slot| slot.delivered).max().unwrap_or_default());
    let down = figures.slots.iter().map(|slot| slot.failed_attempts + slot.dead).max();
    let down = round_up(down.unwrap_or_default());
    html! {
        section class="panel" aria-labelledby="day" {
            header {
                div class="row" {
                    h2 id="day" { "Deliveries" }
                    div class="key" {
                        (draw_key("f-quiet", "Delivered, up"))
                        (draw_key("f-warn", "Failed attempts, down"))
                        (draw_key("f-bad", "Dead, down"))
                    }
                }
                nav class="seg" aria-label="Span" {
                    @for (name, label, _) in SPANS {
                        a href={ "/admin?span=" (name) } aria-current=[(name == span).then_some("true")] {
                            (label.trim_start_matches("last "))
                        }
                    }
                }
            }
            div class="in" {
                div class="chart" {
                    (draw_numbers(up, down))
                    (draw_bars(figures, up, down))
                    div class="x" aria-hidden="true" {
                        @for slot in (0..SLOTS).step_by(SLOTS / 6) {
                            span { (draw_time(figures.slot_start(slot), &tell_start(figures, figures.slot_start(slot)))) }
                        }
                        span { "now" }
                    }
                }
                @if figures.is_cut {
                    p class="hint" {
                        "Drawn from the newest " (tell_count(figures.deliveries.len() as u64))
                        " deliveries, back to "
                        (figures.from.to_string()) ". The time span contains more."
                    }
                }
            }
            (draw_behind(figures))
        }
    }
}

/// Returns a time of day, or a day if the time span is longer.
fn tell_start(figures: &SpanFigures, at: Timestamp) -> String {
    let is_long = figures.now.since(figures.from).as_secs() > 2 * 86_400;
    let text = at.to_string();
    let part = if is_long { text.get(5..10) } else { text.get(11..16) };
    part.unwrap_or_default().to_owned()
}

fn draw_key(class: &str, label: &str) -> Markup {
    html! {
        span {
            svg viewBox="0 0 10 10" aria-hidden="true" {
                rect class=(class) width="10" height="10" rx="2" {}
            }
            (label)
        }
    }
}

fn draw_numbers(up: u64, down: u64) -> Markup {
    html! {
        svg class="yax" width="36" height="184" aria-hidden="true" {
            @for (y, value) in [(10, up), (134, 0), (181, down)] {
                text x="28" y=(y) text-anchor="end" { (tell_short(value)) }
            }
        }
    }
}

fn draw_bars(figures: &SpanFigures, up: u64, down: u64) -> Markup {
    let (width, height, base) = SIZE;
    #[expect(clippy::cast_precision_loss, reason = "48 slots")]
    let step = width / SLOTS as f64;
    let label = format!(
        "Deliveries over the span in {SLOTS} bars: {} delivered, {} failed attempts, {} dead. The \
         table below has the figures.",
        figures.sum(|slot| slot.delivered),
        figures.sum(|slot| slot.failed_attempts),
        figures.sum(|slot| slot.dead),
    );
    html! {
        svg class="plot" viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none"
            role="img" aria-label=(label) {
            line class="g" x1="0" x2=(width) y1="4" y2="4" {}
            line class="g" x1="0" x2=(width) y1=(base / 2.0) y2=(base / 2.0) {}
            @for (n, slot) in figures.slots.iter().enumerate() {
                @let x = slot_place(n, step);
                @let delivered = share(slot.delivered, up, base - 4.0);
                @let failed = share(slot.failed_attempts, down, DOWN);
                @let dead = share(slot.dead, down, DOWN);
                g {
                    title {
                        (tell_start(figures, figures.slot_start(n)))
                        " UTC: " (slot.delivered)
                        " delivered, "
                        (slot.failed_attempts) " failed attempts, " (slot.dead) " dead"
                    }
                    (draw_bar("f-quiet", x, step, base - delivered, delivered))
                    (draw_bar("f-warn", x, step, base + 1.0, failed))
                    (draw_bar("f-bad", x, step, base + 1.0 + failed, dead))
                }
            }
            line class="g base" x1="0" x2=(width) y1=(base) y2=(base) {}
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "48 slots")]
fn slot_place(n: usize, step: f64) -> f64 {
    n as f64 * step + 1.5
}

fn draw_bar(class: &str, x: f64, step: f64, y: f64, height: f64) -> Markup {
    html! {
        @if height > 0.0 {
            rect class=(class) x=(format!("{x:.1}")) width=(format!("{:.1}", step - 3.0))
                y=(format!("{y:.1}")) height=(format!("{height:.1}")) {}
        }
    }
}

fn draw_behind(figures: &SpanFigures) -> Markup {
    html! {
        details class="more" {
            summary { "Show as a table" }
            table class="t" {
                caption class="vh" { "Deliveries, one part of the span a row, newest first" }
                thead { tr {
                    th scope="col" { "From, UTC" } th scope="col" class="num" { "Delivered" }
                    th scope="col" class="num" { "Failed attempts" }
                    th scope="col" class="num" { "Dead" }
                } }
                tbody {
                    @for (n, slot) in figures.slots.iter().enumerate().rev().take(TABLE_ROWS) {
                        @let start = figures.slot_start(n);
                        tr {
                            td {
                                (draw_time(start, &tell_start(figures, start)))
                                " " span class="soft" { (draw_clock(start)) }
                            }
                            td class="num" { (slot.delivered) }
                            td class="num" { (slot.failed_attempts) }
                            td class="num" { (slot.dead) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_round_number() {
        assert_eq!([0, 1, 9, 11, 840, 1_001].map(round_up), [1, 1, 9, 20, 900, 2_000]);
        assert_eq!([900, 4_000, 2_000_000].map(tell_short), ["900", "4k", "2M"]);
    }
}
