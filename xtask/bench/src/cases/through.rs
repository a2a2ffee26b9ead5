//! Events through the server to receivers: as many as possible, or a hundred a second.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::IDLE;
use super::figures::{faults, float, latencies};
use crate::census;
use crate::load::{Load, Sent};
use crate::sink::Sink;
use crate::stage::{Backend, Scene, Stage};
use crate::table::{Measure, Target};

/// As many events as the server accepts, each delivered to every endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Through {
    /// The database.
    pub(super) backend: Backend,
    /// Number of connections that post.
    pub(super) connections: usize,
    /// Number of endpoints for each event.
    pub(super) endpoints: usize,
    /// Events in a request.
    pub(super) batch: usize,
    /// Whether the events pass a module.
    pub(super) module: bool,
    /// Whether calls are audited, as by default.
    pub(super) audit: bool,
    /// Target for delivered events a second, or for accepted ones in batches.
    pub(super) rate: Target,
    /// Target for CPU microseconds per event, including PostgreSQL's.
    pub(super) cpu: Target,
}

impl Through {
    /// Returns the case with one endpoint and defaults.
    pub(super) const fn on(backend: Backend, connections: usize) -> Self {
        let (rate, cpu) = (Target::None, Target::None);
        Self { backend, connections, endpoints: 1, batch: 1, module: false, audit: true, rate, cpu }
    }

    /// Runs one round.
    pub(super) async fn run(&self, case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
        let warm = 2_000;
        let events = warm + if stage.quick { 5_000 } else { 60_000 };
        let retention = if self.audit { "90d" } else { "0s" };
        let scene = stage.open_with(self.backend, &[("audit.retention", retention)]).await?;
        let sink = Sink::start(events, self.endpoints).await?;
        let kind = self.plumb(stage, &scene, &sink).await?;
        let load = |first, end| Load {
            kind,
            first,
            end,
            batch: self.batch,
            connections: self.connections,
            rate: None,
        };
        let owed = |events: usize| (events * self.endpoints) as u64;
        load(0, warm).run(scene.server.address()).await?;
        sink.book.wait(owed(warm), IDLE).await;
        let cpu = scene.cpu_micros();
        let sent = load(warm, events).run(scene.server.address()).await?;
        sink.book.wait(owed(events), IDLE).await;
        let cpu = scene.cpu_micros() - cpu;
        let mut found = self.rates(case, events - warm, &sent, &sink, cpu);
        found.extend(latencies(case, &sent, &sink, warm));
        found.extend(faults(case, &sink, owed(events)));
        found.push(Measure::new(case, "peak memory", "MiB", census::peak_mib(scene.server.pid())));
        Ok(found)
    }

    /// Creates the endpoints, with the module before them if there is one. Returns the events'
    /// type.
    async fn plumb(&self, stage: &Stage, scene: &Scene, sink: &Sink) -> Result<&'static str> {
        const PLAIN: &str = "invoice.paid";
        const MAPPED: &str = "invoice.created";
        if !self.module {
            scene.endpoints(sink, self.endpoints, &[PLAIN]).await?;
            return Ok(PLAIN);
        }
        let name = "invoice-to-ledger";
        scene.module(name, stage.guest(name)?).await?;
        let endpoints = scene.endpoints(sink, self.endpoints, &[]).await?;
        let flow = json!({
            "name": "bench", "events": [MAPPED], "modules": [{"name": name}], "endpoints": endpoints,
        });
        scene.post("/api/v1/flows", &flow).await?;
        Ok(MAPPED)
    }

    fn rates(
        &self,
        case: &'static str,
        events: usize,
        sent: &Sent,
        sink: &Sink,
        cpu: u64,
    ) -> Vec<Measure> {
        let events = float(events as u64);
        let took = Duration::from_micros(sink.book.last_arrival().saturating_sub(sent.began));
        let accepted = events / sent.took.as_secs_f64();
        let through = events / took.as_secs_f64();
        let (accepted_target, through_target) =
            if self.batch > 1 { (self.rate, Target::None) } else { (Target::None, self.rate) };
        vec![
            Measure::new(case, "through", "events/s", through).against(through_target),
            Measure::new(case, "accepted", "events/s", accepted).against(accepted_target),
            Measure::new(case, "CPU", "µs/event", float(cpu) / events).against(self.cpu),
        ]
    }
}

/// Measures a hundred events a second, which any machine can handle: the cost of a single event.
pub(super) async fn paced(
    case: &'static str,
    stage: &Stage,
    backend: Backend,
) -> Result<Vec<Measure>> {
    let warm = 100;
    let events = warm + if stage.quick { 200 } else { 2_000 };
    let scene = stage.open(backend).await?;
    let sink = Sink::start(events, 1).await?;
    scene.endpoints(&sink, 1, &["invoice.paid"]).await?;
    let load = |first, end| {
        let rate = Some(100.0);
        Load { kind: "invoice.paid", first, end, batch: 1, connections: 4, rate }
    };
    load(0, warm).run(scene.server.address()).await?;
    sink.book.wait(warm as u64, IDLE).await;
    let sent = load(warm, events).run(scene.server.address()).await?;
    sink.book.wait(events as u64, IDLE).await;
    let mut found = latencies(case, &sent, &sink, warm);
    for (measure, most) in found.iter_mut().skip(2).zip([0.9, 3.0]) {
        *measure = measure.clone().against(Target::AtMost(most));
    }
    found.extend(faults(case, &sink, events as u64));
    Ok(found)
}
