//! Six figures of the time span, each a link to its list.

use super::OverviewData;
use super::figures::{SlotFigures, SpanFigures};
use crate::admin::call::PageCall;
use crate::admin::signs::{StateSign, draw_icon};
use crate::admin::texts::{tell_count, tell_millis, tell_span};
use maud::{Markup, html};

/// One tile.
struct FigureTile {
    label: &'static str,
    value: String,
    sign: Option<StateSign>,
    note: String,
    address: &'static str,
    spark: Option<(Vec<u64>, &'static str)>,
}

/// Draws the tiles.
pub fn draw_tiles(
    call: &PageCall,
    data: &OverviewData,
    figures: &SpanFigures,
    label: &str,
) -> Markup {
    let tiles = [
        events_tile(figures),
        delivered_tile(figures),
        failed_tile(figures),
        dead_tile(data, figures),
        waiting_tile(call, data),
        speed_tile(figures),
    ];
    html! {
        section class="tiles" aria-label={ "Figures of the " (label) } {
            @for tile in &tiles {
                a class="tile" href=(tile.address) {
                    span class="l" { (tile.label) }
                    span class="v" { (tile.value) }
                    @match tile.sign {
                        Some(sign) => span class={ "d st " (sign.tone.class()) } {
                            (draw_icon(sign.icon)) (tile.note)
                        },
                        None => span class="d" { (tile.note) },
                    }
                    @match &tile.spark {
                        Some((values, class)) => (draw_spark(values, class)),
                        None => span class="spark" {},
                    }
                }
            }
        }
    }
}

fn series(figures: &SpanFigures, figure: impl Fn(&SlotFigures) -> u64) -> Vec<u64> {
    figures.slots.iter().map(figure).collect()
}

fn events_tile(figures: &SpanFigures) -> FigureTile {
    let more = if figures.has_more_events { "+" } else { "" };
    FigureTile {
        label: "Events in",
        value: format!("{}{more}", tell_count(figures.events)),
        sign: None,
        note: if figures.has_more_events { "counted up to here".to_owned() } else { String::new() },
        address: "/admin/events",
        spark: Some((series(figures, |slot| slot.events), "")),
    }
}

fn delivered_tile(figures: &SpanFigures) -> FigureTile {
    let delivered = figures.sum(|slot| slot.delivered);
    let all = figures.deliveries.len() as u64;
    let share = (all > 0).then(|| {
        #[expect(clippy::cast_precision_loss, reason = "at most 10,000 deliveries")]
        let share = delivered as f64 / all as f64 * 100.0;
        format!("{share:.1} % arrived")
    });
    FigureTile {
        label: "Delivered",
        value: tell_count(delivered),
        sign: None,
        note: share.unwrap_or_else(|| "nothing was due".to_owned()),
        address: "/admin/endpoints",
        spark: Some((series(figures, |slot| slot.delivered), "")),
    }
}

fn failed_tile(figures: &SpanFigures) -> FigureTile {
    let failed = figures.sum(|slot| slot.failed_attempts);
    let has_failed = failed > 0;
    FigureTile {
        label: "Failed attempts",
        value: tell_count(failed),
        sign: has_failed.then_some(StateSign::REFUSED),
        note: if has_failed { "tried again".to_owned() } else { "none".to_owned() },
        address: "/admin/endpoints",
        spark: Some((
            series(figures, |slot| slot.failed_attempts),
            if has_failed { "warn" } else { "" },
        )),
    }
}

fn dead_tile(data: &OverviewData, figures: &SpanFigures) -> FigureTile {
    let letters: u64 = data.causes.iter().map(|cause| cause.letters).sum();
    let recent = figures.sum(|slot| slot.dead);
    FigureTile {
        label: "Dead letters",
        value: tell_count(letters),
        sign: (letters > 0).then_some(StateSign::DEAD),
        note: format!("{} died in this span", tell_count(recent)),
        address: "/admin/dead-letters",
        spark: Some((series(figures, |slot| slot.dead), if letters > 0 { "bad" } else { "" })),
    }
}

fn waiting_tile(call: &PageCall, data: &OverviewData) -> FigureTile {
    let settings = call.settings();
    let oldest = settings.endpoints().filter_map(|target| {
        let at = data.report.of(target.endpoint.id).oldest_at?;
        Some((at, target.endpoint.settings.name.clone()))
    });
    let oldest = oldest.min();
    let (value, note) = match oldest {
        Some((at, name)) => (tell_span(call.now.since(at)), name),
        None => ("–".to_owned(), "nothing waits".to_owned()),
    };
    FigureTile {
        label: "Oldest waiting",
        value,
        sign: None,
        note,
        address: "/admin/endpoints",
        spark: None,
    }
}

fn speed_tile(figures: &SpanFigures) -> FigureTile {
    let tell = |percent| {
        let found = figures.percentile(percent);
        found.map_or_else(|| "–".to_owned(), |millis| tell_millis(f64::from(millis)))
    };
    FigureTile {
        label: "p95 to delivery",
        value: tell(95),
        sign: None,
        note: format!("p50 {}", tell(50)),
        address: "/admin/endpoints",
        spark: None,
    }
}

/// Draws a small line over the time span, stretched to the width of its tile.
fn draw_spark(values: &[u64], class: &str) -> Markup {
    let most = values.iter().copied().max().unwrap_or_default().max(1);
    let last = values.len().saturating_sub(1).max(1);
    #[expect(clippy::cast_precision_loss, reason = "pixels of a drawing")]
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(n, value)| {
            let (x, y) =
                (100.0 * n as f64 / last as f64, 34.0 - 30.0 * *value as f64 / most as f64);
            format!("{x:.1} {y:.1}")
        })
        .collect();
    let line = format!("M{}", points.join("L"));
    html! {
        svg class={ "spark " (class) } viewBox="0 0 100 36"
            preserveAspectRatio="none" aria-hidden="true" {
            path class="a" d={ (line) "L100 36L0 36Z" } {}
            path d=(line) {}
        }
    }
}
