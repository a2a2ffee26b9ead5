//! Each kind of endpoint in one table: delivered, receiver down, refusing, slow, restarted in
//! mid-stream, at full speed, and Waybill killed in between, against a real server of each kind.
//!
//! `cargo xtask kinds` runs these tests with many deliveries and prints the table. In the suite they
//! run with few.

mod gate;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;

use crate::support::{announce, invoice, merged};
use targets::{Arrived, Target, TargetKind};

/// Names the number of deliveries at full speed, and a file for the rows of the table.
const DELIVERIES: &str = "WAYBILL_KINDS_DELIVERIES";
const TABLE: &str = "WAYBILL_KINDS_TABLE";

/// Events of one request.
const PAGE: u32 = 200;
/// Longest wait for a delivery to be found at its target once nothing is waiting.
const ARRIVED: Duration = Duration::from_mins(1);
/// Longest wait for the deliveries of one step.
const LIMIT: Duration = Duration::from_mins(10);

/// A kind under test: its target, the program, and what the target has got.
struct Bout {
    kind: TargetKind,
    target: Target,
    world: World,
    /// The number of the next event.
    next: u32,
    got: Vec<Arrived>,
    row: BTreeMap<&'static str, String>,
}

impl Bout {
    async fn start(kind: TargetKind) -> Option<Self> {
        let target = Target::start(kind).await?;
        let set = |settings: &mut waybill_tests::Settings| target.permit(settings);
        let world = World::start_with(Sqlite, set).await?;
        Some(Self { kind, target, world, next: 0, got: Vec::new(), row: BTreeMap::new() })
    }

    fn endpoint(name: &str, own: &Value) -> Value {
        let schedule = [vec!["200ms"; 10], vec!["2s"; 40]].concat();
        let common = json!({
            "name": name, "events": ["invoice.*"], "timeout": "10s", "max_in_flight": 100,
            "retry": {"schedule": schedule, "jitter": 0.0},
        });
        merged(common, own)
    }

    async fn capture(&mut self, count: u32) {
        let end = self.next + count;
        while self.next < end {
            let page = self.next..end.min(self.next + PAGE);
            self.next = page.end;
            let events: Vec<Value> = page.map(invoice).collect();
            self.world.post("/api/v1/events", &json!(events)).await;
        }
    }

    /// Waits until nothing is waiting.
    async fn settle(&self) {
        let deadline = Instant::now() + LIMIT;
        // A delivery whose attempt fails is pending again.
        for status in ["pending", "leased", "pending"] {
            let path = format!("/api/v1/deliveries?limit=1&status={status}");
            while self.world.get(&path).await != json!([]) {
                assert!(Instant::now() < deadline, "deliveries of {:?} stay {status}", self.kind);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Waits until an attempt at a waiting delivery has failed.
    async fn failing(&self) {
        let path = "/api/v1/deliveries?limit=200&status=pending";
        let failed = |found: &Value| {
            let found = found.as_array().unwrap();
            found.iter().any(|one| one["attempt_count"].as_u64().is_some_and(|count| count > 0))
        };
        self.world.eventually(path, failed).await;
    }

    /// Waits until the step's events are delivered, and books how many of them the target lacks
    /// (must be 0) and has more than once.
    async fn book(&mut self, step: &'static str, numbers: Range<u32>) {
        let deadline = Instant::now() + ARRIVED;
        loop {
            self.settle().await;
            self.target.read(&mut self.got, self.next).await;
            let found: BTreeSet<u32> = self.got.iter().map(|arrived| arrived.number).collect();
            let lost: Vec<u32> = numbers.clone().filter(|number| !found.contains(number)).collect();
            if lost.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{:?}, {step}: lost {lost:?}", self.kind);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut counts = BTreeMap::<u32, Vec<&str>>::new();
        for arrived in &self.got {
            counts.entry(arrived.number).or_default().push(&arrived.id);
        }
        let repeats: usize = counts.range(numbers).map(|(_, ids)| ids.len() - 1).sum();
        let all_known = counts.values().all(|ids| ids.iter().all(|id| *id == ids[0]));
        assert!(all_known, "{:?}, {step}: a repeat has another id", self.kind);
        let repeats = if repeats == 0 { String::new() } else { format!(", {repeats} twice") };
        self.row.insert(step, format!("lost 0{repeats}"));
    }

    async fn deliver(&mut self, step: &'static str, count: u32) {
        let from = self.next;
        self.capture(count).await;
        self.book(step, from..self.next).await;
    }

    async fn stay_down(&mut self, count: u32) {
        let from = self.next;
        if self.target.close().await {
            self.capture(count).await;
            self.failing().await;
            self.target.open();
            self.book("down", from..self.next).await;
        }
    }

    async fn be_slow(&mut self, count: u32) {
        let from = self.next;
        if self.target.delay(Duration::from_millis(300)) {
            self.capture(count).await;
            self.settle().await;
            self.target.delay(Duration::ZERO);
            self.book("slow", from..self.next).await;
        }
    }

    /// Delivers to a second endpoint that the target refuses. Its deliveries must not count as
    /// delivered.
    async fn refuse(&mut self) {
        let Some(own) = self.target.refusing() else { return };
        let quick = json!({"events": ["refused.*"], "retry": {"schedule": ["50ms", "50ms"], "jitter": 0.0}});
        self.world.endpoint(&merged(Self::endpoint("refused", &own), &quick)).await;
        let event = merged(invoice(0), &json!({"type": "refused.one"}));
        self.world.post("/api/v1/events", &json!([event])).await;
        let path = "/api/v1/deliveries?limit=1&endpoint=refused";
        let ended = self.world.eventually(path, |found| found[0]["status"] == "dead").await;
        let tries = ended[0]["attempt_count"].as_u64().unwrap();
        let outcome = if tries == 1 { "final" } else { "tried again" };
        self.row.insert("refuses", outcome.to_owned());
    }

    async fn restart_target(&mut self, count: u32) {
        let from = self.next;
        for _ in 0..2 {
            self.capture(count).await;
            if !self.target.restart().await {
                return;
            }
        }
        self.book("restarted", from..self.next).await;
    }

    async fn kill(&mut self, count: u32) {
        let from = self.next;
        for _ in 0..3 {
            self.capture(count).await;
            self.world.kill9();
            self.world.restart();
        }
        self.book("killed", from..self.next).await;
    }

    async fn full_speed(&mut self, count: u32) {
        let from = self.next;
        let (began, used) = (Instant::now(), self.processor_time());
        self.capture(count).await;
        self.settle().await;
        let (took, used) = (began.elapsed(), self.processor_time().saturating_sub(used));
        self.book("full speed", from..self.next).await;
        let events = f64::from(count);
        let speed = format!("{:.0}", events / took.as_secs_f64());
        self.row.insert("events/s", speed);
        self.row.insert("µs", format!("{:.0}", used.as_secs_f64() * 1e6 / events));
    }

    /// Returns the processor time of the program so far (proc(5), in hundredths of a second).
    fn processor_time(&self) -> Duration {
        let pid = self.world.server().pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let ticks = fields.split_ascii_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn print(mut self) {
        self.row.insert("kind", self.kind.name().to_owned());
        let line = serde_json::to_string(&self.row).unwrap();
        announce(&line);
        if let Some(table) = std::env::var_os(TABLE) {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(table);
            writeln!(file.unwrap(), "{line}").unwrap();
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_loses_nothing(
    #[values(
        TargetKind::Webhook,
        TargetKind::Slack,
        TargetKind::Teams,
        TargetKind::Email,
        TargetKind::Amqp,
        TargetKind::Nats,
        TargetKind::Kafka,
        TargetKind::Mqtt,
        TargetKind::Postgres,
        TargetKind::MariaDb,
        TargetKind::File,
        TargetKind::S3
    )]
    kind: TargetKind,
) {
    let many: Option<u32> = std::env::var(DELIVERIES).ok().map(|count| count.parse().unwrap());
    let few = if many.is_some() { 200 } else { 20 };
    let Some(mut bout) = Bout::start(kind).await else { return };
    bout.refuse().await;
    let own = bout.target.endpoint();
    bout.world.endpoint(&Bout::endpoint("target", &own)).await;
    bout.deliver("delivered", few).await;
    bout.stay_down(few).await;
    bout.be_slow(few).await;
    bout.restart_target(few).await;
    bout.kill(few).await;
    bout.full_speed(many.unwrap_or(100)).await;
    bout.print();
}
