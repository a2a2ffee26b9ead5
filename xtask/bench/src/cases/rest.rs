//! A server that is idle, or has much waiting work: its memory, and its start time.

use anyhow::Result;
use serde_json::json;

use super::IDLE;
use crate::census;
use crate::load::Load;
use crate::sink::Sink;
use crate::stage::{Backend, Scene, Stage};
use crate::table::{Measure, Target};

/// The five example modules.
const EXAMPLES: [&str; 5] =
    ["invoice-to-ledger", "lead-to-slack", "payment-to-budget", "proposal-to-task", "hot-leads"];

/// Measures memory with five loaded modules, after one event.
pub(super) async fn memory_at_rest(case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
    let mut scene = stage.open(Backend::Sqlite).await?;
    load_examples(stage, &scene).await?;
    // Compiling takes memory that a server with compiled modules never needs.
    scene.restart()?;
    let sink = Sink::start(1, 1).await?;
    scene.endpoints(&sink, 1, &["invoice.paid"]).await?;
    Load { kind: "invoice.paid", first: 0, end: 1, batch: 1, connections: 1, rate: None }
        .run(scene.server.address())
        .await?;
    sink.book.wait(1, IDLE).await;
    let resident = census::resident_mib(scene.server.pid());
    Ok(vec![Measure::new(case, "resident", "MiB", resident).against(Target::AtMost(60.0))])
}

/// Uploads the five example modules, each in its own flow.
async fn load_examples(stage: &Stage, scene: &Scene) -> Result<()> {
    for name in EXAMPLES {
        scene.module(name, stage.guest(name)?).await?;
        let endpoint = json!({"name": name, "url": "http://127.0.0.1:9/nobody", "events": []});
        scene.post("/api/v1/endpoints", &endpoint).await?;
        let flow = json!({
            "name": name, "events": ["nothing.happens"], "modules": [{"name": name}],
            "endpoints": [name],
        });
        scene.post("/api/v1/flows", &flow).await?;
    }
    Ok(())
}

/// Measures memory while deliveries wait in the table.
pub(super) async fn memory_waiting(case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
    let scene = stage.open(Backend::Sqlite).await?;
    wait_for_later(&scene, if stage.quick { 10_000 } else { 100_000 }).await?;
    let pid = scene.server.pid();
    let target = Target::AtMost(150.0);
    Ok(vec![
        Measure::new(case, "resident", "MiB", census::resident_mib(pid)).against(target),
        Measure::new(case, "peak", "MiB", census::peak_mib(pid)),
    ])
}

/// Captures events whose deliveries wait for an hour, because smart mode holds each record's.
pub(super) async fn wait_for_later(scene: &Scene, count: usize) -> Result<()> {
    let endpoint = json!({
        "name": "later", "url": "http://127.0.0.1:9/later", "events": ["invoice.updated"],
        "mode": "smart", "smart": {"window": "1h", "max_wait": "2h"},
    });
    scene.post("/api/v1/endpoints", &endpoint).await?;
    let load = Load {
        kind: "invoice.updated",
        first: 0,
        end: count,
        batch: 100,
        connections: 16,
        rate: None,
    };
    load.run(scene.server.address()).await?;
    Ok(())
}

/// Measures the time from the start of the process to its readiness, with modules and data.
pub(super) async fn ready(case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
    let mut scene = stage.open(Backend::Sqlite).await?;
    load_examples(stage, &scene).await?;
    wait_for_later(&scene, 1_000).await?;
    scene.restart()?;
    let took = scene.server.ready_after().as_secs_f64() * 1e3;
    Ok(vec![Measure::new(case, "ready", "ms", took).against(Target::AtMost(200.0))])
}
