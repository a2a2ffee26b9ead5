//! Lists of records by `since`, as automation platforms poll them, among a million records.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use serde_json::Value;
use waybill_tests::server::ADMIN_TOKEN;

use super::figures::{float, percentile};
use crate::load::{Calls, Sent};
use crate::sink::now_micros;
use crate::stage::{Backend, Scene, Stage};
use crate::store;
use crate::table::{Measure, Target};

const FILL: &str = include_str!("../../sql/records.sql");
/// Records on a page.
const PAGE: u64 = 100;
/// Seconds by which lists go back before `since`.
const OVERLAP: u64 = 10;
/// Largest time of a list in milliseconds, without the slowest of a hundred.
const MOST: f64 = 10.0;
/// Number of lists requested in a second.
const RATE: f64 = 100.0;

/// One query that is repeated.
struct Poll {
    /// The names of its figures.
    names: [&'static str; 2],
    /// The requested path.
    path: String,
    /// Number of requests.
    requests: usize,
    target: Target,
}

/// Requests the newest hundred records, the newest half, and a page far into that: a hundred times
/// a second, which leaves capacity for other things. Then requests the newest as fast as answers
/// come.
pub(super) async fn since(
    case: &'static str,
    stage: &Stage,
    backend: Backend,
) -> Result<Vec<Measure>> {
    let (rows, requests) = if stage.quick { (20_000, 200) } else { (1_000_000, 2_000) };
    let mut scene = stage.open(backend).await?;
    let last = now_micros() / 1_000_000;
    fill(&mut scene, backend, rows, last).await?;
    let newest = last + 1 - PAGE;
    check(&scene, newest).await?;
    let path = |since: u64, page: u32| {
        format!("/api/v1/invoices?since={}&per_page={PAGE}&page={page}", since + OVERLAP)
    };
    let poll = |names, path, requests, target| Poll { names, path, requests, target };
    let (most, middle) = (Target::AtMost(MOST), last - rows / 2);
    let polls = [
        poll(["newest p50", "newest p99"], path(newest, 1), requests, most),
        poll(["middle p50", "middle p99"], path(middle, 1), requests, most),
        poll(["page 50 p50", "page 50 p99"], path(middle, 50), requests / 2, Target::None),
    ];
    let mut found = vec![Measure::new(case, "records", "", float(rows))];
    for poll in &polls {
        found.extend(poll.figures(case, &scene).await?);
    }
    let sent = ask(&scene, &path(newest, 1), requests * 2, None).await?;
    let rate = float(sent.acknowledged.len() as u64) / sent.took.as_secs_f64();
    found.push(Measure::new(case, "newest, flat out", "requests/s", rate));
    Ok(found)
}

/// Returns an expression for an id that begins with the time and ends with the number.
const fn id(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "unhex(printf('%012x70008000%012x', ({last} - {rows} + n) * 1000, n))",
        Backend::Postgres => {
            "CAST(lpad(to_hex(({last} - {rows} + n) * 1000), 12, '0') || '70008000' \
             || lpad(to_hex(n), 12, '0') AS UUID)"
        }
    }
}

/// Writes the records while the server is stopped.
async fn fill(scene: &mut Scene, backend: Backend, rows: u64, last: u64) -> Result<()> {
    let began = Instant::now();
    scene.stop()?;
    let fill = FILL
        .replace("{id}", id(backend))
        .replace("{filler}", &"Lorem ipsum dolor sit amet consectetur ".repeat(16))
        .replace("{rows}", &rows.to_string())
        .replace("{last}", &last.to_string());
    let statements = fill.split_inclusive(";\n").map(str::to_owned);
    let (before, after): (&[&str], &[&str]) = match backend {
        // Nothing else has the database open, and durability is not measured here.
        Backend::Sqlite => (&["PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF"], &[]),
        // PostgreSQL does this by itself after a while.
        Backend::Postgres => (&[], &["VACUUM ANALYZE event", "VACUUM ANALYZE record"]),
    };
    let owned = |statements: &[&str]| statements.iter().map(|s| (*s).to_owned()).collect();
    let (before, after): (Vec<String>, Vec<String>) = (owned(before), owned(after));
    let all: Vec<String> = before.into_iter().chain(statements).chain(after).collect();
    store::execute(scene.database(), &all).await?;
    scene.start()?;
    eprintln!("    {rows} records, made in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Checks that the newest page is as expected.
async fn check(scene: &Scene, newest: u64) -> Result<()> {
    let path = format!("/api/v1/invoices?since={}&per_page={PAGE}", newest + OVERLAP);
    let answer = scene.client.get(&path).await?;
    let meta = |key| answer.json().pointer(key).and_then(Value::as_u64);
    let found = (meta("/meta/count"), meta("/meta/total"));
    if found != (Some(PAGE), Some(PAGE)) {
        bail!("{path}: {}: not {PAGE} records: {}", answer.status, answer.text());
    }
    Ok(())
}

impl Poll {
    async fn figures(&self, case: &'static str, scene: &Scene) -> Result<[Measure; 2]> {
        let cpu = scene.cpu_micros();
        let sent = ask(scene, &self.path, self.requests, Some(RATE)).await?;
        let cpu = float(scene.cpu_micros() - cpu) / float(self.requests as u64);
        eprintln!("    {}: {cpu:.0} µs of CPU a request", self.path);
        let ([p50, p99], mut took) = (self.names, sent.acknowledged);
        Ok([
            Measure::new(case, p50, "ms", percentile(&mut took, 0.5)),
            Measure::new(case, p99, "ms", percentile(&mut took, 0.99)).against(self.target),
        ])
    }
}

/// Sends requests from eight connections.
async fn ask(scene: &Scene, path: &str, requests: usize, rate: Option<f64>) -> Result<Sent> {
    let path = path.to_owned();
    let make = move |_, _| {
        let request = Request::get(&path).header(AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"));
        Ok(request.body(Full::new(Bytes::new()))?)
    };
    let calls = Calls { first: 0, end: requests, step: 1, connections: 8, rate };
    calls.run(scene.server.address(), StatusCode::OK, Arc::new(make)).await
}
