//! Deliveries that have to be claimed from the table, among many waiting ones.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::IDLE;
use super::figures::{float, percentile};
use super::rest::wait_for_later;
use crate::load::Load;
use crate::sink::Sink;
use crate::stage::{Backend, Stage};
use crate::table::Measure;

/// Measures the delay of a delivery that has to be claimed from the table: smart mode makes it due
/// after a window, and the time beyond the window is for the claim and the sending.
pub(super) async fn claim(
    case: &'static str,
    stage: &Stage,
    backend: Backend,
    waiting: usize,
) -> Result<Vec<Measure>> {
    const WINDOW: Duration = Duration::from_millis(200);
    let waiting = if stage.quick { waiting.min(20_000) } else { waiting };
    let events = if stage.quick { 20 } else { 100 };
    let scene = stage.open(backend).await?;
    let filled = Instant::now();
    wait_for_later(&scene, waiting).await?;
    eprintln!("    {waiting} deliveries wait, made in {:.1} s", filled.elapsed().as_secs_f64());
    let sink = Sink::start(events, 1).await?;
    let endpoint = json!({
        "name": "soon", "url": sink.url(0), "events": ["invoice.paid"], "mode": "smart",
        "smart": {"window": "200ms", "max_wait": "10s"},
    });
    scene.post("/api/v1/endpoints", &endpoint).await?;
    let rate = Some(10.0);
    Load { kind: "invoice.paid", first: 0, end: events, batch: 1, connections: 4, rate }
        .run(scene.server.address())
        .await?;
    sink.book.wait(events as u64, IDLE).await;
    let mut late = sink.book.latencies(0);
    if late.len() < events {
        bail!("{} of {events} deliveries came", late.len());
    }
    let window = WINDOW.as_secs_f64() * 1e3;
    Ok(vec![
        Measure::new(case, "waiting", "deliveries", float(waiting as u64)),
        Measure::new(case, "late p50", "ms", percentile(&mut late, 0.5) - window),
        Measure::new(case, "late p99", "ms", percentile(&mut late, 0.99) - window),
    ])
}
