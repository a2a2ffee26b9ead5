//! The cases, and the targets that their figures are held to.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::access;
use crate::census;
use crate::load::{Load, Sent};
use crate::sink::Sink;
use crate::stage::{Backend, Scene, Stage};
use crate::table::{Measure, Target};

/// A delivery that is still missing after so long without another is lost.
const IDLE: Duration = Duration::from_secs(15);

/// The five example modules.
const EXAMPLES: [&str; 5] =
    ["invoice-to-ledger", "lead-to-slack", "payment-to-budget", "proposal-to-task", "hot-leads"];

/// One thing to measure.
#[derive(Debug)]
pub(crate) struct Case {
    /// How it is chosen.
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) about: &'static str,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Through(Through),
    Paced(Backend),
    MemoryAtRest,
    MemoryWaiting,
    Ready,
    Claim(Backend, usize),
    TokenCheck,
}

/// As many events as the server takes, each delivered to every endpoint.
#[derive(Debug, Clone, Copy)]
struct Through {
    backend: Backend,
    connections: usize,
    endpoints: usize,
    batch: usize,
    module: bool,
    /// Whether calls are kept on record, as they are where nothing else is said.
    audit: bool,
    /// Events through each second, or accepted where they come in batches.
    rate: Target,
    /// CPU-microseconds for each event, PostgreSQL's included.
    cpu: Target,
}

impl Through {
    const fn on(backend: Backend, connections: usize) -> Self {
        let (rate, cpu) = (Target::None, Target::None);
        Self { backend, connections, endpoints: 1, batch: 1, module: false, audit: true, rate, cpu }
    }
}

/// All cases, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = throughput(Backend::Sqlite);
    cases.extend(throughput(Backend::Postgres));
    let case = |name, about, work| Case { name, about, work };
    cases.extend([
        case("sqlite-paced", "100 events/s on SQLite", Work::Paced(Backend::Sqlite)),
        case("postgres-paced", "100 events/s on PostgreSQL", Work::Paced(Backend::Postgres)),
        case(
            "sqlite-64-no-audit",
            "as sqlite-64, with no calls on record",
            Work::Through(Through { audit: false, ..Through::on(Backend::Sqlite, 64) }),
        ),
        case("token-check", "who a call is from and whether it may", Work::TokenCheck),
        case("memory-rest", "five modules loaded, nothing to do", Work::MemoryAtRest),
        case("memory-waiting", "100,000 deliveries wait", Work::MemoryWaiting),
        case("ready", "from the start of the process, on a database with data", Work::Ready),
    ]);
    for (few, many, backend) in [
        ("claim-sqlite-1k", "claim-sqlite-1m", Backend::Sqlite),
        ("claim-postgres-1k", "claim-postgres-1m", Backend::Postgres),
    ] {
        let about = "a delivery that falls due while so many others wait";
        cases.push(case(few, about, Work::Claim(backend, 1_000)));
        cases.push(case(many, about, Work::Claim(backend, 1_000_000)));
    }
    cases
}

fn throughput(backend: Backend) -> Vec<Case> {
    let sqlite = backend == Backend::Sqlite;
    let name = |sqlite_name, postgres_name| if sqlite { sqlite_name } else { postgres_name };
    let (cpu, module_cpu) =
        if sqlite { (60.0, Target::AtMost(85.0)) } else { (110.0, Target::None) };
    let held = |connections, sqlite_rate: f64| Through {
        rate: Target::AtLeast(if sqlite { sqlite_rate } else { 12_000.0 }),
        cpu: Target::AtMost(cpu),
        ..Through::on(backend, connections)
    };
    let module = |connections| Through {
        module: true,
        cpu: module_cpu,
        ..Through::on(backend, connections)
    };
    let batch = Through {
        batch: 100,
        rate: if sqlite { Target::AtLeast(40_000.0) } else { Target::None },
        ..Through::on(backend, 16)
    };
    let five = Through { endpoints: 5, ..Through::on(backend, 64) };
    let case = |name, about, work| Case { name, about, work: Work::Through(work) };
    vec![
        case(name("sqlite-64", "postgres-64"), "fan-out 1, 64 connections", held(64, 15_000.0)),
        case(name("sqlite-256", "postgres-256"), "fan-out 1, 256 connections", held(256, 20_000.0)),
        case(name("sqlite-fanout5", "postgres-fanout5"), "fan-out 5, 64 connections", five),
        case(
            name("sqlite-module-64", "postgres-module-64"),
            "one Rust module, 64 connections",
            module(64),
        ),
        case(
            name("sqlite-module-256", "postgres-module-256"),
            "one Rust module, 256 connections",
            module(256),
        ),
        case(name("sqlite-batch", "postgres-batch"), "batches of 100, 16 connections", batch),
    ]
}

/// One round of a case.
pub(crate) async fn run(case: &Case, stage: &Stage) -> Result<Vec<Measure>> {
    match &case.work {
        Work::Through(through) => through.run(case.name, stage).await,
        Work::Paced(backend) => paced(case.name, stage, *backend).await,
        Work::MemoryAtRest => memory_at_rest(case.name, stage).await,
        Work::MemoryWaiting => memory_waiting(case.name, stage).await,
        Work::Ready => ready(case.name, stage).await,
        Work::TokenCheck => Ok(access::token_check(case.name)),
        Work::Claim(backend, waiting) => claim(case.name, stage, *backend, *waiting).await,
    }
}

impl Through {
    async fn run(&self, case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
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

    /// Makes the endpoints, with the module before them where there is one: the events' type.
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

async fn paced(case: &'static str, stage: &Stage, backend: Backend) -> Result<Vec<Measure>> {
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

/// Acknowledgement and delivery: post to 202, and post to the arrival of the whole delivery.
fn latencies(case: &'static str, sent: &Sent, sink: &Sink, first: usize) -> Vec<Measure> {
    let mut acknowledged = sent.acknowledged.clone();
    let mut delivered = sink.book.latencies(first);
    vec![
        Measure::new(case, "acknowledged p50", "ms", percentile(&mut acknowledged, 0.5)),
        Measure::new(case, "acknowledged p99", "ms", percentile(&mut acknowledged, 0.99)),
        Measure::new(case, "delivered p50", "ms", percentile(&mut delivered, 0.5)),
        Measure::new(case, "delivered p99", "ms", percentile(&mut delivered, 0.99)),
    ]
}

/// What must be none, and duplicates, which at-least-once allows after a crash only.
fn faults(case: &'static str, sink: &Sink, owed: u64) -> Vec<Measure> {
    let book = &sink.book;
    let missing = owed.saturating_sub(book.unique());
    let none = |what, count| {
        Measure::new(case, what, "deliveries", float(count)).against(Target::AtMost(0.0))
    };
    vec![
        none("missing", missing),
        none("duplicates", book.duplicates()),
        none("bad signatures", book.bad()),
        Measure::new(case, "signatures verified", "deliveries", float(book.verified())),
    ]
}

async fn memory_at_rest(case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
    let mut scene = stage.open(Backend::Sqlite).await?;
    load_examples(stage, &scene).await?;
    // Compiling takes memory that a server which has its modules never needed.
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

/// Uploads the five example modules, each in a flow of its own.
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

async fn memory_waiting(case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
    let scene = stage.open(Backend::Sqlite).await?;
    wait_for_later(&scene, if stage.quick { 10_000 } else { 100_000 }).await?;
    let pid = scene.server.pid();
    let target = Target::AtMost(150.0);
    Ok(vec![
        Measure::new(case, "resident", "MiB", census::resident_mib(pid)).against(target),
        Measure::new(case, "peak", "MiB", census::peak_mib(pid)),
    ])
}

/// Captures events whose deliveries wait for an hour: the smart mode holds each record's.
async fn wait_for_later(scene: &Scene, count: usize) -> Result<()> {
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

async fn ready(case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
    let mut scene = stage.open(Backend::Sqlite).await?;
    load_examples(stage, &scene).await?;
    wait_for_later(&scene, 1_000).await?;
    scene.restart()?;
    let took = scene.server.ready_after().as_secs_f64() * 1e3;
    Ok(vec![Measure::new(case, "ready", "ms", took).against(Target::AtMost(200.0))])
}

/// How late a delivery leaves that has to be claimed from the table: the smart mode makes it due
/// after a window, and what comes on top of the window is the claim and the sending.
async fn claim(
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

/// Nearest rank: the smallest value with at least this share of all values at or below it. Takes
/// microseconds, gives milliseconds; 0 where there are none.
fn percentile(micros: &mut [u32], share: f64) -> f64 {
    micros.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank between 0 and a number of events far below 2^52"
    )]
    let rank = (share * micros.len() as f64).ceil() as usize;
    let value = micros.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    f64::from(value) / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut values: Vec<u32> = (1..=100).rev().map(|v| v * 1000).collect();
        let of = |values: &mut Vec<u32>, share| percentile(values, share);
        assert!((of(&mut values, 0.5) - 50.0).abs() < 1e-9);
        assert!((of(&mut values, 0.99) - 99.0).abs() < 1e-9);
        assert!(percentile(&mut [], 0.5).abs() < 1e-9);
    }
}
