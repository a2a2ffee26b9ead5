//! Draws the timeline: a list of steps, each with its bar on one time axis.
//!
//! The first 400 ms are linear, and the rest is logarithmic, because an attempt takes milliseconds
//! and its retry comes hours later.

use super::steps::{EventTimeline, TimeBar, TimelineStep};
use crate::admin::signs::{StateSign, draw_icon};
use maud::{Markup, html};

/// The end of the linear part in seconds, and its share of the width in percent.
const LINEAR: (f64, f64) = (0.4, 36.0);
/// Gap between the two parts, in percent.
const GAP: f64 = 4.0;
/// Place of the last moment, in percent.
const END: f64 = 97.0;
/// Least width of a bar in percent, so that it stays visible.
const THINNEST: f64 = 0.9;
/// Least distance between two labels of the axis, in percent.
const LABEL_GAP: f64 = 15.0;

/// Moments that the axis may label, in seconds.
const MARKS: [(f64, &str); 20] = [
    (0.001, "1 ms"),
    (0.002, "2 ms"),
    (0.005, "5 ms"),
    (0.01, "10 ms"),
    (0.02, "20 ms"),
    (0.05, "50 ms"),
    (0.1, "100 ms"),
    (0.2, "200 ms"),
    (0.3, "300 ms"),
    (1.0, "1 s"),
    (5.0, "5 s"),
    (30.0, "30 s"),
    (60.0, "1 min"),
    (300.0, "5 min"),
    (1_200.0, "20 min"),
    (3_600.0, "1 h"),
    (21_600.0, "6 h"),
    (86_400.0, "1 d"),
    (604_800.0, "7 d"),
    (2_592_000.0, "30 d"),
];

/// The places of moments on the axis.
#[derive(Debug, Clone, Copy)]
struct TimeAxis {
    /// The last moment, in seconds since the capture.
    end: f64,
    /// The present, if something is still to come.
    now: Option<f64>,
}

impl TimeAxis {
    fn of(lines: &[TimelineStep], now: f64) -> Self {
        let ends = lines.iter().flat_map(|line| &line.bars).map(|bar| match bar {
            TimeBar::Work { to, .. } | TimeBar::Wait { to, .. } => *to,
            TimeBar::Planned { at } => *at,
        });
        // Modules take fractions of a millisecond. A shorter axis would show only noise.
        let end = ends.fold(0.005, f64::max);
        let is_open =
            lines.iter().flat_map(|l| &l.bars).any(|b| matches!(b, TimeBar::Planned { .. }));
        let end = if is_open { end.max(now) } else { end };
        Self { end, now: is_open.then_some(now) }
    }

    fn is_split(self) -> bool {
        self.end > LINEAR.0
    }

    /// Returns the place of a moment, in percent of the width.
    fn place(self, seconds: f64) -> f64 {
        if !self.is_split() {
            return seconds / self.end * END;
        }
        if seconds <= LINEAR.0 {
            return seconds / LINEAR.0 * LINEAR.1;
        }
        let from = LINEAR.1 + GAP;
        let share = (seconds / LINEAR.0).ln() / (self.end / LINEAR.0).ln();
        from + (END - from) * share.clamp(0.0, 1.0)
    }

    /// Returns the places of lines, each with a label if there is room for it.
    fn marks(self) -> Vec<(f64, Option<&'static str>)> {
        let mut marks = Vec::new();
        let mut last = 0.0;
        let mut last_line = 0.0;
        for (seconds, label) in MARKS.into_iter().filter(|(seconds, _)| *seconds < self.end) {
            let x = self.place(seconds);
            if x - last_line < 3.0 {
                continue;
            }
            last_line = x;
            let has_room = x - last >= LABEL_GAP && x < 95.0;
            last = if has_room { x } else { last };
            marks.push((x, has_room.then_some(label)));
        }
        marks
    }
}

fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

/// Draws the timeline. `chosen` is the key of the step whose detail is shown; `address` is the
/// address of the page.
pub fn draw_timeline(
    timeline: &EventTimeline<'_>,
    now: f64,
    chosen: &str,
    address: &str,
) -> Markup {
    let axis = TimeAxis::of(&timeline.lines, now);
    html! {
        section class="panel" aria-labelledby="wf" {
            header {
                h2 id="wf" { "Timeline" }
                p class="meta" {
                    @if axis.is_split() {
                        "dots: waiting; after the vertical dotted line, the time scale is logarithmic"
                    } @else { "time since the capture" }
                }
            }
            div class="wf" {
                div class="axis" {
                    span { "Step" }
                    (draw_axis(axis))
                    span class="num" { "Result" }
                }
                ol {
                    @for line in &timeline.lines { (draw_line(axis, line, chosen, address)) }
                }
            }
        }
    }
}

fn draw_axis(axis: TimeAxis) -> Markup {
    html! {
        svg aria-hidden="true" {
            text x="0%" y="30" text-anchor="start" { "0" }
            @for (x, label) in axis.marks() {
                @if let Some(label) = label {
                    text x=(percent(x)) y="30" text-anchor="middle" { (label) }
                }
            }
            @if let Some(now) = axis.now {
                text class="n" x=(percent(axis.place(now).clamp(3.0, 97.0))) y="12" text-anchor="middle" {
                    "now"
                }
            }
        }
    }
}

fn draw_line(axis: TimeAxis, line: &TimelineStep, chosen: &str, address: &str) -> Markup {
    let is_chosen = line.key.as_deref() == Some(chosen);
    let depth = format!("lab d{}{}", line.depth, if line.key.is_none() { " grp" } else { "" });
    let label = html! {
        @if let Some(icon) = line.icon { (draw_icon(icon)) }
        span { (line.label) " " em { (line.note) } }
    };
    html! {
        li class=[line.key.is_none().then_some("grpline")] data-on[is_chosen] {
            @if let Some(key) = &line.key {
                a class=(depth) href={ (address) "?step=" (key) "#detail" }
                    aria-current=[is_chosen.then_some("true")] { (label) }
            } @else {
                span class=(depth) { (label) }
            }
            (draw_bars(axis, &line.bars))
            span class="res" {
                @if let Some(sign) = line.sign { (draw_result(sign, &line.result)) }
            }
        }
    }
}

fn draw_result(sign: StateSign, result: &str) -> Markup {
    html! {
        span class={ "st " (sign.tone.class()) } title={ (sign.word) ": " (result) } {
            (draw_icon(sign.icon)) span { (result) }
        }
    }
}

fn draw_bars(axis: TimeAxis, bars: &[TimeBar]) -> Markup {
    html! {
        svg class="bar" aria-hidden="true" {
            @for (x, _) in axis.marks() { (draw_upright("tick", x)) }
            @if axis.is_split() { (draw_upright("split", LINEAR.1 + GAP / 2.0)) }
            @if let Some(now) = axis.now { (draw_upright("now", axis.place(now))) }
            @for bar in bars { (draw_bar(axis, *bar)) }
        }
    }
}

fn draw_upright(class: &str, x: f64) -> Markup {
    html! { line class=(class) x1=(percent(x)) x2=(percent(x)) y1="0" y2="100%" {} }
}

fn draw_bar(axis: TimeAxis, bar: TimeBar) -> Markup {
    match bar {
        TimeBar::Wait { from, to } => html! {
            line class="wait" x1=(percent(axis.place(from))) x2=(percent(axis.place(to)))
                y1="50%" y2="50%" {}
        },
        TimeBar::Planned { at } => html! {
            svg x=(percent(axis.place(at))) y="50%" overflow="visible" {
                circle class="f-idle" r="3.5" {}
            }
        },
        TimeBar::Work { class, from, to } => {
            let x = axis.place(from);
            let width = (axis.place(to) - x).max(THINNEST);
            html! {
                svg x=(percent(x.min(100.0 - width))) y="50%" width=(percent(width)) height="10" overflow="visible" {
                    rect class={ "f-" (class) } y="-5" width="100%" height="10" rx="2" {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_order_of_moments_inside_the_drawing() {
        for end in [0.005, 0.022, 0.05, 0.39, 0.41, 30.0, 86_400.0, 2_592_000.0] {
            let axis = TimeAxis { end, now: None };
            let mut last = -1.0;
            for n in 0..=100 {
                let x = axis.place(end * f64::from(n) / 100.0);
                assert!(x >= last && x <= 100.0, "{end}: {x} after {last}");
                last = x;
            }
            let labels = axis.marks().into_iter().filter(|(_, label)| label.is_some());
            let labels = labels.count();
            assert!((1..=10).contains(&labels), "{end}: {labels}");
        }
    }
}
