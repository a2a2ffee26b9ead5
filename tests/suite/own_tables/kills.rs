//! `kill -9` at any moment while rows are written: each becomes one event under one id, and
//! applying the events in order reproduces the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rstest::rstest;
use serde_json::{Value, json};
use waybill_tests::Backend::{self, Postgres, Sqlite};
use waybill_tests::world::text;
use waybill_tests::{Receiver, Stopped, World};

use super::Engine::{self, Maria, Postgre};
use super::{Legacy, SOURCE, events, happened, happened_sorted, name, run_well, source};
use crate::support::{announce, endpoint_with, seed, verified};

/// Number of rows before the kills, and of rows that come at each kill.
const ROWS: (u32, u32) = (300, 40);

/// Runs one kill at a moment of a run: while rows come one by one, the same number are deleted, and
/// others change.
async fn round(world: &mut World, legacy: &Arc<Legacy>, n: u32) {
    world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
    let database = Arc::clone(legacy);
    let writer = tokio::spawn(async move {
        for at in n * ROWS.1..(n + 1) * ROWS.1 {
            let (new, gone, other) = (1_000 + at, at + 1, 10_000 + at);
            database
                .change(&format!(
                    "INSERT INTO t VALUES ('{new}-k', 1); DELETE FROM t WHERE k = '{gone}-k';
                     UPDATE t SET v = 2 WHERE k = '{other}-k';"
                ))
                .await;
        }
    });
    let after = Duration::from_micros(rand::rng().random_range(0..900_000));
    // The test needs a random moment, so it does not wait for a condition.
    tokio::time::sleep(after).await;
    world.kill9();
    world.restart();
    writer.await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_repeat_nothing(
    #[values(Postgre, Maria)] engine: Engine,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(mut world) = World::start(backend).await else { return };
    let (legacy, receiver) = (Arc::new(legacy), Receiver::start().await);
    legacy.change("CREATE TABLE t (k VARCHAR(40) PRIMARY KEY, v INT);").await;
    let rows: Vec<String> =
        (1..=ROWS.0).chain(10_000..10_000 + ROWS.0).map(|n| format!("('{n}-k', 1)")).collect();
    legacy.change(&format!("INSERT INTO t VALUES {};", rows.join(", "))).await;
    let takes = json!({"events": ["t.*"], "retry": {"schedule": vec!["20ms"; 50]}});
    let made = world.endpoint(&endpoint_with("erp", &receiver.url("/hook"), &takes)).await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({"every": "1s"}))).await;
    // On PostgreSQL a node waits before it takes over from a lost one, so there are fewer.
    let kills = if backend == Sqlite { 7 } else { 4 };
    for n in 0..kills {
        round(&mut world, &legacy, n).await;
    }
    run_well(&world).await;
    run_well(&world).await;
    let mut expected: Vec<String> = Vec::new();
    for n in 0..kills * ROWS.1 {
        expected.push(format!("t.created#{}-k", 1_000 + n));
        expected.push(format!("t.deleted#{}-k", 1 + n));
        expected.push(format!("t.updated#{}-k", 10_000 + n));
    }
    expected.sort();
    assert_eq!(happened_sorted(&world).await, expected);
    check_arrivals(&world, &receiver, &text(&made, "secret"), &expected).await;
}

/// Checks that every event has arrived, and that repeats have the same id.
async fn check_arrivals(world: &World, receiver: &Receiver, secret: &str, expected: &[String]) {
    for status in ["pending", "leased"] {
        let path = format!("/api/v1/deliveries?limit=1&status={status}");
        world.eventually(&path, |found| *found == json!([])).await;
    }
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for arrival in receiver.arrivals("/hook") {
        assert!(verified(&arrival, secret), "{:?}", arrival.headers);
        let body = arrival.json();
        ids.entry(name(&body)).or_default().insert(text(&body, "id"));
    }
    assert!(ids.keys().eq(expected), "delivered: {:?}", ids.keys());
    let ambiguous: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(ambiguous.is_empty(), "one row under several ids: {ambiguous:?}");
}

/// Rows by key.
type Rows = BTreeMap<String, i64>;

/// Returns the rows that result from the events in order. Fails the test at an event that
/// contradicts the rows.
async fn replica(world: &World) -> Rows {
    let mut rows = Rows::new();
    for event in events(world, SOURCE).await {
        let (key, what) = (text(&event, "resource_id"), name(&event));
        let event = world.get(&format!("/api/v1/events/{}", text(&event, "id"))).await;
        let value = event["data"]["v"].as_i64().unwrap();
        let before = match what.split('#').next().unwrap() {
            "t.deleted" => rows.remove(&key),
            _ => rows.insert(key, value),
        };
        assert_eq!(before.is_none(), what.starts_with("t.created"), "{what} where {before:?}");
        if what.starts_with("t.updated") {
            assert_eq!(event["changes"]["previous"]["v"].as_i64(), before, "{event:#}");
        }
    }
    rows
}

/// Adds, changes and removes rows of a few keys, one by one, until it is stopped. Returns the
/// remaining rows.
async fn shuffle(legacy: Arc<Legacy>, mut random: StdRng, stop: Arc<AtomicBool>) -> Rows {
    let mut rows = Rows::new();
    let mut value = 0;
    while !stop.load(Ordering::Relaxed) {
        value += 1;
        let key = format!("{}-k", random.random_range(1..=12));
        let change = if !rows.contains_key(&key) {
            rows.insert(key.clone(), value);
            format!("INSERT INTO t VALUES ('{key}', {value});")
        } else if random.random_bool(0.5) {
            rows.insert(key.clone(), value);
            format!("UPDATE t SET v = {value} WHERE k = '{key}';")
        } else {
            rows.remove(&key);
            format!("DELETE FROM t WHERE k = '{key}';")
        };
        legacy.change(&change).await;
    }
    rows
}

#[rstest]
#[case(Postgre, Sqlite)]
#[case(Maria, Sqlite)]
#[case(Maria, Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_applies_the_events_has_the_table_after_any_kill(
    #[case] engine: Engine,
    #[case] backend: Backend,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(mut world) = World::start(backend).await else { return };
    legacy.change("CREATE TABLE t (k VARCHAR(40) PRIMARY KEY, v INT);").await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({"every": "1s"}))).await;
    let seed = seed();
    announce(&format!("{engine:?}, {backend:?}: WAYBILL_CRASH_SEED={seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    let (legacy, stop) = (Arc::new(legacy), Arc::new(AtomicBool::new(false)));
    let writer = StdRng::seed_from_u64(random.random());
    let writer = tokio::spawn(shuffle(Arc::clone(&legacy), writer, Arc::clone(&stop)));
    // On PostgreSQL a node waits before it takes over from a lost one, so there are fewer.
    let kills = if backend == Sqlite { 25 } else { 3 };
    for _ in 0..kills {
        world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
        // The test needs a random moment, so it does not wait for a condition.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..150_000))).await;
        world.kill9();
        world.restart();
    }
    run_well(&world).await;
    stop.store(true, Ordering::Relaxed);
    let rows = writer.await.unwrap();
    run_well(&world).await;
    assert_eq!(replica(&world).await, rows);
    let count = happened(&world).await.len();
    announce(&format!("{engine:?}, {backend:?}: {kills} kills, {count} events"));
}

/// There must be no moment between an event and the row from which it follows.
#[rstest]
#[tokio::test]
async fn a_kill_while_rows_are_kept_leaves_no_event_without_its_row(
    #[values(Postgre, Maria)] engine: Engine,
) {
    let Some(legacy) = Legacy::start(engine).await else { return };
    let Some(mut world) = World::start(Postgres).await else { return };
    legacy
        .change(
            "CREATE TABLE t (k VARCHAR(40) PRIMARY KEY, v INT);
             INSERT INTO t VALUES ('goes', 1), ('turns', 1);",
        )
        .await;
    source(&world, &legacy.settings(&json!(["t"]), &json!({"start": "backfill"}))).await;
    legacy
        .change(
            "INSERT INTO t VALUES ('comes', 1), ('grows', 1); DELETE FROM t WHERE k = 'goes';
             UPDATE t SET v = 2 WHERE k = 'turns';",
        )
        .await;
    let mut stopped = Stopped::at(&world.settings().database, "source_row").await.unwrap();
    world.post(&format!("/api/v1/sources/{SOURCE}/run"), &json!({})).await;
    stopped.is_awaited().await.unwrap();
    world.kill9();
    legacy
        .change(
            "DELETE FROM t WHERE k = 'comes'; UPDATE t SET v = 3 WHERE k = 'grows';
             INSERT INTO t VALUES ('goes', 1); UPDATE t SET v = 1 WHERE k = 'turns';",
        )
        .await;
    drop(stopped);
    world.restart();
    run_well(&world).await;
    let rows = [("goes", 1), ("grows", 3), ("turns", 1)];
    assert_eq!(replica(&world).await, rows.map(|(key, v)| (key.to_owned(), v)).into());
    let told: Vec<Value> = events(&world, SOURCE).await;
    assert_eq!(told.len(), 3, "what nobody was told of came and went unseen: {told:#?}");
}
