//! The disk space of 100,000 events, and the rest of it after pruning.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::IDLE;
use super::figures::float;
use crate::load::Load;
use crate::sink::Sink;
use crate::stage::{Backend, Scene, Stage};
use crate::store;
use crate::table::{Measure, Target};

/// Number of events to which bytes refer.
const EVENTS: usize = 100_000;
/// Longest time for pruning.
const LIMIT: Duration = Duration::from_mins(10);
/// Kinds of data that are pruned at once.
const KINDS: [&str; 6] =
    ["payloads", "plans", "attempts", "deliveries", "events", "deleted_records"];

/// Captures and delivers events, and measures the database. Then prunes all of them, and measures
/// again.
pub(super) async fn bytes(
    case: &'static str,
    stage: &Stage,
    backend: Backend,
) -> Result<Vec<Measure>> {
    let events = if stage.quick { EVENTS / 20 } else { EVENTS };
    let mut scene = stage.open(backend).await?;
    let empty = size(&mut scene, backend).await?;
    let sink = Sink::start(events, 1).await?;
    scene.endpoints(&sink, 1, &["invoice.paid"]).await?;
    let load = Load {
        kind: "invoice.paid",
        first: 0,
        end: events,
        batch: 100,
        connections: 16,
        rate: None,
    };
    load.run(scene.server.address()).await?;
    sink.book.wait(events as u64, IDLE).await;
    let full = size(&mut scene, backend).await?;
    for kind in KINDS {
        scene.set(&format!("retention.{kind}"), "1s");
    }
    scene.set("retention.records", "1s");
    scene.restart()?;
    let began = Instant::now();
    until_pruned(&scene).await?;
    let took = began.elapsed().as_secs_f64();
    let pruned = size(&mut scene, backend).await?;
    let bytes = |size: u64| {
        let used = float(size.saturating_sub(empty));
        used / float(events as u64) * float(EVENTS as u64)
    };
    // PostgreSQL keeps the space for new data, and SQLite a few megabytes, which matters with few
    // events.
    let target = match backend {
        Backend::Sqlite if !stage.quick => Target::AtMost(bytes(full) / 4.0),
        Backend::Sqlite | Backend::Postgres => Target::None,
    };
    let unit = "bytes/100,000 events";
    Ok(vec![
        Measure::new(case, "before pruning", unit, bytes(full)),
        Measure::new(case, "after pruning", unit, bytes(pruned)).against(target),
        Measure::new(case, "pruned in", "s", took),
    ])
}

/// Waits until no event is left and the database no longer returns pages.
async fn until_pruned(scene: &Scene) -> Result<()> {
    let began = Instant::now();
    let is_sqlite = scene.database().starts_with("sqlite:");
    loop {
        let left = scene.get("/api/v1/events?limit=1").await?;
        let is_empty = left.as_array().is_some_and(Vec::is_empty);
        if is_empty && (!is_sqlite || scene.server.output().contains("gave back pages")) {
            return Ok(());
        }
        if began.elapsed() > LIMIT {
            bail!("events are still there after {LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the size of the database with its log copied. The server is stopped for it and started
/// again.
async fn size(scene: &mut Scene, backend: Backend) -> Result<u64> {
    scene.stop()?;
    let size = match backend {
        Backend::Sqlite => {
            let path = scene.database().trim_start_matches("sqlite:").to_owned();
            std::fs::metadata(Path::new(&path)).with_context(|| path.clone())?.len()
        }
        Backend::Postgres => {
            // Autovacuum does this by itself after a while.
            store::execute(scene.database(), &["VACUUM".to_owned()]).await?;
            store::size(scene.database()).await?
        }
    };
    scene.start()?;
    Ok(size)
}
