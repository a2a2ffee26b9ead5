//! The cases, and the targets for their figures.

mod bytes;
mod claim;
mod figures;
mod records;
mod rest;
mod scan;
mod through;
mod webhooks;

use std::time::Duration;

use anyhow::Result;

use crate::access;
use crate::stage::{Backend, Stage};
use crate::table::{Measure, Target};
use through::Through;
use webhooks::{Signing, Webhooks};

pub(crate) use scan::Crm;

/// A delivery that is missing after this time without any other is lost.
const IDLE: Duration = Duration::from_secs(15);

/// One case of the benchmark.
#[derive(Debug)]
pub(crate) struct Case {
    /// Name for its selection.
    pub(crate) name: &'static str,
    /// Description in a line.
    pub(crate) about: &'static str,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Through(Through),
    Paced(Backend),
    Webhooks(Webhooks),
    Records(Backend),
    Bytes(Backend),
    Scan,
    MemoryAtRest,
    MemoryWaiting,
    Ready,
    Claim(Backend, usize),
    TokenCheck,
}

/// Returns all cases, in the order of the table.
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
        case(
            "bytes-sqlite",
            "100,000 events on the disk, before and after pruning",
            Work::Bytes(Backend::Sqlite),
        ),
        case("bytes-postgres", "the same on PostgreSQL", Work::Bytes(Backend::Postgres)),
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
    cases.extend(connections());
    cases
}

/// Returns the cases that connect to other systems: webhooks in, records out, a CRM's database.
fn connections() -> [Case; 6] {
    let case = |name, about, work| Case { name, about, work };
    let webhooks = |backend, signing, rate| Work::Webhooks(Webhooks { backend, signing, rate });
    let rate = Target::AtLeast(10_000.0);
    let about = "signed webhooks by PerfexAPI's scheme, 64 connections, no endpoint";
    [
        case("webhook-receiver", about, webhooks(Backend::Sqlite, Signing::PerfexApi, rate)),
        case(
            "webhook-receiver-standard",
            "the same by Standard Webhooks",
            webhooks(Backend::Sqlite, Signing::Standard, rate),
        ),
        case(
            "webhook-receiver-postgres",
            "as webhook-receiver, on PostgreSQL",
            webhooks(Backend::Postgres, Signing::PerfexApi, Target::None),
        ),
        case(
            "records-since-1m",
            "lists of 100 by `since` of a million records, 100/s on 8 connections",
            Work::Records(Backend::Sqlite),
        ),
        case(
            "records-since-1m-postgres",
            "the same on PostgreSQL",
            Work::Records(Backend::Postgres),
        ),
        case("scan-20x100k", "a CRM's database, 20 tables of 100,000 rows each", Work::Scan),
    ]
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

/// Runs one round of a case.
pub(crate) async fn run(case: &Case, stage: &Stage) -> Result<Vec<Measure>> {
    match &case.work {
        Work::Through(through) => through.run(case.name, stage).await,
        Work::Paced(backend) => through::paced(case.name, stage, *backend).await,
        Work::Webhooks(webhooks) => webhooks.run(case.name, stage).await,
        Work::Records(backend) => records::since(case.name, stage, *backend).await,
        Work::Bytes(backend) => bytes::bytes(case.name, stage, *backend).await,
        Work::Scan => scan::scan(case.name, stage).await,
        Work::MemoryAtRest => rest::memory_at_rest(case.name, stage).await,
        Work::MemoryWaiting => rest::memory_waiting(case.name, stage).await,
        Work::Ready => rest::ready(case.name, stage).await,
        Work::TokenCheck => Ok(access::token_check(case.name)),
        Work::Claim(backend, waiting) => claim::claim(case.name, stage, *backend, *waiting).await,
    }
}
