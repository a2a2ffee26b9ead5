//! The database is away for a while, or its disk is full: captures are refused with 503 and
//! `Retry-After`, acknowledged events are not lost, and everything recovers by itself.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use waybill_tests::world::{LIMIT, skip};
use waybill_tests::{Answer, Backend, Cluster, Database, Receiver, Settings, World};

use crate::support::{endpoint_with, invoice, problem};

const EVENTS: &str = "/api/v1/events";

/// Returns whether a capture was refused as it must be while the database is away.
fn refused(answer: &Answer) -> bool {
    if answer.status == 202 {
        return false;
    }
    problem(answer, 503);
    let after: u32 = answer.header("retry-after").parse().unwrap();
    assert!(after >= 1, "Retry-After: {after}");
    true
}

/// Captures until an event is refused. Returns the ids that were acknowledged before.
async fn capture_until_refused(
    world: &World,
    first: u32,
    event: impl Fn(u32) -> Value,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for n in first..first + 100_000 {
        let answer = world.client().post(EVENTS, &event(n)).await.unwrap();
        if refused(&answer) {
            return acknowledged;
        }
        acknowledged.push(answer.data()["id"].as_str().unwrap().to_owned());
    }
    panic!("no capture was refused");
}

/// Captures until an event is accepted again, and returns its id.
async fn capture_until_taken(world: &World, event: &Value) -> String {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let answer = world.client().post(EVENTS, event).await.unwrap();
        if !refused(&answer) {
            return answer.data()["id"].as_str().unwrap().to_owned();
        }
        assert!(std::time::Instant::now() < deadline, "it does not recover by itself");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Checks that every acknowledged event arrives and is recorded as delivered.
async fn all_come(world: &World, receiver: &Receiver, acknowledged: &[String]) {
    for id in acknowledged {
        let delivered = |found: &Value| found["deliveries"][0]["status"] == "delivered";
        world.eventually(&format!("{EVENTS}/{id}"), delivered).await;
    }
    let came: Vec<String> = receiver
        .arrivals("/a")
        .iter()
        .map(|one| one.json()["id"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !came.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

async fn with_endpoint(world: &World) -> Receiver {
    let receiver = Receiver::start().await;
    let more = json!({"retry": {"schedule": vec!["100ms"; 50]}});
    world.endpoint(&endpoint_with("a", &receiver.url("/a"), &more)).await;
    receiver
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_stops_and_comes_back() {
    // A separate server, because other tests must not be disturbed.
    if Cluster::find_binaries().is_none() {
        skip("PostgreSQL is not on this machine");
        return;
    }
    let mut cluster = Cluster::start().unwrap();
    let database = Database::create(&cluster.url("postgres")).await.unwrap();
    let away = |settings: &mut Settings| settings.database = database.url();
    let Some(world) = World::start_with(Backend::Sqlite, away).await else { return };
    let receiver = with_endpoint(&world).await;
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        acknowledged.push(world.event(&invoice(n)).await);
    }
    cluster.stop().unwrap();
    acknowledged.extend(capture_until_refused(&world, 20, invoice).await);
    let ready = world.client().get("/readyz").await.unwrap();
    assert_eq!(ready.status, 503, "not ready while the database is away");
    let alive = world.client().get("/healthz").await.unwrap();
    assert_eq!(alive.status, 200, "but alive: a restart would not help");
    cluster.resume().unwrap();
    acknowledged.push(capture_until_taken(&world, &invoice(9_999)).await);
    all_come(&world, &receiver, &acknowledged).await;
    assert_eq!(world.client().get("/readyz").await.unwrap().status, 200);
}

/// A small memory file system, if the test may create one. Unmounted when it is dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "waybill-test"])
            .arg(at)
            .output();
        done.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Unmounted lazily, because the server may take a moment to end.
        let _unmounted = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

/// Returns the answer of `/readyz`. Fails the test unless it has this status.
async fn readiness(world: &World, status: u16) -> String {
    let answer = world.client_with(None).get("/readyz").await.unwrap();
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    answer.json()["status"].as_str().unwrap().to_owned()
}

async fn eventually_ready(world: &World) {
    let deadline = std::time::Instant::now() + LIMIT;
    while world.client().get("/readyz").await.unwrap().status != 200 {
        assert!(std::time::Instant::now() < deadline, "it does not get ready again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full_and_has_room_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let disk = folder.path().join("small");
    let Some(mounted) = SmallDisk::mount(&disk) else {
        skip("no memory file system can be mounted here");
        return;
    };
    let small = |settings: &mut Settings| {
        settings.database = format!("sqlite:{}", disk.join("waybill.db").display());
    };
    let Some(mut world) = World::start_with(Backend::Sqlite, small).await else { return };
    let receiver = with_endpoint(&world).await;
    let mut acknowledged = vec![world.event(&invoice(0)).await];
    receiver.first("/a").await;
    readiness(&world, 200).await;
    let ballast = disk.join("ballast");
    // Fills the rest of the disk, so that the store runs out of space.
    let filled = std::fs::write(&ballast, vec![0; 128 << 20]);
    assert!(filled.is_err(), "the disk is full");
    let wide = |n: u32| json!({"type": "invoice.paid", "resource_id": n.to_string(), "data": {"pad": "x".repeat(20_000)}});
    acknowledged.extend(capture_until_refused(&world, 1, wide).await);
    readiness(&world, 503).await;
    // A server that starts on a full disk shows its data and refuses captures.
    world.restart();
    for id in &acknowledged {
        world.get(&format!("{EVENTS}/{id}")).await;
    }
    acknowledged.extend(capture_until_refused(&world, 10_000, wide).await);
    readiness(&world, 503).await;
    std::fs::remove_file(&ballast).unwrap();
    acknowledged.push(capture_until_taken(&world, &invoice(9_999)).await);
    eventually_ready(&world).await;
    all_come(&world, &receiver, &acknowledged).await;
    drop(world);
    drop(mounted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_acknowledged_into_a_file_that_was_removed() {
    let Some(mut world) = World::start(Backend::Sqlite).await else { return };
    for name in ["waybill.db", "waybill.db-wal"] {
        world.event(&invoice(1)).await;
        let (file, aside) = (world.folder().join(name), world.folder().join("aside"));
        readiness(&world, 200).await;
        std::fs::rename(&file, &aside).unwrap();
        let answer = world.client().post(EVENTS, &invoice(2)).await.unwrap();
        assert!(refused(&answer), "{name}: it would be gone after a restart: {}", answer.text());
        readiness(&world, 503).await;
        std::fs::rename(&aside, &file).unwrap();
        capture_until_taken(&world, &invoice(3)).await;
        eventually_ready(&world).await;
    }
    world.restart();
    let found = world.get(EVENTS).await;
    assert_eq!(
        found.as_array().unwrap().len(),
        4,
        "what was acknowledged and nothing else: {found}"
    );
}

/// Overwrites the first page of a table with garbage, as a failing disk would.
fn damage(database: &Path, table: &str) {
    use std::os::unix::fs::FileExt as _;
    let query = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema \
                 WHERE name = ?1";
    let db = rusqlite::Connection::open(database).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (page, size): (i64, i64) = db.query_row(query, [table], read).unwrap();
    drop(db);
    let file = std::fs::OpenOptions::new().write(true).open(database).unwrap();
    let garbage = vec![0xAA; size.try_into().unwrap()];
    file.write_all_at(&garbage, ((page - 1) * size).try_into().unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_not_ready() {
    let Some(mut world) = World::start(Backend::Sqlite).await else { return };
    world.event(&invoice(1)).await;
    world.stop();
    damage(&world.folder().join("waybill.db"), "event");
    world.restart();
    let said = readiness(&world, 503).await;
    assert!(said.contains("damaged"), "{said}");
    let answer = world.client().post(EVENTS, &invoice(2)).await.unwrap();
    assert!(refused(&answer), "{}", answer.text());
    assert_eq!(world.client().get("/healthz").await.unwrap().status, 200, "alive, to be looked at");
}
