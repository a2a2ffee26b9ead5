//! Scans of a CRM's database: twenty tables of a hundred thousand rows each.
//!
//! The tables are filled once and serve all rounds. Each round has a new Waybill: it first stores a
//! baseline, then nothing has changed, then a thousand rows have.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::mysql::MySqlConnectOptions;
use waybill_tests::MariaDatabase;

use super::figures::float;
use crate::census;
use crate::stage::{Backend, Scene, Stage};
use crate::table::{Measure, Target};

const SCHEMA: &str = include_str!("../../../../tests/crm/schema.sql");
const FILL: &str = include_str!("../../sql/crm-fill.sql");
const CHANGE: &str = include_str!("../../sql/crm-change.sql");

/// Number of filled tables, in addition to lists and short lists.
const TABLES: u64 = 20;
/// Rows of a table that change between two scans.
const CHANGED: u64 = 50;
/// The source's name.
const SOURCE: &str = "crm";
/// Longest time of a scan.
const TIME_LIMIT: Duration = Duration::from_mins(10);
/// Interval at which the end of a scan is checked.
const PACE: Duration = Duration::from_millis(100);
/// Time after which a new source is run explicitly if it has not begun by itself.
const OWN_ACCORD: Duration = Duration::from_secs(3);

/// A CRM's database, filled.
#[derive(Debug)]
pub(crate) struct Crm {
    database: MariaDatabase,
    rows: u64,
    rounds: AtomicU64,
}

impl Crm {
    async fn fill(stage: &Stage) -> Result<Self> {
        let server = stage.mariadb.as_ref().context("MariaDB is not to be had")?;
        let rows: u64 = if stage.quick { 2_000 } else { 100_000 };
        let began = Instant::now();
        let database = MariaDatabase::create(server).await?;
        database.execute(SCHEMA).await?;
        for statement in FILL.replace("{rows}", &rows.to_string()).split_inclusive(";\n") {
            database.execute(statement).await?;
        }
        let took = began.elapsed().as_secs_f64();
        eprintln!("    {TABLES} tables of {rows} rows each, filled in {took:.1} s");
        Ok(Self { database, rows, rounds: AtomicU64::new(0) })
    }

    /// Changes fifty rows of each table.
    async fn change(&self) -> Result<()> {
        let round = self.rounds.fetch_add(1, Relaxed) + 1;
        let step = self.rows / CHANGED;
        let change = CHANGE.replace("{step}", &step.to_string());
        self.database.execute(&change.replace("{round}", &round.to_string())).await
    }

    /// Returns the number of statements that MariaDB has received, from all clients.
    async fn questions(&self) -> Result<u64> {
        const QUESTIONS: &str = "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) \
             FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'QUESTIONS'";
        let url = self.database.url();
        let mut connection = MySqlConnectOptions::from_str(&url)?.connect().await?;
        Ok(sqlx::query_scalar(QUESTIONS).fetch_one(&mut connection).await?)
    }
}

/// Runs one round: three scans by a new Waybill.
pub(super) async fn scan(case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
    let crm = stage.crm.get_or_try_init(|| Crm::fill(stage)).await?;
    let scene = stage.open(Backend::Sqlite).await?;
    let scans = Scans { scene: &scene, crm, mariadb: stage.mariadb_pid };

    let before = scans.before().await?;
    scans.create().await?;
    let first = scans.end(before).await?;

    let before = scans.before().await?;
    scans.run().await?;
    let same = scans.end(before).await?;

    crm.change().await?;
    let before = scans.before().await?;
    scans.run().await?;
    let changed = scans.end(before).await?;

    let all = Target::AtLeast(float(TABLES * crm.rows));
    let mut found = vec![Measure::new(case, "rows", "", float(first.rows)).against(all)];
    found.extend(first.figures(case, &FIRST));
    found.extend(same.figures(case, &SAME));
    found.extend(changed.figures(case, &CHANGES));
    let events = |what, scan: &Scan| Measure::new(case, what, "events", float(scan.events));
    found.push(events("from nothing", &same).against(Target::AtMost(0.0)));
    let least = Target::AtLeast(float(TABLES * CHANGED));
    found.push(events("from 1,000 changes", &changed).against(least));
    Ok(found)
}

/// The names in the table.
struct Names {
    took: &'static str,
    rate: &'static str,
    peak: &'static str,
    cpu: &'static str,
    queries: &'static str,
    database: &'static str,
}

const FIRST: Names = Names {
    took: "first scan",
    rate: "first scan, rate",
    peak: "first scan, peak memory",
    cpu: "first scan, CPU",
    queries: "first scan, queries",
    database: "first scan, CPU of MariaDB",
};

const SAME: Names = Names {
    took: "nothing changed",
    rate: "nothing changed, rate",
    peak: "nothing changed, peak memory",
    cpu: "nothing changed, CPU",
    queries: "nothing changed, queries",
    database: "nothing changed, CPU of MariaDB",
};

const CHANGES: Names = Names {
    took: "1,000 changes",
    rate: "1,000 changes, rate",
    peak: "1,000 changes, peak memory",
    cpu: "1,000 changes, CPU",
    queries: "1,000 changes, queries",
    database: "1,000 changes, CPU of MariaDB",
};

/// The scans of one Waybill.
struct Scans<'a> {
    scene: &'a Scene,
    crm: &'a Crm,
    /// MariaDB's process, if the benchmark started it.
    mariadb: Option<u32>,
}

/// The state before a scan.
struct Before {
    /// End of the previous scan.
    finished: Option<String>,
    questions: u64,
    cpu: u64,
    database: u64,
}

/// A completed scan.
#[derive(Debug)]
struct Scan {
    seconds: f64,
    rows: u64,
    events: u64,
    peak: f64,
    /// CPU time in microseconds.
    cpu: u64,
    queries: u64,
    /// CPU time of MariaDB in microseconds, if the benchmark started it.
    database: Option<u64>,
}

impl Scans<'_> {
    /// Creates the source. Runs it explicitly if it does not begin by itself.
    async fn create(&self) -> Result<()> {
        let database = &self.crm.database;
        let source = json!({
            "name": SOURCE, "kind": "database", "secret": database.password(),
            "database": {"url": database.reader_url(), "prefix": "tbl", "every": "1h"},
        });
        self.scene.post("/api/v1/sources", &source).await?;
        let created = Instant::now();
        while created.elapsed() < OWN_ACCORD {
            let run = self.look().await?;
            if text(&run, "started_at").is_some() || text(&run, "finished_at").is_some() {
                return Ok(());
            }
            tokio::time::sleep(PACE).await;
        }
        self.run().await
    }

    /// Runs the source now.
    async fn run(&self) -> Result<()> {
        self.scene.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await?;
        Ok(())
    }

    /// Returns the source's last or present run.
    async fn look(&self) -> Result<Value> {
        let source = self.scene.get(&format!("/api/v1/sources/{SOURCE}")).await?;
        Ok(source.get("run").cloned().unwrap_or(Value::Null))
    }

    async fn before(&self) -> Result<Before> {
        let pid = self.scene.server.pid();
        census::reset_peak(pid);
        let run = self.scene.client.get(&format!("/api/v1/sources/{SOURCE}")).await?.data();
        let finished = run.get("run").and_then(|run| text(run, "finished_at"));
        Ok(Before {
            finished,
            questions: self.crm.questions().await?,
            cpu: census::cpu_micros(pid),
            database: self.mariadb.map_or(0, census::cpu_micros),
        })
    }

    /// Waits for the end of a scan that has begun or is about to.
    async fn end(&self, before: Before) -> Result<Scan> {
        let began = Instant::now();
        while began.elapsed() < TIME_LIMIT {
            let run = self.look().await?;
            let finished =
                text(&run, "finished_at").filter(|at| Some(at) != before.finished.as_ref());
            let running = run.get("running").and_then(Value::as_bool);
            if let (Some(finished), Some(false)) = (finished, running) {
                return self.done(&before, &run, &finished).await;
            }
            tokio::time::sleep(PACE).await;
        }
        bail!("the scan was not done after {TIME_LIMIT:?}: {}", self.look().await?)
    }

    async fn done(&self, before: &Before, run: &Value, finished: &str) -> Result<Scan> {
        if let Some(error) = text(run, "error") {
            bail!("the scan failed: {error}");
        }
        let pid = self.scene.server.pid();
        let cpu = census::cpu_micros(pid) - before.cpu;
        let database = self.mariadb.map(|pid| census::cpu_micros(pid) - before.database);
        let started = text(run, "started_at").context("a run tells when it began")?;
        let took = finished
            .parse::<jiff::Timestamp>()?
            .duration_since(started.parse::<jiff::Timestamp>()?);
        let count = |key| run.get(key).and_then(Value::as_u64);
        Ok(Scan {
            seconds: took.as_secs_f64(),
            rows: count("rows").context("a run tells how many rows it read")?,
            events: count("events").context("a run tells how many events it made")?,
            peak: census::peak_mib(pid),
            cpu,
            queries: self.crm.questions().await? - before.questions,
            database,
        })
    }
}

impl Scan {
    fn figures(&self, case: &'static str, names: &Names) -> Vec<Measure> {
        let seconds = |micros: u64| float(micros) / 1e6;
        let a_second = |count: u64| float(count) / self.seconds;
        let mut found = vec![
            Measure::new(case, names.took, "s", self.seconds),
            Measure::new(case, names.rate, "rows/s", a_second(self.rows)),
            Measure::new(case, names.peak, "MiB", self.peak),
            Measure::new(case, names.cpu, "s", seconds(self.cpu)),
            Measure::new(case, names.queries, "queries/s", a_second(self.queries)),
        ];
        let database = self.database.map(seconds);
        found.extend(database.map(|cpu| Measure::new(case, names.database, "s", cpu)));
        found
    }
}

fn text(run: &Value, key: &str) -> Option<String> {
    run.get(key).and_then(Value::as_str).map(str::to_owned)
}
